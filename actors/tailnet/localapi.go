package tailnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/health"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// busMask asks for the state and the health warnings in the first message
// (ipn.NotifyInitialState and NotifyInitialHealthState).
const busMask = 1<<1 | 1<<7

// LocalAPI is the Source over tailscaled's Unix socket. It reads a bounded
// answer, takes none from a daemon whose socket has been replaced, and tells
// apart what tailscaled's own client does not: a refusal, nonsense, nothing.
// It is safe for concurrent use, but for Ping and Watch, which are its one
// Actor's.
type LocalAPI struct {
	place     place
	transport *http.Transport
	client    *http.Client
	peer      peer // whom Ping asks
}

// NewLocalAPI makes a source for the socket at path. It dials nothing yet.
func NewLocalAPI(socket string) *LocalAPI {
	transport := newTransport(socket)
	return &LocalAPI{place: place{path: socket}, transport: transport, client: &http.Client{Transport: transport}}
}

// Close drops the idle connections. The source may be used again.
func (l *LocalAPI) Close() { l.transport.CloseIdleConnections() }

// Status asks for the daemon's own state, without peers. It is never nil
// without an error.
func (l *LocalAPI) Status(ctx context.Context) (*ipnstate.Status, error) {
	return ask[ipnstate.Status](ctx, l, http.MethodGet, "status?peers=false", maxAnswer)
}

// notice is what the watcher reads of a message on the bus.
type notice struct{ Health *health.State }

// Watch follows the IPN bus. It ends when another daemon takes the socket's
// place, which is noticed by the next question of whatever kind.
func (l *LocalAPI) Watch(ctx context.Context, wake func(Warnings)) error {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	l.place.look() // what has changed until now is no reason to leave
	l.place.whileHere(leave)
	defer l.place.whileHere(nil)
	res, err := l.open(ctx, http.MethodGet, "watch-ipn-bus?mask="+strconv.Itoa(busMask))
	if err != nil {
		return fmt.Errorf("open bus: %w", causeOr(ctx, err))
	}
	defer res.Body.Close()
	wake(nil)
	body := &allowance{from: res.Body}
	for messages := json.NewDecoder(body); ; {
		body.left = maxNotice
		var n notice
		if err := messages.Decode(&n); err != nil {
			return fmt.Errorf("read bus: %w", causeOr(ctx, err))
		}
		var w Warnings
		if n.Health != nil {
			w = warningsOf(n.Health)
		}
		wake(w)
	}
}

// causeOr is why ctx ended, or err while it lives.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// WhoIs names the node behind an open TCP connection; nil without an error means
// that tailscaled knows nobody there. It costs tailscaled dearly when there is
// nobody: see package callers, which rations it.
func (l *LocalAPI) WhoIs(ctx context.Context, remoteAddr string) (*apitype.WhoIsResponse, error) {
	question := url.Values{"proto": {"tcp"}, "addr": {remoteAddr}}
	who, err := ask[apitype.WhoIsResponse](ctx, l, http.MethodGet, "whois?"+question.Encode(), maxAnswer)
	if errors.Is(err, errNobody) {
		return nil, nil
	}
	return who, err
}

// Ping asks the peer by disco, which every node answers below its firewall, and
// then by TSMP, which proves the WireGuard path.
func (l *LocalAPI) Ping(ctx context.Context, name string) error {
	who, err := l.resolve(ctx, name)
	if err != nil {
		return fmt.Errorf("resolve peer: %w", err)
	}
	half := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		half, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	disco := l.pingBy(half, who, tailcfg.PingDisco)
	if disco == nil {
		return nil
	}
	tsmp := l.pingBy(ctx, who, tailcfg.PingTSMP)
	if tsmp == nil {
		return nil
	}
	l.peer = peer{} // it may have another address by the next ping
	return errors.Join(disco, tsmp)
}

func (l *LocalAPI) pingBy(ctx context.Context, who peer, kind tailcfg.PingType) error {
	question := url.Values{"ip": {who.addr.String()}, "size": {"0"}, "type": {string(kind)}}
	res, err := ask[ipnstate.PingResult](ctx, l, http.MethodPost, "ping?"+question.Encode(), maxAnswer)
	switch {
	case err != nil:
		return fmt.Errorf("ping by %s: %w", kind, err)
	case res.Err != "":
		return fmt.Errorf("ping by %s: %s", kind, res.Err)
	case !who.answersAs(res.NodeName):
		return fmt.Errorf("ping by %s: another node, %q, has the address now", kind, res.NodeName)
	default:
		return nil
	}
}
