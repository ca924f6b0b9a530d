package gptosstest

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"chorale/inference/engine"
	"chorale/inference/gptoss"
)

// A Runner is what the cases need of a Runner.
type Runner interface {
	engine.Runner
	// Logits stores the logits that follow each of b.Tokens[from:] in out: [len(b.Tokens)-from, vocab].
	Logits(ctx context.Context, b *engine.Batch, from int, out []float32) error
}

// An Open returns a Runner of m that has blocks for at least 8192 positions in either KV group. The cases close it.
type Open func(t *testing.T, m *gptoss.Model) Runner

// A sequence is tokens of one sequence and where their keys and values lie.
type sequence struct {
	tokens []int32
	start  int // position of the first token
	done   int // tokens that have been run
	tables [][]int32
}

// A memory hands out the blocks of a Runner, in an order that hides nothing: shuffled, the last freed first.
type memory struct {
	layout engine.KVLayout
	free   [][]int32
}

func newMemory(l engine.KVLayout) *memory {
	m := &memory{layout: l, free: make([][]int32, len(l.Groups))}
	rng := rand.New(rand.NewPCG(1, 1))
	for g := range m.free {
		for _, id := range rng.Perm(min(l.Groups[g].Blocks, 4096)) {
			m.free[g] = append(m.free[g], int32(id))
		}
	}
	return m
}

// extend gives s the blocks for its next n tokens, after taking back those that lie behind their windows.
func (m *memory) extend(t *testing.T, s *sequence, n int) {
	t.Helper()
	if s.tables == nil {
		s.tables = make([][]int32, len(m.layout.Groups))
	}
	for g, group := range m.layout.Groups {
		if group.Window > 0 {
			behind := max(0, s.done-group.Window+1) / group.BlockTokens
			for i, id := range s.tables[g][:min(behind, len(s.tables[g]))] {
				if id >= 0 {
					m.free[g] = append(m.free[g], id)
					s.tables[g][i] = -1
				}
			}
		}
		for len(s.tables[g])*group.BlockTokens < s.done+n {
			last := len(m.free[g]) - 1
			if last < 0 {
				t.Fatalf("the Runner has too few blocks in group %d for the cases: %+v", g, m.layout.Groups)
			}
			s.tables[g] = append(s.tables[g], m.free[g][last])
			m.free[g] = m.free[g][:last]
		}
	}
}

// release takes back all blocks of s.
func (m *memory) release(s *sequence) {
	for g, table := range s.tables {
		for _, id := range table {
			if id >= 0 {
				m.free[g] = append(m.free[g], id)
			}
		}
	}
	s.tables, s.done = nil, 0
}

// A turn is how many tokens of a sequence a step runs.
type turn struct {
	s *sequence
	n int
}

// batch returns the batch of some turns; the sequences count their tokens as run.
func (m *memory) batch(t *testing.T, turns ...turn) *engine.Batch {
	t.Helper()
	b := &engine.Batch{}
	for _, w := range turns {
		s := w.s
		m.extend(t, s, w.n)
		b.Rows = append(b.Rows, engine.Row{First: len(b.Tokens), Length: w.n, Context: s.done + w.n, Blocks: s.tables})
		for i := s.done; i < s.done+w.n; i++ {
			b.Tokens = append(b.Tokens, s.tokens[i])
			b.Positions = append(b.Positions, int32(s.start+i))
		}
		s.done += w.n
	}
	return b
}

// A machine is a Runner with its memory and a way to read its logits.
type machine struct {
	t     *testing.T
	r     Runner
	m     *memory
	vocab int
}

func newMachine(t *testing.T, open Open, model *gptoss.Model) *machine {
	t.Helper()
	r := open(t, model)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return &machine{t: t, r: r, m: newMemory(r.KV()), vocab: r.KV().Vocab}
}

// run runs turns as one step and returns the logits after every token: [tokens][vocab].
func (k *machine) run(turns ...turn) [][]float32 {
	k.t.Helper()
	b := k.m.batch(k.t, turns...)
	flat := make([]float32, len(b.Tokens)*k.vocab)
	for i := range flat {
		flat[i] = float32(math.NaN()) // whatever is left out shows
	}
	if err := k.r.Logits(context.Background(), b, 0, flat); err != nil {
		k.t.Fatal(err)
	}
	out := make([][]float32, len(b.Tokens))
	for i := range out {
		out[i] = flat[i*k.vocab : (i+1)*k.vocab]
	}
	return out
}

// whole runs a whole sequence, chunk tokens a step, gives its blocks back and returns all its logits.
func (k *machine) whole(tokens []int32, start, chunk int) [][]float32 {
	k.t.Helper()
	s := &sequence{tokens: tokens, start: start}
	var out [][]float32
	for s.done < len(tokens) {
		out = append(out, k.run(turn{s, min(chunk, len(tokens)-s.done)})...)
	}
	k.m.release(s)
	return out
}

// mixed runs sequences in steps of random lengths beside each other and returns the logits of each.
func (k *machine) mixed(seed uint64, starts []int, prompts ...[]int32) [][][]float32 {
	k.t.Helper()
	rng := rand.New(rand.NewPCG(seed, 2))
	sequences := make([]*sequence, len(prompts))
	for i, p := range prompts {
		sequences[i] = &sequence{tokens: p, start: starts[i]}
	}
	out := make([][][]float32, len(prompts))
	for {
		var turns []turn
		var who []int
		for _, i := range rng.Perm(len(sequences)) {
			left := len(prompts[i]) - sequences[i].done
			n := []int{0, 1, 1, 2, 13, 100}[rng.IntN(6)]
			if n = min(n, left); n > 0 {
				turns, who = append(turns, turn{sequences[i], n}), append(who, i)
			}
		}
		if len(turns) == 0 {
			ended := true
			for i, s := range sequences {
				ended = ended && s.done == len(prompts[i])
			}
			if ended {
				break
			}
			continue
		}
		logits := k.run(turns...)
		for j, w := range turns {
			out[who[j]] = append(out[who[j]], logits[:w.n]...)
			logits = logits[w.n:]
		}
	}
	for _, s := range sequences {
		k.m.release(s)
	}
	return out
}

// closeTo compares logits of consecutive tokens with Reference's and returns the largest difference as a fraction of the
// range of its token's logits.
func closeTo(t *testing.T, what string, got, want [][]float32, tolerance float64) (worst float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: logits of %d tokens, want %d", what, len(got), len(want))
	}
	for i := range want {
		span := float64(slices.Max(want[i])) - float64(slices.Min(want[i]))
		for v := range want[i] {
			off := math.Abs(float64(got[i][v])-float64(want[i][v])) / span
			if !(off <= tolerance) {
				t.Fatalf("%s: logit %d of token %d is %v, want %v: off by %.3g of the range, want at most %.3g", what, v, i, got[i][v], want[i][v], off, tolerance)
			}
			worst = max(worst, off)
		}
	}
	return worst
}

// identical compares logits bit by bit.
func identical(t *testing.T, what string, got, want [][]float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: logits of %d tokens, want %d", what, len(got), len(want))
	}
	for i := range want {
		for v := range want[i] {
			if math.Float32bits(got[i][v]) != math.Float32bits(want[i][v]) {
				t.Fatalf("%s: logit %d of token %d is %v, want the same bits as %v", what, v, i, got[i][v], want[i][v])
			}
		}
	}
}
