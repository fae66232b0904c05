package conductor

import "time"

// The allowance: a burst, then one line per refill.
const (
	lineBurst  = 12
	lineRefill = time.Second
)

// allowance bounds how many lines are written however much there is to tell.
// The zero allowance is full.
type allowance struct {
	spent  int
	refill time.Time // when the next spent line is given back
}

// take spends a line if there is one left.
func (a *allowance) take(now time.Time) bool {
	for a.spent > 0 && !now.Before(a.refill) {
		a.spent--
		a.refill = a.refill.Add(lineRefill)
	}
	if a.spent == lineBurst {
		return false
	}
	if a.spent == 0 {
		a.refill = now.Add(lineRefill)
	}
	a.spent++
	return true
}
