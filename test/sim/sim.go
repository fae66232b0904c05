// Package sim is a simulated Claude API for tests and measurements.
//
// It speaks HTTP/1.1 in plain text, HTTP/1.1 over TLS, or HTTP/2 over TLS,
// answers the endpoints that clients use, and does to each request what its
// [Plan] says: stream slowly or step by step, compress, fail, hang, answer too
// early, break off. It records what arrived and when a client left. It listens
// on loopback unless told otherwise, checks no credential and never dials
// anybody.
package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Protocol is what the simulated API speaks.
type Protocol string

// The protocols.
const (
	Plain Protocol = "plain" // HTTP/1.1 without TLS
	TLS1  Protocol = "tls1"  // HTTP/1.1 over TLS
	TLS2  Protocol = "tls2"  // HTTP/2 over TLS, and HTTP/1.1 for who cannot
)

// Options say where and how an [API] listens. The zero value is HTTP/2 over
// TLS on a free loopback port.
type Options struct {
	Addr     string   // host:port; "" means 127.0.0.1:0
	Protocol Protocol // "" means TLS2
	CA       *CA      // nil makes a new one when TLS is spoken
	// MaxStreams bounds the concurrent streams of one HTTP/2 connection; 0
	// means 100, as the real API.
	MaxStreams int
}

// An API is a running simulated API. Its methods are safe for concurrent use.
type API struct {
	addr     net.Addr
	protocol Protocol
	ca       *CA
	server   *http.Server
	served   chan struct{}

	defaultPlan atomic.Value // func(*http.Request) Plan
	ledger      ledger
	nextID      atomic.Uint64

	gatesMu sync.Mutex
	gates   map[string]chan struct{}
}

// Start begins to listen and to serve. The caller must Close the API.
func Start(o Options) (*API, error) {
	if o.Protocol == "" {
		o.Protocol = TLS2
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.MaxStreams == 0 {
		o.MaxStreams = 100
	}
	if o.CA == nil && o.Protocol != Plain {
		ca, err := NewCA()
		if err != nil {
			return nil, err
		}
		o.CA = ca
	}
	socket, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a := &API{
		addr: socket.Addr(), protocol: o.Protocol, ca: o.CA,
		served: make(chan struct{}),
		ledger: ledger{changed: make(chan struct{})},
		gates:  map[string]chan struct{}{},
	}
	a.SetPlan(func(*http.Request) Plan { return Plan{} })
	a.server = &http.Server{
		Handler:        http.HandlerFunc(a.serve),
		ConnContext:    withTap,
		ErrorLog:       log.New(io.Discard, "", 0), // cut connections are the plan here
		MaxHeaderBytes: 1 << 20,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: o.MaxStreams, MaxReadFrameSize: 16 << 10},
	}
	if err := a.listen(socket); err != nil {
		socket.Close()
		return nil, err
	}
	return a, nil
}

// listen starts the goroutine that serves; Close ends and awaits it.
func (a *API) listen(socket net.Listener) error {
	serve := func() error { return a.server.Serve(tapListener{socket}) }
	switch a.protocol {
	case Plain:
	case TLS1:
		conf, err := a.ca.ServerConfig("http/1.1")
		if err != nil {
			return err
		}
		serve = func() error { return a.server.Serve(tapListener{tls.NewListener(socket, conf)}) }
	case TLS2:
		conf, err := a.ca.ServerConfig("h2", "http/1.1")
		if err != nil {
			return err
		}
		a.server.TLSConfig = conf
		serve = func() error { return a.server.ServeTLS(socket, "", "") }
	default:
		return fmt.Errorf("start simulated API: unknown protocol %q", a.protocol)
	}
	go func() {
		defer close(a.served)
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("serve simulated API: %v", err))
		}
	}()
	return nil
}

// Close breaks every connection and waits until the API serves no more.
func (a *API) Close() {
	a.server.Close()
	<-a.served
}

// Addr is the address the API listens on, as host:port.
func (a *API) Addr() string { return a.addr.String() }

// URL is the API's base URL, without a path.
func (a *API) URL() string {
	if a.protocol == Plain {
		return "http://" + a.Addr()
	}
	return "https://" + a.Addr()
}

// CA returns the authority that signed the API's certificate; nil without TLS.
func (a *API) CA() *CA { return a.ca }

// SetPlan chooses the plan of every request that carries none.
func (a *API) SetPlan(plan func(*http.Request) Plan) { a.defaultPlan.Store(plan) }

// Wait returns the request whose plan has that name, as soon as it arrives.
func (a *API) Wait(ctx context.Context, name string) (*Request, error) {
	return a.ledger.wait(ctx, name)
}

// Requests returns the newest records, oldest first.
func (a *API) Requests() []*Request {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	return append([]*Request(nil), a.ledger.requests...)
}

// Total is how many requests have arrived in all.
func (a *API) Total() int {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	return a.ledger.total
}

// gateRoom bounds the events that may be released ahead of their stream.
const gateRoom = 4096

// Release lets the next n events of the gated stream with that name go. It
// may be called before the request arrives.
func (a *API) Release(name string, n int) {
	gate := a.gate(name)
	for range n {
		gate <- struct{}{}
	}
}

func (a *API) gate(name string) chan struct{} {
	a.gatesMu.Lock()
	defer a.gatesMu.Unlock()
	gate := a.gates[name]
	if gate == nil {
		gate = make(chan struct{}, gateRoom)
		a.gates[name] = gate
	}
	return gate
}

// serve records a request, does what its plan says and records how it ended.
func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	plan, err := a.planOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotImplemented)
		return
	}
	rec := &Request{
		Name: plan.Name, Method: r.Method, Target: r.RequestURI, Proto: r.Proto, Host: r.Host,
		Header: r.Header.Clone(), Lines: tappedLines(r), Arrived: time.Now(), ended: make(chan struct{}),
	}
	a.ledger.add(rec)
	x := &exchange{api: a, plan: plan, rec: rec, w: w, r: r, rc: http.NewResponseController(w), id: a.nextID.Add(1)}
	defer func() {
		if rec.Outcome == "" {
			rec.Outcome = Cancelled
		}
		rec.EndedAt = time.Now()
		close(rec.ended)
	}()
	x.run()
}
