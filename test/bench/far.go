package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// farTrips are the round trips between a proxy and the API that are measured
// beside loopback's.
var farTrips = []time.Duration{20 * time.Millisecond, 100 * time.Millisecond}

const (
	farSize  = 8 << 20
	farBurst = 60
)

// far names a metric at a round trip.
func far(what string, trip time.Duration) metric {
	return metric(fmt.Sprintf("API %d ms away: %s, ms", trip.Milliseconds(), what))
}

// Over a long path time is what counts, not CPU.
const (
	farFirst = "first byte"
	farDown  = "8 MiB down"
	farUp    = "8 MiB up"
	farCrowd = "60 requests at once"
)

func farMetrics() (all []metric) {
	for _, trip := range farTrips {
		for _, what := range []string{farFirst, farDown, farCrowd, farUp} {
			all = append(all, far(what, trip))
		}
	}
	return all
}

// A relay passes connections on to an address, each byte half a round trip
// late. It reads as fast as it can and forgets nothing: the link has no limit
// but its delay.
type relay struct {
	socket net.Listener
	to     string
	delay  time.Duration
}

func startRelay(to string, trip time.Duration) (*relay, error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{socket: socket, to: to, delay: trip / 2}
	go r.accept() // until the listener is closed
	return r, nil
}

func (r *relay) accept() {
	for {
		near, err := r.socket.Accept()
		if err != nil {
			return
		}
		go func() {
			time.Sleep(2 * r.delay) // the connection's own round trip, seen by its first bytes
			there, err := net.Dial("tcp", r.to)
			if err != nil {
				_ = near.Close()
				return
			}
			go r.pass(there, near)
			r.pass(near, there)
		}()
	}
}

type parcel struct {
	at   time.Time
	data []byte
}

// pass moves one direction until it ends.
func (r *relay) pass(to, from net.Conn) {
	line := make(chan parcel, 1<<16)
	go func() {
		defer close(line)
		for {
			data := make([]byte, 64<<10)
			n, err := from.Read(data)
			if n > 0 {
				line <- parcel{time.Now().Add(r.delay), data[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range line {
		time.Sleep(time.Until(p.at))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_ = to.Close()
	for range line { // the reader must not wait for us
	}
}

// measureFar runs every proxy against the API behind each relay.
func (b *bench) measureFar(able []peer, up *upstream) error {
	for _, trip := range farTrips {
		r, err := startRelay(up.addr, trip)
		if err != nil {
			return err
		}
		away := &upstream{protocol: up.protocol, addr: r.socket.Addr().String(), caFile: up.caFile}
		for _, p := range able {
			if err := b.measureFarPeer(p, away, trip); err != nil {
				return fmt.Errorf("%s, %v away: %w", p.name, trip, err)
			}
			progress("%s: %s at %v done", up.protocol, p.name, trip)
		}
		_ = r.socket.Close()
	}
	return nil
}

func (b *bench) measureFarPeer(p peer, away *upstream, trip time.Duration) error {
	proc, err := b.launch(p, away)
	if err != nil {
		return err
	}
	defer proc.stop()
	if err := takeFar(proc.addr, "", nil); err != nil { // the connection stands
		return err
	}
	for range b.rounds {
		for _, step := range []struct {
			what string
			take func() error
		}{
			{farFirst, func() error { return takeFar(proc.addr, "", nil) }},
			{farDown, func() error { return takeFar(proc.addr, "&mode=down", nil) }},
			{farCrowd, func() error { return crowd(proc.addr) }},
			{farUp, func() error { return takeFar(proc.addr, "", make([]byte, farSize)) }},
		} {
			start := time.Now()
			if err := step.take(); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
			b.results.add(far(step.what, trip), away.protocol, p.name, milliseconds(time.Since(start)))
		}
	}
	return nil
}

// takeFar sends one request and reads its answer to the end.
func takeFar(addr, query string, body []byte) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.close()
	req := request(query)
	if body != nil {
		head := strings.SplitAfter(string(req), "\r\n\r\n")[0]
		head = strings.Replace(head, "Content-Length: "+strconv.Itoa(len(requestBody)), "Content-Length: "+strconv.Itoa(len(body)), 1)
		req = append([]byte(head), body...)
	}
	length, err := c.send(req)
	if err != nil {
		return err
	}
	if want := map[bool]int{true: farSize, false: len(jsonBody)}[query != ""]; length != want {
		return fmt.Errorf("read answer: its length is %d, want %d", length, want)
	}
	_, err = io.CopyN(io.Discard, c.r, int64(length))
	return err
}

func crowd(addr string) error {
	var all sync.WaitGroup
	errs := make([]error, farBurst)
	for i := range errs {
		all.Go(func() { errs[i] = takeFar(addr, "", nil) })
	}
	all.Wait()
	return errors.Join(errs...)
}

var farBlock = make([]byte, 64<<10)

// writeDown sends the content of a large answer.
func writeDown(w io.Writer) error {
	for range farSize / len(farBlock) {
		if _, err := w.Write(farBlock); err != nil {
			return err
		}
	}
	return nil
}
