package status

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"anthropic-oauth-proxy/messages"
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

// Table is one table of the page and of the terminal.
type Table struct {
	ID, Title string
	Head      []string // empty for pairs of a name and a value
	Rows      [][]Cell
	Empty     string // what is said without rows
	Note      string
}

// Cell is one cell. Mark is empty unless it wants to be seen.
type Cell struct {
	Text  string
	Mark  Level
	Code  bool // an identifier, to be copied
	Right bool // a number
	// Bar, when not nil, is a share to draw, 0 to 1.
	Bar *float64
}

func text(s string) Cell   { return Cell{Text: s} }
func code(s string) Cell   { return Cell{Text: s, Code: true} }
func number(s string) Cell { return Cell{Text: s, Right: true} }

const unknown = "not known"

// Tables are all tables, in the order in which they are read.
func (s Snapshot) Tables() []Table {
	tables := []Table{s.treeTable(), s.journalTable(), s.tailnetTable(), s.apiTable(), s.clientTable(), s.streamTable()}
	if s.Drain != nil {
		tables = append([]Table{s.drainTable()}, tables...)
	}
	return tables
}

func (s Snapshot) drainTable() Table {
	return Table{ID: "drain", Title: "Drain", Rows: [][]Cell{
		{text("requests left"), number(thousands(int64(s.Drain.Left)))},
		{text("ended at"), text(clock(s.At, s.Drain.By) + ", in " + span(max(0, s.Drain.By.Sub(s.At))))},
	}}
}

func (s Snapshot) treeTable() Table {
	t := Table{ID: "tree", Title: "Supervisor tree", Head: []string{"service", "state", "up", "restarts", "last cause"}, Empty: unknown}
	if s.Tree == nil {
		return t
	}
	t.Rows = append(t.Rows, []Cell{code("root"), {}, number(span(s.At.Sub(s.Service.Started))), {}, {}})
	for i, d := range s.Tree {
		branch, stem := "├─ ", "│  "
		if i == len(s.Tree)-1 {
			branch, stem = "└─ ", "   "
		}
		t.Rows = append(t.Rows, []Cell{code(branch + d.Name), d.state(s.At), {}, {}, {}})
		for j, service := range d.Services {
			twig := "├─ "
			if j == len(d.Services)-1 {
				twig = "└─ "
			}
			t.Rows = append(t.Rows, service.row(s.At, stem+twig))
		}
	}
	return t
}

func (d Domain) state(now time.Time) Cell {
	switch {
	case d.BackingOff && d.RetryAt != nil:
		return Cell{Text: "pauses, next try in " + span(max(0, d.RetryAt.Sub(now))), Mark: LevelFault}
	case d.BackingOff:
		return Cell{Text: "pauses before the next try", Mark: LevelFault}
	}
	return Cell{}
}

func (l ServiceLife) row(now time.Time, branch string) []Cell {
	state := Cell{Text: fmt.Sprintf("up, #%d", l.Incarnation), Mark: LevelOK}
	switch {
	case !l.Up:
		state = Cell{Text: fmt.Sprintf("down, #%d", l.Incarnation), Mark: LevelFault}
	case l.LastMinute > 0:
		state.Mark = LevelWarning
	}
	up := "-"
	if l.Up && l.Since != nil {
		up = span(now.Sub(*l.Since))
	}
	restarts := Cell{Text: fmt.Sprint(l.Restarts), Right: true}
	if l.Restarts > 0 {
		restarts.Text = fmt.Sprintf("%d (%d/min)", l.Restarts, l.LastMinute)
	}
	cause := Cell{}
	if len(l.Causes) > 0 {
		c := l.Causes[0]
		cause.Text = fmt.Sprintf("%s, %s", c.Kind, clock(now, c.At))
		if c.Text != "" {
			cause.Text += ": " + c.Text
		}
	}
	return []Cell{code(branch + l.Name), state, number(up), restarts, cause}
}

// journalShown is how many entries a table has.
const journalShown = 12

func (s Snapshot) journalTable() Table {
	t := Table{ID: "journal", Title: "How it came here", Head: []string{"when", "what", "why"}, Empty: unknown}
	for _, e := range s.Journal[:min(journalShown, len(s.Journal))] {
		t.Rows = append(t.Rows, []Cell{text(clock(s.At, e.At)), text(e.What), text(e.Why)})
	}
	if left := len(s.Journal) - journalShown; left > 0 {
		t.Note = fmt.Sprintf("%d older ones: /debug/events", left)
	}
	return t
}

func (s Snapshot) tailnetTable() Table {
	n := s.Tailnet
	t := Table{ID: "tailnet", Title: "Tailnet"}
	row := func(name string, value Cell) { t.Rows = append(t.Rows, []Cell{text(name), value}) }
	state := Cell{Text: words(string(n.Link)), Mark: LevelOK}
	switch {
	case s.Lifecycle.Stuck, n.Link == messages.LinkUnknown:
		state = Cell{Text: unknown, Mark: LevelFault}
	case n.Link == messages.LinkNotConnected:
		state = Cell{Text: fmt.Sprintf("not connected: %s", n.Reason), Mark: LevelFault}
	case n.Link == messages.LinkDisabled:
		state = text("not watched (mode = \"off\")")
	case len(n.Impaired) > 0:
		state = Cell{Text: "connected, impaired: " + list(n.Impaired), Mark: LevelWarning}
	}
	if n.Since != nil && n.Link != messages.LinkDisabled {
		state.Text += ", for " + span(s.At.Sub(*n.Since))
	}
	row("state", state)
	if n.Link == messages.LinkDisabled {
		return t
	}
	if n.Detail != "" {
		row("tailscaled says", text(n.Detail))
	}
	name := Cell{Text: orUnknown(n.Hostname)}
	if n.NameDiffers() {
		name = Cell{Text: fmt.Sprintf("%s, configured is %s", n.Hostname, n.Expected), Mark: LevelWarning}
	}
	row("name", name)
	row("address", text(orUnknown(n.IP)))
	row("key expires", n.expiry(s.At))
	last := unknown
	if n.LastRequest != nil {
		last = span(s.At.Sub(*n.LastRequest)) + " ago"
	}
	row("last request came in", text(last))
	return t
}

func (t Tailnet) expiry(now time.Time) Cell {
	switch {
	case t.Hostname == "":
		return text(unknown)
	case t.KeyExpiry == nil:
		return text("never")
	case t.KeyExpiry.Before(now):
		return Cell{Text: "expired", Mark: LevelFault}
	}
	return text("in " + span(t.KeyExpiry.Sub(now)))
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

func (s Snapshot) streamTable() Table {
	t := Table{ID: "streams", Title: "Requests in flight, oldest first", Empty: "none",
		Head: []string{"id", "phase", "age", "last byte", "sent", "received", "caller", "credential", "path"}}
	for _, one := range s.Streams {
		quiet := number("-")
		if q := one.QuietSeconds; q != nil {
			quiet.Text = span(seconds(*q))
			if *q >= silent {
				quiet.Mark = LevelWarning
			}
		}
		t.Rows = append(t.Rows, []Cell{code(one.ID), text(one.Phase), number(span(seconds(one.AgeSeconds))), quiet,
			number(size(one.Sent)), number(size(one.Received)), text(orUnknown(one.Caller)), text(one.Credential), text(one.Path)})
	}
	if left := s.Load.Active - len(s.Streams); left > 0 && len(s.Streams) > 0 {
		t.Note = fmt.Sprintf("%d younger ones are not listed", left)
	}
	return t
}
