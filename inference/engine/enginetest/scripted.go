// Package enginetest is a Runner without a model, for tests of the engine and of everything above it.
//
// It owns a fake key/value memory in which each slot remembers the token and position that were written there and all
// that came before, and checks at every step that the engine keeps the promises of engine.Batch: what a real Runner
// would silently answer with nonsense is an error here, which stops the engine. What it answers comes from a function of
// the sequence's tokens as they are read back from that memory. It knows nothing of scheduling. Only the engine's
// goroutine may call it, as any Runner.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"chorale/inference/engine"
	"chorale/inference/sample"
)

// A Script answers with the token that follows prompt and generated. Both are valid during the call only.
type Script func(prompt, generated []int32) int32

// Options say how a Scripted answers: by Script, or by Logits.
type Options struct {
	// Layout is the key/value memory; the zero value is Layout(201088). It needs at least one group without a window, in
	// which the sequences can be read back.
	Layout engine.KVLayout
	// Script names the next token, with certainty. Under a mask that forbids it, the next higher id that is allowed is
	// the answer, or failing that the lowest.
	Script Script
	// Logits, when Script is nil, fills in the logits [vocab] of the next token, from which sample.Sample chooses.
	Logits func(prompt, generated []int32, logits []float32)
	// BeforeStep, when not nil, runs first in each step. Its error is the step's. Waiting in it holds up the engine as a
	// slow device would.
	BeforeStep func(ctx context.Context, b *engine.Batch) error
}

// Layout is a memory like that of a small device for gpt-oss: 2,048 full-attention and 1,024 windowed blocks of 16
// tokens, contexts of up to 8,192 tokens.
func Layout(vocab int) engine.KVLayout {
	return engine.KVLayout{
		Groups:     []engine.KVGroup{{BlockTokens: 16, Blocks: 2048}, {BlockTokens: 16, Blocks: 1024, Window: 128}},
		MaxContext: 8192,
		Vocab:      vocab,
	}
}

// Scripted is the Runner.
type Scripted struct {
	o       Options
	full    int             // the group in which sequences are read back
	slots   [][]slot        // [group][block*BlockTokens + position%BlockTokens]
	writers []map[int32]int // [group] row that writes a block in this step
	scratch sample.Scratch  // of Logits
	logits  []float32       // [vocab]
	texts   []int32         // tokens of the row at hand
	chains  []uint64        // [position] of the row at hand
	closed  bool
}

// A slot is one position of a block.
type slot struct {
	token    int32
	position int    // -1: never written
	chain    uint64 // names all tokens of the sequence up to this one
}

// NewScripted returns a Scripted. It panics on options without an answer or a group without a window, which are mistakes
// in the test.
func NewScripted(o Options) *Scripted {
	if len(o.Layout.Groups) == 0 {
		o.Layout = Layout(201088)
	}
	s := &Scripted{o: o, full: slices.IndexFunc(o.Layout.Groups, func(g engine.KVGroup) bool { return g.Window == 0 })}
	if s.full < 0 || o.Script == nil && o.Logits == nil {
		panic("enginetest: NewScripted needs Script or Logits, and a group without a window")
	}
	for _, g := range o.Layout.Groups {
		slots := make([]slot, g.Blocks*g.BlockTokens)
		for i := range slots {
			slots[i].position = -1
		}
		s.slots = append(s.slots, slots)
		s.writers = append(s.writers, make(map[int32]int))
	}
	return s
}

// KV returns Options.Layout.
func (s *Scripted) KV() engine.KVLayout { return s.o.Layout }

// Close makes further steps fail.
func (s *Scripted) Close() error {
	s.closed = true
	return nil
}

// Step checks the batch, writes it to the memory and answers.
func (s *Scripted) Step(ctx context.Context, b *engine.Batch, out []sample.Result) error {
	if s.closed {
		return errors.New("step after close")
	}
	if s.o.BeforeStep != nil {
		if err := s.o.BeforeStep(ctx, b); err != nil {
			return err
		}
	}
	if err := s.checkShape(b, out); err != nil {
		return err
	}
	if err := s.checkWriters(b); err != nil {
		return err
	}
	for i := range b.Rows {
		if err := s.row(b, &b.Rows[i], &out[i]); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}

// checkShape reports rows that do not divide the batch, or do not describe themselves rightly.
func (s *Scripted) checkShape(b *engine.Batch, out []sample.Result) error {
	if len(b.Rows) == 0 || len(out) != len(b.Rows) || len(b.Tokens) != len(b.Positions) {
		return fmt.Errorf("%d rows, %d results, %d tokens, %d positions", len(b.Rows), len(out), len(b.Tokens), len(b.Positions))
	}
	next := 0
	for i, r := range b.Rows {
		if r.First != next || r.Length < 1 || r.First+r.Length > len(b.Tokens) {
			return fmt.Errorf("row %d has tokens %d+%d of %d, should begin at %d", i, r.First, r.Length, len(b.Tokens), next)
		}
		next += r.Length
		if r.Context < r.Length || r.Context > s.o.Layout.MaxContext {
			return fmt.Errorf("row %d has context %d with %d new tokens, at most %d", i, r.Context, r.Length, s.o.Layout.MaxContext)
		}
		for j := range r.Length {
			if p := int(b.Positions[r.First+j]); p != r.Context-r.Length+j {
				return fmt.Errorf("row %d: token %d has position %d, should be %d", i, j, p, r.Context-r.Length+j)
			}
			if t := b.Tokens[r.First+j]; t < 0 || int(t) >= s.o.Layout.Vocab {
				return fmt.Errorf("row %d: token %d is %d, vocabulary %d", i, j, t, s.o.Layout.Vocab)
			}
		}
		if r.Mask != nil && len(r.Mask) != (s.o.Layout.Vocab+31)/32 {
			return fmt.Errorf("row %d has a mask of %d words, vocabulary %d", i, len(r.Mask), s.o.Layout.Vocab)
		}
		if len(r.Blocks) != len(s.o.Layout.Groups) {
			return fmt.Errorf("row %d has %d block tables for %d groups", i, len(r.Blocks), len(s.o.Layout.Groups))
		}
	}
	if next != len(b.Tokens) {
		return fmt.Errorf("rows have %d tokens, the batch %d", next, len(b.Tokens))
	}
	return nil
}

// checkWriters reports tables with blocks that do not exist, and blocks that a row writes and another row has.
func (s *Scripted) checkWriters(b *engine.Batch) error {
	for g, group := range s.o.Layout.Groups {
		writers := s.writers[g]
		clear(writers)
		for i, r := range b.Rows {
			if len(r.Blocks[g])*group.BlockTokens < r.Context {
				return fmt.Errorf("row %d, group %d: %d blocks of %d for context %d", i, g, len(r.Blocks[g]), group.BlockTokens, r.Context)
			}
			for j := firstVisible(group, r) / group.BlockTokens; j*group.BlockTokens < r.Context; j++ {
				block := r.Blocks[g][j]
				if block < 0 || int(block) >= group.Blocks {
					return fmt.Errorf("row %d, group %d: table entry %d is block %d of %d", i, g, j, block, group.Blocks)
				}
				if (j+1)*group.BlockTokens <= r.Context-r.Length {
					continue
				}
				if other, taken := writers[block]; taken {
					return fmt.Errorf("group %d: rows %d and %d both write block %d", g, other, i, block)
				}
				writers[block] = i
			}
		}
		for i, r := range b.Rows {
			for j, block := range r.Blocks[g] {
				if writer, written := writers[block]; written && writer != i {
					return fmt.Errorf("group %d: row %d writes block %d, which row %d has at %d", g, writer, block, i, j)
				}
			}
		}
	}
	return nil
}

// firstVisible is the lowest position that a token of the row attends to.
func firstVisible(g engine.KVGroup, r engine.Row) int {
	if g.Window == 0 {
		return 0
	}
	return max(0, r.Context-r.Length-g.Window+1)
}

func (s *Scripted) slot(g int, r *engine.Row, position int) *slot {
	size := s.o.Layout.Groups[g].BlockTokens
	return &s.slots[g][int(r.Blocks[g][position/size])*size+position%size]
}

// row reads the row's sequence back, checks that every visible position of every group belongs to it, writes the new
// tokens and answers.
func (s *Scripted) row(b *engine.Batch, r *engine.Row, out *sample.Result) error {
	s.texts, s.chains = s.texts[:0], s.chains[:0]
	chain := uint64(0)
	first := r.Context - r.Length
	for p := range first {
		at := s.slot(s.full, r, p)
		chain = mix(chain, at.token)
		if at.position != p || at.chain != chain {
			return fmt.Errorf("group %d: position %d reads token %d of position %d of another sequence", s.full, p, at.token, at.position)
		}
		s.texts, s.chains = append(s.texts, at.token), append(s.chains, chain)
	}
	for g, group := range s.o.Layout.Groups {
		for p := firstVisible(group, *r); p < first; p++ {
			if at := s.slot(g, r, p); at.position != p || at.chain != s.chains[p] {
				return fmt.Errorf("group %d: position %d reads token %d of position %d of another sequence", g, p, at.token, at.position)
			}
		}
	}
	for _, t := range b.Tokens[r.First : r.First+r.Length] {
		chain = mix(chain, t)
		for g := range s.o.Layout.Groups {
			*s.slot(g, r, len(s.texts)) = slot{token: t, position: len(s.texts), chain: chain}
		}
		s.texts = append(s.texts, t)
	}
	if r.Sampling == nil {
		return nil
	}
	prompt := len(s.texts) - len(r.Generated)
	if prompt < 1 || !slices.Equal(s.texts[prompt:], r.Generated) {
		return fmt.Errorf("generated %v, but the sequence ends differently: %v", r.Generated, s.texts)
	}
	*out = s.answer(s.texts[:prompt:prompt], r)
	return nil
}

func (s *Scripted) answer(prompt []int32, r *engine.Row) sample.Result {
	if s.o.Script == nil {
		if s.logits == nil {
			s.logits = make([]float32, s.o.Layout.Vocab)
		}
		s.o.Logits(prompt, r.Generated, s.logits)
		return sample.Sample(s.logits, r.Sampling, r.Mask, r.Generated, &s.scratch)
	}
	token := s.o.Script(prompt, r.Generated)
	if r.Mask != nil {
		token = allowed(r.Mask, token, s.o.Layout.Vocab)
	}
	result := sample.Result{Token: token}
	if r.Sampling.Logprobs > 0 {
		result.Top = []sample.TokenProb{{Token: token}}
	}
	return result
}

// allowed returns the first allowed id from token upwards, else from 0.
func allowed(mask []uint32, token int32, vocab int) int32 {
	for i := range vocab {
		if t := (int(token) + i) % vocab; mask[t/32]>>(t%32)&1 != 0 {
			return int32(t)
		}
	}
	return token
}

// mix names a sequence that is one token longer.
func mix(chain uint64, token int32) uint64 {
	z := (chain ^ uint64(uint32(token)) + 1) * 0x9e3779b97f4a7c15
	return z ^ z>>29
}
