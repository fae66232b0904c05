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

// http2Server is net/http's server for the proxy port, with HTTP/2 in cleartext
// alone.
func http2Server(h http.Handler, o Options) *http.Server {
	var protocols http.Protocols
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
		return WithConn(ctx, connBehind(c))
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		conn := connBehind(c)
		switch state {
		case http.StateNew, http.StateIdle:
			conn.rest()
		case http.StateActive:
			conn.stir()
		}
	}
	return s
}

func connBehind(c net.Conn) *Conn {
	if p, ok := c.(*prefaced); ok {
		return p.Conn
	}
	return c.(*Conn)
}
