package browser

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"anthropic-oauth-proxy/test/sim"
)

// soon is how quickly a page that is looked at shows what has happened. The
// test itself may be slow: what is asserted is the page's own measure.
const soon = time.Second

// What happens is seen without a reload: a restart, the loss of the tailnet, an
// outage of the API, a drain.
func TestWhatHappensIsSeen(t *testing.T) {
	w := openBrowser(t)
	s := start(t, "drain_timeout_secs = 20")
	w.look(s)
	w.awaits("#part-verdict", "Healthy")
	w.shoot("healthy", 1240, false)

	s.actors["tailnet"].panics(s)
	report(t, "a restart", w.awaits("#part-tree", "up, #2"))
	w.quiet()

	s.daemon.Set("NeedsLogin")
	report(t, "the loss of the tailnet", w.awaits("#part-verdict", "The tailnet is gone"))
	w.awaits("#part-verdict", "needs_login")
	w.awaits("#part-verdict", "TS_AUTHKEY")
	s.daemon.Set("Running")
	w.awaits("#part-verdict", "Healthy")
	w.quiet()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range 8 {
		s.send(claude, "sk-ant-oat01-x", sim.Plan{})
	}
	for range 8 {
		s.send(claude, "sk-ant-oat01-x", sim.Plan{Status: 529})
	}
	report(t, "an outage of the API", w.awaits("#part-verdict", "529"))
	w.awaits("#part-verdict", "Not us")
	s.hold(sim.Plan{Name: "held", Hold: true})
	w.awaits("#part-streams", "stream")
	w.shoot("api-overloaded", 1240, false)
	w.shoot("api-overloaded-dark", 1240, true)
	w.shoot("api-overloaded-narrow", 375, false)
	w.quiet()

	if err := s.system.Shutdown(ctx, "terminated"); err != nil {
		t.Fatal(err)
	}
	report(t, "a drain", w.awaits("#part-verdict", "Shutting down"))
	w.awaits("#part-drain", "requests left")
	w.shoot("draining", 1240, false)
	w.quiet()
}

// report says how long the page took; it is no assertion: machines are busy.
func report(t *testing.T, what string, took time.Duration) {
	t.Helper()
	t.Logf("%s is seen after %v", what, took.Round(time.Millisecond))
	if took > 20*soon {
		t.Errorf("%s is seen after %v", what, took)
	}
}

// The page can be read and used by keyboard, and by who cannot see it: every
// control and region has a name, in an order that makes sense.
func TestKeyboardAndNames(t *testing.T) {
	w := openBrowser(t)
	s := start(t, "")
	w.look(s)
	var order []string
	for range 9 {
		w.do(chromedp.KeyEvent(kb.Tab))
		var name string
		w.do(chromedp.Evaluate(`(e => e.id || e.className || e.tagName)(document.activeElement)`, &name))
		order = append(order, name)
	}
	want := "skip pause part-tree part-api part-journal part-tailnet part-clients part-streams A"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("by keyboard one comes to %s, want %s", got, want)
	}
	var nameless []string
	w.do(chromedp.Evaluate(`[...document.querySelectorAll("section, [role=group], [role=img], button, a")]
		.filter(e => !e.hidden && !(e.getAttribute("aria-label") || (document.getElementById(e.getAttribute("aria-labelledby")) || e).textContent.trim()))
		.map(e => e.outerHTML.slice(0, 80))`, &nameless))
	if len(nameless) > 0 {
		t.Errorf("without a name: %q", nameless)
	}
	w.do(chromedp.Click("#pause", chromedp.ByID))
	w.awaits("#live", "paused at")
	w.do(chromedp.Click("#pause", chromedp.ByID))
	w.awaits("#live", "live")
	w.quiet()
}

// At no width does the page itself scroll sideways, and nothing is cut off.
func TestWidths(t *testing.T) {
	w := openBrowser(t)
	s := start(t, "")
	s.hold(sim.Plan{Name: "held", Hold: true})
	w.look(s)
	w.awaits("#part-streams", "req_")
	for _, width := range []int64{320, 375, 768, 1024, 1920} {
		var wide bool
		w.do(chromedp.EmulateViewport(width, 800), chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &wide))
		if wide {
			t.Errorf("at %d px the page scrolls sideways", width)
		}
	}
	w.quiet()
}

// A page whose service has gone says so, and is live again when it comes back.
func TestTheServiceGoes(t *testing.T) {
	w := openBrowser(t)
	s := start(t, "drain_timeout_secs = 0")
	w.look(s)
	if err := s.system.Shutdown(context.Background(), "terminated"); err != nil {
		t.Fatal(err)
	}
	<-s.exited
	w.awaits("#live", "connection lost")
	if s.exit.Code != 0 {
		t.Errorf("it ended with %+v", s.exit)
	}
	var old bool
	w.do(chromedp.Evaluate(`document.body.classList.contains("old")`, &old))
	if !old {
		t.Error("the page still looks new")
	}
}

// The proxy port may be down: the page works, and says so.
func TestThePortIsDown(t *testing.T) {
	w := openBrowser(t)
	s := start(t, "")
	w.look(s)
	for i := range 7 { // more than the supervisor restarts at once
		t.Log(fmt.Sprint("panic ", i))
		s.actors["listener"].panics(s)
	}
	w.awaits("#part-verdict", "Our fault")
	w.awaits("#part-verdict", "listener")
	w.quiet()
}
