// Package apierror writes the proxy's own errors in the Claude API's envelope.
// It is never used for an answer of the API itself.
package apierror

import (
	"encoding/json"
	"strconv"

	"anthropic-oauth-proxy/internal/headers"
)

// Error is an answer of the proxy's own. Its message is shown to the
// developer at the other end and holds nothing of the request.
type Error struct {
	Status  int
	Type    Type
	Message string
	// Retry is what the client is told about asking again.
	Retry Retry
}

// Type is the API's name for a kind of error.
type Type string

// The types that the proxy uses. overloaded_error is none of them, nor is status
// 529: clients count either as the API's own overload and give up.
const (
	InvalidRequest Type = "invalid_request_error"
	TooLarge       Type = "request_too_large"
	API            Type = "api_error"
	Timeout        Type = "timeout_error"
)

// Retry is the advice of an error's headers. The zero Retry gives none: the
// client's own rules decide.
type Retry struct {
	// Never says x-should-retry: false.
	Never bool
	// After, in whole seconds, is sent when positive, with x-should-retry: true.
	After int
}

type envelope struct {
	Type      string `json:"type"`
	Error     detail `json:"error"`
	RequestID string `json:"request_id"`
}

type detail struct {
	Type      Type   `json:"type"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
}

// Body is the envelope as JSON, on one line.
func (e Error) Body(requestID string) []byte {
	// Strings alone: this cannot fail.
	b, _ := json.Marshal(envelope{
		Type: "error", RequestID: requestID,
		Error: detail{Type: e.Type, Message: e.Message, RequestID: requestID},
	})
	return b
}

// Header is what goes with the body; it is the caller's own.
func (e Error) Header() headers.Fields {
	h := headers.Fields{{Name: "Content-Type", Value: "application/json"}}
	switch {
	case e.Retry.Never:
		h = append(h, headers.Field{Name: "X-Should-Retry", Value: "false"})
	case e.Retry.After > 0:
		h = append(h, headers.Field{Name: "Retry-After", Value: strconv.Itoa(e.Retry.After)},
			headers.Field{Name: "X-Should-Retry", Value: "true"})
	}
	return h
}
