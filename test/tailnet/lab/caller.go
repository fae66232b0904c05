package lab

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/tsnet"
	"tailscale.com/types/key"
)

// CallerName and CallerTag are how the tailnet knows the caller.
const (
	CallerName = "ai"
	CallerTag  = "tag:gateway"
)

// A Caller is a node in this process that calls the proxy, as Aperture does.
type Caller struct {
	node *tsnet.Server
	key  key.NodePublic
	// HTTP dials through the tailnet, by MagicDNS name or address, with a new
	// connection for every request.
	HTTP *http.Client
}

func startCaller(ctx context.Context, dir, name string, tags []string, control *Gate) (*Caller, error) {
	node := &tsnet.Server{
		Dir: filepath.Join(dir, "caller-"+name), Hostname: name, AdvertiseTags: tags,
		ControlURL: "http://" + control.Addr().String(), AuthKey: "lab", Ephemeral: true,
		Logf: func(string, ...any) {}, UserLogf: func(string, ...any) {},
	}
	st, err := node.Up(ctx)
	if err != nil {
		node.Close()
		return nil, fmt.Errorf("start caller %s: %w", name, err)
	}
	transport := &http.Transport{DialContext: node.Dial, DisableKeepAlives: true, DisableCompression: true}
	return &Caller{node: node, key: st.Self.PublicKey, HTTP: &http.Client{Transport: transport}}, nil
}

// awaitPeer returns when the caller's map has the named node, or has not.
func (c *Caller) awaitPeer(ctx context.Context, name string, present bool) error {
	client, err := c.node.LocalClient()
	if err != nil {
		return err
	}
	for {
		st, err := client.Status(ctx)
		if err == nil && st.BackendState == ipn.Running.String() {
			found := false
			for _, p := range st.Peer {
				found = found || p.HostName == name
			}
			if found == present {
				return nil
			}
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("await peer %s: %w", name, err)
		}
	}
}

// Key is the node's key, for Control.
func (c *Caller) Key() key.NodePublic { return c.key }

// Leave takes the caller off the tailnet for good. It may be called again.
func (c *Caller) Leave() {
	c.HTTP.CloseIdleConnections()
	c.node.Close()
}
