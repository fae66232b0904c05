package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The network of these tests' cluster is this process's own (somebody lives
// there) or nobody's (a file that is no network).
const ownNetwork = "/proc/self/ns/net"

// fake is a lab whose scripts only write down that they ran, and what the list
// of processes said then.
func fake(t *testing.T, network, pids string) Lab {
	t.Helper()
	l := Lab{Scripts: t.TempDir(), State: t.TempDir(), Network: network}
	for _, name := range []string{"up", "down"} {
		script := fmt.Sprintf("#!/bin/sh\necho %s $(cat %s/node/pids) >> %s/ran\nmkdir -p %s/node\n", name, l.State, l.Scripts, l.State)
		script += map[string]string{"up": "touch " + l.pids(), "down": "rm " + l.pids()}[name] + "\n"
		write(t, filepath.Join(l.Scripts, name+".sh"), script)
	}
	if pids != "" {
		write(t, l.pids(), pids)
	}
	return l
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func ran(t *testing.T, l Lab) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.Scripts, "ran"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), ",")
}

func nobodys(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "network")
	write(t, path, "")
	return path
}

func absent(t *testing.T) string { return filepath.Join(t.TempDir(), "network") }

func TestALabIsStartedAndEnded(t *testing.T) {
	l := fake(t, absent(t), "")
	for range 2 {
		end, err := l.Start()
		if err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := ran(t, l), "up,down,up,down"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
}

// A run that is killed ends nothing. The next one does, and kills no process
// that only has a dead one's number.
func TestALabThatAKilledRunLeftIsEndedFirst(t *testing.T) {
	me := fmt.Sprint("etcd ", os.Getpid())
	for name, c := range map[string]struct{ network, pids, mark, want string }{
		"its processes live":                 {ownNetwork, me + "\nkubelet 4999999\n", "a run's", "down " + me + ",up"},
		"its processes are dead":             {nobodys(t), me + "\nkubelet 4999999\n", "a run's", "down,up"},
		"nobody's, its processes are dead":   {nobodys(t), me + "\n", "", "down,up"},
		"the machine was started anew since": {absent(t), me + "\n", "", "down,up"},
		"killed on the way up":               {nobodys(t), "", "a run's", "down,up"},
	} {
		t.Run(name, func(t *testing.T) {
			l := fake(t, c.network, c.pids)
			write(t, filepath.Join(l.State, "claim"), c.mark)
			end, err := l.Start()
			if err != nil {
				t.Fatal(err)
			}
			if got := ran(t, l); got != c.want {
				t.Errorf("ran %s, want %s", got, c.want)
			}
			if err := end(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestALabOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Run("started by hand", func(t *testing.T) {
		l := fake(t, ownNetwork, "")
		if _, err := l.Start(); err == nil || !strings.Contains(err.Error(), "down.sh") {
			t.Errorf("got %v, want an error that names the remedy", err)
		}
		if got := ran(t, l); got != "" {
			t.Errorf("ran %s", got)
		}
	})
	t.Run("of a run that goes on", func(t *testing.T) {
		l := fake(t, absent(t), "")
		end, err := l.Start()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Start(); err == nil || !strings.Contains(err.Error(), "another cluster test") {
			t.Errorf("got %v, want an error that says who has it", err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if got, want := ran(t, l), "up,down"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	})
}

func TestALabThatDoesNotComeUpIsEnded(t *testing.T) {
	l := fake(t, absent(t), "")
	write(t, filepath.Join(l.Scripts, "up.sh"), "#!/bin/sh\nexit 3\n")
	if _, err := l.Start(); err == nil || !strings.Contains(err.Error(), "up.sh") {
		t.Errorf("got %v, want an error that names the script", err)
	}
	if got, want := ran(t, l), "down"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
}
