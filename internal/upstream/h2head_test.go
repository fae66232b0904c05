package upstream

import (
	"errors"
	"io"
	"slices"
	"testing"
)

// A head over HTTP/2 that two readers could read in two ways is no answer; what
// only looks like a name is announced to nobody.
func TestHeadsOverHTTP2(t *testing.T) {
	for _, tc := range []struct {
		head    []string
		length  int64
		trailer []string
		bad     bool
	}{
		{head: []string{":status", "200"}, length: -1},
		{head: []string{":status", "+200"}, bad: true},
		{head: []string{":status", "0200"}, bad: true},
		{head: []string{":status", "20"}, bad: true},
		{head: []string{":status", "200", "content-length", "4"}, length: 4},
		{head: []string{":status", "200", "content-length", "4", "content-length", "4"}, length: 4},
		{head: []string{":status", "200", "content-length", "4", "content-length", "5"}, bad: true},
		{head: []string{":status", "200", "content-length", "+4"}, bad: true},
		{head: []string{":status", "200", "content-length", "4, 4"}, bad: true},
		{head: []string{":status", "200", "trailer", "x-sum, bad name,, x-more"}, length: -1, trailer: []string{"X-Sum", "X-More"}},
	} {
		in(t, func(t *testing.T, f *far) {
			farPeers(t, f, func(_ int, p *peer) {
				_ = p.WriteSettings()
				id := p.request()
				p.Head(id, false, tc.head...)
				_ = p.WriteData(id, true, []byte("fine"))
				p.request()
			})
			res, err := farPool(t, f).RoundTrip(t.Context(), &Request{Method: "GET", Target: "/"})
			if err != nil {
				if !tc.bad || !errors.Is(err, ErrNotHTTP) {
					t.Errorf("%q: %v", tc.head, err)
				}
				return
			}
			body, err := io.ReadAll(res.Body)
			if tc.bad || err != nil || string(body) != "fine" || res.ContentLength != tc.length || !slices.Equal(res.Trailer.With(nil).Names, tc.trailer) {
				t.Errorf("%q: length %d, trailer %q, content %q, %v", tc.head, res.ContentLength, res.Trailer.With(nil).Names, body, err)
			}
		})
	}
}
