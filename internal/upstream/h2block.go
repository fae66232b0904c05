package upstream

import (
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"anthropic-oauth-proxy/internal/headers"
)

// fieldBlock is a head or a trailer as its frames come: HEADERS and the
// CONTINUATION frames behind it (RFC 9113 4.3), whose order the framer sees to.
// It holds an answer to what golang.org/x/net's framer would with ReadMetaHeaders,
// and a test holds it to that; but the memory in which one block gathers serves
// the next one too. It belongs to the read loop.
type fieldBlock struct {
	decoder *hpack.Decoder
	stream  uint32
	ended   bool           // with END_STREAM: nothing follows
	status  string         // empty in a trailer
	fields  headers.Fields // without :status
	left    uint32         // of what a block may hold, as RFC 9113 6.5.2 counts
	frames  int            // of the block so far

	malformed bool // RFC 9113 8.1.1
	foreign   bool // so is a pseudo-header field that no answer has, or a second one
	truncated bool // larger than a block may be
}

// mostFrames is how many frames a block may have: one that goes on for ever with
// frames that hold nothing would keep the connection from everybody.
const mostFrames = 1024

// mostScratch is how many lines' memory is kept for the next block.
const mostScratch = 64

func newFieldBlock() *fieldBlock {
	b := &fieldBlock{}
	b.decoder = hpack.NewDecoder(4096, b.emit)
	b.decoder.SetMaxStringLength(maxHeadBytes)
	return b
}

func (b *fieldBlock) begin(f *http2.HeadersFrame) {
	b.stream, b.ended = f.StreamID, f.StreamEnded()
	b.status, b.fields, b.left, b.frames = "", b.fields[:0], maxHeadBytes, 0
	b.malformed, b.foreign, b.truncated = false, false, false
	b.decoder.SetEmitEnabled(true)
}

// add takes a fragment. What is behind a line that is refused already is not
// worth the work of reading it.
func (b *fieldBlock) add(fragment []byte, last bool) error {
	if b.malformed || b.truncated {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if b.frames++; b.frames > mostFrames {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if _, err := b.decoder.Write(fragment); err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	if !last {
		return nil
	}
	if err := b.decoder.Close(); err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	if b.malformed || b.foreign {
		return http2.StreamError{StreamID: b.stream, Code: http2.ErrCodeProtocol}
	}
	return nil
}

// emit takes a line from the decoder.
func (b *fieldBlock) emit(f hpack.HeaderField) {
	size, pseudo := f.Size(), f.IsPseudo()
	b.malformed = !httpguts.ValidHeaderFieldValue(f.Value) || pseudo && len(b.fields) > 0 || !pseudo && !isFieldName(f.Name)
	b.truncated = !b.malformed && size > b.left
	if b.malformed || b.truncated {
		b.decoder.SetEmitEnabled(false)
		return
	}
	b.left -= size
	switch {
	case !pseudo:
		b.fields = append(b.fields, headers.Field{Name: f.Name, Value: f.Value})
	case f.Name != ":status" || f.Value == "" || b.status != "":
		b.foreign = true
	default:
		b.status = f.Value
	}
}

// isFieldName reports whether a name is a token in lower case (RFC 9113 8.2.1).
func isFieldName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return 'A' <= r && r <= 'Z' || !httpguts.IsTokenRune(r) })
}

// take copies the lines out, with room for one of ours.
func (b *fieldBlock) take() headers.Fields {
	h := make(headers.Fields, len(b.fields), len(b.fields)+1)
	copy(h, b.fields)
	clear(b.fields)
	if cap(b.fields) > mostScratch {
		b.fields = nil
	}
	return h
}
