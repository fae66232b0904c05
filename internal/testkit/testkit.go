// Package testkit is what the tests of several rooms share. No product code may
// import it.
package testkit

import (
	"bytes"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for what must come. Only a failing test
// ever waits so long, whatever else the machine does.
const Patience = 20 * time.Second

// Buffer is a bytes.Buffer for many writers and readers. The zero Buffer is
// empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p; it never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is what was written, and not taken, so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Take is String and empties the buffer.
func (b *Buffer) Take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.b.Reset()
	return b.b.String()
}

// Occupied holds a port of the loopback until the test ends, and returns its
// address.
func Occupied(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// Eventually waits until the condition holds. It is for what real sockets and
// processes do; where time is fake, synctest.Wait is better.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !holds(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to pass: %s", what)
		}
	}
}

// Stands reports whether a goroutine's stack has part in it, the name of a
// function for one.
func Stands(part string) bool {
	stacks := make([]byte, 4<<20)
	return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte(part))
}
