package status

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Recorder keeps what the data plane tells, in bounded memory. Its methods may
// be called from any goroutine and wait for nobody who reads.
type Recorder struct {
	window   window
	clients  clients
	headroom *headroom
	streams  Streams
}

// NewRecorder makes an empty recorder.
func NewRecorder() *Recorder { return &Recorder{headroom: newHeadroom()} }

// Register makes its metrics part of a registry. Call once.
func (r *Recorder) Register(reg prometheus.Registerer) { reg.MustRegister(&r.clients, r.headroom) }

// Streams is the table of the requests in flight.
func (r *Recorder) Streams() *Streams { return &r.streams }

// Began counts a request whose head has come. Ended must follow.
func (r *Recorder) Began() { r.window.begin(time.Now()) }

// Ended counts its end.
func (r *Recorder) Ended(e Ending) {
	now := time.Now()
	r.window.end(now, e)
	r.clients.count(now, e.Client, classOf(e.Answer))
}

// Limits keeps what an answer's header says of the rate limits of a
// credential. The credential leaves nothing behind but its keyed hash; header
// is not kept.
func (r *Recorder) Limits(credential string, status int, header http.Header) {
	r.headroom.note(time.Now(), credential, status, header)
}
