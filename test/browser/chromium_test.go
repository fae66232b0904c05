package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"anthropic-oauth-proxy/test/harness"
)

// window is a tab of a browser that reaches this machine's loopback alone.
type window struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	troubles []string // of the console, and whatever left the host
}

// openBrowser starts a browser, which ends with the test. Without one the test
// is skipped.
func openBrowser(t *testing.T) *window {
	t.Helper()
	binary := harness.Tool(t, "the status page in a browser", "chromium", "chromium-browser", "google-chrome")
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(binary), chromedp.UserDataDir(profile(t)), chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("headless", true), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("disable-domain-reliability", true), chromedp.Flag("hide-scrollbars", true),
		// No name is ever asked of anybody.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Env("HOME=" + profile(t)), chromedp.WindowSize(1240, 1000),
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, close := chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(close)
	ctx, stop := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(stop)
	w := &window{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, w.hear)
	w.do(network.Enable(), log.Enable(), runtime.Enable())
	return w
}

// profile is a directory that outlives the test for as long as the browser's
// last helper still writes to it.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for late := time.Now().Add(patience); os.RemoveAll(dir) != nil; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(late) {
				t.Errorf("%s is still in use", dir)
				return
			}
		}
	})
	return dir
}

// hear keeps what must not be.
func (w *window) hear(event any) {
	trouble := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		trouble = "exception: " + e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		trouble = fmt.Sprintf("console: %s %v", e.Type, e.Args)
	case *log.EventEntryAdded:
		trouble = fmt.Sprintf("log: %s %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && u.Hostname() != "127.0.0.1" {
			trouble = "left the host: " + e.Request.URL
		}
	}
	if trouble == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.troubles = append(w.troubles, trouble)
}

// quiet fails the test when the console said anything, or anything left the
// host, and forgets it.
func (w *window) quiet() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, trouble := range w.troubles {
		w.t.Error(trouble)
	}
	w.troubles = nil
}

func (w *window) do(actions ...chromedp.Action) {
	w.t.Helper()
	if err := chromedp.Run(w.ctx, actions...); err != nil {
		w.t.Fatalf("the browser: %v", err)
	}
}

// look opens the status page and waits for its first news.
func (w *window) look(s *stage) {
	w.t.Helper()
	w.do(chromedp.Navigate("http://" + s.admin + "/"))
	w.awaits("#live", "live")
}

// text is what a reader sees of an element.
func (w *window) text(selector string) (text string) {
	w.t.Helper()
	w.do(chromedp.Evaluate(fmt.Sprintf("document.querySelector(%q).innerText", selector), &text))
	return text
}

// awaits waits until an element says something, and returns how long it took.
func (w *window) awaits(selector, part string) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !strings.Contains(w.text(selector), part) {
		if time.Since(began) > patience {
			w.t.Fatalf("%s never says %q but %q", selector, part, w.text(selector))
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// imagesVariable names the directory that gets the screenshots; without it
// they are taken and thrown away.
const imagesVariable = "STATUS_IMAGES"

// shoot takes a picture of the whole page.
func (w *window) shoot(name string, width int64, dark bool) {
	w.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	var image []byte
	w.do(
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.EmulateViewport(width, 900),
		chromedp.FullScreenshot(&image, 100),
	)
	w.keep(name, image)
}

func (w *window) keep(name string, image []byte) {
	w.t.Helper()
	dir := os.Getenv(imagesVariable)
	if dir == "" {
		dir = w.t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), image, 0o644); err != nil {
		w.t.Fatal(err)
	}
	if len(image) < 1000 {
		w.t.Errorf("the picture %s has %d bytes", name, len(image))
	}
}

// shootTop takes a picture of what stands first on the page.
func (w *window) shootTop(name string) {
	w.t.Helper()
	var image []byte
	w.do(chromedp.EmulateViewport(1000, 640), chromedp.CaptureScreenshot(&image))
	w.keep(name, image)
}
