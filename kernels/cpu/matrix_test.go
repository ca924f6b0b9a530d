package cpu_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"chorale/inference/checkpoint"
	"chorale/kernels/cpu"
)

var formats = []cpu.Format{cpu.F32, cpu.F16, cpu.BF16, cpu.Q8_0, cpu.MXFP4, cpu.MXFP4Interleaved, cpu.MXFP4Planes}

// randomMatrix returns a weight of the format with values of order 1, and the same weight as float64 [rows][cols], decoded
// by package checkpoint.
func randomMatrix(rng *rand.Rand, f cpu.Format, rows, cols int, transposed bool) (cpu.Matrix, [][]float64) {
	m := cpu.Matrix{Format: f, Rows: rows, Cols: cols, Transposed: transposed}
	n := rows * cols
	want := make([]float32, n)
	scale := func() byte { return byte(120 + rng.IntN(10)) }
	codes := func(n int) (b []byte) {
		for range n {
			b = append(b, byte(rng.Uint32()))
		}
		return b
	}
	plain := map[cpu.Format]checkpoint.DType{cpu.F32: checkpoint.F32, cpu.F16: checkpoint.F16, cpu.BF16: checkpoint.BF16, cpu.Q8_0: checkpoint.Q8_0,
		cpu.MXFP4: checkpoint.MXFP4, cpu.MXFP4Interleaved: checkpoint.MXFP4Interleaved}
	switch f {
	case cpu.F32:
		for range n {
			m.Data = binary.LittleEndian.AppendUint32(m.Data, math.Float32bits(rng.Float32()*2-1))
		}
	case cpu.F16:
		for range n {
			m.Data = binary.LittleEndian.AppendUint16(m.Data, checkpoint.ToF16(rng.Float32()*2-1))
		}
	case cpu.BF16:
		for range n {
			m.Data = binary.LittleEndian.AppendUint16(m.Data, checkpoint.ToBF16(rng.Float32()*2-1))
		}
	case cpu.Q8_0:
		for range n / 32 {
			m.Data = binary.LittleEndian.AppendUint16(m.Data, checkpoint.ToF16(rng.Float32()/100))
			m.Data = append(m.Data, codes(32)...)
		}
	case cpu.MXFP4, cpu.MXFP4Interleaved:
		for range n / 32 {
			m.Data = append(append(m.Data, scale()), codes(16)...)
		}
	case cpu.MXFP4Planes:
		for range n / 32 {
			m.Data = append(m.Data, codes(16)...)
			m.Scales = append(m.Scales, scale())
		}
		checkpoint.DequantMXFP4(want, m.Data, m.Scales)
	}
	if d, ok := plain[f]; ok {
		checkpoint.Floats(want, d, m.Data)
	}
	out := make([][]float64, rows)
	for r := range out {
		out[r] = make([]float64, cols)
		for c := range out[r] {
			at := r*cols + c
			if transposed {
				at = c*rows + r
			}
			out[r][c] = float64(want[at])
		}
	}
	return m, out
}

func randomRows(rng *rand.Rand, n, cols int) cpu.Rows {
	x := cpu.MakeRows(n, cols)
	for i := range n {
		for c := range cols {
			x.Row(i)[c] = rng.Float32()*2 - 1
		}
	}
	return x
}

type shape struct {
	name                string
	rows, cols, tokens  int
	transposed, anyCols bool
}

var shapes = []shape{
	{name: "one row, one block, one token", rows: 1, cols: 32, tokens: 1},
	{name: "odd rows", rows: 5, cols: 64, tokens: 1},
	{name: "odd rows and odd tokens", rows: 7, cols: 96, tokens: 3},
	{name: "even rows and even tokens", rows: 8, cols: 96, tokens: 4},
	{name: "columns of gpt-oss", rows: 4, cols: 2880, tokens: 2},
	{name: "columns short of a group, one token", rows: 4, cols: 7, tokens: 1, anyCols: true},
	{name: "columns past a group, one token", rows: 3, cols: 37, tokens: 1, anyCols: true},
	{name: "columns past a group, more tokens", rows: 3, cols: 37, tokens: 5, anyCols: true},
	{name: "transposed", rows: 35, cols: 48, tokens: 3, transposed: true},
	{name: "transposed, one token, columns past a group", rows: 33, cols: 21, tokens: 1, transposed: true, anyCols: true},
}

// perCase runs f on every format and every shape that the format can have.
func perCase(t *testing.T, f func(t *testing.T, format cpu.Format, s shape, rng *rand.Rand)) {
	for _, format := range formats {
		for _, s := range shapes {
			if format >= cpu.Q8_0 && (s.anyCols || s.transposed) {
				continue
			}
			t.Run(fmt.Sprintf("%v/%s", format, s.name), func(t *testing.T) {
				t.Parallel()
				f(t, format, s, rand.New(rand.NewPCG(uint64(format), uint64(s.cols))))
			})
		}
	}
}

func TestMulAdd(t *testing.T) {
	t.Parallel()
	perCase(t, func(t *testing.T, format cpu.Format, s shape, rng *rand.Rand) {
		m, want := randomMatrix(rng, format, s.rows, s.cols, s.transposed)
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		x := randomRows(rng, s.tokens, s.cols)
		y := randomRows(rng, s.tokens, s.rows)
		before := append([]float32(nil), y.Data...)
		m.MulAdd(y, x, 0, s.rows, cpu.NewScratch())
		worst := 0.0
		for i := range s.tokens {
			for r := range s.rows {
				sum, size := float64(before[i*y.Stride+r]), 0.0
				size = math.Abs(sum)
				for c, w := range want[r] {
					sum += w * float64(x.Row(i)[c])
					size += math.Abs(w * float64(x.Row(i)[c]))
				}
				// A float32 sum of n terms errs by at most about n/16+16 roundings of its size.
				tol := size * (float64(s.cols)/16 + 16) * 0x1p-24
				diff := math.Abs(float64(y.Row(i)[r]) - sum)
				worst = max(worst, diff/tol)
				if !(diff <= tol) {
					t.Fatalf("token %d row %d: got %v, want %v ± %v", i, r, y.Row(i)[r], sum, tol)
				}
			}
			for r := s.rows; r < y.Stride; r++ {
				if y.Row(i)[r] != before[i*y.Stride+r] {
					t.Fatalf("token %d: the padding at %d was written", i, r)
				}
			}
		}
		t.Logf("worst error %.3f of the bound", worst)
	})
}

// The result of a token must be the same bits alone and among others, and however the rows are divided.
func TestMulAddIsIndependentOfItsNeighbours(t *testing.T) {
	t.Parallel()
	perCase(t, func(t *testing.T, format cpu.Format, s shape, rng *rand.Rand) {
		m, _ := randomMatrix(rng, format, s.rows, s.cols, s.transposed)
		const tokens = 5
		x := randomRows(rng, tokens, s.cols)
		together := cpu.MakeRows(tokens, s.rows)
		m.MulAdd(together, x, 0, s.rows, cpu.NewScratch())
		for from := range tokens {
			for to := from + 1; to <= tokens; to++ {
				cut := rng.IntN(s.rows + 1)
				y := cpu.MakeRows(to-from, s.rows)
				scratch := cpu.NewScratch()
				m.MulAdd(y, x.Slice(from, to), cut, s.rows, scratch)
				m.MulAdd(y, x.Slice(from, to), 0, cut, scratch)
				for i, v := range y.Data {
					if want := together.Data[from*y.Stride+i]; math.Float32bits(v) != math.Float32bits(want) {
						t.Fatalf("tokens %d to %d, rows cut at %d: output %d is %v, in the whole batch %v", from, to, cut, i, v, want)
					}
				}
			}
		}
	})
}

// Scale bytes at the ends of their range make products and sums subnormal; one and many tokens must still round alike.
func TestMulAddIsIndependentOfItsNeighboursAtExtremeScales(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, format := range []cpu.Format{cpu.MXFP4, cpu.MXFP4Interleaved, cpu.MXFP4Planes} {
		m, _ := randomMatrix(rng, format, 64, 64, false)
		for i := range m.Rows * m.Cols / 32 {
			b := byte(i % 7) // 2^-127 … 2^-121
			if i%13 == 0 {
				b = 254 - byte(i%3)
			}
			if format == cpu.MXFP4Planes {
				m.Scales[i] = b
			} else {
				m.Data[17*i] = b
			}
		}
		x := randomRows(rng, 2, 64)
		both, one := cpu.MakeRows(2, 64), cpu.MakeRows(1, 64)
		m.MulAdd(both, x, 0, 64, cpu.NewScratch())
		m.MulAdd(one, x.Slice(0, 1), 0, 64, cpu.NewScratch())
		for r, v := range one.Data {
			if math.Float32bits(v) != math.Float32bits(both.Data[r]) {
				t.Errorf("%v row %d: alone %v, with another token %v", format, r, v, both.Data[r])
			}
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	perCase(t, func(t *testing.T, format cpu.Format, s shape, rng *rand.Rand) {
		m, want := randomMatrix(rng, format, s.rows, s.cols, s.transposed)
		got := make([]float32, s.cols)
		scratch := cpu.NewScratch()
		for r := range s.rows {
			m.Decode(got, r, scratch)
			for c, v := range got {
				if float64(v) != want[r][c] {
					t.Fatalf("row %d column %d: got %v, want exactly %v", r, c, v, want[r][c])
				}
			}
		}
	})
}

// Every half there is, subnormals and infinities included.
func TestDecodeAllHalves(t *testing.T) {
	t.Parallel()
	m := cpu.Matrix{Format: cpu.F16, Rows: 1, Cols: 1 << 16}
	for i := range 1 << 16 {
		m.Data = binary.LittleEndian.AppendUint16(m.Data, uint16(i))
	}
	got := make([]float32, 1<<16)
	m.Decode(got, 0, cpu.NewScratch())
	for i, v := range got {
		want := checkpoint.FromF16(uint16(i))
		if v != want && !(math.IsNaN(float64(v)) && math.IsNaN(float64(want))) || math.Signbit(float64(v)) != math.Signbit(float64(want)) {
			t.Fatalf("half %#04x is %v, want %v", i, v, want)
		}
	}
}

func TestMulAddDense(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	w := randomRows(rng, 5, 16)
	x := cpu.Rows{Data: randomRows(rng, 3, 48).Data, N: 3, Stride: 48}
	y := cpu.MakeRows(3, 5)
	cpu.MulAddDense(y, w, x, cpu.NewScratch())
	for i := range 3 {
		for r := range 5 {
			want := 0.0
			for c := range 16 {
				want += float64(w.Row(r)[c]) * float64(x.Row(i)[c])
			}
			if diff := math.Abs(float64(y.Row(i)[r]) - want); !(diff < 1e-5) {
				t.Errorf("[%d][%d] is %v, want %v", i, r, y.Row(i)[r], want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		m    cpu.Matrix
		want string
	}{
		{"no format", cpu.Matrix{Rows: 1, Cols: 1}, "format Format(0) is not known"},
		{"no rows", cpu.Matrix{Format: cpu.F32, Cols: 1}, "shape is [0, 1]"},
		{"columns cut a block", cpu.Matrix{Format: cpu.Q8_0, Rows: 1, Cols: 33}, "33 columns of Q8_0, want a multiple of 32"},
		{"transposed blocks", cpu.Matrix{Format: cpu.MXFP4, Rows: 1, Cols: 32, Transposed: true}, "MXFP4 cannot be transposed"},
		{"data short", cpu.Matrix{Format: cpu.BF16, Rows: 2, Cols: 3, Data: make([]byte, 11)}, "11 bytes of data for [2, 3] BF16, want 12"},
		{"scales missing", cpu.Matrix{Format: cpu.MXFP4Planes, Rows: 1, Cols: 32, Data: make([]byte, 16)}, "0 bytes of scales for [1, 32] MXFP4Planes, want 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := tt.m.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
