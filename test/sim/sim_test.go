package sim

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) (*API, *http.Client) {
	t.Helper()
	api, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, DisableCompression: true}
	if api.CA() != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: api.CA().Pool()}
	}
	t.Cleanup(func() { transport.CloseIdleConnections(); api.Close() })
	return api, &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func ask(t *testing.T, ctx context.Context, c *http.Client, url string, p Plan) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(`{"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(PlanHeader, p.Encode())
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestPlanSurvivesItsEncoding(t *testing.T) {
	for name, p := range map[string]Plan{
		"zero":  {},
		"flags": {Gated: true, Gzip: true, CRLF: true, Stream: true, Early: true, Hang: true, Hold: true, Stall: true, CutInside: true, Hints: true, Trailer: true, NoType: true},
		"words": {Name: "a b&c", Deltas: 7, Delay: time.Millisecond, CutAfter: 2, Status: 529, Body: "{}\n", Header: []string{"A: 1", "A: 2"}},
	} {
		got, err := parsePlan(p.Encode())
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, p)
		}
	}
	if _, err := parsePlan("delta=3"); err == nil {
		t.Error("an unknown key passed")
	}
}

func TestStreams(t *testing.T) {
	whole := strings.Join(Events(2), "")
	first2 := strings.Join(Events(2)[:2], "")
	for _, protocol := range []Protocol{Plain, TLS1, TLS2} {
		api, client := start(t, Options{Protocol: protocol})
		for name, c := range map[string]struct {
			plan    Plan
			want    string
			cut     bool
			outcome Outcome
		}{
			"whole":   {Plan{Deltas: 2}, whole, false, Completed},
			"gzip":    {Plan{Deltas: 2, Gzip: true}, whole, false, Completed},
			"crlf":    {Plan{Deltas: 2, CRLF: true}, strings.ReplaceAll(whole, "\n", "\r\n"), false, Completed},
			"early":   {Plan{Deltas: 2, Early: true, Stream: true}, whole, false, Completed},
			"cut":     {Plan{Deltas: 2, CutAfter: 2}, first2, true, Cut},
			"cut mid": {Plan{Deltas: 2, CutAfter: 2, CutInside: true}, first2 + Events(2)[2][:len(Events(2)[2])/2], true, Cut},
		} {
			c.plan.Name = name
			res := ask(t, t.Context(), client, api.URL()+"/v1/messages", c.plan)
			var body io.Reader = res.Body
			if c.plan.Gzip {
				zip, err := gzip.NewReader(body)
				if err != nil {
					t.Fatalf("%s %s: %v", protocol, name, err)
				}
				body = zip
			}
			got, err := io.ReadAll(body)
			if string(got) != c.want || (err != nil) != c.cut {
				t.Errorf("%s %s: got %q, %v", protocol, name, got, err)
			}
			rec, err := api.Wait(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			<-rec.Ended()
			if rec.Outcome != c.outcome {
				t.Errorf("%s %s: outcome %s, want %s", protocol, name, rec.Outcome, c.outcome)
			}
		}
	}
}

func TestGateHoldsEachEventBack(t *testing.T) {
	for _, protocol := range []Protocol{Plain, TLS2} {
		api, client := start(t, Options{Protocol: protocol})
		res := ask(t, t.Context(), client, api.URL()+"/v1/messages", Plan{Name: "g", Gated: true, Deltas: 3})
		r := bufio.NewReader(res.Body)
		for i, want := range Events(3) {
			api.Release("g", 1)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
				t.Fatalf("%s event %d: got %q, %v", protocol, i, got, err)
			}
			if r.Buffered() > 0 {
				t.Fatalf("%s: event %d came with its successor", protocol, i)
			}
		}
	}
}

func TestLeavingIsSeen(t *testing.T) {
	for name, plan := range map[string]Plan{"hold": {Hold: true}, "gate": {Gated: true}, "stall": {Stall: true, CutAfter: 1}} {
		api, client := start(t, Options{})
		plan.Name = name
		ctx, leave := context.WithCancel(t.Context())
		ask(t, ctx, client, api.URL()+"/v1/messages", plan)
		leave()
		rec, err := api.Wait(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		<-rec.Ended()
		if rec.Outcome != Cancelled {
			t.Errorf("%s: outcome %s", name, rec.Outcome)
		}
	}
	api, client := start(t, Options{})
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		defer leave()
		_, _ = api.Wait(ctx, "hang")
	}()
	req, _ := http.NewRequestWithContext(ctx, "POST", api.URL(), nil)
	req.Header.Set(PlanHeader, Plan{Name: "hang", Hang: true}.Encode())
	if _, err := client.Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("hang: got %v, want no answer", err)
	}
}

func TestAnswersInFull(t *testing.T) {
	api, client := start(t, Options{Protocol: Plain})
	hints := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { hints += code; return nil },
	})
	res := ask(t, ctx, client, api.URL()+"//v1/a%2Fb?", Plan{
		Name: "full", Status: 529, Body: "raw", Header: []string{"X-Two: 1", "X-Two: 2"}, Hints: true, Trailer: true, NoType: true,
	})
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "raw" || res.StatusCode != 529 {
		t.Errorf("got %d %q, %v", res.StatusCode, body, err)
	}
	if hints != 103 || res.Trailer.Get("X-Sim-Trailer") == "" || len(res.Header["X-Two"]) != 2 || res.Header["Content-Type"] != nil {
		t.Errorf("hints %d, trailer %v, header %v", hints, res.Trailer, res.Header)
	}
	rec, err := api.Wait(t.Context(), "full")
	if err != nil {
		t.Fatal(err)
	}
	<-rec.Ended()
	if rec.Target != "//v1/a%2Fb?" || rec.BodyBytes != 15 || rec.Lines[0] != "Host: "+api.Addr() {
		t.Errorf("recorded %+v", rec)
	}
}
