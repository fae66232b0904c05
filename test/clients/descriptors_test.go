package clients

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"anthropic-oauth-proxy/test/harness"
	"anthropic-oauth-proxy/test/sim"
)

// Out of descriptors nobody new is served: the service says so itself, with the
// reason, and is ready again when there are some. What was under way goes on.
func TestOutOfDescriptors(t *testing.T) {
	const limit = "80"
	p := start(t, sim.Options{}, harness.Options{
		Wrap: []string{"sh", "-c", "ulimit -n " + limit + ` && exec "$@"`, "sh"},
	})
	stream := p.openStreams(t, 1, sim.Plan{Gated: true})[0]
	admin := &http.Client{} // with a connection of its own, from before
	defer admin.CloseIdleConnections()
	page := func(path string) (int, string) {
		res, err := admin.Get("http://" + p.proxy.Admin + path)
		if err != nil {
			t.Fatalf("the admin port is gone: %v", err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	if code, _ := page("/readyz"); code != http.StatusOK {
		t.Fatalf("/readyz says %d", code)
	}
	if !strings.Contains(p.proxy.Logs(), `"event":"descriptors_scarce"`) {
		t.Error("the start did not warn of a limit that low")
	}

	// Whoever is idle makes room for others; these are not: each sends a body
	// that does not end.
	var crowd []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", p.proxy.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "POST /v1/messages HTTP/1.1\r\nHost: ai\r\nContent-Length: 100\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, c)
	}
	p.poll(t, "readiness is off", func() bool { code, _ := page("/readyz"); return code == http.StatusServiceUnavailable })
	if _, body := page("/health"); !strings.Contains(body, `"status":"degraded"`) || !strings.Contains(body, `"trouble":"out_of_descriptors"`) {
		t.Errorf("health says %s", body)
	}
	if code, _ := page("/livez"); code != http.StatusOK {
		t.Errorf("/livez says %d", code)
	}
	for _, c := range crowd {
		c.Close()
	}
	p.poll(t, "readiness is on again", func() bool { code, _ := page("/readyz"); return code == http.StatusOK })
	p.api.Release("stream-0", 100)
	if rest, err := io.ReadAll(stream); err != nil || string(rest) != strings.Join(sim.Events(3)[1:], "") {
		t.Errorf("the stream: %v, got %q", err, rest)
	}
}
