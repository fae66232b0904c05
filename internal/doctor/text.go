package doctor

import (
	"fmt"
	"io"
	"strings"
)

var colours = map[Verdict]string{OK: "32", Warn: "33", Fail: "1;31", Skipped: "2"}

// WriteText writes the Report for a terminal; colour says whether it shows
// colours.
func (r Report) WriteText(w io.Writer, colour bool) error {
	var b strings.Builder
	counts := make(map[Verdict]int)
	for _, f := range r.Findings {
		counts[f.Verdict]++
		mark := fmt.Sprintf("%-7s", f.Verdict)
		if colour {
			mark = "\x1b[" + colours[f.Verdict] + "m" + mark + "\x1b[0m"
		}
		fmt.Fprintf(&b, "%s  %-20s  %s\n", mark, f.Check, clean(f.Says))
		if f.Next != "" {
			fmt.Fprintf(&b, "         Next: %s\n", clean(f.Next))
		}
		if f.Runbook != "" {
			fmt.Fprintf(&b, "         RUNBOOK: %s\n", f.Runbook)
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %d warn, %d fail, %d skipped\n", counts[OK], counts[Warn], counts[Fail], counts[Skipped])
	for _, recipe := range r.Recipes {
		fmt.Fprintf(&b, "\n# %s: %s\n%s\n", recipe.Title, recipe.Where, recipe.Text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// clean keeps what others wrote from moving a terminal's cursor; lines of a
// message stay, further in.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
	return strings.ReplaceAll(s, "\n", "\n           ")
}
