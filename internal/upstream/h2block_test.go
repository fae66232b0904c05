package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/testkit"
)

// theirs reads a block as golang.org/x/net's framer does by itself.
func theirs(wire []byte) string {
	fr := http2.NewFramer(nil, bytes.NewReader(wire))
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.MaxHeaderListSize = maxHeadBytes
	f, err := fr.ReadFrame()
	if err != nil {
		return verdict(err)
	}
	m := f.(*http2.MetaHeadersFrame)
	if m.Truncated {
		return "truncated"
	}
	status := m.PseudoValue("status")
	if n := len(m.PseudoFields()); n > 1 || n == 1 && status == "" {
		return verdict(http2.StreamError{Code: http2.ErrCodeProtocol}) // what no answer has, the framer lets pass
	}
	var lines headers.Fields
	for _, field := range m.RegularFields() {
		lines = append(lines, headers.Field{Name: field.Name, Value: field.Value})
	}
	return fmt.Sprintf("%q %q %v", status, lines, m.StreamEnded())
}

// own reads it as the read loop does.
func own(b *fieldBlock, wire []byte) string {
	fr := http2.NewFramer(nil, bytes.NewReader(wire))
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return verdict(err)
		}
		var last bool
		switch f := f.(type) {
		case *http2.HeadersFrame:
			b.begin(f)
			last, err = f.HeadersEnded(), b.add(f.HeaderBlockFragment(), f.HeadersEnded())
		case *http2.ContinuationFrame:
			last, err = f.HeadersEnded(), b.add(f.HeaderBlockFragment(), f.HeadersEnded())
		}
		switch {
		case err != nil:
			return verdict(err)
		case last && b.truncated:
			return "truncated"
		case last:
			return fmt.Sprintf("%q %q %v", b.status, b.take(), b.ended)
		}
	}
}

// verdict is what an error means to the connection.
func verdict(err error) string {
	var connection http2.ConnectionError
	var stream http2.StreamError
	switch {
	case errors.As(err, &connection):
		return fmt.Sprint("connection ", http2.ErrCode(connection))
	case errors.As(err, &stream):
		return fmt.Sprint("stream ", stream.Code)
	}
	return "broken"
}

// inFrames puts a block on the wire, in one frame or in two.
func inFrames(block []byte, cut int, end bool) []byte {
	var wire bytes.Buffer
	fr := http2.NewFramer(&wire, nil)
	if cut = min(cut, len(block)); cut == 0 {
		cut = len(block)
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:cut], EndStream: end, EndHeaders: cut == len(block)})
	if cut < len(block) {
		_ = fr.WriteContinuation(1, true, block[cut:])
	}
	return wire.Bytes()
}

// repeated is a block of one large line and so many references to it.
func repeated(name string, times int) []byte {
	return append(testkit.HeaderBlock(":status", "200", name, strings.Repeat("v", 3900)), bytes.Repeat([]byte{0xbe}, times)...)
}

// A block means here what it means to the library, whatever is in it.
func FuzzFieldBlock(f *testing.F) {
	for _, block := range [][]byte{
		testkit.HeaderBlock(":status", "200", "content-type", "text/plain", "content-type", "twice", "x-empty", ""),
		testkit.HeaderBlock("x-trailer", "1"), testkit.HeaderBlock("x-late", "1", ":status", "200"), testkit.HeaderBlock(":status", "200", ":status", "200"),
		testkit.HeaderBlock(":path", "/"), testkit.HeaderBlock(":status", ""), testkit.HeaderBlock(":status", "200", "", "no name"),
		testkit.HeaderBlock(":status", "200", "X-Upper", "1"), testkit.HeaderBlock(":status", "200", "a b", "1"), testkit.HeaderBlock(":status", "200", "x", "a\r\nb: c"),
		repeated("x-large", 60), repeated("x-large", 80), {0xff}, {0x82}, []byte("\x87000"), {},
	} {
		f.Add(block, uint16(0), false)
		f.Add(block, uint16(3), true)
	}
	f.Fuzz(func(t *testing.T, block []byte, cut uint16, end bool) {
		if len(block) > 3*defaultFrame/2 || int(cut) > defaultFrame {
			t.Skip("no frame is that large")
		}
		wire, b := inFrames(block, int(cut), end), newFieldBlock()
		want := theirs(wire)
		if want == "truncated" && bytes.Contains(block, []byte("trailer")) {
			t.Skip("the library has a second allowance for it")
		}
		if got := own(b, wire); got != want {
			t.Errorf("it means %s, to the library %s", got, want)
		}
		// Nothing is left of it in the next one.
		b.decoder = newFieldBlock().decoder
		b.decoder.SetEmitFunc(b.emit)
		wire = inFrames(testkit.HeaderBlock(":status", "204", "x-next", "1"), 0, true)
		if got, want := own(b, wire), theirs(wire); got != want {
			t.Errorf("the next one means %s, not %s", got, want)
		}
	})
}

// What the head of a real answer costs, beside the library's way.
func BenchmarkFieldBlock(b *testing.B) {
	pairs := []string{":status", "200", "content-type", "application/json", "content-length", "800"}
	for _, name := range []string{"status", "reset", "5h-status", "5h-reset", "5h-utilization", "7d-status", "7d-reset", "7d-utilization",
		"representative-claim", "fallback-percentage", "overage-status", "overage-disabled-reason"} {
		pairs = append(pairs, "anthropic-ratelimit-unified-"+name, "4102444800")
	}
	pairs = append(pairs, "date", "Thu, 01 Jan 2026 00:00:00 GMT", "request-id", "req_1", "anthropic-organization-id", "11111111-2222", "server", "x")
	wire := inFrames(testkit.HeaderBlock(pairs...), 0, false)
	b.Run("own", func(b *testing.B) {
		block, in := newFieldBlock(), bytes.NewReader(nil)
		fr := http2.NewFramer(nil, in)
		b.ReportAllocs()
		for b.Loop() {
			in.Reset(wire)
			f, _ := fr.ReadFrame()
			block.begin(f.(*http2.HeadersFrame))
			_ = block.add(f.(*http2.HeadersFrame).HeaderBlockFragment(), true)
			block.take()
		}
	})
	b.Run("library", func(b *testing.B) {
		in := bytes.NewReader(nil)
		fr := http2.NewFramer(nil, in)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		b.ReportAllocs()
		for b.Loop() {
			in.Reset(wire)
			f, _ := fr.ReadFrame()
			fields := f.(*http2.MetaHeadersFrame).RegularFields()
			h := make(headers.Fields, len(fields), len(fields)+1)
			for i, field := range fields {
				h[i] = headers.Field{Name: field.Name, Value: field.Value}
			}
		}
	})
}

// A head that goes on for ever with frames that hold nothing costs its
// connection, and soon.
func TestAHeadWithoutAnEnd(t *testing.T) {
	in(t, func(t *testing.T, f *far) {
		farPeers(t, f, func(_ int, p *peer) {
			_ = p.WriteSettings(limit(100))
			id := p.request()
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id})
			for range 2 * mostFrames {
				_ = p.WriteContinuation(id, false, nil)
			}
			p.Drain()
		})
		ctx, cancel := context.WithTimeout(t.Context(), quietTime/2) // before a ping can find it
		defer cancel()
		if _, err := get(ctx, farPool(t, f), "/"); err == nil || ctx.Err() != nil {
			t.Errorf("a head without an end ends with %v", err)
		}
	})
}
