package supervisor

import (
	"strings"
	"sync"
	"time"

	"anthropic-oauth-proxy/messages"
)

// accounts knows every service of the tree: whether it runs, since when, and
// what became of it before. Services write to it themselves, from their own
// goroutine, because suture's events come in no useful order. It is safe for
// concurrent use.
type accounts struct {
	mu      sync.Mutex
	domains []*domain
}

// domain is one supervisor: a failure domain. The accounts' lock guards it.
type domain struct {
	name     string
	pace     pace
	retryAt  time.Time // when its pause ends; zero without one
	services []*service
}

// service is one service's account. The accounts' lock guards it.
type service struct {
	domain      *domain
	name        string
	up          bool
	since       time.Time
	incarnation int
	restarts    int
	ends        map[messages.CauseKind]int
	causes      []messages.Cause
	recent      moments
	told        stories
}

func (a *accounts) newDomain(name string, longest time.Duration) *domain {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := &domain{name: name, pace: pace{longest: longest}}
	a.domains = append(a.domains, d)
	return d
}

func (a *accounts) newService(d *domain, name string) *service {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &service{domain: d, name: name, since: time.Now(), ends: make(map[messages.CauseKind]int), told: make(stories)}
	d.services = append(d.services, s)
	return s
}

func (a *accounts) began(s *service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.up, s.since = true, time.Now()
	s.incarnation++
}

func (a *accounts) ended(s *service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.up, s.since = false, time.Now()
}

// failed enters the end of a life. It returns how many there were and whether
// this cause is news: its stack has not been told lately.
func (a *accounts) failed(supervisor, name string, c messages.Cause) (restarts int, news bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.domain(supervisor).services {
		if s.name != name {
			continue
		}
		c.Message = bounded(c.Message)
		s.restarts++
		s.ends[c.Kind]++
		s.recent.add(c.At)
		if len(s.causes) == messages.CausesKept {
			s.causes = append(s.causes[:0:0], s.causes[1:]...) // views may hold the old ones
		}
		s.causes = append(s.causes, c)
		return s.restarts, s.told.news(c)
	}
	return 0, true
}

// stories remembers when a cause was last told with its stack: one stack says
// it all, for an hour.
type stories map[string]time.Time

const (
	storyAge    = time.Hour
	storiesKept = 32
)

func (s stories) news(c messages.Cause) bool {
	last, known := s[c.Message]
	if known && c.At.Sub(last) < storyAge {
		return false
	}
	if len(s) >= storiesKept { // causes that differ each time are each told
		clear(s)
	}
	s[c.Message] = c.At
	return true
}

// bounded cuts a message that somebody else wrote.
func bounded(message string) string {
	if len(message) <= messages.CauseBytes {
		return message
	}
	return strings.ToValidUTF8(message[:messages.CauseBytes], "")
}

// pause enters a pause and returns its length.
func (a *accounts) pause(d *domain) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	length := d.pace.next(now)
	d.retryAt = now.Add(length)
	return length
}

func (a *accounts) resumed(supervisor string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.domain(supervisor).retryAt = time.Time{}
}

// domain finds a supervisor by its name. The caller holds mu.
func (a *accounts) domain(name string) *domain {
	for _, d := range a.domains {
		if d.name == name {
			return d
		}
	}
	return &domain{} // a stranger has no account
}

// Services is the whole tree, one account a service.
func (a *accounts) Services() []messages.ServiceAccount {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []messages.ServiceAccount
	for _, d := range a.domains {
		for _, s := range d.services {
			all = append(all, s.account(now))
		}
	}
	return all
}

// service is the account of one service; zero when there is none of the name.
func (a *accounts) service(name string) messages.ServiceAccount {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.domains {
		for _, s := range d.services {
			if s.name == name {
				return s.account(now)
			}
		}
	}
	return messages.ServiceAccount{}
}

func (s *service) account(now time.Time) messages.ServiceAccount {
	v := messages.ServiceAccount{
		Supervisor: s.domain.name, Service: s.name, Up: s.up, Since: s.since, Incarnation: s.incarnation,
		Restarts: s.restarts, LastMinute: s.recent.within(now, time.Minute), Pauses: s.domain.pace.inARow(now),
		Causes: s.causes[:len(s.causes):len(s.causes)],
	}
	if !s.up {
		v.RetryAt = s.domain.retryAt
	}
	return v
}

// moments keeps the newest points in time, as many as a rate needs.
type moments struct {
	at   [128]time.Time
	next int
}

func (m *moments) add(t time.Time) {
	m.at[m.next] = t
	m.next = (m.next + 1) % len(m.at)
}

// within counts those that are younger than d.
func (m *moments) within(now time.Time, d time.Duration) int {
	n := 0
	for _, t := range m.at {
		if !t.IsZero() && now.Sub(t) < d {
			n++
		}
	}
	return n
}
