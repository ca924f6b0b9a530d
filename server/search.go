package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"chorale/toolhost"
	"chorale/toolhost/browser"
	"chorale/toolhost/browser/page"
	"chorale/toolhost/browser/search"
	"chorale/toolhost/mcp"
)

// engineKeyNames are where the key of an engine may be.
type engineKeyNames struct {
	kind      search.Kind
	variables []string
}

// engineKeys are the environment variables of the engines' keys, as their makers and others name them.
var engineKeys = []engineKeyNames{
	{search.Brave, []string{"BRAVE_API_KEY", "BRAVE_SEARCH_API_KEY"}},
	{search.Exa, []string{"EXA_API_KEY"}},
	{search.Tavily, []string{"TAVILY_API_KEY"}},
	{search.You, []string{"YDC_API_KEY"}},
}

func searchFlag(cfg *config) cli.Flag {
	return &cli.StringSliceFlag{Name: "search", Usage: "search with `BACKEND`: searxng=URL, brave, exa, tavily, you (keys from BRAVE_API_KEY, EXA_API_KEY, TAVILY_API_KEY, YDC_API_KEY), corpus=FOLDER, plugin=NAME.TOOL or mcp=LABEL.TOOL; may be repeated, the next is asked when one fails",
		DefaultText: "SEARXNG_URL and the engines that have a key", Sources: cfg.sources("search")}
}

// A searcher opens the backends of searches.
type searcher struct {
	specs []string
	// tool finds a tool when it is asked, since plugins come and go.
	tool func(ctx context.Context, kind, name string) (toolhost.Tool, error)
	log  *slog.Logger
}

// defaults are the backends that the environment has what they need for.
func (s *searcher) defaults() (specs []string) {
	if url := os.Getenv("SEARXNG_URL"); url != "" {
		specs = append(specs, "searxng="+url)
	}
	for _, e := range engineKeys {
		if engineKey(e.variables) != "" {
			specs = append(specs, string(e.kind))
		}
	}
	return specs
}

func engineKey(variables []string) string {
	for _, v := range variables {
		if key := os.Getenv(v); key != "" {
			return key
		}
	}
	return ""
}

// open adds the backends to the options of the browser and returns what closes them. Without any, it changes nothing.
func (s *searcher) open(o *browser.Options) (done func() error, err error) {
	specs := s.specs
	if len(specs) == 0 {
		specs = s.defaults()
	}
	var closers []func() error
	done = func() (err error) {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}
	var links []search.Link
	var names []string
	for _, spec := range specs {
		b, closing, err := s.backend(spec, o)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("search %s: %w", spec, err), done())
		}
		if closing != nil {
			closers = append(closers, closing)
		}
		links, names = append(links, search.Link{Backend: b}), append(names, b.Name())
	}
	if len(links) == 0 {
		s.log.Info("search is not set up; --search sets it up")
		return done, nil
	}
	o.Search = search.NewChain(search.ChainOptions{Logger: s.log}, links...)
	s.log.Info("search is ready", "backends", strings.Join(names, ", "))
	return done, nil
}

func (s *searcher) backend(spec string, o *browser.Options) (b search.Backend, done func() error, err error) {
	kind, value, _ := strings.Cut(spec, "=")
	i := slices.IndexFunc(engineKeys, func(e engineKeyNames) bool { return string(e.kind) == kind })
	switch {
	case kind == "corpus":
		c, err := search.OpenCorpus(search.CorpusOptions{Dir: value})
		if err != nil {
			return nil, nil, err
		}
		if o.Documents[search.Scheme] != nil {
			return nil, nil, errors.Join(errors.New("there is another folder; put both into one"), c.Close())
		}
		o.Documents = map[string]func(context.Context, string) (*page.Document, error){search.Scheme: c.Document}
		return c, c.Close, nil
	case kind == "plugin" || kind == "mcp":
		name, function, _ := strings.Cut(value, ".")
		if name == "" {
			return nil, nil, fmt.Errorf("it must be %s=NAME.TOOL", kind)
		}
		return &lateBackend{kind, name, function, s.tool}, nil, nil
	case kind == string(search.SearXNG):
		return openEngine(search.Config{Kind: search.SearXNG, URL: value})
	case i >= 0:
		key := engineKey(engineKeys[i].variables)
		if key == "" {
			return nil, nil, fmt.Errorf("there is no key in %s", strings.Join(engineKeys[i].variables, " or "))
		}
		return openEngine(search.Config{Kind: search.Kind(kind), URL: value, Key: key})
	default:
		return nil, nil, errors.New("it must be searxng=URL, brave, exa, tavily, you, corpus=FOLDER, plugin=NAME.TOOL or mcp=LABEL.TOOL")
	}
}

func openEngine(c search.Config) (search.Backend, func() error, error) {
	e, err := search.NewEngine(c)
	if err != nil {
		return nil, nil, err
	}
	return e, func() error { e.Close(); return nil }, nil
}

// A lateBackend searches with a tool that is looked for at each search.
type lateBackend struct {
	kind, name, function string
	tool                 func(ctx context.Context, kind, name string) (toolhost.Tool, error)
}

func (b *lateBackend) Name() string { return b.kind + " " + b.name }

func (b *lateBackend) Search(ctx context.Context, q search.Query) ([]search.Result, error) {
	tool, err := b.tool(ctx, b.kind, b.name)
	if err != nil {
		return nil, &search.Error{Backend: b.Name(), Reason: err.Error(), Err: err}
	}
	backend, err := search.NewToolBackend(tool, b.function)
	if err != nil {
		return nil, &search.Error{Backend: b.Name(), Reason: err.Error(), Err: err}
	}
	return backend.Search(ctx, q)
}

// searchTool finds a plugin or an MCP server of the operator.
func searchTool(ctx context.Context, box *toolbox, servers *mcpServers, kind, name string) (toolhost.Tool, error) {
	if kind == "plugin" {
		if t := box.plugin(name); t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("there is no plugin %q", name)
	}
	for _, s := range servers.options.Servers {
		if s.Label == name {
			l, err := s.Client.List(ctx)
			if err != nil {
				return nil, err
			}
			return mcp.NewTool(s.Client, l, nil), nil
		}
	}
	return nil, fmt.Errorf("there is no MCP server %q in the configuration", name)
}
