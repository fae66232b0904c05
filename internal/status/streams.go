package status

import (
	"cmp"
	"sync"
	"time"

	"anthropic-oauth-proxy/internal/proxy"
	"anthropic-oauth-proxy/internal/roll"
)

// streams is the table of the requests in flight, in the order in which they
// came. Who adds or leaves waits for who reads no longer than it takes to copy
// as many as are shown. The zero table is empty.
type streams struct {
	mu   sync.Mutex
	here roll.Roll[flight, *flight]
}

// flight is a request's in the table.
type flight struct {
	live *proxy.Live
	// guarded by the table's mu
	roll.Place[flight]
}

func (s *streams) enter(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.here.Enter(f)
}

func (s *streams) leave(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.here.Strike(f)
}

// read lists the oldest.
func (s *streams) read(now time.Time, most int) []Stream {
	oldest := s.oldest(most)
	list := make([]Stream, len(oldest))
	for i, l := range oldest {
		list[i] = view(l.Record(), now)
	}
	return list
}

func (s *streams) oldest(most int) []*proxy.Live {
	all := make([]*proxy.Live, 0, most)
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.here.All() {
		if len(all) == most {
			break
		}
		all = append(all, f.live)
	}
	return all
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
