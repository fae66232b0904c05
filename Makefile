# anthropic-oauth-proxy: every command that the README names.
#
#   make run     start the proxy on its built-in defaults (loopback, no tailnet)
#   make check   the inner loop: lint and the root module's tests, two minutes when warm
#   make test    lint everything, then all tests of all modules, with the race detector
#
# All need Go 1.26. Root is needed by nothing but the installation of Debian's
# packages: without it make test says what is missing, and what it skips.

BINARY  := anthropic-oauth-proxy
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
MODULES := . test test/k8s
CACHE   := $(CURDIR)/.cache
COUNT   ?= 1
GOFMT   := bad=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); test -z "$$bad" || { echo "run gofmt on: $$bad"; exit 1; }

.PHONY: run build test lint deps tools check-size soak fuzz bench demo test-tailnet test-clients test-interop test-oracle \
        test-manifests test-alerts test-cluster image clean help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

run: build ## start the proxy on 127.0.0.1:8080, admin pages on 127.0.0.1:9090
	./$(BINARY)

build: ## build the static binary and check that it stays under 15 MB
	VERSION=$(VERSION) REVISION=$(REVISION) .ci/build $(BINARY)
	@$(MAKE) --no-print-directory check-size

check-size:
	@size=$$(wc -c < $(BINARY)); test $$size -lt 15000000 || { echo "$(BINARY) has $$size bytes, the limit is 15000000"; exit 1; }
	@! ldd $(BINARY) >/dev/null 2>&1 || { echo "$(BINARY) is not static"; exit 1; }

.PHONY: check test-repeat
check: build $(CACHE)/staticcheck ## gofmt, vet, staticcheck, size, the root module's tests; no root, no apt
	@$(GOFMT)
	go vet ./...
	$(CACHE)/staticcheck ./...
	go test -short ./...

test-repeat: ## the root module COUNT times on 1, 2 and 8 processors, with and without -race, idle and busy
	.ci/repeat $(COUNT)

test: deps lint build ## lint, then every test of every module with -race
	go test -race -timeout 20m ./...
	cd test && go test -race -timeout 20m ./...
	cd test/k8s && go test -race -timeout 20m ./...

deps: ## install what the tests need beside Go (apt, as root; without root say what is skipped)
	./.ci/deps

$(CACHE)/staticcheck: go.mod go.sum
	@mkdir -p $(CACHE)
	go build -o $@ honnef.co/go/tools/cmd/staticcheck
	@touch $@

tools: $(CACHE)/staticcheck
	cd test/k8s && go build -o $(CACHE)/actionlint github.com/rhysd/actionlint/cmd/actionlint

lint: tools ## gofmt, vet, staticcheck, actionlint, shellcheck, pinned actions
	@$(GOFMT)
	@for m in $(MODULES); do echo "lint $$m"; (cd $$m && go vet ./... && $(CACHE)/staticcheck ./...) || exit 1; done
	@cd test && go vet -tags interop ./interop && $(CACHE)/staticcheck -tags interop ./interop
	@cd test/k8s && go vet -tags cluster ./cluster/... && $(CACHE)/staticcheck -tags cluster ./cluster/...
	$(CACHE)/actionlint
	.ci/check-actions
	@command -v shellcheck >/dev/null || { test -z "$$CI" && echo "shellcheck is not installed: the scripts are not linted"; }
	@! command -v shellcheck >/dev/null || shellcheck k8s/preflight k8s/verify test/k8s/cluster/images .ci/*

test-clients: ## only the SDKs, the claude command and the black-box tests
	cd test && go test -race -count=$(COUNT) ./clients/...

test-oracle: ## the data plane's tests with the standard library in the engine's place
	UPSTREAM=standard go test -short -count=$(COUNT) ./internal/proxy
	UPSTREAM=conns go test -short -count=$(COUNT) ./internal/proxy

test-interop: ## nginx, HAProxy, Apache and others in the API's place; skips those that are missing
	cd test && go test -tags interop -count=$(COUNT) -timeout 20m -v ./interop

test-tailnet: ## only the tests against a real tailscaled; COUNT=20 repeats them
	cd test && go test -race -v -timeout 90m -count=$(COUNT) ./tailnet

test-manifests: deps ## manifests, policy, alerts, dashboard, scripts
	cd test/k8s && go test -count=$(COUNT) ./...

test-alerts: deps ## only the alerts and the dashboard
	cd test/k8s && go test -count=$(COUNT) -run 'Alert|Dashboard' .

test-cluster: ## the image and manifests on a real Kubernetes (KUBECONFIG, or the lab beside the checkout)
	cd test/k8s && go test -tags cluster -count=1 -timeout 40m -v ./cluster

demo: ## a tailnet on this machine, broken and mended before your eyes
	cd test && go run ./tailnet/demo

soak: build ## the long versions of the load and fault tests
	SOAK=1 go test -race -count=1 -timeout 60m ./supervisor/...
	cd test && SOAK=1 go test -count=1 -timeout 60m ./clients/...

fuzz: ## each fuzz test for half a minute
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	  echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime 30s -fuzzminimizetime 1s $$p || exit 1; done; done

bench: build ## CPU, memory and latency beside nginx, HAProxy and others
	cd test && go run ./bench $(BENCH)

image: ## the container image, with docker or buildah
	@if command -v docker >/dev/null && docker info >/dev/null 2>&1; then docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(BINARY):$(VERSION) .; \
	else buildah bud --layers --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(BINARY):$(VERSION) .; fi

.PHONY: screenshots
screenshots: deps ## the status page's pictures and the RUNBOOK's walkthrough, anew, by the test that breaks the service
	cd test && STATUS_IMAGES=$(CURDIR)/specs/images go test -count=1 ./browser

clean:
	rm -rf $(BINARY) $(CACHE)
