package telemetry

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// What a library logs may quote a client: its kind is all that is kept.
func TestStandardLogKeepsTheKindAlone(t *testing.T) {
	for _, tc := range []struct{ said, kind string }{
		{"http: TLS handshake error from 127.0.0.1:1: canary", "http"},
		{"http2: server: error reading preface from client canary", "http2"},
		{"error gathering metrics: canary", "error gathering metrics"},
		{"Unsolicited response starting with canary", ""},
		{"canary\xff", ""},
	} {
		var out bytes.Buffer
		StandardLog(zerolog.New(&out), "edge").Print(tc.said)
		var line map[string]string
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%q: logged %q: %v", tc.said, out.String(), err)
		}
		if line["kind"] != tc.kind || line["component"] != "edge" || line["event"] != "library" || line["level"] != "debug" {
			t.Errorf("%q: logged %s", tc.said, out.String())
		}
		if strings.Contains(out.String(), "canary") {
			t.Errorf("%q: quoted in %s", tc.said, out.String())
		}
	}
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, zerolog.InfoLevel)
	log.Debug().Msg("below the level")
	log.Info().Str("event", "one").Msg("first")
	log.Warn().Str("event", "two").Msg("second\nline")
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("two lines are %q", lines)
	}
	for _, l := range lines {
		var line struct {
			Time                  time.Time
			Level, Event, Message string
		}
		if err := json.Unmarshal([]byte(l), &line); err != nil || line.Time.IsZero() || line.Level == "" || line.Event == "" || line.Message == "" {
			t.Errorf("a line is %s (%v)", l, err)
		}
	}
}
