package status

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Colour says whether a terminal is written to that shows colours.
type Colour bool

func (c Colour) paint(code, text string) string {
	if !c || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

var levelColours = map[Level]string{LevelOK: "1;32", LevelWarning: "1;33", LevelFault: "1;31", LevelEnding: "1;36"}

// marks say the level without a colour.
var marks = map[Level]string{LevelOK: "ok", LevelWarning: "warning", LevelFault: "FAULT", LevelEnding: "note"}

// textStreams is how many streams a terminal shows.
const textStreams = 20

// WriteText writes the Snapshot for a terminal: the same sentence and the same
// tables as the page's.
func (s Snapshot) WriteText(w io.Writer, colour Colour) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, version %s, at %s\n\n", s.Service.Name, s.Service.Instance, s.Service.Version, s.At.Format("2006-01-02 15:04:05 UTC"))
	s.textVerdict(&b, colour)
	for _, f := range s.Figures() {
		fmt.Fprintf(&b, "%-20s %s\n", f.Name, f.Text())
	}
	for _, t := range s.Tables() {
		t.text(&b, colour)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Snapshot) textVerdict(b *strings.Builder, colour Colour) {
	v := s.Verdict
	fmt.Fprintf(b, "[%s] %s\n", marks[v.Level], colour.paint(levelColours[v.Level], v.Headline))
	if v.Detail != "" {
		fmt.Fprintf(b, "  %s\n", oneLine(v.Detail))
	}
	if v.Next != "" {
		fmt.Fprintf(b, "  Next: %s\n", v.Next)
	}
	if v.Runbook != "" {
		fmt.Fprintf(b, "  RUNBOOK: %s\n", v.Runbook)
	}
	for _, also := range v.Also {
		fmt.Fprintf(b, "  Also: %s\n", also)
	}
	b.WriteString("\n")
}

// text writes a table in aligned columns.
func (t Table) text(b *strings.Builder, colour Colour) {
	fmt.Fprintf(b, "\n%s\n", colour.paint("1", strings.ToUpper(t.Title)))
	if len(t.Rows) == 0 {
		fmt.Fprintf(b, "  %s\n", t.Empty)
		return
	}
	rows := t.Rows
	if t.ID == "streams" && len(rows) > textStreams {
		rows = rows[:textStreams]
	}
	head := make([]Cell, len(t.Head))
	for i, name := range t.Head {
		head[i] = Cell{Text: name, Right: rows[len(rows)-1][i].Right}
	}
	lines(b, append([][]Cell{head}, rows...))
	if left := len(t.Rows) - len(rows); left > 0 {
		fmt.Fprintf(b, "  and %d more\n", left)
	}
	if t.Note != "" {
		fmt.Fprintf(b, "  %s\n", t.Note)
	}
}

// lines writes rows in aligned columns, numbers to the right.
func lines(b *strings.Builder, rows [][]Cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.Text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.Text))
			if c.Right {
				line.WriteString("  " + pad + oneLine(c.Text))
				continue
			}
			line.WriteString("  " + oneLine(c.Text) + pad)
		}
		if text := strings.TrimRight(line.String(), " "); text != "" {
			b.WriteString(text + "\n")
		}
	}
}

// oneLine keeps what others wrote from moving a terminal's cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
