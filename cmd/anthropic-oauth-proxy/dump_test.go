package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDumped is the process that TestDump asks; by itself it is nothing.
func TestDumped(t *testing.T) {
	if os.Getenv("DUMPED") == "" {
		t.Skip("only a part of TestDump")
	}
	fmt.Println("waiting")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent ends
}

func TestDump(t *testing.T) {
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	var out, errs bytes.Buffer
	if code := dump(other.Process.Pid, &out, &errs); code != exitFailed || !strings.Contains(errs.String(), "another program") {
		t.Errorf("another program: exit %d, %q", code, errs.String())
	}
	if code := dump(-1, &out, &errs); code != exitFailed {
		t.Errorf("no process at all: exit %d", code)
	}
	if err := other.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("the other program was ended: %v", err)
	}

	same := exec.Command(os.Args[0], "-test.run=^TestDumped$", "-test.v")
	same.Env = append(os.Environ(), "DUMPED=1")
	var said bytes.Buffer
	same.Stderr = &said
	stdin, err := same.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := same.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := same.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan() && lines.Text() != "waiting"; {
	}
	if code := dump(same.Process.Pid, &out, &errs); code != exitOK {
		t.Errorf("ourselves: exit %d, %q", code, errs.String())
	}
	if err := same.Wait(); err == nil || !strings.Contains(said.String(), "SIGQUIT") || !strings.Contains(said.String(), "TestDumped") {
		t.Errorf("the process ended with %v and said %.2000q", err, said.String())
	}
}
