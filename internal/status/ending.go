package status

import (
	"time"

	"anthropic-oauth-proxy/internal/proxy"
)

// Ending is what the data plane says of one request that has ended. It holds
// no header value, no query and no byte of a body.
type Ending struct {
	// ID is ours, UpstreamID the API's; the latter is empty without an answer.
	ID, UpstreamID string
	// Answer is the status of the API's own answer, 0 when it gave none.
	Answer int
	// Whole says that the client has all that the API said.
	Whole bool
	// By is who ended it otherwise; it means nothing when Whole is true.
	By proxy.Party
	// Silent says that it was ended because the API sent nothing for too long.
	Silent bool
	// Client is the client's name, as [proxy.Record] has it.
	Client string
	// Placeholder says that it came with a placeholder in place of a credential.
	Placeholder bool
	// FirstByte is from the head to the first byte of the answer, zero without
	// one; Overhead is how much of it was ours, negative when that is not known.
	FirstByte, Overhead time.Duration
	// Stream says how an event stream ended; empty for any other answer.
	Stream StreamEnd
}

// Class is a class of the API's own answers. The set is closed: it is a metric
// label.
type Class string

// The classes. None is a request that the API did not answer.
const (
	Class2xx  Class = "2xx"
	Class3xx  Class = "3xx"
	Class4xx  Class = "4xx" // but 429
	Class429  Class = "429"
	Class5xx  Class = "5xx" // but 529
	Class529  Class = "529"
	ClassNone Class = "none"
)

// Classes lists every class once.
var Classes = []Class{Class2xx, Class3xx, Class4xx, Class429, Class5xx, Class529, ClassNone}

// ClassOf sorts the status of an answer; 0 is none.
func ClassOf(status int) Class { return Classes[classOf(status)] }

func classOf(status int) int {
	switch {
	case status == 429:
		return 3
	case status == 529:
		return 5
	case status >= 500:
		return 4
	case status >= 400:
		return 2
	case status >= 300:
		return 1
	case status >= 200:
		return 0
	}
	return 6
}

// StreamEnd is how an event stream ended. The set is closed: it is a metric
// label.
type StreamEnd string

// The ends of a stream.
const (
	StreamStop       StreamEnd = "message_stop"
	StreamError      StreamEnd = "error"      // the API said so in an event
	StreamUnfinished StreamEnd = "unfinished" // a clean end without a last word
	StreamCut        StreamEnd = "cut"        // broken by the API or the path
	StreamSilence    StreamEnd = "silence"    // ended by our clock
	StreamLeft       StreamEnd = "left"       // by the client
	StreamDrained    StreamEnd = "drained"    // by our drain
	StreamUnseen     StreamEnd = "unseen"     // compressed: nobody looked
)

// StreamEnds lists every end once.
var StreamEnds = []StreamEnd{
	StreamStop, StreamError, StreamUnfinished, StreamCut, StreamSilence, StreamLeft, StreamDrained, StreamUnseen,
}

// blame says to whose share of the plot an ending belongs.
type blame int

const (
	nobody blame = iota // a whole answer
	onAPI
	onClient // it left, or its request was refused as wrong
	onUs
	onTailnet
	blames
)

// blameOf finds whom an ending speaks of. The API's own 429 and 5xx arrive
// whole and are its failures all the same.
func blameOf(e Ending) blame {
	switch class := ClassOf(e.Answer); {
	case class == Class429, class == Class5xx, class == Class529:
		return onAPI
	case e.Whole && class == Class4xx:
		return onClient
	case e.Whole:
		return nobody
	}
	switch e.By {
	case proxy.ByClient:
		return onClient
	case proxy.ByTailnet:
		return onTailnet
	case proxy.ByUpstream:
		return onAPI
	}
	return onUs
}
