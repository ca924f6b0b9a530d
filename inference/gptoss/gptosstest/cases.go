package gptosstest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"chorale/inference/gptoss"
	"chorale/inference/gptoss/gptosstest/parity"
	"chorale/inference/sample"
)

// Run runs every case on Runners that open returns. tolerance is how far logits may be from Reference's, as a fraction of
// the range of a token's logits. With -short, which the race detector runs with, there are fewer and shorter sequences.
func Run(t *testing.T, open Open, tolerance float64) {
	for _, kind := range Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			model := Model(1, kind, Shape())
			k := newMachine(t, open, model)
			tokens := randomTokens(1, model.Config.Vocab, unlessShort(300, 20))
			whole := k.whole(tokens, 0, len(tokens))
			worst := closeTo(t, "one step", whole, Reference(model, tokens, ascending(0, len(tokens))), tolerance)
			t.Logf("off by at most %.2g of the range", worst)
			for _, chunk := range []int{1, 7, 64} {
				identical(t, fmt.Sprintf("chunks of %d", chunk), k.whole(tokens, 0, chunk), whole)
			}
		})
	}
	for _, c := range []struct {
		name string
		run  func(t *testing.T, k *machine, model *gptoss.Model, tolerance float64)
	}{
		{"lengths about the window and about blocks", lengths},
		{"positions beyond 4096 and 100000", positions},
		{"rows beside others", neighbours},
		{"blocks behind the window given to others", reusedBlocks},
		{"blocks full of NaN from a sequence before", poisonedBlocks},
		{"sampling", sampling},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			model := Model(2, Kinds()[0], Shape())
			c.run(t, newMachine(t, open, model), model, tolerance)
		})
	}
	for _, c := range []struct {
		name           string
		sliding        []bool
		heads, headDim int
	}{
		{"full layers only, three heads share keys", []bool{false, false}, 6, 16},
		{"sliding layers only, head width past a vector", []bool{true, true}, 2, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			shape := Shape()
			shape.Layers, shape.Sliding, shape.Heads, shape.HeadDim = len(c.sliding), c.sliding, c.heads, c.headDim
			model := Model(3, Kinds()[0], shape)
			tokens := randomTokens(2, shape.Vocab, unlessShort(200, 20))
			k := newMachine(t, open, model)
			closeTo(t, c.name, k.whole(tokens, 0, 50), Reference(model, tokens, ascending(0, len(tokens))), tolerance)
		})
	}
}

// lengths prefills prompts whose ends lie on every side of an edge, and then decodes over it.
func lengths(t *testing.T, k *machine, model *gptoss.Model, tolerance float64) {
	tokens := randomTokens(3, model.Config.Vocab, unlessShort(270, 30))
	want := Reference(model, tokens, ascending(0, len(tokens)))
	block := k.m.layout.Groups[0].BlockTokens
	ends := []int{1, block - 1, block, block + 1, 126, 127, 128, 129, 8*block - 1, 9 * block, 255, 256, 257}
	for _, n := range ends[:unlessShort(len(ends), 4)] {
		s := &sequence{tokens: tokens}
		got := k.run(turn{s, n})
		for range 3 {
			got = append(got, k.run(turn{s, 1})...)
		}
		closeTo(t, fmt.Sprintf("prompt of %d", n), got, want[:n+3], tolerance)
		k.m.release(s)
	}
}

// positions starts sequences far into the rotary embedding.
func positions(t *testing.T, k *machine, model *gptoss.Model, tolerance float64) {
	for _, start := range []int{4090, 100003, 130900} {
		tokens := randomTokens(uint64(start), model.Config.Vocab, unlessShort(150, 20))
		want := Reference(model, tokens, ascending(start, len(tokens)))
		for _, chunk := range []int{len(tokens), 7} {
			closeTo(t, fmt.Sprintf("from position %d, chunks of %d", start, chunk), k.whole(tokens, start, chunk), want, tolerance)
		}
	}
}

// neighbours runs sequences alone and in random batches: the bits must be the same.
func neighbours(t *testing.T, k *machine, model *gptoss.Model, _ float64) {
	var prompts [][]int32
	var alone [][][]float32
	for i, n := range []int{1, 2, 130, 16, 97, 128, 333}[:unlessShort(7, 4)] {
		prompts = append(prompts, randomTokens(uint64(10+i), model.Config.Vocab, n))
		alone = append(alone, k.whole(prompts[i], 0, n))
	}
	for seed := range uint64(unlessShort(3, 1)) {
		for i, got := range k.mixed(seed, make([]int, len(prompts)), prompts...) {
			identical(t, fmt.Sprintf("sequence %d in batches of seed %d", i, seed), got, alone[i])
		}
	}
}

// reusedBlocks lets one sequence write into the blocks that another has left behind its window, which is what its -1
// entries stand for.
func reusedBlocks(t *testing.T, k *machine, model *gptoss.Model, _ float64) {
	a, b := randomTokens(20, model.Config.Vocab, unlessShort(400, 240)), randomTokens(21, model.Config.Vocab, 400)
	wantA, wantB := k.whole(a, 0, len(a)), k.whole(b[:len(a)-200], 0, len(a))
	first, second := &sequence{tokens: a}, &sequence{tokens: b}
	gotA, gotB := k.run(turn{first, 200}), [][]float32(nil)
	for first.done < len(a) {
		gotA = append(gotA, k.run(turn{first, 20})...)
		gotB = append(gotB, k.run(turn{second, 20})...)
	}
	if g := len(k.m.layout.Groups) - 1; !slices.Contains(first.tables[g], -1) {
		t.Fatalf("no block was left behind the window: %v", first.tables[g])
	}
	identical(t, "the sequence that left blocks behind", gotA, wantA)
	identical(t, "the sequence that got them", gotB, wantB[:len(gotB)])
}

// poisonedBlocks fills blocks with NaN and gives them to a sequence that must not notice.
func poisonedBlocks(t *testing.T, k *machine, model *gptoss.Model, _ float64) {
	tokens := randomTokens(30, model.Config.Vocab, unlessShort(150, 20))
	want := k.whole(tokens, 0, len(tokens))
	poison := slices.Repeat([]int32{Poison}, unlessShort(500, 40))
	if logits := k.whole(poison, 0, len(poison)); logits[len(poison)-1][0] == logits[len(poison)-1][0] {
		t.Fatalf("a logit of the poisoned sequence is %v, want NaN", logits[len(poison)-1][0])
	}
	identical(t, "after a poisoned sequence", k.whole(tokens, 0, len(tokens)), want)
	k.whole(poison, 0, len(poison))
	identical(t, "after a poisoned sequence, token by token", k.whole(tokens, 0, 1), want)
}

// sampling checks what Step stores: for rows that sample, what sample.Sample makes of the logits; for others nothing.
func sampling(t *testing.T, k *machine, model *gptoss.Model, _ float64) {
	vocab := model.Config.Vocab
	mask := make([]uint32, (vocab+31)/32)
	mask[1] = 1 << 5 // id 37 only
	rows := []struct {
		params    *sample.Params
		mask      []uint32
		generated []int32
	}{
		{params: &sample.Params{Logprobs: 5}},
		{},
		{params: &sample.Params{Temperature: 1, Seed: 7, Logprobs: 2}, generated: []int32{4, 4, 9}},
		{params: &sample.Params{Temperature: 0.7, TopP: 0.9, Seed: 8, PresencePenalty: 1, LogitBias: []sample.Bias{{Token: 5, Value: 3}}}, generated: []int32{3}},
		{params: &sample.Params{}, mask: mask},
	}
	// More rows than are likely to be computed at once.
	for range unlessShort(4, 1) {
		rows = append(rows, rows...)
	}
	var turns []turn
	var want []sample.Result
	for i, row := range rows {
		tokens := randomTokens(uint64(40+i), vocab, 1+i%20)
		logits := k.whole(tokens, 0, len(tokens))
		r := sample.Result{Token: -1}
		if row.params != nil {
			r = sample.Sample(logits[len(logits)-1], row.params, row.mask, row.generated, &sample.Scratch{})
		}
		turns, want = append(turns, turn{&sequence{tokens: tokens}, len(tokens)}), append(want, r)
	}
	b := k.m.batch(t, turns...)
	got := make([]sample.Result, len(rows))
	for i, row := range rows {
		got[i].Token = -1
		b.Rows[i].Sampling, b.Rows[i].Mask, b.Rows[i].Generated = row.params, row.mask, row.generated
	}
	if err := k.r.Step(context.Background(), b, got); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got[i].Token != want[i].Token || got[i].Logprob != want[i].Logprob || !slices.Equal(got[i].Top, want[i].Top) {
			t.Errorf("row %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	if got[4].Token != 37 {
		t.Errorf("the row whose mask allows id 37 alone sampled %d", got[4].Token)
	}
}

// unlessShort returns n, or with -short the smaller number.
func unlessShort(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

// Parity compares a Runner with Hugging Face transformers: in one step, in chunks of 1, 7 and 64 tokens, and beside other
// sequences.
func Parity(t *testing.T, open Open) {
	if testing.Short() {
		t.Skip("takes seconds, minutes under the race detector")
	}
	cases, err := parity.Cases()
	if err != nil {
		t.Fatal(err)
	}
	mixed := map[*gptoss.Model][]parity.Case{}
	for _, c := range cases {
		if len(c.Tokens) <= 1000 { // hundreds of steps more show nothing new
			mixed[c.Model] = append(mixed[c.Model], c)
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			k := newMachine(t, open, c.Model)
			for _, chunk := range []int{len(c.Tokens), 64, 7, 1} {
				if chunk < len(c.Tokens) && len(c.Tokens) > 1000 {
					continue // seconds each; the shorter cases have these chunks
				}
				compare(t, fmt.Sprintf("chunks of %d", chunk), &c, k.whole(c.Tokens, int(c.Positions[0]), chunk))
			}
		})
	}
	for model, cases := range mixed {
		t.Run(cases[0].Checkpoint+"/mixed batches", func(t *testing.T) {
			t.Parallel()
			prompts, starts := [][]int32{randomTokens(50, model.Config.Vocab, 500)}, []int{0}
			for _, c := range cases {
				prompts, starts = append(prompts, c.Tokens), append(starts, int(c.Positions[0]))
			}
			for i, logits := range newMachine(t, open, model).mixed(51, starts, prompts...)[1:] {
				compare(t, "mixed", &cases[i], logits)
			}
		})
	}
}

func compare(t *testing.T, what string, c *parity.Case, logits [][]float32) {
	t.Helper()
	var got [][]float32
	for _, at := range c.Rows {
		got = append(got, logits[at])
	}
	worst, err := c.Compare(got)
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	t.Logf("%s, %s: off by at most %.2g of the range", c.Name, what, worst)
}

// randomTokens returns n ids, none of them Poison.
func randomTokens(seed uint64, vocab, n int) []int32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]int32, n)
	for i := range out {
		out[i] = 1 + rng.Int32N(int32(vocab-1))
	}
	return out
}

func ascending(from, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(from + i)
	}
	return out
}
