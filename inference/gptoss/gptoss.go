// Package gptoss is what OpenAI's gpt-oss models consist of: their configuration, their weights under one name each
// whatever the file calls them, and their rotary frequencies.
//
// It owns the reading of config.json and GGUF metadata, the tensor names and shapes of the four checkpoint layouts,
// and the YaRN formula. It knows no arithmetic beyond decoding a row, no device and no scheduling: the packages cpu and
// gpu below it run the model. All types are plain data, immutable once loaded and safe for concurrent reading.
//
// Weights stay as they lie in the file. A Matrix and an Experts are views with a type tag; only norms, biases and sinks
// are converted, to float32. So a model costs no memory beyond the pages of the mapped file that are touched, and a
// Runner that wants another layout makes that copy itself.
package gptoss

import "chorale/inference/checkpoint"

// A Model is a set of weights with the configuration that their shapes were checked against. Its views alias the
// checkpoint that it was loaded from and are valid until that is closed.
type Model struct {
	Config Config
	Embed  Matrix // [Vocab, Hidden]
	Layers []Layer
	Norm   []float32 // [Hidden], before the head
	Head   Matrix    // [Vocab, Hidden]; the same bytes as Embed if Config.TiedEmbeddings
}

// A Layer is one transformer block. Query head h owns rows h*HeadDim … of Q, and uses key/value head
// h/(Heads/KVHeads). Rotation pairs dimension j of a head with j+HeadDim/2.
type Layer struct {
	Sliding  bool      // attends to the last Config.Window positions only, itself included
	AttnNorm []float32 // [Hidden]

	Q     Matrix    // [Heads*HeadDim, Hidden]
	K     Matrix    // [KVHeads*HeadDim, Hidden]
	V     Matrix    // [KVHeads*HeadDim, Hidden]
	O     Matrix    // [Hidden, Heads*HeadDim]
	QBias []float32 // [Heads*HeadDim]
	KBias []float32 // [KVHeads*HeadDim]
	VBias []float32 // [KVHeads*HeadDim]
	OBias []float32 // [Hidden]
	Sinks []float32 // [Heads], a logit each that takes part in the softmax and has no value

	MLPNorm    []float32 // [Hidden]
	Router     Matrix    // [Experts, Hidden]
	RouterBias []float32 // [Experts]

	// The first matrices of the experts come in one of two forms, as the file has them: either GateUp
	// [Experts, 2*Intermediate, Hidden] with gate and up rows alternating (all safetensors files, Ollama's fused ones),
	// or Gate and Up [Experts, Intermediate, Hidden] each (llama.cpp's files). The unused form has N == 0.
	GateUp   Experts
	Gate, Up Experts
	Down     Experts // [Experts, Hidden, Intermediate]
}

// A Matrix is a weight [Rows, Cols], row-major: output r is the dot product of row r with the input.
type Matrix struct {
	Rows, Cols int
	DType      checkpoint.DType // F32, F16, BF16 or Q8_0
	// Data holds DType.Bytes(Rows*Cols) bytes, row after row. It need not be aligned to the element.
	Data []byte
}

// Row decodes row r into dst, which has length Cols.
func (m *Matrix) Row(dst []float32, r int) {
	n := m.DType.Bytes(m.Cols)
	checkpoint.Floats(dst, m.DType, m.Data[r*n:(r+1)*n])
}

// slice returns the view of rows from … to-1.
func (m *Matrix) slice(from, to int) Matrix {
	n := m.DType.Bytes(m.Cols)
	return Matrix{Rows: to - from, Cols: m.Cols, DType: m.DType, Data: m.Data[from*n : to*n]}
}

// Experts are N weights [Rows, Cols] of one layer with a bias each, seen as [N, Rows, Cols].
type Experts struct {
	N, Rows, Cols int
	// DType says how Blocks lies:
	//
	//	MXFP4Planes       codes [N, Rows, Cols/32, 16] in Blocks, scale bytes [N, Rows, Cols/32] in Scales
	//	MXFP4             [N, Rows, Cols/32, 17] in Blocks, each a scale byte and 16 code bytes in ggml's order
	//	MXFP4Interleaved  the same, the code bytes in the order of MXFP4Planes
	//	F32, F16, BF16, Q8_0  [N, Rows, Cols] in Blocks, or [N, Cols, Rows] if Transposed
	//
	// Package checkpoint describes the orders.
	DType  checkpoint.DType
	Blocks []byte
	Scales []byte    // of MXFP4Planes only
	Bias   []float32 // [N, Rows]
	// Transposed means that the values lie [N, Cols, Rows], input first, as Hugging Face keeps unquantised experts.
	// It occurs with F32, F16 and BF16 only.
	Transposed bool
	// Interleaved means that rows 2j and 2j+1 are gate and up of unit j. It is set on GateUp and nowhere else.
	Interleaved bool
}

// Row decodes row r of expert e into dst, which has length Cols. It is the reference for the Runners' own decoding.
func (x *Experts) Row(dst []float32, e, r int) {
	if x.Transposed {
		size := x.DType.Bytes(1)
		for c := range dst {
			at := ((e*x.Cols+c)*x.Rows + r) * size
			checkpoint.Floats(dst[c:c+1], x.DType, x.Blocks[at:at+size])
		}
		return
	}
	row, n := e*x.Rows+r, x.DType.Bytes(x.Cols)
	blocks := x.Blocks[row*n : (row+1)*n]
	if x.DType == checkpoint.MXFP4Planes {
		groups := x.Cols / 32
		checkpoint.DequantMXFP4(dst, blocks, x.Scales[row*groups:(row+1)*groups])
		return
	}
	checkpoint.Floats(dst, x.DType, blocks)
}
