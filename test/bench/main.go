// Command bench measures the service beside the proxies it is compared with,
// and prints a Markdown table:
//
//	go run ./bench            # in test/; under four minutes
//	go run ./bench -quick     # under one
//	go run ./bench -caddy     # builds Caddy first, if there is none
//	go run ./bench -far       # only an API that is 20 and 100 ms away
//	go run ./bench -only ours,beside -beside /path/to/another/build
//
// It needs Linux, two cores and taskset. Every proxy runs pinned to core 0;
// the load and the simulated API share core 1. Rounds are interleaved: each
// proxy takes its turn in every round, in an order that rotates, so that a
// slow spell of the machine meets all of them. A figure is the median of its
// rounds. CPU time is that of the proxy's processes alone, in nanoseconds from
// the kernel's scheduler, and is the figure to trust. The service runs with
// metrics and its access log on, the others without.
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
	only      string
	protocols string
	far       bool
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
	flags.StringVar(&o.only, "only", "", "comma-separated `names` of the proxies to measure")
	flags.StringVar(&o.protocols, "upstreams", "plain,tls2", "comma-separated upstream `protocols`: plain, tls1 (HTTP/1.1), tls2 (HTTP/2)")
	flags.BoolVar(&o.far, "far", false, "only the rows of an API 20 and 100 ms away")
	flags.StringVar(&o.beside, "beside", "", "measure another build of ours too, the `binary` at this path")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := pin(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "anthropic-oauth-proxy-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, dir: dir, scale: normal, results: results{}}
	if o.quick {
		b.scale = quick
	}
	if o.rounds == 0 {
		b.rounds = b.scale.rounds
	}
	if err := b.prepare(); err != nil {
		return err
	}
	for _, name := range strings.Split(o.protocols, ",") {
		if err := b.measure(sim.Protocol(name)); err != nil {
			return fmt.Errorf("upstream %s: %w", name, err)
		}
	}
	b.print(os.Stdout)
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

// A bench is one run over all proxies.
type bench struct {
	options
	dir     string
	scale   scale
	ca      *sim.CA
	caFile  string
	peers   []peer
	direct  *upstream // plain: what latency is compared with
	results results
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

// measure runs every round against one kind of upstream.
func (b *bench) measure(protocol sim.Protocol) error {
	up, err := startUpstream(protocol, b.ca, b.caFile)
	if err != nil {
		return err
	}
	able := slices.DeleteFunc(slices.Clone(b.peers), func(p peer) bool { return protocol == sim.TLS2 && !p.http2 })
	if !b.far {
		if err := b.measureMemories(able, up); err != nil {
			return err
		}
	}
	if err := b.measureFar(able, up); err != nil {
		return err
	}
	if b.far {
		return nil
	}
	var procs []*running
	defer func() {
		for _, r := range procs {
			r.stop()
		}
	}()
	for _, p := range able {
		r, err := p.launch(b.dir, up)
		if err != nil {
			return err
		}
		procs = append(procs, r)
		if err := load(r.addr, b.scale.requests/4, request("")); err != nil {
			return fmt.Errorf("warm %s up: %w", p.name, err)
		}
	}
	for round := range b.rounds {
		for i := range procs {
			r := procs[(i+round)%len(procs)]
			if err := b.turn(r, up, round); err != nil {
				return fmt.Errorf("%s: %w", r.peer, err)
			}
		}
		progress("%s: round %d of %d done", protocol, round+1, b.rounds)
	}
	return nil
}

// turn takes every figure of one running proxy once.
func (b *bench) turn(r *running, up *upstream, round int) error {
	direct, err := measureLatency(b.scale, b.direct.addr)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		metric metric
		take   func() (float64, error)
	}{
		{cpuPerRequest, func() (float64, error) { return measureRequests(b.scale, r) }},
		{addedLatency, func() (float64, error) {
			through, err := measureLatency(b.scale, r.addr)
			return through - direct, err
		}},
		{cpuPerChunk, func() (float64, error) { return measureChunks(b.scale, r, up) }},
		{cpuPerMiB, func() (float64, error) { return measureUploads(b.scale, r) }},
		{cancelTime, func() (float64, error) { return measureCancel(b.scale, r, up, round) }},
	} {
		value, err := step.take()
		if err != nil {
			return fmt.Errorf("%s: %w", step.metric, err)
		}
		b.results.add(step.metric, up.protocol, r.peer, value)
	}
	return nil
}

// measureMemories takes a fresh process for each figure: memory that earlier
// work left behind would hide what the streams need.
func (b *bench) measureMemories(able []peer, up *upstream) error {
	for _, p := range able {
		r, err := p.launch(b.dir, up)
		if err != nil {
			return err
		}
		first, all, err := measureMemory(b.scale, r)
		r.stop()
		if err != nil {
			return fmt.Errorf("memory of %s: %w", p.name, err)
		}
		b.results.add(memory1000, up.protocol, p.name, first)
		if all > 0 {
			b.results.add(memory5000, up.protocol, p.name, all)
		}
		progress("%s: memory of %s done", up.protocol, p.name)
	}
	return nil
}

var began = time.Now()

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}
