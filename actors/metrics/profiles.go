package metrics

import (
	"net/http"
	"net/http/pprof"
)

// profilesPath is where go tool pprof expects the profiles.
const profilesPath = "/debug/pprof/"

// Profiles serves Go's profiles, a trace, and with goroutine?debug=2 a dump of
// every goroutine. The command line stays unsaid. They slow the process down:
// only whoever is on this machine may ask.
func Profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(profilesPath, pprof.Index) // with all that runtime/pprof knows
	mux.HandleFunc(profilesPath+"profile", pprof.Profile)
	mux.HandleFunc(profilesPath+"trace", pprof.Trace)
	mux.Handle(profilesPath+"cmdline", http.NotFoundHandler())
	return mux
}
