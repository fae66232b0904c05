package edge

import (
	"errors"
	"syscall"
)

// BindRemedy says what helps against an error of [Server.Bind]. key is the
// configuration key that names the address.
func BindRemedy(err error, key string) string {
	for _, r := range []struct {
		cause  error
		remedy string
	}{
		{syscall.EADDRINUSE, "another program holds it: end that, or choose another " + key},
		{syscall.EADDRNOTAVAIL, "this machine has no such address: set " + key + " to one that it has, such as 127.0.0.1"},
		{syscall.EACCES, "this user may not: choose a port above 1023 in " + key},
		{syscall.EMFILE, "the process has no descriptor left: raise its limit (ulimit -n)"},
		{syscall.ENFILE, "the system has no descriptor left: find out who holds them"},
	} {
		if errors.Is(err, r.cause) {
			return r.remedy
		}
	}
	return "set " + key + " to an address that this machine can open"
}
