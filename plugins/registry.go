package plugins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// RegistryOptions are the settings of a Registry.
type RegistryOptions struct {
	Dir    string                       // the folder; subfolders are not looked into
	Grants string                       // a file of Grants, which need not exist; "" = nothing is granted
	Decode func([]byte) (Grants, error) // reads that file; nil = DecodeGrants
	Data   string                       // a private folder for what plugins keep below /host/kv; "" = it is gone with the registry
	Every  time.Duration                // how often the folder and the grants are looked at; 0 = 250 ms
	Plugin Options                      // for each plugin; Grant and Store are the registry's business
}

const (
	defaultEvery = 250 * time.Millisecond
	// settle is how long a file must not have been written to before it is read: it may be under way.
	settle = 100 * time.Millisecond
	// maxLoads is how many plugins are compiled at the same time: each takes all of a processor.
	maxLoads = 2
)

// A Registry is the plugins of a folder. It looks at the folder and at the grants every now and then, loads what is new
// beside the calls, and replaces a plugin when its content has changed: calls under way end on the old version, and a
// version that cannot be loaded leaves the last good one in its place. A file that is gone takes its plugin with it.
// Files that have to change together, a module and its manifest, are best renamed into the folder within 100 ms.
type Registry struct {
	o      RegistryOptions
	stop   context.CancelFunc
	tasks  sync.WaitGroup
	loads  chan struct{} // capacity: maxLoads
	stores *stores

	grantsSeen  stamp      // of the watching goroutine
	granting    sync.Mutex // held while grants are read or applied, so that a plugin is installed with the newest
	mu          sync.Mutex // guards everything below, and the entries
	entries     map[string]*entry
	grants      Grants
	grantsError error
	generation  uint64
	changed     chan struct{} // closed at the next change
}

// An entry is one file of the folder.
type entry struct {
	file    string // its name
	gone    bool   // the file is
	seen    stamp
	loading *Source // being read or compiled
	failure error   // why the newest content does not run
	failed  string  // its hash, if it could be read
	current *Plugin // what calls go to
	ungrant error   // why the grant of current cannot be used
	loaded  time.Time
	old     []*Plugin // with calls that have not ended
	past    Stats     // of old ones that have
}

// A stamp says whether files have changed: modification times and sizes of a module and the manifest beside it.
type stamp struct {
	modified [2]time.Time
	size     [2]int64
}

// NewRegistry begins to look after a folder, which is made if it is not there. It does not wait for plugins to be compiled.
// Close the registry.
func NewRegistry(o RegistryOptions) (*Registry, error) {
	if o.Every == 0 {
		o.Every = defaultEvery
	}
	if o.Decode == nil {
		o.Decode = DecodeGrants
	}
	if o.Plugin.Logger == nil {
		o.Plugin.Logger = slog.New(slog.DiscardHandler)
	}
	o.Plugin.Grant = nil
	stores := newStores(o.Data)
	o.Plugin.Store = stores.open
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of plugins: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Registry{
		o: o, stop: stop, loads: make(chan struct{}, maxLoads), entries: map[string]*entry{}, grants: Grants{}, changed: make(chan struct{}),
		stores: stores,
	}
	r.tasks.Go(func() { r.watch(ctx) })
	return r, nil
}

// Close ends the registry and waits for the calls under way, which end by their time limits.
func (r *Registry) Close() error {
	r.stop()
	r.tasks.Wait()
	r.mu.Lock()
	var all []*Plugin
	for _, e := range r.entries {
		if e.current != nil {
			all = append(all, e.current)
			e.current = nil
		}
	}
	r.mu.Unlock()
	var err error
	for _, p := range all {
		err = errors.Join(err, p.Close())
	}
	return errors.Join(err, r.stores.close())
}

func (r *Registry) watch(ctx context.Context) {
	tick := time.NewTicker(r.o.Every)
	defer tick.Stop()
	failed := ""
	for {
		err := r.look(ctx, time.Now())
		if err != nil && err.Error() != failed {
			r.o.Plugin.Logger.Warn("folder of plugins cannot be read", "path", r.o.Dir, "err", err)
		}
		failed = fmt.Sprint(err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look compares the folder and the grants with what was seen last.
func (r *Registry) look(ctx context.Context, now time.Time) error {
	list, err := os.ReadDir(r.o.Dir)
	if err != nil {
		return err // what runs goes on running
	}
	r.lookAtGrants(ctx, now)
	there := map[string]bool{}
	for _, d := range list {
		name := d.Name()
		if _, ok := Stem(name); !ok || strings.HasPrefix(name, ".") {
			continue
		}
		s, ok := r.stamp(name)
		if !ok {
			continue
		}
		there[name] = true
		if s.settled(now) {
			r.see(ctx, name, s)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, e := range r.entries {
		if !there[name] && !e.gone {
			r.remove(e)
		}
	}
	return nil
}

func (r *Registry) stamp(name string) (s stamp, ok bool) {
	file := filepath.Join(r.o.Dir, name)
	fi, err := os.Stat(file)
	if err != nil {
		return s, false
	}
	s.modified[0], s.size[0] = fi.ModTime(), fi.Size()
	stem, _ := Stem(file)
	if fi, err := os.Stat(stem + ".json"); err == nil {
		s.modified[1], s.size[1] = fi.ModTime(), fi.Size()
	}
	return s, true
}

func (s stamp) settled(now time.Time) bool {
	return !slices.ContainsFunc(s.modified[:], func(t time.Time) bool { age := now.Sub(t); return age >= 0 && age < settle })
}

// see starts loading a file that has changed. One that is being loaded is looked at again when that is done.
func (r *Registry) see(ctx context.Context, name string, s stamp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[name]
	if e == nil {
		e = &entry{file: name}
		r.entries[name] = e
	}
	if e.loading != nil || e.seen == s && !e.gone {
		return
	}
	e.seen, e.gone, e.loading = s, false, &Source{}
	r.change()
	r.tasks.Go(func() { r.load(ctx, e) })
}

// load makes what is in the file the current version, if it is another one and can be loaded.
func (r *Registry) load(ctx context.Context, e *entry) {
	// Compiling a script takes no time, but its interpreter may still be starting, which nobody else should wait for.
	if strings.HasSuffix(e.file, ".wasm") {
		select {
		case r.loads <- struct{}{}:
			defer func() { <-r.loads }()
		case <-ctx.Done():
			return
		}
	}
	s, err := ReadSource(filepath.Join(r.o.Dir, e.file))
	if r.known(e, s, err) {
		return
	}
	var p *Plugin
	if err == nil {
		p, err = Load(ctx, s, r.o.Plugin)
	}
	if ctx.Err() != nil && p == nil {
		return
	}
	r.install(ctx, e, s, p, err)
}

// known reports whether there is nothing to do for a content: it runs already, or its file is gone.
func (r *Registry) known(e *entry, s Source, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.change()
	runs := err == nil && e.current != nil && e.current.Hash() == s.hash
	if !runs && !errors.Is(err, fs.ErrNotExist) {
		e.loading = &s
		return false
	}
	e.loading = nil
	if runs {
		e.failure, e.failed = nil, ""
	}
	r.forget(e)
	return true
}

// install puts a new version in its place, or remembers why it cannot.
func (r *Registry) install(ctx context.Context, e *entry, s Source, p *Plugin, err error) {
	log := r.o.Plugin.Logger
	r.granting.Lock()
	defer r.granting.Unlock()
	var ungrant error
	if err == nil {
		ungrant = r.applyGrant(ctx, p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.change()
	e.loading = nil
	if err == nil {
		// As on file systems: two names that differ by case only would be one folder of values, and one to people.
		other := r.named(func(name string) bool { return strings.EqualFold(name, p.manifest.Name) })
		if other != nil && other != e {
			err = errors.Join(fmt.Errorf("name: %q is that of %s already", p.manifest.Name, other.file), p.Close())
		}
	}
	e.failure, e.failed = err, ""
	if err != nil {
		e.failed = s.hash
		log.Warn("plugin cannot be loaded", "file", e.file, "err", err)
		return
	}
	r.retire(e)
	e.current, e.ungrant, e.loaded = p, ungrant, time.Now()
	log.Info("plugin ready", "tool", p.manifest.Name, "version", p.manifest.Version, "file", e.file, "duration", p.compiled)
	for _, permission := range p.Effective().Permissions {
		log.Info("plugin permission", "tool", p.manifest.Name, "reason", permission.String())
	}
	if e.gone { // meanwhile
		r.remove(e)
	}
}

// applyGrant gives the operator's grant to a plugin. One that cannot be used grants nothing.
func (r *Registry) applyGrant(ctx context.Context, p *Plugin) error {
	r.mu.Lock()
	grant, ok := r.grants[p.manifest.Name]
	r.mu.Unlock()
	if !ok {
		return p.SetGrant(ctx, nil)
	}
	err := p.SetGrant(ctx, &grant)
	if err != nil {
		r.o.Plugin.Logger.Warn("plugin grant cannot be used", "tool", p.manifest.Name, "err", err)
		err = errors.Join(err, p.SetGrant(ctx, nil))
	}
	return err
}

// named is an entry whose current plugin has such a name.
func (r *Registry) named(is func(name string) bool) *entry {
	for _, e := range r.entries {
		if e.current != nil && is(e.current.manifest.Name) {
			return e
		}
	}
	return nil
}

// retire closes the current version when its calls have ended.
func (r *Registry) retire(e *entry) {
	p := e.current
	if p == nil {
		return
	}
	e.current = nil
	e.old = append(e.old, p)
	r.tasks.Go(func() {
		if err := p.Close(); err != nil {
			r.o.Plugin.Logger.Warn("plugin cannot be closed", "tool", p.manifest.Name, "err", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		e.old = slices.DeleteFunc(e.old, func(o *Plugin) bool { return o == p })
		e.past.add(p.Stats())
		r.forget(e)
		r.change()
	})
}

func (r *Registry) remove(e *entry) {
	e.gone = true
	if e.current != nil {
		r.o.Plugin.Logger.Info("plugin removed", "tool", e.current.manifest.Name, "file", e.file)
	}
	r.retire(e)
	r.forget(e)
	for _, other := range r.entries { // its name is free again
		if other.failure != nil {
			other.seen = stamp{}
		}
	}
	r.change()
}

// forget drops the entry of a file that is gone when nothing of it runs any more.
func (r *Registry) forget(e *entry) {
	if e.gone && e.loading == nil && e.current == nil && len(e.old) == 0 {
		delete(r.entries, e.file)
	}
}

// lookAtGrants reads the grants anew if they have changed. Ones that cannot be read leave the last in force.
func (r *Registry) lookAtGrants(ctx context.Context, now time.Time) {
	if r.o.Grants == "" {
		return
	}
	var s stamp
	if fi, err := os.Stat(r.o.Grants); err == nil {
		s.modified[0], s.size[0] = fi.ModTime(), fi.Size()
	}
	if s == r.grantsSeen || !s.settled(now) {
		return
	}
	next := Grants{}
	p, err := readBounded(r.o.Grants, maxManifestBytes)
	switch {
	case err == nil:
		next, err = r.o.Decode(p)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	r.granting.Lock()
	defer r.granting.Unlock()
	r.grantsSeen = s
	var all []*entry
	r.mu.Lock()
	if r.grantsError = err; err == nil {
		r.grants = next
		all = slices.DeleteFunc(slices.Collect(maps.Values(r.entries)), func(e *entry) bool { return e.current == nil })
	}
	r.change()
	r.mu.Unlock()
	if err != nil {
		r.o.Plugin.Logger.Warn("plugin grants cannot be read", "file", r.o.Grants, "err", err)
	}
	for _, e := range all {
		r.mu.Lock()
		p := e.current
		r.mu.Unlock()
		if p == nil {
			continue // gone meanwhile
		}
		ungrant := r.applyGrant(ctx, p)
		r.mu.Lock()
		e.ungrant = ungrant
		r.change()
		r.mu.Unlock()
	}
}

func (r *Registry) change() {
	r.generation++
	close(r.changed)
	r.changed = make(chan struct{})
}

// Changes returns a number that grows with every change of what Plugins returns, counters aside, and a channel that is
// closed at the next.
func (r *Registry) Changes() (generation uint64, next <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generation, r.changed
}

// ErrUnknownPlugin is wrapped by the error for a plugin that is not there, or not yet.
var ErrUnknownPlugin = errors.New("there is no such plugin")

// Plugin is the version of a plugin that calls go to now. It may be closed at any time; Call knows what to do then.
func (r *Registry) Plugin(name string) (*Plugin, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.named(func(n string) bool { return n == name }); e != nil {
		return e.current, nil
	}
	return nil, fmt.Errorf("plugin %q: %w", name, ErrUnknownPlugin)
}

// Call calls the plugin as it is now, see Plugin.Call.
func (r *Registry) Call(ctx context.Context, name string, c Call) (Result, error) {
	for {
		p, err := r.Plugin(name)
		if err != nil {
			return Result{}, err
		}
		result, err := p.Call(ctx, c)
		if !errors.Is(err, ErrClosed) {
			return result, err
		}
		if next, err := r.Plugin(name); err != nil || next == p {
			return Result{}, fmt.Errorf("plugin %q: %w", name, ErrUnknownPlugin)
		}
	}
}

// State is how far a version of a plugin is.
type State string

// The states of versions.
const (
	StateCompiling State = "compiling"
	StateReady     State = "ready"  // calls go to it
	StateFailed    State = "failed" // it cannot be loaded; the last good version stays
	StateOld       State = "old"    // replaced or removed, with calls that have not ended
)

// A Status is one version of a plugin in the folder.
type Status struct {
	File        string // its name
	State       State
	Name        string // of the manifest; "" when it is not known
	Version     string
	Hash        string
	ABI         ABI
	Error       string // why it failed; of a ready one, why its grant cannot be used
	Loaded      time.Time
	CompileTime time.Duration
	Effective   Effective
	Manifest    *Manifest // must not be changed
	Stats       Stats
}

// Plugins lists all versions that there are, in the order of files; the one that calls go to comes first.
func (r *Registry) Plugins() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Status
	for _, e := range r.entries {
		if e.current != nil {
			s := versionStatus(e, e.current, StateReady)
			s.Loaded = e.loaded
			if e.ungrant != nil {
				s.Error = e.ungrant.Error()
			}
			list = append(list, s)
		}
		if e.loading != nil {
			list = append(list, Status{File: e.file, State: StateCompiling, Hash: e.loading.hash})
		} else if e.failure != nil {
			list = append(list, Status{File: e.file, State: StateFailed, Hash: e.failed, Error: e.failure.Error()})
		}
		for _, p := range e.old {
			list = append(list, versionStatus(e, p, StateOld))
		}
	}
	slices.SortStableFunc(list, func(a, b Status) int { return strings.Compare(a.File, b.File) })
	return list
}

func versionStatus(e *entry, p *Plugin, s State) Status {
	return Status{
		File: e.file, State: s, Name: p.manifest.Name, Version: p.manifest.Version, Hash: p.Hash(), ABI: p.abi, CompileTime: p.compiled,
		Effective: p.Effective(), Manifest: p.manifest, Stats: p.Stats(),
	}
}

// GrantsError is why the file of grants could not be read last, nil if it could; then the ones before are in force.
func (r *Registry) GrantsError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.grantsError
}

// Stats sums the counters of each plugin's versions, by name.
func (r *Registry) Stats() map[string]Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]Stats{}
	for _, e := range r.entries {
		versions := e.old
		if e.current != nil {
			versions = append([]*Plugin{e.current}, e.old...)
		}
		if len(versions) == 0 {
			continue
		}
		sum := e.past
		for _, p := range versions {
			sum.add(p.Stats())
		}
		all[versions[0].manifest.Name] = sum
	}
	return all
}

func (s *Stats) add(o Stats) {
	s.Running += o.Running
	s.Waiting += o.Waiting
	s.Calls += o.Calls
	s.Refused += o.Refused
	s.BadArguments += o.BadArguments
	s.Failed += o.Failed
	s.Stopped += o.Stopped
	s.Duration += o.Duration
}
