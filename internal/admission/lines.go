package admission

import "container/list"

// lines are the requests that wait: one line for each caller, served in turn.
// The gate's mu guards them.
type lines struct {
	waiting int
	turn    list.List // of *line; the first is next
	of      map[Caller]*line
}

type line struct {
	caller  Caller
	waiters list.List // of *waiter, first come first
	place   *list.Element
}

type waiter struct {
	ticket *Ticket
	ready  chan error // one answer; nil admits
	line   *line
	place  *list.Element // nil once it has left the line
}

func newLines() lines { return lines{of: make(map[Caller]*line)} }

// join puts t at the end of its caller's line. Whoever has no line yet comes
// behind all others.
func (s *lines) join(t *Ticket, caller Caller) *waiter {
	l := s.of[caller]
	if l == nil {
		l = &line{caller: caller}
		l.place = s.turn.PushBack(l)
		s.of[caller] = l
	}
	w := &waiter{ticket: t, ready: make(chan error, 1), line: l}
	w.place = l.waiters.PushBack(w)
	s.waiting++
	return w
}

// leave takes w out of its line, if it is still there.
func (s *lines) leave(w *waiter) {
	if w.place == nil {
		return
	}
	w.line.waiters.Remove(w.place)
	w.place = nil
	s.waiting--
	if w.line.waiters.Len() == 0 {
		s.turn.Remove(w.line.place)
		delete(s.of, w.line.caller)
	}
}

// next takes the first out of the line whose turn it is; nil when nobody waits.
func (s *lines) next() *waiter {
	first := s.turn.Front()
	if first == nil {
		return nil
	}
	l := first.Value.(*line)
	s.turn.MoveToBack(first)
	w := l.waiters.Front().Value.(*waiter)
	s.leave(w)
	return w
}

// yield makes room for one more of the caller's at the expense of the last in
// the longest line, if that is longer than the caller's own would be. It reports
// whether there is room now.
func (s *lines) yield(caller Caller) bool {
	longest, own := 0, 1
	var from *line
	for e := s.turn.Front(); e != nil; e = e.Next() {
		l := e.Value.(*line)
		if n := l.waiters.Len(); n > longest {
			longest, from = n, l
		}
		if l.caller == caller {
			own = l.waiters.Len() + 1
		}
	}
	if from == nil || own >= longest {
		return false
	}
	last := from.waiters.Back().Value.(*waiter)
	s.leave(last)
	last.ready <- ErrQueueFull
	return true
}
