package proxy

import (
	"time"

	"github.com/rs/zerolog"
)

// accessLog writes one line for each exchange.
type accessLog struct{ log zerolog.Logger }

func (a accessLog) Ended(r *Record) {
	e := a.log.Info()
	if r.Outcome != Completed && r.Outcome != ClientGone {
		e = a.log.Warn()
	}
	if e == nil {
		return
	}
	e.Str("event", "request").Str("request_id", r.ID).Str("upstream_request_id", r.UpstreamID).
		Str("method", r.Method).Str("path", r.Path).Int("status", r.Status).
		Str("outcome", string(r.Outcome)).Str("ended_by", string(r.By)).Str("ended_in", string(r.Phase)).
		Float64("ttfb_ms", milliseconds(r.FirstByte)).Float64("duration_ms", milliseconds(r.Ended)).
		Float64("queued_ms", milliseconds(r.Queued)).Float64("silence_ms", milliseconds(r.Silence))
	if r.UpstreamWait >= 0 {
		e.Float64("upstream_wait_ms", milliseconds(r.UpstreamWait))
	}
	if r.Overhead >= 0 {
		e.Float64("overhead_ms", milliseconds(r.Overhead))
	}
	e.Int64("request_bytes", r.RequestBytes).Int64("response_bytes", r.ResponseBytes).
		Int("attempts", r.Attempts).Str("credential", string(r.Credential)).Str("client", r.Client)
	if r.ErrorType != "" {
		e.Str("error_type", string(r.ErrorType)).Str("cause", r.Cause)
	}
	if r.Detail != "" {
		e.Str("error", r.Detail)
	}
	if r.Caller.Node != "" {
		e.Str("caller", r.Caller.Node).Strs("caller_tags", r.Caller.Tags)
	}
	e.Msg("request ended")
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
