package status

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/internal/proxy"
)

// Headroom is what the API last said of its rate limits, over all credentials
// that were used of late. No credential can be told from it.
type Headroom struct {
	// Credentials are how many told of their limits in the last hour, Refused
	// how many of them are refused now.
	Credentials int `json:"credentials"`
	Refused     int `json:"refused"`
	// LeastRemaining is the smallest share that is left of a documented limit,
	// by its name (requests, tokens, input-tokens, output-tokens), 0 to 1.
	LeastRemaining map[string]float64 `json:"least_remaining,omitempty"`
	// Utilization is the greatest of each window of the subscriptions (5h, 7d,
	// …), 0 to 1.
	Utilization map[string]float64 `json:"greatest_utilization,omitempty"`
	// NextReset is when the first of them gets more; nil when none said so.
	NextReset *time.Time `json:"next_reset,omitempty"`
}

const (
	credentialsKept = 256
	limitsBelieved  = time.Hour
)

// headroom keeps the newest word on limits of each credential, under a keyed
// hash whose key is nowhere but in this process's memory. Who reads makes
// nobody wait who notes.
type headroom struct {
	key  maphash.Seed
	last sync.Map // credentialHash -> *atomic.Pointer[limits]

	mu    sync.Mutex // held by who adds a new credential
	known int
}

type credentialHash uint64

func newHeadroom() *headroom { return &headroom{key: maphash.MakeSeed()} }

// hash names a credential for as long as the process lives.
func (h *headroom) hash(credential string) credentialHash {
	return credentialHash(maphash.String(h.key, credential))
}

// note keeps what an answer says of limits, if anything.
func (h *headroom) note(now time.Time, credential string, status int, header proxy.Fields) {
	l, told := readLimits(now, status, header)
	if !told || credential == "" {
		return
	}
	name := h.hash(credential)
	if last, known := h.last.Load(name); known {
		last.(*atomic.Pointer[limits]).Store(&l)
		return
	}
	h.remember(name, &l)
}

// remember keeps the first word on a credential's limits.
func (h *headroom) remember(name credentialHash, l *limits) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := new(atomic.Pointer[limits])
	first.Store(l)
	if last, known := h.last.LoadOrStore(name, first); known {
		last.(*atomic.Pointer[limits]).Store(l)
		return
	}
	if h.known++; h.known > credentialsKept {
		h.forgetOne()
	}
}

// forgetOne drops the credential that has been silent for longest. The caller
// holds mu.
func (h *headroom) forgetOne() {
	var oldest any
	var at time.Time
	h.each(func(name any, l *limits) {
		if oldest == nil || l.at.Before(at) {
			oldest, at = name, l.at
		}
	})
	h.last.Delete(oldest)
	h.known--
}

// each goes through what was said.
func (h *headroom) each(do func(name any, l *limits)) {
	h.last.Range(func(name, last any) bool {
		do(name, last.(*atomic.Pointer[limits]).Load())
		return true
	})
}

// read sums up what is still believed; nil when nobody told of limits.
func (h *headroom) read(now time.Time) *Headroom {
	var all []*limits
	h.each(func(_ any, l *limits) {
		if now.Sub(l.at) <= limitsBelieved {
			all = append(all, l)
		}
	})
	if len(all) == 0 {
		return nil
	}
	sum := &Headroom{Credentials: len(all), LeastRemaining: make(map[string]float64), Utilization: make(map[string]float64)}
	for _, l := range all {
		if l.refused.After(now) {
			sum.Refused++
		}
		keep(sum.LeastRemaining, limitNames, l.remaining[:], func(is, was float64) bool { return is < was })
		keep(sum.Utilization, windowNames, l.utilization[:], func(is, was float64) bool { return is > was })
		if at := l.reset.UTC(); at.After(now) && (sum.NextReset == nil || at.Before(*sum.NextReset)) {
			sum.NextReset = &at
		}
	}
	return sum
}

// keep takes those values over that are told and say more than what is there.
func keep(to map[string]float64, names []string, values []float64, worse func(is, was float64) bool) {
	for i, v := range values {
		was, there := to[names[i]]
		if v != untold && (!there || worse(v, was)) {
			to[names[i]] = v
		}
	}
}

var (
	credentialsDesc = prometheus.NewDesc("proxy_ratelimit_credentials", "Credentials whose answers told of rate limits in the last hour.", nil, nil)
	refusedDesc     = prometheus.NewDesc("proxy_ratelimit_credentials_refused", "Those of them that the API refuses now.", nil, nil)
	remainingDesc   = prometheus.NewDesc("proxy_ratelimit_least_remaining_ratio", "The least that is left of a limit, over all credentials; NaN while nobody told.", []string{"limit"}, nil)
	utilizedDesc    = prometheus.NewDesc("proxy_ratelimit_greatest_utilization_ratio", "The greatest utilization of a subscription's window, over all credentials; NaN while nobody told.", []string{"window"}, nil)
	resetDesc       = prometheus.NewDesc("proxy_ratelimit_next_reset_timestamp_seconds", "When the first of the limits is reset; NaN while nobody told.", nil, nil)
)

func (h *headroom) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{credentialsDesc, refusedDesc, remainingDesc, utilizedDesc, resetDesc} {
		ch <- d
	}
}

func (h *headroom) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	sum := h.read(time.Now())
	if sum == nil {
		sum = &Headroom{}
	}
	gauge(credentialsDesc, float64(sum.Credentials))
	gauge(refusedDesc, float64(sum.Refused))
	told := func(values map[string]float64, name string) float64 {
		if v, told := values[name]; told {
			return v
		}
		return math.NaN()
	}
	for _, name := range limitNames {
		gauge(remainingDesc, told(sum.LeastRemaining, name), name)
	}
	for _, name := range windowNames {
		gauge(utilizedDesc, told(sum.Utilization, name), name)
	}
	reset := math.NaN()
	if sum.NextReset != nil {
		reset = float64(sum.NextReset.Unix())
	}
	gauge(resetDesc, reset)
}
