package python_test

import (
	"slices"
	"sync"
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
			todo := make(chan struct{})
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for range todo {
						s, err := p.Acquire(b.Context(), python.SessionOptions{})
						if err != nil {
							b.Error(err)
							continue
						}
						if _, err := s.Exec(b.Context(), python.Cell{Code: "1+1"}); err != nil {
							b.Error(err)
						}
						s.Close()
					}
				})
			}
			for b.Loop() {
				todo <- struct{}{}
			}
			close(todo)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
