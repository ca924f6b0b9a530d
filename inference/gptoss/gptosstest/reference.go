// Package gptosstest is what tests of gpt-oss Runners have in common.
//
// It owns Reference, the specification of the forward pass that every Runner is compared with. It knows no Runner and no
// device. Functions are safe for concurrent use.
package gptosstest

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"chorale/inference/gptoss"
)

// Reference returns the logits after each token of one sequence, [len(tokens)][Vocab]: the specification of the forward
// pass, computed in float64 with dense attention and no cache, as plainly as it can be written.
//
// positions[t] is where token t is rotated to, and must ascend; causality and the window count tokens, so a sequence may
// begin at any position and sees nothing before its first token.
//
// Angles are the exception to float64: frequencies and their products with positions are rounded to float32, step by step
// as Hugging Face transformers and OpenAI's PyTorch code do. At position 100,000 that moves an angle by up to 1/512, and
// logits of small models by a thousandth of their range, so an exact angle is farther from what the model learned.
//
// It is meant for small models: all weights are expanded, and the work grows with the square of the sequence.
// Tokens must be ids of the model.
func Reference(m *gptoss.Model, tokens, positions []int32) [][]float32 {
	c := &m.Config
	x := make([][]float64, len(tokens)) // the residual stream, [tokens][Hidden]
	for t, id := range tokens {
		x[t] = decode(c.Hidden, 1, func(row []float32, _ int) { m.Embed.Row(row, int(id)) })[0]
	}
	cos, sin := rotations(c, positions)
	for i := range m.Layers {
		attend(x, c, &m.Layers[i], cos, sin)
		route(x, c, &m.Layers[i])
	}
	head := decodeMatrix(&m.Head)
	logits := make([][]float32, len(tokens))
	each(len(x), func(t int) {
		logits[t] = make([]float32, c.Vocab)
		for v, y := range times(head, norm(x[t], m.Norm, c.Eps), nil) {
			logits[t][v] = float32(y)
		}
	})
	return logits
}

// attend adds one layer's attention to x. Head h uses key/value head h/(Heads/KVHeads); scores are divided by
// sqrt(HeadDim); the sink is one more logit in the softmax, without a value.
func attend(x [][]float64, c *gptoss.Config, l *gptoss.Layer, cos, sin [][]float64) {
	wq, wk, wv, wo := decodeMatrix(&l.Q), decodeMatrix(&l.K), decodeMatrix(&l.V), decodeMatrix(&l.O)
	q, k, v := make([][]float64, len(x)), make([][]float64, len(x)), make([][]float64, len(x))
	each(len(x), func(t int) {
		n := norm(x[t], l.AttnNorm, c.Eps)
		q[t], k[t], v[t] = times(wq, n, l.QBias), times(wk, n, l.KBias), times(wv, n, l.VBias)
		rotate(q[t], cos[t], sin[t])
		rotate(k[t], cos[t], sin[t])
	})
	d := c.HeadDim
	each(len(x), func(t int) {
		from := 0
		if l.Sliding {
			from = max(0, t-c.Window+1)
		}
		out := make([]float64, c.Heads*d)
		scores := make([]float64, t+1-from)
		for h := range c.Heads {
			kv := h / (c.Heads / c.KVHeads) * d
			for j := range scores {
				scores[j] = dot(q[t][h*d:(h+1)*d], k[from+j][kv:kv+d]) / math.Sqrt(float64(d))
			}
			top := max(slices.Max(scores), float64(l.Sinks[h]))
			sum := math.Exp(float64(l.Sinks[h]) - top)
			for j, s := range scores {
				scores[j] = math.Exp(s - top)
				sum += scores[j]
			}
			for j, w := range scores {
				add(out[h*d:(h+1)*d], w/sum, v[from+j][kv:kv+d])
			}
		}
		add(x[t], 1, times(wo, out, l.OBias))
	})
}

// route adds one layer's experts to x: the ExpertsPerToken best by router logit (of equal ones the lower index),
// weighted by a softmax over those alone.
func route(x [][]float64, c *gptoss.Config, l *gptoss.Layer) {
	router := decodeMatrix(&l.Router)
	gate, up := &l.Gate, &l.Up
	gateRow, upRow := func(j int) int { return j }, func(j int) int { return j }
	if l.GateUp.N > 0 {
		gate, up = &l.GateUp, &l.GateUp
		gateRow, upRow = func(j int) int { return 2 * j }, func(j int) int { return 2*j + 1 }
	}
	wGate, wUp, wDown := decodeExperts(gate), decodeExperts(up), decodeExperts(&l.Down)
	each(len(x), func(t int) {
		n := norm(x[t], l.MLPNorm, c.Eps)
		scores := times(router, n, l.RouterBias)
		order := make([]int, c.Experts)
		for e := range order {
			order[e] = e
		}
		slices.SortStableFunc(order, func(a, b int) int {
			if scores[a] > scores[b] {
				return -1
			} else if scores[a] < scores[b] {
				return 1
			}
			return 0
		})
		chosen := order[:c.ExpertsPerToken]
		sum := 0.0
		for _, e := range chosen {
			sum += math.Exp(scores[e] - scores[chosen[0]])
		}
		for _, e := range chosen {
			hidden := make([]float64, c.Intermediate)
			for j := range hidden {
				g, u := gateRow(j), upRow(j)
				a := dot(wGate[e][g], n) + float64(gate.Bias[e*gate.Rows+g])
				b := dot(wUp[e][u], n) + float64(up.Bias[e*up.Rows+u])
				a, b = min(a, c.SwigluLimit), min(max(b, -c.SwigluLimit), c.SwigluLimit)
				hidden[j] = a / (1 + math.Exp(-c.SwigluAlpha*a)) * (b + 1)
			}
			y := times(wDown[e], hidden, l.Down.Bias[e*c.Hidden:(e+1)*c.Hidden])
			add(x[t], math.Exp(scores[e]-scores[chosen[0]])/sum, y)
		}
	})
}

// rotations returns cos and sin of every position and pair of dimensions, [positions][HeadDim/2], YaRN's factor included.
func rotations(c *gptoss.Config, positions []int32) (cos, sin [][]float64) {
	factor := 1.0
	if c.RopeFactor > 1 {
		factor = 0.1*math.Log(c.RopeFactor) + 1
	}
	freqs := frequencies(c)
	cos, sin = make([][]float64, len(positions)), make([][]float64, len(positions))
	for t, p := range positions {
		for _, f := range freqs {
			s, c := math.Sincos(float64(float32(p) * f))
			cos[t], sin[t] = append(cos[t], c*factor), append(sin[t], s*factor)
		}
	}
	return cos, sin
}

// frequencies returns YaRN's inverse frequency of each pair of dimensions, [HeadDim/2], each operation rounded to float32:
// 1/theta^(2j/d) for pairs that turn often in the original context, that divided by the factor for those that turn
// seldom, and a linear mixture between.
func frequencies(c *gptoss.Config) []float32 {
	d := float64(c.HeadDim)
	pair := func(turns float64) float64 {
		return d * math.Log(float64(c.RopeOriginalContext)/(turns*2*math.Pi)) / (2 * math.Log(c.RopeTheta))
	}
	low, high := pair(c.BetaFast), pair(c.BetaSlow)
	if c.RopeTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, d-1)
	if low == high {
		high += 0.001
	}
	out := make([]float32, c.HeadDim/2)
	for j := range out {
		freq := float32(math.Pow(c.RopeTheta, float64(float32(2*j)/float32(c.HeadDim))))
		kept, stretched := 1/freq, 1/(float32(c.RopeFactor)*freq)
		keep := 1 - min(max((float32(j)-float32(low))/float32(high-low), 0), 1)
		// The conversions keep compilers from fusing a product with the sum.
		out[j] = float32(stretched*(1-keep)) + float32(kept*keep)
	}
	return out
}

// rotate turns every head of x: dimension j is paired with j+HeadDim/2.
func rotate(x, cos, sin []float64) {
	half := len(cos)
	for ; len(x) > 0; x = x[2*half:] {
		for j := range half {
			a, b := x[j], x[j+half]
			x[j], x[j+half] = a*cos[j]-b*sin[j], b*cos[j]+a*sin[j]
		}
	}
}

// norm is RMSNorm: x / sqrt(mean(x²) + eps) · g.
func norm(x []float64, g []float32, eps float64) []float64 {
	scale := 1 / math.Sqrt(dot(x, x)/float64(len(x))+eps)
	out := make([]float64, len(x))
	for i := range out {
		out[i] = x[i] * scale * float64(g[i])
	}
	return out
}

// times is w·x + bias; a nil bias is none.
func times(w [][]float64, x []float64, bias []float32) []float64 {
	out := make([]float64, len(w))
	for r := range out {
		out[r] = dot(w[r], x)
		if bias != nil {
			out[r] += float64(bias[r])
		}
	}
	return out
}

// dot adds in four lanes, which the processor can overlap.
func dot(a, b []float64) float64 {
	var lanes [4]float64
	for ; len(a) >= 4 && len(b) >= 4; a, b = a[4:], b[4:] {
		lanes[0] += a[0] * b[0]
		lanes[1] += a[1] * b[1]
		lanes[2] += a[2] * b[2]
		lanes[3] += a[3] * b[3]
	}
	for i := range a {
		lanes[0] += a[i] * b[i]
	}
	return lanes[0] + lanes[1] + lanes[2] + lanes[3]
}

// add is dst += factor·x.
func add(dst []float64, factor float64, x []float64) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += factor * x[i]
	}
}

func decodeMatrix(m *gptoss.Matrix) [][]float64 { return decode(m.Cols, m.Rows, m.Row) }

func decodeExperts(x *gptoss.Experts) [][][]float64 {
	out := make([][][]float64, x.N)
	for e := range out {
		out[e] = decode(x.Cols, x.Rows, func(row []float32, r int) { x.Row(row, e, r) })
	}
	return out
}

// decode returns rows of cols numbers, each as read writes it.
func decode(cols, rows int, read func(row []float32, r int)) [][]float64 {
	out := make([][]float64, rows)
	row := make([]float32, cols)
	for r := range out {
		read(row, r)
		out[r] = make([]float64, cols)
		for i, v := range row {
			out[r][i] = float64(v)
		}
	}
	return out
}

// each calls f for 0 … n-1 from several goroutines and waits.
func each(n int, f func(i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wait.Wait()
}
