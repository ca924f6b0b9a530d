package engine_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chorale/inference/engine"
	"chorale/inference/engine/enginetest"
	"chorale/inference/sample"
)

const vocab = 50

// babble is a script whose answer depends on every token before it.
func babble(prompt, generated []int32) int32 {
	h := uint32(2166136261)
	for _, part := range [][]int32{prompt, generated} {
		for _, t := range part {
			h = (h ^ uint32(t)) * 16777619
		}
	}
	return int32((h >> 8) % vocab)
}

// predict is the plain model of a generation: what script says, one token after the other.
func predict(script enginetest.Script, r engine.Request, context int) (text []int32, reason engine.Reason) {
	for {
		t := script(r.Prompt, text)
		text = append(text, t)
		switch {
		case slices.Contains(r.Stop, t):
			return text, engine.StopToken
		case len(text) == r.MaxTokens || len(r.Prompt)+len(text) == context:
			return text, engine.MaxTokens
		}
	}
}

// layout is a small memory with two groups of 4-token blocks, the second with a window of 6.
func layout(fullBlocks, windowBlocks int) engine.KVLayout {
	return engine.KVLayout{
		Groups:     []engine.KVGroup{{BlockTokens: 4, Blocks: fullBlocks}, {BlockTokens: 4, Blocks: windowBlocks, Window: 6}},
		MaxContext: 200,
		Vocab:      vocab,
	}
}

// start returns an engine on a scripted runner, whose books are checked before each step and, for leaks, at the end.
func start(t testing.TB, ro enginetest.Options, o engine.Options) *engine.Engine {
	t.Helper()
	if ro.Script == nil && ro.Logits == nil {
		ro.Script = babble
	}
	if len(ro.Layout.Groups) == 0 {
		ro.Layout = layout(100, 100)
	}
	var e *engine.Engine
	before := ro.BeforeStep
	ro.BeforeStep = func(ctx context.Context, b *engine.Batch) error {
		if err := e.Check(); err != nil {
			return err
		}
		if before != nil {
			return before(ctx, b)
		}
		return nil
	}
	e, err := engine.New(enginetest.NewScripted(ro), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		s := e.Stats()
		if s.Running != 0 || s.Waiting != 0 {
			t.Errorf("%d sequences run and %d wait after close", s.Running, s.Waiting)
		}
		for i, g := range s.Groups {
			if g.Used != 0 {
				t.Errorf("group %d: %d blocks in use after close", i, g.Used)
			}
		}
	})
	return e
}

func generate(t testing.TB, e *engine.Engine, r engine.Request) *engine.Generation {
	t.Helper()
	g, err := e.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func collect(g *engine.Generation) (text []int32) {
	for r := range g.Tokens() {
		text = append(text, r.Token)
	}
	return text
}

// complete runs a request to its end.
func complete(t testing.TB, e *engine.Engine, r engine.Request) ([]int32, engine.Finish) {
	t.Helper()
	g := generate(t, e, r)
	text := collect(g)
	f, err := g.End()
	if err != nil {
		t.Fatal(err)
	}
	return text, f
}

// counting returns n tokens that differ from those of another seed nearly everywhere.
func counting(n, seed int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32((i*7 + i*i*3 + seed*11) % vocab)
	}
	return out
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	says := func(tokens ...int32) enginetest.Script {
		return func(_, generated []int32) int32 { return tokens[len(generated)%len(tokens)] }
	}
	tests := []struct {
		name    string
		script  enginetest.Script
		request engine.Request
		options engine.Options
	}{
		{"one token of prompt, one of output", babble, engine.Request{Prompt: []int32{3}, MaxTokens: 1}, engine.Options{}},
		{"many tokens", babble, engine.Request{Prompt: counting(10, 0), MaxTokens: 60}, engine.Options{}},
		{"stop token is the first", says(9, 1), engine.Request{Prompt: counting(10, 0), Stop: []int32{9}}, engine.Options{}},
		{"stop token later", says(1, 2, 3, 9), engine.Request{Prompt: counting(10, 0), Stop: []int32{8, 9}}, engine.Options{}},
		{"stop token is the last allowed", says(1, 2, 9), engine.Request{Prompt: counting(10, 0), Stop: []int32{9}, MaxTokens: 3}, engine.Options{}},
		{"stop token within the prompt", says(1, 2, 9), engine.Request{Prompt: []int32{9, 9, 9}, Stop: []int32{9}}, engine.Options{}},
		{"up to the context", babble, engine.Request{Prompt: counting(150, 0)}, engine.Options{}},
		{"more than the context has room for", babble, engine.Request{Prompt: counting(150, 0), MaxTokens: 1000}, engine.Options{}},
		{"longest prompt", babble, engine.Request{Prompt: counting(199, 0)}, engine.Options{}},
		{"prompt fills its last block", babble, engine.Request{Prompt: counting(16, 0), MaxTokens: 9}, engine.Options{}},
		{"prompt of one token more", babble, engine.Request{Prompt: counting(17, 0), MaxTokens: 9}, engine.Options{}},
		{"one token a step", babble, engine.Request{Prompt: counting(30, 0), MaxTokens: 30}, engine.Options{MaxBatchTokens: 1}},
		{"prompt in chunks of 7", babble, engine.Request{Prompt: counting(100, 0), MaxTokens: 30}, engine.Options{MaxBatchTokens: 7}},
		{"prompt is one chunk exactly", babble, engine.Request{Prompt: counting(20, 0), MaxTokens: 3}, engine.Options{MaxBatchTokens: 20}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, enginetest.Options{Script: tt.script}, tt.options)
			want, reason := predict(tt.script, tt.request, 200)
			got, f := complete(t, e, tt.request)
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if (f != engine.Finish{Reason: reason, PromptTokens: len(tt.request.Prompt), GeneratedTokens: len(want)}) {
				t.Errorf("finish %+v, want %v after %d tokens", f, reason, len(want))
			}
		})
	}
}

func TestGenerateRefuses(t *testing.T) {
	t.Parallel()
	e := start(t, enginetest.Options{Layout: layout(10, 100)}, engine.Options{}) // 40 tokens fit
	tests := []struct {
		name    string
		request engine.Request
		want    string
	}{
		{"empty prompt", engine.Request{}, "prompt is empty"},
		{"negative id", engine.Request{Prompt: []int32{1, -1}}, "token 1 of the prompt is -1"},
		{"id past the vocabulary", engine.Request{Prompt: []int32{vocab}}, "token 0 of the prompt is 50, ids are between 0 and 49"},
		{"negative number of tokens", engine.Request{Prompt: []int32{1}, MaxTokens: -1}, "is -1, must be positive"},
		{"temperature", engine.Request{Prompt: []int32{1}, Sampling: sample.Params{Temperature: 3}}, "temperature is 3"},
		{"prompt that leaves no room", engine.Request{Prompt: counting(40, 0)}, "has 40 tokens, at most 39 fit"},
		{"prompt beyond the memory", engine.Request{Prompt: counting(190, 0)}, "has 190 tokens, at most 39 fit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := e.Generate(t.Context(), tt.request); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
	t.Run("types", func(t *testing.T) {
		t.Parallel()
		_, err := e.Generate(t.Context(), engine.Request{Prompt: counting(41, 0)})
		if ce := new(engine.ContextError); !errors.As(err, &ce) || ce.Max != 40 || ce.Got != 41 {
			t.Errorf("error %#v, want a ContextError of 40 and 41", err)
		}
		_, err = e.Generate(t.Context(), engine.Request{Prompt: []int32{1}, Sampling: sample.Params{TopP: -1}})
		if pe := new(sample.ParamError); !errors.As(err, &pe) || pe.Field != "top_p" {
			t.Errorf("error %v, want a ParamError of top_p", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err = e.Generate(ctx, engine.Request{Prompt: []int32{1}}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the context", err)
		}
	})
	t.Run("context in force", func(t *testing.T) {
		t.Parallel()
		if e.MaxContext() != 40 {
			t.Errorf("context is %d, want the 40 that fit", e.MaxContext())
		}
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	full := engine.KVGroup{BlockTokens: 4, Blocks: 50}
	tests := []struct {
		name    string
		layout  engine.KVLayout
		options engine.Options
		want    engine.Options // when err is ""
		err     string
	}{
		{"defaults", engine.KVLayout{Groups: []engine.KVGroup{full}, MaxContext: 100, Vocab: 9}, engine.Options{},
			engine.Options{MaxSequences: 64, MaxBatchTokens: 512, MaxQueue: 1024}, ""},
		{"a token for every sequence", engine.KVLayout{Groups: []engine.KVGroup{full}, MaxContext: 100, Vocab: 9}, engine.Options{MaxBatchTokens: 8},
			engine.Options{MaxSequences: 8, MaxBatchTokens: 8, MaxQueue: 1024}, ""},
		{"lowered to what a windowed group can serve", engine.KVLayout{Groups: []engine.KVGroup{full, {BlockTokens: 4, Blocks: 40, Window: 6}}, MaxContext: 100, Vocab: 9}, engine.Options{},
			engine.Options{MaxSequences: 4, MaxBatchTokens: 80, MaxQueue: 1024}, ""},
		{"smallest windowed group", engine.KVLayout{Groups: []engine.KVGroup{full, {BlockTokens: 4, Blocks: 6, Window: 6}}, MaxContext: 100, Vocab: 9}, engine.Options{},
			engine.Options{MaxSequences: 1, MaxBatchTokens: 4, MaxQueue: 1024}, ""},
		{"windowed group too small", engine.KVLayout{Groups: []engine.KVGroup{full, {BlockTokens: 4, Blocks: 5, Window: 6}}, MaxContext: 100, Vocab: 9}, engine.Options{},
			engine.Options{}, "KV group 1 has 5 blocks of 4 tokens, a window of 6 needs at least 6"},
		{"no groups", engine.KVLayout{MaxContext: 100, Vocab: 9}, engine.Options{}, engine.Options{}, "0 groups"},
		{"no vocabulary", engine.KVLayout{Groups: []engine.KVGroup{full}, MaxContext: 100}, engine.Options{}, engine.Options{}, "vocabulary 0"},
		{"no blocks", engine.KVLayout{Groups: []engine.KVGroup{{BlockTokens: 4}}, MaxContext: 100, Vocab: 9}, engine.Options{}, engine.Options{}, "KV group 0 has 0 blocks"},
		{"one token of memory", engine.KVLayout{Groups: []engine.KVGroup{{BlockTokens: 1, Blocks: 1}}, MaxContext: 100, Vocab: 9}, engine.Options{}, engine.Options{}, "holds 1 tokens"},
		{"negative option", engine.KVLayout{Groups: []engine.KVGroup{full}, MaxContext: 100, Vocab: 9}, engine.Options{MaxQueue: -1}, engine.Options{}, "MaxQueue is -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := engine.New(fixed{layout: tt.layout}, tt.options)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one that says %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if got := e.Options(); got != tt.want {
				t.Errorf("options %+v, want %+v", got, tt.want)
			}
		})
	}
}

// fixed is a Runner that does nothing: it samples token 1.
type fixed struct{ layout engine.KVLayout }

func (f fixed) KV() engine.KVLayout { return f.layout }
func (f fixed) Close() error        { return nil }
func (f fixed) Step(_ context.Context, b *engine.Batch, out []sample.Result) error {
	for i := range out {
		out[i].Token = 1
	}
	return nil
}

// A turnstile lets a test watch steps and hold them up: each step first sends its batch's row lengths and then waits for
// a word.
type turnstile struct {
	steps chan []int // of each step, the lengths of its rows
	words chan error
}

func newTurnstile() *turnstile {
	return &turnstile{steps: make(chan []int), words: make(chan error)}
}

func (ts *turnstile) before(ctx context.Context, b *engine.Batch) error {
	var lengths []int
	for _, r := range b.Rows {
		lengths = append(lengths, r.Length)
	}
	select {
	case ts.steps <- lengths:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-ts.words:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next lets one step happen and returns the lengths of its rows.
func (ts *turnstile) next() []int {
	lengths := <-ts.steps
	ts.words <- nil
	return lengths
}

func TestSharing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		budget  int
		prompts []int
		want    [][]int // lengths of the rows of each step
	}{
		{"one prompt in chunks, then decoding", 8, []int{20}, [][]int{{8}, {8}, {4}, {1}, {1}}},
		{"two prompts halve the budget", 8, []int{20, 20}, [][]int{{8}, {4, 4}, {4, 4}, {4, 4}, {1, 7}, {1, 1}}},
		{"a short prompt passes a long one", 16, []int{100, 5}, [][]int{{16}, {11, 5}, {1, 15}, {1, 15}, {1, 15}, {1, 15}, {1, 13}, {1, 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ts := newTurnstile()
			e := start(t, enginetest.Options{BeforeStep: ts.before}, engine.Options{MaxBatchTokens: tt.budget})
			for i, n := range tt.prompts {
				generate(t, e, engine.Request{Prompt: counting(n, i), MaxTokens: 100})
				if i == 0 {
					if got := <-ts.steps; !slices.Equal(got, tt.want[0]) { // the others arrive during the first step
						t.Fatalf("step 0 has rows of %v, want %v", got, tt.want[0])
					}
				}
			}
			ts.words <- nil
			for i, want := range tt.want[1:] {
				if got := ts.next(); !slices.Equal(got, want) {
					t.Fatalf("step %d has rows of %v, want %v", i+1, got, want)
				}
			}
		})
	}
}

// TestDecodingNeverWaits has long prompts arrive while others decode: who has begun to decode gets a token in every step.
func TestDecodingNeverWaits(t *testing.T) {
	t.Parallel()
	const maxTokens = 60
	decoding := make(map[int32]bool) // by first block: no two prompts share theirs
	mixed := 0
	e := start(t, enginetest.Options{Layout: layout(400, 400), BeforeStep: func(_ context.Context, b *engine.Batch) error {
		now := make(map[int32]bool)
		for _, r := range b.Rows {
			now[r.Blocks[0][0]] = true
		}
		for first := range decoding {
			if !now[first] {
				return fmt.Errorf("the sequence in block %d was decoding and got no token", first)
			}
		}
		if len(now) > len(decoding) && len(decoding) > 0 {
			mixed++
		}
		for _, r := range b.Rows {
			if r.Sampling != nil {
				decoding[r.Blocks[0][0]] = len(r.Generated) < maxTokens-1
				if len(r.Generated) == maxTokens-1 {
					delete(decoding, r.Blocks[0][0])
				}
			}
		}
		return nil
	}}, engine.Options{MaxBatchTokens: 12})
	var all []*engine.Generation
	for i := range 10 {
		prompt := append([]int32{int32(i)}, counting([]int{2, 120}[i%2], i)...)
		all = append(all, generate(t, e, engine.Request{Prompt: prompt, MaxTokens: maxTokens}))
	}
	for _, g := range all {
		if _, err := g.End(); err != nil {
			t.Fatal(err)
		}
	}
	if mixed < 10 {
		t.Errorf("only %d steps had both: nothing was shown", mixed)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	ts := newTurnstile()
	e := start(t, enginetest.Options{BeforeStep: ts.before}, engine.Options{MaxSequences: 2, MaxQueue: 3})
	request := engine.Request{Prompt: counting(5, 0), MaxTokens: 2}
	var all []*engine.Generation
	all = append(all, generate(t, e, request))
	<-ts.steps // the first runs, and is held up
	for range 3 {
		all = append(all, generate(t, e, request))
	}
	if _, err := e.Generate(t.Context(), request); !errors.Is(err, engine.ErrQueueFull) {
		t.Fatalf("error %v, want ErrQueueFull", err)
	}
	if s := e.Stats(); s.Running != 1 || s.Groups[0].Used != 2 {
		t.Errorf("stats %+v, want one sequence with two blocks", s)
	}
	ts.words <- nil
	if got := ts.next(); len(got) != 2 {
		t.Errorf("step has rows %v, want those of two sequences", got)
	}
	all = append(all, generate(t, e, request)) // one has been admitted, so there is room in the queue again
	go func() {
		for range ts.steps {
			ts.words <- nil
		}
	}()
	want, _ := predict(babble, request, 200)
	for i, g := range all {
		if got := collect(g); !slices.Equal(got, want) {
			t.Errorf("generation %d: got %v, want %v", i, got, want)
		}
	}
	close(ts.steps)
	if s := e.Stats(); s.Admitted != 5 || s.Exhausted != 5 || s.DecodeTokens != 10 {
		t.Errorf("stats %+v, want five generations of two tokens", s)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	request := engine.Request{Prompt: counting(5, 0)}
	cancelled := func(t *testing.T, e *engine.Engine, g *engine.Generation) {
		t.Helper()
		f, err := g.End()
		if err != nil || f.Reason != engine.Cancelled || f.PromptTokens != 5 {
			t.Errorf("finish %+v, %v, want cancelled", f, err)
		}
		if s := e.Stats(); s.Cancelled != 1 || s.Running != 0 || s.Waiting != 0 || s.Groups[0].Used != 0 {
			t.Errorf("stats %+v, want nothing left", s)
		}
		if got, _ := complete(t, e, engine.Request{Prompt: request.Prompt, MaxTokens: 1}); len(got) != 1 {
			t.Errorf("the next request got %v", got)
		}
	}
	t.Run("within one step", func(t *testing.T) {
		t.Parallel()
		ts := newTurnstile()
		e := start(t, enginetest.Options{BeforeStep: ts.before}, engine.Options{})
		g := generate(t, e, request)
		<-ts.steps
		g.Cancel()
		g.Cancel()
		ts.words <- nil
		f, err := g.End()
		if err != nil || f.Reason != engine.Cancelled || f.GeneratedTokens > 1 {
			t.Errorf("finish %+v, %v, want cancelled after the step at hand", f, err)
		}
		if s := e.Stats(); s.Steps != 1 || s.Groups[0].Used != 0 {
			t.Errorf("stats %+v, want one step and no blocks in use", s)
		}
	})
	t.Run("by the context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ts := newTurnstile()
			e := start(t, enginetest.Options{BeforeStep: ts.before}, engine.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g, err := e.Generate(ctx, request)
			if err != nil {
				t.Fatal(err)
			}
			ts.next()
			<-ts.steps
			cancel()
			synctest.Wait()
			ts.words <- nil
			if f, err := g.End(); err != nil || f.Reason != engine.Cancelled || f.GeneratedTokens > 2 {
				t.Errorf("finish %+v, %v, want cancelled after the step at hand", f, err)
			}
		})
	})
	t.Run("by leaving the loop", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		var steps atomic.Int32
		e := start(t, enginetest.Options{BeforeStep: func(context.Context, *engine.Batch) error {
			if steps.Add(1) == 3 {
				<-release
			}
			return nil
		}}, engine.Options{})
		g := generate(t, e, request)
		for range g.Tokens() {
			break
		}
		close(release)
		cancelled(t, e, g)
		if got := collect(g); got != nil {
			t.Errorf("a second loop got %v, want nothing", got)
		}
	})
	t.Run("while waiting", func(t *testing.T) {
		t.Parallel()
		ts := newTurnstile()
		e := start(t, enginetest.Options{BeforeStep: ts.before}, engine.Options{MaxSequences: 1})
		first := generate(t, e, engine.Request{Prompt: counting(5, 1), MaxTokens: 1})
		<-ts.steps
		g := generate(t, e, request)
		g.Cancel()
		ts.words <- nil
		if f, err := g.End(); err != nil || f.Reason != engine.Cancelled || f.GeneratedTokens != 0 {
			t.Errorf("finish %+v, %v, want cancelled without a token", f, err)
		}
		if f, err := first.End(); err != nil || f.Reason != engine.MaxTokens {
			t.Errorf("the other ended with %+v, %v", f, err)
		}
	})
	t.Run("after the end", func(t *testing.T) {
		t.Parallel()
		e := start(t, enginetest.Options{}, engine.Options{})
		g := generate(t, e, engine.Request{Prompt: counting(5, 1), MaxTokens: 2})
		collect(g)
		g.Cancel()
		if f, err := g.End(); err != nil || f.Reason != engine.MaxTokens {
			t.Errorf("finish %+v, %v", f, err)
		}
	})
}

// TestSlowReader has nobody read: the engine finishes all the same, and nothing is lost.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	e := start(t, enginetest.Options{}, engine.Options{})
	var all []*engine.Generation
	for i := range 5 {
		all = append(all, generate(t, e, engine.Request{Prompt: counting(5, i), MaxTokens: 100}))
	}
	for _, g := range all {
		if f, err := g.End(); err != nil || f.GeneratedTokens != 100 {
			t.Fatalf("finish %+v, %v", f, err)
		}
	}
	for i, g := range all {
		want, _ := predict(babble, engine.Request{Prompt: counting(5, i), MaxTokens: 100}, 200)
		if got := collect(g); !slices.Equal(got, want) {
			t.Errorf("generation %d: got %v, want %v", i, got, want)
		}
	}
}

// A rule is a Constraint that allows the ids allowed(n) after n tokens, and none at all to be limited by nil.
type rule struct {
	allowed func(n int) []int32
	refuse  int32 // Accept fails for this id
	n       int
}

func (r *rule) Mask(dst []uint32) bool {
	ids := r.allowed(r.n)
	if ids == nil {
		return false
	}
	clear(dst)
	for _, t := range ids {
		dst[t/32] |= 1 << (t % 32)
	}
	return true
}

func (r *rule) Accept(token int32) error {
	if token == r.refuse {
		return fmt.Errorf("token %d is not for me", token)
	}
	r.n++
	return nil
}

func TestConstraint(t *testing.T) {
	t.Parallel()
	script := func(_, generated []int32) int32 { return int32(len(generated)) }
	tests := []struct {
		name    string
		allowed func(n int) []int32
		refuse  int32
		want    []int32
		err     string
	}{
		{"limits every other token", func(n int) []int32 {
			if n%2 == 0 {
				return []int32{40}
			}
			return nil
		}, -1, []int32{40, 1, 40, 3, 40}, ""},
		{"allows the last id", func(int) []int32 { return []int32{vocab - 1} }, -1, []int32{49, 49, 49, 49, 49}, ""},
		{"refuses a token", func(int) []int32 { return nil }, 3, []int32{0, 1, 2}, "constraint: token 3 is not for me"},
		{"allows nothing", func(n int) []int32 { return []int32{5}[:max(0, 1-n)] }, -1, []int32{5}, "constraint: it allows no token"},
		{"allows only ids past the vocabulary", func(int) []int32 { return []int32{vocab, 63} }, -1, nil, "constraint: it allows no token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, enginetest.Options{Script: script}, engine.Options{})
			other := generate(t, e, engine.Request{Prompt: counting(4, 0), MaxTokens: 20})
			g := generate(t, e, engine.Request{Prompt: counting(9, 0), MaxTokens: 5, Constraint: &rule{allowed: tt.allowed, refuse: tt.refuse}})
			if got := collect(g); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			f, err := g.End()
			if tt.err == "" && (err != nil || f.Reason != engine.MaxTokens) || tt.err != "" && (err == nil || err.Error() != tt.err || f.Reason != engine.Failed) {
				t.Errorf("finish %+v, error %v, want %q", f, err, tt.err)
			}
			if f.GeneratedTokens != len(tt.want) {
				t.Errorf("finish %+v, want %d tokens", f, len(tt.want))
			}
			if f, err := other.End(); err != nil || f.GeneratedTokens != 20 {
				t.Errorf("the other ended with %+v, %v", f, err)
			}
		})
	}
}

func TestRunnerFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		script enginetest.Script
		before func() error
		want   string
	}{
		{"error", babble, func() error { return errors.New("device lost") }, "device lost"},
		{"panic", babble, func() error { panic("index out of range") }, "panic: index out of range"},
		{"token past the vocabulary", func([]int32, []int32) int32 { return vocab }, func() error { return nil }, "sampled token 50"},
		{"negative token", func([]int32, []int32) int32 { return -1 }, func() error { return nil }, "sampled token -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ts := newTurnstile()
			e := start(t, enginetest.Options{Script: tt.script, BeforeStep: func(ctx context.Context, b *engine.Batch) error {
				if err := ts.before(ctx, b); err != nil {
					return err
				}
				return tt.before()
			}}, engine.Options{MaxSequences: 2})
			var all []*engine.Generation
			for range 4 {
				all = append(all, generate(t, e, engine.Request{Prompt: counting(5, 0)}))
			}
			ts.next()
			for i, g := range all {
				if got := collect(g); got != nil {
					t.Errorf("generation %d got %v", i, got)
				}
				if f, err := g.End(); f.Reason != engine.Failed || err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("generation %d ended with %+v, %v, want %q", i, f, err, tt.want)
				}
			}
			if _, err := e.Generate(t.Context(), engine.Request{Prompt: counting(5, 0)}); err == nil || errors.Is(err, engine.ErrClosed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("a later request got error %v, want %q", err, tt.want)
			}
			if err := e.Drain(t.Context()); err != nil {
				t.Errorf("drain of a stopped engine: %v", err)
			}
			if err := e.Close(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("close returns %v, want %q", err, tt.want)
			}
			if s := e.Stats(); s.Failed != 4 || s.Running+s.Waiting != 0 {
				t.Errorf("stats %+v, want four failed", s)
			}
		})
	}
}

func TestConstraintPanics(t *testing.T) {
	t.Parallel()
	e := start(t, enginetest.Options{}, engine.Options{})
	g := generate(t, e, engine.Request{Prompt: counting(5, 0), Constraint: &rule{allowed: func(int) []int32 { panic("grammar is broken") }}})
	f, err := g.End()
	if pe := new(engine.PanicError); f.Reason != engine.Failed || !errors.As(err, &pe) || pe.Value != "grammar is broken" || len(pe.Stack) == 0 {
		t.Errorf("ended with %+v, %v", f, err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	ts := newTurnstile()
	e := start(t, enginetest.Options{BeforeStep: ts.before}, engine.Options{MaxSequences: 2})
	var all []*engine.Generation
	for range 4 {
		all = append(all, generate(t, e, engine.Request{Prompt: counting(5, 0)}))
	}
	ts.next()
	<-ts.steps // and the second is held up
	closing := make(chan error)
	for range 2 {
		go func() { closing <- e.Close() }()
	}
	for range 2 {
		if err := <-closing; err != nil {
			t.Errorf("close: %v", err)
		}
	}
	for i, g := range all {
		collect(g)
		if f, err := g.End(); !errors.Is(err, engine.ErrClosed) || f.Reason != engine.Failed {
			t.Errorf("generation %d ended with %+v, %v, want ErrClosed", i, f, err)
		}
	}
	if _, err := e.Generate(t.Context(), engine.Request{Prompt: counting(5, 0)}); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("a later request got error %v, want ErrClosed", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// aSecondAStep is a device that takes a second for every step, on the clock of synctest.
func aSecondAStep(ctx context.Context, _ *engine.Batch) error {
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := start(t, enginetest.Options{BeforeStep: aSecondAStep}, engine.Options{MaxSequences: 1})
		request := engine.Request{Prompt: counting(5, 0), MaxTokens: 4}
		running, waiting := generate(t, e, request), generate(t, e, request)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := e.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain in three seconds: %v, want that the time is up", err)
		}
		if _, err := e.Generate(t.Context(), request); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("error %v while draining, want ErrClosed", err)
		}
		begun := time.Now()
		for range 2 { // the second time there is nothing to wait for
			if err := e.Drain(t.Context()); err != nil {
				t.Errorf("drain: %v", err)
			}
		}
		if d := time.Since(begun); d != 5*time.Second {
			t.Errorf("drained after %v more, want 5s for the rest of eight steps", d)
		}
		for _, g := range []*engine.Generation{running, waiting} {
			if f, err := g.End(); err != nil || f.GeneratedTokens != 4 {
				t.Errorf("finish %+v, %v, want all four tokens", f, err)
			}
		}
		if _, err := e.Generate(t.Context(), request); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("error %v after draining, want ErrClosed", err)
		}
	})
}

func TestDrainIdle(t *testing.T) {
	t.Parallel()
	e := start(t, enginetest.Options{}, engine.Options{})
	if err := e.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := start(t, enginetest.Options{BeforeStep: aSecondAStep}, engine.Options{MaxSequences: 1, MaxBatchTokens: 8})
		request := engine.Request{Prompt: counting(20, 0), MaxTokens: 3}
		first, second := generate(t, e, request), generate(t, e, request)
		time.AfterFunc(1500*time.Millisecond, func() {
			if s := e.Stats(); s.Running != 1 || s.Waiting != 1 || s.Steps != 1 || s.Admitted != 1 || s.Groups[0].Used != 4 || s.Groups[0].Cached != 0 {
				t.Errorf("in the second step: %+v", s)
			}
		})
		for _, g := range []*engine.Generation{first, second} {
			if _, err := g.End(); err != nil {
				t.Fatal(err)
			}
		}
		want := engine.Stats{
			Steps:         8, // three for the first prompt, and one for the second; two more tokens each
			PrefillTokens: 20 + 4,
			CachedTokens:  16,
			DecodeTokens:  6,
			Admitted:      2,
			QueueTime:     5 * time.Second,
			StepTime:      8 * time.Second,
			Exhausted:     2,
		}
		got := e.Stats()
		groups := got.Groups
		got.Groups = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if (groups[0] != engine.GroupStats{Cached: 5, Total: 100}) {
			t.Errorf("full group %+v, want the five full blocks cached", groups[0])
		}
		groups[0].Total = 0
		if e.Stats().Groups[0].Total != 100 {
			t.Error("stats are not a copy")
		}
	})
}

// A metronome is a Runner without work that counts its steps.
type metronome struct {
	fixed
	steps chan struct{} // buffered, so that counting costs few switches of goroutines
}

func (m metronome) Step(ctx context.Context, b *engine.Batch, out []sample.Result) error {
	select {
	case m.steps <- struct{}{}:
	case <-ctx.Done():
	}
	return m.fixed.Step(ctx, b, out)
}

// BenchmarkStep is what the engine itself costs in a step in which every sequence decodes: a Runner of no cost, two KV
// groups as gpt-oss has them, and every token read. Each sequence is followed by another after 2,000 tokens.
func BenchmarkStep(b *testing.B) {
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("%d sequences", n), func(b *testing.B) {
			m := metronome{fixed{engine.KVLayout{
				Groups:     []engine.KVGroup{{BlockTokens: 16, Blocks: 200 * n}, {BlockTokens: 16, Blocks: 16*n + 64, Window: 128}},
				MaxContext: 3000, Vocab: 201088,
			}}, make(chan struct{}, 64)}
			e, err := engine.New(m, engine.Options{MaxSequences: n})
			if err != nil {
				b.Fatal(err)
			}
			var readers sync.WaitGroup
			for i := range n {
				readers.Go(func() {
					r := engine.Request{Prompt: counting(100, i), MaxTokens: 2000}
					for {
						g, err := e.Generate(b.Context(), r)
						if err != nil {
							return // closed
						}
						for range g.Tokens() {
						}
					}
				})
			}
			for e.Stats().Admitted < uint64(n) {
				<-m.steps
			}
			before := e.Stats()
			for b.Loop() {
				<-m.steps
			}
			b.StopTimer()
			after := e.Stats()
			b.ReportMetric(float64(after.DecodeTokens-before.DecodeTokens)/float64(after.Steps-before.Steps), "tokens/step")
			e.Close()
			readers.Wait()
		})
	}
}
