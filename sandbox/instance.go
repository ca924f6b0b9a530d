package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"
)

const (
	// The allowance of fuel adapts so that the host is asked at least every two milliseconds. The largest, with nothing
	// but paths of maxPath, is 17 million simple instructions: some ten milliseconds until the first answer.
	firstQuantum = 1024
	minQuantum   = 64
	maxQuantum   = 4096
	tickShort    = 500 * time.Microsecond
	tickLong     = 2 * time.Millisecond

	// interruptEvery is how often an interrupt is repeated: guests may swallow the first.
	interruptEvery = 50 * time.Millisecond
)

// An Instance is one guest with its memory, files and limits.
type Instance struct {
	m    *Module
	cfg  Config
	born time.Time // by Config.Now

	mu      sync.Mutex // held during a call and by everything that changes the fields up to the next blank line
	mod     api.Module // nil when closed or lost
	mem     api.Memory // nil without a memory
	linear  *linearMemory
	fuel    api.MutableGlobal
	globals []api.MutableGlobal
	funcs   map[string]function
	files   *fileTable
	// pristine is the image whose state this is, until something changes it.
	pristine *Image

	ctx      callContext
	started  time.Time
	deadline time.Time
	soft     time.Time // when to interrupt next; zero: never
	ticked   time.Time // last call of tick
	quantum  int32     // how much fuel to give at a time
	given    int32     // the fuel that was given last
	ticks    int       // of this call
	usage    Usage
	hostCtx  context.Context // for Funcs, made when first needed

	cancel      atomic.Pointer[context.CancelCauseFunc] // of hostCtx
	killed      atomic.Pointer[error]
	interrupted atomic.Bool
	wake        chan struct{} // capacity 1: a sleeping guest looks at the two above
}

// A function is an export, looked up once.
type function struct {
	api.Function
	params, results int
	stack           []uint64
}

// A callContext carries the instance to host functions, which the engine hands nothing else that is ours.
type callContext struct {
	context.Context
	in *Instance
}

func instanceOf(ctx context.Context) *Instance { return ctx.(*callContext).in }

// bind looks up what the module exports for us.
func (in *Instance) bind() {
	if in.linear != nil {
		in.mem = in.mod.Memory()
	}
	in.fuel = in.mod.ExportedGlobal(exportFuel).(api.MutableGlobal)
	for _, name := range in.m.globals {
		in.globals = append(in.globals, in.mod.ExportedGlobal(name).(api.MutableGlobal))
	}
}

// enter takes the instance for an operation that must not run beside a call. The caller unlocks in.mu.
func (in *Instance) enter() error {
	if !in.mu.TryLock() {
		return ErrBusy
	}
	if in.mod == nil {
		in.mu.Unlock()
		return ErrClosed
	}
	return nil
}

// Configure replaces limits, streams, arguments and mounts for the next calls. Open files stay open, unless there are
// other mounts; Reset closes them. Streams that the guest has closed are open again. The memory limit stays what it was.
func (in *Instance) Configure(c Config) error {
	c, err := c.complete()
	if err != nil {
		return err
	}
	if err := in.enter(); err != nil {
		return err
	}
	defer in.mu.Unlock()
	c.Limits.Memory = in.cfg.Limits.Memory
	if err := in.files.configure(c); err != nil {
		return err
	}
	in.cfg = c
	if in.linear != nil {
		in.linear.grow = c.Grow
	}
	return nil
}

// Run calls the entry point of a program, _start, and returns its exit code. The instance is over afterwards.
func (in *Instance) Run(ctx context.Context) (code uint32, err error) {
	_, err = in.Call(ctx, "_start")
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code, nil
	}
	return 0, err
}

// Call calls an exported function; its results are valid until the next call. 32-bit values are in the low half of
// their uint64. After a *StopError, *ExitError, *TrapError or *HostError the instance is gone and its memory is free. A
// ctx that ends stops the guest like a limit.
func (in *Instance) Call(ctx context.Context, name string, args ...uint64) ([]uint64, error) {
	if err := in.enter(); err != nil {
		return nil, err
	}
	defer in.mu.Unlock()
	f, err := in.function(name)
	if err != nil {
		return nil, err
	}
	if len(args) != f.params {
		return nil, fmt.Errorf("call %s: %d arguments, want %d", name, len(args), f.params)
	}
	copy(f.stack, args)
	in.pristine = nil
	in.begin(ctx)
	err = in.stopReason(in.started)
	if err == nil {
		err = f.CallWithStack(&in.ctx, f.stack)
	}
	in.end()
	if err != nil {
		err = outcome(err)
		in.release()
		return nil, err
	}
	return f.stack[:f.results], nil
}

func (in *Instance) function(name string) (function, error) {
	if f, ok := in.funcs[name]; ok {
		return f, nil
	}
	x := in.mod.ExportedFunction(name)
	if x == nil {
		return function{}, fmt.Errorf("call %s: the module exports no such function", name)
	}
	d := x.Definition()
	f := function{Function: x, params: len(d.ParamTypes()), results: len(d.ResultTypes())}
	f.stack = make([]uint64, max(f.params, f.results))
	in.funcs[name] = f
	return f, nil
}

func (in *Instance) begin(ctx context.Context) {
	in.ctx.Context = ctx
	now := time.Now()
	in.started, in.ticked, in.ticks = now, now, 0
	in.deadline = now.Add(in.cfg.Limits.Wall)
	in.soft = time.Time{}
	if in.cfg.Limits.Soft > 0 && in.cfg.Interrupt != nil {
		in.soft = now.Add(in.cfg.Limits.Soft)
	}
	in.interrupted.Store(false)
	in.usage = Usage{}
	in.files.begin()
	in.allow()
}

// allow gives the guest fuel, within the limit of the call.
func (in *Instance) allow() uint32 {
	in.given = int32(min(int64(in.quantum), max(in.cfg.Limits.Fuel-in.usage.Fuel, 0)))
	in.fuel.Set(uint64(uint32(in.given)))
	return uint32(in.given)
}

func (in *Instance) end() {
	in.settle()
	in.usage.Wall = time.Since(in.started)
	in.ctx.Context = context.Background()
	if cancel := in.cancel.Swap(nil); cancel != nil {
		(*cancel)(nil)
		in.hostCtx = nil
	}
	if in.ticks > 0 {
		// A long call may have grown its native stack to many megabytes, which the function would keep.
		clear(in.funcs)
	}
}

// settle books the fuel that was used since it was given.
func (in *Instance) settle() {
	in.usage.Fuel += int64(in.given) - int64(int32(in.fuel.Get()))
	in.given = 0
	in.fuel.Set(0)
}

// tick is the host's side of a check that found no fuel. It runs on the guest's goroutine.
func (in *Instance) tick() uint32 {
	in.ticks++
	in.settle()
	now := time.Now()
	in.check(now)
	switch d := now.Sub(in.ticked); {
	case d > tickLong:
		in.quantum = max(in.quantum/4, minQuantum)
	case d < tickShort:
		in.quantum = min(in.quantum*2, maxQuantum)
	}
	in.ticked = now
	return in.allow()
}

// check stops the guest when it must, and interrupts it when it should. It is called where the guest stands still.
func (in *Instance) check(now time.Time) {
	if err := in.stopReason(now); err != nil {
		panic(err)
	}
	if in.mayInterrupt(now) {
		in.soft = now.Add(interruptEvery)
		in.cfg.Interrupt(in)
	}
}

func (in *Instance) mayInterrupt(now time.Time) bool {
	if in.cfg.Interrupt == nil {
		return false
	}
	return in.interrupted.Swap(false) || !in.soft.IsZero() && !now.Before(in.soft)
}

func (in *Instance) stopReason(now time.Time) error {
	if err := in.killed.Load(); err != nil {
		return &StopError{*err}
	}
	select {
	case <-in.ctx.Done():
		return &StopError{context.Cause(in.ctx.Context)}
	default:
	}
	if !now.Before(in.deadline) {
		return &StopError{ErrTime}
	}
	if in.usage.Fuel > in.cfg.Limits.Fuel {
		return &StopError{ErrFuel}
	}
	return nil
}

// host runs a function of the host for the guest. Guests can spend all their time in such calls, so limits are looked at
// here as well.
func (in *Instance) host(f Func, stack []uint64) {
	ctx := context.Context(&in.ctx)
	if f.Module != wasiModule {
		ctx = in.deadlineContext()
	}
	if err := f.Call(ctx, in, stack); err != nil {
		panic(err)
	}
	in.check(time.Now())
}

// charge books work that the host does for the guest, by its bytes.
func (in *Instance) charge(n int) { in.usage.Fuel += int64(n) >> fuelBytesShift }

// deadlineContext ends with the call, at its time limit, or when the instance is killed.
func (in *Instance) deadlineContext() context.Context {
	if in.hostCtx != nil {
		return in.hostCtx
	}
	limited, stop := context.WithDeadlineCause(in.ctx.Context, in.deadline, ErrTime)
	ctx, cancel := context.WithCancelCause(limited)
	both := context.CancelCauseFunc(func(reason error) { cancel(reason); stop() })
	in.hostCtx = ctx
	in.cancel.Store(&both)
	if reason := in.killed.Load(); reason != nil { // Kill may have come too early to see cancel
		both(*reason)
	}
	return ctx
}

// outcome makes our own error of what the engine returns.
func outcome(err error) error {
	var stop *StopError
	var exit *ExitError
	switch {
	case errors.As(err, &stop):
		return stop
	case errors.As(err, &exit):
		return exit
	}
	const prefix, separator = "wasm error: ", "\nwasm stack trace:\n"
	text, trace, _ := strings.Cut(err.Error(), separator)
	if reason, ok := strings.CutPrefix(text, prefix); ok {
		return &TrapError{Reason: reason, Trace: strings.ReplaceAll(trace, "\t", "")}
	}
	if strings.HasPrefix(text, "stack overflow") {
		return &TrapError{Reason: text}
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without the engine's remarks
	}
	return &HostError{err}
}

// Interrupt asks for Config.Interrupt to be called soon. It may be called from any goroutine and does nothing without a
// call under way.
func (in *Instance) Interrupt() {
	in.interrupted.Store(true)
	in.nudge()
}

// Kill ends the call under way, and every later one, with a *StopError of the reason; nil stands for ErrKilled. It may be
// called from any goroutine and does not wait.
func (in *Instance) Kill(reason error) {
	if reason == nil {
		reason = ErrKilled
	}
	in.killed.CompareAndSwap(nil, &reason)
	if cancel := in.cancel.Load(); cancel != nil {
		(*cancel)(reason)
	}
	in.nudge()
}

func (in *Instance) nudge() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// Close frees the instance. It ends a call under way and waits for it. It may be called again.
func (in *Instance) Close() error {
	in.Kill(ErrClosed)
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.release()
}

// release gives everything back.
func (in *Instance) release() error {
	if in.mod == nil {
		return nil
	}
	if in.linear != nil {
		in.usage.Memory = int64(in.linear.peak)
	}
	err := errors.Join(in.files.close(), in.mod.Close(context.Background()))
	in.mod, in.mem, in.linear, in.funcs, in.globals, in.fuel, in.pristine = nil, nil, nil, nil, nil, nil, nil
	return err
}

// Usage is what the last call took. It must not be called while a call is under way, except by Config.Interrupt and
// Funcs.
func (in *Instance) Usage() Usage {
	u := in.usage
	u.StdoutCut, u.StderrCut = in.files.cut()
	if in.linear != nil {
		u.Memory = int64(in.linear.peak)
	}
	return u
}

// memory is the whole linear memory. It must not be kept: it moves and ends.
func (in *Instance) memory() []byte {
	if in.mem == nil {
		return nil
	}
	b, _ := in.mem.Read(0, in.mem.Size())
	return b
}

// ReadMemory copies guest memory into p. Like WriteMemory it is for the time between calls, Config.Interrupt and Funcs.
func (in *Instance) ReadMemory(p []byte, at uint32) error {
	mem := in.memory()
	if uint64(at)+uint64(len(p)) > uint64(len(mem)) {
		return fmt.Errorf("read %d bytes at %d: the guest's memory has %d", len(p), at, len(mem))
	}
	copy(p, mem[at:])
	return nil
}

// WriteMemory copies p into guest memory.
func (in *Instance) WriteMemory(at uint32, p []byte) error {
	mem := in.memory()
	if uint64(at)+uint64(len(p)) > uint64(len(mem)) {
		return fmt.Errorf("write %d bytes at %d: the guest's memory has %d", len(p), at, len(mem))
	}
	in.pristine = nil
	copy(mem[at:], p)
	return nil
}

// Files lists what the guest has open, lowest descriptor first.
func (in *Instance) Files() []OpenFile { return in.files.list() }
