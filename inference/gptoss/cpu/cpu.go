// Package cpu runs gpt-oss models on the processor: an engine.Runner.
//
// It owns the forward pass, the key/value memory and its own threads. It does not know requests, text or which sequence
// a row belongs to: a Batch says where every token's keys and values lie. A Runner is used by one goroutine at a time.
//
// Weights are used where they lie in the mapped file; activations, keys and values are float32, and so is every sum.
// Keys and values could be half as large, but float32 makes a token's logits agree with the reference to rounding, and
// memory that is not yet written costs nothing. A step is a list of parallel regions. Each is cut into many small items
// that the threads take one by one, so that a thread which the system suspends delays at most the item it holds. No
// item's result depends on how the work was cut, which is how a row gets the same bits alone, in a batch, and in any
// division of its prompt into chunks.
package cpu

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"chorale/inference/engine"
	"chorale/inference/gptoss"
	"chorale/inference/sample"
	kernels "chorale/kernels/cpu"
)

// Options are the settings of a Runner. The zero value is ready.
type Options struct {
	// Threads is how many threads compute, the caller's included. 0 = GOMAXPROCS.
	Threads int
	// KVBytes bounds the key/value memory, which is reserved at once but takes pages only as it is used. 0 = a quarter of
	// the machine's memory, but no more than the weights take or 1 GiB, whichever is larger.
	KVBytes int64
	// BlockTokens is the size of a block of either KV group, in positions; a multiple of 16. 0 = 16.
	BlockTokens int
	// MaxContext is the longest sequence, in tokens. 0 = the model's. A longer one than the model's is refused; one that
	// the key/value memory cannot hold is lowered to what it can.
	MaxContext int
}

// A Runner implements engine.Runner. Its weights alias the model that it was made from.
type Runner struct {
	kv      *cache
	pass    *pass
	pool    *pool
	context int // longest sequence, in tokens
}

var _ engine.Runner = (*Runner)(nil)

var errClosed = errors.New("runner is closed")

// New returns a Runner of m, which must stay open until Close. It starts the threads and reserves the key/value memory.
// Errors name the option, or the tensor that has a shape or type that cannot be run.
func New(m *gptoss.Model, o Options) (*Runner, error) {
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Threads < 1 || o.Threads > maxThreads {
		return nil, fmt.Errorf("threads is %d, want 1 to %d", o.Threads, maxThreads)
	}
	w, err := prepare(m)
	if err != nil {
		return nil, err
	}
	if o.KVBytes == 0 {
		o.KVBytes = defaultKVBytes(w.bytes)
	}
	kv, longest, err := newCache(&m.Config, o)
	if err != nil {
		return nil, err
	}
	r := &Runner{kv: kv, context: longest}
	r.pass = newPass(w, kv, o.Threads)
	r.pool = newPool(o.Threads, r.pass.do)
	r.pass.pool = r.pool
	return r, nil
}

// KV implements engine.Runner. Group 0 holds the full-attention layers, the last group the sliding ones; a model that has
// only one kind has only one group.
func (r *Runner) KV() engine.KVLayout {
	l := engine.KVLayout{MaxContext: r.context, Vocab: r.pass.config.Vocab}
	for _, g := range r.kv.groups {
		l.Groups = append(l.Groups, engine.KVGroup{BlockTokens: r.kv.blockTokens, Blocks: g.blocks, Window: g.window})
	}
	return l
}

// Step implements engine.Runner. Keys and values of a row go to the slots Context-Length … Context-1 of its block
// tables; Positions are used for the rotary embedding only. It refuses a malformed batch before it writes anything.
func (r *Runner) Step(ctx context.Context, b *engine.Batch, out []sample.Result) error {
	if len(out) != len(b.Rows) {
		return fmt.Errorf("%d results for %d rows", len(out), len(b.Rows))
	}
	if err := r.forward(ctx, b); err != nil {
		return err
	}
	r.pass.sampleRows(out)
	return nil
}

// Logits runs b like Step but samples nothing: it stores the logits that follow each of the tokens b.Tokens[from:] in out,
// which has length (len(b.Tokens)-from)·vocab.
func (r *Runner) Logits(ctx context.Context, b *engine.Batch, from int, out []float32) error {
	n := len(b.Tokens) - from
	if from < 0 || n < 0 || len(out) != n*r.pass.config.Vocab {
		return fmt.Errorf("%d logits from token %d of %d, want %d a token", len(out), from, len(b.Tokens), r.pass.config.Vocab)
	}
	if err := r.forward(ctx, b); err != nil {
		return err
	}
	for n := 0; from < len(b.Tokens); from += n {
		n = min(headRows, len(b.Tokens)-from)
		r.pass.logitsOf(from, n, out[:n*r.pass.config.Vocab])
		out = out[n*r.pass.config.Vocab:]
	}
	return nil
}

func (r *Runner) forward(ctx context.Context, b *engine.Batch) error {
	if r.pool == nil {
		return errClosed
	}
	if err := r.check(b); err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	return r.pass.run(ctx, b)
}

// check reports a batch that would read or write outside the model or the key/value memory.
func (r *Runner) check(b *engine.Batch) error {
	if len(b.Positions) != len(b.Tokens) {
		return fmt.Errorf("%d positions for %d tokens", len(b.Positions), len(b.Tokens))
	}
	for i, id := range b.Tokens {
		if id < 0 || int(id) >= r.pass.config.Vocab {
			return fmt.Errorf("token %d has id %d, want 0 to %d", i, id, r.pass.config.Vocab-1)
		}
		if b.Positions[i] < 0 {
			return fmt.Errorf("token %d has position %d", i, b.Positions[i])
		}
	}
	next := 0
	for i := range b.Rows {
		row := &b.Rows[i]
		switch {
		case row.First != next || row.Length < 1 || row.Length > len(b.Tokens)-next:
			return fmt.Errorf("row %d has tokens %d to %d, want them to follow token %d of %d", i, row.First, row.First+row.Length-1, next, len(b.Tokens))
		case row.Context < row.Length || row.Context > r.context:
			return fmt.Errorf("row %d has a context of %d, want %d to %d", i, row.Context, row.Length, r.context)
		case len(row.Blocks) != len(r.kv.groups):
			return fmt.Errorf("row %d has %d block tables, want %d", i, len(row.Blocks), len(r.kv.groups))
		case row.Mask != nil && len(row.Mask) < (r.pass.config.Vocab+31)/32:
			return fmt.Errorf("row %d has a mask of %d words, want %d", i, len(row.Mask), (r.pass.config.Vocab+31)/32)
		}
		for g, table := range row.Blocks {
			if err := r.kv.groups[g].check(table, row, r.kv.blockTokens); err != nil {
				return fmt.Errorf("row %d: %w", i, err)
			}
		}
		next += row.Length
	}
	if next != len(b.Tokens) {
		return fmt.Errorf("%d tokens belong to no row", len(b.Tokens)-next)
	}
	return nil
}

// Close implements engine.Runner: it ends the threads and releases the key/value memory.
func (r *Runner) Close() error {
	if r.pool == nil {
		return nil
	}
	r.pool.close()
	r.pool = nil
	return r.kv.free()
}

// headRows is how many rows of logits are computed together: enough to read the head once for all of a usual batch, and
// 25 MB of them with the vocabulary of gpt-oss.
const headRows = 32

// maxThreads is far above any machine's.
const maxThreads = 4096

// newWorkers returns each thread's private memory.
func newWorkers(n int) []worker {
	w := make([]worker, n)
	for i := range w {
		w[i].kernels = kernels.NewScratch()
	}
	return w
}
