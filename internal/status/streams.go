package status

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/proxy"
)

// streams is the table of the requests in flight. Who adds or leaves never
// waits for who reads: it is a concurrent map, and its entries are atomic. The
// zero table is empty.
type streams struct{ live sync.Map } // of *proxy.Live

func (s *streams) enter(l *proxy.Live) { s.live.Store(l, nil) }
func (s *streams) leave(l *proxy.Live) { s.live.Delete(l) }

// read lists the oldest.
func (s *streams) read(now time.Time, most int) []Stream {
	var all []*proxy.Live
	s.live.Range(func(l, _ any) bool {
		all = append(all, l.(*proxy.Live))
		return true
	})
	slices.SortFunc(all, func(a, b *proxy.Live) int { return a.Accepted().Compare(b.Accepted()) })
	list := make([]Stream, 0, min(most, len(all)))
	for _, l := range all[:min(most, len(all))] {
		list = append(list, view(l.Record(), now))
	}
	return list
}

func view(r *proxy.Record, now time.Time) Stream {
	age := now.Sub(r.Accepted)
	v := Stream{
		ID: r.ID, Path: r.Path, Credential: string(r.Credential), Phase: string(r.Phase), Caller: r.Caller.Node,
		AgeSeconds: age.Seconds(), Sent: r.RequestBytes, Received: r.ResponseBytes,
	}
	if last := cmp.Or(r.LastByte, r.Head); last > 0 {
		quiet := max(0, (age - last).Seconds())
		v.QuietSeconds = &quiet
	}
	return v
}
