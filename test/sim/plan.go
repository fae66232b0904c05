package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// PlanHeader carries a [Plan] in its encoded form. A query parameter "sim"
// may carry it too; the header wins.
const PlanHeader = "X-Sim"

// A Plan says how one request is answered. The zero Plan is a healthy API:
// a short stream for a request that asks for one, JSON for any other.
type Plan struct {
	// Name identifies the request to [API.Wait].
	Name string
	// Deltas is how many content_block_delta events a stream has; 0 means 3.
	Deltas int
	// Delay is waited before every event but the first.
	Delay time.Duration
	// Gated holds every event back until [API.Release] lets it go.
	Gated bool
	// Gzip compresses a stream, flushed at every event.
	Gzip bool
	// CRLF ends the lines of a stream with CR LF.
	CRLF bool
	// Tool makes the stream's first block a tool call, its deltas the pieces of
	// the tool's input.
	Tool bool
	// Stream answers with SSE whatever the request asks for.
	Stream bool
	// Early answers before the request's body is read. Over HTTP/1.1 the body
	// is read before the answer's last chunk, see [EarlyAPI] for a harder case;
	// over HTTP/2 it is never read and the stream is reset without an error.
	Early bool
	// Hang sends nothing at all until the client leaves.
	Hang bool
	// Hold sends nothing after the last event until the client leaves.
	Hold bool
	// Stall sends the headers and CutAfter events, then nothing until the
	// client leaves.
	Stall bool
	// CutAfter breaks the connection after that many events; 0 means never.
	CutAfter int
	// CutHead breaks the connection before the answer's head.
	CutHead bool
	// CutInside sends half of the next event before the connection breaks.
	CutInside bool
	// Hints sends a 103 with a Link header first.
	Hints bool
	// Trailer ends the answer with the trailer X-Sim-Trailer.
	Trailer bool
	// NoType sends no Content-Type.
	NoType bool
	// Status is the answer's status; 0 means 200. One of 400 and above gets
	// Body, or an error in the API's envelope when Body is empty.
	Status int
	// Body replaces the answer's body.
	Body string
	// Header lines ("Name: value") are added to the answer.
	Header []string
}

// Encode writes p for [PlanHeader]: the non-zero fields as a URL query.
func (p Plan) Encode() string {
	v := url.Values{}
	text := func(key, s string) {
		if s != "" {
			v.Set(key, s)
		}
	}
	number := func(key string, n int) {
		if n != 0 {
			v.Set(key, strconv.Itoa(n))
		}
	}
	text("name", p.Name)
	text("body", p.Body)
	number("deltas", p.Deltas)
	number("cutafter", p.CutAfter)
	number("status", p.Status)
	if p.Delay != 0 {
		v.Set("delay", p.Delay.String())
	}
	for key, flag := range p.flags() {
		if *flag {
			v.Set(key, "1")
		}
	}
	for _, line := range p.Header {
		v.Add("header", line)
	}
	return v.Encode()
}

// flags maps the encoded names of the boolean fields to the fields.
func (p *Plan) flags() map[string]*bool {
	return map[string]*bool{
		"gated": &p.Gated, "gzip": &p.Gzip, "crlf": &p.CRLF, "stream": &p.Stream, "early": &p.Early,
		"hang": &p.Hang, "hold": &p.Hold, "stall": &p.Stall, "cutinside": &p.CutInside,
		"hints": &p.Hints, "trailer": &p.Trailer, "notype": &p.NoType, "tool": &p.Tool, "cuthead": &p.CutHead,
	}
}

// parsePlan reads what Encode wrote. An unknown key is an error, so that a
// mistyped plan fails its test instead of passing as a healthy answer.
func parsePlan(s string) (Plan, error) {
	var p Plan
	v, err := url.ParseQuery(s)
	if err != nil {
		return p, fmt.Errorf("parse plan: %w", err)
	}
	flags := p.flags()
	numbers := map[string]*int{"deltas": &p.Deltas, "cutafter": &p.CutAfter, "status": &p.Status}
	texts := map[string]*string{"name": &p.Name, "body": &p.Body}
	for key, values := range v {
		switch {
		case flags[key] != nil:
			*flags[key] = values[0] != "0"
		case texts[key] != nil:
			*texts[key] = values[0]
		case numbers[key] != nil:
			*numbers[key], err = strconv.Atoi(values[0])
		case key == "delay":
			p.Delay, err = time.ParseDuration(values[0])
		case key == "header":
			p.Header = values
		default:
			err = fmt.Errorf("unknown key %q", key)
		}
		if err != nil {
			return p, fmt.Errorf("parse plan: %w", err)
		}
	}
	return p, nil
}

// planOf finds the plan that a request carries, or the default.
func (a *API) planOf(r *http.Request) (Plan, error) {
	if s := r.Header.Get(PlanHeader); s != "" {
		return parsePlan(s)
	}
	if strings.Contains(r.URL.RawQuery, "sim=") {
		if s := r.URL.Query().Get("sim"); s != "" {
			return parsePlan(s)
		}
	}
	return a.defaultPlan.Load().(func(*http.Request) Plan)(r), nil
}
