package status

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// percent is a share for a person, never rounded up to all nor down to none.
func percent(n, of uint64) string {
	if of == 0 {
		return "0 %"
	}
	p := 100 * float64(n) / float64(of)
	switch {
	case n > 0 && p < 0.1:
		return "under 0.1 %"
	case n < of && p > 99.9:
		return "over 99.9 %"
	case p > 0 && p < 10 || p > 90 && p < 100:
		return strings.Replace(fmt.Sprintf("%.1f %%", p), ".0 %", " %", 1)
	}
	return fmt.Sprintf("%.0f %%", p)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(int64(n)) + " " + what + "s"
}

// thousands writes 4982 as 4,982.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func capital(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

func words(s string) string { return strings.ReplaceAll(s, "_", " ") }

func list[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// span is a length of time for a person: one unit, two below ten of it.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strings.Replace(fmt.Sprintf("%.1f s", d.Seconds()), ".0 s", " s", 1)
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// clock is a time of day in UTC, with the day where it is not now's.
func clock(now, at time.Time) string {
	now, at = now.UTC(), at.UTC()
	if now.Truncate(24 * time.Hour).Equal(at.Truncate(24 * time.Hour)) {
		return at.Format("15:04:05 UTC")
	}
	if now.Sub(at) < 6*24*time.Hour && at.Before(now) {
		return at.Format("Mon 15:04 UTC")
	}
	return at.Format("2006-01-02 15:04 UTC")
}

// size is a number of bytes for a person.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
