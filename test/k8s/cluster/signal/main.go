// Command signal sends a signal to every process of a name. It is put into the
// cluster test's sidecar image, which has no shell.
//
// usage: signal NUMBER NAME
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: signal NUMBER NAME")
		os.Exit(2)
	}
	number, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "read signal number:", err)
		os.Exit(2)
	}
	sent := 0
	names, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is well-formed
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(name)) != os.Args[2] {
			continue // it has ended, or is another
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err := syscall.Kill(pid, syscall.Signal(number)); err != nil {
			fmt.Fprintln(os.Stderr, "send signal:", err)
			os.Exit(1)
		}
		sent++
	}
	if sent == 0 {
		fmt.Fprintf(os.Stderr, "no process is named %s\n", os.Args[2])
		os.Exit(1)
	}
}
