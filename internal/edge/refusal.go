package edge

import "net/http"

// Refusal is why a request cannot be served: it breaks the rules of HTTP, so
// that nobody can know what it means. The set is closed.
type Refusal struct {
	// Status is what the request deserves, 400 for most.
	Status int
	// Reason is for a log: a word or two, never the client's bytes.
	Reason string
	// Message is for the developer at the other end.
	Message string
}

var (
	refusedTwoLengths = Refusal{http.StatusBadRequest, "two_lengths",
		"The request has both Transfer-Encoding and Content-Length, or was sent before the answer to the one before it."}
	refusedOldChunked = Refusal{http.StatusBadRequest, "transfer_encoding",
		"The request has a Transfer-Encoding that HTTP/1.0 does not know."}
)
