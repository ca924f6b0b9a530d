package cpu

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// These tests are inside the package, because no batch can make an item panic or come late on purpose.

func TestPoolRunsEveryItemOnce(t *testing.T) {
	t.Parallel()
	for _, threads := range []int{1, 2, 7} {
		var counts [300]atomic.Int32
		var wrong atomic.Int32
		var expected atomic.Int32
		p := newPool(threads, func(ph phase, worker, item int) {
			if int32(ph) != expected.Load() || worker < 0 || worker >= threads {
				wrong.Add(1)
			}
			counts[item].Add(1)
		})
		for region := range 2000 {
			n := region % len(counts)
			expected.Store(int32(region % 11))
			p.run(phase(region%11), n)
			for i := range counts {
				want := int32(0)
				if i < n {
					want = 1
				}
				if got := counts[i].Swap(0); got != want {
					t.Fatalf("%d threads, region of %d: item %d ran %d times", threads, n, i, got)
				}
			}
		}
		if wrong.Load() > 0 {
			t.Errorf("%d threads: %d items ran in another region's phase or by a thread that does not exist", threads, wrong.Load())
		}
		p.close()
	}
}

// A thread that sleeps must wake for work: the item waits until two threads are in the region at once.
func TestPoolWakesSleepingThreads(t *testing.T) {
	t.Parallel()
	var inside atomic.Int32
	p := newPool(2, func(phase, int, int) {
		inside.Add(1)
		for inside.Load() < 2 {
			runtime.Gosched()
		}
	})
	defer p.close()
	for range 3 {
		for p.sleeping.Load() == 0 {
			runtime.Gosched()
		}
		inside.Store(0)
		p.run(embed, 2)
	}
}

func TestPoolPassesPanicsOn(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 50} {
		fails := true
		p := newPool(3, func(_ phase, _, item int) {
			if fails && item == n/2 {
				panic("item is broken")
			}
		})
		func() {
			defer func() {
				if v := fmt.Sprint(recover()); !strings.Contains(v, "item is broken") {
					t.Errorf("region of %d: recovered %q, want the item's panic", n, v)
				}
			}()
			p.run(embed, n)
			t.Errorf("region of %d: no panic", n)
		}()
		fails = false
		p.run(embed, n) // and works on
		p.close()
	}
}

// Not parallel, so that no other pool lives while it looks.
func TestPoolCloseWaitsForItsThreads(t *testing.T) {
	newPool(4, func(phase, int, int) {}).close()
	stacks := make([]byte, 1<<20)
	if all := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(all, "(*pool).serve") {
		t.Errorf("a thread lives on:\n%s", all)
	}
}

func BenchmarkPoolRegion(b *testing.B) {
	p := newPool(2, func(phase, int, int) {})
	defer p.close()
	for b.Loop() {
		p.run(embed, 2)
	}
}
