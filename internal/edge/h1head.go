package edge

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"anthropic-oauth-proxy/internal/headers"
)

// span is a part of the head, as offsets from its beginning.
type span struct{ from, to int }

// headParser reads the head of a request line by line, as its bytes come
// (RFC 9112 2 to 6). It is strict: what two readers may read in two ways is
// refused, at the first byte that shows it.
type headParser struct {
	at             int // where the line begins that is being read
	method, target span
	minor          byte // of HTTP/1.x
	lined          bool // the request line is there
	fields         []field
}

type field struct{ name, value span }

func (p *headParser) reset() { *p = headParser{fields: p.fields[:0]} }

// parse looks at what is there of the head, all of it from its beginning. It is
// done when the head is complete; its length is p.at then.
func (p *headParser) parse(b []byte) (done bool, refused *Refusal) {
	for {
		i := bytes.IndexByte(b[p.at:], '\n')
		if i < 0 {
			return false, p.incomplete(b)
		}
		end := p.at + i + 1
		if end > headBytes {
			return false, p.tooLong()
		}
		if i == 0 || b[end-2] != '\r' {
			return false, badLineEnd
		}
		line := span{p.at, end - 2}
		p.at = end
		switch {
		case line.from == line.to && p.lined:
			return true, nil
		case line.from == line.to: // RFC 9112 2.2: empty lines before the request line
		case !p.lined:
			p.lined = true
			refused = p.requestLine(b, line)
		default:
			refused = p.fieldLine(b, line)
		}
		if refused != nil {
			return false, refused
		}
	}
}

// incomplete refuses what no further byte can make good.
func (p *headParser) incomplete(b []byte) *Refusal {
	rest := b[p.at:]
	switch {
	case len(b) > headBytes:
		return p.tooLong()
	case len(rest) > 0 && !p.lined && rest[0] != '\r' && classes[rest[0]]&inToken == 0:
		return badLine
	case len(rest) > 1 && rest[0] == '\r':
		return badLineEnd
	}
	return nil
}

func (p *headParser) tooLong() *Refusal {
	if p.lined {
		return longHead
	}
	return longTarget
}

// requestLine reads "method SP target SP version" (RFC 9112 3).
func (p *headParser) requestLine(b []byte, line span) *Refusal {
	l := b[line.from:line.to]
	first, last := bytes.IndexByte(l, ' '), bytes.LastIndexByte(l, ' ')
	if first < 0 || first == last {
		return badLine
	}
	p.method = span{line.from, line.from + first}
	p.target = span{p.method.to + 1, line.from + last}
	if !all(l[:first], inToken) || !all(l[first+1:last], inTarget) {
		return badLine
	}
	version := l[last+1:]
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	switch {
	case len(version) != len("HTTP/1.1") || string(version[:5]) != "HTTP/" || version[6] != '.' || !digit(version[5]) || !digit(version[7]):
		return badLine
	case version[5] != '1':
		return unknownVersion
	}
	p.minor = version[7]
	return nil
}

// fieldLine reads "name: value" (RFC 9112 5).
func (p *headParser) fieldLine(b []byte, line span) *Refusal {
	l := b[line.from:line.to]
	if l[0] == ' ' || l[0] == '\t' {
		return badFold
	}
	colon := bytes.IndexByte(l, ':')
	if colon < 0 || !all(l[:colon], inToken) {
		return badField
	}
	from, to := line.from+colon+1, line.to
	for from < to && (b[from] == ' ' || b[from] == '\t') {
		from++
	}
	for from < to && (b[to-1] == ' ' || b[to-1] == '\t') {
		to--
	}
	if from < to && !all(b[from:to], inValue) {
		return badField
	}
	p.fields = append(p.fields, field{span{line.from, line.from + colon}, span{from, to}})
	return nil
}

// spareFields is room for what a handler adds to a header.
const spareFields = 2

// request makes the request of a complete head. It keeps nothing of b.
func (p *headParser) request(b []byte) (Request, *Refusal) {
	s := string(b[:p.at])
	r := Request{Method: word(s[p.method.from:p.method.to]), Target: s[p.target.from:p.target.to], Proto: HTTP11}
	if p.minor == '0' {
		r.Proto = HTTP10
	}
	r.Header = make(headers.Fields, len(p.fields), len(p.fields)+spareFields)
	for i, f := range p.fields {
		r.Header[i] = headers.Field{Name: s[f.name.from:f.name.to], Value: s[f.value.from:f.value.to]}
	}
	return r, r.check()
}

// word is a method that keeps no head in memory for its sake.
func word(method string) string {
	for _, usual := range []string{http.MethodPost, http.MethodGet} {
		if method == usual {
			return usual
		}
	}
	return strings.Clone(method)
}

// check finds what the fields of a request say about its framing.
func (r *Request) check() *Refusal {
	host, hosts := r.Header.Find("Host")
	r.Host, r.Header = host, r.Header.Without("Host")
	if hosts > 1 || hosts == 0 && r.Proto == HTTP11 || hosts == 1 && !all(r.Host, inHost) {
		return badHost
	}
	if refused := r.framing(); refused != nil {
		return refused
	}
	if r.Proto == HTTP10 {
		r.Header = r.Header.Without("Expect") // which it cannot mean (RFC 9110 10.1.1)
	}
	if e, n := r.Header.Find("Expect"); n > 1 || n == 1 && !strings.EqualFold(e, "100-continue") {
		return unknownExpectation
	}
	r.last = !r.keepsAlive()
	return r.announced()
}

// framing finds the length of the content (RFC 9112 6.3).
func (r *Request) framing() *Refusal {
	digits, lengths := r.Header.Find("Content-Length")
	codings := slices.Collect(r.Header.Values("Transfer-Encoding"))
	switch {
	case codings != nil && lengths > 0:
		return twoLengths
	case codings != nil:
		r.Header = r.Header.Without("Transfer-Encoding")
		return r.chunked(codings)
	case lengths == 0:
		return nil
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return badLength
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || lengths > 1 {
		return badLength
	}
	r.ContentLength = n
	return nil
}

// chunked allows the one transfer coding that there is, once, and not from a
// client of HTTP/1.0, who cannot mean it (RFC 9112 6.1, 6.3).
func (r *Request) chunked(codings []string) *Refusal {
	list := strings.Split(strings.Join(codings, ","), ",")
	for i, coding := range list {
		coding = strings.Trim(coding, " \t")
		last := i == len(list)-1
		switch {
		case r.Proto == HTTP10, strings.EqualFold(coding, "chunked") != last:
			return badCoding
		case last && len(list) == 1:
			r.ContentLength = -1
			return nil
		case !last && !all(coding, inToken):
			return badCoding
		}
	}
	return unknownCoding
}

// announced reads the Trailer field (RFC 9110 6.6.2). It means nothing in front
// of content that can have no trailer.
func (r *Request) announced() *Refusal {
	if r.ContentLength == -1 {
		for line := range r.Header.Values("Trailer") {
			if refused := r.announce(line); refused != nil {
				return refused
			}
		}
	}
	r.Header = r.Header.Without("Trailer")
	return nil
}

func (r *Request) announce(line string) *Refusal {
	for name := range strings.SplitSeq(line, ",") {
		name = strings.Trim(name, " \t")
		if name == "" {
			continue
		}
		if !all(name, inToken) || !httpguts.ValidTrailerHeader(name) {
			return badTrailer
		}
		if r.Trailer == nil {
			r.Trailer = &headers.Trailer{}
		}
		r.Trailer.Names = append(r.Trailer.Names, name)
	}
	return nil
}

// keepsAlive reports whether the connection may carry another request behind
// this one (RFC 9112 9.3). A client of HTTP/1.0 gets one answer.
func (r *Request) keepsAlive() bool {
	for line := range r.Header.Values("Connection") {
		if httpguts.HeaderValuesContainsToken([]string{line}, "close") {
			return false
		}
	}
	return r.Proto == HTTP11
}
