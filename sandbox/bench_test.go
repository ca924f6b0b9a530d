package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"chorale/sandbox"
)

func BenchmarkInstrument(b *testing.B) {
	wasm, err := goGuest()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		instrument(b, wasm)
	}
}

func BenchmarkVerify(b *testing.B) {
	wasm, err := goGuest()
	if err != nil {
		b.Fatal(err)
	}
	wasm = instrument(b, wasm)
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		instrument(b, wasm)
	}
}

// BenchmarkCompileCached loads a Go program of about 4 MB from the cache.
func BenchmarkCompileCached(b *testing.B) {
	wasm, err := goGuest()
	if err != nil {
		b.Fatal(err)
	}
	wasm = instrument(b, wasm)
	o := sandbox.Options{CacheDir: filepath.Join(b.TempDir(), "cache")}
	load := func() {
		m, err := sandbox.Compile(b.Context(), wasm, o)
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
	load()
	for b.Loop() {
		load()
	}
}

func BenchmarkInstantiate(b *testing.B) {
	for _, name := range []string{"state.wasm", "posix.wasm"} {
		b.Run(name, func(b *testing.B) {
			m := shared(b, name)
			for b.Loop() {
				in, err := m.Instantiate(b.Context(), sandbox.Config{})
				if err != nil {
					b.Fatal(err)
				}
				in.Close()
			}
		})
	}
}

// BenchmarkFork forks an image of 4 MiB, runs a call that writes about 40 pages, and closes.
func BenchmarkFork(b *testing.B) {
	m, img := booted(b)
	for b.Loop() {
		in, err := m.Fork(b.Context(), img, sandbox.Config{})
		if err != nil {
			b.Fatal(err)
		}
		call(b, in, "bump", 1)
		in.Close()
	}
}

// BenchmarkReset is the same in one instance that is reset.
func BenchmarkReset(b *testing.B) {
	m, img := booted(b)
	in := fork(b, m, img)
	for b.Loop() {
		call(b, in, "bump", 1)
		if err := in.Reset(img); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDelta compares an instance with its image, 40 pages of 1024 being different, and applies the result to a fork.
func BenchmarkDelta(b *testing.B) {
	m, img := booted(b)
	in := fork(b, m, img)
	call(b, in, "bump", 1)
	var d *sandbox.Delta
	b.Run("compare", func(b *testing.B) {
		for b.Loop() {
			var err error
			if d, err = in.Delta(img); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("apply", func(b *testing.B) {
		to := fork(b, m, img)
		for b.Loop() {
			if err := to.Reset(img); err != nil {
				b.Fatal(err)
			}
			if err := to.Apply(img, d); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func booted(b *testing.B) (*sandbox.Module, *sandbox.Image) {
	m := shared(b, "state.wasm")
	boot := instantiate(b, m, sandbox.Config{})
	call(b, boot, "grow", 60)
	call(b, boot, "dirty", 1024)
	return m, capture(b, boot)
}

func BenchmarkCall(b *testing.B) {
	in := instantiate(b, shared(b, "loops.wasm"), sandbox.Config{})
	ctx := b.Context()
	for b.Loop() {
		if _, err := in.Call(ctx, "add", 1, 2); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHardStop reports how long after its limit a guest is gone.
func BenchmarkHardStop(b *testing.B) {
	const limit = 10 * time.Millisecond
	for _, attack := range []string{"spin", "fib90", "fill", "copy", "flood", "random", "sleep"} {
		b.Run(attack, func(b *testing.B) {
			m := shared(b, "loops.wasm")
			var late []time.Duration
			for b.Loop() {
				in, err := m.Instantiate(b.Context(), sandbox.Config{Limits: sandbox.Limits{Wall: limit}})
				if err != nil {
					b.Fatal(err)
				}
				var args []uint64
				if attack == "sleep" {
					args = []uint64{1, uint64(time.Hour), 0}
				}
				start := time.Now()
				if _, err := in.Call(b.Context(), attack, args...); !errors.Is(err, sandbox.ErrTime) {
					b.Fatal(err)
				}
				late = append(late, time.Since(start)-limit)
			}
			slices.Sort(late)
			b.ReportMetric(float64(late[len(late)/2])/1e6, "ms-late-p50")
			b.ReportMetric(float64(late[len(late)-1])/1e6, "ms-late-max")
		})
	}
}

// BenchmarkCollection times collections while one guest a core loops, each attack in its way, and for comparison a Go
// function. A collection waits for processors, as everything does on a busy machine; the pause is what stops the world.
func BenchmarkCollection(b *testing.B) {
	for _, attack := range []string{"none", "Go", "spin", "fib90", "doubling", "fill", "copy", "table_fill"} {
		b.Run(attack, func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			var guests sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				in := instantiate(b, shared(b, "loops.wasm"), sandbox.Config{Limits: sandbox.Limits{Wall: time.Hour}})
				switch attack {
				case "none":
				case "Go":
					guests.Go(func() {
						for ctx.Err() == nil {
						}
					})
				default:
					guests.Go(func() { in.Call(ctx, attack) })
				}
			}
			var pauses []time.Duration
			var stats debug.GCStats
			for b.Loop() {
				runtime.GC()
				debug.ReadGCStats(&stats)
				pauses = append(pauses, stats.Pause[0])
			}
			slices.Sort(pauses)
			b.ReportMetric(float64(pauses[len(pauses)/2])/1e6, "ms-pause-p50")
			b.ReportMetric(float64(pauses[len(pauses)-1])/1e6, "ms-pause-max")
			cancel()
			guests.Wait()
		})
	}
}

// BenchmarkInstrumentation runs the same module without and with checks, on the bare engine, and with everything of ours.
func BenchmarkInstrumentation(b *testing.B) {
	wasm, err := goGuest()
	if err != nil {
		b.Fatal(err)
	}
	loops := fixture(b, "loops.wasm")
	for _, c := range []struct {
		name, fn string
		wasm     []byte
		args     []uint64
	}{
		{"go program", "_start", wasm, nil}, {"recursion", "fib", loops, []uint64{25}}, {"tight loop", "sum", fixture(b, "bench.wasm"), []uint64{1_000_000}},
		{"sieve", "sieve", fixture(b, "bench.wasm"), []uint64{200_000}}, {"matrix", "matrix", fixture(b, "bench.wasm"), []uint64{100}},
		{"bytecode", "bytecode", fixture(b, "bench.wasm"), []uint64{200_000}},
	} {
		for _, variant := range []string{"bare", "checked", "sandbox"} {
			b.Run(c.name+"/"+variant, func(b *testing.B) {
				if variant == "sandbox" {
					m := compile(b, c.wasm)
					for b.Loop() {
						in, err := m.Instantiate(b.Context(), sandbox.Config{Args: []string{"guest", "cpu"}})
						if err != nil {
							b.Fatal(err)
						}
						if c.fn == "_start" {
							_, err = in.Run(b.Context())
						} else {
							_, err = in.Call(b.Context(), c.fn, c.args...)
						}
						if err != nil {
							b.Fatal(err)
						}
						in.Close()
					}
					return
				}
				module := c.wasm
				if variant == "checked" {
					module = instrument(b, module)
				}
				bareEngine(b, module, c.fn, c.args)
			})
		}
	}
}

// bareEngine runs a module on wazero with its own WASI and a tick that does nothing.
func bareEngine(b *testing.B, wasm []byte, fn string, args []uint64) {
	ctx := b.Context()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer rt.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	tick := api.GoFunc(func(_ context.Context, stack []uint64) { stack[0] = 50_000 })
	if _, err := rt.NewHostModuleBuilder("chorale").NewFunctionBuilder().
		WithGoFunction(tick, nil, []api.ValueType{api.ValueTypeI32}).Export("tick").Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	compiled, err := rt.CompileModule(ctx, wasm)
	if err != nil {
		b.Fatal(err)
	}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithArgs("guest", "cpu").WithStdout(io.Discard)
	for b.Loop() {
		in, err := rt.InstantiateModule(ctx, compiled, config)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := in.ExportedFunction(fn).Call(ctx, args...); err != nil && fn != "_start" {
			b.Fatal(err)
		}
		in.Close(ctx)
	}
}

// BenchmarkOutput writes 10 MB through the output cap.
func BenchmarkOutput(b *testing.B) {
	m, err := goModule()
	if err != nil {
		b.Fatal(err)
	}
	input := bytes.Repeat([]byte("0123456789abcdef"), 640<<10)
	b.SetBytes(int64(len(input)))
	for b.Loop() {
		in, err := m.Instantiate(b.Context(), sandbox.Config{Args: []string{"guest", "echo"}, Stdin: bytes.NewReader(input)})
		if err != nil {
			b.Fatal(err)
		}
		if code, err := in.Run(b.Context()); err != nil || code != 0 {
			b.Fatal(code, err)
		}
		in.Close()
	}
}
