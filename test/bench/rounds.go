package main

import (
	"fmt"
	"slices"

	"anthropic-oauth-proxy/test/sim"
)

// measure runs every round against one kind of upstream.
func (b *bench) measure(protocol sim.Protocol) error {
	up, err := startUpstream(protocol, b.ca, b.caFile)
	if err != nil {
		return err
	}
	able := slices.DeleteFunc(slices.Clone(b.peers), func(p peer) bool { return protocol == sim.TLS2 && !p.http2 })
	if b.far {
		return b.measureFar(able, up)
	}
	for _, p := range able {
		if err := b.measureFresh(p, up); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		progress("%s: memory of %s done", up.protocol, p.name)
	}
	if b.memory {
		return nil
	}
	var procs []*running
	defer func() {
		for _, r := range procs {
			r.stop()
		}
	}()
	for _, p := range able {
		r, err := b.launch(p, up)
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
			if err := b.turn(r, up); err != nil {
				return fmt.Errorf("%s: %w", r.peer, err)
			}
		}
		progress("%s: round %d of %d done", protocol, round+1, b.rounds)
	}
	return nil
}

// turn takes every figure of one running proxy once.
func (b *bench) turn(r *running, up *upstream) error {
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
		{burstTime, func() (float64, error) { return measureBurst(b.scale, r) }},
		{cpuPerMiB, func() (float64, error) { return measureUploads(b.scale, r) }},
		{cancelTime, func() (float64, error) { return measureCancel(b.scale, r, up) }},
	} {
		value, err := step.take()
		if err != nil {
			return fmt.Errorf("%s: %w", step.metric, err)
		}
		b.results.add(step.metric, up.protocol, r.peer, value)
	}
	return nil
}
