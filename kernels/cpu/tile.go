package cpu

// A tile is decoded rows of a weight.
type tile struct {
	values Rows
	// scales holds the factor of every group of 16 columns, scaleStride after those of the row before; with scaleStride 0
	// all rows share theirs.
	scales      []float32
	scaleStride int
}

func (w *tile) row(r int) (values []group, scales []float32) {
	values = groups(w.values.Row(r))
	return values, w.scales[r*w.scaleStride:][:len(values)]
}

// mulAdd adds the products of the tile with every row of x to y, the tile's first row standing for row at of y.
func (w *tile) mulAdd(y, x Rows, at int) {
	r := 0
	for ; r+1 < w.values.N; r += 2 {
		w0, s0 := w.row(r)
		w1, s1 := w.row(r + 1)
		t := 0
		for ; t+1 < x.N; t += 2 {
			y0, y1 := y.Data[t*y.Stride+at+r:], y.Data[(t+1)*y.Stride+at+r:]
			y00, y01, y10, y11 := dot22(w0, w1, s0, s1, x.groups(t, len(w0)), x.groups(t+1, len(w0)))
			y0[0] += y00
			y0[1] += y10
			y1[0] += y01
			y1[1] += y11
		}
		if t < x.N {
			y0 := y.Data[t*y.Stride+at+r:]
			y00, y10 := dot21(w0, w1, s0, s1, x.groups(t, len(w0)))
			y0[0] += y00
			y0[1] += y10
		}
	}
	if r < w.values.N {
		w0, s0 := w.row(r)
		for t := range x.N {
			y.Data[t*y.Stride+at+r] += dot11(w0, s0, x.groups(t, len(w0)))
		}
	}
}

// groups returns the first n groups of row i.
func (r Rows) groups(i, n int) []group { return groups(r.Data[i*r.Stride:])[:n] }

// dot22 multiplies two weight rows with two activations. Four sums are what stays in registers; a conversion to float32
// after each product keeps it from being fused with the addition.
func dot22(w0, w1 []group, s0, s1 []float32, x0, x1 []group) (y00, y01, y10, y11 float32) {
	n := len(w0)
	w1, x0, x1, s0, s1 = w1[:n], x0[:n], x1[:n], s0[:n], s1[:n]
	for i := range n {
		p0, p1, q0, q1 := &w0[i], &w1[i], &x0[i], &x1[i]
		var a00, a01, a10, a11 float32
		for c := range lanes {
			u, v := p0[c], p1[c]
			z := q0[c]
			a00 += float32(u * z)
			a10 += float32(v * z)
			z = q1[c]
			a01 += float32(u * z)
			a11 += float32(v * z)
		}
		y00 += float32(s0[i] * a00)
		y01 += float32(s0[i] * a01)
		y10 += float32(s1[i] * a10)
		y11 += float32(s1[i] * a11)
	}
	return y00, y01, y10, y11
}

// dot21 multiplies two weight rows with one activation.
func dot21(w0, w1 []group, s0, s1 []float32, x []group) (y0, y1 float32) {
	n := len(w0)
	w1, x, s0, s1 = w1[:n], x[:n], s0[:n], s1[:n]
	for i := range n {
		p0, p1, q := &w0[i], &w1[i], &x[i]
		var a0, a1 float32
		for c := range lanes {
			z := q[c]
			a0 += float32(p0[c] * z)
			a1 += float32(p1[c] * z)
		}
		y0 += float32(s0[i] * a0)
		y1 += float32(s1[i] * a1)
	}
	return y0, y1
}

// dot11 multiplies one weight row with one activation.
func dot11(w []group, s []float32, x []group) (y float32) {
	n := len(w)
	x, s = x[:n], s[:n]
	for i := range n {
		p, q := &w[i], &x[i]
		var a float32
		for c := range lanes {
			a += float32(p[c] * q[c])
		}
		y += float32(s[i] * a)
	}
	return y
}
