package python

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"chorale/sandbox"
)

// PoolOptions are the settings of NewPool. Zeros stand for the defaults.
type PoolOptions struct {
	Slots      int   // pristine interpreters that are kept ready; negative: none, each session gets a new fork
	MaxLive    int   // sessions at a time
	MaxWaiting int   // callers that wait for one to end; more are refused with ErrBusy
	MaxMemory  int64 // bytes that all sessions have together, without what they share
	MaxSession int64 // bytes of memory that one session may ask for in its Limits
	// Key authenticates snapshots: a pool restores what was made with the same key. Empty: a random one, so that snapshots
	// end with the pool.
	Key []byte
	// Logger hears of interpreters that could not be replaced. Nil: nobody does.
	Logger *slog.Logger
}

// The defaults of PoolOptions.
const (
	DefaultSlots      = 4
	DefaultMaxLive    = 200
	DefaultMaxWaiting = 256
	DefaultMaxMemory  = 4 << 30
	DefaultMaxSession = 1 << 30
)

// ErrBusy is returned when there are as many sessions as may be, and as many callers waiting, or when memory is used up.
var ErrBusy = errors.New("all python interpreters are in use")

// ErrClosed is returned by a closed pool or session.
var ErrClosed = errors.New("python session is closed")

// sessionBytes is what a session is charged at least: about what a small run leaves behind, the engine's part included.
const sessionBytes = 1 << 20

// A Pool hands out sessions. It is safe for concurrent use.
type Pool struct {
	img     *Image
	o       PoolOptions
	idle    *sandbox.Mem // what interpreters without a session see
	encoder *zstd.Encoder
	decoder *zstd.Decoder

	ready   chan *slot     // pristine, up to Slots
	used    chan *slot     // to be reset; with room for those of all sessions, or none without Slots
	live    chan struct{}  // holds one for each session, and for each interpreter that is being reset
	closing chan struct{}  // closed by Close
	work    sync.WaitGroup // resets under way

	mu       sync.Mutex // guards the next two
	closed   bool
	sessions map[*Session]struct{}

	memory   atomic.Int64 // bytes charged to sessions
	waiting  atomic.Int64
	acquired atomic.Int64
	restored atomic.Int64
	lost     atomic.Int64
	forks    atomic.Int64
	resets   atomic.Int64
}

// Stats are counters of a pool and what it holds now.
type Stats struct {
	Live, Ready, Waiting int
	Memory               int64 // bytes that sessions have, without what they share
	Acquired, Restored   int64 // sessions since the start
	Lost                 int64 // interpreters that were stopped or broke
	Forks, Resets        int64 // how interpreters became pristine
}

// NewPool starts a pool and its first interpreters. Close it before the image.
func NewPool(img *Image, o PoolOptions) (*Pool, error) {
	for _, v := range []struct {
		name string
		n    *int
		def  int
	}{{"MaxLive", &o.MaxLive, DefaultMaxLive}, {"MaxWaiting", &o.MaxWaiting, DefaultMaxWaiting}} {
		if *v.n < 0 {
			return nil, fmt.Errorf("python pool: %s is %d, must not be negative", v.name, *v.n)
		}
		if *v.n == 0 {
			*v.n = v.def
		}
	}
	if o.Slots == 0 {
		o.Slots = DefaultSlots
	}
	o.Slots = max(o.Slots, 0)
	if o.MaxMemory < 0 || o.MaxSession < 0 {
		return nil, fmt.Errorf("python pool: MaxMemory (%d) and MaxSession (%d) must not be negative", o.MaxMemory, o.MaxSession)
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = DefaultMaxMemory
	}
	if o.MaxSession == 0 {
		o.MaxSession = DefaultMaxSession
	}
	if o.MaxSession < int64(img.state.Bytes()) {
		return nil, fmt.Errorf("python pool: MaxSession is %d bytes, the interpreter itself needs %d", o.MaxSession, img.state.Bytes())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Key = append([]byte(nil), o.Key...)
	if len(o.Key) == 0 {
		o.Key = make([]byte, 32)
		rand.Read(o.Key)
	}
	used := o.MaxLive
	if o.Slots == 0 {
		used = 0 // nothing is used again
	}
	p := &Pool{
		img: img, o: o, ready: make(chan *slot, o.Slots), used: make(chan *slot, used), live: make(chan struct{}, o.MaxLive),
		closing: make(chan struct{}), sessions: map[*Session]struct{}{},
	}
	var err error
	if p.idle, err = newFiles(0, 0); err != nil {
		return nil, fmt.Errorf("python pool: %w", err)
	}
	cores := runtime.GOMAXPROCS(0)
	if p.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(cores)); err == nil {
		p.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(cores), zstd.WithDecoderMaxMemory(maxSnapshotBytes))
	}
	if err != nil {
		return nil, fmt.Errorf("python pool: %w", err)
	}
	for range o.Slots {
		s, err := p.fork(context.Background())
		if err == nil {
			err = p.warm(s)
		}
		if err != nil {
			return nil, fmt.Errorf("python pool: %w", errors.Join(err, p.Close()))
		}
		p.ready <- s
	}
	return p, nil
}

// Close ends all sessions, calls under way included, and frees the interpreters.
func (p *Pool) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	var open []*Session
	for s := range p.sessions {
		open = append(open, s)
	}
	p.mu.Unlock()
	if first {
		close(p.closing)
	}
	var err error
	for _, s := range open {
		err = errors.Join(err, s.Close())
	}
	p.work.Wait()
	for {
		select {
		case s := <-p.ready:
			err = errors.Join(err, s.in.Close())
		default:
			if first {
				p.decoder.Close()
				err = errors.Join(err, p.encoder.Close())
			}
			return err
		}
	}
}

// Stats is how the pool stands.
func (p *Pool) Stats() Stats {
	return Stats{
		Live: len(p.live), Ready: len(p.ready), Waiting: int(p.waiting.Load()), Memory: p.memory.Load(),
		Acquired: p.acquired.Load(), Restored: p.restored.Load(), Lost: p.lost.Load(), Forks: p.forks.Load(), Resets: p.resets.Load(),
	}
}

// enter waits for a place among the live sessions.
func (p *Pool) enter(ctx context.Context) error {
	if used := p.memory.Load(); used+sessionBytes > p.o.MaxMemory {
		return fmt.Errorf("%w: sessions have %d bytes of memory, at most %d are allowed", ErrBusy, used, p.o.MaxMemory)
	}
	select {
	case <-p.closing:
		return ErrClosed
	case p.live <- struct{}{}:
		return nil
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > int64(p.o.MaxWaiting) {
		return fmt.Errorf("%w: %d sessions are live and %d callers wait", ErrBusy, p.o.MaxLive, p.o.MaxWaiting)
	}
	select {
	case <-p.closing:
		return ErrClosed
	case p.live <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a python interpreter: %w", context.Cause(ctx))
	}
}

// leave is enter's opposite.
func (p *Pool) leave() { <-p.live }

// A slot is an interpreter.
type slot struct {
	in  *sandbox.Instance
	out console
}

// take returns a pristine interpreter: one that is ready, one that waits to be reset, or a new fork.
func (p *Pool) take(ctx context.Context) (*slot, error) {
	select {
	case s := <-p.ready:
		return s, nil
	default:
	}
	select {
	case s := <-p.used:
		if p.reset(s) {
			return s, nil
		}
	default:
	}
	return p.fork(ctx)
}

func (p *Pool) fork(ctx context.Context) (*slot, error) {
	s := &slot{}
	var err error
	s.in, err = p.img.module.Fork(ctx, p.img.state, sandbox.Config{
		Limits: sandbox.Limits{Memory: p.o.MaxSession}, Mounts: p.img.mounts(p.idle), Stdout: &s.out, Stderr: &s.out,
	})
	if err != nil {
		return nil, err
	}
	p.forks.Add(1)
	return s, nil
}

// maxFuel makes time the only limit of a call.
const maxFuel = math.MaxInt64

const warmWall = 10 * time.Second

// warm runs a cell that leaves nothing behind but pages that the next cell need not fault in.
func (p *Pool) warm(s *slot) error {
	s.out.reset(0, nil)
	err := s.in.Configure(sandbox.Config{Limits: sandbox.Limits{Wall: warmWall, Fuel: maxFuel}, Mounts: p.img.mounts(p.idle),
		Stdout: &s.out, Stderr: &s.out})
	if err == nil {
		_, _, err = s.exec(context.Background(), request{Code: "1+1", Seed: newSeed(), Stateful: true, Echo: true})
	}
	if err == nil {
		err = s.in.Reset(p.img.state)
	}
	if err != nil {
		return errors.Join(err, s.in.Close())
	}
	return nil
}

// give takes an interpreter back off the caller's path, and calls release when all is done.
func (p *Pool) give(s *slot, release func()) {
	if s != nil {
		select {
		case p.used <- s:
		default:
			s.in.Close()
		}
	}
	p.work.Go(func() {
		defer release()
		if s == nil {
			p.refill()
			return
		}
		select {
		case used := <-p.used:
			if p.reset(used) {
				p.keep(used)
			} else {
				p.refill()
			}
		default: // take was faster
		}
	})
}

// reset makes an interpreter pristine again. One that cannot be is closed: its memory has grown, or it is gone.
func (p *Pool) reset(s *slot) bool {
	if s.in.Reset(p.img.state) != nil {
		s.in.Close()
		return false
	}
	p.resets.Add(1)
	return true
}

// refill makes a new interpreter ready if too few are.
func (p *Pool) refill() {
	select {
	case <-p.closing:
		return
	default:
	}
	if len(p.ready) >= cap(p.ready) {
		return
	}
	s, err := p.fork(context.Background())
	if err == nil {
		err = p.warm(s)
	}
	if err != nil {
		p.o.Logger.Error("python interpreter could not be replaced", "error", err)
		return
	}
	p.keep(s)
}

// keep makes an interpreter ready.
func (p *Pool) keep(s *slot) {
	select {
	case p.ready <- s:
	default:
		s.in.Close()
	}
}

// newSeed is what the random module of a session begins with.
func newSeed() string {
	var b [32]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x", b)
}
