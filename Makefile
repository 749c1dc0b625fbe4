# Everything a fresh Linux machine with Go and make needs; what is missing is installed into .tools.
SHELL       := /bin/bash
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X main.version=$(VERSION)
TOOLS       := $(CURDIR)/.tools/bin
LINT_VER    := v2.15.0
LINT        := $(TOOLS)/golangci-lint-$(LINT_VER)
export CGO_ENABLED ?= 0

.PHONY: all build image compose-up compose-down compose-drill kubernetes k8s-apiserver demo test test-observe versitygw fake-gcs-server lint bench bench-lease bench-gate bench-raft bench-api bench-backup drill sim sim-day mutants clean

all: build

# Static binaries: bin/roundtable, the product; bin/simnodeos, a stand-in for nodeos for tests and demos; bin/baseline, the
# usual ways of doing the job, for the drills to compare with.
build:
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/roundtable ./cmd/simnodeos ./test/baseline/cmd/baseline

# A container image without a registry: static programs on an empty base. BASE names one that has a real nodeos.
IMAGE ?= roundtable:local
BASE  ?= empty
image: build
	deploy/image/lay-out.sh
	docker build --quiet --build-arg BASE=$(BASE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) --tag $(IMAGE) .

# The cluster of docker-compose.yml: up, down (volumes stay; `docker compose down -v` takes the homes as well), and proved in
# real containers: a handoff, docker kill, network disconnect and restarts, in a project of its own that is removed again.
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
export ROUNDTABLE_IMAGE = $(IMAGE)
compose-up: image
	$(COMPOSE) up -d
	@echo "See it:      $(COMPOSE) exec m1 roundtable status"
	@echo "Hand over:   $(COMPOSE) exec m1 roundtable handoff --wait"
	@echo "With Prometheus and Grafana: $(COMPOSE) --profile observability up -d"

compose-down:
	$(COMPOSE) --profile observability down

compose-drill: image
	bin/roundtable drill compose --image $(IMAGE) --json bin/compose-drill.json

# deploy/kubernetes held to Kubernetes' own types and checks: a module of its own, which follows this one's versions.
kubernetes: $(LINT)
	cd test/kubernetes && go vet -mod=mod ./... && $(LINT) run --allow-parallel-runners --config ../../.golangci.yml ./... && go test -mod=mod -count=1 ./...

# The same against a real API server, which is built first: ten minutes on two cores, then seconds.
K8S := $(CURDIR)/.tools/k8s
k8s-apiserver:
	@mkdir -p $(K8S)
	cd test/kubernetes/apiserver && go build -ldflags '-s -w' -o $(K8S)/ ./...
	cd test/kubernetes && ROUNDTABLE_APISERVER=$(K8S) go test -mod=mod -count=1 -v -run APIServer ./...

# The main job in a minute: three managers, two handoffs, a kill, and the ledgers' verdict.
demo: build
	bin/roundtable sandbox --demo

# -race needs cgo and a C compiler; where there is none the tests still run, and it is said. -count=1: the programs that some
# of them start are no input that the cache of test results knows.
test: build
	@if command -v $${CC:-cc} >/dev/null; then \
		echo "test/all.sh -race"; CGO_ENABLED=1 $(CURDIR)/test/all.sh -race; \
	else \
		echo "no C compiler: test/all.sh without the race detector (install gcc for it)"; $(CURDIR)/test/all.sh; \
	fi

# Alerts, dashboard and logs against a real Prometheus (Debian's package prometheus; .ci/run installs it). Part of test, too,
# where what needs it is skipped without it, but not with CI=true.
test-observe:
	CI=true go test -count=1 -v ./test/observe

lint: $(LINT)
	@files="$$(gofmt -l .)"; test -z "$$files" || { echo "gofmt these: $$files"; exit 1; }
	$(LINT) run --allow-parallel-runners ./...

$(LINT):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) go install -ldflags '-s -w' github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VER)
	@mv $(TOOLS)/golangci-lint $@

# The servers that tests of repositories store into; each says where it is. The tests call these themselves: five minutes of one
# core the first time.
VERSITYGW_VER       := v1.8.0
FAKE_GCS_SERVER_VER := v1.56.0
versitygw: $(TOOLS)/versitygw-$(VERSITYGW_VER)
	@echo $<

fake-gcs-server: $(TOOLS)/fake-gcs-server-$(FAKE_GCS_SERVER_VER)
	@echo $<

$(TOOLS)/versitygw-$(VERSITYGW_VER):
	@mkdir -p $(TOOLS)/new
	CGO_ENABLED=0 GOBIN=$(TOOLS)/new go install -ldflags '-s -w' github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VER)
	@mv $(TOOLS)/new/versitygw $@

$(TOOLS)/fake-gcs-server-$(FAKE_GCS_SERVER_VER):
	@mkdir -p $(TOOLS)/new
	CGO_ENABLED=0 GOBIN=$(TOOLS)/new go install -ldflags '-s -w' github.com/fsouza/fake-gcs-server@$(FAKE_GCS_SERVER_VER)
	@mv $(TOOLS)/new/fake-gcs-server $@

# Figures, not tests: an idle manager, a signature through the gate beside one without it, the raft folder.
bench: build bench-gate bench-raft bench-lease bench-api

bench-gate:
	go test -run '^$$' -bench . -benchtime 2000x -count 5 ./node/gate

bench-raft:
	go test -run '^$$' -bench RaftFolder -benchtime 1000000x -timeout 30m ./cluster
	go test -run '^$$' -bench Propose -benchtime 500x -count 3 ./cluster
	go test -run '^$$' -bench . ./fsm

bench-lease: build
	bin/roundtable sandbox --bench-idle 30s

# 5,000 reads a second by one client while three managers and their nodes run: latencies, and whether the lease notices.
bench-api:
	go test -run '^$$' -bench APIReads -benchtime 1x -timeout 10m -v ./test

# The backup engine beside restic, borg, tar and zstd, rsync, on 2 GiB as a node has them: ten minutes and 12 GiB in /var/tmp.
# restic, borg and zstd are installed if this is root on Debian. BENCH_BACKUP="-rounds 5 -only roundtable,rsync" changes it.
bench-backup:
	go build -o bin/bench-backup ./test/bench/backup
	bin/bench-backup $(BENCH_BACKUP)

# The long set of drills (docs/drills.md), two to three hours; reports in bin/drills. RUNS, SEED and LOAD change it.
RUNS   ?= 50
SEED   ?= 42
LOAD   ?= 60m
REPORT := bin/drills
DRILL  := bin/roundtable drill --seed $(SEED)
FAULTS := handoff kill-holder kill-manager kill-node kill-leader freeze-manager freeze-node freeze-holder partition partition-oneway \
	disk-stall clock-step signer-slow rolling-restart restart upgrade backup restore

drill: build
	@mkdir -p $(REPORT)
	$(DRILL) $(FAULTS) --runs $(RUNS) --parallel 5 --json $(REPORT)/1-faults.json --html $(REPORT)/1-faults.html
	$(DRILL) handoff --latency 80ms --runs $(RUNS) --parallel 5 --json $(REPORT)/2-latency.json
	$(DRILL) mix --baselines --runs 200 --parallel 6 --json $(REPORT)/3-mix.json --html $(REPORT)/3-mix.html
	$(DRILL) handoff kill-holder freeze-holder kill-leader --producers 21 --longest 30s --runs 16 --parallel 8 --json $(REPORT)/4-gap.json --html $(REPORT)/4-gap.html
	$(DRILL) restart upgrade backup restore --producers 21 --runs 20 --parallel 5 --json $(REPORT)/6-rolling-gap.json --html $(REPORT)/6-rolling-gap.html
	$(DRILL) load --length $(LOAD) --runs 1 --json $(REPORT)/5-load.json --html $(REPORT)/5-load.html
	bin/roundtable drill report $(REPORT)/*.json

# The cluster in virtual time. sim: SEEDS schedules of faults, a failing one shrunk; with a Go runtime that leaves less to
# chance, so that a seed repeats. sim-day: what a day of it costs. mutants: each guard taken away, and which test sees it.
SEEDS ?= 5000
SIM   := $(CURDIR)/.tools/overlay
sim:
	test/sim/exact/overlay.sh $(SIM)
	ROUNDTABLE_SEEDS=$(SEEDS) ROUNDTABLE_SHRINK=1 go test -overlay $(SIM)/overlay.json -count=1 -timeout 60m -v -run 'TestSeeds|TestSchedules|TestShrink|TestHistories' ./test/sim

sim-day:
	ROUNDTABLE_DAY=24h go test -count=1 -timeout 60m -v -run TestClusterDay ./test/sim

mutants:
	ROUNDTABLE_MUTANTS=1 go test ./test/mutation -run Mutants -count=1 -timeout 30m

clean:
	rm -rf bin
