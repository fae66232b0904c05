package roll

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type guest struct {
	Place[guest]
}

// A roll says what a slice would, whoever leaves: the first, the last, one
// amid or the only one.
func TestARollIsInTheOrderOfComing(t *testing.T) {
	var r Roll[guest, *guest]
	var want []*guest
	here := rand.New(rand.NewPCG(1, 2))
	for step := range 2000 {
		if coming := len(want) == 0 || here.IntN(9) < 5-len(want)/16; coming {
			g := new(guest)
			r.Enter(g)
			want = append(want, g)
		} else {
			i := here.IntN(len(want))
			r.Strike(want[i])
			if want[i].Place != (Place[guest]{}) {
				t.Fatalf("step %d: who has left still knows its neighbours", step)
			}
			want = slices.Delete(want, i, i+1)
		}
		var oldest *guest
		if len(want) > 0 {
			oldest = want[0]
		}
		if got := slices.Collect(r.All()); !slices.Equal(got, want) || r.Length() != len(want) || r.Oldest() != oldest {
			t.Fatalf("step %d: %d are listed, %d counted, want %d", step, len(got), r.Length(), len(want))
		}
	}
}

func TestWhoComesBackIsTheLast(t *testing.T) {
	var r Roll[guest, *guest]
	a, b := new(guest), new(guest)
	r.Enter(a)
	r.Enter(b)
	r.Strike(a)
	r.Enter(a)
	if got := slices.Collect(r.All()); !slices.Equal(got, []*guest{b, a}) {
		t.Errorf("listed %p, want %p", got, []*guest{b, a})
	}
	for first := range r.All() {
		if first != b {
			t.Error("the list does not end where its reader does")
		}
		break
	}
}
