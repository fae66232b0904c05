package edge

import (
	"context"
	"net/http"
)

// OneLength reports whether a request has no more than one length, for a
// handler of [NewPlain].
func OneLength(r *http.Request) bool { return refusalOf(r, connOf(r.Context())) == nil }

// HungUp is [Client].HungUp for a handler of [NewPlain].
func HungUp(ctx context.Context) bool {
	c := connOf(ctx)
	return c != nil && c.hungUp()
}
