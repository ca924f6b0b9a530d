package cpu_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"chorale/inference/checkpoint"
	"chorale/inference/engine"
	"chorale/inference/gptoss"
	"chorale/inference/gptoss/cpu"
	"chorale/inference/gptoss/gptosstest"
	"chorale/inference/sample"
)

func tiny() *gptoss.Model { return gptosstest.Model(1, gptosstest.Kinds()[0], gptosstest.Shape()) }

func newRunner(t *testing.T, m *gptoss.Model, o cpu.Options) *cpu.Runner {
	t.Helper()
	r, err := cpu.New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// oneRow returns a batch of one sequence's first n tokens in blocks 0, 1, ….
func oneRow(r *cpu.Runner, n int) *engine.Batch {
	b := &engine.Batch{Rows: []engine.Row{{Length: n, Context: n, Sampling: &sample.Params{Logprobs: -1}}}}
	for i := range n {
		b.Tokens = append(b.Tokens, int32(1+i*7%100))
		b.Positions = append(b.Positions, int32(i))
	}
	for _, g := range r.KV().Groups {
		table := make([]int32, (n+g.BlockTokens-1)/g.BlockTokens)
		for i := range table {
			table[i] = int32(i)
		}
		b.Rows[0].Blocks = append(b.Rows[0].Blocks, table)
	}
	return b
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(m *gptoss.Model, o *cpu.Options)
		want  string
	}{
		{"threads below zero", func(_ *gptoss.Model, o *cpu.Options) { o.Threads = -1 }, "threads is -1"},
		{"threads beyond reason", func(_ *gptoss.Model, o *cpu.Options) { o.Threads = 1 << 20 }, "want 1 to 4096"},
		{"block size odd", func(_ *gptoss.Model, o *cpu.Options) { o.BlockTokens = 24 }, "block tokens is 24, want a multiple of 16"},
		{"block size below zero", func(_ *gptoss.Model, o *cpu.Options) { o.BlockTokens = -16 }, "block tokens is -16"},
		{"context beyond the model's", func(_ *gptoss.Model, o *cpu.Options) { o.MaxContext = 131073 }, "max context is 131073, want 1 to the model's 131072"},
		{"kv memory below zero", func(_ *gptoss.Model, o *cpu.Options) { o.KVBytes = -1 }, "kv bytes is -1"},
		{"kv memory too small", func(_ *gptoss.Model, o *cpu.Options) { o.KVBytes = 1000 }, "kv bytes is 1000, want at least the"},
		{"kv memory beyond any machine", func(_ *gptoss.Model, o *cpu.Options) { o.KVBytes = 1 << 60 }, "kv bytes is 1152921504606846976"},
		{"layer missing", func(m *gptoss.Model, _ *cpu.Options) { m.Layers = m.Layers[:3] }, "model has 3 layers, its configuration 4"},
		{"weights cut", func(m *gptoss.Model, _ *cpu.Options) { m.Layers[2].Q.Data = m.Layers[2].Q.Data[1:] }, "layer 2: q: 16383 bytes of data"},
		{"shape wrong", func(m *gptoss.Model, _ *cpu.Options) { m.Layers[0].O.Rows-- }, "layer 0: o: shape is [63, 128], want [64, 128]"},
		{"type without products", func(m *gptoss.Model, _ *cpu.Options) { m.Head.DType = checkpoint.I32 }, "head: type I32 cannot be multiplied"},
		{"bias missing", func(m *gptoss.Model, _ *cpu.Options) { m.Layers[1].VBias = nil }, "layer 1: v bias: length is 0, want 32"},
		{"expert missing", func(m *gptoss.Model, _ *cpu.Options) { m.Layers[3].Down.N = 7 }, "layer 3: experts' down: 7 experts"},
		{"scales cut", func(m *gptoss.Model, _ *cpu.Options) { m.Layers[3].GateUp.Scales = m.Layers[3].GateUp.Scales[8:] }, "layer 3: experts' gate and up: 383 bytes of scales"},
		{"gate and up do not alternate", func(m *gptoss.Model, _ *cpu.Options) { m.Layers[0].GateUp.Interleaved = false }, "rows do not alternate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, o := tiny(), cpu.Options{Threads: 1, KVBytes: 64 << 20}
			tt.spoil(m, &o)
			r, err := cpu.New(m, o)
			if err == nil {
				r.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestStepRefuses(t *testing.T) {
	t.Parallel()
	r := newRunner(t, tiny(), cpu.Options{Threads: 2, KVBytes: 16 << 20, MaxContext: 4000})
	step := func(b *engine.Batch) ([]sample.Result, error) {
		out := make([]sample.Result, len(b.Rows))
		return out, r.Step(context.Background(), b, out)
	}
	want, err := step(oneRow(r, 200))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		spoil func(b *engine.Batch)
		want  string
	}{
		{"token below zero", func(b *engine.Batch) { b.Tokens[5] = -1 }, "token 5 has id -1, want 0 to 100"},
		{"token past the vocabulary", func(b *engine.Batch) { b.Tokens[5] = 101 }, "token 5 has id 101"},
		{"position below zero", func(b *engine.Batch) { b.Positions[7] = -3 }, "token 7 has position -3"},
		{"positions missing", func(b *engine.Batch) { b.Positions = b.Positions[1:] }, "199 positions for 200 tokens"},
		{"row empty", func(b *engine.Batch) { b.Rows[0].Length = 0 }, "row 0 has tokens 0 to -1"},
		{"row past the tokens", func(b *engine.Batch) { b.Rows[0].Length = 201 }, "row 0 has tokens 0 to 200"},
		{"row that leaves tokens out", func(b *engine.Batch) { b.Rows[0].First = 1 }, "row 0 has tokens 1"},
		{"tokens without a row", func(b *engine.Batch) { b.Rows[0].Length = 199 }, "1 tokens belong to no row"},
		{"context shorter than the row", func(b *engine.Batch) { b.Rows[0].Context = 199 }, "row 0 has a context of 199, want 200 to"},
		{"context past the longest", func(b *engine.Batch) { b.Rows[0].Context = 4001 }, "row 0 has a context of 4001, want 200 to 4000"},
		{"group missing", func(b *engine.Batch) { b.Rows[0].Blocks = b.Rows[0].Blocks[:1] }, "row 0 has 1 block tables, want 2"},
		{"table short", func(b *engine.Batch) { b.Rows[0].Blocks[0] = b.Rows[0].Blocks[0][:12] }, "block table of window 0 has 12 entries, want 13"},
		{"block of no pool", func(b *engine.Batch) { b.Rows[0].Blocks[1][3] = 1 << 20 }, "block table of window 128: entry 3 is 1048576"},
		{"full block given back", func(b *engine.Batch) { b.Rows[0].Blocks[0][0] = -1 }, "block table of window 0: entry 0 is -1"},
		{"window block given back too early", func(b *engine.Batch) { b.Rows[0].Blocks[1][0] = -1 }, "block table of window 128: entry 0 is -1"},
		{"mask short", func(b *engine.Batch) { b.Rows[0].Mask = make([]uint32, 3) }, "row 0 has a mask of 3 words, want 4"},
	} {
		b := oneRow(r, 200)
		tt.spoil(b)
		if _, err := step(b); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := r.Step(context.Background(), oneRow(r, 1), nil); err == nil || !strings.Contains(err.Error(), "0 results for 1 rows") {
		t.Errorf("no room for results: got %v", err)
	}
	if err := r.Logits(context.Background(), oneRow(r, 2), 0, make([]float32, 101)); err == nil || !strings.Contains(err.Error(), "101 logits from token 0 of 2") {
		t.Errorf("no room for logits: got %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Step(cancelled, oneRow(r, 1), make([]sample.Result, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if got, err := step(oneRow(r, 200)); err != nil || got[0].Token != want[0].Token {
		t.Errorf("after all that: got %v, %v, want %v", got, err, want)
	}
	if got, err := step(&engine.Batch{}); err != nil || len(got) != 0 {
		t.Errorf("empty batch: got %v, %v", got, err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	r := newRunner(t, tiny(), cpu.Options{KVBytes: 4 << 20})
	b := oneRow(r, 3)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Step(context.Background(), b, make([]sample.Result, 1)); err == nil || err.Error() != "runner is closed" {
		t.Errorf("step after close: %v", err)
	}
}

func TestThreadsDoNotChangeBits(t *testing.T) {
	t.Parallel()
	want := scores(t, cpu.Options{Threads: 1, KVBytes: 8 << 20})
	for _, threads := range []int{2, 5} {
		if got := scores(t, cpu.Options{Threads: threads, KVBytes: 8 << 20}); !slices.Equal(got, want) {
			t.Errorf("%d threads: other logits than with one", threads)
		}
	}
}

func TestLargerBlocks(t *testing.T) {
	t.Parallel()
	want := scores(t, cpu.Options{KVBytes: 8 << 20})
	for i, got := range scores(t, cpu.Options{KVBytes: 8 << 20, BlockTokens: 64}) {
		// Values are summed block by block, so the size of blocks shows in the rounding.
		if diff := math.Abs(float64(got - want[i])); !(diff < 1e-4) {
			t.Fatalf("blocks of 64: logit %d is %v, with blocks of 16 %v", i, got, want[i])
		}
	}
}

// scores returns all logits of a sequence of 200 tokens.
func scores(t *testing.T, o cpu.Options) []float32 {
	t.Helper()
	r := newRunner(t, tiny(), o)
	out := make([]float32, 200*101)
	if err := r.Logits(context.Background(), oneRow(r, 200), 0, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestKV(t *testing.T) {
	t.Parallel()
	// Bytes of a position: 2 layers, keys and values of 2 heads, 16 wide, float32.
	const position = 2 * 2 * 2 * 16 * 4
	for _, tt := range []struct {
		name    string
		options cpu.Options
		sliding []bool // nil: two of four
		want    engine.KVLayout
	}{
		{"memory for one short sequence", cpu.Options{KVBytes: (1 + 12) * 16 * position}, nil,
			engine.KVLayout{MaxContext: 16, Groups: []engine.KVGroup{{BlockTokens: 16, Blocks: 1}, {BlockTokens: 16, Blocks: 12, Window: 128}}}},
		{"a quarter for the windows", cpu.Options{KVBytes: 100 * 16 * position}, nil,
			engine.KVLayout{MaxContext: 75 * 16, Groups: []engine.KVGroup{{BlockTokens: 16, Blocks: 75}, {BlockTokens: 16, Blocks: 25, Window: 128}}}},
		{"longer than asked for", cpu.Options{KVBytes: 100 * 16 * position, MaxContext: 100}, nil,
			engine.KVLayout{MaxContext: 100, Groups: []engine.KVGroup{{BlockTokens: 16, Blocks: 75}, {BlockTokens: 16, Blocks: 25, Window: 128}}}},
		{"larger blocks", cpu.Options{KVBytes: 40 * 64 * position, BlockTokens: 64}, nil,
			engine.KVLayout{MaxContext: 30 * 64, Groups: []engine.KVGroup{{BlockTokens: 64, Blocks: 30}, {BlockTokens: 64, Blocks: 10, Window: 128}}}},
		{"no sliding layers", cpu.Options{KVBytes: 20 * 16 * 2 * position}, []bool{false, false, false, false},
			engine.KVLayout{MaxContext: 320, Groups: []engine.KVGroup{{BlockTokens: 16, Blocks: 20}}}},
		{"sliding layers only, context without bound", cpu.Options{KVBytes: 20 * 16 * 2 * position}, []bool{true, true, true, true},
			engine.KVLayout{MaxContext: 131072, Groups: []engine.KVGroup{{BlockTokens: 16, Blocks: 20, Window: 128}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := tiny()
			if tt.sliding != nil {
				m.Config.Sliding = tt.sliding
				for i := range m.Layers {
					m.Layers[i].Sliding = tt.sliding[i]
				}
			}
			got := newRunner(t, m, tt.options).KV()
			if got.MaxContext != tt.want.MaxContext || got.Vocab != 101 || !slices.Equal(got.Groups, tt.want.Groups) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDefaultKVMemoryIsBounded(t *testing.T) {
	t.Parallel()
	groups, bytes := newRunner(t, tiny(), cpu.Options{}).KV().Groups, 0
	for _, g := range groups {
		bytes += g.Blocks * 16 * 512 // as in TestKV
	}
	if bytes < 1<<20 || bytes > 1<<30 {
		t.Errorf("%d bytes for a model of kilobytes, want at most 1 GiB: %+v", bytes, groups)
	}
}

func TestScore(t *testing.T) {
	t.Parallel()
	m := tiny()
	r := newRunner(t, m, cpu.Options{KVBytes: 16 << 20})
	b := oneRow(r, 200)
	want := make([]float32, 200*101)
	if err := r.Logits(context.Background(), b, 0, want); err != nil {
		t.Fatal(err)
	}
	// Twelve blocks of the sliding layers go round and round.
	small := newRunner(t, m, cpu.Options{KVBytes: (19 + 12) * 16 * 512})
	if blocks := small.KV().Groups[1].Blocks; blocks != 12 {
		t.Fatalf("%d blocks of the sliding layers, want 12", blocks)
	}
	for _, r := range []*cpu.Runner{r, small} {
		for _, tt := range []struct{ from, chunk int }{{0, 0}, {0, 30}, {150, 64}, {199, 7}, {200, 64}, {0, 1 << 40}} {
			var got []float32
			err := r.Score(context.Background(), b.Tokens, tt.from, tt.chunk, func(logits []float32) error {
				got = append(got, logits...)
				return nil
			})
			if err != nil || !slices.Equal(got, want[tt.from*101:]) {
				t.Errorf("from %d in chunks of %d: %v, or other logits than in one step", tt.from, tt.chunk, err)
			}
		}
	}
	full, calls := errors.New("disk is full"), 0
	if err := r.Score(context.Background(), b.Tokens, 0, 10, func([]float32) error { calls++; return full }); err != full || calls != 1 {
		t.Errorf("emit fails: got %v after %d calls", err, calls)
	}
	for _, tt := range []struct {
		name        string
		tokens      []int32
		from, chunk int
		want        string
	}{
		{"too long", make([]int32, 305), 0, 0, "305 tokens, want at most 304"},
		{"from past the end", b.Tokens, 201, 0, "from token 201 of 200"},
		{"chunk below zero", b.Tokens, 0, -1, "in chunks of -1"},
		{"token past the vocabulary", []int32{101}, 0, 0, "token 0 has id 101"},
	} {
		err := small.Score(context.Background(), tt.tokens, tt.from, tt.chunk, func([]float32) error { return nil })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// Not parallel: it counts every allocation of the process.
func TestStepDoesNotAllocate(t *testing.T) {
	r := newRunner(t, tiny(), cpu.Options{Threads: 2, KVBytes: 8 << 20})
	b, out := oneRow(r, 20), make([]sample.Result, 1)
	if n := testing.AllocsPerRun(20, func() {
		if err := r.Step(context.Background(), b, out); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a step allocates %v times", n)
	}
}
