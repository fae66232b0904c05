package edge

import (
	"net"
	"slices"
	"testing"
)

// What is named before the first Close runs behind it, once and in order; what is
// named later runs at once.
func TestWhatFollowsAClose(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	c := newConn(here)
	var ran []string
	add := func(name string) { c.atClose(func() { ran = append(ran, name) }) }
	add("a")
	add("b")
	add("c")
	if len(ran) != 0 {
		t.Errorf("%v ran before the close", ran)
	}
	_ = c.Close()
	_ = c.Close()
	add("late")
	if want := []string{"a", "b", "c", "late"}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
}
