package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"anthropic-oauth-proxy/test/sim"
)

// A cell is where a figure stands in the table.
type cell struct {
	metric   metric
	protocol sim.Protocol
	peer     string
}

// results hold what every round measured.
type results map[cell][]float64

func (r results) add(m metric, p sim.Protocol, peer string, value float64) {
	c := cell{m, p, peer}
	r[c] = append(r[c], value)
}

var protocolNames = map[sim.Protocol]string{sim.Plain: "plain HTTP/1.1", sim.TLS1: "TLS HTTP/1.1", sim.TLS2: "TLS HTTP/2"}

// print writes the table: medians, and in brackets how many times the first
// proxy's figure each of the others is, of several runs the median ratio and
// the range.
func (b *bench) print(w io.Writer) {
	fmt.Fprint(w, "| measure | upstream |")
	for _, p := range b.peers {
		fmt.Fprintf(w, " %s |", p.name)
	}
	fmt.Fprintf(w, "\n|---|---|%s\n", strings.Repeat("---:|", len(b.peers)))
	for _, m := range rows() {
		for _, protocol := range strings.Split(b.protocols, ",") {
			b.printRow(w, m, sim.Protocol(protocol))
		}
	}
	logs := "off"
	if b.logs {
		logs = "on"
	}
	fmt.Fprintf(w, "\n%d runs, %d rounds each (memory, crowds: one fresh process a run), medians; in brackets the ratio to %s and its range. Peers' access logs %s.\n"+
		"A round: %d requests, %d streams for %s, %d uploads of 10 MiB, %d cancels. %s, %s.\n",
		b.runs, b.rounds, b.peers[0].name, logs, b.scale.requests, b.scale.streams, b.scale.window, b.scale.uploads, b.scale.cancels,
		runtime.Version(), time.Now().UTC().Format(time.DateOnly))
}

func (b *bench) printRow(w io.Writer, m metric, protocol sim.Protocol) {
	base := b.of(cell{m, protocol, b.peers[0].name})
	if len(base) == 0 {
		return // this scale leaves the measure out
	}
	fmt.Fprintf(w, "| %s | %s |", m, protocolNames[protocol])
	for i, p := range b.peers {
		values := b.of(cell{m, protocol, p.name})
		switch {
		case len(values) == 0:
			fmt.Fprint(w, " - |")
		case i == 0 || slices.Min(base) <= 0:
			fmt.Fprintf(w, " %s |", figure(median(values)))
		default:
			fmt.Fprintf(w, " %s (%s) |", figure(median(values)), ratios(values, base))
		}
	}
	fmt.Fprintln(w)
}

// of is a cell's figure in every run.
func (b *bench) of(c cell) (values []float64) {
	for _, run := range b.done {
		if len(run[c]) > 0 {
			values = append(values, median(run[c]))
		}
	}
	return values
}

// ratios prints how many times base the values are, run by run: the median, and
// of several the range.
func ratios(values, base []float64) string {
	all := make([]float64, len(values))
	for i := range values {
		all[i] = values[i] / base[i]
	}
	if len(all) == 1 {
		return fmt.Sprintf("%.2f", all[0])
	}
	return fmt.Sprintf("%.2f; %.2f-%.2f", median(all), slices.Min(all), slices.Max(all))
}

// figure prints three significant digits at most.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
