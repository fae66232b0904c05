package upstream

import "time"

// mostWindow is the largest window that HTTP/2 knows (RFC 9113 6.9.1).
const mostWindow = 1<<31 - 1

// sendWindow is what the API still lets us send. It may be below zero
// (RFC 9113 6.9.2).
type sendWindow struct{ left int64 }

// add takes a WINDOW_UPDATE, or the difference that new SETTINGS make. It is
// false when the window has become larger than there may be.
func (w *sendWindow) add(n int64) bool {
	w.left += n
	return w.left <= mostWindow
}

// spend is for n bytes that are sent.
func (w *sendWindow) spend(n int64) { w.left -= n }

// sharedWindow is a connection's, which knows for how long all its streams wait.
type sharedWindow struct {
	sendWindow
	shut time.Time // when it ran out; zero while it is open
}

func (w *sharedWindow) add(n int64) bool {
	within := w.sendWindow.add(n)
	if w.left > 0 {
		w.shut = time.Time{}
	}
	return within
}

func (w *sharedWindow) spend(n int64) {
	w.sendWindow.spend(n)
	if w.left <= 0 && w.shut.IsZero() {
		w.shut = time.Now()
	}
}

// shutFor tells for how long nothing could be sent.
func (w *sharedWindow) shutFor() time.Duration {
	if w.shut.IsZero() {
		return 0
	}
	return time.Since(w.shut)
}

// receiveWindow is what we let the API send. What it may send and what has
// come and was not read make up its size, once everything is announced.
type receiveWindow struct {
	size int
	left int // that the API may still send; below zero after a size was taken back
	held int // come, and not read
}

func newReceiveWindow(size int) receiveWindow { return receiveWindow{size: size, left: size} }

// receive is for n bytes that came. It is false when they were too many.
func (w *receiveWindow) receive(n int) bool {
	w.left -= n
	w.held += n
	return w.left >= 0
}

// consume is for n bytes that were read.
func (w *receiveWindow) consume(n int) { w.held -= n }

// announce returns what a WINDOW_UPDATE gives back now; 0 as long as it is not
// worth a frame.
func (w *receiveWindow) announce() int {
	n := w.size - w.left - w.held
	if n <= 0 || n < w.size/8 {
		return 0
	}
	w.left += n
	return n
}

// pace tells a reader that keeps up from one that waits: it has read an eighth
// of its window within a round trip.
type pace struct {
	read  int
	since time.Duration // of the connection's life
}

// leastPace is the round trip that a reader is measured by at least: the
// scheduler alone makes a loopback's too short.
const leastPace = 25 * time.Millisecond

func (p *pace) keepsUp(n, size int, rtt, now time.Duration) bool {
	if now-p.since > max(rtt, leastPace) {
		p.read, p.since = 0, now
	}
	if p.read += n; p.read < size/8 {
		return false
	}
	p.read, p.since = 0, now
	return true
}

// streamState is a stream's state as RFC 9113 5.1 names it. A stream is opened
// with its head, and nothing is pushed to us: idle and reserved do not occur.
type streamState uint8

const (
	streamOpen streamState = iota
	streamHalfClosedLocal
	streamHalfClosedRemote
	streamClosed
)

// maySend reports whether content of ours may follow.
func (s streamState) maySend() bool { return s == streamOpen || s == streamHalfClosedRemote }

// mayReceive reports whether frames of the API's may follow.
func (s streamState) mayReceive() bool { return s == streamOpen || s == streamHalfClosedLocal }

// endLocal follows our END_STREAM.
func (s streamState) endLocal() streamState {
	if s == streamOpen {
		return streamHalfClosedLocal
	}
	return streamClosed
}

// endRemote follows the API's.
func (s streamState) endRemote() streamState {
	if s == streamOpen {
		return streamHalfClosedRemote
	}
	return streamClosed
}
