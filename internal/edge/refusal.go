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

func badRequest(reason, message string) *Refusal {
	return &Refusal{http.StatusBadRequest, reason, message}
}

// The refusals, with the section of RFC 9112 (or 9110) that asks for them.
var (
	badLine = badRequest("request_line", // 3
		"The request line is malformed: it must be a method, a target and a version with single spaces between them.")
	badLineEnd = badRequest("line_end", // 2.2
		"A line of the request's head does not end in CR LF.")
	badField = badRequest("field_line", // 5.1, 9110 5.5
		"A header line is malformed: it must be a name, a colon and a value without control characters.")
	badFold = badRequest("folded_line", // 5.2
		"A header line begins with white space; folded lines are not accepted.")
	badHost = badRequest("host", // 3.2
		"The request must have one Host header with a valid value.")
	badLength = badRequest("content_length", // 6.3
		"The Content-Length of the request is not one decimal number.")
	wrongLength = badRequest("content_length", // 9113 8.1.1
		"The Content-Length of the request is not that of its content.")
	badTrailer = badRequest("trailer", // 6.5.1 of 9110
		"The Trailer header of the request names a field that may not be one.")
	twoLengths = badRequest("two_lengths", // 6.1
		"The request has both Transfer-Encoding and Content-Length.")
	badCoding = badRequest("transfer_encoding", // 6.1, 6.3
		"The Transfer-Encoding of the request cannot be read: it must be chunked, once, and not come by HTTP/1.0.")

	unknownCoding = &Refusal{http.StatusNotImplemented, "transfer_coding", // 6.1
		"The Transfer-Encoding of the request is not supported: only chunked is."}
	unknownVersion = &Refusal{http.StatusHTTPVersionNotSupported, "version", // 2.3
		"The version of HTTP is not supported: use HTTP/1.1 or HTTP/2."}
	unknownExpectation = &Refusal{http.StatusExpectationFailed, "expectation", // 9110 10.1.1
		"The Expect header of the request is not supported: only 100-continue is."}
	longTarget = &Refusal{http.StatusRequestURITooLong, "target_too_long", // 3
		"The request line is too long."}
	longHead = &Refusal{http.StatusRequestHeaderFieldsTooLarge, "head_too_large", // 6585 5
		"The request's headers are too large: 64 KiB is the limit."}
	slowHead = &Refusal{http.StatusRequestTimeout, "head_timeout", // 9110 15.5.9
		"The request's headers did not come in time."}
)
