// Package chrome opens pages in a Chromium of its own, one isolated context a session.
//
// It owns the process (one at a time, replaced when it has served many pages or grown, stopped when idle, killed with
// all it has started at Close), how many contexts are open, and when a page has finished. It does not know which
// addresses are allowed: all that Chromium asks for goes to one proxy, which its caller has to provide and which tells
// contexts apart by the user and password that each of them sends. A Browser and its Contexts are safe for concurrent
// use; a Context opens one page after another.
//
// The process is ours and not chromedp's, which speaks the protocol only: its environment is empty, its folder
// private, its pipe has a limit for messages, it runs as an unprivileged user if we are root so that its own sandbox
// works, and the kernel kills it with us. Every page has a tab of its own that is closed behind it, so nothing of a
// page goes on running; the context keeps cookies. Site isolation is off: a context holds nothing that its pages could
// steal from each other, contexts never share a process, and frames then follow the rules of the page that has them.
package chrome

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Options are the settings of a Browser.
type Options struct {
	Path string // of the program; "" looks for one, "-" is none
	// Proxy is the "host:port" of the proxy that every request goes to.
	Proxy string
	// NoSandbox switches Chromium's own sandbox off, where the kernel does not let it work. A page that exploits
	// Chromium then has what its user has.
	NoSandbox bool
	Limits    Limits
	Logger    *slog.Logger
}

// Limits bound a Browser. Zeros stand for the defaults.
type Limits struct {
	Contexts int           // that are open; the one that was used longest ago is closed for a new one
	Pages    int           // after which the process is replaced
	Memory   int64         // bytes that its processes have for themselves, after which it is replaced (Linux)
	Idle     time.Duration // after which it is stopped
	Start    time.Duration // for it to start
	HTML     int           // characters of a page; what is longer is cut
	Quiet    time.Duration // without requests, after which a loaded page has finished
	Settle   time.Duration // for requests after a page has loaded
	Hang     time.Duration // for answers that no page can delay; a Chromium that takes longer is killed
}

// The defaults of Limits.
const (
	DefaultContexts = 6
	DefaultPages    = 200
	DefaultMemory   = 2 << 30
	DefaultIdle     = 5 * time.Minute
	DefaultStart    = 20 * time.Second
	DefaultHTML     = 4 << 20
	DefaultQuiet    = 100 * time.Millisecond
	DefaultSettle   = 3 * time.Second
	DefaultHang     = 10 * time.Second
)

func (l Limits) complete() Limits {
	bound(&l.Contexts, DefaultContexts)
	bound(&l.Pages, DefaultPages)
	bound(&l.Memory, DefaultMemory)
	bound(&l.Idle, DefaultIdle)
	bound(&l.Start, DefaultStart)
	bound(&l.HTML, DefaultHTML)
	bound(&l.Quiet, DefaultQuiet)
	bound(&l.Settle, DefaultSettle)
	bound(&l.Hang, DefaultHang)
	return l
}

func bound[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// A Status is what a Browser is like.
type Status struct {
	Path     string // of the program, "" without one
	Version  string // such as "HeadlessChrome/156.0.7000.0", once it has been started
	Reason   string // why there is none, or why it could not be started the last time
	Running  bool
	PID      int    // of its process, which leads the group of all its processes; 0 if it does not run
	Sandbox  bool   // Chromium's own
	User     string // as whom it runs
	Contexts int    // open
	Pages    int64  // opened since New
	Starts   int64  // of the process since New
	Crashes  int64  // of the process since New, those that we killed because they hung included
	Memory   int64  // bytes that its processes have for themselves
}

// Errors that callers tell apart. All others are about one page.
var (
	// ErrAbsent is in errors of a Browser that has no program.
	ErrAbsent = errors.New("no Chromium")
	// ErrClosed is returned by a Browser or Context that was closed.
	ErrClosed = errors.New("the browser is closed")
	// ErrCrashed says that Chromium ended while it had the page, or that the tab did.
	ErrCrashed = errors.New("the page made Chromium crash")
	// ErrDownload says that the URL is a file to be saved, which is refused.
	ErrDownload = errors.New("the page is a download")
)

// A LoadError says why Chromium could not load a page.
type LoadError struct{ Code string } // such as "net::ERR_TUNNEL_CONNECTION_FAILED"

func (e *LoadError) Error() string { return "Chromium could not load the page: " + e.Code }

// A Browser is a Chromium that is started when it is needed.
type Browser struct {
	options Options
	limits  Limits
	path    string
	log     *slog.Logger
	slots   chan struct{} // capacity: Limits.Contexts; who opens a page has one

	mu       sync.Mutex // guards what follows, and the fields of contexts and processes that say so
	current  *process
	all      map[*process]bool // that run, with those that were replaced and have users
	starting *start
	failed   error      // of the last start, nil if it succeeded
	failedAt time.Time  // when that was
	open     []*Context // that have a context in current, the one that was used longest ago first
	idle     *time.Timer
	status   Status
	closed   bool
	work     sync.WaitGroup // what goes on without a caller; added to before closed is set
}

// A start is a process that is being started; who waits for it reads err when done is closed.
type start struct {
	done chan struct{}
	err  error
}

// New looks for the program. It starts nothing, and a Browser without one says so in Status and errors.
func New(o Options) *Browser {
	b := &Browser{options: o, limits: o.Limits.complete(), log: o.Logger, all: map[*process]bool{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.slots = make(chan struct{}, b.limits.Contexts)
	path, err := Find(o.Path)
	b.path, b.status.Path, b.status.User, b.status.Sandbox = path, path, identity(), !o.NoSandbox
	if err != nil {
		b.status.Reason = err.Error()
	}
	b.idle = time.AfterFunc(b.limits.Idle, b.stopIdle)
	return b
}

// Available reports whether there is a program.
func (b *Browser) Available() bool { return b.path != "" }

// Status returns what the Browser is like.
func (b *Browser) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Contexts = len(b.open)
	if b.current != nil {
		s.Running, s.PID, s.Memory = true, b.current.child.pgid(), groupMemory(b.current.child.pgid())
	}
	return s
}

// Start starts Chromium, so that the first page need not wait for it, and returns when it runs.
func (b *Browser) Start(ctx context.Context) error {
	p, err := b.take(ctx)
	if err != nil {
		return err
	}
	b.release(p)
	return nil
}

// StartSoon starts Chromium without waiting for it.
func (b *Browser) StartSoon() {
	b.background(func() {
		ctx, stop := context.WithTimeout(context.Background(), b.limits.Start)
		defer stop()
		b.Start(ctx) // the next page gets the error
	})
}

// Close ends Chromium and all that it does, and returns when it has ended.
func (b *Browser) Close() error {
	b.mu.Lock()
	b.closed = true
	b.idle.Stop()
	b.current, b.open = nil, nil
	all := slices.Collect(maps.Keys(b.all))
	b.mu.Unlock()
	for _, p := range all {
		p.end()
	}
	b.work.Wait()
	return nil
}

// background runs what nobody waits for but Close.
func (b *Browser) background(run func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.work.Go(run)
	}
}

// retryAfter is how long a Chromium that could not be started is not tried again, so that not every page waits for it.
const retryAfter = 30 * time.Second

// take returns the process that serves now, started if need be. The caller releases it.
func (b *Browser) take(ctx context.Context) (*process, error) {
	for {
		b.mu.Lock()
		switch {
		case b.closed:
			b.mu.Unlock()
			return nil, ErrClosed
		case b.path == "":
			defer b.mu.Unlock()
			return nil, fmt.Errorf("%w: %s", ErrAbsent, b.status.Reason)
		case b.current != nil && !b.current.isDead():
			p := b.current
			p.users++
			b.mu.Unlock()
			return p, nil
		}
		s := b.starting
		if s == nil && b.failed != nil && time.Since(b.failedAt) < retryAfter {
			defer b.mu.Unlock()
			return nil, b.failed
		}
		if s == nil {
			s = &start{done: make(chan struct{})}
			b.starting = s
			b.work.Go(func() { b.begin(s) })
		}
		b.mu.Unlock()
		select {
		case <-s.done:
			if s.err != nil {
				return nil, s.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// begin starts a process and makes it the one that serves.
func (b *Browser) begin(s *start) {
	defer close(s.done)
	p, err := b.startProcess()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.starting, b.failed, b.failedAt = nil, err, time.Now()
	if err != nil {
		s.err = err
		b.status.Reason = err.Error()
		b.log.Warn("chromium could not be started", "path", b.path, "error", err)
		return
	}
	b.status.Starts++
	b.status.Version, b.status.Reason = p.version, ""
	if b.closed {
		s.err = ErrClosed
		b.work.Go(p.end) // begin is part of work itself, so Close still waits
		return
	}
	b.current, b.open, b.all[p] = p, nil, true
	b.idle.Reset(b.limits.Idle)
	b.log.Info("chromium started", "path", b.path, "version", p.version, "sandbox", b.status.Sandbox)
	b.work.Go(func() {
		<-p.child.gone
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all, p)
		if !p.ending {
			b.status.Crashes++
			b.log.Warn("chromium ended unexpectedly", "output", p.child.out.String())
		}
		if b.current == p {
			b.current, b.open = nil, nil
		}
		p.cancel()
	})
}

// release gives a process back. One that has served enough is ended by the last.
func (b *Browser) release(p *process) {
	b.mu.Lock()
	p.users--
	if b.current == p && (p.pages >= b.limits.Pages || p.spent) {
		b.current, b.open = nil, nil
	}
	over := p.users == 0 && b.current != p
	closed := b.closed
	b.idle.Reset(b.limits.Idle)
	b.mu.Unlock()
	if over && !closed {
		b.background(p.end)
	}
}

func (b *Browser) stopIdle() {
	b.mu.Lock()
	p := b.current
	if b.closed || p == nil || p.users > 0 {
		b.mu.Unlock()
		return
	}
	b.current, b.open = nil, nil
	b.mu.Unlock()
	b.background(p.end)
}

// measure has a process replaced that has grown.
func (b *Browser) measure(p *process) {
	if n := groupMemory(p.child.pgid()); n > b.limits.Memory {
		b.log.Info("chromium is replaced", "memory_bytes", n)
		b.mu.Lock()
		p.spent = true
		b.mu.Unlock()
	}
}
