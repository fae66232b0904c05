// Command simapi runs the simulated Claude API by itself, for a person who
// wants to point a proxy or a client at it:
//
//	go run ./sim/cmd/simapi -addr 127.0.0.1:8443 -ca /tmp/sim-ca.pem
//
// It prints its base URL and serves until interrupted. Every request may name
// its own plan in the header x-sim, for example
// "x-sim: deltas=50&delay=100ms".
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"anthropic-oauth-proxy/test/sim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "simapi:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("simapi", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:8443", "`host:port` to listen on")
	protocol := flags.String("protocol", string(sim.TLS2), "plain, tls1 (HTTP/1.1) or tls2 (HTTP/2)")
	caFile := flags.String("ca", "", "`file` to write the CA certificate to, for SSL_CERT_FILE")
	if err := flags.Parse(args); err != nil {
		return err
	}
	api, err := sim.Start(sim.Options{Addr: *addr, Protocol: sim.Protocol(*protocol)})
	if err != nil {
		return err
	}
	defer api.Close()
	if *caFile != "" && api.CA() != nil {
		if err := api.CA().WriteFile(*caFile); err != nil {
			return err
		}
	}
	fmt.Println(api.URL())
	<-ctx.Done()
	return nil
}
