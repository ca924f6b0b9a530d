package python

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"chorale/sandbox"
)

// Limits bound a session and its cells. Zeros stand for the defaults.
type Limits struct {
	Wall   time.Duration // of a cell; then it is stopped, and the interpreter with all it held is lost
	Soft   time.Duration // of a cell; then it gets a KeyboardInterrupt, and again every 50 ms
	Memory int64         // bytes of the interpreter, the image included; beyond it Python raises MemoryError
	Output int64         // bytes of what a cell prints that are kept: the first half and the last
	Disk   int64         // bytes of all files, with 256 and the name for each
	Files  int           // files and directories
}

// The defaults of Limits.
const (
	DefaultWall   = 120 * time.Second
	DefaultSoft   = 110 * time.Second
	DefaultMemory = 256 << 20
	DefaultOutput = 64 << 10
	DefaultDisk   = sandbox.DefaultMemBytes
	DefaultFiles  = sandbox.DefaultMemFiles
)

// maxCodeBytes bounds the source of a cell.
const maxCodeBytes = 4 << 20

// complete fills the defaults in. A soft limit that is not given leaves a twelfth of the hard one to stop in.
func (l Limits) complete(p *Pool) (Limits, error) {
	if l.Wall < 0 || l.Soft < 0 || l.Memory < 0 || l.Output < 0 || l.Disk < 0 || l.Files < 0 {
		return l, fmt.Errorf("limits %+v must not be negative", l)
	}
	if l.Wall == 0 {
		l.Wall = DefaultWall
	}
	if l.Soft == 0 {
		l.Soft = l.Wall - l.Wall/12
	}
	if l.Memory == 0 {
		l.Memory = max(min(DefaultMemory, p.o.MaxSession), int64(p.img.state.Bytes()))
	}
	if l.Output == 0 {
		l.Output = DefaultOutput
	}
	if l.Disk == 0 {
		l.Disk = DefaultDisk
	}
	if l.Files == 0 {
		l.Files = DefaultFiles
	}
	if least := int64(p.img.state.Bytes()); l.Memory < least || l.Memory > p.o.MaxSession {
		return l, fmt.Errorf("limit of memory is %d bytes, must be from %d (the interpreter itself) to %d", l.Memory, least, p.o.MaxSession)
	}
	return l, nil
}

// SessionOptions are the settings of a session.
type SessionOptions struct {
	Limits Limits
}

// A Session is an interpreter whose state lives from cell to cell, and its files. Interrupt, Close and the methods on files
// may be called from other goroutines while a cell runs.
type Session struct {
	p      *Pool
	limits Limits
	files  *sandbox.Mem

	mu     sync.Mutex // held while a cell runs; guards the next four
	left   bool       // the place in the pool
	slot   *slot      // nil until it is needed
	seeded bool       // the random module of this interpreter
	cells  int

	grown   atomic.Int64 // bytes that the interpreter's memory is larger than the image
	charged atomic.Int64
	running atomic.Pointer[slot]
	closed  atomic.Bool
}

// Acquire returns a session with a pristine interpreter. It waits while too many are live, and fails with ErrBusy when too
// many wait already.
func (p *Pool) Acquire(ctx context.Context, o SessionOptions) (*Session, error) {
	s, err := p.open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("acquire python session: %w", err)
	}
	if s.slot, err = p.take(ctx); err != nil {
		return nil, fmt.Errorf("acquire python session: %w", errors.Join(err, s.Close()))
	}
	p.acquired.Add(1)
	return s, nil
}

// open makes a session without an interpreter.
func (p *Pool) open(ctx context.Context, o SessionOptions) (*Session, error) {
	l, err := o.Limits.complete(p)
	if err != nil {
		return nil, err
	}
	files, err := newFiles(l.Disk, l.Files)
	if err != nil {
		return nil, err
	}
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	s := &Session{p: p, limits: l, files: files}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.leave()
		return nil, ErrClosed
	}
	p.sessions[s] = struct{}{}
	s.charge(sessionBytes)
	return s, nil
}

// Close ends the session, a cell under way included. It may be called again.
func (s *Session) Close() error {
	s.closed.Store(true)
	if r := s.running.Load(); r != nil {
		r.in.Kill(ErrClosed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return nil
	}
	s.left = true
	s.charge(0)
	sl := s.slot
	s.slot = nil
	s.p.give(sl, s.p.leave)
	// Not before: the pool's Close waits for what was given back by the sessions that it finds here.
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.sessions, s)
	return nil
}

// Interrupt makes the cell under way raise KeyboardInterrupt. It does nothing without one.
func (s *Session) Interrupt() {
	if r := s.running.Load(); r != nil {
		r.in.Interrupt()
	}
}

// charge books how much memory the session has.
func (s *Session) charge(bytes int64) { s.p.memory.Add(bytes - s.charged.Swap(bytes)) }

// grow decides whether the interpreter's memory may grow. It is called on the goroutine of a cell.
func (s *Session) grow(bytes int64) bool {
	if int64(s.p.img.state.Bytes())+s.grown.Load()+bytes > s.limits.Memory {
		return false
	}
	if s.p.memory.Add(bytes) > s.p.o.MaxMemory {
		s.p.memory.Add(-bytes)
		return false
	}
	s.charged.Add(bytes)
	s.grown.Add(bytes)
	return true
}

// measureAfter is how long a cell runs before it can have written so much that it is worth measuring.
const measureAfter = 2 * time.Millisecond

// settle books what the interpreter has after a cell.
func (s *Session) settle(sl *slot, ran time.Duration) {
	if ran < measureAfter {
		return
	}
	if private, err := sl.in.Private(); err == nil {
		s.charge(max(private, sessionBytes+s.grown.Load()))
	}
}

// A Cell is code to run.
type Cell struct {
	Code string
	// Stateless runs the code in a pristine interpreter of its own, which is dropped afterwards. Files stay.
	Stateless bool
	// Stdin is what input() reads; nil is empty. A read that blocks is given up when the cell ends.
	Stdin io.Reader
	// Stream is called with what the cell prints, as it prints it, without a limit. It must not block.
	Stream func(p []byte)
}

// Status is how a cell ended.
type Status int

// The ways for a cell to end.
const (
	OK          Status = iota
	Error              // an exception; Output has the traceback
	Exit               // it called sys.exit, or os._exit, which loses the interpreter
	Interrupted        // a KeyboardInterrupt, at the soft limit or by Session.Interrupt
	Killed             // at the hard limit; the interpreter is lost
	OutOfMemory        // a MemoryError, or the interpreter could not go on without memory and is lost
	Crashed            // the interpreter broke and is lost
)

func (s Status) String() string {
	names := [...]string{"ok", "error", "exit", "interrupted", "killed", "out of memory", "crashed"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("status %d", int(s))
	}
	return names[s]
}

// A Result is what became of a cell.
type Result struct {
	Status Status
	// Output is what the cell printed on both streams, then the value of its last expression or the traceback, as a notebook
	// shows it. It is valid UTF-8; a line in its middle says where something was cut.
	Output     string
	Cut        int64  // bytes of output that were dropped
	Value      string // the repr of the last expression; empty for None
	Exception  string // the name of the exception's type, of an Error
	ExitCode   int    // of an Exit
	Images     []File // figures that the cell showed
	Lost       bool   // the interpreter and all that it held; the next cell gets a pristine one
	Fuel       int64  // units of work, as the sandbox counts it
	Wall       time.Duration
	PeakMemory int64 // bytes of the interpreter's memory at most
}

// ErrInCell is returned while another cell of the session runs.
var ErrInCell = errors.New("another cell of the python session is running")

// Exec runs a cell. Whatever the code does is a Result; an error is the host's, or that of ctx, whose end stops the cell
// like the hard limit: then the Result says what was lost.
func (s *Session) Exec(ctx context.Context, c Cell) (Result, error) {
	if len(c.Code) > maxCodeBytes {
		return Result{}, fmt.Errorf("the code has %d bytes, at most %d are allowed", len(c.Code), maxCodeBytes)
	}
	if !s.mu.TryLock() {
		return Result{}, ErrInCell
	}
	defer s.mu.Unlock()
	if s.closed.Load() {
		return Result{}, ErrClosed
	}
	if c.Stateless {
		return s.execApart(ctx, c)
	}
	sl, err := s.interpreter(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("python interpreter: %w", err)
	}
	seed := ""
	if !s.seeded {
		seed, s.seeded = newSeed(), true
	}
	r, err := s.run(ctx, sl, c, seed)
	if r.Lost {
		s.drop()
	}
	return r, err
}

// interpreter is the session's own, a pristine one if it has none.
func (s *Session) interpreter(ctx context.Context) (*slot, error) {
	if s.slot != nil {
		return s.slot, nil
	}
	var err error
	s.slot, err = s.p.take(ctx)
	return s.slot, err
}

// drop gives the session's interpreter up.
func (s *Session) drop() {
	s.slot.in.Close()
	s.slot, s.seeded = nil, false
	s.grown.Store(0)
	s.charge(sessionBytes)
	s.p.lost.Add(1)
	s.p.give(nil, func() {}) // may make a new one ready
}

// execApart runs a cell in an interpreter of its own.
func (s *Session) execApart(ctx context.Context, c Cell) (Result, error) {
	sl, err := s.p.take(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("python interpreter: %w", err)
	}
	before, charged := s.grown.Swap(0), s.charged.Load()
	r, err := s.run(ctx, sl, c, newSeed())
	s.grown.Store(before)
	s.charge(charged)
	if r.Lost {
		s.p.lost.Add(1)
	}
	s.p.give(sl, func() {})
	return r, err
}

// run runs a cell in an interpreter.
func (s *Session) run(ctx context.Context, sl *slot, c Cell, seed string) (Result, error) {
	interrupted := false
	sl.out.reset(s.limits.Output, c.Stream)
	err := sl.in.Configure(sandbox.Config{
		Limits: sandbox.Limits{Wall: s.limits.Wall, Soft: s.limits.Soft, Fuel: maxFuel, Output: math.MaxInt64},
		Mounts: s.p.img.mounts(s.files), Stdin: c.Stdin, Stdout: &sl.out, Stderr: &sl.out, Grow: s.grow,
		Interrupt: func(in *sandbox.Instance) {
			interrupted = true
			s.p.img.interrupt(in) // fails only for addresses outside of the guest's memory
		},
	})
	if err != nil {
		return Result{}, err
	}
	s.running.Store(sl)
	defer s.running.Store(nil)
	if s.closed.Load() { // Close may have come too early to see running
		return Result{}, ErrClosed
	}
	s.cells++
	answer, usage, err := sl.exec(ctx, request{
		Code: c.Code, Seed: seed, Stateful: !c.Stateless, Filename: fmt.Sprintf("<cell %d>", s.cells), Echo: true,
	})
	r := Result{Fuel: usage.Fuel, Wall: usage.Wall, PeakMemory: usage.Memory}
	r.Output, r.Cut = sl.out.text()
	if err != nil {
		return s.lose(ctx, r, err)
	}
	s.settle(sl, usage.Wall)
	s.judge(&r, answer, interrupted)
	return r, nil
}

// judge makes a status of what the interpreter says.
func (s *Session) judge(r *Result, a answer, interrupted bool) {
	r.Value, r.ExitCode = a.Value, a.ExitCode
	switch a.Status {
	case "ok":
		r.Status = OK
	case "exit":
		r.Status = Exit
	default:
		r.Status = Error
		if a.Error != nil {
			r.Exception = a.Error.Type
		}
		switch {
		case r.Exception == "MemoryError":
			r.Status = OutOfMemory
		case r.Exception == "KeyboardInterrupt" && interrupted:
			r.Status = Interrupted
		}
	}
	for _, img := range a.Images[:min(len(a.Images), maxImages)] {
		name := strings.TrimPrefix(path.Clean(img.Path), "/")
		data, err := s.files.ReadFile(name)
		if err != nil {
			continue // the cell took it away again
		}
		r.Images = append(r.Images, File{Path: "/" + name, Data: data, Size: int64(len(data)), Modified: time.Now(), MIME: img.MIME})
		s.files.Unlink(name) // it was there to be shown
	}
}

// maxImages is how many figures of a cell are shown.
const maxImages = 32

// lose makes a result of a call that cost the interpreter.
func (s *Session) lose(ctx context.Context, r Result, err error) (Result, error) {
	r.Lost = true
	var exit *sandbox.ExitError
	var trap *sandbox.TrapError
	var stop *sandbox.StopError
	switch {
	case errors.As(err, &exit):
		r.Status, r.ExitCode = Exit, int(exit.Code)
	case errors.Is(err, errNoRoom):
		r.Status = OutOfMemory
	case errors.As(err, &trap):
		r.Status = Crashed
		// An allocation that failed where the interpreter cannot go on ends in abort().
		if r.PeakMemory > s.limits.Memory-s.limits.Memory/16 && trap.Reason == "unreachable" {
			r.Status = OutOfMemory
		}
	case errors.As(err, &stop) && errors.Is(err, sandbox.ErrTime):
		r.Status = Killed
	case errors.As(err, &stop) && (errors.Is(err, ErrClosed) || ctx.Err() != nil):
		r.Status = Killed
		return r, stop.Reason
	default:
		r.Status = Crashed
		return r, err
	}
	return r, nil
}

// A request is what py_exec takes.
type request struct {
	Code     string `json:"code"`
	Seed     string `json:"seed,omitempty"` // of the random module, in hexadecimal digits
	Stateful bool   `json:"stateful"`
	Filename string `json:"filename"`
	Echo     bool   `json:"echo"`
	// Program stands in for all of them but the seed.
	Program *program `json:"program,omitempty"`
}

// An answer is what py_exec leaves.
type answer struct {
	Status   string `json:"status"`
	ExitCode int    `json:"exit_code"`
	Value    string `json:"value"`
	Error    *struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
	Images []struct {
		Name string `json:"name"`
		MIME string `json:"mime"`
		Path string `json:"path"`
	} `json:"images"`
}

// maxAnswerBytes bounds what is read of an answer: guests can make it anything.
const maxAnswerBytes = 8 << 20

// exec runs a request in the interpreter.
func (sl *slot) exec(ctx context.Context, q request) (a answer, u sandbox.Usage, err error) {
	text, err := json.Marshal(q)
	if err != nil {
		return a, u, err
	}
	r, err := sl.in.Call(ctx, "py_alloc", uint64(len(text)))
	if err == nil && r[0] == 0 {
		err = errNoRoom
	}
	if err != nil {
		return a, sl.in.Usage(), err
	}
	at := r[0]
	if err := sl.in.WriteMemory(uint32(at), text); err != nil {
		return a, u, err
	}
	_, err = sl.in.Call(ctx, "py_exec", at, uint64(len(text)))
	u = sl.in.Usage()
	if err != nil {
		return a, u, err
	}
	a, err = sl.answer(ctx)
	if err == nil {
		_, err = sl.in.Call(ctx, "py_free", at)
	}
	return a, u, err
}

func (sl *slot) answer(ctx context.Context) (a answer, err error) {
	var n [2]uint32
	for i, name := range [...]string{"py_result_ptr", "py_result_len"} {
		r, err := sl.in.Call(ctx, name)
		if err != nil {
			return a, err
		}
		n[i] = uint32(r[0])
	}
	b := make([]byte, min(n[1], maxAnswerBytes))
	if err := sl.in.ReadMemory(b, n[0]); err != nil {
		return a, err
	}
	if json.Unmarshal(b, &a) != nil {
		a = answer{Status: "error"} // only code that broke the runner can do that
	}
	a.Images = slices.Clip(a.Images)
	return a, nil
}
