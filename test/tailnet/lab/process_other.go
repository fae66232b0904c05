//go:build !linux

package lab

import "syscall"

// bound keeps a Ctrl-C at the terminal ours to handle.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
