// Command bench measures the service beside the proxies it is compared with,
// and prints a Markdown table:
//
//	go run ./bench            # in test/; under six minutes
//	go run ./bench -quick     # under two
//	go run ./bench -runs 3    # three whole runs: the range of every ratio too
//	go run ./bench -logs      # the peers write access logs too
//	go run ./bench -caddy     # builds Caddy first, if there is none
//	go run ./bench -far       # an API that is 20 and 100 ms away, instead
//	go run ./bench -memory    # the rows of memory alone
//	go run ./bench -only ours,beside -beside /path/to/another/build
//
// It needs Linux, two cores and taskset. Every proxy runs pinned to core 0;
// the load and the simulated API share core 1. Rounds are interleaved: each
// proxy takes its turn in every round, in an order that rotates, so that a
// slow spell of the machine meets all of them. A figure is the median of its
// rounds. CPU time is that of the proxy's processes alone, in nanoseconds from
// the kernel's scheduler, and is the figure to trust. The service runs with
// metrics and its access log on, the others without unless -logs is given; the
// bare ReverseProxy has no log.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"anthropic-oauth-proxy/test/sim"
)

type options struct {
	quick     bool
	caddy     bool
	rounds    int
	runs      int
	logs      bool
	only      string
	protocols string
	far       bool
	memory    bool
	beside    string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.BoolVar(&o.quick, "quick", false, "less work: figures good for a glance")
	flags.BoolVar(&o.caddy, "caddy", false, "build Caddy if there is none (minutes, once)")
	flags.IntVar(&o.rounds, "rounds", 0, "how often each proxy takes its turn (default 3, with -quick 2)")
	flags.IntVar(&o.runs, "runs", 1, "how many whole runs; with more than one the range of each ratio is printed")
	flags.BoolVar(&o.logs, "logs", false, "have the peers write access logs too, as ours always does")
	flags.StringVar(&o.only, "only", "", "comma-separated `names` of the proxies to measure")
	flags.StringVar(&o.protocols, "upstreams", "plain,tls2", "comma-separated upstream `protocols`: plain, tls1 (HTTP/1.1), tls2 (HTTP/2)")
	flags.BoolVar(&o.far, "far", false, "the rows of an API 20 and 100 ms away, and no others")
	flags.BoolVar(&o.memory, "memory", false, "the rows of fresh processes, which are memory's, and no others")
	flags.StringVar(&o.beside, "beside", "", "measure another build of ours too, the `binary` at this path")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := pin(); err != nil {
		return err
	}
	if err := liftFiles(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "anthropic-oauth-proxy-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, dir: dir, scale: normal}
	if o.quick {
		b.scale = quick
	}
	if o.rounds == 0 {
		b.rounds = b.scale.rounds
	}
	if err := b.prepare(); err != nil {
		return err
	}
	for i := range b.runs {
		if err := b.once(); err != nil {
			return err
		}
		progress("run %d of %d done", i+1, b.runs)
	}
	b.print(os.Stdout)
	return nil
}

// once is one whole run.
func (b *bench) once() error {
	b.results = results{}
	for _, name := range strings.Split(b.protocols, ",") {
		if err := b.measure(sim.Protocol(name)); err != nil {
			return fmt.Errorf("upstream %s: %w", name, err)
		}
	}
	b.done = append(b.done, b.results)
	return nil
}

// liftFiles lets this process, and through it every peer, have as many files
// open as the machine allows.
func liftFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("lift the limit of open files: %w", err)
	}
	return nil
}

// pinnedVariable marks the process that already runs on its core.
const pinnedVariable = "BENCH_PINNED"

// pin replaces the process by itself on benchCore: the runtime then sees one
// core from the start. The Go tool keeps both.
func pin() error {
	if os.Getenv(pinnedVariable) != "" {
		return nil
	}
	if runtime.NumCPU() < 2 {
		return errors.New("two cores are needed: one for the proxy, one for the load")
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return fmt.Errorf("find taskset (Debian: util-linux): %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := append([]string{"taskset", "-c", benchCore, self}, os.Args[1:]...)
	return syscall.Exec(taskset, argv, append(os.Environ(), pinnedVariable+"=1"))
}

// A bench is all runs over all proxies.
type bench struct {
	options
	dir     string
	scale   scale
	ca      *sim.CA
	caFile  string
	peers   []peer
	direct  *upstream // plain: what latency is compared with
	results results   // of the run that goes on
	done    []results // of the runs before it
}

func (b *bench) prepare() error {
	var err error
	if b.peers, err = peers(b.options, b.dir); err != nil {
		return err
	}
	if b.only != "" {
		names := strings.Split(b.only, ",")
		b.peers = slices.DeleteFunc(b.peers, func(p peer) bool { return !slices.Contains(names, p.name) })
	}
	if len(b.peers) == 0 {
		return errors.New("no proxy to measure")
	}
	if b.ca, err = sim.NewCA(); err != nil {
		return err
	}
	b.caFile = filepath.Join(b.dir, "ca.pem")
	if err := b.ca.WriteFile(b.caFile); err != nil {
		return err
	}
	b.direct, err = startUpstream(sim.Plain, nil, "")
	return err
}

var began = time.Now()

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}
