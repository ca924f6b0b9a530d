package gptosstest

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"chorale/inference/checkpoint"
	"chorale/inference/gptoss"
)

// A Kind says how the weights of a model lie in memory.
type Kind struct {
	Name       string
	Dense      checkpoint.DType // of attention, router, embedding and head: F32, F16, BF16 or Q8_0
	Experts    checkpoint.DType
	Transposed bool // experts lie input first
	Split      bool // gate and up are separate matrices
}

// Kinds returns one Kind for every layout of files that gptoss.Load accepts.
func Kinds() []Kind {
	return []Kind{
		{Name: "BF16 and MXFP4 planes", Dense: checkpoint.BF16, Experts: checkpoint.MXFP4Planes},
		{Name: "BF16, experts transposed", Dense: checkpoint.BF16, Experts: checkpoint.BF16, Transposed: true},
		{Name: "Q8_0 and ggml's MXFP4, split", Dense: checkpoint.Q8_0, Experts: checkpoint.MXFP4, Split: true},
		{Name: "BF16 and Ollama's MXFP4", Dense: checkpoint.BF16, Experts: checkpoint.MXFP4Interleaved},
		{Name: "F16, experts too, split", Dense: checkpoint.F16, Experts: checkpoint.F16, Split: true},
		{Name: "F32 and Q8_0", Dense: checkpoint.F32, Experts: checkpoint.Q8_0},
	}
}

// Poison is the id of a token of every Model whose embedding is not a number, and so is whatever a sequence with it
// computes afterwards.
const Poison = 0

// Shape is the configuration of Model: gpt-oss's constants with small sizes.
func Shape() gptoss.Config {
	return gptoss.Config{
		Layers: 4, Hidden: 64, Intermediate: 96, Heads: 8, KVHeads: 2, HeadDim: 16, Experts: 8, ExpertsPerToken: 3, Vocab: 101,
		Window: 128, MaxContext: 131072, Sliding: []bool{true, false, true, false},
		RopeTheta: 150000, RopeFactor: 32, BetaFast: 32, BetaSlow: 1, RopeOriginalContext: 4096,
		Eps: 1e-5, SwigluLimit: 7, SwigluAlpha: 1.702, EOS: []int32{2},
	}
}

// Model returns a model of a configuration with random weights: the same for the same arguments, on every machine. Its
// attention and its routing are sharp enough that each part of a pass shows in the logits.
func Model(seed uint64, kind Kind, c gptoss.Config) *gptoss.Model {
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	queries, keys := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	m := &gptoss.Model{
		Config: c,
		Embed:  g.matrix(kind.Dense, c.Vocab, c.Hidden, 1),
		Head:   g.matrix(kind.Dense, c.Vocab, c.Hidden, fan(c.Hidden)),
		Norm:   g.vector(c.Hidden, 1, 0.3),
	}
	switch size := kind.Dense.Bytes(c.Hidden); kind.Dense { // the first element or the first block's scale
	case checkpoint.F32:
		binary.LittleEndian.PutUint32(m.Embed.Data[Poison*size:], math.Float32bits(float32(math.NaN())))
	case checkpoint.BF16:
		binary.LittleEndian.PutUint16(m.Embed.Data[Poison*size:], checkpoint.ToBF16(float32(math.NaN())))
	default:
		binary.LittleEndian.PutUint16(m.Embed.Data[Poison*size:], checkpoint.ToF16(float32(math.NaN())))
	}
	for i := range c.Layers {
		l := gptoss.Layer{
			Sliding:    c.Sliding[i],
			AttnNorm:   g.vector(c.Hidden, 1, 0.3),
			Q:          g.matrix(kind.Dense, queries, c.Hidden, 2*fan(c.Hidden)),
			K:          g.matrix(kind.Dense, keys, c.Hidden, 2*fan(c.Hidden)),
			V:          g.matrix(kind.Dense, keys, c.Hidden, fan(c.Hidden)),
			O:          g.matrix(kind.Dense, c.Hidden, queries, fan(queries)),
			QBias:      g.vector(queries, 0, 0.5),
			KBias:      g.vector(keys, 0, 0.5),
			VBias:      g.vector(keys, 0, 0.5),
			OBias:      g.vector(c.Hidden, 0, 0.5),
			Sinks:      g.vector(c.Heads, 1, 2),
			MLPNorm:    g.vector(c.Hidden, 1, 0.3),
			Router:     g.matrix(kind.Dense, c.Experts, c.Hidden, 2*fan(c.Hidden)),
			RouterBias: g.vector(c.Experts, 0, 0.5),
			Down:       g.experts(kind, c.Experts, c.Hidden, c.Intermediate, 0.3*fan(c.Intermediate)),
		}
		if kind.Split {
			l.Gate = g.experts(kind, c.Experts, c.Intermediate, c.Hidden, 3*fan(c.Hidden))
			l.Up = g.experts(kind, c.Experts, c.Intermediate, c.Hidden, 3*fan(c.Hidden))
		} else {
			l.GateUp = g.experts(kind, c.Experts, 2*c.Intermediate, c.Hidden, 3*fan(c.Hidden))
			l.GateUp.Interleaved = true
		}
		m.Layers = append(m.Layers, l)
	}
	return m
}

// fan is the size of weights that keeps the size of a vector of n elements.
func fan(n int) float64 { return 1.7 / math.Sqrt(float64(n)) }

// A generator draws weights, evenly from -size to size.
type generator struct{ *rand.Rand }

func (g generator) value(size float64) float32 { return float32((2*g.Float64() - 1) * size) }

func (g generator) vector(n int, mean, size float64) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(mean) + g.value(size)
	}
	return out
}

func (g generator) matrix(d checkpoint.DType, rows, cols int, size float64) gptoss.Matrix {
	data, _ := g.weights(d, rows*cols, size)
	return gptoss.Matrix{Rows: rows, Cols: cols, DType: d, Data: data}
}

func (g generator) experts(kind Kind, n, rows, cols int, size float64) gptoss.Experts {
	x := gptoss.Experts{N: n, Rows: rows, Cols: cols, DType: kind.Experts, Transposed: kind.Transposed, Bias: g.vector(n*rows, 0, 0.5)}
	x.Blocks, x.Scales = g.weights(kind.Experts, n*rows*cols, size)
	return x
}

// weights returns n elements of a type, and for MXFP4Planes their scales.
func (g generator) weights(d checkpoint.DType, n int, size float64) (data, scales []byte) {
	// The scale of a block whose largest code is 6 or 127; a spread of octaves, so that one scale for another shows.
	scale := func() byte { return byte(127 + math.Ilogb(size/6) + g.IntN(3)) }
	bytes := func(n int) {
		for range n {
			data = append(data, byte(g.Uint32()))
		}
	}
	switch d {
	case checkpoint.F32:
		for range n {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(g.value(size)))
		}
	case checkpoint.F16:
		for range n {
			data = binary.LittleEndian.AppendUint16(data, checkpoint.ToF16(g.value(size)))
		}
	case checkpoint.BF16:
		for range n {
			data = binary.LittleEndian.AppendUint16(data, checkpoint.ToBF16(g.value(size)))
		}
	case checkpoint.Q8_0:
		for range n / 32 {
			data = binary.LittleEndian.AppendUint16(data, checkpoint.ToF16(float32(size/127*(0.5+g.Float64()))))
			bytes(32)
		}
	case checkpoint.MXFP4, checkpoint.MXFP4Interleaved:
		for range n / 32 {
			data = append(data, scale())
			bytes(16)
		}
	case checkpoint.MXFP4Planes:
		bytes(n / 2)
		for range n / 32 {
			scales = append(scales, scale())
		}
	default:
		panic("no weights of type " + d.String())
	}
	return data, scales
}
