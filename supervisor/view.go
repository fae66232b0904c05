package supervisor

import (
	"time"

	"anthropic-oauth-proxy/messages"
)

// ServiceView is one service as /debug/tree shows it.
type ServiceView struct {
	Supervisor  string      `json:"supervisor"`
	Service     string      `json:"service"`
	Up          bool        `json:"up"`
	UpSeconds   int64       `json:"up_seconds"`
	Incarnation int         `json:"incarnation"` // 1 is the first life
	Restarts    int         `json:"restarts"`
	LastMinute  int         `json:"restarts_last_minute"`
	LastCause   string      `json:"last_cause,omitempty"` // panic, error or returned
	BackingOff  bool        `json:"backing_off"`
	RetryAt     *time.Time  `json:"retry_at,omitempty"`
	Causes      []CauseView `json:"causes,omitempty"` // the newest, oldest first
}

// CauseView is why a life ended.
type CauseView struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Message string    `json:"message"`
}

func viewOf(services []messages.ServiceAccount, now time.Time) []ServiceView {
	views := make([]ServiceView, 0, len(services))
	for _, a := range services {
		v := ServiceView{
			Supervisor: a.Supervisor, Service: a.Service, Up: a.Up, Incarnation: a.Incarnation,
			Restarts: a.Restarts, LastMinute: a.LastMinute, LastCause: string(a.LastCause().Kind),
		}
		if a.Up {
			v.UpSeconds = int64(now.Sub(a.Since).Seconds())
		}
		if !a.RetryAt.IsZero() {
			at := a.RetryAt.UTC()
			v.BackingOff, v.RetryAt = true, &at
		}
		for _, c := range a.Causes {
			v.Causes = append(v.Causes, CauseView{At: c.At.UTC(), Kind: string(c.Kind), Message: c.Message})
		}
		views = append(views, v)
	}
	return views
}
