package tracing

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"anthropic-oauth-proxy/internal/proxy"
)

const (
	// waiting is how many spans may wait for the collector; more are dropped.
	waiting = 2048
	// batch is how many go at once, at the latest after pause.
	batch = 256
	pause = 5 * time.Second
	// complaint is the least time between two log lines of failures.
	complaint = time.Minute
	// farewell is how long the end waits for the collector.
	farewell = time.Second
)

// Exporter follows every exchange and sends its span. It is a
// [proxy.Follower] and a [prometheus.Collector] of trace_spans_total. Whoever
// made it closes it.
type Exporter struct {
	settings Settings
	version  string
	log      zerolog.Logger
	client   *http.Client
	spans    chan span
	ctx      context.Context // ends what is being sent
	cancel   context.CancelFunc
	closing  chan struct{}
	closed   chan struct{}
	results  *prometheus.CounterVec
	told     time.Time // of a failure; the goroutine's
}

// Start makes an exporter and its goroutine.
func Start(s Settings, version string, log zerolog.Logger) *Exporter {
	e := &Exporter{
		settings: s, version: version, log: log,
		client:  &http.Client{Timeout: s.Timeout, Transport: &http.Transport{Proxy: nil, IdleConnTimeout: time.Minute}, CheckRedirect: stay},
		spans:   make(chan span, waiting),
		closing: make(chan struct{}), closed: make(chan struct{}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "trace_spans_total",
			Help: "Spans by what became of them: sent, refused by the collector or never delivered, or dropped because too many waited."}, []string{"result"}),
	}
	for _, result := range []string{sent, failed, dropped} {
		e.results.WithLabelValues(result)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	go e.run()
	return e
}

// The results. The set is closed: it is a metric label.
const (
	sent    = "sent"
	failed  = "failed"
	dropped = "dropped"
)

// stay follows no redirect: the headers are for one collector.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Describe is for the registry.
func (e *Exporter) Describe(to chan<- *prometheus.Desc) { e.results.Describe(to) }

// Collect is for the registry.
func (e *Exporter) Collect(to chan<- prometheus.Metric) { e.results.Collect(to) }

// Reads names the one field that is looked at.
func (e *Exporter) Reads() proxy.Reads { return proxy.Reads{Request: []string{"Traceparent"}} }

// Follow begins the span of an exchange, nil when it is not sampled.
func (e *Exporter) Follow(_ *proxy.Live, request proxy.Fields) proxy.Tap {
	t := &tap{exporter: e}
	from, outside := readParent(request.Get("Traceparent"))
	if outside {
		t.from, t.trace = &from, from.trace
	} else {
		binary.NativeEndian.PutUint64(t.trace[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(t.trace[8:], rand.Uint64()|1) // never all zero
	}
	if outside && e.settings.Parent && !from.sampled || (!outside || !e.settings.Parent) && !e.settings.samples(t.trace) {
		return nil
	}
	binary.NativeEndian.PutUint64(t.id[:], rand.Uint64()|1)
	return t
}

// tap is the span of one exchange.
type tap struct {
	exporter *Exporter
	trace    [16]byte
	id       [8]byte
	from     *parent
}

func (t *tap) Answered(int, proxy.Fields) {}
func (t *tap) Chunk([]byte)               {}

// Ended hands the span over, or drops it.
func (t *tap) Ended(r *proxy.Record) {
	select {
	case t.exporter.spans <- spanOf(r, t.trace, t.id, t.from):
	default:
		t.exporter.results.WithLabelValues(dropped).Inc()
	}
}

// Close sends what is waiting, for [farewell] at most, and waits for the
// goroutine. Spans that end later are lost.
func (e *Exporter) Close() {
	late := time.AfterFunc(farewell, e.cancel)
	defer late.Stop()
	close(e.closing)
	<-e.closed
	e.cancel()
	e.client.CloseIdleConnections()
}

func (e *Exporter) run() {
	defer close(e.closed)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var ready []span
	for open := true; open; {
		select {
		case s := <-e.spans:
			if ready = append(ready, s); len(ready) < batch {
				continue
			}
		case <-tick.C:
		case <-e.closing:
			open = false
			for len(e.spans) > 0 {
				ready = append(ready, <-e.spans)
			}
		}
		e.send(ready)
		ready = ready[:0]
	}
}

// send delivers spans once: a collector that is away loses them, and nobody
// waits for it.
func (e *Exporter) send(spans []span) {
	if len(spans) == 0 {
		return
	}
	result := sent
	if err := e.post(spans); err != nil {
		result = failed
		if now := time.Now(); now.Sub(e.told) >= complaint {
			e.told = now
			e.log.Warn().Str("event", "traces_failed").Int("spans", len(spans)).Str("error", err.Error()).
				Msg("the collector did not take the spans; they are lost")
		}
	}
	e.results.WithLabelValues(result).Add(float64(len(spans)))
}

func (e *Exporter) post(spans []span) error {
	var attributes []attribute
	for _, name := range slices.Sorted(maps.Keys(e.settings.Resource)) {
		attributes = append(attributes, text(name, e.settings.Resource[name]))
	}
	body, err := json.Marshal(document{[]resourceSpans{{
		Resource: resource{attributes}, ScopeSpans: []scopeSpans{{scope{"anthropic-oauth-proxy", e.version}, spans}},
	}}})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	req, err := http.NewRequestWithContext(e.ctx, http.MethodPost, e.settings.Endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	for name, v := range e.settings.Headers {
		req.Header.Set(name, v)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16)) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("send spans: the collector answered %d", res.StatusCode)
	}
	return nil
}
