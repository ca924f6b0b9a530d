package cpu

import "math"

// direct returns how many activations at most are multiplied with a weight while it is decoded: with so few, storing the
// decoded values first costs more than decoding them again. 0 for formats that no large weight of a published model has.
func (m *Matrix) direct() int {
	if m.Transposed {
		return 0
	}
	switch m.Format {
	case BF16:
		return 1
	case Q8_0, MXFP4, MXFP4Planes:
		return 3
	default:
		return 0
	}
}

// mulAddDirect adds the products of rows from … to-1 of m with the few activations x to y, two rows at a time, and returns
// the first row that it left out. The sums are those of tile.mulAdd, in the same order.
func (m *Matrix) mulAddDirect(y, x Rows, from, to int, s *Scratch) int {
	for ; from+1 < to; from += 2 {
		w0, w1 := m.row(from), m.row(from+1)
		for t := range x.N {
			x := x.Data[t*x.Stride:][:m.Cols]
			var y0, y1 float32
			switch m.Format {
			case BF16:
				y0, y1 = dotBF16(w0, w1, x)
			case Q8_0:
				y0, y1 = s.dotQ8(q8Blocks(w0), q8Blocks(w1), doubleGroups(x))
			case MXFP4:
				y0, y1 = s.dotSplit(mxfp4Blocks(w0), mxfp4Blocks(w1), doubleGroups(x))
			case MXFP4Planes:
				y0, y1 = s.dotPlanes(planeBlocks(w0), planeBlocks(w1), m.rowScales(from), m.rowScales(from+1), doubleGroups(x))
			}
			y.Data[t*y.Stride+from] += y0
			y.Data[t*y.Stride+from+1] += y1
		}
	}
	return from
}

func dotBF16(b0, b1 []byte, x []float32) (y0, y1 float32) {
	w0, w1, q := halfGroups(b0), halfGroups(b1), groups(x)
	n := len(q)
	w0, w1 = w0[:n], w1[:n]
	for i := range n {
		p0, p1, q := &w0[i], &w1[i], &q[i]
		var a0, a1 float32
		for c := range lanes {
			z := q[c]
			a0 += float32(math.Float32frombits(uint32(p0[2*c])<<16|uint32(p0[2*c+1])<<24) * z)
			a1 += float32(math.Float32frombits(uint32(p1[2*c])<<16|uint32(p1[2*c+1])<<24) * z)
		}
		y0 += a0
		y1 += a1
	}
	var a0, a1 float32 // the columns of the last, incomplete group
	for c := n * lanes; c < len(x); c++ {
		a0 += float32(math.Float32frombits(uint32(b0[2*c])<<16|uint32(b0[2*c+1])<<24) * x[c])
		a1 += float32(math.Float32frombits(uint32(b1[2*c])<<16|uint32(b1[2*c+1])<<24) * x[c])
	}
	return y0 + a0, y1 + a1
}

func (s *Scratch) dotQ8(w0, w1 []q8Block, x []doubleGroup) (y0, y1 float32) {
	n := len(x)
	w0, w1 = w0[:n], w1[:n]
	for i := range n {
		p0, p1, q := &w0[i], &w1[i], &x[i]
		var a0, a1, b0, b1 float32
		for c := range lanes {
			z, v := q[0][c], q[1][c]
			a0 += float32(s.int8s[p0[2+c]] * z)
			b0 += float32(s.int8s[p0[2+lanes+c]] * v)
			a1 += float32(s.int8s[p1[2+c]] * z)
			b1 += float32(s.int8s[p1[2+lanes+c]] * v)
		}
		s0, s1 := fromF16(uint16(p0[0])|uint16(p0[1])<<8), fromF16(uint16(p1[0])|uint16(p1[1])<<8)
		y0 = y0 + float32(s0*a0) + float32(s0*b0)
		y1 = y1 + float32(s1*a1) + float32(s1*b1)
	}
	return y0, y1
}

func (s *Scratch) dotSplit(w0, w1 []mxfp4Block, x []doubleGroup) (y0, y1 float32) {
	n := len(x)
	w0, w1 = w0[:n], w1[:n]
	for i := range n {
		p0, p1, q := &w0[i], &w1[i], &x[i]
		var a0, a1, b0, b1 float32
		for c := range lanes {
			z, v := q[0][c], q[1][c]
			t, u := &s.e2m1[p0[1+c]], &s.e2m1[p1[1+c]]
			a0 += float32(t[0] * z)
			b0 += float32(t[1] * v)
			a1 += float32(u[0] * z)
			b1 += float32(u[1] * v)
		}
		s0, s1 := s.e8m0[p0[0]], s.e8m0[p1[0]]
		y0 = y0 + float32(s0*a0) + float32(s0*b0)
		y1 = y1 + float32(s1*a1) + float32(s1*b1)
	}
	return y0, y1
}

func (s *Scratch) dotPlanes(w0, w1 []planeBlock, e0, e1 []byte, x []doubleGroup) (y0, y1 float32) {
	n := len(x)
	w0, w1, e0, e1 = w0[:n], w1[:n], e0[:n], e1[:n]
	for i := range n {
		p0, p1, q := &w0[i], &w1[i], &x[i]
		var a0, a1, b0, b1 float32
		for c := range lanes / 2 {
			z0, z1, v0, v1 := q[0][2*c], q[0][2*c+1], q[1][2*c], q[1][2*c+1]
			t, u := &s.e2m1[p0[c]], &s.e2m1[p0[c+lanes/2]]
			a0 += float32(t[0] * z0)
			b0 += float32(u[0] * v0)
			a0 += float32(t[1] * z1)
			b0 += float32(u[1] * v1)
			t, u = &s.e2m1[p1[c]], &s.e2m1[p1[c+lanes/2]]
			a1 += float32(t[0] * z0)
			b1 += float32(u[0] * v0)
			a1 += float32(t[1] * z1)
			b1 += float32(u[1] * v1)
		}
		s0, s1 := s.e8m0[e0[i]], s.e8m0[e1[i]]
		y0 = y0 + float32(s0*a0) + float32(s0*b0)
		y1 = y1 + float32(s1*a1) + float32(s1*b1)
	}
	return y0, y1
}
