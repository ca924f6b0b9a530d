package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"chorale/inference/engine"
	"chorale/inference/gptoss/cpu"
	"chorale/inference/harmony"
	"chorale/plugins"
	"chorale/server/containers"
	"chorale/server/httpd"
	mcpserver "chorale/server/mcp"
	"chorale/server/metrics"
	"chorale/server/responses"
	"chorale/server/store"
	"chorale/toolhost"
)

// modelFlags choose a model and how much of the machine it gets.
func modelFlags(cfg *config) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "model", Usage: "folder of safetensors, or .safetensors or .gguf file, at `PATH`",
			DefaultText: "the built-in demonstration model", TakesFile: true, Sources: cfg.sources("model")},
		&cli.StringFlag{Name: "model-id", Usage: "`NAME` by which clients ask for the model", DefaultText: "the name of its folder or file", Sources: cfg.sources("model-id")},
		&cli.IntFlag{Name: "threads", Usage: "use `N` threads for the model", DefaultText: "one for each CPU", Sources: cfg.sources("threads"), Validator: notNegative},
		&cli.IntFlag{Name: "context", Usage: "limit prompt and output together to `N` tokens", DefaultText: "what the model was made for", Sources: cfg.sources("context"), Validator: notNegative},
		&cli.IntFlag{Name: "kv-mib", Usage: "use `N` MiB for keys and values", DefaultText: "a share of the memory", Sources: cfg.sources("kv-mib"), Validator: notNegative},
		&cli.IntFlag{Name: "max-queue", Usage: "answer 429 when more than `N` responses are waiting", DefaultText: "the engine's limit", Sources: cfg.sources("max-queue"), Validator: notNegative},
		&cli.IntFlag{Name: "max-sequences", Usage: "generate `N` responses at the same time; others wait", DefaultText: "the engine's limit", Sources: cfg.sources("max-sequences"), Validator: notNegative},
		&cli.IntFlag{Name: "max-output-tokens", Usage: "end every response after `N` tokens", DefaultText: "the context", Sources: cfg.sources("max-output-tokens"), Validator: notNegative},
	}
}

func notNegative(n int) error {
	if n < 0 {
		return fmt.Errorf("it is %d; it must be 0 or more", n)
	}
	return nil
}

// stackOptions are what a stack is built from; zero values are the defaults of the packages.
type stackOptions struct {
	modelPath, modelID                string
	threads, context, kvMiB, maxQueue int
	maxSequences, maxOutputTokens     int
	python                            pythonOptions
	plugins                           pluginsOptions
	mcp                               mcpOptions
	servers                           mcpServersOptions
	browser                           browserOptions
	store                             string // path, or ":memory:"
	sealKey                           []byte // nil: a new one
	storeMaxAge                       time.Duration
	storeMaxMiB                       int
	http                              httpd.Options
	log                               *slog.Logger
}

// newStackOptions reads the model's flags.
func newStackOptions(c *cli.Command) stackOptions {
	return stackOptions{
		modelPath: c.String("model"), modelID: c.String("model-id"), threads: c.Int("threads"), context: c.Int("context"),
		kvMiB: c.Int("kv-mib"), maxQueue: c.Int("max-queue"), maxSequences: c.Int("max-sequences"), maxOutputTokens: c.Int("max-output-tokens"),
	}
}

// A stack is a server with everything below it.
type stack struct {
	model   *model
	server  *httpd.Server
	mcp     *mcpserver.Server // nil: tools are not offered
	closers []func() error    // in the order of opening
}

// openStack opens everything from the weights up to the server. On an error nothing stays open.
func openStack(ctx context.Context, o stackOptions) (*stack, error) {
	s := &stack{}
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stack) open(ctx context.Context, o stackOptions) (err error) {
	if s.model, err = openModel(o.modelPath); err != nil {
		return err
	}
	s.closers = append(s.closers, s.model.checkpoint.Close)
	if o.modelID != "" {
		s.model.id = o.modelID
	}
	weights, err := s.model.load()
	if err != nil {
		return err
	}
	codec, err := harmony.NewCodec(s.model.tokenizer)
	if err != nil {
		return err
	}
	runner, err := cpu.New(weights, cpu.Options{Threads: o.threads, MaxContext: o.context, KVBytes: int64(o.kvMiB) << 20})
	if err != nil {
		return fmt.Errorf("start model: %w", err)
	}
	s.closers = append(s.closers, runner.Close)
	e, err := engine.New(runner, engine.Options{MaxQueue: o.maxQueue, MaxSequences: o.maxSequences})
	if err != nil {
		return fmt.Errorf("start engine: %w", err)
	}
	s.closers = append(s.closers, e.Close)
	db, err := store.Open(ctx, store.Options{Path: o.store, MaxAge: o.storeMaxAge, MaxBytes: int64(o.storeMaxMiB) << 20})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, db.Close)
	kept, err := containers.New(ctx, containers.Options{Store: db, Logger: o.log, MaxMemory: o.python.sessionMemory()})
	if err != nil {
		return err
	}
	servers, err := o.servers.open(ctx, o.log)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, servers.close)
	tools, err := s.openTools(ctx, o, servers)
	if err != nil {
		return err
	}
	service, err := responses.New(responses.Options{
		Engine: e, Codec: codec, Store: db, Logger: o.log, Key: o.sealKey, MaxOutputTokens: o.maxOutputTokens,
		Tools: tools.tools, Containers: kept, MCP: servers.options,
		Model: responses.ModelInfo{ID: s.model.id, MaxContext: e.MaxContext(), Vocab: runner.KV().Vocab, Demo: s.model.demo},
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return service.Close(context.WithoutCancel(ctx)) })
	o.http.Responses, o.http.Containers, o.http.Plugins, o.http.Logger = service, kept, tools.views(), o.log
	if err := s.openMCP(&o, tools); err != nil {
		return err
	}
	// The page shows the server's own counters too, so it is built around a server that does not exist yet.
	o.http.Metrics = metrics.New(metrics.Sources{
		Engine: e.Stats, Responses: service.Stats, Containers: kept.Stats, Tools: tools.stats, Plugins: tools.states(), MCP: s.mcpStats(), HTTP: func() httpd.Stats { return s.server.Stats() },
		Version: buildVersion(), Model: s.model.id,
	})
	s.server, err = httpd.New(o.http)
	return err
}

// openTools starts the tools that this server runs for models. They are closed when none of them hangs any more, or soon.
func (s *stack) openTools(ctx context.Context, o stackOptions, servers *mcpServers) (*toolbox, error) {
	tools := slices.Clone(servers.tools)
	var py *interpreter // nil where it is off
	if o.python.enabled && !servers.has("python") {
		for _, path := range o.python.packages { // a mistake in the command should end it, which starting beside the rest cannot
			if _, err := os.Stat(path); err != nil {
				return nil, fmt.Errorf("python packages: %w", err)
			}
		}
		py = startPython(ctx, o.python, o.log)
		s.closers = append(s.closers, py.close)
		tool, err := py.tool(o.python)
		if err != nil {
			return nil, err
		}
		tools = append(tools, tool)
	}
	var box *toolbox // for searches, which begin when it is there
	if o.browser.enabled && !servers.has("browser") {
		find := &searcher{o.browser.search, func(ctx context.Context, kind, name string) (toolhost.Tool, error) {
			return searchTool(ctx, box, servers, kind, name)
		}, o.log}
		tool, done, err := o.browser.open(ctx, s.model.tokenizer, find, o.log)
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, done)
		tools = append(tools, tool)
	}
	var registry *plugins.Registry
	if o.plugins.dir != "" {
		var err error
		scripts := newScripts(py, o.plugins.cacheDir)
		s.closers = append(s.closers, scripts.close)
		if registry, err = o.plugins.open(scripts, o.log); err != nil {
			return nil, err
		}
		s.closers = append(s.closers, registry.Close, o.plugins.sources.open(ctx, o.log))
	}
	box, err := newToolbox(tools, registry, o.log)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), toolsTimeout)
		defer cancel()
		if err := box.wait(ctx); err != nil {
			o.log.Warn("a tool still hangs", "err", err)
		}
		return nil
	})
	return box, nil
}

// toolsTimeout is how long the end of the server waits for tools that hang.
const toolsTimeout = 5 * time.Second

// close closes what is open, last first.
func (s *stack) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// A localServer is a server of our own on a loopback port, for as long as a command runs.
type localServer struct {
	url  string
	stop func() error
}

// serveLocal starts one whose responses are kept in memory only.
func serveLocal(ctx context.Context, o stackOptions) (*localServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on a loopback port: %w", err)
	}
	o.store, o.log = ":memory:", slog.New(slog.DiscardHandler)
	o.http.DrainTimeout = time.Nanosecond // nobody is left who would read a response
	s, err := openStack(ctx, o)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1) // one result, taken by stop
	go func() { served <- s.server.Serve(ctx, l) }()
	return &localServer{url: "http://" + l.Addr().String(), stop: func() error {
		cancel()
		return errors.Join(<-served, s.close())
	}}, nil
}
