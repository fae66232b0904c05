package lab

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"tailscale.com/client/local"
	"tailscale.com/tailcfg"
)

// ApertureCapability is what grants to Aperture speak of.
const ApertureCapability tailcfg.PeerCapability = "tailscale.com/cap/aperture"

// ApertureConfig is the part of Aperture's configuration that the service's
// documents use.
type ApertureConfig struct {
	Providers map[string]Provider `json:"providers"`
}

// A Provider is where requests for some models go.
type Provider struct {
	BaseURL       string          `json:"baseurl"` // before the path that came in
	Models        []string        `json:"models"`  // exact ids
	Authorization string          `json:"authorization"`
	AuthMode      string          `json:"auth_mode"`
	Compatibility map[string]bool `json:"compatibility"`
	APIKey        string          `json:"apikey"`
}

// An Aperture stands in for Tailscale's AI gateway. It does what that one's
// documentation says: it asks the tailnet who calls and what was granted to him,
// lets the model decide the provider, and passes the caller's credential
// through, or puts its own in the place of none.
type Aperture struct {
	config ApertureConfig
	who    *local.Client
	server *http.Server
	out    *http.Transport
	served chan struct{}
}

// StartAperture makes the lab's caller the gateway, on port 80 of the tailnet.
// The caller ends it.
func (l *Lab) StartAperture(config ApertureConfig) (*Aperture, error) {
	who, err := l.Caller.node.LocalClient()
	if err != nil {
		return nil, fmt.Errorf("start aperture: %w", err)
	}
	ln, err := l.Caller.node.Listen("tcp", ":80")
	if err != nil {
		return nil, fmt.Errorf("start aperture: %w", err)
	}
	a := &Aperture{
		config: config, who: who, served: make(chan struct{}),
		out: &http.Transport{DialContext: l.Caller.node.Dial, DisableCompression: true},
	}
	a.server = &http.Server{Handler: a, ErrorLog: quiet}
	go func() {
		defer close(a.served)
		_ = a.server.Serve(ln) // it ends by Close
	}()
	return a, nil
}

// Close ends the gateway and waits for it.
func (a *Aperture) Close() {
	a.server.Close()
	<-a.served
	a.out.CloseIdleConnections()
}

// granted is one capability of a caller.
type granted struct {
	Role   string `json:"role"`
	Models string `json:"models"` // a glob over provider/model
}

func (a *Aperture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := a.who.WhoIs(r.Context(), r.RemoteAddr)
	if err != nil {
		http.Error(w, "access denied: unknown caller", http.StatusForbidden)
		return
	}
	grants, err := tailcfg.UnmarshalCapJSON[granted](who.CapMap, ApertureCapability)
	if err != nil || !slices.ContainsFunc(grants, func(g granted) bool { return g.Role != "" }) {
		http.Error(w, "access denied: no role granted", http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has left
	}
	var asked struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(body, &asked) // a body without a model is for nobody
	if asked.Model == "" {
		a.own(w, grants)
		return
	}
	provider, ok := a.provider(asked.Model, r.URL.Path, grants)
	if !ok {
		http.Error(w, "model not found", http.StatusNotFound)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.forward(provider, w, r)
}

// own answers what names no model: it reaches no provider.
func (a *Aperture) own(w http.ResponseWriter, grants []granted) {
	models := []string{}
	for name, p := range a.config.Providers {
		for _, m := range p.Models {
			if mayUse(grants, name+"/"+m) {
				models = append(models, m)
			}
		}
	}
	slices.Sort(models)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"data": models}) // who has left misses nothing
}

func (a *Aperture) provider(model, path string, grants []granted) (Provider, bool) {
	for name, p := range a.config.Providers {
		speaks := !strings.HasPrefix(path, "/v1/messages") || p.Compatibility["anthropic_messages"]
		if speaks && slices.Contains(p.Models, model) && mayUse(grants, name+"/"+model) {
			return p, true
		}
	}
	return Provider{}, false
}

func mayUse(grants []granted, model string) bool {
	return slices.ContainsFunc(grants, func(g granted) bool { return g.Models != "" && glob(g.Models).MatchString(model) })
}

// glob is a pattern in which * stays within a part and ** does not.
func glob(pattern string) *regexp.Regexp {
	text := regexp.QuoteMeta(pattern)
	text = strings.ReplaceAll(text, `\*\*`, `.+`)
	text = strings.ReplaceAll(text, `\*`, `[^/]*`)
	return regexp.MustCompile("^" + text + "$")
}

// forward passes the request on with the caller's credential. Only where there
// is none, or none may be passed, the provider's key speaks.
func (a *Aperture) forward(p Provider, w http.ResponseWriter, r *http.Request) {
	base, err := url.Parse(p.BaseURL)
	if err != nil {
		http.Error(w, "bad baseurl", http.StatusInternalServerError)
		return
	}
	own := cmp.Or(r.Header.Get("Authorization"), r.Header.Get("X-Api-Key")) != ""
	proxy := &httputil.ReverseProxy{Transport: a.out, FlushInterval: -1, ErrorLog: quiet, Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(base)
		if p.AuthMode == "passthrough" && own || p.APIKey == "" {
			return
		}
		pr.Out.Header.Del("Authorization")
		pr.Out.Header.Del("X-Api-Key")
		if p.Authorization == "x-api-key" {
			pr.Out.Header.Set("X-Api-Key", p.APIKey)
		} else {
			pr.Out.Header.Set("Authorization", "Bearer "+p.APIKey)
		}
	}}
	proxy.ServeHTTP(w, r)
}
