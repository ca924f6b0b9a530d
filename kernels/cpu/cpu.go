// Package cpu is the arithmetic of a transformer on a CPU: products of weights, as they lie in a model file, with float32
// activations, and the few functions between them.
//
// It owns the decoding of weight formats, the order of every sum, and memory outside the garbage collector's heap. It
// knows no model, no layers and no threads: a caller divides the rows of a product among its own threads. Functions are
// safe for concurrent use as long as each call has its own Scratch and writes its own outputs.
//
// A weight is decoded to float32 and multiplied in float32; nothing is rounded on the way. One output is the sum, from
// left to right, of groups of 16 columns, each itself summed from left to right and then scaled. That order is the same
// for every number of activation rows and every division of the rows, so a result never depends on what else is computed
// beside it; and since no multiplication is fused with an addition, it is the same on every machine. The code is plain
// Go: with few activation rows a weight is decoded and used at once, with more it is decoded once into the Scratch and used
// for all of them.
package cpu

import (
	"fmt"
	"math"
)

// A Format says how the elements of a Matrix lie in its bytes. All multi-byte numbers are little-endian.
type Format uint8

// The formats of weights. The zero value is none.
const (
	F32 Format = iota + 1
	F16
	BF16
	Q8_0             // 34 bytes per 32 elements: an F16 scale, 32 signed bytes (ggml)
	MXFP4            // 17 bytes per 32 elements: an E8M0 scale, 16 bytes with element j low and j+16 high in byte j (ggml)
	MXFP4Interleaved // 17 bytes per 32 elements: an E8M0 scale, 16 bytes with element 2j low and 2j+1 high in byte j
	MXFP4Planes      // 16 bytes per 32 elements in the order of MXFP4Interleaved, the scales in Matrix.Scales (safetensors)
)

// layout returns the format's name, how many elements a block of it has and how many bytes.
func (f Format) layout() (name string, elements, bytes int) {
	switch f {
	case F32:
		return "F32", 1, 4
	case F16:
		return "F16", 1, 2
	case BF16:
		return "BF16", 1, 2
	case Q8_0:
		return "Q8_0", 32, 34
	case MXFP4:
		return "MXFP4", 32, 17
	case MXFP4Interleaved:
		return "MXFP4Interleaved", 32, 17
	case MXFP4Planes:
		return "MXFP4Planes", 32, 16
	default:
		return fmt.Sprintf("Format(%d)", uint8(f)), 0, 0
	}
}

// String returns the name of the format.
func (f Format) String() string {
	name, _, _ := f.layout()
	return name
}

// bytes returns how many bytes n elements take.
func (f Format) bytes(n int) int {
	_, elements, bytes := f.layout()
	return n / elements * bytes
}

// A Matrix is a weight [Rows, Cols] in the bytes of a model file, which it never changes. Output r of a product is the
// dot product of row r with an activation. A Matrix must have passed Check before it is used.
type Matrix struct {
	Format     Format
	Rows, Cols int
	Data       []byte // [Rows, Cols] row-major, or [Cols, Rows] if Transposed; of any alignment
	Scales     []byte // [Rows, Cols/32] of MXFP4Planes, else nil
	Transposed bool   // F32, F16 and BF16 only
}

// Check reports the first thing about m that would make a product impossible.
func (m *Matrix) Check() error {
	_, elements, bytes := m.Format.layout()
	switch {
	case elements == 0:
		return fmt.Errorf("format %v is not known", m.Format)
	case m.Rows < 1 || m.Cols < 1:
		return fmt.Errorf("shape is [%d, %d], want at least one row and column", m.Rows, m.Cols)
	case m.Cols%elements != 0:
		return fmt.Errorf("%d columns of %v, want a multiple of %d", m.Cols, m.Format, elements)
	case m.Transposed && elements != 1:
		return fmt.Errorf("%v cannot be transposed, want F32, F16 or BF16", m.Format)
	case len(m.Data) != m.Rows*(m.Cols/elements*bytes):
		return fmt.Errorf("%d bytes of data for [%d, %d] %v, want %d", len(m.Data), m.Rows, m.Cols, m.Format, m.Rows*(m.Cols/elements*bytes))
	case m.Format == MXFP4Planes && len(m.Scales) != m.Rows*(m.Cols/elements):
		return fmt.Errorf("%d bytes of scales for [%d, %d] %v, want %d", len(m.Scales), m.Rows, m.Cols, m.Format, m.Rows*(m.Cols/elements))
	}
	return nil
}

// Rows are N float32 vectors, the first element of each Stride elements after that of the one before. As the input of a
// product, every row has Stride(columns) elements of which those past the columns are zero.
type Rows struct {
	Data      []float32
	N, Stride int
}

// Row returns vector i with its padding.
func (r Rows) Row(i int) []float32 { return r.Data[i*r.Stride : (i+1)*r.Stride] }

// Slice returns the vectors from … to-1.
func (r Rows) Slice(from, to int) Rows {
	return Rows{Data: r.Data[from*r.Stride : to*r.Stride], N: to - from, Stride: r.Stride}
}

// lanes is the length of a group of columns, the unit of every sum.
const lanes = 16

// Stride returns n rounded up to the multiple of 16 that the rows of a product's input must have.
func Stride(n int) int { return (n + lanes - 1) &^ (lanes - 1) }

// MakeRows returns n zero vectors of the given number of columns, padded for use as the input of a product.
func MakeRows(n, columns int) Rows {
	stride := Stride(columns)
	return Rows{Data: make([]float32, n*stride), N: n, Stride: stride}
}

// A Scratch holds decoded weights and the tables that decoding needs. It keeps up to 16 rows of the widest matrix. It is
// not for concurrent use.
type Scratch struct {
	values []float32 // [tileRows, Stride(cols)] decoded, not scaled
	scales []float32 // [tileRows, Stride(cols)/16]
	ones   []float32 // [Stride(cols)/16] the scales of formats without

	e2m1  [256][2]float32 // values of the low and the high nibble of a byte
	e8m0  [256]float32
	int8s [256]float32
}

// NewScratch returns an empty Scratch, which grows as it is used.
func NewScratch() *Scratch {
	s := new(Scratch)
	// The values of E2M1 and E8M0 are those of OCP Microscaling Formats 1.0, sections 5.3.3 and 5.4.1.
	magnitudes := [8]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6}
	e2m1 := func(code int) float32 {
		if code&8 != 0 {
			return -magnitudes[code&7]
		}
		return magnitudes[code&7]
	}
	for i := range 256 {
		s.e2m1[i] = [2]float32{e2m1(i & 15), e2m1(i >> 4)}
		s.e8m0[i] = math.Float32frombits(uint32(i) << 23)
		s.int8s[i] = float32(int8(i))
	}
	s.e8m0[0], s.e8m0[255] = 0x1p-127, float32(math.NaN())
	return s
}

// tileRows is how many rows of a transposed matrix are decoded together: every element of a row costs a cache line, and
// neighbouring rows share it.
const tileRows = 16

// reserve makes room for tiles of rows of stride elements.
func (s *Scratch) reserve(stride int) {
	if len(s.values) < tileRows*stride {
		s.values = make([]float32, tileRows*stride)
		s.scales = make([]float32, tileRows*stride/lanes)
	}
	s.reserveOnes(stride / lanes)
}

func (s *Scratch) reserveOnes(n int) {
	for len(s.ones) < n {
		s.ones = append(s.ones, 1)
	}
}

// MulAdd adds the product of rows from … to-1 of m with every row of x to y:
//
//	y[t][r] += Σ_c m[r][c]·x[t][c]
//
// y has at least x.N rows of at least to columns; x.Stride is at least Stride(m.Cols).
func (m *Matrix) MulAdd(y, x Rows, from, to int, s *Scratch) {
	if x.N <= m.direct() {
		from = m.mulAddDirect(y, x, from, to, s)
	}
	stride, rows := Stride(m.Cols), 2
	s.reserve(stride)
	if m.Transposed {
		rows = tileRows
	}
	for ; from < to; from += rows {
		n := min(rows, to-from)
		t := tile{values: Rows{Data: s.values, N: n, Stride: stride}, scales: s.ones}
		if m.decode(t.values, from, s) {
			t.scales, t.scaleStride = s.scales, stride/lanes
		}
		t.mulAdd(y, x, from)
	}
}

// MulAddDense is MulAdd with a weight of float32 rows: y[t][r] += Σ_c w[r][c]·x[t][c], over the columns c < w.Stride, which
// is a multiple of 16 and at most x.Stride.
func MulAddDense(y, w, x Rows, s *Scratch) {
	s.reserveOnes(w.Stride / lanes)
	t := tile{values: w, scales: s.ones}
	t.mulAdd(y, x, 0)
}

// Decode stores row r of m in dst, which has length m.Cols.
func (m *Matrix) Decode(dst []float32, r int, s *Scratch) {
	stride := Stride(m.Cols)
	s.reserve(stride)
	scaled := m.decode(Rows{Data: s.values, N: 1, Stride: stride}, r, s)
	copy(dst, s.values)
	for i := range dst {
		if scaled {
			dst[i] *= s.scales[i/lanes]
		}
	}
}
