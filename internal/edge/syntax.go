package edge

// class sorts bytes by where RFC 9110 lets them stand.
type class uint8

const (
	inToken  class = 1 << iota // a token (5.6.2)
	inValue                    // a field's value (5.5): visible, obs-text, space, tab
	inTarget                   // a request target: whatever does not end it
	inHost                     // a host and port (RFC 3986 3.2.2)
	inHex
)

var classes = func() (t [256]class) {
	for c := range t {
		if c > ' ' && c != 0x7f {
			t[c] |= inValue | inTarget
		}
	}
	t[' '] |= inValue
	t['\t'] |= inValue
	for c := '0'; c <= '9'; c++ {
		t[c] |= inToken | inHost | inHex
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= inToken | inHost
		t[c-'a'+'A'] |= inToken | inHost
		if c <= 'f' {
			t[c] |= inHex
			t[c-'a'+'A'] |= inHex
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= inToken
	}
	for _, c := range "!$%&'()*+,-.:;=[]_~" {
		t[c] |= inHost
	}
	return t
}()

// all reports whether every byte of b is of the class, and there is one.
func all[B ~[]byte | ~string](b B, c class) bool {
	for i := range len(b) {
		if classes[b[i]]&c == 0 {
			return false
		}
	}
	return len(b) > 0
}

// trimOWS cuts optional white space (RFC 9110 5.6.3) from both ends.
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
