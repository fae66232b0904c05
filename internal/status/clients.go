package status

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anthropic-oauth-proxy/internal/proxy"
)

const (
	// clientsKept bounds the names; whoever comes when all are taken is Other.
	clientsKept = 24
	// forgotten is how long a name must have been silent to give its place up
	// for a new one. Nobody can push out a client that is in use.
	forgotten = 15 * time.Minute
	// Other is the name of every client that has none of its own.
	Other = proxy.OtherClient
)

// clients counts the API's answers by client. Who counts takes no lock, but
// for the first request of a new name.
type clients struct {
	names sync.Map // string -> *clientCount
	mu    sync.Mutex
	known int
	other clientCount
}

type clientCount struct {
	answers [7]atomic.Uint64 // by Classes
	seen    atomic.Int64     // when it last got an answer, in seconds since 1970
	minutes [clientMinutes]clientMinute
}

// clientMinutes are kept of each client, of which the newest are judged.
const clientMinutes = 16

type clientMinute struct {
	minute     atomic.Int64
	total, bad atomic.Uint32
}

func (c *clientCount) count(now time.Time, class int) {
	c.answers[class].Add(1)
	c.seen.Store(now.Unix())
	minute := now.Unix() / 60
	m := &c.minutes[minute%clientMinutes]
	// Two that meet at a minute's turn may lose each other's first count: a
	// share is judged, not a sum.
	if was := m.minute.Load(); was != minute && m.minute.CompareAndSwap(was, minute) {
		m.total.Store(0)
		m.bad.Store(0)
	}
	m.total.Add(1)
	if Classes[class] == Class4xx {
		m.bad.Add(1)
	}
}

func (c *clientCount) recent(now time.Time) (total, bad uint64) {
	newest := now.Unix() / 60
	for i := range c.minutes {
		m := &c.minutes[i]
		if age := newest - m.minute.Load(); age >= 0 && age < clientMinutes-1 {
			total += uint64(m.total.Load())
			bad += uint64(m.bad.Load())
		}
	}
	return total, bad
}

func (c *clients) count(now time.Time, name string, class int) { c.of(now, name).count(now, class) }

func (c *clients) of(now time.Time, name string) *clientCount {
	if name == Other || name == "" {
		return &c.other
	}
	if known, ok := c.names.Load(name); ok {
		return known.(*clientCount)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.names.Load(name); ok {
		return known.(*clientCount)
	}
	if c.known == clientsKept && !c.forget(now) {
		return &c.other
	}
	c.known++
	fresh := &clientCount{}
	fresh.seen.Store(now.Unix())
	c.names.Store(strings.Clone(name), fresh) // it may be part of a header
	return fresh
}

// forget makes room by the name that has been silent for longest, if for long
// enough. Its counts go with it. The caller holds mu.
func (c *clients) forget(now time.Time) bool {
	oldest, seen := "", now.Add(-forgotten).Unix()
	c.names.Range(func(name, count any) bool {
		if at := count.(*clientCount).seen.Load(); at <= seen {
			oldest, seen = name.(string), at
		}
		return true
	})
	if oldest == "" {
		return false
	}
	c.names.Delete(oldest)
	c.known--
	return true
}

func (c *clients) each(visit func(name string, count *clientCount)) {
	c.names.Range(func(name, count any) bool {
		visit(name.(string), count.(*clientCount))
		return true
	})
	visit(Other, &c.other)
}

// read lists who got answers, most first.
func (c *clients) read(now time.Time) []Client {
	list := make([]Client, 0, clientsKept+1)
	c.each(func(name string, count *clientCount) {
		one := Client{Name: name, Answers: make(map[Class]uint64, len(Classes))}
		for i, class := range Classes {
			n := count.answers[i].Load()
			one.Answers[class] = n
			one.Total += n
		}
		if one.Total == 0 {
			return
		}
		one.LastSeen = time.Unix(count.seen.Load(), 0).UTC()
		one.Recent, one.RecentBad = count.recent(now)
		list = append(list, one)
	})
	slices.SortFunc(list, func(a, b Client) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Name, b.Name))
	})
	return list
}

var answersDesc = prometheus.NewDesc("proxy_client_answers_total",
	"Answers of the API itself, by the client's release or SDK and by class; none: the API gave no answer.", []string{"client", "class"}, nil)

func (c *clients) Describe(ch chan<- *prometheus.Desc) { ch <- answersDesc }

func (c *clients) Collect(ch chan<- prometheus.Metric) {
	c.each(func(name string, count *clientCount) {
		for i, class := range Classes {
			ch <- prometheus.MustNewConstMetric(answersDesc, prometheus.CounterValue, float64(count.answers[i].Load()), name, string(class))
		}
	})
}
