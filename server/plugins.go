package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"

	"github.com/urfave/cli/v3"

	"chorale/plugins"
	"chorale/server/api"
	"chorale/toolhost"
	"chorale/toolhost/wasm"
)

// secretPrefix begins the names of environment variables that hold secrets of plugins.
const secretPrefix = "CHORALE_SECRET_"

// pluginsFlags say which plugins models may call, and what those get.
func pluginsFlags(cfg *config) []cli.Flag {
	return append(pluginSourcesFlags(cfg),
		&cli.StringFlag{Name: "plugins", Usage: "let models call the plugins in `DIRECTORY`, as they come and go", DefaultText: defaultPluginDir + ", if it is there", TakesFile: true, Sources: cfg.sources("plugins")},
		&cli.StringFlag{Name: "plugin-grants", Usage: "what plugins get is in `FILE`, JSON or YAML; in --config it may stand below this key itself", DefaultText: "plugin-grants.json in the data directory", TakesFile: true, Sources: cfg.section("plugin-grants")},
	)
}

// pluginsOptions are what plugins run with.
type pluginsOptions struct {
	dir    string // "" = none
	grants string // file, which need not exist
	config string // file of the configuration, "" = none: if it is that of the grants too, they are a part of it
	data   string // folder of what they keep
	cache  string // "" = none
	// sources are plugins that are put into the folder.
	sources pluginSources
	// cacheDir is what cache is a part of; "" = none.
	cacheDir string
}

// newPluginsOptions reads the flags. A folder that is named must be there: it is made when it is misspelt, otherwise.
func newPluginsOptions(c *cli.Command) (o pluginsOptions, err error) {
	o = pluginsOptions{dir: c.String("plugins"), grants: c.String("plugin-grants"), config: c.String("config"), data: filepath.Join(c.String("data-dir"), "plugins")}
	if o.cacheDir = c.String("cache-dir"); o.cacheDir != "" {
		o.cache = filepath.Join(o.cacheDir, "plugins")
	}
	if o.grants == "" {
		o.grants = filepath.Join(c.String("data-dir"), "plugin-grants.json")
	}
	dir := o.dir
	if dir == "" {
		dir = defaultPluginDir
	}
	if o.sources, err = newPluginSources(c, dir); err != nil {
		return o, err
	}
	fi, err := os.Stat(dir)
	switch {
	case err == nil && fi.IsDir():
		o.dir = dir
	case o.dir == "" && len(o.sources.refs) > 0: // it will be made
		o.dir = dir
		return o, nil
	case o.dir == "": // the default may be missing
		return o, nil
	case err == nil:
		return o, fmt.Errorf("plugins: %s is no directory", dir)
	default:
		return o, fmt.Errorf("plugins: %w", err)
	}
	return o, nil
}

// open begins to look after the plugins.
func (o pluginsOptions) open(s *scripts, log *slog.Logger) (*plugins.Registry, error) {
	return plugins.NewRegistry(plugins.RegistryOptions{Dir: o.dir, Grants: o.grants, Decode: grantsDecoder(o.grants, o.config), Data: o.data,
		Plugin: plugins.Options{CacheDir: o.cache, HostVersion: buildVersion(), Secrets: secret, Interpreters: s.interpreters(), Logger: log}})
}

// secret is one of the operator's secrets by its name in grants.
func secret(name string) (value string, ok bool) {
	return os.LookupEnv(secretPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
}

// A toolbox is the tools of a server: those that stay, and the plugins as they are.
type toolbox struct {
	fixed    []toolhost.Tool
	registry *plugins.Registry // nil: no plugins
	log      *slog.Logger

	mu         sync.Mutex // guards what follows
	generation uint64     // of the registry, that set is of
	plugins    map[string]toolhost.Tool
	set        *toolhost.Set
}

func newToolbox(fixed []toolhost.Tool, registry *plugins.Registry, log *slog.Logger) (*toolbox, error) {
	set, err := toolhost.NewSet(fixed...)
	return &toolbox{fixed: fixed, registry: registry, log: log, plugins: map[string]toolhost.Tool{}, set: set}, err
}

// tools returns the tools that there are now. A plugin that cannot be among them, because its name is taken for example, is
// left out.
func (b *toolbox) tools() *toolhost.Set {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.registry == nil {
		return b.set
	}
	generation, _ := b.registry.Changes()
	if generation == b.generation {
		return b.set
	}
	all, current := b.fixed, map[string]toolhost.Tool{}
	for _, t := range wasm.Tools(b.registry) {
		name := t.Spec().Name
		if was := b.plugins[name]; was != nil && reflect.DeepEqual(was.Spec(), t.Spec()) {
			t = was // with its counters
		}
		with := append(all[:len(all):len(all)], t)
		if _, err := toolhost.NewSet(with...); err != nil {
			b.log.Warn("plugin cannot be offered to models", "tool", name, "err", err)
			continue
		}
		all, current[name] = with, t
	}
	set, err := b.set.Next(all...)
	if err != nil {
		b.log.Warn("tools stay as they were", "err", err)
		return b.set
	}
	b.generation, b.plugins, b.set = generation, current, set
	return set
}

// views are the plugins as operators see them, nil without any folder of them.
func (b *toolbox) views() func() []api.Plugin {
	if b.registry == nil {
		return nil
	}
	return func() (views []api.Plugin) {
		for _, s := range b.registry.Plugins() {
			views = append(views, pluginView(s))
		}
		return views
	}
}

// states count the versions of plugins by their states, nil without any folder of them.
func (b *toolbox) states() func() map[string]int {
	if b.registry == nil {
		return nil
	}
	return func() map[string]int {
		states := map[string]int{string(plugins.StateReady): 0, string(plugins.StateFailed): 0} // alerts want to see zeros
		for _, s := range b.registry.Plugins() {
			states[string(s.State)]++
		}
		return states
	}
}

func pluginView(s plugins.Status) api.Plugin {
	v := api.Plugin{ID: s.Name, Object: "plugin", Version: s.Version, File: s.File, State: string(s.State), Error: s.Error, ABI: string(s.ABI),
		Hash: s.Hash, CompileMS: s.CompileTime.Milliseconds(), Approved: s.Effective.Approved, Note: s.Effective.Note,
		Permissions: []api.PluginPermission{}, Tools: []api.PluginFunction{},
		Calls: api.PluginCalls{Running: s.Stats.Running, Waiting: s.Stats.Waiting, Ended: s.Stats.Calls, Refused: s.Stats.Refused,
			BadArguments: s.Stats.BadArguments, Failed: s.Stats.Failed, Stopped: s.Stats.Stopped}}
	if v.ID == "" {
		v.ID = s.File
	}
	if !s.Loaded.IsZero() {
		loaded := s.Loaded.Unix()
		v.LoadedAt = &loaded
	}
	for _, p := range s.Effective.Permissions {
		v.Permissions = append(v.Permissions, api.PluginPermission(p))
	}
	if s.Manifest != nil {
		v.Description = s.Manifest.Description
		for _, t := range s.Manifest.Tools {
			v.Tools = append(v.Tools, api.PluginFunction{Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: t.Input, OutputSchema: t.Output})
		}
	}
	v.Limits, _ = json.Marshal(s.Effective.Limits) // numbers always can be written
	return v
}

// plugin returns the tool of a plugin, nil if there is none.
func (b *toolbox) plugin(name string) toolhost.Tool {
	b.tools()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.plugins[name]
}

// stats are the counters of the tools.
func (b *toolbox) stats() []toolhost.Stats { return b.tools().Stats() }

// wait waits for tools that hang.
func (b *toolbox) wait(ctx context.Context) error { return b.tools().Wait(ctx) }
