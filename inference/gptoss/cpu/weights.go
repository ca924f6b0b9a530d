package cpu

import (
	"fmt"

	"chorale/inference/checkpoint"
	"chorale/inference/gptoss"
	kernels "chorale/kernels/cpu"
)

// weights are the model in the kernels' terms.
type weights struct {
	config *gptoss.Config
	bytes  int64 // of all matrices
	embed  kernels.Matrix
	layers []layer
	norm   []float32
	head   kernels.Matrix
}

type layer struct {
	group  int // KV group, and index in it
	index  int
	window int // 0 = full attention

	attnNorm, mlpNorm        []float32
	q, k, v, o, router       kernels.Matrix
	qBias, kBias, vBias      []float32
	oBias, routerBias, sinks []float32
	gateUp, gate, up, down   []kernels.Matrix // one an expert; either gateUp or gate and up
	gateUpBias, gateBias     []float32        // [experts, rows]
	upBias, downBias         []float32
}

// prepare checks that every weight can be multiplied and has the shape that the configuration says.
func prepare(m *gptoss.Model) (*weights, error) {
	c := &m.Config
	if len(m.Layers) != c.Layers || len(c.Sliding) != c.Layers {
		return nil, fmt.Errorf("model has %d layers, its configuration %d", len(m.Layers), c.Layers)
	}
	p := preparer{}
	w := &weights{config: c, layers: make([]layer, c.Layers)}
	w.embed = p.matrix("embedding", &m.Embed, c.Vocab, c.Hidden)
	w.head = p.matrix("head", &m.Head, c.Vocab, c.Hidden)
	w.norm = p.vector("final norm", m.Norm, c.Hidden)
	for i := range w.layers {
		p.prefix = fmt.Sprintf("layer %d: ", i)
		w.layers[i] = p.layer(&m.Layers[i], c)
	}
	w.assignGroups()
	w.bytes = p.bytes
	return w, p.err
}

// assignGroups numbers the layers of each kind, the full ones first if there are any.
func (w *weights) assignGroups() {
	full, sliding := 0, 0
	for i := range w.layers {
		l := &w.layers[i]
		if l.window == 0 {
			l.index, full = full, full+1
		} else {
			l.index, sliding = sliding, sliding+1
		}
	}
	for i := range w.layers {
		if l := &w.layers[i]; l.window > 0 && full > 0 {
			l.group = 1
		}
	}
}

// A preparer keeps the first error, so that a model reads as a list of what it has.
type preparer struct {
	prefix string
	err    error
	bytes  int64
}

func (p *preparer) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s%s: %w", p.prefix, name, fmt.Errorf(format, args...))
	}
}

func (p *preparer) layer(l *gptoss.Layer, c *gptoss.Config) layer {
	queries, keys := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	out := layer{
		attnNorm:   p.vector("attention norm", l.AttnNorm, c.Hidden),
		q:          p.matrix("q", &l.Q, queries, c.Hidden),
		k:          p.matrix("k", &l.K, keys, c.Hidden),
		v:          p.matrix("v", &l.V, keys, c.Hidden),
		o:          p.matrix("o", &l.O, c.Hidden, queries),
		qBias:      p.vector("q bias", l.QBias, queries),
		kBias:      p.vector("k bias", l.KBias, keys),
		vBias:      p.vector("v bias", l.VBias, keys),
		oBias:      p.vector("o bias", l.OBias, c.Hidden),
		sinks:      p.vector("sinks", l.Sinks, c.Heads),
		mlpNorm:    p.vector("mlp norm", l.MLPNorm, c.Hidden),
		router:     p.matrix("router", &l.Router, c.Experts, c.Hidden),
		routerBias: p.vector("router bias", l.RouterBias, c.Experts),
	}
	if l.Sliding {
		out.window = c.Window
	}
	if l.GateUp.N != 0 {
		if !l.GateUp.Interleaved {
			p.fail("experts' gate and up", "rows do not alternate")
		}
		out.gateUp, out.gateUpBias = p.experts("experts' gate and up", &l.GateUp, c.Experts, 2*c.Intermediate, c.Hidden)
	} else {
		out.gate, out.gateBias = p.experts("experts' gate", &l.Gate, c.Experts, c.Intermediate, c.Hidden)
		out.up, out.upBias = p.experts("experts' up", &l.Up, c.Experts, c.Intermediate, c.Hidden)
	}
	out.down, out.downBias = p.experts("experts' down", &l.Down, c.Experts, c.Hidden, c.Intermediate)
	return out
}

func (p *preparer) vector(name string, v []float32, n int) []float32 {
	if len(v) != n {
		p.fail(name, "length is %d, want %d", len(v), n)
	}
	return v
}

func (p *preparer) matrix(name string, m *gptoss.Matrix, rows, cols int) kernels.Matrix {
	out := kernels.Matrix{Format: p.format(name, m.DType), Rows: rows, Cols: cols, Data: m.Data}
	p.check(name, &out, m.Rows, m.Cols)
	return out
}

// experts cuts the experts' weights into one matrix each.
func (p *preparer) experts(name string, x *gptoss.Experts, n, rows, cols int) ([]kernels.Matrix, []float32) {
	if x.N != n || len(x.Blocks)%n != 0 || len(x.Scales)%n != 0 {
		p.fail(name, "%d experts with %d bytes of weights and %d of scales, want %d experts", x.N, len(x.Blocks), len(x.Scales), n)
		return nil, nil
	}
	out := make([]kernels.Matrix, n)
	format, blocks, scales := p.format(name, x.DType), len(x.Blocks)/n, len(x.Scales)/n
	for e := range out {
		out[e] = kernels.Matrix{Format: format, Rows: rows, Cols: cols, Transposed: x.Transposed,
			Data: x.Blocks[e*blocks : (e+1)*blocks], Scales: x.Scales[e*scales : (e+1)*scales]}
		p.check(name, &out[e], x.Rows, x.Cols)
	}
	return out, p.vector(name+" bias", x.Bias, n*rows)
}

func (p *preparer) check(name string, m *kernels.Matrix, rows, cols int) {
	if m.Rows != rows || m.Cols != cols {
		p.fail(name, "shape is [%d, %d], want [%d, %d]", rows, cols, m.Rows, m.Cols)
	}
	if err := m.Check(); err != nil {
		p.fail(name, "%w", err)
	}
	p.bytes += int64(len(m.Data) + len(m.Scales))
}

func (p *preparer) format(name string, d checkpoint.DType) kernels.Format {
	switch d {
	case checkpoint.F32:
		return kernels.F32
	case checkpoint.F16:
		return kernels.F16
	case checkpoint.BF16:
		return kernels.BF16
	case checkpoint.Q8_0:
		return kernels.Q8_0
	case checkpoint.MXFP4:
		return kernels.MXFP4
	case checkpoint.MXFP4Interleaved:
		return kernels.MXFP4Interleaved
	case checkpoint.MXFP4Planes:
		return kernels.MXFP4Planes
	default:
		p.fail(name, "type %v cannot be multiplied", d)
		return 0
	}
}
