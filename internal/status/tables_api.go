package status

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (s Snapshot) apiTable() Table {
	t := Table{ID: "api", Title: "The API"}
	row := func(name string, values ...Cell) { t.Rows = append(t.Rows, append([]Cell{text(name)}, values...)) }
	row("address", text(s.API.URL))
	row("answers, 15 min", s.API.answers())
	row("event streams, 15 min", text(orNone(nonzero(StreamEnds, s.API.Streams))))
	row("connections", s.API.connections())
	if trouble := s.API.LastTrouble; trouble != nil {
		id := trouble.UpstreamID
		if id == "" {
			id = trouble.RequestID
		}
		what := fmt.Sprintf("%d", trouble.Status)
		if trouble.Status == 0 {
			what = "no answer"
		}
		row("last trouble", text(fmt.Sprintf("%s, %s ago, %s", what, span(s.At.Sub(trouble.At)), id)))
	}
	h := s.API.Headroom
	if h == nil {
		row("rate limits", text("not known: no answer of the last hour told of them"))
		return t
	}
	for _, window := range slices.Sorted(maps.Keys(h.Utilization)) {
		used := h.Utilization[window]
		row(window+" window, fullest", Cell{Text: share100(used) + " used", Bar: &used, Mark: fullness(used)})
	}
	for _, limit := range slices.Sorted(maps.Keys(h.LeastRemaining)) {
		used := 1 - h.LeastRemaining[limit]
		row(limit+", least left", Cell{Text: share100(1-used) + " left", Bar: &used, Mark: fullness(used)})
	}
	if h.NextReset != nil {
		row("next reset", text(clock(s.At, *h.NextReset)+", in "+span(h.NextReset.Sub(s.At))))
	}
	refused := Cell{Text: fmt.Sprintf("%d, of them refused now: %d", h.Credentials, h.Refused)}
	if h.Refused > 0 {
		refused.Mark = LevelWarning
	}
	row("credentials, 1 h", refused)
	return t
}

func share100(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

func fullness(used float64) Level {
	const nearly = 0.9
	if used >= nearly {
		return LevelWarning
	}
	return ""
}

func (a API) answers() Cell {
	c := Cell{Text: orNone(nonzero(Classes, a.Answers))}
	if a.Broken > 0 {
		c.Text += fmt.Sprintf(" · broken off %s", thousands(int64(a.Broken)))
	}
	if a.Answers[Class529]+a.Answers[Class5xx]+a.Broken > 0 {
		c.Mark = LevelWarning
	}
	return c
}

// nonzero lists the members that have a number.
func nonzero[K ~string](members []K, numbers map[K]uint64) string {
	var parts []string
	for _, m := range members {
		if n := numbers[m]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", m, thousands(int64(n))))
		}
	}
	return strings.Join(parts, " · ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (a API) connections() Cell {
	switch {
	case a.Connections == nil:
		return text(unknown)
	case len(a.Connections) == 0:
		return text("none open")
	}
	type group struct{ n, streams int }
	byProtocol := make(map[string]group)
	leaving, doubtful := 0, 0
	var oldest, rtt, handshake float64
	for _, c := range a.Connections {
		g := byProtocol[c.Protocol]
		byProtocol[c.Protocol] = group{g.n + 1, g.streams + c.Streams}
		oldest, rtt, handshake = max(oldest, c.AgeSeconds), max(rtt, c.RTTSeconds), max(handshake, c.HandshakeSeconds)
		if c.Leaving {
			leaving++
		}
		if c.Doubtful {
			doubtful++
		}
	}
	var parts []string
	for _, protocol := range slices.Sorted(maps.Keys(byProtocol)) {
		g := byProtocol[protocol]
		parts = append(parts, fmt.Sprintf("%d × %s, %s", g.n, protocol, count(g.streams, "request")))
	}
	parts = append(parts, "oldest "+span(seconds(oldest)))
	for _, time := range []struct {
		name    string
		seconds float64
	}{{"slowest round trip", rtt}, {"slowest handshake", handshake}} {
		if time.seconds > 0 {
			parts = append(parts, time.name+" "+span(seconds(time.seconds)))
		}
	}
	for _, state := range []struct {
		n    int
		name string
	}{{leaving, "leaving"}, {doubtful, "in doubt"}} {
		if state.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", state.n, state.name))
		}
	}
	c := text(strings.Join(parts, " · "))
	if doubtful > 0 {
		c.Mark = LevelWarning
	}
	return c
}

func (s Snapshot) clientTable() Table {
	t := Table{ID: "clients", Title: "By client", Head: []string{"client", "answers", "4xx", "429", "5xx", "none", "4xx, 15 min"}, Empty: "nobody yet"}
	for _, c := range s.Clients {
		recent := number("-")
		if c.Recent > 0 {
			recent.Text = percent(c.RecentBad, c.Recent)
			if _, much := part(c.RecentBad, c.Recent, muchOfClient); much {
				recent.Mark = LevelFault
			}
		}
		n := func(class Class) Cell { return number(thousands(int64(c.Answers[class]))) }
		t.Rows = append(t.Rows, []Cell{code(c.Name), number(thousands(int64(c.Total))), n(Class4xx), n(Class429),
			number(thousands(int64(c.Answers[Class5xx] + c.Answers[Class529]))), n(ClassNone), recent})
	}
	return t
}

// Figure is one of the four numbers at the top, with its plot.
type Figure struct {
	Name, Value, Unit, Note string
	Plot                    Plot
}

// Text is the figure in one line.
func (f Figure) Text() string {
	line := f.Value
	if f.Unit != "" {
		line += " " + f.Unit
	}
	return line + " · " + f.Note
}

// Figures are the four numbers at the top.
func (s Snapshot) Figures() []Figure {
	t, e := s.Traffic, s.Traffic.Endings
	first := Figure{Name: "First byte", Value: "-", Note: "no answer in 15 min", Plot: firstBytePlot(t.Points)}
	if t.FirstByteP50 > 0 {
		first.Value, first.Unit = span(seconds(t.FirstByteP50)), "p50, "+span(seconds(t.FirstByteP99))+" p99"
		first.Note = "our share of it: " + unknown
		if t.OverheadP50 != nil {
			first.Note = fmt.Sprintf("ours: %s of it", span(seconds(*t.OverheadP50)))
		}
	}
	endings := Figure{Name: "Endings, by whom", Value: "-", Note: "none in 15 min", Plot: endingsPlot(t.Points)}
	if e.Total > 0 {
		endings.Value, endings.Unit = percent(e.Whole, e.Total), "whole"
		endings.Note = fmt.Sprintf("API %s · client %s · us %s · tailnet %s",
			percent(e.API, e.Total), percent(e.Client, e.Total), percent(e.Us, e.Total), percent(e.Tailnet, e.Total))
	}
	return []Figure{
		{Name: "In flight", Value: thousands(int64(s.Load.Active)), Unit: fmt.Sprintf("of %s, %d waiting", thousands(int64(s.Load.Limit)), s.Load.Waiting),
			Note: fmt.Sprintf("most in 15 min: %s", thousands(most(t.Points, s.Load))), Plot: activePlot(t.Points)},
		{Name: "Requests a second", Value: fmt.Sprintf("%.1f", t.PerSecond), Unit: "last minute",
			Note: fmt.Sprintf("15 min: %s", thousands(int64(e.Total))), Plot: ratePlot(t.Points)},
		first, endings,
	}
}

func most(points []Point, now Load) int64 {
	n := int64(now.Active)
	for _, p := range points {
		n = max(n, p.Active)
	}
	return n
}
