package proxy

import (
	"iter"
	"slices"
	"strings"

	"anthropic-oauth-proxy/internal/headers"
)

// A Sink takes the records of exchanges that have ended. To add one, implement
// it and put it into [Options.Sinks].
type Sink interface {
	// Ended takes one record, which nobody changes any more. It is called once an
	// exchange, by the goroutine that served it, after its place was freed and
	// its answer ended. Many goroutines call it at once; it must not block.
	Ended(*Record)
}

// A Follower looks on while exchanges run. To add one, implement it and put it
// into [Options.Followers]. It cannot change or hold anything: its taps are told
// of what happens, and one that panics is cut off without harm to the exchange.
type Follower interface {
	// Reads names the header fields that the follower gets to see. It is asked
	// once, when the handler is made.
	Reads() Reads
	// Follow is called when the head of a request has come, and returns what
	// follows this exchange, nil for nothing. live may be kept and read until
	// long after the end.
	Follow(live *Live, request Fields) Tap
}

// A Tap follows one exchange. All of its methods are called by the goroutine
// that serves the exchange; none may block.
type Tap interface {
	// Answered is called when the head of the API's own answer has come, never
	// for an answer of the proxy's.
	Answered(status int, answer Fields)
	// Chunk is called with each piece of the answer's content as it goes to the
	// client. The bytes must not be kept.
	Chunk(p []byte)
	// Ended is called last, as for a [Sink].
	Ended(*Record)
}

// Reads are names of header fields, in any case. A name that ends in * stands
// for all that begin so.
type Reads struct{ Request, Answer []string }

// Fields are those fields of a header that a follower asked for. The zero
// Fields has none. They are there for as long as the call that brought them.
type Fields struct {
	h     headers.Fields
	names []string
}

// Show gives the sight of those fields of h that names ask for, as [Reads] does.
func Show(h headers.Fields, names []string) Fields { return Fields{h, names} }

// Get returns the first value of a field, empty when there is none or when the
// follower did not ask for it.
func (f Fields) Get(name string) string {
	if !f.shows(name) {
		return ""
	}
	return f.h.Get(name)
}

// All yields every line that was asked for, in their order. Names are spelled
// as they came.
func (f Fields) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, line := range f.h {
			if f.shows(line.Name) && !yield(line.Name, line.Value) {
				return
			}
		}
	}
}

func (f Fields) shows(name string) bool {
	return slices.ContainsFunc(f.names, func(n string) bool {
		prefix, many := strings.CutSuffix(n, "*")
		return many && headers.Begins(name, prefix) || headers.Same(n, name)
	})
}

// watcher is a follower with the names that it asked for.
type watcher struct {
	Follower
	reads Reads
}

// taps are what follows one exchange.
type taps struct {
	all  []tapped
	bugs teller
}

// teller is told of a panic's value.
type teller interface{ tellBug(v any) }

type tapped struct {
	Tap
	of *watcher
}

func follow(watchers []watcher, live *Live, request headers.Fields, bugs teller) taps {
	t := taps{bugs: bugs}
	for i := range watchers {
		w := &watchers[i]
		t.guard(func() {
			if tap := w.Follow(live, Show(request, w.reads.Request)); tap != nil {
				t.all = append(t.all, tapped{tap, w})
			}
		})
	}
	return t
}

func (t *taps) answered(status int, h headers.Fields) {
	t.each(func(tap tapped) { tap.Answered(status, Show(h, tap.of.reads.Answer)) })
}

func (t *taps) chunk(p []byte) {
	if len(t.all) > 0 {
		t.each(func(tap tapped) { tap.Chunk(p) })
	}
}

func (t *taps) ended(r *Record) { t.each(func(tap tapped) { tap.Ended(r) }) }

// each tells every tap, and lets go of those that fail.
func (t *taps) each(tell func(tapped)) {
	for i := 0; i < len(t.all); {
		if t.guard(func() { tell(t.all[i]) }) {
			i++
			continue
		}
		t.all = slices.Delete(t.all, i, i+1)
	}
}

func (t *taps) guard(do func()) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			t.bugs.tellBug(v)
		}
	}()
	do()
	return true
}
