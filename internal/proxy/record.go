package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"anthropic-oauth-proxy/internal/headers"
)

// Caller is who a tailnet connection comes from.
type Caller struct {
	Node string
	Tags []string
}

// Record is everything that is kept of an exchange. It holds no header value,
// no query and no byte of a body. All durations count from Accepted; zero says
// that the moment has not come.
type Record struct {
	// ID is ours, UpstreamID the API's own, empty without an answer.
	ID, UpstreamID string
	Method         string
	// Path is the target without its query, 256 bytes at most.
	Path       string
	Credential Credential
	// Client is the release of the claude command or the name of an official
	// SDK, else [OtherClient].
	Client string
	Caller Caller // zero when it is not known
	// Phase is where the exchange stands, or ended.
	Phase Phase
	// Status is what the client was told, 499 when it had left; UpstreamStatus
	// what the API said. Both are 0 before.
	Status, UpstreamStatus int
	Attempts               int
	// RequestBytes were read from the client, ResponseBytes of content written
	// to it.
	RequestBytes, ResponseBytes int64

	// Accepted is when the request's head had come.
	Accepted time.Time
	// Admitted is when it got its place, Sent when the API had been given all of
	// it (of the last attempt), Head when the answer's head came, FirstByte and
	// LastByte when content went to the client, Ended when it was over.
	Admitted, Sent, Head, FirstByte, LastByte, Ended time.Duration
	// Queued is the time spent waiting for a place, a duration of its own; so are
	// Silence, the longest pause between two pieces of the answer, UpstreamWait,
	// from Sent to Head, and Overhead, what passed until the answer's head went
	// out and was spent neither in line nor on the client or the API. The last
	// two are negative when they are not known.
	Queued, Silence, UpstreamWait, Overhead time.Duration

	// Cause, Outcome, ErrorType and By say how it ended; they are empty before.
	// Cause is the name of a row in specs/proxy.md, Detail more for the log.
	Cause     string
	Outcome   Outcome
	ErrorType ErrorType
	By        Party
	Detail    string
}

// Live is an exchange in flight. The exchange moves it on; anybody may read it
// from any goroutine, and neither waits for the other.
type Live struct {
	id           requestID
	method, path string
	credential   Credential
	client       string
	accepted     time.Time

	phase                       atomic.Int32 // an index of Phases
	status, answered, attempts  atomic.Int32
	caller                      atomic.Pointer[Caller]
	upstreamID                  atomic.Pointer[string]
	requestBytes, responseBytes atomic.Int64
	moments                     [moments]atomic.Int64 // nanoseconds since accepted
	queued, silence             atomic.Int64          // nanoseconds
	// outside is what was spent on others before the answer's head went out.
	outside, overhead atomic.Int64
	ending            atomic.Pointer[finish]
}

// finish is how a live exchange ended.
type finish struct {
	ending
	by Party
}

// moment is one of the times that a record keeps.
type moment int

const (
	atAdmitted moment = iota
	atSent
	atHead
	atFirst
	atLast
	atEnd
	moments
)

// longestPath bounds what is told of a path.
const longestPath = 256

// newLive keeps nothing of the head: it is larger than all the rest.
func newLive(method, target string, h headers.Fields) *Live {
	path := pathOf(target)
	l := &Live{
		id: newRequestID(), method: method, path: strings.Clone(path[:min(len(path), longestPath)]),
		credential: credentialOf(h), client: clientOf(h.Get("User-Agent")), accepted: time.Now(),
	}
	l.overhead.Store(unknown)
	return l
}

const unknown = -1

// Accepted is when the request's head had come.
func (l *Live) Accepted() time.Time { return l.accepted }

// Record is what is known now.
func (l *Live) Record() *Record {
	r := &Record{
		ID: l.id.String(), Method: l.method, Path: l.path, Credential: l.credential, Client: l.client, Accepted: l.accepted,
		Phase: l.standing(), Status: int(l.status.Load()), UpstreamStatus: int(l.answered.Load()), Attempts: int(l.attempts.Load()),
		RequestBytes: l.requestBytes.Load(), ResponseBytes: l.responseBytes.Load(),
		Admitted: l.at(atAdmitted), Sent: l.at(atSent), Head: l.at(atHead), FirstByte: l.at(atFirst), LastByte: l.at(atLast), Ended: l.at(atEnd),
		Queued: time.Duration(l.queued.Load()), Silence: time.Duration(l.silence.Load()),
		UpstreamWait: unknown, Overhead: time.Duration(l.overhead.Load()),
	}
	if r.Head > 0 && r.Sent > 0 {
		r.UpstreamWait = max(0, r.Head-r.Sent)
	}
	if c := l.caller.Load(); c != nil {
		r.Caller = *c
	}
	if id := l.upstreamID.Load(); id != nil {
		r.UpstreamID = *id
	}
	if f := l.ending.Load(); f != nil {
		row := f.row()
		r.Cause, r.Outcome, r.ErrorType, r.By, r.Detail = row.name, row.outcome, row.errorType, f.by, f.detail
	}
	return r
}

func (l *Live) standing() Phase { return Phases[l.phase.Load()] }

func (l *Live) enter(p Phase) { l.phase.Store(int32(slices.Index(Phases, p))) }

func (l *Live) at(m moment) time.Duration { return time.Duration(l.moments[m].Load()) }

// reach says that a moment is now; a second time it moves it.
func (l *Live) reach(m moment) { l.moments[m].Store(max(1, int64(time.Since(l.accepted)))) }

// elsewhere runs what waits for others.
func (l *Live) elsewhere(wait func()) time.Duration {
	begin := time.Now()
	wait()
	took := time.Since(begin)
	l.outside.Add(int64(took))
	return took
}

// answers says that the API's head has come.
func (l *Live) answers(status int, requestID string) {
	l.reach(atHead)
	l.status.Store(int32(status))
	l.answered.Store(int32(status))
	// The id is the API's, but it goes into a log: anything else stays out.
	if isID(requestID) {
		l.upstreamID.Store(&requestID)
	}
	l.enter(InStream)
}

// sent says that the API has been given the whole request.
func (l *Live) sent() {
	l.reach(atSent)
	l.enter(InWait)
}

// finish says how it ended.
func (l *Live) finish(end *ending, by Party) {
	if l.standing() == InStream {
		l.paused(max(1, int64(time.Since(l.accepted))))
	}
	if end.cause == clientLeft {
		l.status.Store(statusClientGone)
	}
	l.ending.Store(&finish{*end, by})
}

// headOut says that it is on its way to the client. Only the first time counts.
func (l *Live) headOut() {
	if l.overhead.Load() == unknown {
		l.overhead.Store(max(0, int64(time.Since(l.accepted))-l.outside.Load()))
	}
}

// piece says that content came from the API.
func (l *Live) piece(at time.Time) {
	now := max(1, int64(at.Sub(l.accepted)))
	l.paused(now)
	l.moments[atLast].Store(now)
	l.moments[atFirst].CompareAndSwap(0, now)
}

// paused looks how long the answer has stood still.
func (l *Live) paused(now int64) {
	before := l.moments[atLast].Load()
	if before == 0 {
		before = l.moments[atHead].Load()
	}
	l.silence.Store(max(l.silence.Load(), now-before))
}

// requestID names a request. It only has to be unique: it guards nothing.
type requestID [16]byte

func newRequestID() (id requestID) {
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

func (id requestID) String() string {
	const prefix = "req_"
	var b [len(prefix) + 2*len(id)]byte
	hex.Encode(b[copy(b[:], prefix):], id[:])
	return string(b[:])
}

func isID(s string) bool {
	const longest = 128
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= longest
}
