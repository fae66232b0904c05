package headers

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// spelled is a name in one of the ways that clients spell it.
func spelled(name string, n int) string {
	switch n % 4 {
	case 0:
		return strings.ToLower(name)
	case 1:
		return strings.ToUpper(name)
	case 2:
		return http.CanonicalHeaderKey(name)
	}
	b := []byte(strings.ToLower(name))
	for i := n % 2; i < len(b); i += 2 {
		b[i] = strings.ToUpper(name)[i]
	}
	return string(b)
}

func TestFields(t *testing.T) {
	f := Fields{{"x-a", "1"}, {"Content-TYPE", "text"}, {"X-A", "2"}, {"x-empty", ""}, {"X-a", "3"}}
	if first, lines := f.Find("X-A"); first != "1" || lines != 3 {
		t.Errorf("Find: %q, %d", first, lines)
	}
	if f.Get("content-type") != "text" || f.Get("x-none") != "" || f.Get("x-a ") != "" {
		t.Errorf("Get: %q, %q", f.Get("content-type"), f.Get("x-none"))
	}
	if !f.Has("X-Empty") || f.Has("X") || f.Has("") {
		t.Error("Has is wrong")
	}
	for range f.Values("X-A") {
		break
	}
	if got := slices.Collect(f.Values("X-A")); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("Values: %q", got)
	}
	if got := f.HTTP(); !reflect.DeepEqual(got, http.Header{"X-A": {"1", "2", "3"}, "Content-Type": {"text"}, "X-Empty": {""}}) {
		t.Errorf("HTTP: %q", got)
	}
	if back := FromHTTP(f.HTTP()).HTTP(); !reflect.DeepEqual(back, f.HTTP()) {
		t.Errorf("and back: %q", back)
	}
	if got := f.Without("x-A"); !slices.Equal(got, Fields{{"Content-TYPE", "text"}, {"x-empty", ""}}) {
		t.Errorf("Without: %q", got)
	}
	if Same("k", "\u212a") || Same("\u212ax", "kxxx") || !Same("X-^", "x-^") || Same("x-^", "x-~") {
		t.Error("letters that are none of a token's are folded")
	}
}

// What a name means, it means in every spelling.
func TestNamesInEveryCase(t *testing.T) {
	for name, k := range kinds {
		for n := range 4 {
			s := spelled(name, n)
			lower, sensitive := Lower(s)
			if lower != strings.ToLower(name) || sensitive != (k&secret != 0) {
				t.Errorf("%s is %s, a secret: %v", s, lower, sensitive)
			}
			for _, one := range []kind{framing, written, private, leading} {
				if is(s, one) != (k&one != 0) {
					t.Errorf("%s is of kind %b: %v", s, one, is(s, one))
				}
			}
		}
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Cookie"} {
		if kinds[name]&secret == 0 {
			t.Errorf("%s is no secret", name)
		}
	}
	for _, name := range append(slices.Clone(usual), "X-Unknown", "X-"+strings.Repeat("Very-", 20)+"Long") {
		for n := range 4 {
			s := spelled(name, n)
			if lower, sensitive := Lower(s); lower != strings.ToLower(name) || sensitive || is(s, ^kind(0)) {
				t.Errorf("%s is %s, a secret: %v", s, lower, sensitive)
			}
		}
	}
	for n := range 4 {
		if !is(spelled("X-Forwarded-For", n), private) || !is(spelled("Tailscale-User", n), private) || !is(spelled("If-Match", n), leading) || is("X-Forwarded", private) {
			t.Error("a prefix is not seen")
		}
	}
}

// The usual names cost nothing, however they are spelled.
func TestSpellingAllocatesNothing(t *testing.T) {
	for n := range 4 {
		s := spelled("X-Stainless-Package-Version", n)
		if allocs := testing.AllocsPerRun(100, func() { _, _ = Lower(s); _ = stays(s) }); allocs != 0 {
			t.Errorf("%s: %v allocations", s, allocs)
		}
	}
}
