package engine

import (
	"fmt"
	"math"
)

// Options bound what an Engine does at once. The zero value of each field means its default.
type Options struct {
	// MaxSequences is how many sequences run at once; the others wait. Default 64.
	MaxSequences int
	// MaxBatchTokens is how many tokens a step computes, the decoding rows' one each included. It bounds how long a
	// step takes, and so how long a decoding sequence waits for its next token while others prefill. Default 512.
	MaxBatchTokens int
	// MaxQueue is how many sequences may wait; beyond that Generate returns ErrQueueFull. Default 1024.
	MaxQueue int
}

// fitted returns the options with defaults, lowered until the windowed groups of the layout can never run out of
// blocks, so that only full-attention groups need to be watched while scheduling.
func (o Options) fitted(l KVLayout) (Options, error) {
	for _, f := range []struct {
		name     string
		value    *int
		fallback int
	}{
		{"MaxSequences", &o.MaxSequences, 64},
		{"MaxBatchTokens", &o.MaxBatchTokens, 512},
		{"MaxQueue", &o.MaxQueue, 1024},
	} {
		if *f.value < 0 {
			return o, fmt.Errorf("%s is %d, must be positive, or 0 for %d", f.name, *f.value, f.fallback)
		}
		if *f.value == 0 {
			*f.value = f.fallback
		}
	}
	unit := l.unit()
	for i, g := range l.Groups {
		if g.Window == 0 {
			continue
		}
		// Between steps a sequence holds the window before its last multiple of unit and what it computed since; a step
		// adds at most one block for each full block's worth of tokens, and one more for each row.
		perSequence := (g.Window+unit-2)/g.BlockTokens + 3
		if g.Blocks <= perSequence {
			return o, fmt.Errorf("KV group %d has %d blocks of %d tokens, a window of %d needs at least %d",
				i, g.Blocks, g.BlockTokens, g.Window, perSequence+1)
		}
		batchBlocks := min((o.MaxBatchTokens+g.BlockTokens-1)/g.BlockTokens, max(g.Blocks/2, 1), g.Blocks-perSequence)
		o.MaxBatchTokens = min(o.MaxBatchTokens, batchBlocks*g.BlockTokens)
		o.MaxSequences = min(o.MaxSequences, (g.Blocks-batchBlocks)/perSequence)
	}
	o.MaxSequences = min(o.MaxSequences, o.MaxBatchTokens) // every running sequence can have a token in every step
	return o, nil
}

// validate reports a layout that no engine could use.
func (l KVLayout) validate() error {
	if l.Vocab < 1 || l.MaxContext < 2 || len(l.Groups) == 0 {
		return fmt.Errorf("KV layout has vocabulary %d, context %d and %d groups, needs at least 1, 2 and 1", l.Vocab, l.MaxContext, len(l.Groups))
	}
	for i, g := range l.Groups {
		if g.BlockTokens < 1 || g.Blocks < 1 || g.Blocks > math.MaxInt32-tiers || g.Window < 0 {
			return fmt.Errorf("KV group %d has %d blocks of %d tokens and window %d, needs positive numbers", i, g.Blocks, g.BlockTokens, g.Window)
		}
	}
	if l.context() < 2 {
		return fmt.Errorf("KV memory holds %d tokens of a sequence, needs at least 2", l.context())
	}
	return nil
}

// unit is the least common multiple of the block sizes: a prefix can be shared up to a multiple of it.
func (l KVLayout) unit() int {
	unit := 1
	for _, g := range l.Groups {
		a, b := unit, g.BlockTokens
		for b != 0 {
			a, b = b, a%b
		}
		unit *= g.BlockTokens / a
	}
	return unit
}

// context is the longest sequence that the model allows and that fits when it is alone.
func (l KVLayout) context() int {
	context := l.MaxContext
	for _, g := range l.Groups {
		if g.Window == 0 {
			context = min(context, g.Blocks*g.BlockTokens)
		}
	}
	return context
}
