package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
)

//go:embed page/page.html
var pageHTML string

//go:embed page/page.css
var pageCSS string

//go:embed page/page.js
var pageJS string

// numeric are the heads of columns that hold numbers.
var numeric = []string{"up", "restarts", "age", "last byte", "sent", "received", "answers", "4xx", "429", "5xx", "none", "4xx, 15 min"}

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"right":   func(head string) bool { return slices.Contains(numeric, head) },
	"hundred": func(share *float64) string { return fmt.Sprintf("%.1f", 100*min(max(*share, 0), 1)) },
}).Parse(pageHTML))

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

// panels are the parts of the page that are tables.
var panels = []string{"drain", "tree", "journal", "tailnet", "api", "clients", "streams"}

type panel struct {
	ID, Title string
	Body      template.HTML
}

// parts renders what changes. Each is whole: the page replaces it.
func (s Snapshot) parts() (map[string]template.HTML, map[string]panel, error) {
	parts := make(map[string]template.HTML)
	var failed error
	render := func(id, name string, data any) {
		var b bytes.Buffer
		if err := templates.ExecuteTemplate(&b, name, data); err != nil {
			failed = fmt.Errorf("render %s: %w", id, err)
		}
		parts[id] = template.HTML(b.String())
	}
	render("verdict", "verdict", s.Verdict)
	render("figures", "figures", s.Figures())
	all := map[string]panel{"drain": {ID: "drain", Title: "Drain"}}
	parts["drain"] = ""
	for _, t := range s.Tables() {
		if t.ID == "streams" && len(t.Rows) > pageStreams {
			t.Note = fmt.Sprintf("%d younger ones: /debug/streams", s.Load.Active-pageStreams)
			t.Rows = t.Rows[:pageStreams]
		}
		render(t.ID, "table", t)
		all[t.ID] = panel{t.ID, t.Title, parts[t.ID]}
	}
	return parts, all, failed
}

// WritePage writes the whole page.
func (s Snapshot) WritePage(w io.Writer, links []string) error {
	parts, all, err := s.parts()
	if err != nil {
		return err
	}
	return templates.ExecuteTemplate(w, "page", map[string]any{
		"Title": s.title(), "Icon": s.icon(), "Service": s.Service, "Clock": s.At.Format("15:04:05 UTC"),
		"Parts": parts, "Panels": all, "Links": links, "CSS": template.CSS(pageCSS), "JS": template.JS(pageJS),
	})
}

// event renders what the feed says: the changing parts of the page.
func (s Snapshot) event() ([]byte, error) {
	parts, _, err := s.parts()
	if err != nil {
		return nil, err
	}
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
func (s Snapshot) icon() template.URL {
	return template.URL("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23" +
		iconColours[s.Verdict.Level] + "'/%3E%3C/svg%3E")
}
