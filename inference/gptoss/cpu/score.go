package cpu

import (
	"context"
	"fmt"

	"chorale/inference/engine"
)

// defaultChunk is how many tokens Score runs together: enough that weights are read for many of them.
const defaultChunk = 256

// Score runs tokens as one sequence from position 0, chunk tokens a step (0 = a sensible number; fewer if the key/value
// memory of the sliding layers is small), and calls emit with the logits that follow each of tokens[from:], in order.
// The slice is valid during the call. Score uses the key/value memory from its first block, so no other sequence may be
// alive. It stops at the first error, emit's included.
func (r *Runner) Score(ctx context.Context, tokens []int32, from, chunk int, emit func(logits []float32) error) error {
	if len(tokens) > r.context {
		return fmt.Errorf("%d tokens, want at most %d", len(tokens), r.context)
	}
	if from < 0 || from > len(tokens) || chunk < 0 {
		return fmt.Errorf("from token %d of %d in chunks of %d", from, len(tokens), chunk)
	}
	if chunk == 0 {
		chunk = defaultChunk
	}
	logits := make([]float32, headRows*r.pass.config.Vocab)
	tables := sequentialTables{kv: r.kv, longest: r.context}
	for start := 0; start < len(tokens); {
		n := min(chunk, len(tokens)-start, tables.longestStep())
		b := &engine.Batch{Tokens: tokens[start : start+n], Rows: []engine.Row{{Length: n, Context: start + n, Blocks: tables.at(start, n)}}}
		for i := range n {
			b.Positions = append(b.Positions, int32(start+i))
		}
		if err := r.forward(ctx, b); err != nil {
			return err
		}
		for at := max(from, start); at < start+n; {
			rows := min(headRows, start+n-at)
			out := logits[:rows*r.pass.config.Vocab]
			r.pass.logitsOf(at-start, rows, out)
			for ; len(out) > 0; out = out[r.pass.config.Vocab:] {
				if err := emit(out[:r.pass.config.Vocab]); err != nil {
					return err
				}
			}
			at += rows
		}
		start += n
	}
	return nil
}

// sequentialTables are the block tables of a single sequence: blocks in order, and round and round in the memory of a
// window, where only the last ones are needed.
type sequentialTables struct {
	kv      *cache
	longest int // tokens of a sequence
	tables  [][]int32
}

// longestStep returns how many tokens a step may have so that they and the windows behind them fit.
func (s *sequentialTables) longestStep() int {
	last := &s.kv.groups[len(s.kv.groups)-1]
	if last.window == 0 || last.blocks*s.kv.blockTokens >= s.longest {
		return s.longest
	}
	return (last.blocks-1)*s.kv.blockTokens - last.window + 1
}

// at returns the tables for a step of n tokens from position start.
func (s *sequentialTables) at(start, n int) [][]int32 {
	size := s.kv.blockTokens
	s.tables = s.tables[:0]
	for i := range s.kv.groups {
		g := &s.kv.groups[i]
		table := make([]int32, (start+n-1)/size+1)
		for j := range table {
			table[j] = -1
			if j >= firstKey(start, g.window)/size {
				table[j] = int32(j % g.blocks)
			}
		}
		s.tables = append(s.tables, table)
	}
	return s.tables
}
