package cpu_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"chorale/inference/engine"
	"chorale/inference/gptoss/cpu"
	"chorale/inference/sample"
)

// An Engine over a Runner whose memory holds a few sequences, so that they wait, run beside each other and find each
// other's prefixes: every request must get the tokens that it gets alone.
func TestEngine(t *testing.T) {
	t.Parallel()
	requests := make([]engine.Request, 7)
	for i := range requests {
		requests[i] = engine.Request{MaxTokens: 40 + i, Sampling: sample.Params{Temperature: 1, Seed: uint64(i), Logprobs: -1}}
		for j := range 60 + 25*i {
			requests[i].Prompt = append(requests[i].Prompt, int32(1+j*j%100)) // each begins like the one before
		}
	}
	generate := func(e *engine.Engine, r engine.Request) (tokens []int32, err error) {
		g, err := e.Generate(context.Background(), r)
		if err != nil {
			return nil, err
		}
		for result := range g.Tokens() {
			tokens = append(tokens, result.Token)
		}
		finish, err := g.End()
		if err == nil && finish.Reason != engine.MaxTokens {
			err = fmt.Errorf("ended by %v", finish.Reason)
		}
		return tokens, err
	}
	open := func(options cpu.Options, limits engine.Options) *engine.Engine {
		e, err := engine.New(newRunner(t, tiny(), options), limits)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		return e
	}
	want := make([][]int32, len(requests))
	for i, r := range requests {
		var err error
		if want[i], err = generate(open(cpu.Options{Threads: 1, KVBytes: 8 << 20}, engine.Options{MaxBatchTokens: 1000}), r); err != nil {
			t.Fatal(err)
		}
	}
	crowded := open(cpu.Options{Threads: 2, KVBytes: (150 + 50) * 16 * 512}, engine.Options{MaxBatchTokens: 48})
	var all sync.WaitGroup
	for i, r := range requests {
		all.Go(func() {
			if got, err := generate(crowded, r); err != nil || !slices.Equal(got, want[i]) {
				t.Errorf("request %d: %v, got %v, alone %v", i, err, got, want[i])
			}
		})
	}
	all.Wait()
	stats := crowded.Stats()
	t.Logf("%d steps for %d tokens, %d preemptions, %d tokens found in memory", stats.Steps, stats.DecodeTokens, stats.Preemptions, stats.CachedTokens)
	if stats.Steps >= stats.DecodeTokens || stats.CachedTokens == 0 {
		t.Error("nothing ran beside another or found a prefix, so the test shows less than it should")
	}
}
