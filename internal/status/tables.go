package status

import (
	"fmt"
	"time"

	"anthropic-oauth-proxy/messages"
)

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
		{text("requests left"), text(thousands(int64(s.Drain.Left)))},
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
