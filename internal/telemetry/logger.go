package telemetry

import (
	"bytes"
	"io"
	"log"
	"time"

	"github.com/rs/zerolog"
)

// NewLogger makes the logger: one JSON object a line on w.
func NewLogger(w io.Writer, level zerolog.Level) zerolog.Logger {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// StandardLog lends the logger to a library that wants the standard library's.
// What net/http writes may quote a client's bytes, so only its kind is kept.
func StandardLog(l zerolog.Logger, component string) *log.Logger {
	return log.New(&bridge{l: l, component: component}, "", 0)
}

// AdoptStandardLog does the same for libraries that use the standard library's
// logger of the process, which would wait for stderr.
func AdoptStandardLog(l zerolog.Logger) {
	log.SetFlags(0)
	log.SetOutput(&bridge{l: l, component: "process"})
}

type bridge struct {
	l         zerolog.Logger
	component string
}

func (b *bridge) Write(p []byte) (int, error) {
	kind, _, named := bytes.Cut(bytes.TrimSpace(p), []byte(":"))
	if !named {
		kind = nil
	}
	b.l.Debug().Str("event", "library").Str("component", b.component).
		Bytes("kind", bytes.ToValidUTF8(kind, nil)).Msg("a library had something to say")
	return len(p), nil
}
