//go:build !linux

package harness

import "syscall"

// DieWithParent does nothing where the kernel has no such promise.
func DieWithParent() *syscall.SysProcAttr { return nil }
