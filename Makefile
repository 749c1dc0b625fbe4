# Everything a fresh Linux machine with Go and make needs; what is missing is installed into .tools.
SHELL       := /bin/bash
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X main.version=$(VERSION)
TOOLS       := $(CURDIR)/.tools/bin
LINT_VER    := v2.15.0
LINT        := $(TOOLS)/golangci-lint-$(LINT_VER)
export CGO_ENABLED ?= 0

.PHONY: all build demo test lint vet bench bench-lease bench-gate bench-raft drill clean

all: build

# Static binaries: bin/roundtable, the product; bin/simnodeos, a stand-in for nodeos for tests and demos; bin/baseline, the
# usual ways of doing the job, for the drills to compare with.
build:
	@mkdir -p bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/roundtable ./cmd/simnodeos ./test/baseline/cmd/baseline

# The main job in a minute: three managers, two handoffs, a kill, and the ledgers' verdict.
demo: build
	bin/roundtable sandbox --demo

# -race needs cgo and a C compiler; where there is none the tests still run, and it is said.
test: build
	@if command -v $${CC:-cc} >/dev/null; then \
		echo "go test -race ./..."; CGO_ENABLED=1 go test -race -timeout 15m ./...; \
	else \
		echo "no C compiler: go test ./... without the race detector (install gcc for it)"; go test -timeout 15m ./...; \
	fi

lint: vet $(LINT)
	@files="$$(gofmt -l .)"; test -z "$$files" || { echo "gofmt these: $$files"; exit 1; }
	$(LINT) run ./...

vet:
	go vet ./...

$(LINT):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VER)
	@mv $(TOOLS)/golangci-lint $@

# Figures, not tests: an idle manager, a signature through the gate beside one without it, the raft folder.
bench: build bench-gate bench-raft bench-lease

bench-gate:
	go test -run '^$$' -bench . -benchtime 2000x -count 5 ./node/gate

bench-raft:
	go test -run '^$$' -bench RaftFolder -benchtime 1000000x -timeout 30m ./cluster
	go test -run '^$$' -bench Propose -benchtime 500x -count 3 ./cluster
	go test -run '^$$' -bench . ./fsm

bench-lease: build
	bin/roundtable sandbox --bench-idle 30s

drill: build
	bin/roundtable drill handoff --runs 50
	bin/roundtable drill handoff --runs 50 --latency 80ms
	bin/roundtable drill kill-holder --runs 20

clean:
	rm -rf bin
