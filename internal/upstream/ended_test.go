package upstream

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// Nothing goes out for a request whose context has ended, wherever that is
// noticed, and the place that it had serves the next one.
func TestNothingIsSentForAnEndedContext(t *testing.T) {
	gone := errors.New("the client left")
	for _, http2 := range []bool{false, true} {
		for name, ask := range map[string]func(ctx context.Context, p *Pool, req *Request) error{
			"at a fresh pool": func(ctx context.Context, p *Pool, req *Request) error {
				_, err := p.RoundTrip(ctx, req)
				return err
			},
			"with a connection ready": func(ctx context.Context, p *Pool, req *Request) error {
				if _, err := get(t.Context(), p, "/warm"); err != nil {
					t.Fatal(err)
				}
				_, err := p.RoundTrip(ctx, req)
				return err
			},
			"with a place reserved": func(ctx context.Context, p *Pool, req *Request) error {
				c, err := p.acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_, err = c.roundTrip(ctx, req)
				return err
			},
		} {
			var sent atomic.Int64
			p := api(t, http2, func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/gone" {
					sent.Add(1)
				}
			})
			ctx, leave := context.WithCancelCause(t.Context())
			leave(gone)
			body := &closeCounter{Reader: strings.NewReader("body")}
			err := ask(ctx, p, &Request{Method: "POST", Target: "/gone", Body: body, ContentLength: 4})
			var e *Error
			if !errors.Is(err, gone) || !errors.As(err, &e) || e.Stage != Unsent {
				t.Errorf("http2=%v, %s: got %v, want the cause, unsent", http2, name, err)
			}
			if body.closed.Load() == 0 {
				t.Errorf("http2=%v, %s: the body was left open", http2, name)
			}
			if _, err := get(t.Context(), p, "/next"); err != nil {
				t.Errorf("http2=%v, %s: the next request: %v", http2, name, err)
			}
			if n := sent.Load(); n != 0 {
				t.Errorf("http2=%v, %s: the API saw the request", http2, name)
			}
			if h1, h2 := p.Connections(); h1+h2 != 1 {
				t.Errorf("http2=%v, %s: %d and %d connections, want one", http2, name, h1, h2)
			}
		}
	}
}

// closeCounter is a body that knows whether it was closed.
type closeCounter struct {
	*strings.Reader
	closed atomic.Int64
}

func (c *closeCounter) Close() error {
	c.closed.Add(1)
	return nil
}
