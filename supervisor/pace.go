package supervisor

import "time"

const (
	// firstPause is the pause after failures that come too fast. Each further
	// one in a row is twice as long.
	firstPause = time.Second
	// calm is how long after a pause there must be no other one for the row to
	// be over. It is above every pause, and suture's memory of failures is
	// shorter.
	calm = time.Minute
)

// pace makes the pauses of one supervisor. suture forgets its failures with
// each pause, so that a service which never lives would fail at the same rate
// for ever; this remembers.
type pace struct {
	longest time.Duration // no pause is longer
	row     int           // pauses so far
	until   time.Time     // the end of the last one
}

// next is the length of the pause that begins now. One that begins while
// another runs, because a sibling failed as well, lasts as long as that has
// left.
func (p *pace) next(now time.Time) time.Duration {
	if left := p.until.Sub(now); left > 0 {
		return left
	}
	length := min(firstPause<<min(p.inARow(now), 16), p.longest)
	p.row = p.inARow(now) + 1
	p.until = now.Add(length)
	return length
}

// inARow counts the pauses of a storm that goes on.
func (p *pace) inARow(now time.Time) int {
	if now.Sub(p.until) >= calm {
		return 0
	}
	return p.row
}
