package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"anthropic-oauth-proxy/test/sim"
)

// An upstream is the API side of a measurement. What a request gets is in its
// query: nothing (JSON), mode=down (8 MiB), mode=stream (paced deltas until the client leaves) or
// mode=wait (one event, then silence). With id=N the moment at which the
// client left is reported to the channel of [upstream.left].
type upstream struct {
	protocol sim.Protocol
	addr     string
	caFile   string
	chunks   atomic.Int64 // deltas written so far

	mu      sync.Mutex
	ids     int
	waiters map[string]chan time.Time
}

func startUpstream(protocol sim.Protocol, ca *sim.CA, caFile string) (*upstream, error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	u := &upstream{protocol: protocol, addr: socket.Addr().String(), caFile: caFile, waiters: map[string]chan time.Time{}}
	switch protocol {
	case sim.TLS2:
		conf, err := ca.ServerConfig("h2")
		if err != nil {
			return nil, err
		}
		server := &http.Server{
			Handler: http.HandlerFunc(u.serveHTTP2), TLSConfig: conf, ErrorLog: log.New(io.Discard, "", 0),
			// Frames of 16 KiB are what servers other than Go's accept.
			HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100, MaxReadFrameSize: 16 << 10},
		}
		go server.ServeTLS(socket, "", "") // until the process ends
		return u, nil
	case sim.TLS1:
		conf, err := ca.ServerConfig("http/1.1")
		if err != nil {
			return nil, err
		}
		socket = tls.NewListener(socket, conf)
	}
	go u.accept(socket) // until the process ends
	return u, nil
}

func (u *upstream) url() string {
	if u.protocol == sim.Plain {
		return "http://" + u.addr
	}
	return "https://" + u.addr
}

// left makes an id and returns where the leaving of the client that sends it is
// reported.
func (u *upstream) left() (id string, at <-chan time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids++
	id = strconv.Itoa(u.ids)
	c := make(chan time.Time, 1)
	u.waiters[id] = c
	return id, c
}

func (u *upstream) report(target string) {
	_, id, found := strings.Cut(target, "id=")
	if !found {
		return
	}
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if c := u.waiters[id]; c != nil {
		delete(u.waiters, id)
		c <- now
	}
}

func (u *upstream) accept(socket net.Listener) {
	for {
		conn, err := socket.Accept()
		if err != nil {
			return
		}
		go u.serveHTTP1(conn)
	}
}

// serveHTTP1 serves one connection by hand: net/http would cost several times
// as much as the proxies under measurement.
func (u *upstream) serveHTTP1(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 4<<10)
	answer := []byte(jsonHead + jsonBody)
	for {
		target, err := readRequest(r)
		if err != nil {
			return
		}
		switch {
		case strings.Contains(target, "mode=stream"):
			u.pace(conn, r, target)
			return
		case strings.Contains(target, "mode=down"):
			if _, err := io.WriteString(conn, downHead); err != nil || writeDown(conn) != nil {
				return
			}
			continue
		case strings.Contains(target, "mode=wait"):
			if _, err := conn.Write(append([]byte(sseHead), chunked(sseFirst)...)); err != nil {
				return
			}
			_, _ = r.ReadByte() // nothing more comes: this waits for the end
			u.report(target)
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// pace writes deltas until the client leaves. A goroutine of its own sees
// that; it ends with the connection.
func (u *upstream) pace(conn net.Conn, r *bufio.Reader, target string) {
	if _, err := conn.Write(append([]byte(sseHead), chunked(sseFirst)...)); err != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = r.ReadByte()
		u.report(target)
	}()
	delta := chunked(sseDelta)
	ticker := time.NewTicker(time.Second / chunksPerSecond)
	defer ticker.Stop()
	for {
		select {
		case <-gone:
			return
		case <-ticker.C:
			if _, err := conn.Write(delta); err != nil {
				return
			}
			u.chunks.Add(1)
		}
	}
}

func (u *upstream) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	for _, f := range apiFields {
		w.Header()[f[0]] = []string{f[1]}
	}
	mode := r.URL.Query().Get("mode")
	if mode == "" {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(jsonBody)))
		_, _ = io.WriteString(w, jsonBody)
		return
	}
	if mode == "down" {
		w.Header().Set("Content-Length", strconv.Itoa(farSize))
		_ = writeDown(w)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	rc := http.NewResponseController(w)
	if _, err := io.WriteString(w, sseFirst); err != nil || rc.Flush() != nil {
		return
	}
	defer u.report(r.RequestURI)
	if mode == "wait" {
		<-r.Context().Done()
		return
	}
	ticker := time.NewTicker(time.Second / chunksPerSecond)
	defer ticker.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
			if _, err := io.WriteString(w, sseDelta); err != nil || rc.Flush() != nil {
				return
			}
			u.chunks.Add(1)
		}
	}
}

// readRequest reads one request with its body and returns its target.
func readRequest(r *bufio.Reader) (target string, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return "", errors.New("read request: malformed request line")
	}
	return fields[1], discardBody(r)
}

// discardBody reads a header block and the body that it announces.
func discardBody(r *bufio.Reader) error {
	length, chunks := 0, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return fmt.Errorf("read content-length: %w", err)
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunks = true
		}
	}
	if !chunks {
		_, err := r.Discard(length)
		return err
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return fmt.Errorf("read chunk size: %w", err)
		}
		if _, err := r.Discard(int(size) + 2); err != nil || size == 0 {
			return err
		}
	}
}
