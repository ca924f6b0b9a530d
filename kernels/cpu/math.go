package cpu

import "math"

// RMSNorm stores x / sqrt(mean(x²) + eps) · weight in dst. All three have the same length; dst may be x.
func RMSNorm(dst, x, weight []float32, eps float32) {
	dst, weight = dst[:len(x)], weight[:len(x)]
	var a, b, c, d float32
	i := 0
	for ; i+3 < len(x); i += 4 {
		p := (*[4]float32)(x[i:])
		a += float32(p[0] * p[0])
		b += float32(p[1] * p[1])
		c += float32(p[2] * p[2])
		d += float32(p[3] * p[3])
	}
	for ; i < len(x); i++ {
		a += float32(x[i] * x[i])
	}
	mean := (a + b + (c + d)) / float32(len(x))
	scale := 1 / float32(math.Sqrt(float64(mean+eps)))
	for i, v := range x {
		dst[i] = v * scale * weight[i]
	}
}

// SoftmaxSink replaces the logits x by exp(x[i]) / (exp(sink) + Σ exp(x)): a softmax with one more logit that takes its
// share of the probability and has no value.
func SoftmaxSink(x []float32, sink float32) {
	largest := sink
	for _, v := range x {
		if v > largest {
			largest = v
		}
	}
	sum := Exp(sink - largest)
	for i, v := range x {
		e := float32(0)
		if v -= largest; !(v < expSmallest) { // so that NaN stays NaN
			e = exp(v)
		}
		x[i] = e
		sum += e
	}
	scale := 1 / sum
	for i := range x {
		x[i] *= scale
	}
}

// SwiGLU stores g·σ(alpha·g)·(u+1) in dst[j], where g is gate[j*step] but at most limit and u is up[j*step] between -limit
// and limit: gpt-oss's activation. Step is 2 where gate and up alternate, else 1.
func SwiGLU(dst, gate, up []float32, step int, limit, alpha float32) {
	for j := range dst {
		g := min(gate[j*step], limit)
		u := max(min(up[j*step], limit), -limit)
		dst[j] = g / (1 + Exp(-alpha*g)) * (u + 1)
	}
}

// Rotate stores the rotation of x in dst: pair (x[j], x[j+len/2]) turns by the angle of cos[j] and sin[j]. x has twice
// the length of cos and sin, dst at least that of x; dst may be x.
func Rotate(dst, x, cos, sin []float32) {
	half := len(x) / 2
	a, b := x[:half], x[half:2*half]
	p, q := dst[:half], dst[half:2*half]
	cos, sin = cos[:half], sin[:half]
	for j, c := range cos {
		s, u, v := sin[j], a[j], b[j]
		p[j] = float32(u*c) - float32(v*s)
		q[j] = float32(v*c) + float32(u*s)
	}
}

// AddScaled adds factor·x to dst, which has the same length.
func AddScaled(dst, x []float32, factor float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] += float32(factor * v)
	}
}

// Bounds of Exp: ln 2^-126, and just below where 2^127.5 begins.
const (
	expSmallest = -87.33654
	expLargest  = 88.37
)

// Exp returns e^x within two units in the last place: 0 below -87.34, where the result would be subnormal, +Inf above 88.37,
// NaN for NaN.
func Exp(x float32) float32 {
	switch {
	case x < expSmallest:
		return 0
	case x > expLargest:
		return float32(math.Inf(1))
	}
	return exp(x)
}

// exp is Exp between its bounds.
func exp(x float32) float32 {
	// x = n·ln2 + r with |r| <= ln2/2. Adding 1.5·2^23 leaves the nearest integer in the low bits of the sum; ln2 is
	// split so that n times its upper part is exact.
	const (
		magic    = 3 << 22
		ln2Upper = 0x1.62ep-1
		ln2Lower = math.Ln2 - ln2Upper
	)
	t := float32(x*math.Log2E) + magic
	n := t - magic
	r := x - float32(n*ln2Upper) - float32(n*ln2Lower)
	// Taylor's polynomial; the first term left out is below 2^-27 of the result.
	p := float32(r*(1.0/5040)) + 1.0/720
	p = float32(p*r) + 1.0/120
	p = float32(p*r) + 1.0/24
	p = float32(p*r) + 1.0/6
	p = float32(p*r) + 0.5
	p = float32(p*r) + 1
	p = float32(p*r) + 1
	return p * math.Float32frombits((math.Float32bits(t)-0x4b400000+127)<<23) // magic's bits
}
