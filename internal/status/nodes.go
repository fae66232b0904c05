package status

import (
	"fmt"
	"slices"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// The page is put together from nodes, which escape every text and attribute,
// and not from html/template: whoever executes one makes the linker keep every
// exported method of the program, which is a third of the binary.

func verdictNode(v Verdict) g.Node {
	return h.Div(h.Class("verdict "+string(v.Level)),
		h.P(h.Class("headline"), g.Text(v.Headline)),
		g.If(v.Detail != "", h.P(g.Text(v.Detail))),
		g.If(v.Next != "", h.P(h.Class("next"), g.Text("Next: "+v.Next))),
		g.If(v.Runbook != "", h.P(g.Text("RUNBOOK: "), h.Em(g.Text(v.Runbook)))),
		g.If(len(v.Also) > 0, h.Ul(g.Map(v.Also, func(also string) g.Node { return h.Li(g.Text(also)) }))),
	)
}

func figuresNode(figures []Figure) g.Node {
	return h.Div(h.Class("figures"), g.Map(figures, func(f Figure) g.Node {
		return h.Div(h.Class("panel"),
			h.H2(g.Text(f.Name)),
			h.P(h.Class("value"), g.Text(f.Value), g.If(f.Unit != "", h.Small(g.Text(" "+f.Unit)))),
			plotNode(f.Plot),
			h.P(h.Class("note"), g.Text(f.Note)))
	}))
}

func plotNode(p Plot) g.Node {
	return h.SVG(h.Class("plot"), h.Role("img"), h.Aria("label", p.Says),
		g.Attr("viewBox", fmt.Sprintf("0 0 %d %d", PlotWidth, PlotHeight)), g.Attr("preserveAspectRatio", "none"),
		g.Map(p.Areas, func(a Area) g.Node {
			return g.If(a.Path != "", g.El("path", h.Class(a.Class), g.Attr("d", a.Path)))
		}))
}

// numeric are the heads of columns that hold numbers.
var numeric = []string{"up", "restarts", "age", "last byte", "sent", "received", "answers", "4xx", "429", "5xx", "none", "4xx, 15 min"}

func tableNode(t Table) g.Node {
	note := g.If(t.Note != "", h.P(h.Class("note"), g.Text(t.Note)))
	if len(t.Rows) == 0 {
		return g.Group{h.P(g.Text(t.Empty)), note}
	}
	head := g.If(len(t.Head) > 0, h.THead(h.Tr(g.Map(t.Head, func(name string) g.Node {
		return h.Th(h.Scope("col"), g.If(slices.Contains(numeric, name), h.Class("right")), g.Text(name))
	}))))
	return g.Group{h.Table(head, h.TBody(g.Map(t.Rows, rowNode))), note}
}

func rowNode(cells []Cell) g.Node {
	row := make(g.Group, len(cells))
	for i, c := range cells {
		if i == 0 {
			row[i] = h.Th(h.Scope("row"), cellNode(c))
		} else {
			row[i] = h.Td(cellNode(c))
		}
	}
	return h.Tr(row)
}

// cellNode is a cell's attributes and content.
func cellNode(c Cell) g.Node {
	var cell g.Group
	switch {
	case c.Code:
		cell = append(cell, h.Class("code"), g.If(c.Text != "", h.Title(c.Text)))
	case c.Right:
		cell = append(cell, h.Class("right"))
	}
	if c.Bar != nil {
		cell = append(cell, barNode(*c.Bar, c.Mark))
	}
	if c.Mark != "" {
		return append(cell, h.Span(h.Class("mark "+string(c.Mark)), g.Text(c.Text)))
	}
	return append(cell, g.Text(c.Text))
}

// barNode draws a share, 0 to 1.
func barNode(share float64, mark Level) g.Node {
	class := "bar"
	if mark != "" {
		class += " " + string(mark)
	}
	rect := func(class, width string) g.Node {
		return g.El("rect", h.Class(class), g.Attr("width", width), g.Attr("height", "8"))
	}
	return h.SVG(h.Class(class), g.Attr("viewBox", "0 0 100 8"), g.Attr("preserveAspectRatio", "none"), h.Aria("hidden", "true"),
		rect("all", "100"), rect("used", fmt.Sprintf("%.1f", 100*min(max(share, 0), 1))))
}
