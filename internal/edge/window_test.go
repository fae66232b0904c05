package edge

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// The first connections over HTTP/2 get wide windows, the others narrow ones,
// and a place that is given back counts.
func TestWindowsOfHTTP2(t *testing.T) {
	d := openDoor(t, New(handlerFunc(echo), Options{}))
	window := func() (net.Conn, uint32) {
		c := d.dial()
		c.send(http2.ClientPreface)
		f := http2.NewFramer(c, c.br)
		_ = f.WriteSettings()
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		size, _ := frame.(*http2.SettingsFrame).Value(http2.SettingInitialWindowSize)
		return c, size
	}
	var held []net.Conn
	for i := range wideConns + 2 {
		c, got := window()
		want := uint32(wideWindow)
		if i >= wideConns {
			want = narrowWindow
		}
		if got != want {
			t.Errorf("connection %d: a window of %d, want %d", i, got, want)
		}
		held = append(held, c)
	}
	_ = held[1].Close()
	for late := time.Now().Add(patience); ; {
		c, got := window()
		if got == wideWindow {
			break
		}
		_ = c.Close()
		if time.Now().After(late) {
			t.Fatal("no place for a wide connection comes back")
		}
	}
}
