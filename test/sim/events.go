package sim

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Events returns the server-sent events of a stream with that many deltas, in
// order, each with its closing blank line.
func Events(deltas int) []string { return slices.Collect(eachEvent(deltas)) }

// eachEvent yields them as they are asked for: a long stream begins at once.
func eachEvent(deltas int) iter.Seq[string] {
	return func(yield func(string) bool) {
		more := true
		add := func(name, data string) {
			more = more && yield("event: "+name+"\ndata: "+data+"\n\n")
		}
		add("message_start", `{"type":"message_start","message":{"id":"msg_sim","type":"message","role":"assistant","model":"claude-sim-1","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":1}}}`)
		add("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
		add("ping", `{"type":"ping"}`)
		for i := range deltas {
			if add("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"`+word(i)+`"}}`); !more {
				return
			}
		}
		add("content_block_stop", `{"type":"content_block_stop","index":0}`)
		add("message_delta", fmt.Sprintf(`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":%d}}`, deltas))
		add("message_stop", `{"type":"message_stop"}`)
	}
}

// ToolEvents is [Events] with a call of the tool Read in place of the text.
func ToolEvents(deltas int) []string {
	events := Events(deltas)
	name := func(i int, from, to string) { events[i] = strings.Replace(events[i], from, to, 1) }
	name(1, `{"type":"text","text":""}`, `{"type":"tool_use","id":"toolu_sim","name":"Read","input":{}}`)
	for i := range deltas {
		piece := `path`
		if i == 0 {
			piece = `{\"file_path\":\"/`
		}
		name(3+i, `{"type":"text_delta","text":"`+word(i)+`"}`, `{"type":"input_json_delta","partial_json":"`+piece+`"}`)
	}
	name(len(events)-2, `"end_turn"`, `"tool_use"`)
	return events
}

// Text is what the deltas of a stream say together.
func Text(deltas int) string {
	var b strings.Builder
	for i := range deltas {
		b.WriteString(word(i))
	}
	return b.String()
}

func word(i int) string { return fmt.Sprintf("word%d ", i) }
