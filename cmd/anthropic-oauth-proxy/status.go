package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"

	instrument "anthropic-oauth-proxy/internal/status"
)

const (
	exitUnhealthy   = 1 // of status
	exitUnreachable = 2 // of status

	statusTimeout = 5 * time.Second
	watchPause    = time.Second
	// longestSnapshot is far above what the service can have to say.
	longestSnapshot = 8 << 20
)

// status asks the admin port of a running proxy how it is: the sentence and the
// tables of its page. The exit code is of the last answer.
func status(asked request, addr string, getenv func(string) string, stdout, stderr io.Writer) int {
	colour := instrument.Colour(coloured(stdout, getenv))
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	if !asked.watch {
		return look(context.Background(), client, addr, asked.json, colour, stdout, stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	for code := exitOK; ; {
		if isTerminal(stdout) && !asked.json {
			fmt.Fprint(stdout, "\x1b[H\x1b[2J")
		}
		if now := look(ctx, client, addr, asked.json, colour, stdout, stderr); ctx.Err() == nil {
			code = now
		}
		select {
		case <-ctx.Done():
			return code
		case <-time.After(watchPause):
		}
	}
}

// look asks once.
func look(ctx context.Context, client *http.Client, addr string, asJSON bool, colour instrument.Colour, stdout, stderr io.Writer) int {
	raw, s, err := fetch(ctx, client, addr)
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintf(stderr, "anthropic-oauth-proxy: ask %s: %v; is the proxy running, and is this its admin port?\n", addr, err)
		}
		return exitUnreachable
	}
	if asJSON {
		_, err = stdout.Write(raw)
	} else {
		err = s.WriteText(stdout, colour)
	}
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: print status: %v\n", err)
		return exitUnhealthy
	case !s.Verdict.Healthy:
		return exitUnhealthy
	}
	return exitOK
}

func fetch(ctx context.Context, client *http.Client, addr string) ([]byte, instrument.Snapshot, error) {
	var s instrument.Snapshot
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/debug/status", nil)
	if err != nil {
		return nil, s, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, s, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, longestSnapshot))
	if err != nil {
		return nil, s, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, s, fmt.Errorf("it answered %s", res.Status)
	}
	if err := json.Unmarshal(raw, &s); err != nil || s.Version != instrument.Version {
		return nil, s, fmt.Errorf("its answer is not a status of version %d", instrument.Version)
	}
	return raw, s, nil
}

// coloured reports whether w shows colours and its reader wants them.
func coloured(w io.Writer, getenv func(string) string) bool {
	return isTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// isTerminal reports whether w is one.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}
