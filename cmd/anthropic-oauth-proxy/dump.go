package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// firstProcess is what a container runs.
const firstProcess = 1

// dump makes the proxy with that process id write the stacks of all its
// goroutines to its stderr and end: what a person would do with kill -QUIT, where
// the image has no kill. It touches no process that is another program.
func dump(pid int, stdout, stderr io.Writer) int {
	err := isOurs(pid)
	if err == nil {
		// Said first: with the container's first process ends everything in it.
		fmt.Fprintf(stdout, "process %d writes its goroutines to stderr and ends; in a pod: kubectl logs POD -c proxy --previous\n", pid)
		err = syscall.Kill(pid, syscall.SIGQUIT)
	}
	if err != nil {
		fmt.Fprintf(stderr, "anthropic-oauth-proxy: dump process %d: %v\nelsewhere than in the proxy's own container: kill -QUIT its process\n", pid, err)
		return exitFailed
	}
	return exitOK
}

// isOurs reports whether a process runs this very program, by nil.
func isOurs(pid int) error {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return err
	}
	other, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return err
	}
	if !os.SameFile(own, other) {
		return fmt.Errorf("it is another program")
	}
	return nil
}
