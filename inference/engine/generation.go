package engine

import (
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"chorale/inference/sample"
)

// A Reason says why a generation ended.
type Reason int

const (
	// Failed: End returns the error.
	Failed Reason = iota
	// StopToken: the last token is one of Request.Stop.
	StopToken
	// MaxTokens: Request.MaxTokens were generated, or the context is full.
	MaxTokens
	// Cancelled: by Cancel, by its context, or because a loop over Tokens was left.
	Cancelled
)

func (r Reason) String() string {
	switch r {
	case Failed:
		return "failed"
	case StopToken:
		return "stop token"
	case MaxTokens:
		return "max tokens"
	case Cancelled:
		return "cancelled"
	default:
		return fmt.Sprintf("Reason(%d)", int(r))
	}
}

// A Finish is the account of a generation.
type Finish struct {
	Reason          Reason
	PromptTokens    int
	CachedTokens    int // tokens of the prompt that were not computed, because an earlier request had
	GeneratedTokens int // the stop token included
}

// A Generation is one request's tokens as they come. Its methods are safe for concurrent use. The engine never waits
// for a reader: what is not read yet lies in a buffer of at most Request.MaxTokens.
type Generation struct {
	engine    *Engine
	cancelled atomic.Bool
	iterated  atomic.Bool
	ready     chan struct{} // capacity 1: says that buffer or ended changed; one reminder is as good as many
	done      chan struct{} // closed when finish and err are final

	mu      sync.Mutex // guards what follows
	buffer  []sample.Result
	ended   bool
	finish  Finish
	err     error
	release func() bool // stops watching the request's context
}

func newGeneration(e *Engine) *Generation {
	return &Generation{engine: e, ready: make(chan struct{}, 1), done: make(chan struct{})}
}

// Tokens yields the tokens in order, the stop token included, waiting for each. It ends when the generation does; End
// says how. Leaving the loop early cancels the generation. It can be used once; later uses yield nothing.
func (g *Generation) Tokens() iter.Seq[sample.Result] {
	return func(yield func(sample.Result) bool) {
		if g.iterated.Swap(true) {
			return
		}
		defer g.Cancel()
		var batch []sample.Result
		for {
			var ended bool
			batch, ended = g.swap(batch[:0])
			for _, r := range batch {
				if !yield(r) {
					return
				}
			}
			if ended {
				return
			}
			<-g.ready
		}
	}
}

// swap returns what came since the last call and leaves empty as the buffer.
func (g *Generation) swap(empty []sample.Result) (batch []sample.Result, ended bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	batch, g.buffer = g.buffer, empty
	return batch, g.ended
}

// End waits until the generation has ended and returns its account, which also counts when the error is not nil.
// The error is ErrClosed, the constraint's, or what stopped the engine. Being cancelled is not an error.
func (g *Generation) End() (Finish, error) {
	<-g.done
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.finish, g.err
}

// Cancel ends the generation within one step, unless it has ended. It does not wait.
func (g *Generation) Cancel() {
	select {
	case <-g.done:
		return
	default:
	}
	if !g.cancelled.Swap(true) {
		g.engine.cancels.Store(true)
		g.engine.wakeUp()
	}
}

// watch keeps what stops watching the context until the generation ends.
func (g *Generation) watch(release func() bool) {
	g.mu.Lock()
	g.release = release
	ended := g.ended
	g.mu.Unlock()
	if ended {
		release()
	}
}

func (g *Generation) push(r sample.Result) {
	g.mu.Lock()
	g.buffer = append(g.buffer, r)
	g.mu.Unlock()
	g.remind()
}

func (g *Generation) end(f Finish, err error) {
	g.mu.Lock()
	g.finish, g.err, g.ended = f, err, true
	release := g.release
	g.mu.Unlock()
	close(g.done)
	g.remind()
	if release != nil {
		release()
	}
}

func (g *Generation) remind() {
	select {
	case g.ready <- struct{}{}:
	default:
	}
}
