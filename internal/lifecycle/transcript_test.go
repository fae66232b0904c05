package lifecycle

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"anthropic-oauth-proxy/messages"
)

var rewrite = flag.Bool("rewrite", false, "write what the machine says into testdata/*.txt")

// TestTranscripts replays the lives in testdata/*.txt. In a transcript
//
//	at 3s tailnet not_connected needs_login its own words
//	from 4s to 60s tick
//
// are events: one, or the same one each second. The lines below, which begin
// with ">", are the states that followed; repetitions are left out. Run with
// -rewrite to regenerate them, and read the difference.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("find transcripts: %v, %d files", err, len(files))
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			recorded, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(string(recorded))
			if err != nil {
				t.Fatal(err)
			}
			if got == string(recorded) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("the life went otherwise (run with -rewrite to accept):\n%s", got)
		})
	}
}

// replay returns the transcript with its state lines made anew.
func replay(transcript string) (string, error) {
	var out strings.Builder
	m := New(epoch, testLimits)
	shown := ""
	for n, line := range strings.Split(strings.TrimSuffix(transcript, "\n"), "\n") {
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		from, to, words, err := schedule(strings.Fields(line))
		if err != nil {
			return "", fmt.Errorf("line %d %q: %w", n+1, line, err)
		}
		for at := from; at <= to; at += time.Second {
			now := epoch.Add(at)
			ev, err := parseEvent(now, words)
			if err != nil {
				return "", fmt.Errorf("line %d %q: %w", n+1, line, err)
			}
			m = m.Step(now, ev)
			if s := show(m); s != shown {
				fmt.Fprintf(&out, "> %v %s\n", at, s)
				shown = s
			}
		}
	}
	return out.String(), nil
}

// schedule reads "at T EVENT…" and "from T to T EVENT…".
func schedule(w []string) (from, to time.Duration, event []string, err error) {
	switch {
	case len(w) > 2 && w[0] == "at":
		from, err = time.ParseDuration(w[1])
		return from, from, w[2:], err
	case len(w) > 4 && w[0] == "from" && w[2] == "to":
		if from, err = time.ParseDuration(w[1]); err == nil {
			to, err = time.ParseDuration(w[3])
		}
		return from, to, w[4:], err
	default:
		return 0, 0, nil, fmt.Errorf("want at or from…to")
	}
}

func parseEvent(now time.Time, w []string) (messages.Event, error) {
	word := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	rest := func(i int) string { return strings.Join(w[min(i, len(w)):], " ") }
	switch w[0] {
	case "config":
		return messages.ConfigLoaded{TailnetDisabled: word(1) == "off"}, nil
	case "tailnet":
		s := messages.TailnetStatus{Link: messages.Link(word(1)), At: now}
		switch s.Link {
		case messages.LinkConnected:
			s.Hostname, s.IP = word(2), word(3)
			for _, i := range w[min(4, len(w)):] {
				s.Impaired = append(s.Impaired, messages.Impairment(i))
			}
		case messages.LinkNotConnected:
			s.Reason, s.Detail = messages.Reason(word(2)), rest(3)
		default:
			return nil, fmt.Errorf("unknown link %q", s.Link)
		}
		return messages.TailnetObserved{Status: s}, nil
	case "listening":
		return messages.ListenerReady{Addr: word(1)}, nil
	case "not_listening":
		return messages.ListenerFailed{Addr: word(1), Err: rest(2)}, nil
	case "shutdown":
		return messages.ShutdownRequested{Cause: word(1)}, nil
	case "interrupt":
		return messages.Interrupted{Cause: word(1)}, nil
	case "edge":
		return messages.EdgeObserved{Edge: messages.EdgeStatus{
			Trouble: messages.Trouble(word(1)), Idle: word(2) == "idle", Detail: rest(3),
		}}, nil
	case "stalled":
		d, err := time.ParseDuration(word(1))
		return messages.Stalled{For: d}, err
	case "drained":
		cut, err := strconv.Atoi(word(1))
		return messages.DrainFinished{Cut: cut}, err
	case "tick":
		return messages.Ticked{}, nil
	default:
		return nil, fmt.Errorf("unknown event %q", w[0])
	}
}

// show is a state on one line.
func show(m Machine) string {
	s := m.State()
	since := func(t time.Time) string { return t.Sub(epoch).String() }
	var wants []string
	for _, w := range []struct {
		wanted bool
		name   string
	}{
		{s.Desired.Listen, "listen"}, {s.Desired.Ready, "ready"}, {s.Desired.Stop, "stop"},
		{s.Desired.Drain, "drain by " + since(s.Desired.DrainBy)},
	} {
		if w.wanted {
			wants = append(wants, w.name)
		}
	}
	if wants == nil {
		wants = []string{"nothing"}
	}
	link := strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %v", s.Tailnet.Hostname, s.Tailnet.IP, account(s.Tailnet), s.Tailnet.Impaired)), " ")
	line := fmt.Sprintf("%s since %s (%s): wants %s; tailnet %s since %s",
		s.Phase, since(s.Since), m.Trigger(), strings.Join(wants, ", "), strings.TrimSuffix(link, " []"), since(s.TailnetSince))
	if s.Trouble != messages.TroubleNone {
		line += fmt.Sprintf("; trouble %s since %s (%s)", s.Trouble, since(s.TroubleSince), s.TroubleDetail)
	}
	if s.Phase == messages.Stopped {
		line += fmt.Sprintf("; exit %d %q", s.Exit.Code, s.Exit.Message)
	}
	return line
}
