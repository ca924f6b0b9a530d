// Package sandbox runs WebAssembly guests with limits.
//
// It owns the engine (wazero, whose types stay inside), the rewriter that makes guests stoppable, the compile cache, the
// limits, WASI preview 1, the files that a guest sees, and images of its state. It does not know what a guest is: Python
// and plugins are built on it.
//
// A Module and an Image are safe for concurrent use. An Instance runs one call at a time; only Interrupt and Kill may be
// called from other goroutines meanwhile.
//
// # Why modules are rewritten
//
// Compiled guest code never looks at Go's preemption flag. A guest loop without host calls therefore blocks the next
// garbage collection, and with it every goroutine of the process, for ever. The engine's own remedy makes guests almost
// three times slower. So Instrument adds checks: in every round of a loop, at the entry of functions that recurse or
// are long, and within long straight code. A check takes a unit of fuel, and below zero the host is called. The rule
// behind is that no path does more than a fixed amount of work between two checks, calls included, and that bulk
// instructions pay for their length. The host's answer is the next allowance, which adapts so that the host is asked
// about every millisecond. That call runs on the guest's own goroutine: the collector can stop it there, limits are looked
// at, and nothing else ever touches the guest's memory. Compile refuses a module without these checks. It does not
// believe the mark: it runs the rewriter's pass over the code again and fails where that wants to add something.
//
// # State
//
// Linear memory is an address range of our own. On Linux it is reserved at once and committed by page, an Image is
// mapped into it copy-on-write, and a reset copies back only the pages that the kernel's page map calls private; elsewhere both
// copy everything. Active data segments and the start function are taken out of the compiled module and applied by
// Instantiate, so that one compilation serves fresh instances and forks. Mutable globals are exported under reserved
// names to be saved and set. The file table is ours: it can be listed, reset and saved.
//
// What differs between an instance and the Image that it was forked from is a Delta: the state of a session, small
// enough to be stored, for as long as the same image can be had. An Image can be stored itself.
//
// # What is not bounded
//
// The engine lets the native stack of a guest grow to about 100 MB, on the Go heap, before it reports an overflow; it is
// given back after the call. Directory mounts have no quota.
package sandbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// ValueType is a type of parameters and results.
type ValueType byte

// The numeric types, numbered as in the binary format.
const (
	I32 ValueType = 0x7f
	I64 ValueType = 0x7e
	F32 ValueType = 0x7d
	F64 ValueType = 0x7c
)

// A Func is a function of the host that guests may import beside WASI.
type Func struct {
	Module, Name    string
	Params, Results []ValueType
	// Call takes the parameters from stack and leaves the results there, as the engine's calling convention has them
	// (32-bit values in the low half). ctx ends with the call and with its hard limits, and Call must return then. An
	// error ends the guest; a guest's own mistake should be a result.
	Call func(ctx context.Context, in *Instance, stack []uint64) error
}

// Options are the settings of Compile.
type Options struct {
	// CacheDir is a private directory (made with mode 0700, refused with a wider one) for native code. Empty: no cache.
	CacheDir string
	// Funcs are what the module may import beside WASI preview 1.
	Funcs []Func
}

// A Module is compiled code, ready to be instantiated.
type Module struct {
	runtime  wazero.Runtime
	cache    wazero.CompilationCache // nil without a directory
	compiled wazero.CompiledModule
	hash     [sha256.Size]byte
	data     []dataSegment
	memory   bool     // there is one
	minBytes uint64   // of the memory
	globals  []string // export names of the mutable numeric globals
	fixed    string   // the state that an image cannot hold, if any: "has …" or "uses …"
}

// Names of our exports in the compiled module.
const (
	exportFuel   = reserved + "fuel"
	exportStart  = reserved + "start"
	exportGlobal = reserved + "global."
)

// Compile makes native code of an instrumented module (see Instrument; others are refused with ErrNotInstrumented).
// Compiling takes seconds for large modules and a fraction of that when the cache has the result. Close the Module after
// its instances.
func Compile(ctx context.Context, wasm []byte, o Options) (*Module, error) {
	p, err := parse(wasm)
	if err != nil {
		return nil, fmt.Errorf("compile module: %w", err)
	}
	if err := p.checkMark(); err != nil {
		return nil, fmt.Errorf("compile module: %w", err)
	}
	m := &Module{hash: sha256.Sum256(wasm), memory: p.memory != nil}
	if m.memory {
		m.minBytes = uint64(p.memory.min) * pageBytes
	}
	if err := m.compile(ctx, p, o); err != nil {
		return nil, fmt.Errorf("compile module: %w", errors.Join(err, m.Close()))
	}
	return m, nil
}

// Hash is the SHA-256 of the instrumented module.
func (m *Module) Hash() [sha256.Size]byte { return m.hash }

// Exports reports whether the module exports a function of that name.
func (m *Module) Exports(name string) bool {
	_, ok := m.compiled.ExportedFunctions()[name]
	return ok && !strings.HasPrefix(name, reserved)
}

// Close frees the code. All instances must be closed.
func (m *Module) Close() error {
	var err error
	if m.runtime != nil {
		err = m.runtime.Close(context.Background())
	}
	if m.cache != nil {
		err = errors.Join(err, m.cache.Close(context.Background()))
	}
	return err
}

func (m *Module) compile(ctx context.Context, p *module, o Options) error {
	if o.CacheDir == "" {
		if err := m.verify(p); err != nil {
			return err
		}
		return m.build(ctx, p, o)
	}
	cache, err := openCache(o.CacheDir)
	if err != nil {
		return err
	}
	key := cacheKey(m.hash)
	dir, entry, hit := cache.find(key)
	if hit {
		m.fixed = entry.Fixed
	} else {
		if err := m.verify(p); err != nil {
			return err
		}
		if dir, err = cache.begin(); err != nil {
			return fmt.Errorf("write cache: %w", err)
		}
	}
	if m.cache, err = wazero.NewCompilationCacheWithDir(dir); err != nil {
		return fmt.Errorf("open cache: %w", err)
	}
	if err := m.build(ctx, p, o); err != nil {
		return err
	}
	if !hit {
		if err := cache.keep(dir, key, manifest{Fixed: m.fixed}); err != nil {
			return fmt.Errorf("write cache: %w", err)
		}
	}
	cache.evict(time.Now())
	return nil
}

func (m *Module) verify(p *module) error {
	if err := verify(p); err != nil {
		return err
	}
	m.fixed = p.fixed()
	return nil
}

// build compiles what is left of the module when its data, start function and mutable globals are ours to handle.
func (m *Module) build(ctx context.Context, p *module, o Options) (err error) {
	defer func() { // the engine panics where the system forbids executable memory
		if r := recover(); r != nil {
			err = fmt.Errorf("the engine cannot compile here: %v", r)
		}
	}()
	imports := p.imports[:len(p.imports)-1] // without tick
	m.separate(p)
	config := wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false)
	if m.cache != nil {
		config = config.WithCompilationCache(m.cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if err := m.offer(ctx, imports, o.Funcs); err != nil {
		return err
	}
	m.compiled, err = m.runtime.CompileModule(ctx, p.encode())
	return err
}

// separate takes out of the module what Instantiate does itself.
func (m *Module) separate(p *module) {
	for i, d := range p.data {
		if d.active {
			m.data = append(m.data, d)
			// A segment that was applied is empty; its index stays.
			p.data[i] = dataSegment{}
		}
	}
	if p.start != nil {
		p.exports = append(p.exports, export{exportStart, kindFunc, *p.start})
		p.start = nil
	}
	for i, g := range p.globals[:len(p.globals)-1] {
		if g.mutable != 0 && g.typ >= byte(F64) && g.typ <= byte(I32) {
			name := fmt.Sprint(exportGlobal, i)
			m.globals = append(m.globals, name)
			p.exports = append(p.exports, export{name, kindGlobal, uint32(i)})
		}
	}
	p.exports = append(p.exports, export{exportFuel, kindGlobal, uint32(len(p.globals) - 1)})
}

// fixed says what state of the module an image cannot hold; it is empty when all is in memory and numeric globals.
func (m *module) fixed() string {
	for _, g := range m.globals {
		if g.mutable != 0 && (g.typ < byte(F64) || g.typ > byte(I32)) {
			return fmt.Sprintf("has a mutable global of type %#x", g.typ)
		}
	}
	return m.changesTables
}

// offer makes host modules of the functions that the module imports.
func (m *Module) offer(ctx context.Context, imports []importEntry, funcs []Func) error {
	offered := map[[2]string]Func{}
	for _, f := range append(wasiFuncs(), funcs...) {
		offered[[2]string{f.Module, f.Name}] = f
	}
	hosts := map[string]wazero.HostModuleBuilder{}
	builder := func(module string) wazero.HostModuleBuilder {
		if hosts[module] == nil {
			hosts[module] = m.runtime.NewHostModuleBuilder(module)
		}
		return hosts[module]
	}
	tick := api.GoFunc(func(ctx context.Context, stack []uint64) { stack[0] = uint64(instanceOf(ctx).tick()) })
	builder(strings.TrimSuffix(reserved, ".")).NewFunctionBuilder().
		WithGoFunction(tick, nil, []api.ValueType{api.ValueTypeI32}).Export("tick")
	var missing []string
	for _, e := range imports {
		f, ok := offered[[2]string{e.module, e.name}]
		if !ok {
			missing = append(missing, e.module+"."+e.name)
			continue
		}
		call := api.GoFunc(func(ctx context.Context, stack []uint64) { instanceOf(ctx).host(f, stack) })
		builder(e.module).NewFunctionBuilder().WithGoFunction(call, valueTypes(f.Params), valueTypes(f.Results)).Export(e.name)
	}
	if len(missing) > 0 {
		return fmt.Errorf("imports what the sandbox does not offer: %s", strings.Join(missing, ", "))
	}
	for name, b := range hosts {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("host module %s: %w", name, err)
		}
	}
	return nil
}

func valueTypes(types []ValueType) []api.ValueType {
	out := make([]api.ValueType, len(types))
	for i, t := range types {
		out[i] = api.ValueType(t)
	}
	return out
}

// Instantiate makes a fresh instance and runs its start function, if it has one, within the limits.
func (m *Module) Instantiate(ctx context.Context, c Config) (*Instance, error) {
	in, err := m.open(ctx, c, nil)
	if err != nil {
		return nil, fmt.Errorf("instantiate: %w", err)
	}
	if err := in.applyData(); err != nil {
		return nil, fmt.Errorf("instantiate: %w", errors.Join(err, in.Close()))
	}
	if _, ok := m.compiled.ExportedFunctions()[exportStart]; ok {
		if _, err := in.Call(ctx, exportStart); err != nil {
			return nil, fmt.Errorf("start function: %w", errors.Join(err, in.Close()))
		}
	}
	return in, nil
}

// open makes an instance whose memory is that of the image, or zero.
func (m *Module) open(ctx context.Context, c Config, img *Image) (*Instance, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	in := &Instance{m: m, cfg: c, funcs: map[string]function{}, wake: make(chan struct{}, 1), quantum: firstQuantum}
	in.ctx = callContext{context.Background(), in}
	in.born = c.Now()
	if in.files, err = newFileTable(c); err != nil {
		return nil, err
	}
	if m.memory {
		if ctx, err = in.allocator(ctx, img); err != nil {
			return nil, err
		}
	}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	if in.mod, err = m.runtime.InstantiateModule(ctx, m.compiled, config); err != nil {
		if in.linear != nil {
			in.linear.Free()
		}
		return nil, err
	}
	in.bind()
	if img != nil {
		if err := in.adopt(img); err != nil {
			return nil, errors.Join(err, in.Close())
		}
	}
	if in.linear != nil {
		in.linear.grow = c.Grow
	}
	return in, nil
}

// allocator returns a context that makes the engine take the instance's memory from us.
func (in *Instance) allocator(ctx context.Context, img *Image) (context.Context, error) {
	limit := uint64(in.cfg.Limits.Memory)
	need, image := in.m.minBytes, (*backing)(nil)
	if img != nil {
		need, image = img.size, img.backing
	}
	if need > limit {
		return nil, fmt.Errorf("the module needs %d bytes of memory, the limit is %d", need, limit)
	}
	r, err := newRegion(limit, image)
	if err != nil {
		return nil, err
	}
	in.linear = &linearMemory{region: r, limit: limit}
	return experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(
		func(uint64, uint64) experimental.LinearMemory { return in.linear })), nil
}

// adopt brings memory size and globals to those of the image.
func (in *Instance) adopt(img *Image) error {
	if in.mem != nil {
		grow := (img.size - uint64(in.mem.Size())) / pageBytes
		if _, ok := in.mem.Grow(uint32(grow)); !ok {
			return fmt.Errorf("grow memory to the image's %d bytes", img.size)
		}
	}
	for i, g := range in.globals {
		g.Set(img.globals[i])
	}
	in.pristine = img
	return nil
}

// applyData copies the active data segments into memory.
func (in *Instance) applyData() error {
	for i, d := range in.m.data {
		mem := in.memory()
		if uint64(d.offset)+uint64(len(d.init)) > uint64(len(mem)) {
			return fmt.Errorf("data segment %d ends outside of memory", i)
		}
		copy(mem[d.offset:], d.init)
	}
	return nil
}
