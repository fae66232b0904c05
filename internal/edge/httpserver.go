package edge

import (
	"context"
	"net"
	"net/http"

	"anthropic-oauth-proxy/internal/telemetry"
)

const (
	headSlop       = 4 << 10 // net/http adds it to the limit
	inboundStreams = 250
)

// What an upload over HTTP/2 may have on its way before it is read, and so
// what one that nobody reads can make us hold. A connection's window has room
// for all of its streams: uploads that wait in line must not hold up those that
// run. Over a path of 50 ms a wide stream moves 20 MiB a second, a narrow one
// 1.3. The first two connections are wide, a gateway's; all others are narrow, so
// that the sum stays bounded.
const (
	wideWindow   = 1 << 20
	narrowWindow = 64 << 10
	wideConns    = 2
)

// http2Server is net/http's server for the proxy port, with HTTP/2 in cleartext
// alone.
func http2Server(h http.Handler, o Options, window int) *http.Server {
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
			MaxReceiveBufferPerStream:     window,
			MaxReceiveBufferPerConnection: inboundStreams * window,
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
