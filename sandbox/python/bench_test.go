package python_test

import (
	"context"
	_ "embed"
	"errors"
	"maps"
	"math"
	"os"
	osexec "os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chorale/sandbox/python"
)

// report adds percentiles of the times of single operations.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	ms := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))]) / 1e6 }
	b.ReportMetric(ms(0.5), "ms-p50")
	b.ReportMetric(ms(0.99), "ms-p99")
	b.ReportMetric(0, "ns/op")
}

// typical is what a model sends.
const typical = `import json, re, statistics
from collections import Counter
from datetime import date, timedelta
text = "The quick brown fox jumps over the lazy dog, and the dog sleeps on."
words = re.findall(r"\w+", text.lower())
top = Counter(words).most_common(3)
days = [(date(2025, 1, 31) + timedelta(days=30 * i)).isoformat() for i in range(6)]
values = [len(w) for w in words]
print(json.dumps({"top": top, "days": days, "mean": statistics.mean(values), "stdev": round(statistics.stdev(values), 3)}))`

// BenchmarkPristine is a session in a pooled interpreter, one cell, and what the caller waits for at its end.
func BenchmarkPristine(b *testing.B) {
	for _, c := range []struct{ name, code string }{{"1+1", "1+1"}, {"typical", typical}, {"exception", "def f(): return 1/0\nf()"}} {
		b.Run(c.name, func(b *testing.B) {
			p := newPool(b, python.PoolOptions{})
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				s, err := p.Acquire(b.Context(), python.SessionOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Exec(b.Context(), python.Cell{Code: c.code}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
				s.Close()
			}
			report(b, took)
		})
	}
}

// BenchmarkThroughput is how many pristine sessions of one cell there are in a second.
func BenchmarkThroughput(b *testing.B) {
	for _, workers := range []int{1, 2, 4} {
		b.Run([]string{1: "1 worker", 2: "2 workers", 4: "4 workers"}[workers], func(b *testing.B) {
			p := newPool(b, python.PoolOptions{Slots: 2*workers + 2})
			var left atomic.Int64
			left.Store(int64(b.N)) // and not b.Loop, which would have to hand out each call
			var wg sync.WaitGroup
			b.ResetTimer()
			for range workers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						s, err := p.Acquire(b.Context(), python.SessionOptions{})
						if err != nil {
							b.Error(err)
							return
						}
						if _, err := s.Exec(b.Context(), python.Cell{Code: "1+1"}); err != nil {
							b.Error(err)
						}
						s.Close()
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			b.ReportMetric(float64(p.Stats().Forks), "forks")
		})
	}
}

// BenchmarkFork is a session in an interpreter that nobody has prepared: a new fork, one cell, and its end.
func BenchmarkFork(b *testing.B) {
	p := newPool(b, python.PoolOptions{Slots: -1})
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		s, err := p.Acquire(b.Context(), python.SessionOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if r := exec(b, s, "1+1"); r.Value != "2" {
			b.Fatalf("%+v", r)
		}
		s.Close()
		took = append(took, time.Since(start))
	}
	report(b, took)
}

// BenchmarkSnapshot stores sessions of several sizes and goes on with them.
func BenchmarkSnapshot(b *testing.B) {
	for _, c := range []struct{ name, code string }{
		{"x = 1", "x = 1"},
		{"function and list", "import json\ndef f(n): return json.dumps([n])\nxs = list(range(1000))\nf(1)"},
		{"class and generator", rich},
		{"5000 dicts", "ds = [{'i': i, 's': str(i)} for i in range(5000)]"},
		{"million ints", "xs = list(range(1_000_000))"},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newPool(b, python.PoolOptions{Slots: 4})
			s := acquire(b, p, python.Limits{})
			if r := exec(b, s, c.code); r.Status != python.OK {
				b.Fatal(r.Output)
			}
			var stored, restored []time.Duration
			var size int
			for b.Loop() {
				start := time.Now()
				snap, files := snapshot(b, s)
				size = len(snap)
				stored = append(stored, time.Since(start))
				start = time.Now()
				branch, err := p.Restore(b.Context(), snap, files, python.SessionOptions{})
				if err != nil {
					b.Fatal(err)
				}
				exec(b, branch, "1+1")
				restored = append(restored, time.Since(start))
				branch.Close()
			}
			report(b, restored)
			slices.Sort(stored)
			b.ReportMetric(float64(stored[len(stored)/2])/1e6, "ms-store-p50")
			b.ReportMetric(float64(size)/1024, "KiB")
		})
	}
}

// BenchmarkMemory is what sessions take, in memory that the process shares with nobody (PSS): fresh, and after a cell.
func BenchmarkMemory(b *testing.B) {
	const n = 200
	for _, c := range []struct{ name, code string }{{"idle", ""}, {"1+1", "1+1"}, {"typical", typical}} {
		b.Run(c.name, func(b *testing.B) {
			var each float64
			for b.Loop() {
				p, err := python.NewPool(image(b), python.PoolOptions{Slots: -1, MaxLive: n})
				if err != nil {
					b.Fatal(err)
				}
				before := pss(b)
				for range n {
					if s := acquire(b, p, python.Limits{}); c.code != "" {
						exec(b, s, c.code)
					}
				}
				each = float64(pss(b)-before) / n
				if err := p.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(each/(1<<20), "MiB/session")
		})
	}
}

// pss is the process's proportional share of memory, in bytes.
func pss(b *testing.B) int {
	debug.FreeOSMemory()
	rollup, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(rollup)) {
		if f := strings.Fields(line); f[0] == "Pss:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Skip("the kernel does not say")
	return 0
}

// BenchmarkKill reports how late a cell is stopped, at its soft limit and at its hard one.
func BenchmarkKill(b *testing.B) {
	const limit = 50 * time.Millisecond
	for _, c := range []struct {
		name, code string
		limits     python.Limits
	}{
		{"soft", "while True: pass", python.Limits{Soft: limit, Wall: time.Minute}},
		{"soft in sleep", "import time; time.sleep(3600)", python.Limits{Soft: limit, Wall: time.Minute}},
		{"hard", "sum(range(10**12))", python.Limits{Soft: limit, Wall: limit}},
		{"hard in regular expression", "import re\nwhile True:\n    try: re.match(r'(a+)+$', 'a' * 40 + 'b')\n    except BaseException: pass", python.Limits{Soft: limit, Wall: limit}},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newPool(b, python.PoolOptions{})
			var late []time.Duration
			for b.Loop() {
				s := acquire(b, p, c.limits)
				start := time.Now()
				if r := exec(b, s, c.code); r.Status != python.Interrupted && r.Status != python.Killed {
					b.Fatalf("%+v", r)
				}
				late = append(late, time.Since(start)-limit)
				s.Close()
			}
			report(b, late)
		})
	}
}

// BenchmarkCollection is the pause of garbage collections while an interpreter a core loops.
func BenchmarkCollection(b *testing.B) {
	for _, c := range []struct{ name, code string }{
		{"none", ""}, {"loop", "while True: pass"}, {"loop in C", "while True: sum(range(10**9))"},
		{"copies", "b = bytes(100_000_000)\nwhile True: bytearray(b)"},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newPool(b, python.PoolOptions{Slots: 1})
			ctx, cancel := context.WithCancel(b.Context())
			var guests sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				s := acquire(b, p, python.Limits{Memory: 512 << 20})
				if c.code != "" {
					guests.Go(func() { s.Exec(ctx, python.Cell{Code: c.code}) })
				}
			}
			var pauses []time.Duration
			var stats debug.GCStats
			for b.Loop() {
				runtime.GC()
				debug.ReadGCStats(&stats)
				pauses = append(pauses, stats.Pause[0])
			}
			cancel()
			guests.Wait()
			slices.Sort(pauses)
			b.ReportMetric(float64(pauses[len(pauses)/2])/1e6, "ms-pause-p50")
			b.ReportMetric(float64(pauses[len(pauses)-1])/1e6, "ms-pause-max")
		})
	}
}

// BenchmarkBoot is a start with everything in the cache, until a first cell has run.
func BenchmarkBoot(b *testing.B) {
	image(b)
	dir, err := cacheDir()
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		img, err := python.Boot(b.Context(), python.BootOptions{CacheDir: dir})
		if err != nil {
			b.Fatal(err)
		}
		p, err := python.NewPool(img, python.PoolOptions{Slots: 1})
		if err != nil {
			b.Fatal(err)
		}
		exec(b, acquire(b, p, python.Limits{}), "1+1")
		took = append(took, time.Since(start))
		if err := errors.Join(p.Close(), img.Close()); err != nil {
			b.Fatal(err)
		}
	}
	report(b, took)
}

// BenchmarkImport is a pristine session that imports a package and uses it.
func BenchmarkImport(b *testing.B) {
	for _, c := range []struct{ name, code, value string }{
		{"sympy", "import sympy; sympy.Integer(3) + 4", "7"},
		{"networkx", "import networkx; networkx.path_graph(4).number_of_edges()", "3"},
		{"tomllib, not preloaded", "import tomllib; tomllib.loads('a = 1')['a']", "1"},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newPool(b, python.PoolOptions{})
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				s := acquire(b, p, python.Limits{})
				if r := exec(b, s, c.code); r.Value != c.value {
					b.Fatalf("%+v", r)
				}
				took = append(took, time.Since(start))
				s.Close()
			}
			report(b, took)
		})
	}
}

// speed is a program that prints how long each of its parts takes, in milliseconds: the least of several runs. It is the
// same here and in the interpreter of the machine.
//
//go:embed testdata/speed.py
var speed string

// BenchmarkSpeed compares the sandbox, with its limits, to the python3 on PATH, on everyday code. The times of the parts are
// of interest only as ratios.
func BenchmarkSpeed(b *testing.B) {
	native, err := nativePython()
	if err != nil {
		b.Skip(err)
	}
	b.Logf("against %s", native)
	s := acquire(b, newPool(b, python.PoolOptions{Slots: 1}), python.Limits{Wall: 10 * time.Minute})
	ratios := map[string][]float64{}
	for b.Loop() {
		out, err := osexec.CommandContext(b.Context(), native[0], "-I", "-c", speed).Output()
		if err != nil {
			b.Fatal(err)
		}
		theirs := times(b, string(out))
		ours := times(b, exec(b, s, speed).Output)
		for name, t := range theirs {
			if ours[name] == 0 || t == 0 {
				b.Fatalf("%s: %v ms here, %v there", name, ours[name], t)
			}
			ratios[name] = append(ratios[name], ours[name]/t)
		}
	}
	sum := 0.0
	for _, name := range slices.Sorted(maps.Keys(ratios)) {
		slices.Sort(ratios[name])
		median := ratios[name][len(ratios[name])/2]
		sum += math.Log(median)
		b.ReportMetric(median, "x-"+strings.ReplaceAll(name, " ", "-"))
	}
	b.ReportMetric(math.Exp(sum/float64(len(ratios))), "x-geomean")
}

// nativePython finds a CPython to compare with, and says which version it is; PYTHON overrides PATH.
func nativePython() ([2]string, error) {
	name := os.Getenv("PYTHON")
	if name == "" {
		name = "python3"
	}
	out, err := osexec.Command(name, "-I", "-c", "import sys; print(sys.implementation.name, sys.version)").Output()
	return [2]string{name, strings.TrimSpace(string(out))}, err
}

// times reads lines of a time and a name.
func times(b *testing.B, text string) map[string]float64 {
	b.Helper()
	m := map[string]float64{}
	for line := range strings.Lines(text) {
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			b.Fatalf("%v in %q", err, text)
		}
		m[name] = v
	}
	return m
}
