package main

import (
	"fmt"
	"io"
	"runtime"
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
// proxy's figure each of the others is.
func (b *bench) print(w io.Writer) {
	fmt.Fprint(w, "| measure | upstream |")
	for _, p := range b.peers {
		fmt.Fprintf(w, " %s |", p.name)
	}
	fmt.Fprintf(w, "\n|---|---|%s\n", strings.Repeat("---:|", len(b.peers)))
	for _, m := range metrics {
		for _, protocol := range strings.Split(b.protocols, ",") {
			b.printRow(w, m, sim.Protocol(protocol))
		}
	}
	fmt.Fprintf(w, "\nMedians of %d rounds (memory: one fresh process); in brackets the ratio to %s. A round: %d requests, %d streams for %s, %d uploads of 10 MiB, %d cancels. %s, %s.\n",
		b.rounds, b.peers[0].name, b.scale.requests, b.scale.streams, b.scale.window, b.scale.uploads, b.scale.cancels,
		runtime.Version(), time.Now().UTC().Format(time.DateOnly))
}

func (b *bench) printRow(w io.Writer, m metric, protocol sim.Protocol) {
	if len(b.results[cell{m, protocol, b.peers[0].name}]) == 0 {
		return // this scale leaves the measure out
	}
	fmt.Fprintf(w, "| %s | %s |", m, protocolNames[protocol])
	base := median(b.results[cell{m, protocol, b.peers[0].name}])
	for i, p := range b.peers {
		values := b.results[cell{m, protocol, p.name}]
		switch {
		case len(values) == 0:
			fmt.Fprint(w, " - |")
		case i == 0 || base <= 0:
			fmt.Fprintf(w, " %s |", figure(median(values)))
		default:
			fmt.Fprintf(w, " %s (%.2f) |", figure(median(values)), median(values)/base)
		}
	}
	fmt.Fprintln(w)
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
