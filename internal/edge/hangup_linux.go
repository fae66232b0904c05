package edge

import "golang.org/x/sys/unix"

// hangUpEvents: the peer has shut down its writing side.
const hangUpEvents = unix.POLLRDHUP
