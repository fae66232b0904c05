//go:build !linux

package edge

import "sync"

// watcher watches nothing here: each exchange listens for itself.
type watcher struct{}

func newWatcher(*sync.WaitGroup) *watcher { return nil }

func (*watcher) add(*h1conn)            {}
func (*watcher) arm(*h1conn, bool) bool { return false }
func (*watcher) remove(uint64)          {}
func (*watcher) close()                 {}
