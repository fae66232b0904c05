package harness

import "syscall"

// DieWithParent lets a process end with the test or measurement that started
// it, however that ends.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
