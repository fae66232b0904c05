package edge

import (
	"context"
	"net"
	"net/http"

	"anthropic-oauth-proxy/internal/telemetry"
)

const (
	headSlop = 4 << 10 // net/http adds it to the limit

	// What one client's unread upload may make us hold, per stream and per
	// connection, over HTTP/2. The connection's window has room for all of its
	// streams: uploads that wait in line must not hold up those that run.
	inboundStreamWindow = 64 << 10
	inboundConnWindow   = inboundStreams * inboundStreamWindow
	inboundStreams      = 250
)

// proxyServer is net/http's server with the settings of the proxy port.
func proxyServer(h http.Handler, o Options) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return dress(&http.Server{
		Handler: h, Protocols: &protocols, ErrorLog: telemetry.StandardLog(o.Log, "proxy"),
		DisableGeneralOptionsHandler: true, // OPTIONS * is the API's to answer
		ReadHeaderTimeout:            headTimeout,
		IdleTimeout:                  keepAlive,
		MaxHeaderBytes:               headBytes - headSlop,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          inboundStreams,
			MaxReceiveBufferPerStream:     inboundStreamWindow,
			MaxReceiveBufferPerConnection: inboundConnWindow,
		},
	})
}

// dress makes a server know its connections as Conns.
func dress(s *http.Server) *http.Server {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return WithConn(ctx, c.(interface{ conn() *Conn }).conn())
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if r, ok := c.(recorded); ok {
			r.heads.follow(state)
		}
	}
	return s
}

// byHTTP serves Conns by net/http's server, for HTTP/1 too.
type byHTTP struct{ *http.Server }

func (b byHTTP) Serve(ln net.Listener) error { return b.Server.Serve(recording{ln}) }

// recording dresses connections for net/http's server.
type recording struct{ net.Listener }

func (r recording) Accept() (net.Conn, error) {
	c, err := r.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return recorded{c.(*Conn)}, nil
}
