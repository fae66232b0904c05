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

// h2Body is a stream as its answer's content.
type h2Body h2Stream

func (b *h2Body) Read(p []byte) (int, error) {
	if b.done != nil {
		return 0, b.done
	}
	s := (*h2Stream)(b)
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
	b.conn.mu.Lock()
	defer b.conn.mu.Unlock()
	return b.inbox.size > 0 || b.complete
}

// TryRead reads what has come of the content, 0 bytes when there is none: then
// Wait or Read tell more.
func (b *h2Body) TryRead(p []byte) int {
	n, _, _ := (*h2Stream)(b).take(p)
	return n
}

// Wait keeps w until there is news for it, and nothing that only a goroutine
// needs or that is over.
func (b *h2Body) Wait(w Waiter) bool {
	b.conn.mu.Lock()
	defer b.conn.mu.Unlock()
	if b.inbox.size > 0 || b.complete || b.err != nil || b.ctx.Err() != nil {
		return false
	}
	b.waiter, b.news = w, nil
	if b.out.isOver() {
		b.out = nil
	}
	return true
}

// Wake ends a Wait before there is news.
func (b *h2Body) Wake() {
	b.conn.mu.Lock()
	defer b.conn.unlock()
	if b.waiter != nil {
		(*h2Stream)(b).wake()
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
		if s.trailer != nil {
			s.res.Trailer = s.trailer
		}
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
		(*h2Stream)(b).leave()
	}
	return nil
}
