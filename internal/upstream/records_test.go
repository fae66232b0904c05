package upstream

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"testing"

	"golang.org/x/net/http2"
)

// A frame with content shares its TLS record with no other frame, and what is
// sent is the body all the same.
func TestContentHasItsOwnRecords(t *testing.T) {
	for _, whole := range []bool{true, false} {
		in(t, func(t *testing.T, f *far) {
			const size = 60 << 10 // within the windows that a peer begins with
			got := make(chan []byte, 1)
			go func() {
				c, err := f.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				secure := tls.Server(c, lent.Clone())
				_, _ = secure.Write(settingsFrame())
				var content, rest []byte
				record := make([]byte, 64<<10)
				for len(content) < size {
					n, err := secure.Read(record) // one record at a time
					if err != nil {
						t.Error(err)
						break
					}
					plain := append(rest, bytes.TrimPrefix(record[:n], []byte(http2.ClientPreface))...)
					rest = nil
					for frames := 0; len(plain) >= 9; frames++ {
						end := 9 + int(binary.BigEndian.Uint32(plain)>>8)
						data := plain[3] == byte(http2.FrameData)
						if data && (frames > 0 || len(plain) > end) {
							t.Errorf("whole=%v: content shares a record with other frames", whole)
						}
						if len(plain) < end { // it goes on in the next record
							rest = append(rest, plain...)
							break
						}
						if data {
							content = append(content, plain[9:end]...)
						}
						plain = plain[end:]
					}
				}
				got <- content
			}()
			p := farPool(t, f)
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(i * 7)
			}
			_, _ = p.RoundTrip(t.Context(), &Request{
				Method: "POST", Target: "/", ContentLength: size, Whole: whole, Body: io.NopCloser(bytes.NewReader(body)),
			})
			if !bytes.Equal(<-got, body) {
				t.Errorf("whole=%v: another body arrived", whole)
			}
			_ = f.Close()
		})
	}
}

func settingsFrame() []byte {
	var b bytes.Buffer
	_ = http2.NewFramer(&b, nil).WriteSettings()
	return b.Bytes()
}
