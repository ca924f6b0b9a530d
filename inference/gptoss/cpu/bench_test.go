package cpu_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"chorale/inference/engine"
	"chorale/inference/gptoss"
	"chorale/inference/gptoss/cpu"
	"chorale/inference/gptoss/gptosstest"
	"chorale/inference/sample"
)

// demoShape is about the size of the built-in model.
func demoShape() gptoss.Config {
	c := gptosstest.Shape()
	c.Layers, c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.HeadDim = 8, 256, 256, 8, 2, 32
	c.Experts, c.ExpertsPerToken, c.Vocab, c.MaxContext = 8, 4, 2069, 8192
	c.Sliding = []bool{true, false, true, false, true, false, true, false}
	return c
}

// A bench is a Runner with sequences in consecutive blocks of either group.
type bench struct {
	r      *cpu.Runner
	batch  engine.Batch
	out    []sample.Result
	params sample.Params
}

func newBench(b *testing.B, rows, length, context int) *bench {
	b.Helper()
	c := demoShape()
	r, err := cpu.New(gptosstest.Model(1, gptosstest.Kinds()[0], c), cpu.Options{KVBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { r.Close() })
	k := &bench{r: r, out: make([]sample.Result, rows), params: sample.Params{Temperature: 1, Logprobs: -1}}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range rows {
		row := engine.Row{First: len(k.batch.Tokens), Length: length, Context: context, Sampling: &k.params}
		for range r.KV().Groups {
			var table []int32
			for j := range (context + 15) / 16 {
				table = append(table, int32(i*((context+15)/16)+j))
			}
			row.Blocks = append(row.Blocks, table)
		}
		for t := range length {
			k.batch.Tokens = append(k.batch.Tokens, 1+rng.Int32N(int32(c.Vocab-1)))
			k.batch.Positions = append(k.batch.Positions, int32(context-length+t))
		}
		k.batch.Rows = append(k.batch.Rows, row)
	}
	return k
}

func (k *bench) run(b *testing.B) {
	step := func() {
		if err := k.r.Step(context.Background(), &k.batch, k.out); err != nil {
			b.Fatal(err)
		}
	}
	step() // grows the buffers
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
	b.ReportMetric(float64(len(k.batch.Tokens))*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkDecode steps rows that have one token each.
func BenchmarkDecode(b *testing.B) {
	for _, rows := range []int{1, 4, 16} {
		for _, context := range []int{100, 2000} {
			b.Run(fmt.Sprintf("rows=%d/context=%d", rows, context), func(b *testing.B) {
				newBench(b, rows, 1, context).run(b)
			})
		}
	}
}

// BenchmarkPrefill steps one row of many tokens.
func BenchmarkPrefill(b *testing.B) {
	for _, length := range []int{64, 512} {
		for _, context := range []int{length, 2048} {
			b.Run(fmt.Sprintf("tokens=%d/context=%d", length, context), func(b *testing.B) {
				newBench(b, 1, length, context).run(b)
			})
		}
	}
}
