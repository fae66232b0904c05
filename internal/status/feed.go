package status

import (
	"net/http"
	"sync"
	"time"
)

const (
	// pulse is how often somebody who looks gets news.
	pulse = 500 * time.Millisecond
	// shared is how old a Snapshot may be that is shown to the next one.
	shared = pulse - 100*time.Millisecond
	// MostViewers bounds who gets news at the same time.
	MostViewers = 16
	// viewerPatience is how long a viewer may take to accept one piece.
	viewerPatience = 5 * time.Second
)

// Feed shows the Snapshot to those who look. One is taken for all of them, and
// none while nobody looks. It starts no goroutine: each viewer's own carries
// its news. It is safe for concurrent use.
type Feed struct {
	take    func() Snapshot
	viewers chan struct{}
	closed  chan struct{}
	once    sync.Once

	mu    sync.Mutex
	snap  Snapshot
	event []byte // of snap; nil until somebody wants it
}

// NewFeed makes a feed of what take gathers.
func NewFeed(take func() Snapshot) *Feed {
	return &Feed{take: take, viewers: make(chan struct{}, MostViewers), closed: make(chan struct{})}
}

// Close ends the feed for all who look, now and later.
func (f *Feed) Close() { f.once.Do(func() { close(f.closed) }) }

// Snapshot is one that is new, or nearly.
func (f *Feed) Snapshot() Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renew()
	return f.snap
}

// renew takes a Snapshot when the one at hand is too old. The caller holds mu.
func (f *Feed) renew() {
	if time.Since(f.snap.At) >= shared {
		f.snap, f.event = f.take(), nil
	}
}

func (f *Feed) news() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renew()
	if f.event == nil {
		var err error
		if f.event, err = f.snap.event(); err != nil {
			return nil, err
		}
	}
	return f.event, nil
}

// ServeHTTP sends the page's changing parts as server-sent events until the
// viewer leaves or the feed is closed.
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case f.viewers <- struct{}{}:
		defer func() { <-f.viewers }()
	default:
		http.Error(w, "too many look already; try again later", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx must hold nothing back
	rc := http.NewResponseController(w)
	if r.Method == http.MethodHead {
		return
	}
	// The server's own deadlines are for pages; a viewer stays.
	if err := rc.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		news, err := f.news()
		if err != nil {
			return
		}
		if err := rc.SetWriteDeadline(time.Now().Add(viewerPatience)); err != nil {
			return
		}
		if _, err := w.Write(news); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-f.closed:
			return
		}
	}
}
