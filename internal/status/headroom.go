package status

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"iter"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/internal/headers"
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
	credentialsKept  = 256
	limitsBelieved   = time.Hour
	limitPrefix      = "Anthropic-Ratelimit-"
	unifiedPrefix    = limitPrefix + "Unified-"
	utilizationLabel = "-Utilization"
)

// limitNames are the documented limits, windowNames the windows of the
// subscriptions. The sets are closed: they are metric labels.
var (
	limitNames  = []string{"requests", "tokens", "input-tokens", "output-tokens"}
	windowNames = []string{"5h", "7d"}
)

// The fields that tell of them, spelled once: every answer is asked for them.
var (
	limitFields  [4]struct{ remaining, limit string }
	windowFields [2]string
)

func init() {
	for i, name := range limitNames {
		limitFields[i].remaining = limitPrefix + name + "-Remaining"
		limitFields[i].limit = limitPrefix + name + "-Limit"
	}
	for i, name := range windowNames {
		windowFields[i] = unifiedPrefix + name + utilizationLabel
	}
}

// headroom keeps the newest word on limits of each credential, under a keyed
// hash whose key is nowhere but in this process's memory. Who reads makes
// nobody wait who notes.
type headroom struct {
	key  [32]byte
	last sync.Map // credentialHash -> limits

	mu    sync.Mutex // held by who adds a new credential
	known int
}

type credentialHash [16]byte

// limits are what one answer said.
type limits struct {
	at          time.Time
	refused     time.Time // until when; zero when it is not
	remaining   [4]float64
	utilization [2]float64
	reset       time.Time
}

const untold = -1

func newHeadroom() *headroom {
	h := &headroom{}
	_, _ = rand.Read(h.key[:]) // never fails
	return h
}

// hash names a credential for as long as the process lives.
func (h *headroom) hash(credential string) (name credentialHash) {
	mac := hmac.New(sha256.New, h.key[:])
	mac.Write([]byte(credential))
	copy(name[:], mac.Sum(nil))
	return name
}

// fields are those of an answer that speak of limits.
type fields interface {
	Get(name string) string
	All() iter.Seq2[string, string]
}

// note keeps what an answer says of limits, if anything.
func (h *headroom) note(now time.Time, credential string, status int, header fields) {
	l, told := readLimits(now, status, header)
	if !told || credential == "" {
		return
	}
	name := h.hash(credential)
	if was, known := h.last.Load(name); known && h.last.CompareAndSwap(name, was, l) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.last.Load(name); !known {
		if h.known == credentialsKept {
			h.forgetOne()
		}
		h.known++
	}
	h.last.Store(name, l)
}

// forgetOne drops the credential that has been silent for longest. The caller
// holds mu.
func (h *headroom) forgetOne() {
	var oldest any
	var at time.Time
	h.last.Range(func(name, l any) bool {
		if said := l.(limits).at; oldest == nil || said.Before(at) {
			oldest, at = name, said
		}
		return true
	})
	h.last.Delete(oldest)
	h.known--
}

// readLimits understands what it can of both families; a value that is none
// counts as not told.
func readLimits(now time.Time, status int, header fields) (l limits, told bool) {
	l = limits{at: now, remaining: [4]float64{untold, untold, untold, untold}, utilization: [2]float64{untold, untold}}
	for name, value := range header.All() {
		if !headers.Begins(name, limitPrefix) {
			continue
		}
		told = true
		if strings.HasSuffix(strings.ToLower(name), "-reset") {
			if at := readTime(value); at.After(now) && (l.reset.IsZero() || at.Before(l.reset)) {
				l.reset = at
			}
		}
	}
	if !told {
		return l, false
	}
	for i, names := range limitFields {
		l.remaining[i] = share(header.Get(names.remaining), header.Get(names.limit))
	}
	for i, name := range windowFields {
		l.utilization[i] = readNumber(header.Get(name))
	}
	if status == http.StatusTooManyRequests || strings.EqualFold(header.Get(unifiedPrefix+"Status"), "rejected") {
		l.refused = refusedUntil(now, header, l.reset)
	}
	return l, true
}

// refusedUntil is the time that the API names, a minute where it names none.
func refusedUntil(now time.Time, header fields, reset time.Time) time.Time {
	if seconds := readNumber(header.Get("Retry-After")); seconds >= 0 {
		return now.Add(time.Duration(min(seconds, limitsBelieved.Seconds()) * float64(time.Second)))
	}
	if at := readTime(header.Get(unifiedPrefix + "Reset")); at.After(now) {
		return at
	}
	if !reset.IsZero() {
		return reset
	}
	return now.Add(time.Minute)
}

// share is part of whole, [untold] when either is no number.
func share(part, whole string) float64 {
	a, b := readNumber(part), readNumber(whole)
	if a < 0 || b <= 0 {
		return untold
	}
	return min(a/b, 1)
}

func readNumber(s string) float64 {
	if s == "" {
		return untold // most fields of most answers
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(v >= 0 && v < 1e15) {
		return untold
	}
	return v
}

// readTime understands RFC 3339, as the documented family has it, and seconds
// since 1970, as the other.
func readTime(s string) time.Time {
	s = strings.TrimSpace(s)
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at
	}
	if seconds := readNumber(s); seconds > 0 && seconds < 1e11 {
		return time.Unix(int64(seconds), 0)
	}
	return time.Time{}
}

// read sums up what is still believed; nil when nobody told of limits.
func (h *headroom) read(now time.Time) *Headroom {
	var all []limits
	h.last.Range(func(_, l any) bool {
		if l := l.(limits); now.Sub(l.at) <= limitsBelieved {
			all = append(all, l)
		}
		return true
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
