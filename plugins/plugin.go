package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"chorale/plugins/host"
	"chorale/sandbox"
	"chorale/toolhost/egress"
)

// Options are what a plugin gets from its host. The zero value grants nothing.
type Options struct {
	CacheDir    string                                    // a private directory for what compiling gives; empty: no cache
	HostVersion string                                    // compared with min_host_version; what is no version runs everything
	Grant       *Grant                                    // of the operator; nil: none
	Ceilings    Limits                                    // of what manifests may ask for; zeros: DefaultCeilings
	Secrets     func(name string) (value string, ok bool) // by the host's name; nil: there are none
	// Store opens what a plugin with so many bytes of kv keeps its values in, again for every grant. The stores are the
	// caller's to close. nil: values are kept in memory, as long as the grant.
	Store func(plugin string, bytes int64) (host.Store, error)
	// Interpreters run plugins that are scripts, by the ending of their files.
	Interpreters map[string]Interpreter
	Logger       *slog.Logger                         // gets what plugins log, at debug level; nil: nobody
	Record       func(plugin string, r egress.Record) // gets every request, from any goroutine; may be nil
}

// A Plugin is one version of a plugin, compiled. Its methods are safe for concurrent use.
type Plugin struct {
	manifest *Manifest
	source   Source
	abi      ABI
	options  Options
	module   *sandbox.Module // nil of a script
	script   Script          // nil of a module
	listed   bool            // it said itself which tools it has
	tools    map[string]*tool
	compiled time.Duration
	counts   counters

	leaving sync.WaitGroup // grantees with calls that have not ended
	life    sync.Mutex     // held by SetGrant and Close
	mu      sync.RWMutex   // guards current; held for reading while a call takes it
	current *grantee       // nil after Close
}

// A tool is an entry of the manifest with its schemas compiled.
type tool struct {
	ManifestTool
	input, output *schema // output is nil without a schema
}

// A grantee is a plugin with what it was granted. Granting anew makes a new one; calls end on the one they began with.
type grantee struct {
	plugin *Plugin
	rights *rights
	limits Limits
	gate   *gate
	mounts []sandbox.Mount // that all calls share: config and directories
	client *egress.Client
	kv     host.Store // nil without the permission
	runner runner
	calls  sync.WaitGroup
	closes []func() error
}

// A runner makes one call on a module.
type runner interface {
	// run returns what the tool answered. An error of the sandbox says how the guest ended.
	run(ctx context.Context, w *work) (answer, error)
	close() error
}

// ErrClosed is returned for calls of a plugin that was closed.
var ErrClosed = errors.New("plugin is closed")

// Open reads and loads the plugin in the file.
func Open(ctx context.Context, file string, o Options) (*Plugin, error) {
	s, err := ReadSource(file)
	if err != nil {
		return nil, err
	}
	return Load(ctx, s, o)
}

// Load compiles a plugin, which takes seconds for large modules that the cache does not have. Extism plugins that list
// their tools themselves are asked for them, with no permissions. Close the plugin.
func Load(ctx context.Context, s Source, o Options) (*Plugin, error) {
	o.Ceilings = o.Ceilings.over(DefaultCeilings())
	p := &Plugin{source: s, options: o, tools: map[string]*tool{}}
	if err := p.load(ctx); err != nil {
		return nil, fmt.Errorf("plugin %s: %w", s.Name, errors.Join(err, p.Close()))
	}
	return p, nil
}

func (p *Plugin) load(ctx context.Context) (err error) {
	l, err := readLayout(p.source.Wasm)
	if err != nil {
		return err
	}
	if p.abi, err = l.abi(); err != nil {
		return err
	}
	lists := p.abi == ABIExtism && listsTools(l)
	switch {
	case p.source.Manifest != nil:
		if p.manifest, err = DecodeManifest(p.source.Manifest); err != nil {
			return err
		}
	case lists:
		p.manifest = &Manifest{Name: p.source.Name, Version: "0.0.0"}
		if err := p.manifest.check(); err != nil {
			return fmt.Errorf("without a manifest the name of the file is that of the plugin: %w", err)
		}
	default:
		return fmt.Errorf("there is no manifest: neither a file %s.json beside the plugin nor one in it (section %s, block \"/// chorale\")", p.source.Name, manifestSection)
	}
	if err := p.fitsHost(); err != nil {
		return err
	}
	if mode := p.manifest.Instance; p.abi != ABIReactor && mode != "" && mode != InstanceFresh {
		return fmt.Errorf("instance: %q is for reactors, this is a %s, which starts fresh for every call", mode, p.abi)
	}
	began := time.Now()
	if l.script != nil {
		p.script, err = l.script.compile(ctx, p.options.Interpreters)
	} else {
		p.module, err = p.compile(ctx)
	}
	if err != nil {
		return err
	}
	p.compiled = time.Since(began)
	if lists && len(p.manifest.Tools) == 0 {
		if err := p.askTools(ctx, l); err != nil {
			return fmt.Errorf("ask the plugin for its tools: %w", err)
		}
	}
	if err := p.bindTools(l); err != nil {
		return err
	}
	return p.SetGrant(ctx, p.options.Grant)
}

// bindTools compiles the schemas, and finds what the tools are called by.
func (p *Plugin) bindTools(l *layout) error {
	if len(p.manifest.Tools) == 0 {
		return errors.New("tools: there are none")
	}
	for i, t := range p.manifest.Tools {
		bound := &tool{ManifestTool: t}
		if bound.Export == "" {
			bound.Export = t.Name
		}
		switch {
		case p.abi != ABIExtism && t.Export != "":
			return fmt.Errorf("tools[%d].export: is for Extism plugins, this is a %s", i, p.abi)
		case p.abi == ABIExtism && !listsTools(l) && !l.exports[bound.Export]:
			return fmt.Errorf("tools[%d].export: the module exports no function %q", i, bound.Export)
		}
		var err error
		if bound.input, err = compileSchema(t.Input); err != nil {
			return fmt.Errorf("tools[%d].input_schema: %w", i, err)
		}
		if t.Output != nil {
			if bound.output, err = compileSchema(t.Output); err != nil {
				return fmt.Errorf("tools[%d].output_schema: %w", i, err)
			}
		}
		p.tools[t.Name] = bound
	}
	return nil
}

// fitsHost compares versions by their numbers; builds without a version run everything.
func (p *Plugin) fitsHost() error {
	least, ok := numbers(p.manifest.MinHost)
	have, known := numbers(strings.TrimPrefix(p.options.HostVersion, "v"))
	if !ok || !known {
		return nil
	}
	for i := range least {
		if have[i] != least[i] {
			if have[i] < least[i] {
				return fmt.Errorf("min_host_version: needs a host of version %s, this is %s", p.manifest.MinHost, p.options.HostVersion)
			}
			break
		}
	}
	return nil
}

func numbers(v string) (n [3]int, ok bool) {
	m := version.FindStringSubmatch(v)
	if m == nil {
		return n, false
	}
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // nine digits at most
	}
	return n, true
}

// Manifest is what the plugin says of itself, with the tools that it listed. It must not be changed.
func (p *Plugin) Manifest() *Manifest { return p.manifest }

// Hash is the hash of the content, see Source.Hash.
func (p *Plugin) Hash() string { return p.source.hash }

// ABI is how the module is called.
func (p *Plugin) ABI() ABI { return p.abi }

// CompileTime is how long instrumenting and compiling took, or loading from the cache.
func (p *Plugin) CompileTime() time.Duration { return p.compiled }

// Effective is what the plugin has, with the author's reasons and the lines that are missing in the grant.
func (p *Plugin) Effective() Effective {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.current == nil {
		return Effective{Plugin: p.manifest.Name, Version: p.manifest.Version, Hash: p.source.hash, Note: ErrClosed.Error()}
	}
	return p.current.rights.effective
}

// SetGrant replaces what the operator gives to the plugin; nil is nothing. Calls under way keep what they have. On an error
// everything stays as it was. For a reactor with "reset", the module is initialised anew.
func (p *Plugin) SetGrant(ctx context.Context, g *Grant) error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.module == nil && p.script == nil {
		return ErrClosed
	}
	next, err := p.grant(ctx, g)
	if err != nil {
		return err
	}
	p.mu.Lock()
	last := p.current
	p.current = next
	p.mu.Unlock()
	if last != nil {
		p.leaving.Go(func() { last.leave(p.options.Logger) })
	}
	return nil
}

// leave closes it when its last call has ended, which they do by their time limits.
func (s *grantee) leave(log *slog.Logger) {
	s.calls.Wait()
	if err := s.close(); err != nil && log != nil {
		log.Warn("plugin cannot be closed", "tool", s.plugin.manifest.Name, "err", err)
	}
}

func (p *Plugin) grant(ctx context.Context, g *Grant) (*grantee, error) {
	r, err := intersect(p.manifest, p.source.hash, g, p.options.Ceilings)
	if err != nil {
		return nil, fmt.Errorf("grant.%w", err)
	}
	if err := r.bindSecrets(p.manifest.Permissions, p.options.Secrets); err != nil {
		return nil, fmt.Errorf("grant.%w", err)
	}
	limits := r.effective.Limits
	s := &grantee{plugin: p, rights: r, limits: limits, gate: newGate(limits.Concurrency, limits.Queue)}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// open opens what all calls share.
func (s *grantee) open(ctx context.Context) error {
	if len(s.rights.config) > 0 {
		fs := sandbox.NewMem(0, 0)
		for k, v := range s.rights.config {
			if err := fs.WriteFile(k, []byte(v)); err != nil {
				return fmt.Errorf("config.%s: %w", k, err)
			}
		}
		s.mounts = append(s.mounts, sandbox.Mount{Path: "/config", FS: fs, ReadOnly: true})
	}
	for _, f := range s.plugin.manifest.Permissions.FS {
		d, ok := s.rights.dirs[f.Path]
		if !ok {
			continue
		}
		dir, err := sandbox.OpenDir(d.dir)
		if err != nil {
			return fmt.Errorf("grant.fs.%s: %w", f.Path, err)
		}
		s.closes = append(s.closes, dir.Close)
		s.mounts = append(s.mounts, sandbox.Mount{Path: f.Path, FS: dir, ReadOnly: d.readOnly})
	}
	if err := s.connect(); err != nil {
		return err
	}
	switch s.plugin.abi {
	case ABICommand:
		r, err := newCommand(ctx, s)
		if err != nil {
			return err
		}
		s.runner = r
	case ABIScript:
		s.runner = script{s.plugin.script}
	case ABIExtism:
		r, err := newExtism(ctx, s)
		if err != nil {
			return err
		}
		s.runner = r
	case ABIReactor:
		r, err := newReactor(ctx, s)
		if err != nil {
			return err
		}
		s.runner = r
	}
	return nil
}

// connect makes the client for requests, and opens the store. Without any permission the client denies, and says what is
// missing.
func (s *grantee) connect() error {
	o := egress.Options{
		Policy: s.rights.policy, Secrets: s.rights.bound,
		Limits: egress.Limits{Requests: s.limits.HTTPRequests, Bytes: s.limits.HTTPBytes, ResponseBody: s.limits.HTTPBytes},
	}
	name := s.plugin.manifest.Name
	if record := s.plugin.options.Record; record != nil {
		o.Record = func(r egress.Record) { record(name, r) }
	}
	var err error
	if s.client, err = egress.New(o); err != nil {
		return fmt.Errorf("grant.secrets: %w", err)
	}
	s.closes = append(s.closes, func() error { s.client.Close(); return nil })
	if s.rights.kvBytes == 0 {
		return nil
	}
	open := s.plugin.options.Store
	if open == nil {
		s.kv = host.NewMemStore(host.StoreLimits{Bytes: s.rights.kvBytes, Value: s.rights.kvBytes})
		return nil
	}
	if s.kv, err = open(name, s.rights.kvBytes); err != nil {
		return fmt.Errorf("open the store of kv: %w", err)
	}
	return nil
}

func (s *grantee) close() error {
	var err error
	if s.runner != nil {
		err = s.runner.close()
	}
	for _, c := range s.closes {
		err = errors.Join(err, c())
	}
	return err
}

// enter takes what the plugin was granted for one call, which ends with calls.Done.
func (p *Plugin) enter() (*grantee, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.current == nil {
		return nil, ErrClosed
	}
	p.current.calls.Add(1)
	return p.current, nil
}

// Close waits for the calls under way, which end by their time limits, and frees the code. It may be called again.
func (p *Plugin) Close() error {
	p.life.Lock()
	defer p.life.Unlock()
	p.mu.Lock()
	last := p.current
	p.current = nil
	p.mu.Unlock()
	var err error
	if last != nil {
		last.calls.Wait()
		err = last.close()
	}
	p.leaving.Wait()
	if p.module != nil {
		err = errors.Join(err, p.module.Close())
		p.module = nil
	}
	if p.script != nil {
		err = errors.Join(err, p.script.Close())
		p.script = nil
	}
	return err
}

// Stats count what became of a plugin's calls, since it was loaded.
type Stats struct {
	Running, Waiting int    // now
	Calls            uint64 // that have ended, without those below
	Refused          uint64 // no place in the queue, or the caller went while it waited
	BadArguments     uint64 // before or in the plugin
	Failed           uint64 // the plugin said so
	Stopped          uint64 // time, memory, output, crashes
	Duration         time.Duration
}

type counters struct {
	running, waiting                                        atomic.Int64
	calls, refused, badArguments, failed, stopped, duration atomic.Uint64
}

// Stats returns a copy of the counters.
func (p *Plugin) Stats() Stats {
	c := &p.counts
	return Stats{
		Running: int(c.running.Load()), Waiting: int(c.waiting.Load()), Calls: c.calls.Load(), Refused: c.refused.Load(),
		BadArguments: c.badArguments.Load(), Failed: c.failed.Load(), Stopped: c.stopped.Load(),
		Duration: time.Duration(c.duration.Load()),
	}
}
