// Package status is everything that a person may see of the running service,
// gathered into one value: the [Snapshot].
//
// The status page, the `status` command, the JSON pages and the live feed all
// render the same Snapshot, and one function of it, [Judge], says whose fault
// what is wrong is, since when, how much, and what to do next. What is not known
// is said as not known; nothing is estimated.
//
// The package holds no header value, no query, no body and no credential, and
// nothing in it can make the data plane wait: what requests leave here they
// leave with atomic operations, and what a page costs is paid by who asks.
package status

import (
	"strings"
	"time"

	"anthropic-oauth-proxy/messages"
)

// Version is the version of the Snapshot's JSON. Fields are added without a
// new version; one that changes its meaning or goes makes it grow.
const Version = 1

// Snapshot is the service at one moment. It is a value: nobody changes it once
// it was taken. Pointers and slices are nil where nobody knows.
type Snapshot struct {
	Version   int         `json:"version"`
	At        time.Time   `json:"at"`
	Verdict   Verdict     `json:"verdict"`
	Service   Service     `json:"service"`
	Lifecycle Lifecycle   `json:"lifecycle"`
	Port      Port        `json:"proxy_port"`
	Journal   []Entry     `json:"journal"` // newest first; nil when none is kept
	Tree      []Domain    `json:"tree"`
	Tailnet   Tailnet     `json:"tailnet"`
	Load      Load        `json:"load"`
	Traffic   Traffic     `json:"traffic"`
	API       API         `json:"api"`
	Clients   []Client    `json:"clients"` // most requests first
	Streams   []Stream    `json:"streams"` // oldest first, at most [StreamsShown]
	Drain     *Drain      `json:"drain,omitempty"`
	Log       *LogAccount `json:"log,omitempty"`
}

// Service says which process speaks.
type Service struct {
	Name     string    `json:"name"`
	Instance string    `json:"instance"` // the host's or the pod's name
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Served   uint64    `json:"requests_served"`
	Failed   uint64    `json:"errors_total"`
}

// Lifecycle is what the service is doing.
type Lifecycle struct {
	Phase messages.Phase `json:"phase"`
	Since time.Time      `json:"since"`
	Ready bool           `json:"ready"`
	// SilentSeconds is how long ago the conductor made its last step. From
	// [StuckAfter] on nothing that it said is worth anything.
	SilentSeconds float64 `json:"conductor_silent_seconds"`
	Stuck         bool    `json:"stuck"`
	// Trouble is what is wrong with ourselves, as the machine sees it, with more
	// words for a person and since when; empty when nothing is.
	Trouble        messages.Trouble `json:"trouble,omitempty"`
	TroubleMeaning string           `json:"trouble_meaning,omitempty"`
	TroubleDetail  string           `json:"trouble_detail,omitempty"`
	TroubleRemedy  string           `json:"trouble_remedy,omitempty"`
	TroubleSince   *time.Time       `json:"trouble_since,omitempty"`
	// StalledAt is when the process last came back from standing still, for
	// StalledSeconds; nil when it never did.
	StalledAt      *time.Time `json:"stalled_at,omitempty"`
	StalledSeconds float64    `json:"stalled_seconds,omitempty"`
	ExitCode       int        `json:"exit_code,omitempty"`
	ExitMessage    string     `json:"exit_message,omitempty"`
}

// StuckAfter is how long the conductor may be silent before the process counts
// as deadlocked: nothing inside can mend that.
const StuckAfter = 10 * time.Second

// Port is the port that clients use.
type Port struct {
	Addr string `json:"addr"`
	// Serving says whether a client finds an answer there now.
	Serving bool `json:"serving"`
	// Wanted says whether the lifecycle wishes it open.
	Wanted bool `json:"wanted"`
	// Trouble says why nobody new is served, with the service and its last cause,
	// and since when. It is empty while somebody is.
	Trouble messages.Trouble `json:"trouble,omitempty"`
	Detail  string           `json:"detail,omitempty"`
	Since   *time.Time       `json:"since,omitempty"`
}

// Entry is one line of how it came here.
type Entry struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Why  string    `json:"why,omitempty"`
}

// Domain is a supervisor: one failure domain with its services.
type Domain struct {
	Name       string        `json:"name"`
	BackingOff bool          `json:"backing_off"`
	RetryAt    *time.Time    `json:"retry_at,omitempty"` // of a pause, where it is known
	Services   []ServiceLife `json:"services"`
}

// ServiceLife is one service of the tree.
type ServiceLife struct {
	Name        string     `json:"service"`
	Up          bool       `json:"up"`
	Incarnation int        `json:"incarnation"` // 1 is the first life
	Since       *time.Time `json:"since,omitempty"`
	Restarts    int        `json:"restarts"`
	LastMinute  int        `json:"restarts_last_minute"`
	// Causes are the last ends, newest first.
	Causes []Cause `json:"causes,omitempty"`
}

// Cause is why a service ended. Text holds what the error or the panic said of
// itself, without anything that a client sent.
type Cause struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // panic, error, returned
	Text string    `json:"text,omitempty"`
}

// Tailnet is the tailnet as the watcher last saw it.
type Tailnet struct {
	Link     messages.Link         `json:"link"`
	Reason   messages.Reason       `json:"reason,omitempty"`
	Meaning  string                `json:"meaning,omitempty"` // of the reason
	Detail   string                `json:"detail,omitempty"`
	Remedy   string                `json:"remedy,omitempty"`
	Impaired []messages.Impairment `json:"impaired,omitempty"`
	Backend  string                `json:"backend,omitempty"`
	Hostname string                `json:"hostname,omitempty"`
	// Expected is the configured name; empty when any will do.
	Expected  string     `json:"expected_hostname,omitempty"`
	IP        string     `json:"ip,omitempty"`
	KeyExpiry *time.Time `json:"key_expiry,omitempty"`
	Since     *time.Time `json:"since,omitempty"`
	LookedAt  *time.Time `json:"looked_at,omitempty"`
	// LastRequest is when the last proxied request came in: evidence that
	// peers reach us.
	LastRequest *time.Time `json:"last_request,omitempty"`
}

// NameDiffers reports whether the node has another name than the configured.
func (t Tailnet) NameDiffers() bool {
	return t.Hostname != "" && t.Expected != "" && !strings.EqualFold(t.Hostname, t.Expected)
}

// Load is how full the house is.
type Load struct {
	Active  int `json:"active"`
	Limit   int `json:"limit"`
	Waiting int `json:"waiting"`
}

// API is what is known of the Claude API.
type API struct {
	URL string `json:"url"`
	// Answers of the last 15 minutes by class, the API's own alone.
	Answers map[Class]uint64 `json:"answers"`
	// Unanswered counts attempts of the last 15 minutes that ended without an
	// answer: no connection, no head in time, broken before the head.
	Unanswered uint64 `json:"unanswered"`
	// Broken counts answers of the last 15 minutes that broke after the head.
	Broken      uint64       `json:"broken"`
	LastTrouble *Trouble     `json:"last_trouble,omitempty"`
	Connections []Connection `json:"connections"` // nil when nobody knows
	Headroom    *Headroom    `json:"rate_limits,omitempty"`
	// Streams counts how the event streams of the last 15 minutes ended.
	Streams map[StreamEnd]uint64 `json:"streams,omitempty"`
}

// Trouble names the last request that the API failed, for a question to it.
type Trouble struct {
	At         time.Time `json:"at"`
	Status     int       `json:"status,omitempty"` // the API's; 0 when there was none
	RequestID  string    `json:"request_id"`
	UpstreamID string    `json:"upstream_request_id,omitempty"`
}

// Connection is one connection to the API.
type Connection struct {
	Protocol string `json:"protocol"`
	// Remote is an address and port, the egress proxy's where there is one.
	Remote     string  `json:"remote,omitempty"`
	AgeSeconds float64 `json:"age_seconds"`
	// HandshakeSeconds is what TLS took, RTTSeconds the last round trip that was
	// measured; 0 without one.
	HandshakeSeconds float64 `json:"handshake_seconds,omitempty"`
	RTTSeconds       float64 `json:"rtt_seconds,omitempty"`
	// Streams are the requests on it, Limit how many the API allows; 0 before it
	// has said so.
	Streams int `json:"streams"`
	Limit   int `json:"stream_limit,omitempty"`
	// Leaving: it gets no new request. Doubtful: a ping waits for its answer.
	Leaving  bool `json:"leaving,omitempty"`
	Doubtful bool `json:"doubtful,omitempty"`
}

// Client is what one kind of client got from the API since it was first seen.
type Client struct {
	Name    string           `json:"client"`
	Total   uint64           `json:"requests"`
	Answers map[Class]uint64 `json:"answers"`
	// Recent are the answers of the last 15 minutes, RecentBad those of them
	// that refused the request as wrong (4xx): by these it is judged.
	Recent    uint64    `json:"recent"`
	RecentBad uint64    `json:"recent_4xx"`
	LastSeen  time.Time `json:"last_seen"`
}

// Stream is one request in flight.
type Stream struct {
	ID    string `json:"id"`
	Phase string `json:"phase"`
	// AgeSeconds counts from the request's head.
	AgeSeconds float64 `json:"age_seconds"`
	// QuietSeconds counts from the last byte of the answer; nil before one.
	QuietSeconds *float64 `json:"quiet_seconds,omitempty"`
	Sent         int64    `json:"request_bytes"`
	Received     int64    `json:"response_bytes"`
	Caller       string   `json:"caller,omitempty"`
	Credential   string   `json:"credential,omitempty"`
	Path         string   `json:"path"`
}

// StreamsShown bounds the table of streams; the oldest stay.
const StreamsShown = 200

// Drain is how far the end has come.
type Drain struct {
	By   time.Time `json:"by"`
	Left int       `json:"left"`
}

// LogAccount is how the log does.
type LogAccount struct {
	Dropped  uint64     `json:"dropped"` // lines, since the start
	LastDrop *time.Time `json:"last_drop,omitempty"`
	// StalledSeconds is for how long stdout has taken nothing; 0 while it does.
	StalledSeconds float64 `json:"stalled_seconds"`
}
