package headers

import (
	"slices"
	"strings"
)

// Request keeps what goes upstream of a client's header: its end-to-end fields
// without those that tell about the tailnet, then obedient to the rules. It
// works in place: f must be the caller's own.
func Request(f Fields, rules []Rule) Fields {
	named := Named(f)
	f = slices.DeleteFunc(f, func(line Field) bool { return stays(line.Name) || named.has(line.Name) })
	for _, r := range rules {
		f = r.Apply(f)
	}
	return f
}

// stays reports whether a request field ends at this proxy.
func stays(name string) bool { return is(name, framing|written|private) }

// Response keeps the end-to-end fields of an answer, in place: f must be the
// caller's own.
func Response(f Fields) Fields {
	named := Named(f)
	return slices.DeleteFunc(f, func(line Field) bool { return is(line.Name, framing) || named.has(line.Name) })
}

// RequestTrailer returns what may go upstream of a request's trailer, as far as
// it is known; nil when that is nothing. The request's Connection named the
// given names.
func RequestTrailer(in *Trailer, named Names) *Trailer {
	if in == nil {
		return nil
	}
	out := in.without(func(name string) bool { return stays(name) || named.has(name) })
	if len(out.Names) == 0 {
		return nil
	}
	return &out
}

// AnswerTrailer is the same for the trailer of an answer.
func AnswerTrailer(in *Trailer, named Names) Trailer {
	if in == nil {
		return Trailer{}
	}
	return in.without(func(name string) bool { return is(name, framing) || named.has(name) })
}

func (t *Trailer) without(ends func(name string) bool) (out Trailer) {
	for _, name := range t.Names {
		if !ends(name) && !is(name, leading) {
			out.Names = append(out.Names, name)
		}
	}
	for _, f := range t.Fields {
		if !ends(f.Name) && !is(f.Name, leading) {
			out.Fields = append(out.Fields, f)
		}
	}
	return out
}

// Names are the fields that the Connection lines of a header name, in lower
// case: they end at this proxy. Nil has none.
type Names map[string]bool

func (n Names) has(name string) bool {
	if n == nil {
		return false
	}
	lower, _ := Lower(name)
	return n[lower]
}

// Named returns what the Connection lines of f name; nil in the common case that
// they name nothing but the connection's own fate.
func Named(f Fields) (named Names) {
	for line := range f.Values("Connection") {
		if strings.EqualFold(line, "keep-alive") || strings.EqualFold(line, "close") {
			continue
		}
		for m := range members(line) {
			if named == nil {
				named = make(Names)
			}
			lower, _ := Lower(m)
			named[lower] = true
		}
	}
	return named
}
