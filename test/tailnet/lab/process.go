package lab

import (
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"anthropic-oauth-proxy/test/harness"
)

// stopBudget is how long a process may take to end before it is killed.
const stopBudget = 15 * time.Second

// A Process is a child that never outlives its lab.
type Process struct {
	name   string
	cmd    *exec.Cmd
	logs   harness.Buffer
	exited chan struct{}
}

func startProcess(name string, env []string, argv ...string) (*Process, error) {
	p := &Process{name: name, cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = &p.logs, &p.logs
	p.cmd.SysProcAttr = bound()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // the exit code is what counts: see ExitCode
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Logs is what it has written so far, on both streams.
func (p *Process) Logs() string { return p.logs.String() }

// Signal sends a signal; a process that has ended gets none.
func (p *Process) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Exited closes when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode waits for the end; -1 means that a signal ended it.
func (p *Process) ExitCode() int {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends it at once, stopped or not, and waits.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.exited
}

// Stop asks it to end, kills it when it takes too long, and returns the exit
// code.
func (p *Process) Stop() int {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopBudget):
		p.Kill()
	}
	return p.ExitCode()
}
