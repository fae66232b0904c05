package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// requestBody is about what a short turn of a conversation weighs.
var requestBody = `{"model":"claude-sim-1","max_tokens":1024,"stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("question ", 160) + `"}]}`

// request is a whole request with the headers that Claude Code sends.
func request(query string) []byte {
	return []byte("POST /v1/messages?beta=true" + query + " HTTP/1.1\r\n" +
		"Host: ai\r\n" +
		"Accept: application/json\r\n" +
		"Authorization: Bearer sk-ant-oat01-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n" +
		"Content-Type: application/json\r\n" +
		"User-Agent: claude-cli/2.1.197 (external, cli)\r\n" +
		"X-Claude-Code-Session-Id: 0f0f0f0f-1111-2222-3333-444444444444\r\n" +
		"X-Stainless-Arch: x64\r\n" +
		"X-Stainless-Lang: js\r\n" +
		"X-Stainless-Os: Linux\r\n" +
		"X-Stainless-Package-Version: 0.74.0\r\n" +
		"X-Stainless-Retry-Count: 0\r\n" +
		"X-Stainless-Runtime: node\r\n" +
		"X-Stainless-Runtime-Version: v24.3.0\r\n" +
		"X-Stainless-Timeout: 600\r\n" +
		"X-Stainless-Helper-Method: stream\r\n" +
		"Anthropic-Beta: claude-code-20250219,oauth-2025-04-20,interleaved-thinking-2025-05-14,context-management-2025-06-27,prompt-caching-scope-2026-01-05,fine-grained-tool-streaming-2025-05-14,effort-2025-11-24,adaptive-thinking-2026-01-28\r\n" +
		"Anthropic-Dangerous-Direct-Browser-Access: true\r\n" +
		"Anthropic-Version: 2023-06-01\r\n" +
		"X-App: cli\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: *\r\n" +
		"Sec-Fetch-Mode: cors\r\n" +
		"Connection: keep-alive\r\n" +
		"Content-Length: " + strconv.Itoa(len(requestBody)) + "\r\n\r\n" + requestBody)
}

// A client is one connection to a proxy, driven by hand: it must cost less
// than the proxies under measurement.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func dial(addr string) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, r: bufio.NewReaderSize(conn, 4<<10)}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// send writes a request and reads the status line and the headers of its
// answer; a status other than 200 is an error.
func (c *client) send(request []byte) (length int, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, fmt.Errorf("send request: %w", err)
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("read status: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return 0, fmt.Errorf("read status: got %q", line)
	}
	return c.readHeader()
}

// readHeader returns the Content-Length of the answer, -1 when it is chunked.
func (c *client) readHeader() (length int, err error) {
	length = -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, fmt.Errorf("read header: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, nil
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, fmt.Errorf("read header: %w", err)
			}
		}
	}
}

// exchange sends a request and reads its JSON answer to the end.
func (c *client) exchange(request []byte) error {
	length, err := c.send(request)
	if err != nil {
		return err
	}
	if length != len(jsonBody) {
		return fmt.Errorf("read answer: its length is %d, want %d", length, len(jsonBody))
	}
	_, err = c.r.Discard(length)
	return err
}

// stream sends a request and reads as far as the first event of its answer.
func (c *client) stream(request []byte) error {
	if _, err := c.send(request); err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	if err := c.readUntil("message_start"); err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	return c.conn.SetDeadline(time.Time{})
}

// openStream is stream on a connection of its own.
func openStream(addr, query string) (*client, error) {
	return dialed(addr, func(c *client) error { return c.stream(request(query)) })
}

// dialed connects and does one thing on the connection.
func dialed(addr string, do func(*client) error) (*client, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if err := do(c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) readUntil(text string) error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
		if bytes.Contains(line, []byte(text)) {
			return nil
		}
	}
}

// openStreams opens n streams, 64 at a time.
func openStreams(addr, query string, n int) ([]*client, error) {
	req := request(query)
	return openMany(addr, n, func(c *client) error { return c.stream(req) })
}

// openMany opens n connections, 64 at a time, and does one thing on each.
func openMany(addr string, n int, do func(*client) error) ([]*client, error) {
	var (
		next    atomic.Int64
		workers sync.WaitGroup
		open    = make([]*client, n)
		errs    = make([]error, n)
	)
	for range 64 {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				open[i], errs[i] = dialed(addr, do)
			}
		})
	}
	workers.Wait()
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(failed) > 0 {
		closeAll(slices.DeleteFunc(open, func(c *client) bool { return c == nil }))
		return nil, fmt.Errorf("open %d connections: %d failed, first: %w", n, len(failed), failed[0])
	}
	return open, nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		c.close()
	}
}

// drain reads everything that comes until the connection ends.
func (c *client) drain() (int64, error) { return io.Copy(io.Discard, c.r) }
