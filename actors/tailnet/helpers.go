package tailnet

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// A helperPanic is a helper's panic on its way to the supervisor, which
// recovers Serve alone. It brings its own stack: the one that the supervisor
// finds is Serve's.
type helperPanic struct {
	helper string
	value  any
	stack  []byte
}

func (p *helperPanic) Error() string {
	return fmt.Sprintf("%s: %v\n\n%s", p.helper, p.value, p.stack)
}

// helpers run beside Serve.
type helpers struct {
	group sync.WaitGroup
	stop  context.CancelCauseFunc // of what they and Serve run under
}

// start runs a helper; its panic becomes the cause of the end.
func (h *helpers) start(ctx context.Context, name string, run func(context.Context)) {
	h.group.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				h.stop(&helperPanic{helper: name, value: r, stack: debug.Stack()})
			}
		}()
		run(ctx)
	})
}

// end stops them and waits for them.
func (h *helpers) end() {
	h.stop(nil)
	h.group.Wait()
}
