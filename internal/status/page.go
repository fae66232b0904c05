package status

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

//go:embed page/page.css
var pageCSS string

//go:embed page/page.js
var pageJS string

// ContentSecurityPolicy lets the page do what it does and nothing else: its own
// style and script, known by their hash, its icon, and its feed.
var ContentSecurityPolicy = fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; img-src data:; connect-src 'self'; "+
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", hashOf(pageCSS), hashOf(pageJS))

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// pageStreams is how many streams a page lists.
const pageStreams = 50

// parts renders what changes. Each is whole: the page replaces it.
func (s Snapshot) parts() (parts, titles map[string]string) {
	parts, titles = make(map[string]string), map[string]string{"drain": "Drain"}
	parts["verdict"] = rendered(verdictNode(s.Verdict))
	parts["figures"] = rendered(figuresNode(s.Figures()))
	parts["drain"] = ""
	for _, t := range s.Tables() {
		if t.ID == "streams" && len(t.Rows) > pageStreams {
			t.Note = fmt.Sprintf("%d younger ones: /debug/streams", s.Load.Active-pageStreams)
			t.Rows = t.Rows[:pageStreams]
		}
		parts[t.ID] = rendered(tableNode(t))
		titles[t.ID] = t.Title
	}
	return parts, titles
}

// rendered is a node as text. A builder takes all that it is given.
func rendered(n g.Node) string {
	var b strings.Builder
	_ = n.Render(&b)
	return b.String()
}

// WritePage writes the whole page.
func (s Snapshot) WritePage(w io.Writer, links []string) error {
	parts, titles := s.parts()
	part := func(id string, attributes ...g.Node) g.Node {
		return h.Div(h.ID("part-"+id), g.Group(attributes), g.Raw(parts[id]))
	}
	panel := func(id string) g.Node {
		return h.Section(h.Class("panel"), h.ID(id), h.Aria("labelledby", "h-"+id), g.If(parts[id] == "", g.Attr("hidden")),
			h.H2(h.ID("h-"+id), g.Text(titles[id])),
			part(id, h.Class("part "+id), h.TabIndex("0"), h.Role("group"), h.Aria("labelledby", "h-"+id)))
	}
	clock := s.At.Format("15:04:05 UTC")
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.TitleEl(g.Text(s.title())),
			h.Link(h.Rel("icon"), h.ID("icon"), h.Href(s.icon())),
			h.NoScript(h.Meta(g.Attr("http-equiv", "refresh"), h.Content("5"))),
			h.StyleEl(g.Raw(pageCSS)),
		),
		h.Body(
			h.A(h.Class("skip"), h.Href("#verdict"), g.Text("To the verdict")),
			h.Header(
				h.H1(g.Text(s.Service.Name+" "), h.Small(g.Text(s.Service.Instance+" · "+s.Service.Version))),
				h.Div(h.Span(h.ID("live"), h.Data("at", clock), g.Text("as of "+clock)),
					h.Button(h.ID("pause"), h.Type("button"), g.Attr("hidden"), g.Text("Pause"))),
			),
			h.Main(
				h.Section(h.ID("verdict"), h.Aria("label", "Verdict"), h.TabIndex("-1"), part("verdict", h.Role("status"))),
				h.Section(h.Aria("label", "Figures of the last 15 minutes"), part("figures")),
				panel("drain"),
				h.Div(h.Class("columns"),
					h.Div(panel("tree"), panel("api")),
					h.Div(panel("journal"), panel("tailnet"), panel("clients"))),
				panel("streams"),
			),
			h.Footer(
				h.Span(g.Text("The same in a terminal: "), h.Code(g.Text("anthropic-oauth-proxy status --watch"))),
				g.Map(links, func(link string) g.Node { return h.A(h.Href(link), g.Text(link)) }),
			),
			h.Script(g.Raw(pageJS)),
		),
	)).Render(w)
}

// event renders what the feed says: the changing parts of the page.
func (s Snapshot) event() ([]byte, error) {
	parts, _ := s.parts()
	data, err := json.Marshal(map[string]any{
		"at": s.At.Format("15:04:05 UTC"), "title": s.title(), "icon": s.icon(), "parts": parts,
	})
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "event: snapshot\ndata: %s\n\n", data), nil
}

func (s Snapshot) title() string {
	return fmt.Sprintf("%s: %s", capital(marks[s.Verdict.Level]), s.Service.Name+" "+s.Service.Instance)
}

var iconColours = map[Level]string{LevelOK: "1a7f37", LevelWarning: "bf8700", LevelFault: "cf222e", LevelEnding: "0b62c4"}

// icon is a dot in the verdict's colour.
func (s Snapshot) icon() string {
	return "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23" +
		iconColours[s.Verdict.Level] + "'/%3E%3C/svg%3E"
}
