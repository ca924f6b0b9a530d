package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"chorale/inference/engine"
	"chorale/inference/engine/enginetest"
)

// An operation is a request with what the plain model says about it, and whether somebody gives up on it.
type operation struct {
	request engine.Request
	want    []int32
	reason  engine.Reason
	leave   int // tokens after which the reader leaves; -1: stays
	got     *engine.Generation
}

// randomLayout has little memory and odd sizes.
func randomLayout(rng *rand.Rand) engine.KVLayout {
	l := engine.KVLayout{MaxContext: 20 + rng.IntN(60), Vocab: vocab}
	full := engine.KVGroup{BlockTokens: 1 + rng.IntN(6)}
	full.Blocks = 2 + l.MaxContext/full.BlockTokens*(50+rng.IntN(150))/100
	l.Groups = append(l.Groups, full)
	for range rng.IntN(3) {
		g := engine.KVGroup{BlockTokens: full.BlockTokens, Window: 1 + rng.IntN(30)}
		if rng.IntN(3) == 0 {
			g.BlockTokens = 1 + rng.IntN(6)
		}
		g.Blocks = (g.Window+60)/g.BlockTokens + 4 + rng.IntN(40) // 60 is the largest common multiple of such sizes
		l.Groups = append(l.Groups, g)
	}
	if rng.IntN(3) == 0 {
		slices.Reverse(l.Groups)
	}
	return l
}

// randomOperations share prefixes with each other, and with what others answer.
func randomOperations(rng *rand.Rand, n, context int) []*operation {
	var ops []*operation
	for range n {
		var prompt []int32
		if len(ops) > 0 && rng.IntN(3) > 0 {
			other := ops[rng.IntN(len(ops))]
			prompt = append(slices.Clone(other.request.Prompt), other.want...)
			prompt = prompt[:1+rng.IntN(len(prompt))]
		}
		for range rng.IntN(10) {
			prompt = append(prompt, int32(rng.IntN(vocab)))
		}
		if len(prompt) == 0 || len(prompt) >= context {
			prompt = counting(1+rng.IntN(context-1), rng.IntN(3))
		}
		op := &operation{leave: -1, request: engine.Request{Prompt: prompt, CacheSalt: []string{"", "", "a"}[rng.IntN(3)]}}
		if rng.IntN(4) > 0 {
			op.request.MaxTokens = 1 + rng.IntN(25)
		}
		for range rng.IntN(3) {
			op.request.Stop = append(op.request.Stop, int32(rng.IntN(vocab)))
		}
		if rng.IntN(6) == 0 {
			op.leave = rng.IntN(8)
		}
		op.want, op.reason = predict(babble, op.request, context)
		ops = append(ops, op)
	}
	return ops
}

// check compares what the engine said with the plain model.
func (op *operation) check() error {
	var got []int32
	if op.leave == 0 {
		op.got.Cancel()
	}
	for r := range op.got.Tokens() {
		if got = append(got, r.Token); len(got) == op.leave {
			break
		}
	}
	f, err := op.got.End()
	switch {
	case err != nil:
		return err
	case len(got) > len(op.want) || !slices.Equal(got, op.want[:len(got)]):
		return fmt.Errorf("got %v, want %v", got, op.want)
	case op.leave < 0 && len(got) != len(op.want):
		return fmt.Errorf("got %v, want all of %v", got, op.want)
	case f.Reason != op.reason && (op.leave < 0 || f.Reason != engine.Cancelled):
		return fmt.Errorf("ended by %v, want %v", f.Reason, op.reason)
	case f.PromptTokens != len(op.request.Prompt) || f.CachedTokens >= f.PromptTokens:
		return fmt.Errorf("account %+v for a prompt of %d", f, len(op.request.Prompt))
	}
	return nil
}

// operate runs random operations on a random engine and returns its counts. The runner checks every position that is
// read, and start has the books checked before every step and at the end.
func operate(t *testing.T, seed uint64) engine.Stats {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	l := randomLayout(rng)
	o := engine.Options{MaxSequences: 1 + rng.IntN(8), MaxBatchTokens: 1 + rng.IntN(40)}
	e := start(t, enginetest.Options{Layout: l, BeforeStep: func(context.Context, *engine.Batch) error {
		for range rng.IntN(4) { // the engine's goroutine alone uses rng from here on
			runtime.Gosched()
		}
		return nil
	}}, o)
	ops := randomOperations(rand.New(rand.NewPCG(seed, 2)), 40, e.MaxContext())
	var wait sync.WaitGroup
	for i, op := range ops {
		g, err := e.Generate(t.Context(), op.request)
		if err != nil {
			t.Errorf("seed %d, layout %+v, options %+v: operation %d: %v", seed, l, o, i, err)
			break
		}
		op.got = g
		wait.Go(func() {
			if err := op.check(); err != nil {
				t.Errorf("seed %d, layout %+v, options %+v: operation %d %+v: %v", seed, l, e.Options(), i, op.request, err)
			}
		})
		if i%7 == 6 {
			wait.Wait()
		}
	}
	wait.Wait()
	s := e.Stats()
	if s.Running+s.Waiting > 0 || s.Stopped+s.Exhausted+s.Cancelled != uint64(len(ops)) {
		t.Errorf("seed %d: stats %+v after %d operations", seed, s, len(ops))
	}
	for i, g := range s.Groups {
		if g.Used != 0 {
			t.Errorf("seed %d: group %d has %d blocks in use at the end", seed, i, g.Used)
		}
	}
	return s
}

func TestRandomOperations(t *testing.T) {
	t.Parallel()
	var preemptions, cached, cancelled uint64
	for seed := range uint64(150) {
		s := operate(t, seed)
		if t.Failed() {
			t.FailNow()
		}
		preemptions += s.Preemptions
		cached += s.CachedTokens
		cancelled += s.Cancelled
	}
	if preemptions < 100 || cached < 1000 || cancelled < 100 {
		t.Errorf("only %d preemptions, %d cached tokens and %d cancelled: too little was tried", preemptions, cached, cancelled)
	}
	t.Logf("%d preemptions, %d cached tokens, %d cancelled", preemptions, cached, cancelled)
}

// FuzzOperations is TestRandomOperations with seeds that nobody chose.
func FuzzOperations(f *testing.F) {
	f.Add(uint64(1 << 40))
	f.Fuzz(func(t *testing.T, seed uint64) { operate(t, seed) })
}

// TestHammer submits, reads, leaves, cancels and looks from many goroutines, and closes the engine under them.
func TestHammer(t *testing.T) {
	t.Parallel()
	e := start(t, enginetest.Options{Layout: layout(60, 100)}, engine.Options{MaxSequences: 6, MaxBatchTokens: 20, MaxQueue: 10})
	var wait sync.WaitGroup
	finished := make(chan struct{}, 1000)
	for worker := range 16 {
		wait.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 3))
			for {
				ctx, cancel := context.WithCancel(t.Context())
				r := engine.Request{Prompt: counting(1+rng.IntN(50), rng.IntN(4)), MaxTokens: 1 + rng.IntN(30)}
				want, _ := predict(babble, r, e.MaxContext())
				g, err := e.Generate(ctx, r)
				if errors.Is(err, engine.ErrQueueFull) {
					cancel()
					runtime.Gosched()
					continue
				}
				if errors.Is(err, engine.ErrClosed) {
					cancel()
					return
				}
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				leave := -1
				switch rng.IntN(6) {
				case 0:
					cancel()
				case 1:
					g.Cancel()
				case 2:
					leave = rng.IntN(5)
				case 3:
					go e.Stats()
				}
				var got []int32
				for r := range g.Tokens() {
					if got = append(got, r.Token); len(got) == leave {
						break
					}
				}
				f, err := g.End()
				cancel()
				if err != nil && !errors.Is(err, engine.ErrClosed) {
					t.Errorf("ended with %v", err)
					return
				}
				if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) || f.Reason == engine.MaxTokens && leave < 0 && len(got) != len(want) {
					t.Errorf("got %v, want %v (%+v)", got, want, f)
					return
				}
				finished <- struct{}{}
			}
		})
	}
	for range 3000 {
		<-finished
	}
	for range 3 {
		wait.Go(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	go func() {
		for range finished {
		}
	}()
	wait.Wait()
	close(finished)
}
