// Package roll lists what has come and not yet left, in the order of coming.
// A member is its own place in the list: whoever comes, leaves or asks for the
// oldest pays the same for one and for ten thousand, and allocates nothing.
package roll

import "iter"

// Place is a member's place in a roll; a member embeds it. The zero Place is
// that of one who has not come.
type Place[T any] struct{ before, behind *T }

func (p *Place[T]) place() *Place[T] { return p }

// Member is a pointer to a T that embeds a Place of T.
type Member[T any] interface {
	*T
	place() *Place[T]
}

// Roll is the list. The zero Roll is empty. It guards nothing: its owner does,
// and with the roll the places of all its members.
type Roll[T any, M Member[T]] struct {
	first, last *T
	length      int
}

// Enter adds a member that is in no roll, behind all others.
func (r *Roll[T, M]) Enter(m *T) {
	M(m).place().before = r.last
	if r.last == nil {
		r.first = m
	} else {
		M(r.last).place().behind = m
	}
	r.last = m
	r.length++
}

// Strike takes out a member that is there.
func (r *Roll[T, M]) Strike(m *T) {
	p := M(m).place()
	if p.before == nil {
		r.first = p.behind
	} else {
		M(p.before).place().behind = p.behind
	}
	if p.behind == nil {
		r.last = p.before
	} else {
		M(p.behind).place().before = p.before
	}
	*p = Place[T]{}
	r.length--
}

// Length is how many there are.
func (r *Roll[T, M]) Length() int { return r.length }

// Oldest is who came first of those who are there, nil when nobody is.
func (r *Roll[T, M]) Oldest() *T { return r.first }

// All are the members, the oldest first.
func (r *Roll[T, M]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for m := r.first; m != nil && yield(m); m = M(m).place().behind {
		}
	}
}
