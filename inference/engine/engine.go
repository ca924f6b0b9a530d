// Package engine turns prompts into sampled tokens, many sequences in one batch.
//
// It owns sequences, the queue, the schedule, the blocks of key/value memory, the cache of computed prefixes, and the
// loop of steps. It knows token ids, lengths and blocks; not text, chat formats, JSON or tools, and of the device only
// the Runner. All methods of Engine and Generation are safe for concurrent use: requests go in through a small locked
// inbox, tokens come out through a buffer per generation, and everything between belongs to the engine's goroutine,
// which waits for nobody but the Runner.
//
// One rule schedules everything: a sequence gets tokens until what is computed reaches what is known. DESIGN.md tells
// how memory is shared between sequences and why it cannot run out half-way.
package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An Engine runs generations on a Runner. Create it with New, end it with Close.
type Engine struct {
	stepper
	context int // tokens of the longest sequence
	halt    context.CancelFunc
	done    chan struct{} // closed when the goroutine has ended
	wake    chan struct{} // capacity 1: says that inbox, phase or cancels changed; one reminder is as good as many
	cancels atomic.Bool   // some generation was cancelled since the last look

	mu      sync.Mutex // guards what follows
	inbox   []*sequence
	queued  int // sequences in inbox and waiting
	phase   phase
	empty   chan struct{} // closed when the phase becomes drained
	failure error         // why the engine stopped by itself
	shared  Stats
}

type phase int

const (
	open     phase = iota
	draining       // no new requests
	drained        // and nothing left to do
	closed
)

// New starts an engine on r, which stays the caller's to close after the engine. It refuses key/value memory that no
// sequence could run in. Options whose limits the memory cannot serve are lowered; see Engine.Options.
func New(r Runner, o Options) (*Engine, error) {
	layout := r.KV()
	if err := layout.validate(); err != nil {
		return nil, err
	}
	o, err := o.fitted(layout)
	if err != nil {
		return nil, err
	}
	ctx, halt := context.WithCancel(context.Background())
	e := &Engine{
		stepper: newStepper(r, layout, o),
		context: layout.context(),
		halt:    halt,
		done:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		empty:   make(chan struct{}),
	}
	e.count()
	e.publish()
	go e.run(ctx)
	return e, nil
}

// Options returns the limits in force.
func (e *Engine) Options() Options { return e.options }

// MaxContext is the number of tokens of the longest sequence that fits, prompt and output together.
func (e *Engine) MaxContext() int { return e.context }

// Generate queues a request and returns at once. The generation ends when ctx does. The error is a *ContextError or
// another that names what is wrong with the request, ErrQueueFull, ErrClosed, ctx's, or what stopped the engine.
func (e *Engine) Generate(ctx context.Context, r Request) (*Generation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.validate(e.context, e.vocab); err != nil {
		return nil, err
	}
	limit := e.context
	if r.MaxTokens > 0 {
		limit = min(limit, len(r.Prompt)+r.MaxTokens)
	}
	s := &sequence{
		Generation: newGeneration(e),
		stop:       r.Stop,
		sampling:   r.Sampling,
		constraint: r.Constraint,
		tokens:     slices.Clone(r.Prompt),
		prompt:     len(r.Prompt),
		limit:      limit,
		kv:         e.kv.newState(r.Prompt, r.CacheSalt),
		arrived:    time.Now(),
	}
	if err := e.submit(s); err != nil {
		return nil, err
	}
	s.watch(context.AfterFunc(ctx, s.Cancel))
	return s.Generation, nil
}

func (e *Engine) submit(s *sequence) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.failure != nil:
		return e.failure
	case e.phase != open:
		return ErrClosed
	case e.queued >= e.options.MaxQueue:
		return ErrQueueFull
	}
	e.inbox = append(e.inbox, s)
	e.queued++
	e.wakeUp()
	return nil
}

// Stats returns the counts as of the latest step.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.shared
	s.Groups = slices.Clone(s.Groups)
	return s
}

// Drain refuses new requests and waits until those accepted have ended, or ctx does, whose error it then returns. The
// engine stays to be closed.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	if e.phase == open {
		e.phase = draining
	}
	e.mu.Unlock()
	e.wakeUp()
	select {
	case <-e.empty:
	case <-e.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Close ends what still runs with ErrClosed and waits until the engine's goroutine has ended, which takes one step at
// most. It is idempotent, and returns what stopped the engine before, if anything did.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.phase = closed
	e.mu.Unlock()
	e.halt()
	e.wakeUp()
	<-e.done
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failure
}

func (e *Engine) wakeUp() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run is the engine's goroutine.
func (e *Engine) run(ctx context.Context) {
	defer close(e.done)
	defer e.halt()
	err := e.loop(ctx)

	e.mu.Lock()
	if e.phase == closed {
		err = ErrClosed
	} else {
		err = fmt.Errorf("the engine stopped: %w", err)
		e.failure = err
	}
	e.phase = closed
	rest := e.inbox
	e.inbox = nil
	e.mu.Unlock()

	e.abandon(rest, err)
	e.publish()
}

// loop runs steps until the engine is closed or the Runner fails. It is the one place where a panic of the Runner, of a
// constraint or of our own is caught.
func (e *Engine) loop(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	for e.receive() {
		e.begin()
		e.count()
		e.publish()
		if err := e.step(ctx); err != nil {
			return err
		}
		e.count()
		e.publish()
	}
	return errors.New("closed")
}

// receive takes over new requests and ends what was cancelled, waiting while there is nothing to do, and reports whether
// to go on.
func (e *Engine) receive() bool {
	for {
		// Read before the inbox: what was cancelled by now was submitted before, so the sweep finds it.
		cancels := e.cancels.Swap(false)
		e.mu.Lock()
		arrived, phase := e.inbox, e.phase
		e.inbox = nil
		if phase == draining && len(arrived)+len(e.waiting)+len(e.running) == 0 {
			e.phase = drained
			close(e.empty)
		}
		e.mu.Unlock()
		if len(arrived) > 0 {
			e.waiting = append(e.waiting, arrived...)
			e.retry = true
		}
		if cancels {
			e.sweep()
		}
		switch {
		case phase == closed:
			return false
		case len(e.waiting)+len(e.running)+len(e.endings) > 0:
			return true
		}
		<-e.wake
	}
}

// publish makes the counts visible, and then gives generations what they have not been told: whoever sees one end finds
// it in Stats.
func (e *Engine) publish() {
	e.mu.Lock()
	groups := append(e.shared.Groups[:0], e.stats.Groups...)
	e.shared = e.stats
	e.shared.Groups = groups
	e.queued = len(e.waiting) + len(e.inbox)
	e.mu.Unlock()
	e.deliver()
}
