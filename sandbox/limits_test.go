package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/sandbox"
)

// endless are the exports of loops.wasm that run for ever or much longer than any test.
var endless = []string{"spin", "spin_deep", "spin_table", "fib90", "indirect", "doubling", "fill", "copy", "copy_back",
	"table_fill", "table_copy", "flood", "random", "wide_write"}

func TestEndlessGuestsAreStopped(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	for _, attack := range endless {
		t.Run(attack, func(t *testing.T) {
			t.Parallel()
			in := instantiate(t, m, sandbox.Config{Limits: sandbox.Limits{Wall: 20 * time.Millisecond}})
			_, err := in.Call(t.Context(), attack)
			var stop *sandbox.StopError
			var trap *sandbox.TrapError
			if attack == "indirect" && errors.As(err, &trap) && trap.Reason == "stack overflow" {
				return // it recurses for ever on a machine that is fast enough
			}
			if !errors.As(err, &stop) || !errors.Is(err, sandbox.ErrTime) {
				t.Fatalf("%v, want %v", err, sandbox.ErrTime)
			}
			if _, err := in.Call(t.Context(), "add", 1, 2); !errors.Is(err, sandbox.ErrClosed) {
				t.Errorf("a call after the end: %v, want %v", err, sandbox.ErrClosed)
			}
			if u := in.Usage(); u.Fuel == 0 || u.Wall < 20*time.Millisecond {
				t.Errorf("usage %+v", u)
			}
		})
	}
}

func TestEndlessGuestsRunOutOfFuel(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	for _, attack := range endless {
		t.Run(attack, func(t *testing.T) {
			t.Parallel()
			const limit = 3000
			in := instantiate(t, m, sandbox.Config{Limits: sandbox.Limits{Fuel: limit}})
			if _, err := in.Call(t.Context(), attack); !errors.Is(err, sandbox.ErrFuel) {
				t.Fatalf("%v, want %v", err, sandbox.ErrFuel)
			}
			// A bulk instruction may overdraw by one piece of 1 MiB, or by a table.
			if u := in.Usage(); u.Fuel <= limit || u.Fuel > limit+1100 {
				t.Errorf("%d units used, the limit is %d", u.Fuel, limit)
			}
		})
	}
}

func TestFuelIsDeterministic(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	var want int64
	for i := range 3 {
		in := instantiate(t, m, sandbox.Config{})
		if got := call(t, in, "fib", 18); got != 2584 {
			t.Fatalf("fib(18) = %d", got)
		}
		got := in.Usage().Fuel
		if i == 0 {
			want = got
		}
		if got != want || got < 4000 { // one unit a call, of which there are 8361
			t.Errorf("run %d took %d units, the first %d", i, got, want)
		}
		call(t, in, "add", 1, 2)
		if got := in.Usage().Fuel; got != 0 {
			t.Errorf("an addition took %d units", got)
		}
	}
}

func TestContextStopsGuest(t *testing.T) {
	t.Parallel()
	in := instantiate(t, shared(t, "loops.wasm"), sandbox.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the client went away")
	time.AfterFunc(5*time.Millisecond, func() { cancel(reason) })
	if _, err := in.Call(ctx, "spin"); !errors.Is(err, reason) {
		t.Errorf("%v, want %v", err, reason)
	}
	in = instantiate(t, shared(t, "loops.wasm"), sandbox.Config{})
	if _, err := in.Call(ctx, "add", 1, 2); !errors.Is(err, reason) {
		t.Errorf("call with a context that has ended: %v, want %v", err, reason)
	}
}

func TestKillAndCloseFromOutside(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	for name, stop := range map[string]func(*sandbox.Instance){
		"kill": func(in *sandbox.Instance) { in.Kill(sandbox.ErrKilled) }, "close": func(in *sandbox.Instance) { in.Close() },
	} {
		in := instantiate(t, m, sandbox.Config{})
		time.AfterFunc(5*time.Millisecond, func() {
			if _, err := in.Call(context.Background(), "add", 1, 2); !errors.Is(err, sandbox.ErrBusy) {
				t.Errorf("%s: a second call: %v, want %v", name, err, sandbox.ErrBusy)
			}
			stop(in)
		})
		if _, err := in.Call(t.Context(), "spin"); !errors.Is(err, map[string]error{"kill": sandbox.ErrKilled, "close": sandbox.ErrClosed}[name]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInterruptLetsGuestGoOn(t *testing.T) {
	t.Parallel()
	var interrupts int
	in := instantiate(t, shared(t, "loops.wasm"), sandbox.Config{
		Limits: sandbox.Limits{Soft: 5 * time.Millisecond},
		Interrupt: func(in *sandbox.Instance) {
			interrupts++
			if interrupts < 2 {
				return // a guest that does not listen hears it again
			}
			if err := in.WriteMemory(512, []byte{1}); err != nil {
				t.Error(err)
			}
		},
	})
	if got := call(t, in, "until"); got == 0 || interrupts != 2 {
		t.Errorf("guest counted to %d, %d interrupts", got, interrupts)
	}
	if got := call(t, in, "add", 2, 3); got != 5 {
		t.Errorf("add after the interrupt: %d", got)
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	for _, c := range []struct {
		name  string
		limit int64
		pages uint64
	}{
		{"1 MiB", 1 << 20, 16}, {"not whole pages", 1<<20 + 70_000, 17}, {"the module's own", 1 << 40, 2048},
	} {
		in := instantiate(t, m, sandbox.Config{Limits: sandbox.Limits{Memory: c.limit}})
		if got := call(t, in, "hog"); got != c.pages {
			t.Errorf("%s: guest got %d pages, want %d", c.name, got, c.pages)
		}
		if got := in.Usage().Memory; got != int64(c.pages)<<16 {
			t.Errorf("%s: peak of %d bytes", c.name, got)
		}
	}
	_, err := m.Instantiate(t.Context(), sandbox.Config{Limits: sandbox.Limits{Memory: 100_000}})
	if err == nil || !strings.Contains(err.Error(), "needs 131072 bytes of memory, the limit is 65536") {
		t.Errorf("a module that is larger than the limit: %v", err)
	}
	in := instantiate(t, m, sandbox.Config{})
	if got := call(t, in, "table_hog"); got < 900_000 || got > 1<<20 {
		t.Errorf("table grew to %d entries", got)
	}
}

func TestHostIsAskedBeforeMemoryGrows(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	var asked, allowed int64
	c := sandbox.Config{Grow: func(n int64) bool {
		asked += n
		return asked <= allowed
	}}
	in := instantiate(t, m, c)
	img := capture(t, in)
	allowed = 2 << 16
	if got := call(t, in, "grow", 2); got != 4 {
		t.Errorf("grow within what the host allows: %d, want the old size", got)
	}
	if got := int32(call(t, in, "grow", 1)); got != -1 || asked != 3<<16 {
		t.Errorf("grow beyond what the host allows: %d after %d bytes were asked for", got, asked)
	}
	d := delta(t, in, img)
	to := fork(t, m, img)
	if err := to.Configure(c); err != nil {
		t.Fatal(err)
	}
	if err := to.Apply(img, d); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("apply beyond what the host allows: %v", err)
	}
}

func TestPrivateMemory(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	in := fork(t, m, capture(t, instantiate(t, m, sandbox.Config{})))
	before, err := in.Private()
	if err != nil {
		t.Fatal(err)
	}
	call(t, in, "dirty", 40)
	after, err := in.Private()
	if err != nil || after < before || before < 4<<16 && after-before < 40*4096 {
		t.Errorf("%d bytes, and %d after 40 pages were written: %v", before, after, err)
	}
	in.Close()
	if _, err := in.Private(); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("of a closed instance: %v", err)
	}
}

func TestGoGuestWithoutMemoryFails(t *testing.T) {
	t.Parallel()
	_, stderr, code := runGo(t, sandbox.Config{Limits: sandbox.Limits{Memory: 32 << 20}}, "alloc")
	if code != 2 || !strings.Contains(stderr, "out of memory") {
		t.Errorf("code %d, stderr %.300q", code, stderr)
	}
}

func TestTraps(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	for _, c := range []struct {
		name, reason string
		args         []uint64
	}{
		{"trap", "unreachable", nil},
		{"outside", "out of bounds memory access", nil},
		{"divide", "integer divide by zero", []uint64{0}},
		{"recurse", "stack overflow", nil},
	} {
		in := instantiate(t, m, sandbox.Config{})
		_, err := in.Call(t.Context(), c.name, c.args...)
		var trap *sandbox.TrapError
		if !errors.As(err, &trap) || trap.Reason != c.reason {
			t.Errorf("%s: %v, want a trap: %s", c.name, err, c.reason)
		} else if c.name == "outside" && !strings.Contains(trap.Trace, "outside") {
			t.Errorf("%s: trace %q", c.name, trap.Trace)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	mem := sandbox.NewMem(0, 0)
	for _, c := range []struct {
		want string
		c    sandbox.Config
	}{
		{"limit of memory", sandbox.Config{Limits: sandbox.Limits{Memory: -1}}},
		{"limit of fuel", sandbox.Config{Limits: sandbox.Limits{Fuel: math.MinInt64}}},
		{"limit of output", sandbox.Config{Limits: sandbox.Limits{Output: -1}}},
		{"limits of time", sandbox.Config{Limits: sandbox.Limits{Soft: -1}}},
		{"must be absolute and clean", sandbox.Config{Mounts: []sandbox.Mount{{Path: "data", FS: mem}}}},
		{"must be absolute and clean", sandbox.Config{Mounts: []sandbox.Mount{{Path: "/data/", FS: mem}}}},
		{"there must be a file system", sandbox.Config{Mounts: []sandbox.Mount{{Path: "/data"}}}},
	} {
		if in, err := m.Instantiate(t.Context(), c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
			if err == nil {
				in.Close()
			}
		}
	}
}

func TestHostFunctions(t *testing.T) {
	t.Parallel()
	failure := errors.New("out of order")
	var notes []uint64
	funcs := []sandbox.Func{
		{Module: "env", Name: "triple", Params: []sandbox.ValueType{sandbox.I32}, Results: []sandbox.ValueType{sandbox.I32},
			Call: func(ctx context.Context, in *sandbox.Instance, stack []uint64) error {
				switch stack[0] {
				case 13:
					return failure
				case 14:
					panic("a mistake of ours")
				case 15:
					<-ctx.Done()
					return context.Cause(ctx)
				}
				stack[0] = uint64(uint32(stack[0]) * 3)
				return nil
			}},
		{Module: "env", Name: "note", Params: []sandbox.ValueType{sandbox.I64},
			Call: func(_ context.Context, _ *sandbox.Instance, stack []uint64) error {
				notes = append(notes, stack[0])
				return nil
			}},
	}
	m := compile(t, fixture(t, "kinds.wasm"), funcs...)
	open := func() *sandbox.Instance {
		return instantiate(t, m, sandbox.Config{Limits: sandbox.Limits{Wall: time.Second}})
	}
	if got := call(t, open(), "imported", 14e8); got != 4_200_000_000 {
		t.Errorf("triple: %d", got)
	}
	if len(notes) == 0 || notes[0] != 1 {
		t.Errorf("notes %v: the start function did not run", notes)
	}
	var host *sandbox.HostError
	if _, err := open().Call(t.Context(), "imported", 13); !errors.As(err, &host) || !errors.Is(err, failure) {
		t.Errorf("function that fails: %v", err)
	}
	if _, err := open().Call(t.Context(), "imported", 14); !errors.As(err, &host) {
		t.Errorf("function that panics: %v", err)
	}
	in := open()
	time.AfterFunc(5*time.Millisecond, func() { in.Kill(sandbox.ErrKilled) })
	if _, err := in.Call(t.Context(), "imported", 15); !errors.Is(err, sandbox.ErrKilled) {
		t.Errorf("function that waits for its context: %v, want %v", err, sandbox.ErrKilled)
	}
}

// TestCollector runs every endless guest beside a goroutine that collects garbage all the time. If a guest could not be
// preempted, nothing in that process would go on, timers included, so it is a process of its own.
func TestCollector(t *testing.T) {
	if os.Getenv("SANDBOX_COLLECTOR") != "" {
		collectorChild(t)
		return
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestCollector$", "-test.count=1")
	cmd.Env = append(os.Environ(), "SANDBOX_COLLECTOR=1")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("collections went through")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func collectorChild(t *testing.T) {
	m := shared(t, "loops.wasm")
	ctx, cancel := context.WithCancel(t.Context())
	var guests sync.WaitGroup
	for _, attack := range append([]string{"recurse"}, endless...) {
		guests.Go(func() {
			for ctx.Err() == nil { // recursion traps, and starts again
				in, err := m.Instantiate(context.Background(), sandbox.Config{Limits: sandbox.Limits{Memory: 80 << 20}})
				if err != nil {
					t.Error(err)
					return
				}
				in.Call(ctx, attack)
				in.Close()
			}
		})
	}
	const rounds = 10
	for range rounds {
		runtime.GC()
	}
	cancel()
	guests.Wait()
	fmt.Println(rounds, "collections went through")
}
