package upstream

import (
	"context"
	"io"
	"net/http"

	"anthropic-oauth-proxy/internal/headers"
)

// await waits for the head of the answer and passes on what comes before it.
func (s *h2Stream) await(ctx context.Context, interim func(int, headers.Fields)) (*Response, error) {
	for {
		s.conn.mu.Lock()
		res, err, early := s.res, s.err, s.interim
		s.interim = nil
		s.conn.mu.Unlock()
		for _, i := range early {
			if i.status == http.StatusContinue {
				s.out.goOn()
			}
			interim(i.status, i.header)
		}
		switch {
		case res != nil:
			if res.Status < 300 {
				s.out.goOn() // a refusal does not want the content that it was asked about
			}
			return res, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-s.news:
		case <-ctx.Done():
			return nil, &Error{Stage: Sent, Err: context.Cause(ctx)}
		}
	}
}

// isOver reports whether the whole answer is here and empty.
func (s *h2Stream) isOver() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.complete && s.inbox.size == 0
}

// h2Body reads the answer's content.
type h2Body struct {
	s    *h2Stream
	ctx  context.Context
	done error // what every further Read says
}

func (b *h2Body) Read(p []byte) (int, error) {
	if b.done != nil {
		return 0, b.done
	}
	s := b.s
	for {
		n, over, err := s.take(p)
		switch {
		case n > 0 && !over:
			return n, nil
		case over:
			b.done = err
			s.leave()
			return n, err
		}
		select {
		case <-s.news:
		case <-b.ctx.Done():
			b.done = context.Cause(b.ctx)
			s.leave()
			return 0, b.done
		}
	}
}

// Ready reports whether Read would not wait.
func (b *h2Body) Ready() bool {
	b.s.conn.mu.Lock()
	defer b.s.conn.mu.Unlock()
	return b.s.inbox.size > 0 || b.s.complete
}

// TryRead reads what has come of the content, 0 bytes when there is none: then
// Wait or Read tell more.
func (b *h2Body) TryRead(p []byte) int {
	n, _, _ := b.s.take(p)
	return n
}

// Wait keeps w until there is news for it, and nothing that only a goroutine
// needs or that is over.
func (b *h2Body) Wait(w Waiter) bool {
	s := b.s
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.inbox.size > 0 || s.complete || s.err != nil || b.ctx.Err() != nil {
		return false
	}
	s.waiter, s.news = w, nil
	if s.out.isOver() {
		s.out = nil
	}
	return true
}

// Wake ends a Wait before there is news.
func (b *h2Body) Wake() {
	b.s.conn.mu.Lock()
	defer b.s.conn.unlock()
	if b.s.waiter != nil {
		b.s.wake()
	}
}

// take copies what has come. over tells that nothing comes after it. Who gets
// neither may wait for news.
func (s *h2Stream) take(p []byte) (n int, over bool, err error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if n = s.inbox.take(p); n > 0 {
		s.consumed(n)
	}
	switch {
	case s.inbox.size > 0:
	case s.complete:
		s.res.Trailer.Fields = s.trailer
		return n, true, io.EOF
	case s.err != nil:
		return n, true, s.err
	case n == 0 && s.news == nil:
		s.news = make(chan struct{}, 1)
	}
	return n, false, nil
}

func (b *h2Body) Close() error {
	if b.done == nil {
		b.done = errBodyClosed
		b.s.leave()
	}
	return nil
}
