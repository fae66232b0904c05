package lab

import "syscall"

// bound makes a child that dies with us, however we die. A Ctrl-C at the
// terminal is ours to handle, not the child's.
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
