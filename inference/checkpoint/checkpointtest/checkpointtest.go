// Package checkpointtest writes model files for tests and generators.
//
// It owns the smallest correct writers of safetensors and GGUF, and nothing checks what they are given: damaged files are
// made on purpose. It knows no model. All functions are pure.
package checkpointtest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"chorale/inference/checkpoint"
)

// Safetensors returns a safetensors file with the tensors in this order. The header is padded with spaces to a multiple
// of eight bytes, as the library of that name does, so that the data is aligned.
func Safetensors(tensors []*checkpoint.Tensor) []byte {
	header := []byte("{")
	at := 0
	for i, t := range tensors {
		if i > 0 {
			header = append(header, ',')
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		entry, err := json.Marshal(map[string]any{"dtype": t.DType.String(), "shape": shape, "data_offsets": []int{at, at + len(t.Data)}})
		if err != nil {
			panic(err) // strings and numbers have no way to fail
		}
		header = append(fmt.Appendf(header, "%q:", t.Name), entry...)
		at += len(t.Data)
	}
	header = append(header, '}')
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	return SafetensorsFile(string(header), tensors)
}

// SafetensorsFile returns a file with a header as it is given, for headers that Safetensors does not write.
func SafetensorsFile(header string, tensors []*checkpoint.Tensor) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	out = append(out, header...)
	for _, t := range tensors {
		out = append(out, t.Data...)
	}
	return out
}

// Index returns the model.safetensors.index.json of shards: file name to its tensors.
func Index(shards map[string][]*checkpoint.Tensor) []byte {
	weights, total := map[string]string{}, 0
	for file, tensors := range shards {
		for _, t := range tensors {
			weights[t.Name] = file
			total += len(t.Data)
		}
	}
	out, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": weights})
	if err != nil {
		panic(err) // strings and numbers have no way to fail
	}
	return out
}

// A Pair is a metadata entry of a GGUF file. Value is a bool, int8 to uint64, float32, float64 or string, or a []T of
// int32, uint32, float32, bool or string.
type Pair struct {
	Key   string
	Value any
}

// GGUF returns a GGUF file of version 3 and alignment 32 with the tensors in this order.
func GGUF(meta []Pair, tensors []*checkpoint.Tensor) []byte {
	const alignment = 32
	out := append([]byte("GGUF"), 3, 0, 0, 0)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(tensors)))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(meta)))
	for _, p := range meta {
		out = appendValue(appendString(out, p.Key), p.Value)
	}
	at := 0
	for _, t := range tensors {
		out = appendString(out, t.Name)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(t.Shape)))
		for i := range t.Shape {
			out = binary.LittleEndian.AppendUint64(out, uint64(t.Shape[len(t.Shape)-1-i]))
		}
		out = binary.LittleEndian.AppendUint32(out, ggmlNumber(t.DType))
		out = binary.LittleEndian.AppendUint64(out, uint64(at))
		at += (len(t.Data) + alignment - 1) / alignment * alignment
	}
	for _, t := range tensors {
		out = append(out, bytes.Repeat([]byte{0}, -len(out)&(alignment-1))...)
		out = append(out, t.Data...)
	}
	return out
}

func appendString(out []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(out, uint64(len(s))), s...)
}

// appendValue appends a metadata value with its type.
func appendValue(out []byte, v any) []byte {
	array := func(kind uint32, n int) []byte {
		out = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(out, 9), kind)
		return binary.LittleEndian.AppendUint64(out, uint64(n))
	}
	scalar := func(kind uint32, size int, bits uint64) []byte {
		out = binary.LittleEndian.AppendUint32(out, kind)
		return append(out, binary.LittleEndian.AppendUint64(nil, bits)[:size]...)
	}
	flag := func(b bool) byte {
		if b {
			return 1
		}
		return 0
	}
	switch v := v.(type) {
	case uint8:
		return scalar(0, 1, uint64(v))
	case int8:
		return scalar(1, 1, uint64(v))
	case uint16:
		return scalar(2, 2, uint64(v))
	case int16:
		return scalar(3, 2, uint64(v))
	case uint32:
		return scalar(4, 4, uint64(v))
	case int32:
		return scalar(5, 4, uint64(v))
	case float32:
		return scalar(6, 4, uint64(math.Float32bits(v)))
	case bool:
		return scalar(7, 1, uint64(flag(v)))
	case string:
		return appendString(binary.LittleEndian.AppendUint32(out, 8), v)
	case uint64:
		return scalar(10, 8, v)
	case int64:
		return scalar(11, 8, uint64(v))
	case float64:
		return scalar(12, 8, math.Float64bits(v))
	case []uint32:
		out = array(4, len(v))
		for _, x := range v {
			out = binary.LittleEndian.AppendUint32(out, x)
		}
	case []int32:
		out = array(5, len(v))
		for _, x := range v {
			out = binary.LittleEndian.AppendUint32(out, uint32(x))
		}
	case []float32:
		out = array(6, len(v))
		for _, x := range v {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
		}
	case []bool:
		out = array(7, len(v))
		for _, x := range v {
			out = append(out, flag(x))
		}
	case []string:
		out = array(8, len(v))
		for _, x := range v {
			out = appendString(out, x)
		}
	default:
		panic(fmt.Sprintf("checkpointtest: no GGUF type for %T", v))
	}
	return out
}

// ggmlNumber returns ggml's number of a type.
func ggmlNumber(d checkpoint.DType) uint32 {
	switch d {
	case checkpoint.F32:
		return 0
	case checkpoint.F16:
		return 1
	case checkpoint.MXFP4Interleaved:
		return 4
	case checkpoint.Q8_0:
		return 8
	case checkpoint.I8:
		return 24
	case checkpoint.I32:
		return 26
	case checkpoint.BF16:
		return 30
	case checkpoint.MXFP4:
		return 39
	default:
		panic(fmt.Sprintf("checkpointtest: ggml has no %v", d))
	}
}
