package tailnet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"

	"anthropic-oauth-proxy/test/sim"
	"anthropic-oauth-proxy/test/tailnet/lab"
)

// What the API takes for a credential here.
const (
	ownToken  = "sk-ant-oat01-of-the-developer"
	sharedKey = "sk-ant-api03-of-the-provider"
)

// knows is an API that answers 401 to whoever it does not know.
func knows(tokens ...string) func(*http.Request) sim.Plan {
	return func(r *http.Request) sim.Plan {
		sent := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !slices.Contains(tokens, sent) && !slices.Contains(tokens, r.Header.Get("X-Api-Key")) {
			return sim.Plan{Status: http.StatusUnauthorized}
		}
		return sim.Plan{}
	}
}

// gateway is a stand-in Aperture with the RUNBOOK's own configuration and
// policy, in front of the service.
type gateway struct {
	*lab.Lab
	stanza lab.ApertureConfig
	member *lab.Caller // of the group that the policy names
	ci     *lab.Caller // a tagged node that it does not
	policy lab.Policy
	who    lab.Members
}

func startGateway(t *testing.T) (context.Context, *gateway) {
	ctx, l := start(t, time.Minute, lab.Options{})
	g := &gateway{Lab: l}
	l.API.SetPlan(knows(ownToken, sharedKey))
	var err error
	if g.member, err = l.Join(ctx, "laptop"); err != nil {
		t.Fatal(err)
	}
	if g.ci, err = l.Join(ctx, "runner", "tag:ci"); err != nil {
		t.Fatal(err)
	}
	sidecar, err := l.Sidecar.Key(ctx)
	if err != nil {
		t.Fatal(err)
	}
	g.who = lab.Members{
		"tag:anthropic-oauth-proxy": {sidecar}, "tag:aperture": {l.Caller.Key()},
		"group:claude-users": {g.member.Key()}, "tag:ci": {g.ci.Key()},
	}
	runbookJSON(t, l, "The tailnet's policy", 0, &g.policy)
	var grants lab.Policy
	runbookJSON(t, l, "Aperture", 1, &grants)
	// The runner may reach Aperture, and was given no role there.
	g.policy.Grants = append(append(g.policy.Grants, grants.Grants...),
		lab.Grant{Src: []string{"tag:ci"}, Dst: []string{"tag:aperture"}, IP: []string{"tcp:80"}})
	if err := l.Control.SetPolicy(g.policy, g.who); err != nil {
		t.Fatal(err)
	}
	runbookJSON(t, l, "Aperture", 0, &g.stanza)
	return ctx, g
}

// runbookJSON reads a JSON block of one section of the RUNBOOK, with the lab's
// port in the place of the real one.
func runbookJSON(t *testing.T, l *lab.Lab, section string, nth int, into any) {
	t.Helper()
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(runbookSection(t, section), -1)
	if nth >= len(blocks) {
		t.Fatalf("the RUNBOOK's section %q has %d JSON blocks", section, len(blocks))
	}
	text := strings.ReplaceAll(blocks[nth][1], "8080", strconv.Itoa(l.Proxy.Port()))
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(into); err != nil {
		t.Fatalf("block %d of %q: %v", nth, section, err)
	}
}

func runbookSection(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n## "+name+"\n")
	if !found {
		t.Fatalf("the RUNBOOK has no section %q", name)
	}
	section, _, _ := strings.Cut(after, "\n## ")
	return section
}

// ask sends a message through Aperture.
func (g *gateway) ask(ctx context.Context, from *lab.Caller, method, path, model string, header ...string) (int, string, error) {
	body := ""
	if model != "" {
		body = fmt.Sprintf(`{"model":%q,"max_tokens":8,"messages":[]}`, model)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+lab.CallerName+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := from.HTTP.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// classes are what the service has counted of credentials.
func (g *gateway) classes(ctx context.Context) map[string]float64 {
	counted := map[string]float64{}
	for _, class := range []string{"oauth", "api_key", "placeholder", "none"} {
		counted[class], _ = g.Proxy.Metric(ctx, fmt.Sprintf("proxy_credentials_total{class=%q}", class))
	}
	return counted
}

// The RUNBOOK's stanza and policy behave as its table says, row by row, and the
// table has no other rows.
func TestApertureAsTheRunbookHasIt(t *testing.T) {
	t.Parallel()
	ctx, g := startGateway(t)
	provider := g.stanza.Providers["anthropic-oauth"]
	if len(provider.Models) < 3 || provider.APIKey != "" || strings.HasSuffix(provider.BaseURL, "/v1") {
		t.Fatalf("the RUNBOOK's provider is %+v", provider)
	}
	listed, haiku := provider.Models[0], ""
	for _, m := range provider.Models {
		if strings.Contains(m, "haiku") {
			haiku = m
		}
	}
	if haiku == "" {
		t.Fatal("the RUNBOOK lists no Haiku, which Claude Code asks for in the background")
	}
	withKey, short := provider, provider
	withKey.APIKey = sharedKey
	short.Models = slices.DeleteFunc(slices.Clone(provider.Models), func(m string) bool { return m == haiku })

	const bearer = "Authorization"
	for _, tc := range []struct {
		row      string // of the RUNBOOK: what the client does
		provider lab.Provider
		from     *lab.Caller
		method   string
		path     string
		model    string
		header   []string
		status   int
		class    string // counted by us; empty: we see nothing
		says     string
		arrives  string // the credential at the API
	}{
		{"has no `role`", provider, g.ci, "POST", "/v1/messages", listed, []string{bearer, "Bearer " + ownToken}, 403, "", "no role granted", ""},
		{"asks for a model that the stanza does not list", short, g.member, "POST", "/v1/messages", haiku, []string{bearer, "Bearer " + ownToken}, 404, "", "", ""},
		{"asks for it when it is listed", provider, g.member, "POST", "/v1/messages", haiku, []string{bearer, "Bearer " + ownToken}, 200, "oauth", `"type"`, ownToken},
		{"sends `Bearer -`", provider, g.member, "POST", "/v1/messages", listed, []string{bearer, "Bearer -"}, 401, "placeholder", "authentication_error", "-"},
		{"sends no credential", provider, g.member, "POST", "/v1/messages", listed, nil, 401, "none", "authentication_error", ""},
		{"sends no credential, and the provider has an `apikey`", withKey, g.member, "POST", "/v1/messages", listed, nil, 200, "api_key", `"type"`, sharedKey},
		{"sends its own token", provider, g.member, "POST", "/v1/messages", listed, []string{bearer, "Bearer " + ownToken}, 200, "oauth", `"type"`, ownToken},
		{"sends its own token, and the provider has an `apikey`", withKey, g.member, "POST", "/v1/messages", listed, []string{bearer, "Bearer " + ownToken}, 200, "oauth", `"type"`, ownToken},
		{"names no model (`HEAD /api/hello`, `GET /v1/models`)", provider, g.member, "GET", "/v1/models", "", nil, 200, "", haiku, ""},
	} {
		t.Run(tc.row, func(t *testing.T) {
			a, err := g.StartAperture(lab.ApertureConfig{Providers: map[string]lab.Provider{"anthropic-oauth": tc.provider}})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			before, asked := g.classes(ctx), g.API.Total()
			var status int
			var text string
			await(t, within(t, ctx, 20*time.Second), "an answer of Aperture", func() bool {
				status, text, err = g.ask(within(t, ctx, 8*time.Second), tc.from, tc.method, tc.path, tc.model, tc.header...)
				return err == nil
			})
			if status != tc.status || !strings.Contains(text, tc.says) {
				t.Errorf("the client gets %d %s, want %d and %q in it", status, text, tc.status, tc.says)
			}
			for class, n := range g.classes(ctx) {
				if came := n - before[class]; came != 0 != (class == tc.class) {
					t.Errorf("we counted %v more of %s, want only %q", came, class, tc.class)
				}
			}
			g.checkArrival(t, asked, tc.class != "", tc.arrives)
		})
		g.checkRow(t, tc.row, tc.status, tc.class)
	}
	if rows := runbookRows(t); len(rows) != 9 {
		t.Errorf("the RUNBOOK's table has %d rows, 9 are tried: %q", len(rows), rows)
	}
}

// checkArrival compares what the API got.
func (g *gateway) checkArrival(t *testing.T, asked int, arrived bool, credential string) {
	t.Helper()
	if (g.API.Total() > asked) != arrived {
		t.Errorf("%d requests reached the API, want some: %v", g.API.Total()-asked, arrived)
		return
	}
	if !arrived {
		return
	}
	requests := g.API.Requests()
	last := requests[len(requests)-1]
	if got := strings.TrimPrefix(last.Header.Get("Authorization"), "Bearer "); got != credential {
		t.Errorf("the API got the credential %q, want %q", got, credential)
	}
	if last.Target != "/v1/messages" || !strings.Contains(last.Header.Get("Anthropic-Beta"), "oauth-2025-04-20") {
		t.Errorf("the API got %s with anthropic-beta %q", last.Target, last.Header.Get("Anthropic-Beta"))
	}
}

var runbookRow = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([0-9]{3})[^|]* \| ([^|]+) \| [^|]+ \|$`)

// runbookRows are the rows about Aperture: what the client does, its answer,
// what we count.
func runbookRows(t *testing.T) map[string][2]string {
	rows := map[string][2]string{}
	for _, m := range runbookRow.FindAllStringSubmatch(runbookSection(t, "Aperture"), -1) {
		rows[m[1]] = [2]string{m[2], strings.Trim(m[3], "`")}
	}
	return rows
}

func (g *gateway) checkRow(t *testing.T, row string, status int, class string) {
	t.Helper()
	if class == "" {
		class = "nothing"
	}
	if got, want := runbookRows(t)[row], [2]string{strconv.Itoa(status), class}; got != want {
		t.Errorf("the RUNBOOK says of a client that %s: %q, want %q", row, got, want)
	}
}

// The policy alone decides who reaches the proxy: whoever may go through
// Aperture only is not let in beside it.
func TestThePolicyOfTheRunbook(t *testing.T) {
	t.Parallel()
	ctx, g := startGateway(t)
	reaches := func(c *lab.Caller, patience time.Duration) bool {
		req, err := http.NewRequestWithContext(within(t, ctx, patience), http.MethodGet, g.URL("/health"), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.HTTP.Do(req)
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	}
	for name, c := range map[string]*lab.Caller{"Aperture": g.Caller, "a member": g.member} {
		await(t, within(t, ctx, 20*time.Second), name+" at the proxy", func() bool { return reaches(c, 3*time.Second) })
	}
	if reaches(g.ci, 2*time.Second) {
		t.Error("a node that no grant names reaches the proxy")
	}
	if err := g.Control.SetPolicy(g.policy, lab.Members{"tag:aperture": {key.NodePublic{}}}); err == nil {
		t.Error("a policy that names nobody is accepted")
	}
}
