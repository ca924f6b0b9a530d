package engine

import (
	"context"

	"chorale/inference/sample"
)

// A Runner executes steps on one device. Only the engine's goroutine calls it.
type Runner interface {
	// Step runs the forward pass of b, writes the new keys and values through the block tables, and for every row i
	// with Sampling != nil stores the token sampled after the row's last token in out[i]; len(out) == len(b.Rows).
	// A row's result depends on that row alone, bit for bit, whatever else is in the batch and however the prompt was
	// cut into chunks. An error is fatal for the whole engine. ctx ends when the engine is closed; the step may then be
	// left unfinished with ctx's error.
	Step(ctx context.Context, b *Batch, out []sample.Result) error
	// KV describes the key/value memory. It is constant for the life of the Runner.
	KV() KVLayout
	// Close releases the device. It is idempotent.
	Close() error
}

// A Constraint limits what a sequence may sample next. One per sequence; the engine's goroutine calls it.
type Constraint interface {
	// Mask writes one bit per vocabulary id into dst (bit t%32 of dst[t/32], set = allowed) and reports whether
	// sampling is limited at all; when it returns false dst is undefined.
	Mask(dst []uint32) (limited bool)
	// Accept advances past a sampled token.
	Accept(token int32) error
}

// KVLayout describes a Runner's key/value memory: one pool of equal blocks per KV group.
type KVLayout struct {
	Groups []KVGroup
	// MaxContext is the largest number of positions of one sequence, prompt and output together.
	MaxContext int
	// Vocab is the number of logits, and so the number of bits of a mask.
	Vocab int
}

// A KVGroup is a set of layers that share block tables.
type KVGroup struct {
	BlockTokens int // positions per block
	// Blocks is the size of the pool; ids are 0..Blocks-1. In a windowed group a running sequence needs about
	// Window/BlockTokens + 4, and a batch MaxBatchTokens/BlockTokens; New runs fewer sequences when there are fewer. All
	// beyond that remembers prefixes.
	Blocks int
	Window int // 0 = full attention; else a position sees itself and the Window-1 positions before it
}

// A Batch is one step's work: flat slices that a Runner can upload as they are. It is valid during Step only.
type Batch struct {
	Tokens    []int32 // [tokens] rows one after the other
	Positions []int32 // [tokens] position of each token in its sequence
	Rows      []Row
}

// A Row is one sequence's part of a Batch.
type Row struct {
	First  int // index of the row's first token in Batch.Tokens
	Length int // tokens in this step, at least 1
	// Context is the number of positions known after this step: position of the row's last token + 1.
	Context int
	// Blocks[g][i] is the block of group g that holds positions i*BlockTokens … (i+1)*BlockTokens-1. Entries of a
	// windowed group that lie wholly behind the window of every token of this row may be -1 and must not be read.
	Blocks [][]int32

	Sampling  *sample.Params // nil: this row's prompt is not finished, sample nothing
	Mask      []uint32       // nil: every id is allowed; else as in Constraint.Mask, [(Vocab+31)/32]
	Generated []int32        // tokens sampled so far, oldest first: for penalties, and its length indexes the random number
}
