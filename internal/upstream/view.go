package upstream

import "time"

// Protocol is what a connection to the API speaks.
type Protocol string

// The protocols.
const (
	HTTP1 Protocol = "HTTP/1.1"
	HTTP2 Protocol = "HTTP/2"
)

// Connection is what can be told of an open connection to the API.
type Connection struct {
	Protocol Protocol
	Remote   string // address and port, of the egress proxy where there is one
	Age      time.Duration
	// Handshake is what TLS took; 0 without TLS.
	Handshake time.Duration
	// Streams are the requests on it now, Limit how many the API allows; 0 as
	// long as it has not said so.
	Streams, Limit int
	// RTT is the last round trip measured, by a ping or by SETTINGS; 0 over
	// HTTP/1.1 and before the first one.
	RTT time.Duration
	// Leaving: it carries what it carries and nothing new. Doubtful: a ping
	// waits for its answer.
	Leaving, Doubtful bool
}

// Load is what the pool does now.
type Load struct {
	Connections []Connection
	// Waiting requests have no place yet; Dialling connections are being made.
	Waiting, Dialling int
}

// View returns a snapshot. It may be called from any goroutine.
func (p *Pool) View() Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune()
	v := Load{Waiting: len(p.line), Dialling: p.growth.running}
	for _, c := range p.shared {
		v.Connections = append(v.Connections, c.view())
	}
	idle := make(map[*h1Conn]bool, len(p.idle))
	for _, c := range p.idle {
		idle[c] = true
	}
	for c := range p.open {
		v.Connections = append(v.Connections, c.view(!idle[c]))
	}
	return v
}

func (c *h1Conn) view(busy bool) Connection {
	v := Connection{Protocol: HTTP1, Remote: c.facts.remote, Age: time.Since(c.facts.born), Handshake: c.facts.handshake, Limit: 1}
	if busy {
		v.Streams = 1
	}
	return v
}

func (c *h2Conn) view() Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := Connection{
		Protocol: HTTP2, Remote: c.facts.remote, Age: time.Since(c.facts.born), Handshake: c.facts.handshake,
		Streams: len(c.streams), RTT: c.pulse.rtt, Leaving: c.leaving, Doubtful: c.pulse.doubtful(),
	}
	if c.places.greeted {
		v.Limit = int(min(c.places.limit, mostStreams))
	}
	return v
}
