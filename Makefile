# What a developer does with this repository. Needs GNU make, Go and git;
# everything else is fetched by Go at the versions below. `make` lists the targets.

GOLANGCI_LINT_VERSION := v2.15.0
BENCHSTAT_VERSION     := v0.0.0-20260908200009-22c9c6c9d4da
PROTOC_GEN_GRPC       := v1.6.1

PROGRAMS := cmp-sidecar applicationset-generator notifications-hook propagator
# Programs into which Argo CD's packages must not be linked.
SMALL    := cmp-sidecar applicationset-generator propagator

GO ?= go
# Narrow the packages: make test PKG=./pkg/mirror/...
PKG ?= ./...
# Arguments of the demo: make demo ARGS=--json
ARGS ?=
# The Argo CD of the end-to-end suite, as in e2e/tools/argocd-v*/go.mod.
ARGOCD ?= v2.14.21
# How many suites play its scenarios at once: one for every two processors.
E2E_SUITES ?=
# Which of its scenarios run: make e2e E2E_RUN=TestTrain
E2E_RUN ?=
# Which of its scenarios do not run: make e2e E2E_SKIP=TestSidecar
E2E_SKIP ?=
# Which modules of e2e/tools are built ahead; all when empty.
E2E_TOOLS ?=
FUZZTIME   ?= 20s
SCHEDULES  ?= 10000
HISTORIES  ?= 20000
FIRST      ?= 1
BENCH      ?= .
BENCHCOUNT ?= 6
BENCHOUT   ?= bench/out/latest.txt

BIN   := $(CURDIR)/bin
# Tools are kept by their own version and Go's, so that a new one is built anew.
TOOLS  = $(BIN)/tools/$(shell $(GO) env GOVERSION)
LINT   = $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)/golangci-lint

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
# The race detector needs cgo, that is a C compiler and the C library's headers.
test: ## run all tests, with the race detector where there is a C compiler
	@race=-race; \
	if [ "$$($(GO) env CGO_ENABLED)" != 1 ] || ! printf '#include <pthread.h>\nint main(void) { return 0; }\n' | $$($(GO) env CC) -x c -o /dev/null - 2>/dev/null; then \
	  race=; echo "make test: no C compiler (or CGO_ENABLED=0), so this runs without the race detector"; \
	fi; \
	set -x; $(GO) test $$race -timeout 30m $(PKG)

.PHONY: simulation
simulation: ## play SCHEDULES (10000) release trains with faults; FIRST is the first seed
	$(GO) test ./pkg/promotion -count=1 -run TestEveryWrite
	$(GO) test ./pkg/promotion/simulation -count=1 -run TestSchedules -schedules=$(SCHEDULES) -first=$(FIRST) -timeout=0 -v

.PHONY: histories
histories: ## play HISTORIES (20000) random histories of people and hotfixes; FIRST is the first seed
	$(GO) test ./pkg/promotion/history -count=1 -run TestHistories -histories=$(HISTORIES) -first=$(FIRST) -timeout=0 -v

.PHONY: cover
cover: ## run all tests and show how much of the code they reach (bin/cover.html)
	@mkdir -p $(BIN)
	$(GO) test -timeout 15m -coverprofile=$(BIN)/cover.out -coverpkg=./... $(PKG)
	$(GO) tool cover -html=$(BIN)/cover.out -o $(BIN)/cover.html
	@$(GO) tool cover -func=$(BIN)/cover.out | tail -n 1

.PHONY: lint
lint: $(LINT) ## check format, vet, lint, the layers, and what the programs link
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet -tags e2e $(PKG)
	$(LINT) config verify
	$(LINT) run $(PKG)
	@linked=$$($(GO) list -deps $(addprefix ./,$(SMALL)) | grep '^github.com/argoproj/'); \
	[ -z "$$linked" ] || { echo "one of $(SMALL) links Argo CD:"; echo "$$linked"; exit 1; }

.PHONY: fmt
fmt: $(LINT) ## format the code
	$(LINT) fmt $(PKG)

.PHONY: build
build: ## build the programs, static and reproducible, into ./bin
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o $(BIN)/ $(addprefix ./,$(PROGRAMS))

.PHONY: demo
demo: ## play the whole release train on this machine
	$(GO) run ./propagator demo $(ARGS)

.PHONY: conformance
conformance: ## run the conformance tests against Argo CD's own client code
	$(GO) test -count=1 -timeout 15m ./pkg/argo/...

.PHONY: e2e-tools
e2e-tools: ## build Kubernetes, Argo CD and the other programs of the end-to-end suite ahead
	$(GO) run ./e2e/internal/cmd/tools $(E2E_TOOLS)

.PHONY: e2e
# PROPAGATOR_E2E_DIR keeps the state in a folder of yours, PROPAGATOR_E2E_KEEP=1
# keeps it after the run; e2e/doc.go has more.
e2e: export PROPAGATOR_E2E_ARGOCD = $(ARGOCD)
e2e: ## run the end-to-end suite: make e2e ARGOCD=v3.5.7 E2E_RUN=TestName
	$(GO) run ./e2e/internal/cmd/scenarios $(if $(E2E_SUITES),-suites $(E2E_SUITES)) -run '$(E2E_RUN)' -skip '$(E2E_SKIP)'

.PHONY: e2e-kit
e2e-kit: ## test what the end-to-end suite is made of: its cluster, git server, registries
	$(GO) test -tags e2e -count=1 -timeout 30m -p 1 ./e2e/internal/...

.PHONY: e2e-all
# As root on Linux, with containerd, runc and containernetworking-plugins.
e2e-all: export PROPAGATOR_E2E_REALNODE = 1
e2e-all: ## run the end-to-end suite with each Argo CD, the real node included
	$(MAKE) e2e-kit
	$(MAKE) e2e ARGOCD=v2.14.21
	$(MAKE) e2e ARGOCD=v3.5.7

# Directories of the packages that have a test function whose name begins with $(1).
having = $(shell grep -rlE --include='*_test.go' --exclude-dir=bin '^func $(1)[A-Z0-9_]' . | xargs -r -n 1 dirname | sort -u)

.PHONY: bench
bench: ## run the benchmarks; compare with an earlier file: make bench BASE=before.txt
	@mkdir -p $(dir $(BENCHOUT))
	@packages="$(call having,Benchmark)"; [ -n "$$packages" ] || { echo "make bench: there are no benchmarks"; exit 0; }; \
	set -x; $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count=$(BENCHCOUNT) -timeout 60m $$packages > $(BENCHOUT) || { cat $(BENCHOUT); exit 1; }; \
	$(GO) run golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION) $(BASE) $(BENCHOUT)

.PHONY: fuzz
fuzz: ## let each fuzz target look for new inputs for FUZZTIME (20s)
	@set -e; for package in $(call having,Fuzz); do \
	  for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' $$package/*_test.go); do \
	    echo "$$package $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

.PHONY: generate
generate: ## make the generated files anew (needs protoc: apt-get install protobuf-compiler libprotobuf-dev)
	@command -v protoc >/dev/null || { echo "make generate: there is no protoc; apt-get install protobuf-compiler libprotobuf-dev"; exit 1; }
	$(GO) build -o $(TOOLS)/ google.golang.org/protobuf/cmd/protoc-gen-go
	GOBIN=$(TOOLS) $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GRPC)
	PATH="$(TOOLS):$$PATH" $(GO) generate $(PKG)

.PHONY: clean
clean: ## remove what make made
	rm -rf $(BIN) bench/out

$(LINT):
	GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
