package status

import "bytes"

// eventNames reads the names of server-sent events out of a stream, as its
// bytes go by, and nothing else of them (HTML Living Standard 9.2.6). It keeps no
// more than a short name and never fails. The zero value stands at a stream's
// beginning.
type eventNames struct {
	at      place
	matched uint8 // of the field's name
	length  uint8 // of what is kept of the event's
	name    [longestName]byte
	last    StreamEnd // the word that ended the stream; empty before
}

type place uint8

const (
	lineStart place = iota
	inName
	inRest
)

const (
	eventField  = "event:"
	longestName = 16 // longer ones are none that matter
)

// read lets p pass.
func (e *eventNames) read(p []byte) {
	for len(p) > 0 {
		switch e.at {
		case inRest:
			end := bytes.IndexByte(p, '\n')
			if end < 0 {
				return
			}
			p = p[end+1:]
			e.at, e.matched = lineStart, 0
		case lineStart:
			if p[0] != eventField[e.matched] {
				e.at = inRest // this byte too: it may be the line's end
				continue
			}
			p = p[1:]
			if e.matched++; int(e.matched) == len(eventField) {
				e.at, e.length = inName, 0
			}
		case inName:
			end := bytes.IndexByte(p, '\n')
			part := p
			if end >= 0 {
				part = p[:end]
			}
			e.length += uint8(copy(e.name[e.length:], part))
			if end < 0 {
				return
			}
			e.named(bytes.TrimSpace(e.name[:e.length]))
			p = p[end+1:]
			e.at, e.matched = lineStart, 0
		}
	}
}

// named notes a word that ends a message. After message_stop nothing counts.
func (e *eventNames) named(name []byte) {
	switch {
	case e.last == StreamStop:
	case string(name) == string(StreamStop):
		e.last = StreamStop
	case string(name) == string(StreamError):
		e.last = StreamError
	}
}
