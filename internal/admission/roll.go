package admission

// roll is every ticket that the gate knows, in the order in which they came. A
// ticket is its own place in it: whoever comes, leaves or asks for the oldest
// pays the same for one and for ten thousand. The gate's mu guards it.
type roll struct {
	first, last *Ticket
	length      int
}

// neighbours are a ticket's place in the roll.
type neighbours struct{ before, behind *Ticket }

func (r *roll) enter(t *Ticket) {
	t.before = r.last
	if r.last == nil {
		r.first = t
	} else {
		r.last.behind = t
	}
	r.last = t
	r.length++
}

// strike takes out a ticket that is there.
func (r *roll) strike(t *Ticket) {
	if t.before == nil {
		r.first = t.behind
	} else {
		t.before.behind = t.behind
	}
	if t.behind == nil {
		r.last = t.before
	} else {
		t.behind.before = t.before
	}
	t.neighbours = neighbours{}
	r.length--
}
