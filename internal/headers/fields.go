package headers

import (
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Field is one line of a header or a trailer.
type Field struct{ Name, Value string }

// Fields are such lines in their order. A name is spelled as it came, and is the
// same in any case; one that stands on several lines has several values. Many
// may read Fields at once; whoever gives them says who may change them.
type Fields []Field

// Trailer is what comes behind a content. Its names are announced in front.
type Trailer struct {
	Names []string
	// Fields are complete once the content was read to its end.
	Fields Fields
}

// Announced is the trailer with these names, and nil without any.
func Announced(names []string) *Trailer {
	if len(names) == 0 {
		return nil
	}
	return &Trailer{Names: names}
}

// With is the trailer as it came in the end. Nil announces nothing.
func (t *Trailer) With(f Fields) *Trailer {
	out := &Trailer{Fields: f}
	if t != nil {
		out.Names = t.Names
	}
	return out
}

// Find returns the first value of a field, and on how many lines it stands.
func (f Fields) Find(name string) (first string, lines int) {
	for i := range f {
		if Same(f[i].Name, name) {
			if lines++; lines == 1 {
				first = f[i].Value
			}
		}
	}
	return first, lines
}

// Get returns the first value of a field, empty when there is none.
func (f Fields) Get(name string) string {
	first, _ := f.Find(name)
	return first
}

// Has reports whether a field is there, with or without a value.
func (f Fields) Has(name string) bool {
	_, lines := f.Find(name)
	return lines > 0
}

// Values yields the values of a field.
func (f Fields) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range f {
			if Same(f[i].Name, name) && !yield(f[i].Value) {
				return
			}
		}
	}
}

// Without takes the lines of a field out of f itself, which must be the
// caller's own.
func (f Fields) Without(name string) Fields {
	return slices.DeleteFunc(f, func(line Field) bool { return Same(line.Name, name) })
}

// Same reports whether two names are one (RFC 9110 5.1).
func Same(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// FromHTTP makes fields of a header of net/http.
func FromHTTP(h http.Header) Fields {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	f := make(Fields, 0, n+1) // with room for a line of ours
	for name, values := range h {
		for _, v := range values {
			f = append(f, Field{name, v})
		}
	}
	return f
}

// HTTP makes a header of net/http.
func (f Fields) HTTP() http.Header {
	h := make(http.Header, len(f))
	for _, line := range f {
		h.Add(line.Name, line.Value)
	}
	return h
}
