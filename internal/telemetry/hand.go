package telemetry

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"syscall"

	"github.com/rs/zerolog"
)

// hand is what one goroutine carries to a writer: whole lines, the first one
// perhaps without a beginning that has been written.
type hand struct {
	lines  []byte
	torn   bool   // the writer has the beginning of lines
	again  bool   // the writer was busy: lines are to be offered once more
	flows  bool   // the writer took all that it was last given
	untold uint64 // lines that are missing behind lines, and nothing has said so
	// A note of noted missing lines begins at noteAt; noted is 0 once it is told.
	noteAt int
	noted  uint64
	spare  []byte
}

// fill adds lines, behind a note of what is missing before them, and returns
// the buffer for the next ones.
func (h *hand) fill(lines []byte) (next []byte) {
	if h.untold == 0 && len(h.lines) == 0 {
		h.lines, next, h.spare = lines, h.spare, nil
		return next
	}
	if h.untold > 0 {
		h.noteAt, h.noted, h.untold = len(h.lines), h.untold, 0
		h.lines = append(h.lines, note(h.noted)...)
	}
	h.lines = append(h.lines, lines...)
	return lines[:0]
}

// note is the line about missing lines. It is said at any level.
func note(missing uint64) []byte {
	var line bytes.Buffer
	log := zerolog.New(&line).With().Timestamp().Logger()
	log.Warn().Str("event", "log_lines_dropped").Uint64("lines", missing).
		Msg("lines are missing here: stdout was full, stuck or gone")
	return line.Bytes()
}

// send writes the lines and returns how many were lost for good.
func (h *hand) send(w io.Writer) (lost int, err error) {
	n, err := w.Write(h.lines)
	if n > 0 {
		h.torn = h.lines[n-1] != '\n'
	}
	if n > h.noteAt {
		h.noted = 0
	}
	h.noteAt = max(h.noteAt-n, 0)
	if n < len(h.lines) {
		h.lines, h.flows = h.lines[n:], false
		err = cmp.Or(err, io.ErrShortWrite)
		// A stdout that somebody else made non-blocking.
		if h.again = errors.Is(err, syscall.EAGAIN); h.again {
			return 0, err
		}
		return h.lose(), err
	}
	if cap(h.lines) <= keptBuffer {
		h.spare = h.lines[:0]
	}
	h.lines, h.flows, h.again = nil, true, false
	return 0, nil
}

// lose drops the lines but for the end of one that has begun: without it the
// next line would be unreadable too. A note is no line of the logger's.
func (h *hand) lose() int {
	keep := 0
	if h.torn {
		keep = bytes.IndexByte(h.lines, '\n') + 1
	}
	lost := bytes.Count(h.lines[keep:], []byte("\n"))
	if h.noted > 0 {
		lost--
	}
	h.untold += h.noted + uint64(lost)
	h.lines, h.noted = h.lines[:keep], 0
	return lost
}
