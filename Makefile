# Chorale needs Go and git, nothing else. `make` alone lists the targets.
GO       ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
FUZZTIME ?= 20s
BIN      := bin/chorale
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help build run test race fuzz bench clients e2e check cross generate plugins python-wasm quickjs-wasm clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## build bin/chorale
	$(GO) build -o $(BIN) ./server

run: build ## serve the built-in model at 127.0.0.1:8000 (ARGS="--model DIR" for another)
	@./.ci/chromium
	$(BIN) serve $(ARGS)

test: ## every test that this machine can run
	@./.ci/chromium
	$(GO) test ./...

race: ## every test under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short ./...

fuzz: ## every fuzz target for FUZZTIME each
	./.ci/fuzz $(FUZZTIME)

bench: ## benchmarks of the engine, the codec, the kernels and the sandbox
	$(GO) test -run '^$$' -bench . ./inference/... ./kernels/... ./sandbox/... ./toolhost/...

clients: ## install the official OpenAI SDKs and MCP peers for tests (needs python3, npm)
	./server/clients/install.sh && ./toolhost/mcp/peers/install.sh

e2e: clients ## the running binary against the official clients
	REQUIRE=clients,mcp $(GO) test -count=1 ./server/... ./toolhost/mcp/...

check: ## format, vet, lint, tidy, layering
	test -z "$$(gofmt -l .)"
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	$(GO) test -run 'TestLayering' ./server

cross: ## build for Linux, macOS and Windows on amd64 and arm64
	./.ci/cross

generate: ## make the generated files again (they are committed)
	$(GO) generate ./...

plugins: ## build the example plugins again (plugins/examples/build names the compilers)
	./plugins/examples/build

python-wasm: ## build the embedded Python again (15 minutes; build.sh says what it needs)
	./sandbox/python/build/build.sh

quickjs-wasm: ## build the embedded JavaScript engine again (a minute; build.sh says what it needs)
	./sandbox/quickjs/build/build.sh

clean: ## remove what was built
	rm -rf bin .cache
