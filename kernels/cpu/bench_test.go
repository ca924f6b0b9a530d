package cpu_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"chorale/kernels/cpu"
)

// readSeconds returns how long one thread takes to read b in eight-byte words, the best of five times.
func readSeconds(b []byte) float64 {
	best, sum := time.Hour, uint64(0)
	for range 5 {
		start := time.Now()
		var s0, s1, s2, s3 uint64
		for p := b; len(p) >= 32; p = p[32:] {
			s0 += binary.LittleEndian.Uint64(p)
			s1 += binary.LittleEndian.Uint64(p[8:])
			s2 += binary.LittleEndian.Uint64(p[16:])
			s3 += binary.LittleEndian.Uint64(p[24:])
		}
		sum += s0 + s1 + s2 + s3
		best = min(best, time.Since(start))
	}
	if sum == 1 {
		panic("unlikely, and keeps the sum from being optimised away")
	}
	return best.Seconds()
}

// BenchmarkMulAdd multiplies a weight with the columns of gpt-oss by 1 and by 16 activations on one thread. GB/s counts the
// weight's bytes once; of-read is that rate as a fraction of a plain read of the same bytes in the same run.
func BenchmarkMulAdd(b *testing.B) {
	const rows, cols = 4096, 2880
	for _, format := range formats {
		m, _ := randomMatrix(rand.New(rand.NewPCG(7, 8)), format, rows, cols, false)
		read := readSeconds(m.Data)
		for _, tokens := range []int{1, 16} {
			b.Run(fmt.Sprintf("%v/tokens=%d", format, tokens), func(b *testing.B) {
				x := randomRows(rand.New(rand.NewPCG(9, 10)), tokens, cols)
				y := cpu.MakeRows(tokens, rows)
				scratch := cpu.NewScratch()
				b.ReportAllocs()
				for b.Loop() {
					m.MulAdd(y, x, 0, rows, scratch)
				}
				seconds := b.Elapsed().Seconds() / float64(b.N)
				b.ReportMetric(float64(len(m.Data)+len(m.Scales))/seconds/1e9, "GB/s")
				b.ReportMetric(read/seconds, "of-read")
				b.ReportMetric(2*rows*cols*float64(tokens)/seconds/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkSoftmaxSink(b *testing.B) {
	x := randomRows(rand.New(rand.NewPCG(11, 12)), 1, 4096).Data
	for b.Loop() {
		cpu.SoftmaxSink(x, 0)
	}
	b.ReportMetric(float64(len(x))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlogits/s")
}
