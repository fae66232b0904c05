package tailnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"

	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"
)

// Bounds on what an answer may hold, in bytes. The daemon is trusted, but what
// answers at the path need not be the daemon.
const (
	maxAnswer  = 1 << 20  // about one node
	maxPeers   = 64 << 20 // about all of them: a kilobyte each
	maxNotice  = 4 << 20  // one message on the bus
	maxRefusal = 1 << 10  // the text of an error, more is cut
)

// errBadAnswer: what answers does not speak as tailscaled does.
var errBadAnswer = errors.New("not an answer of tailscaled")

// errNobody: tailscaled does not know the node that was asked for.
var errNobody = errors.New("not known to tailscaled")

// open puts a question and returns the answer when its status is 200. The
// caller closes the body.
func (l *LocalAPI) open(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+l.place.look()+"/localapi/v0/"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Host = apitype.LocalAPIHost
	req.Header.Set("Tailscale-Cap", strconv.Itoa(int(tailcfg.CurrentCapabilityVersion)))
	res, err := l.client.Do(req)
	if err != nil || res.StatusCode == http.StatusOK {
		return res, err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal)) // half of it is better than nothing
	kind := errBadAnswer
	switch res.StatusCode {
	case http.StatusForbidden:
		kind = fs.ErrPermission
	case http.StatusNotFound:
		kind = errNobody
	}
	return nil, fmt.Errorf("%w: status %d: %s", kind, res.StatusCode, text)
}

// ask puts a question whose answer is one JSON value of limit bytes at most.
// The answer is never nil without an error.
func ask[T any](ctx context.Context, l *LocalAPI, method, path string, limit int64) (*T, error) {
	res, err := l.open(ctx, method, path)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(&allowance{from: res.Body, left: limit})
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	var answer *T
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	if answer == nil {
		return nil, fmt.Errorf("%w: null", errBadAnswer)
	}
	return answer, nil
}

// allowance reads until left is used up; what comes then is an error.
type allowance struct {
	from io.Reader
	left int64
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left < 0 {
		return 0, fmt.Errorf("%w: too long", errBadAnswer)
	}
	if int64(len(p)) > a.left+1 {
		p = p[:a.left+1] // the one byte too many tells
	}
	n, err := a.from.Read(p)
	a.left -= int64(n)
	if a.left < 0 {
		return 0, fmt.Errorf("%w: too long", errBadAnswer)
	}
	return n, err
}
