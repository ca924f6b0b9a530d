package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"chorale/inference/sample"
)

// A stepper is the part of the engine that only its goroutine touches, but for what never changes.
type stepper struct {
	scheduler
	runner Runner
	vocab  int

	rows  []*sequence // this step's, as batch.Rows
	batch Batch
	out   []sample.Result // [rows]
	masks [][]uint32      // [rows][(vocab+31)/32], made when first needed

	tokens  []delivery // sampled and not yet given to their generations
	endings []ending   // ended and not yet told
}

type delivery struct {
	sequence *sequence
	result   sample.Result
}

type ending struct {
	sequence *sequence
	finish   Finish
	err      error
}

func newStepper(r Runner, l KVLayout, o Options) stepper {
	return stepper{
		scheduler: scheduler{options: o, kv: newKV(l), stats: Stats{Groups: make([]GroupStats, len(l.Groups))}},
		runner:    r,
		vocab:     l.Vocab,
	}
}

// sweep ends what was cancelled.
func (st *stepper) sweep() {
	for _, s := range slices.Concat(st.running, st.waiting) {
		if s.cancelled.Load() {
			st.end(s, Cancelled, nil)
		}
	}
}

// begin decides the next step: who runs, how many tokens each, under which mask.
func (st *stepper) begin() {
	st.admit(func(s *sequence) {
		if s.opened {
			return
		}
		s.opened = true
		s.cached = min(s.computed, s.prompt)
		st.stats.Admitted++
		st.stats.QueueTime += time.Since(s.arrived)
		st.stats.CachedTokens += uint64(s.cached)
	})
	b := &st.batch
	b.Tokens, b.Positions, b.Rows = b.Tokens[:0], b.Positions[:0], b.Rows[:0]
	st.rows = st.rows[:0]
	for _, s := range st.plan() {
		if err := st.addRow(s); err != nil {
			st.end(s, Failed, fmt.Errorf("constraint: %w", err))
		}
	}
}

// addRow appends the row of s to the batch, unless the constraint of s is broken.
func (st *stepper) addRow(s *sequence) error {
	b := &st.batch
	end := s.computed + s.take
	row := Row{First: len(b.Tokens), Length: s.take, Context: end, Blocks: s.kv.tables}
	if s.take == s.pending() {
		row.Sampling = &s.sampling
		row.Generated = s.tokens[s.prompt:]
		var err error
		if row.Mask, err = st.mask(s); err != nil {
			return err
		}
	}
	for p := s.computed; p < end; p++ {
		b.Positions = append(b.Positions, int32(p))
	}
	b.Tokens = append(b.Tokens, s.tokens[s.computed:end]...)
	b.Rows = append(b.Rows, row)
	st.rows = append(st.rows, s)
	return nil
}

// mask asks the constraint of s, if there is one, what the next row may sample.
func (st *stepper) mask(s *sequence) ([]uint32, error) {
	if s.constraint == nil {
		return nil, nil
	}
	for len(st.masks) <= len(st.rows) {
		st.masks = append(st.masks, make([]uint32, (st.vocab+31)/32))
	}
	mask := st.masks[len(st.rows)]
	if !s.constraint.Mask(mask) {
		return nil, nil
	}
	if tail := st.vocab % 32; tail > 0 {
		mask[len(mask)-1] &= 1<<tail - 1
	}
	if !slices.ContainsFunc(mask, func(word uint32) bool { return word != 0 }) {
		return nil, errors.New("it allows no token")
	}
	return mask, nil
}

// step runs the batch and takes its results in.
func (st *stepper) step(ctx context.Context) error {
	if len(st.rows) == 0 {
		return nil
	}
	st.out = slices.Grow(st.out[:0], len(st.rows))[:len(st.rows)]
	clear(st.out)
	start := time.Now()
	if err := st.runner.Step(ctx, &st.batch, st.out); err != nil {
		return fmt.Errorf("step: %w", err)
	}
	st.stats.StepTime += time.Since(start)
	st.stats.Steps++
	for i, s := range st.rows {
		from := s.computed
		s.computed += s.take
		st.kv.advance(&s.kv, s.tokens, from, s.computed)
		st.stats.PrefillTokens += uint64(s.take)
		if s.pending() > 0 {
			continue
		}
		if from >= s.prompt && s.take == 1 {
			st.stats.PrefillTokens-- // computing what was sampled last is part of decoding
		}
		if t := st.out[i].Token; t < 0 || int(t) >= st.vocab {
			return fmt.Errorf("step: the runner sampled token %d, ids are between 0 and %d", t, st.vocab-1)
		}
		st.accept(s, st.out[i])
	}
	return nil
}

// accept appends a sampled token to its sequence.
func (st *stepper) accept(s *sequence, r sample.Result) {
	if s.constraint != nil {
		if err := s.constraint.Accept(r.Token); err != nil {
			st.end(s, Failed, fmt.Errorf("constraint: %w", err))
			return
		}
	}
	if len(s.tokens) == s.prompt {
		st.retry = true // its prompt can be shared now
	}
	s.tokens = append(s.tokens, r.Token)
	st.stats.DecodeTokens++
	st.tokens = append(st.tokens, delivery{s, r})
	switch {
	case slices.Contains(s.stop, r.Token):
		st.end(s, StopToken, nil)
	case len(s.tokens) >= s.limit:
		st.end(s, MaxTokens, nil)
	}
}

// end takes s out and remembers to tell.
func (st *stepper) end(s *sequence, reason Reason, err error) {
	st.remove(s)
	st.note(s, reason, err)
}

func (st *stepper) note(s *sequence, reason Reason, err error) {
	st.stats.ended(reason)
	st.endings = append(st.endings, ending{s, Finish{
		Reason:          reason,
		PromptTokens:    s.prompt,
		CachedTokens:    s.cached,
		GeneratedTokens: len(s.tokens) - s.prompt,
	}, err})
}

// abandon ends everything with err, without relying on what a panic may have left half done.
func (st *stepper) abandon(arrived []*sequence, err error) {
	told := make(map[*sequence]bool)
	for _, e := range st.endings {
		told[e.sequence] = true
	}
	for _, s := range slices.Concat(st.running, st.waiting, arrived) {
		if !told[s] {
			told[s] = true
			st.note(s, Failed, err)
		}
	}
	st.running, st.waiting = nil, nil
	st.stats.Running, st.stats.Waiting = 0, 0
	for g := range st.stats.Groups {
		st.stats.Groups[g] = GroupStats{Total: st.stats.Groups[g].Total}
	}
}

// deliver gives generations their tokens and endings.
func (st *stepper) deliver() {
	for _, d := range st.tokens {
		d.sequence.push(d.result)
	}
	for _, e := range st.endings {
		e.sequence.Generation.end(e.finish, e.err)
	}
	clear(st.tokens)
	clear(st.endings)
	st.tokens, st.endings = st.tokens[:0], st.endings[:0]
}

// count brings the counts that are states up to date.
func (st *stepper) count() {
	st.stats.Running, st.stats.Waiting = len(st.running), len(st.waiting)
	for g := range st.kv.groups {
		p := st.kv.groups[g].pool
		st.stats.Groups[g] = GroupStats{Used: p.used, Cached: p.cached, Total: p.total()}
	}
}
