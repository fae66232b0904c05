package status

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"anthropic-oauth-proxy/internal/headers"
	"anthropic-oauth-proxy/internal/proxy"
)

// The fields that tell of limits, and what the subscriptions' among them begin
// with.
const (
	limitPrefix   = "Anthropic-Ratelimit-"
	unifiedPrefix = "unified-"
)

// limitNames are the documented limits, windowNames the windows of the
// subscriptions. The sets are closed: they are metric labels.
var (
	limitNames  = []string{"requests", "tokens", "input-tokens", "output-tokens"}
	windowNames = []string{"5h", "7d"}
)

// numberNames are the fields whose number is kept, without the prefix: of every
// limit what remains and the whole, then what is used of every window.
var numberNames = func() (names [10]string) {
	for i, name := range limitNames {
		names[2*i], names[2*i+1] = name+"-remaining", name+"-limit"
	}
	for i, name := range windowNames {
		names[2*len(limitNames)+i] = unifiedPrefix + name + "-utilization"
	}
	return names
}()

// limits are what one answer said.
type limits struct {
	at          time.Time
	refused     time.Time // until when; zero when it is not
	remaining   [4]float64
	utilization [2]float64
	reset       time.Time
}

const untold = -1

// readLimits understands what it can of both families; a value that is none
// counts as not told.
func readLimits(now time.Time, status int, header proxy.Fields) (l limits, told bool) {
	t := limitsTold{now: now, refused: status == http.StatusTooManyRequests}
	for i := range t.numbers {
		t.numbers[i] = untold
	}
	for name, value := range header.All() {
		if headers.Begins(name, limitPrefix) {
			t.take(name[len(limitPrefix):], value)
		}
	}
	l = limits{at: now, reset: t.reset}
	for i := range l.remaining {
		l.remaining[i] = share(t.numbers[2*i], t.numbers[2*i+1])
	}
	copy(l.utilization[:], t.numbers[2*len(l.remaining):])
	if t.refused {
		l.refused = refusedUntil(now, header, l.reset)
	}
	return l, t.any
}

// limitsTold gathers what the fields of one answer tell.
type limitsTold struct {
	now          time.Time
	any, refused bool
	numbers      [len(numberNames)]float64 // by their names
	reset        time.Time                 // the next
}

// take takes one field, by its name without the prefix.
func (t *limitsTold) take(name, value string) {
	t.any = true
	switch i := slices.IndexFunc(numberNames[:], func(n string) bool { return headers.Same(n, name) }); {
	case i >= 0:
		t.numbers[i] = readNumber(value)
	case isReset(name):
		if at := readTime(value); at.After(t.now) && (t.reset.IsZero() || at.Before(t.reset)) {
			t.reset = at
		}
	case headers.Same(name, unifiedPrefix+"status"):
		t.refused = t.refused || strings.EqualFold(value, "rejected")
	}
}

func isReset(name string) bool {
	const end = "-reset"
	return len(name) > len(end) && strings.EqualFold(name[len(name)-len(end):], end)
}

// refusedUntil is the time that the API names, a minute where it names none.
func refusedUntil(now time.Time, header proxy.Fields, reset time.Time) time.Time {
	if seconds := readNumber(header.Get("Retry-After")); seconds >= 0 {
		return now.Add(time.Duration(min(seconds, limitsBelieved.Seconds()) * float64(time.Second)))
	}
	if at := readTime(header.Get(limitPrefix + unifiedPrefix + "reset")); at.After(now) {
		return at
	}
	if !reset.IsZero() {
		return reset
	}
	return now.Add(time.Minute)
}

// share is part of whole, [untold] when either is.
func share(part, whole float64) float64 {
	if part < 0 || whole <= 0 {
		return untold
	}
	return min(part/whole, 1)
}

func readNumber(s string) float64 {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(v >= 0 && v < 1e15) {
		return untold
	}
	return v
}

// readTime understands seconds since 1970, as subscriptions have it, and RFC
// 3339, as the documented family; anything else is the zero time.
func readTime(s string) time.Time {
	s = strings.TrimSpace(s)
	if strings.Contains(s, ":") {
		at, _ := time.Parse(time.RFC3339, s)
		return at
	}
	if seconds := readNumber(s); seconds > 0 && seconds < 1e11 {
		return time.Unix(int64(seconds), 0)
	}
	return time.Time{}
}
