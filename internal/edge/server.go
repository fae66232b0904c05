package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/telemetry"
)

// Options are what a server needs; the zero value serves tests.
type Options struct {
	// Addr is the host:port to listen on.
	Addr string
	// MaxConns is how many connections may be open at once; above it, dials
	// wait in the kernel. Zero is [SpareConns].
	MaxConns int
	Log      zerolog.Logger
	Metrics  *Metrics // nil counts nothing
}

// SpareConns is the room for connections without a request.
const SpareConns = 1024

const (
	headBytes   = 64 << 10
	headTimeout = 10 * time.Second
	keepAlive   = 3 * time.Minute
)

// Server is a port with all that serves it: the listening socket, which stays
// open from one Serve to the next, and the connections, which outlive both. It
// is safe for concurrent use; its owner must Close it.
type Server struct {
	socket *socket
	engine serving

	mu     sync.Mutex
	closed bool // the door is
}

// serving is what serves a port's connections, which are Conns. Both ways have
// the semantics of http.Server.
type serving interface {
	Serve(ln net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// New makes the server of the proxy port: HTTP/1.0 and HTTP/1.1 by our own
// strict reading of RFC 9112, and HTTP/2 in cleartext. It has no clock over a
// body: the handler keeps rolling ones.
func New(h Handler, o Options) *Server {
	s := newServer("proxy", o)
	s.engine = newEngine(h, o.Log, newHTTP2Side(h, o))
	return s
}

// adminReserve is how many admin connections are served when clients have taken
// every descriptor.
const adminReserve = 8

// NewAdmin makes the server of the admin port, for plain pages. It keeps a few
// descriptors in reserve: health must be told most of all when none is left.
func NewAdmin(h http.Handler, o Options) *Server {
	s := newServer("admin", o)
	s.socket.reserve = newReserve(adminReserve)
	s.engine = dress(&http.Server{
		Handler: h, ReadHeaderTimeout: headTimeout, ReadTimeout: headTimeout,
		WriteTimeout: pageTimeout, IdleTimeout: keepAlive, MaxHeaderBytes: headBytes - headSlop,
		ErrorLog: telemetry.StandardLog(o.Log, "admin"),
	})
	return s
}

func newServer(port string, o Options) *Server {
	if o.MaxConns == 0 {
		o.MaxConns = SpareConns
	}
	return &Server{socket: newSocket(o.Addr, o.MaxConns, newAcceptErrors(port, o.Log, o.Metrics))}
}

// Addr is the configured address, whether bound or not.
func (s *Server) Addr() string { return s.socket.addr }

// Bind opens the socket if it is not open. The error names the address.
func (s *Server) Bind() (net.Addr, error) {
	ln, err := s.socket.bind()
	if err != nil {
		return nil, err
	}
	return ln.Addr(), nil
}

// Serve binds the socket if need be and accepts from it until ctx ends, and
// returns ctx's error then. Connections and their requests go on. After
// CloseDoor it just waits. One Serve may run at a time.
func (s *Server) Serve(ctx context.Context) error {
	if s.doorClosed() {
		<-ctx.Done()
		return ctx.Err()
	}
	l, end, err := s.socket.lease(ctx)
	if err != nil {
		return err
	}
	defer end()
	return s.serve(ctx, l)
}

// ServeListener is Serve with a listener from elsewhere, whose connections are
// not counted.
func (s *Server) ServeListener(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	return s.serve(ctx, uncounted{ln})
}

func (s *Server) serve(ctx context.Context, ln net.Listener) error {
	err := s.engine.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) || s.doorClosed() {
		<-ctx.Done() // shut down on purpose; so will the user be
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("serve %s: %w", s.Addr(), err)
}

// CloseDoor begins the end, and returns at once: the listening socket closes
// for good, connections without a request close, and every other one after the
// answers of those that it carries. Requests in flight are not touched.
func (s *Server) CloseDoor() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.socket.close()
	// It needs no patience to do that much.
	_ = s.engine.Shutdown(expired)
}

// expired is a context that has ended.
var expired = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (s *Server) doorClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Shutdown closes the door and waits until every answer in flight has reached
// its client, or ctx ends. Then it cuts what is left. The error is ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.CloseDoor()
	defer s.engine.Close()
	return s.engine.Shutdown(ctx)
}

// Close cuts every connection. It does not wait for the handlers.
func (s *Server) Close() { _ = s.Shutdown(expired) }

// uncounted is a listener from elsewhere.
type uncounted struct{ net.Listener }

func (u uncounted) Accept() (net.Conn, error) {
	c, err := u.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}
