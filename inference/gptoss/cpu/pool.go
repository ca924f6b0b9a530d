package cpu

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// A pool runs regions: a number of items that its threads take one by one until none is left. The thread that calls run
// takes part, so a region ends even while every other thread sleeps.
//
// What there is to do is one word: the region's phase, its number of items and the next item. A thread takes an item by
// raising that word by one if it is still what it read, so whatever it read is still true then: a thread that comes late,
// when another region has begun, cannot take an item of one region for that of another.
type pool struct {
	do   func(phase phase, worker, item int)
	work atomic.Uint64
	done atomic.Int64 // items of the region that have ended

	waiting  atomic.Bool   // run sleeps until the last item has ended, or is about to
	finished chan struct{} // then it gets one message; capacity 1, so that the sender never waits

	failure atomic.Pointer[failure] // the first panic of an item
	closed  atomic.Bool
	threads sync.WaitGroup

	sleeping atomic.Int32 // threads in wait, or about to be
	mu       sync.Mutex   // guards nothing but the wait
	wake     sync.Cond
}

// A failure is a panic on its way from the thread of an item to the caller of run.
type failure struct {
	value any
	stack []byte
}

const (
	itemBits = 24
	itemMask = 1<<itemBits - 1
)

// spinning is how long a thread without work looks for some before it sleeps: longer than the gaps between regions and
// between the steps of a busy engine, since waking a thread takes longer than most regions.
const spinning = 200 * time.Microsecond

// newPool starts threads-1 goroutines.
func newPool(threads int, do func(phase phase, worker, item int)) *pool {
	p := &pool{do: do, finished: make(chan struct{}, 1)}
	p.wake.L = &p.mu
	p.threads.Add(threads - 1)
	for i := 1; i < threads; i++ {
		go p.serve(i)
	}
	return p
}

// run does items 0 … n-1 of a phase and returns when all have ended. It panics if one of them did.
func (p *pool) run(ph phase, n int) {
	if n > itemMask {
		panic(fmt.Sprintf("region of %d items", n))
	}
	if n <= 1 {
		for range n {
			p.do(ph, 0, 0)
		}
		return
	}
	p.done.Store(0)
	p.work.Store(uint64(ph)<<(2*itemBits) | uint64(n)<<itemBits)
	if p.sleeping.Load() > 0 {
		p.mu.Lock()
		p.wake.Broadcast()
		p.mu.Unlock()
	}
	for p.take(0) {
	}
	p.wait(int64(n))
	if f := p.failure.Swap(nil); f != nil {
		panic(fmt.Sprintf("%v\n\n%s", f.value, f.stack))
	}
}

// wait returns when n items have ended. Items take microseconds; one that takes longer is held by a thread that the system
// suspended in favour of another process, and sleeping gives that thread our processor.
func (p *pool) wait(n int64) {
	start := time.Now()
	for spins := 1; p.done.Load() < n; spins++ {
		if spins%spinsPerYield != 0 {
			continue
		}
		runtime.Gosched()
		if time.Since(start) < patience {
			continue
		}
		p.waiting.Store(true)
		if p.done.Load() == n && p.waiting.CompareAndSwap(true, false) {
			return
		}
		<-p.finished // who ended the last item saw waiting, or will
	}
}

// patience is how long run waits for the items of other threads before it sleeps.
const patience = 50 * time.Microsecond

// spinsPerYield is how often a spinning thread looks for work before it lets another goroutine run: about a microsecond,
// since whoever consumes our tokens may be waiting for this very thread.
const spinsPerYield = 256

// take does one item and reports whether there was one.
func (p *pool) take(worker int) bool {
	w := p.work.Load()
	item, n := w&itemMask, w>>itemBits&itemMask
	if item >= n {
		return false
	}
	if p.work.CompareAndSwap(w, w+1) {
		p.item(phase(w>>(2*itemBits)), worker, int(item))
		if p.done.Add(1) == int64(n) && p.waiting.CompareAndSwap(true, false) {
			p.finished <- struct{}{}
		}
	}
	return true
}

func (p *pool) item(ph phase, worker, item int) {
	defer func() {
		if v := recover(); v != nil {
			p.failure.CompareAndSwap(nil, &failure{v, debug.Stack()})
		}
	}()
	p.do(ph, worker, item)
}

func (p *pool) serve(worker int) {
	defer p.threads.Done()
	for !p.closed.Load() {
		if !p.take(worker) {
			p.idle()
		}
	}
}

// idle returns when there is work, or the pool is closed.
func (p *pool) idle() {
	start := time.Now()
	for spins := 1; !p.ready(); spins++ {
		if spins%spinsPerYield != 0 {
			continue
		}
		runtime.Gosched()
		if time.Since(start) > spinning {
			p.sleep()
			return
		}
	}
}

func (p *pool) ready() bool {
	w := p.work.Load()
	return w&itemMask < w>>itemBits&itemMask || p.closed.Load()
}

func (p *pool) sleep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Counted before the last look: run stores work before it reads the count, so one of the two sees the other.
	p.sleeping.Add(1)
	defer p.sleeping.Add(-1)
	for !p.ready() {
		p.wake.Wait()
	}
}

// close ends the goroutines and returns when they have ended.
func (p *pool) close() {
	p.closed.Store(true)
	p.mu.Lock()
	p.wake.Broadcast()
	p.mu.Unlock()
	p.threads.Wait()
}
