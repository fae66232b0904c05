// Package metrics is the admin server: the pages from which people and
// machines learn how the service is.
//
// Every page is computed from the newest state at the moment it is asked for.
// The package remembers nothing, so it has nothing stale to tell.
package metrics

import "context"

// Server is the admin port, which survives every Serve.
type Server interface {
	Serve(ctx context.Context) error
}

// Actor serves the admin port, a suture service. One Serve runs at a time.
type Actor struct{ server Server }

// New makes the actor and starts nothing. The port is bound already: it is the
// first to open and the last to close.
func New(server Server) *Actor { return &Actor{server: server} }

// String names the service in logs and metrics.
func (a *Actor) String() string { return "metrics" }

// Serve answers until ctx ends.
func (a *Actor) Serve(ctx context.Context) error { return a.server.Serve(ctx) }
