package lab

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// Domain is the MagicDNS domain of every lab.
const Domain = "lab.ts.net"

// Control is a coordination server in this process. Its map streams are our
// own, so that a test may shape what each node is told.
type Control struct {
	srv  *testcontrol.Server
	http *httptest.Server

	mu      sync.Mutex
	changed chan struct{}                           // closed when nodes must be told anew
	denied  map[key.NodePublic]bool                 // nobody gets in
	hidden  map[key.NodePublic]bool                 // in no peer's map
	deleted map[key.NodePublic]bool                 // its stream is refused
	rulesOf map[key.NodePublic][]tailcfg.FilterRule // by a policy; nil lets everybody do everything
}

func startControl(derp *tailcfg.DERPMap) *Control {
	c := &Control{
		changed: make(chan struct{}),
		denied:  map[key.NodePublic]bool{},
		hidden:  map[key.NodePublic]bool{},
		deleted: map[key.NodePublic]bool{},
	}
	c.srv = &testcontrol.Server{
		Logf:           func(string, ...any) {},
		DERPMap:        derp,
		MagicDNSDomain: Domain,
		DNSConfig:      &tailcfg.DNSConfig{Proxied: true, Domains: []string{Domain}},
		TagOwners:      map[string][]string{},
		AllOnline:      true,
		AltMapStream:   c.stream,
	}
	c.http = httptest.NewUnstartedServer(c.srv)
	c.srv.HTTPTestServer = c.http
	c.http.Start()
	return c
}

func (c *Control) close() {
	c.http.CloseClientConnections()
	c.http.Close()
}

// RequireAuthKey refuses every registration without that key; "" lets all in.
// A node that is in already is refused too when it registers again.
func (c *Control) RequireAuthKey(k string) { c.srv.RequireAuthKey = k }

// RequireApproval makes new machines wait for an admin.
func (c *Control) RequireApproval() { c.srv.RequireMachineAuth = true }

// Approve is the admin's click, or its opposite. Peers see approved nodes only.
func (c *Control) Approve(node key.NodePublic, approved bool) {
	c.mu.Lock()
	c.hidden[node] = !approved
	c.mu.Unlock()
	c.edit(node, func(n *tailcfg.Node) { n.MachineAuthorized = approved })
}

// ExpireAt sets when the node's key expires; the zero time means never.
func (c *Control) ExpireAt(node key.NodePublic, at time.Time) {
	c.edit(node, func(n *tailcfg.Node) { n.KeyExpiry = at })
}

// Rename is the admin's new MagicDNS name for the node.
func (c *Control) Rename(node key.NodePublic, short string) {
	c.edit(node, func(n *tailcfg.Node) { n.Name = short + "." + Domain + "." })
}

// Move gives the node another domain, as a tailnet that is renamed does to all of
// its nodes, and as a node has that somebody else shares with this tailnet.
func (c *Control) Move(node key.NodePublic, domain string) {
	c.edit(node, func(n *tailcfg.Node) {
		short, _, _ := strings.Cut(n.Name, ".")
		n.Name = short + "." + domain + "."
	})
}

// Deny gives the node a packet filter that lets nobody in.
func (c *Control) Deny(node key.NodePublic, denied bool) {
	c.mu.Lock()
	c.denied[node] = denied
	c.mu.Unlock()
	c.push()
}

// Delete hides the node from its peers. The node itself is told nothing: its
// stream stays open until somebody cuts it, and is then refused.
func (c *Control) Delete(node key.NodePublic, deleted bool) {
	c.mu.Lock()
	c.deleted[node], c.hidden[node] = deleted, deleted
	c.mu.Unlock()
	c.push()
}

func (c *Control) edit(node key.NodePublic, change func(*tailcfg.Node)) {
	n := c.srv.Node(node)
	if n == nil {
		return
	}
	change(n)
	c.srv.UpdateNode(n)
	c.push()
}

// push tells every node the whole map again.
func (c *Control) push() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Control) state(node key.NodePublic) (changed <-chan struct{}, denied, deleted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed, c.denied[node], c.deleted[node]
}

// stream answers a map request: an update at once, a long poll until it ends.
func (c *Control) stream(ctx context.Context, w testcontrol.MapStreamWriter, req *tailcfg.MapRequest) {
	if _, _, deleted := c.state(req.NodeKey); deleted {
		return // an empty answer is an error to the client
	}
	if !req.Stream {
		c.update(req)
		_ = w.SendMapMessage(&tailcfg.MapResponse{KeepAlive: true}) // its reader may have gone
		return
	}
	for {
		changed, denied, deleted := c.state(req.NodeKey)
		if !deleted {
			res, err := c.srv.MapResponse(req)
			if err != nil || res == nil || w.SendMapMessage(c.shape(res, denied)) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(20 * time.Second):
			if w.SendMapMessage(&tailcfg.MapResponse{KeepAlive: true}) != nil {
				return
			}
		}
	}
}

// update takes over what a node says about itself.
func (c *Control) update(req *tailcfg.MapRequest) {
	c.edit(req.NodeKey, func(n *tailcfg.Node) {
		n.Endpoints, n.DiscoKey, n.Cap = req.Endpoints, req.DiscoKey, req.Version
		if req.Hostinfo == nil {
			return
		}
		n.Hostinfo = req.Hostinfo.View()
		if ni := n.Hostinfo.NetInfo(); ni.Valid() && ni.PreferredDERP() != 0 {
			n.HomeDERP = ni.PreferredDERP()
		}
	})
}

// shape turns testcontrol's answer into ours: today's date, no node that is
// hidden, and the packet filter of who may be reached.
func (c *Control) shape(res *tailcfg.MapResponse, denied bool) *tailcfg.MapResponse {
	now := time.Now()
	res.ControlTime = &now
	if denied {
		res.PacketFilter = nil
		res.PacketFilters = map[string][]tailcfg.FilterRule{"*": nil}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rulesOf != nil && !denied {
		res.PacketFilter = nil
		res.PacketFilters = filters(c.rulesOf[res.Node.Key])
	}
	res.Peers = slices.DeleteFunc(res.Peers, func(p *tailcfg.Node) bool {
		if c.hidden[p.Key] {
			res.PeersRemoved = append(res.PeersRemoved, p.ID)
			return true
		}
		return false
	})
	return res
}
