package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"chorale/inference/engine"
	"chorale/inference/engine/enginetest"
	"chorale/inference/sample"
)

// TestPrefixCache says of each request in a row how many of its prompt's tokens must be found in memory. Blocks have 4
// tokens and the window 6, so a prompt of n tokens finds at most the multiple of 4 below n.
func TestPrefixCache(t *testing.T) {
	t.Parallel()
	type turn struct {
		prompt func(last []int32) []int32 // given the previous prompt and its output
		tokens int
		salt   string
		want   int
	}
	fresh := func(n, seed int) func([]int32) []int32 {
		return func([]int32) []int32 { return counting(n, seed) }
	}
	extend := func(n int) func([]int32) []int32 {
		return func(last []int32) []int32 { return append(last, counting(n, 9)...) }
	}
	keep := func(n, more int) func([]int32) []int32 {
		return func(last []int32) []int32 { return append(last[:n:n], counting(more, 9)...) }
	}
	tests := []struct {
		name   string
		layout engine.KVLayout
		turns  []turn
	}{
		{"same prompt again, one token is computed anew", layout(100, 100), []turn{{fresh(21, 0), 1, "", 0}, {fresh(21, 0), 1, "", 20}}},
		{"same prompt of full blocks", layout(100, 100), []turn{{fresh(20, 0), 1, "", 0}, {fresh(20, 0), 1, "", 16}}},
		{"shorter than a block", layout(100, 100), []turn{{fresh(3, 0), 1, "", 0}, {fresh(3, 0), 1, "", 0}}},
		{"another prompt", layout(100, 100), []turn{{fresh(20, 0), 1, "", 0}, {fresh(20, 1), 1, "", 0}}},
		{"another salt", layout(100, 100), []turn{{fresh(20, 0), 1, "a", 0}, {fresh(20, 0), 1, "b", 0}, {fresh(20, 0), 1, "a", 16}, {fresh(20, 0), 1, "", 0}}},
		{"agent loop: each prompt is all before and a little more", layout(100, 100), []turn{
			{fresh(30, 0), 41, "", 0}, {extend(5), 17, "", 68}, {extend(3), 20, "", 92}, {extend(9), 8, "", 112}, {extend(1), 1, "", 132}}},
		{"prompt goes on where the output was dropped", layout(100, 100), []turn{
			{fresh(30, 0), 100, "", 0}, {keep(30, 12), 3, "", 28}, {extend(12), 3, "", 44}}},
		{"leaves at the end of a prompt of full blocks", layout(100, 100), []turn{
			{fresh(32, 0), 100, "", 0}, {keep(32, 12), 3, "", 32}}},
		{"leaves where only the middle of a prompt is shared", layout(100, 100), []turn{
			{fresh(100, 0), 1, "", 0}, {keep(51, 20), 1, "", 48}}},
		{"the middle is forgotten, found missing, and then kept", layout(100, 18), []turn{
			{fresh(100, 0), 1, "", 0},
			{fresh(70, 1), 1, "", 0}, // reuses the windowed blocks of the middle, but not those of its end
			{func([]int32) []int32 { return append(counting(51, 0), counting(60, 2)...) }, 1, "", 0},
			{fresh(70, 3), 1, "", 0},
			{func([]int32) []int32 { return append(counting(51, 0), counting(20, 4)...) }, 1, "", 48}}},
		{"end of the prompt outlives much else in the windowed group", layout(100, 24), []turn{
			{fresh(40, 0), 100, "", 0}, {fresh(80, 1), 30, "", 0}, {func([]int32) []int32 { return append(counting(40, 0), 7, 8, 9) }, 1, "", 40}}},
		{"agent loop in the smallest windowed group", layout(100, 6), []turn{{fresh(30, 0), 41, "", 0}, {extend(5), 17, "", 68}, {extend(4), 2, "", 92}}},
		{"forgotten in the full group, the end first", layout(30, 100), []turn{
			{fresh(80, 0), 1, "", 0}, {fresh(60, 1), 1, "", 0}, {fresh(80, 0), 1, "", 60}}},
		{"groups with different blocks", engine.KVLayout{
			Groups:     []engine.KVGroup{{BlockTokens: 6, Blocks: 50}, {BlockTokens: 4, Blocks: 90, Window: 5}, {BlockTokens: 4, Blocks: 90}},
			MaxContext: 200, Vocab: vocab,
		}, []turn{{fresh(50, 0), 30, "", 0}, {extend(3), 10, "", 72}, {extend(30), 1, "", 84}}},
		{"window longer than the prompt", engine.KVLayout{
			Groups:     []engine.KVGroup{{BlockTokens: 4, Blocks: 50}, {BlockTokens: 4, Blocks: 90, Window: 120}},
			MaxContext: 200, Vocab: vocab,
		}, []turn{{fresh(50, 0), 30, "", 0}, {extend(3), 10, "", 76}}},
		{"no window at all", engine.KVLayout{
			Groups:     []engine.KVGroup{{BlockTokens: 4, Blocks: 50}},
			MaxContext: 200, Vocab: vocab,
		}, []turn{{fresh(50, 0), 30, "", 0}, {extend(3), 10, "", 76}, {keep(33, 9), 1, "", 32}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, enginetest.Options{Layout: tt.layout}, engine.Options{MaxBatchTokens: 24})
			var last []int32
			sum := 0
			for i, turn := range tt.turns {
				r := engine.Request{Prompt: turn.prompt(slices.Clone(last)), MaxTokens: turn.tokens, CacheSalt: turn.salt}
				want, _ := predict(babble, r, 200)
				got, f := complete(t, e, r)
				if !slices.Equal(got, want) {
					t.Fatalf("turn %d: got %v, want %v", i, got, want)
				}
				if f.CachedTokens != turn.want {
					t.Errorf("turn %d: %d of %d tokens were cached, want %d", i, f.CachedTokens, len(r.Prompt), turn.want)
				}
				sum += f.CachedTokens
				last = append(slices.Clone(r.Prompt), got...)
			}
			if s := e.Stats(); s.CachedTokens != uint64(sum) {
				t.Errorf("stats count %d cached tokens, generations %d", s.CachedTokens, sum)
			}
		})
	}
}

// TestEndsAreKept says that a conversation can be continued although others have since used every windowed block, and
// another sequence decodes all the while: the blocks at ends of sequences are the last to be forgotten.
func TestEndsAreKept(t *testing.T) {
	t.Parallel()
	l := layout(2000, 40)
	l.MaxContext = 4000
	e := start(t, enginetest.Options{Layout: l}, engine.Options{MaxSequences: 2, MaxBatchTokens: 16})
	for i := range 20 {
		complete(t, e, engine.Request{Prompt: counting(20, i), MaxTokens: 1, CacheSalt: "filler"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() {
		for {
			g, err := e.Generate(ctx, engine.Request{Prompt: counting(10, 0), CacheSalt: "background"})
			if err != nil {
				return
			}
			g.End()
		}
	})
	for n := range 24 {
		first := engine.Request{Prompt: counting(10+n%3, n), MaxTokens: 20 + n}
		answer, _ := complete(t, e, first)
		complete(t, e, engine.Request{Prompt: counting(200, n), MaxTokens: 1, CacheSalt: "long"})
		text := append(first.Prompt, answer...)
		_, f := complete(t, e, engine.Request{Prompt: append(text, 1, 2, 3), MaxTokens: 1})
		if want := (len(text) - 1) / 4 * 4; f.CachedTokens != want { // the last token was sampled but not computed
			t.Errorf("%d tokens: %d were cached, want %d", len(text), f.CachedTokens, want)
		}
	}
	cancel()
	background.Wait()
}

// TestPrefixIsSharedWhileInUse has a second sequence begin on the blocks of one that still runs.
func TestPrefixIsSharedWhileInUse(t *testing.T) {
	t.Parallel()
	ts := newTurnstile()
	e := start(t, enginetest.Options{BeforeStep: ts.before}, engine.Options{})
	generate(t, e, engine.Request{Prompt: counting(41, 0)})
	ts.next()
	<-ts.steps
	second := generate(t, e, engine.Request{Prompt: append(counting(40, 0), 1, 2, 3), MaxTokens: 1})
	ts.words <- nil
	if got := ts.next(); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("step has rows %v, want one token each of the first and the three new ones", got)
	}
	if f, err := second.End(); err != nil || f.CachedTokens != 40 {
		t.Errorf("finish %+v, %v, want 40 cached tokens", f, err)
	}
}

// TestAdmission watches when a second sequence begins, by the lengths of the rows of each step.
func TestAdmission(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		blocks  int // of 4 tokens
		options engine.Options
		first   engine.Request
		second  engine.Request
		want    [][]int
	}{
		{"there is memory for both", 11, engine.Options{}, engine.Request{Prompt: counting(19, 0), MaxTokens: 3}, engine.Request{Prompt: counting(16, 1), MaxTokens: 2},
			[][]int{{19}, {1, 16}, {1, 1}}},
		{"they could not grow", 10, engine.Options{}, engine.Request{Prompt: counting(19, 0), MaxTokens: 3}, engine.Request{Prompt: counting(16, 1), MaxTokens: 2},
			[][]int{{19}, {1}, {1}, {16}, {1}}},
		{"the first needs all for its prompt", 10, engine.Options{MaxBatchTokens: 20}, engine.Request{Prompt: counting(35, 0), MaxTokens: 2}, engine.Request{Prompt: counting(5, 1), MaxTokens: 2},
			[][]int{{20}, {15}, {1}, {5}, {1}}},
		{"fits as soon as it can share", 12, engine.Options{MaxBatchTokens: 16}, engine.Request{Prompt: counting(32, 0), MaxTokens: 3}, engine.Request{Prompt: append(counting(32, 0), 1, 2, 3), MaxTokens: 2},
			[][]int{{16}, {16}, {1, 3}, {1, 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ts := newTurnstile()
			e := start(t, enginetest.Options{Layout: layout(tt.blocks, 100), BeforeStep: ts.before}, tt.options)
			all := []*engine.Generation{generate(t, e, tt.first)}
			for i, want := range tt.want {
				got := <-ts.steps
				if i == 0 {
					all = append(all, generate(t, e, tt.second))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("step %d has rows of %v, want %v", i, got, want)
				}
				ts.words <- nil
			}
			for _, g := range all {
				if _, err := g.End(); err != nil {
					t.Error(err)
				}
			}
			if s := e.Stats(); s.Preemptions > 0 {
				t.Errorf("%d preemptions", s.Preemptions)
			}
		})
	}
}

// TestWindowedBlocksAreFreed has a long sequence hold no more windowed blocks than its window needs.
func TestWindowedBlocksAreFreed(t *testing.T) {
	t.Parallel()
	var e *engine.Engine
	most := 0
	e = start(t, enginetest.Options{BeforeStep: func(_ context.Context, b *engine.Batch) error {
		if b.Rows[0].Length == 1 {
			most = max(most, e.Stats().Groups[1].Used)
		}
		return nil
	}}, engine.Options{MaxBatchTokens: 16})
	complete(t, e, engine.Request{Prompt: counting(60, 0), MaxTokens: 100})
	if most < 2 || most > 4 { // 6 positions and the new one, wherever the block boundaries lie, and one block's lag
		t.Errorf("%d blocks of 4 tokens in use for a window of 6", most)
	}
}

// TestPreemption runs sequences that do not fit together. Which is preempted, and how often, is nobody's business but
// that all end with the text they have when alone, sampled ones too.
func TestPreemption(t *testing.T) {
	t.Parallel()
	logits := func(prompt, generated []int32, out []float32) {
		for i := range out {
			out[i] = float32((babble(prompt, generated)*int32(i+3))%17) / 4
		}
	}
	for _, blocks := range []int{14, 20, 30} {
		t.Run(fmt.Sprintf("%d blocks", blocks), func(t *testing.T) {
			t.Parallel()
			const n = 6
			request := func(i int) engine.Request {
				return engine.Request{Prompt: counting(5, i), MaxTokens: 40, Sampling: sample.Params{Temperature: 1, TopP: 0.9, PresencePenalty: 1, Seed: uint64(i), Logprobs: 2}}
			}
			alone := start(t, enginetest.Options{Logits: logits}, engine.Options{MaxSequences: 1})
			crowded := start(t, enginetest.Options{Logits: logits, Layout: layout(blocks, 100)}, engine.Options{MaxBatchTokens: 9})
			var all []*engine.Generation
			for i := range n {
				all = append(all, generate(t, crowded, request(i)))
			}
			for i, g := range all {
				want, _ := complete(t, alone, request(i))
				if got := collect(g); !slices.Equal(got, want) {
					t.Errorf("sequence %d: got %v, want %v", i, got, want)
				}
			}
			s := crowded.Stats()
			if s.Preemptions == 0 {
				t.Error("nothing was preempted: the test shows nothing")
			}
			t.Logf("%d preemptions, %d steps, %d tokens prefilled", s.Preemptions, s.Steps, s.PrefillTokens)
		})
	}
}

// TestScriptedRunnerFindsFaults shows that the checks which all other tests rely on do fail.
func TestScriptedRunnerFindsFaults(t *testing.T) {
	t.Parallel()
	row := func(first, length, context int, full, window []int32) engine.Row {
		return engine.Row{First: first, Length: length, Context: context, Blocks: [][]int32{full, window}}
	}
	batch := func(tokens, positions []int32, rows ...engine.Row) *engine.Batch {
		return &engine.Batch{Tokens: tokens, Positions: positions, Rows: rows}
	}
	five := batch([]int32{1, 2, 3, 4, 5}, []int32{0, 1, 2, 3, 4}, row(0, 5, 5, []int32{0, 1}, []int32{0, 1}))
	eleven := batch(counting(11, 0), []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, row(0, 11, 11, []int32{0, 1, 2}, []int32{0, 1, 2}))
	tests := []struct {
		name   string
		before *engine.Batch
		batch  *engine.Batch
		want   string // "": no fault
	}{
		{"continues", five, batch([]int32{6}, []int32{5}, row(0, 1, 6, []int32{0, 1}, []int32{0, 1})), ""},
		{"continues in a copied table behind the window", eleven, batch([]int32{6}, []int32{11}, row(0, 1, 12, []int32{0, 1, 2}, []int32{-1, 1, 2})), ""},
		{"no rows", nil, batch(nil, nil), "0 rows"},
		{"gap between rows", nil, batch([]int32{1, 2}, []int32{0, 0}, row(1, 1, 1, []int32{0}, []int32{0})), "should begin at 0"},
		{"tokens of no row", nil, batch([]int32{1, 2}, []int32{0, 0}, row(0, 1, 1, []int32{0}, []int32{0})), "rows have 1 tokens, the batch 2"},
		{"wrong position", nil, batch([]int32{1}, []int32{1}, row(0, 1, 1, []int32{0}, []int32{0})), "position 1, should be 0"},
		{"unknown id", nil, batch([]int32{vocab}, []int32{0}, row(0, 1, 1, []int32{0}, []int32{0})), "vocabulary 50"},
		{"beyond the context", nil, batch([]int32{1}, []int32{200}, row(0, 1, 201, make([]int32, 51), make([]int32, 51))), "context 201"},
		{"table too short", five, batch([]int32{6, 7, 8, 9}, []int32{5, 6, 7, 8}, row(0, 4, 9, []int32{0, 1}, []int32{0, 1, 2})), "2 blocks of 4 for context 9"},
		{"block that does not exist", nil, batch([]int32{1}, []int32{0}, row(0, 1, 1, []int32{100}, []int32{0})), "block 100 of 100"},
		{"visible block was given back", five, batch([]int32{6}, []int32{5}, row(0, 1, 6, []int32{0, 1}, []int32{-1, 1})), "block -1 of 100"},
		{"two rows write a block", nil, batch([]int32{1, 2}, []int32{0, 0}, row(0, 1, 1, []int32{0}, []int32{0}), row(1, 1, 1, []int32{0}, []int32{1})), "both write block 0"},
		{"a row reads what another writes", five, batch([]int32{6, 9}, []int32{5, 4}, row(0, 1, 6, []int32{0, 1}, []int32{0, 1}), row(1, 1, 5, []int32{1, 2}, []int32{0, 2})), "row 0 writes block 1, which row 1 has"},
		{"context was never written", nil, batch([]int32{6}, []int32{5}, row(0, 1, 6, []int32{0, 1}, []int32{0, 1})), "of another sequence"},
		{"block of another place", eleven, batch([]int32{6}, []int32{11}, row(0, 1, 12, []int32{1, 0, 2}, []int32{-1, 1, 2})), "of another sequence"},
		{"windowed block of another sequence", eleven, batch([]int32{6}, []int32{11}, row(0, 1, 12, []int32{0, 1, 2}, []int32{-1, 2, 2})), "group 1: position 6 reads"},
		{"generated tokens that were not", five, batch([]int32{6}, []int32{5}, engine.Row{Length: 1, Context: 6, Blocks: [][]int32{{0, 1}, {0, 1}}, Sampling: &sample.Params{}, Generated: []int32{7}}), "ends differently"},
		{"mask of another vocabulary", nil, batch([]int32{1}, []int32{0}, engine.Row{Length: 1, Context: 1, Blocks: [][]int32{{0}, {0}}, Mask: make([]uint32, 1)}), "mask of 1 words"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := enginetest.NewScripted(enginetest.Options{Layout: layout(100, 100), Script: babble})
			if tt.before != nil {
				if err := s.Step(t.Context(), tt.before, make([]sample.Result, len(tt.before.Rows))); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Step(t.Context(), tt.batch, make([]sample.Result, len(tt.batch.Rows)))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			s.Close()
			if err := s.Step(t.Context(), tt.batch, nil); err == nil {
				t.Error("no error after close")
			}
		})
	}
	t.Run("answers under a mask", func(t *testing.T) {
		t.Parallel()
		for _, tt := range []struct{ mask, want uint32 }{{1 << 20, 20}, {1<<3 | 1<<1, 1}, {1<<7 | 1<<9, 7}} {
			s := enginetest.NewScripted(enginetest.Options{Layout: layout(100, 100), Script: func([]int32, []int32) int32 { return 5 }})
			out := make([]sample.Result, 1)
			b := batch([]int32{1}, []int32{0}, engine.Row{Length: 1, Context: 1, Blocks: [][]int32{{0}, {0}}, Sampling: &sample.Params{Logprobs: 3}, Mask: []uint32{tt.mask, 0}})
			if err := s.Step(t.Context(), b, out); err != nil || out[0].Token != int32(tt.want) || len(out[0].Top) != 1 || out[0].Top[0].Token != int32(tt.want) {
				t.Errorf("mask %b: got %+v, %v, want %d", tt.mask, out[0], err, tt.want)
			}
		}
	})
}
