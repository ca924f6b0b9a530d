package checkpoint

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The format is ggml's, docs/gguf.md: "GGUF", version, counts, metadata, tensor entries, padding, data.
const (
	ggufMagic     = "GGUF"
	ggufAlignment = 32      // where general.alignment is absent
	maxAlignment  = 1 << 20 // any more would be a way to point beyond the file
	maxKeyBytes   = 1 << 16 // the format's own limit
	maxDims       = 4       // ggml's
)

// isGGUF reports whether data begins as GGUF. As a safetensors header length the same bytes would be over a gigabyte.
func isGGUF(data []byte) bool { return len(data) >= 4 && string(data[:4]) == ggufMagic }

// Kinds of metadata values.
const (
	kindU8 = iota
	kindI8
	kindU16
	kindI16
	kindU32
	kindI32
	kindF32
	kindBool
	kindString
	kindArray
	kindU64
	kindI64
	kindF64
)

// kindBytes returns the size of a value of fixed size, else 0.
func kindBytes(kind uint32) int {
	switch kind {
	case kindU8, kindI8, kindBool:
		return 1
	case kindU16, kindI16:
		return 2
	case kindU32, kindI32, kindF32:
		return 4
	case kindU64, kindI64, kindF64:
		return 8
	default:
		return 0
	}
}

// A value is a checked metadata value, kept as its bytes in the file: a vocabulary of 200,000 strings costs nothing
// until it is asked for.
type value struct {
	kind  uint32 // of the value, or of the elements
	n     int    // elements
	array bool
	data  []byte
}

func (v value) decode() any {
	r := ggufReader{data: v.data}
	if !v.array {
		return r.scalar(v.kind)
	}
	out := make([]any, v.n)
	for i := range out {
		out[i] = r.scalar(v.kind)
	}
	return out
}

// A ggufReader takes numbers off data. After its first failure it returns zeros, and err says what was being read.
type ggufReader struct {
	data []byte
	at   int
	err  error
}

func (r *ggufReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// take returns the next n bytes, or nil.
func (r *ggufReader) take(n uint64) []byte {
	if rest := uint64(len(r.data) - r.at); r.err == nil && n > rest {
		r.fail("truncated: %d bytes wanted at byte %d, %d are left", n, r.at, rest)
	}
	if r.err != nil {
		return nil
	}
	r.at += int(n)
	return r.data[r.at-int(n) : r.at]
}

func (r *ggufReader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *ggufReader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *ggufReader) string() string { return string(r.take(r.u64())) }

// scalar decodes a value that is no array.
func (r *ggufReader) scalar(kind uint32) any {
	if kind == kindString {
		return r.string()
	}
	var buf [8]byte
	copy(buf[:], r.take(uint64(kindBytes(kind))))
	u := binary.LittleEndian.Uint64(buf[:])
	switch kind {
	case kindU8, kindU16, kindU32:
		return int64(u)
	case kindI8:
		return int64(int8(u))
	case kindI16:
		return int64(int16(u))
	case kindI32:
		return int64(int32(u))
	case kindI64:
		return int64(u)
	case kindU64:
		if u > math.MaxInt64 {
			return u
		}
		return int64(u)
	case kindF32:
		return float64(math.Float32frombits(uint32(u)))
	case kindF64:
		return math.Float64frombits(u)
	case kindBool:
		return u != 0
	default:
		panic(fmt.Sprintf("checkpoint: metadata of kind %d passed the check", kind))
	}
}

// value checks the next metadata value and steps over it.
func (r *ggufReader) value() value {
	v := value{kind: r.u32(), n: 1}
	n := uint64(1)
	if v.kind == kindArray {
		v.array, v.kind, n = true, r.u32(), r.u64()
	}
	start, fixed := r.at, kindBytes(v.kind)
	switch {
	case v.kind == kindString:
		if least := uint64(len(r.data)-r.at) / 8; n > least { // each string has at least its length
			r.fail("truncated: %d strings at byte %d, room for %d", n, r.at, least)
		}
		for i := uint64(0); i < n && r.err == nil; i++ {
			r.take(r.u64())
		}
	case fixed == 0:
		r.fail("value type %d is not supported", v.kind)
	case n > uint64(len(r.data)): // so that the product cannot overflow
		r.fail("truncated: %d array elements at byte %d", n, r.at)
	default:
		r.take(n * uint64(fixed))
	}
	if r.err == nil {
		v.n, v.data = int(n), r.data[start:r.at]
	}
	return v
}

// parseGGUF checks a GGUF file of version 2 or 3 and returns its tensors and metadata.
func parseGGUF(data []byte) ([]*Tensor, map[string]value, error) {
	r := &ggufReader{data: data, at: len(ggufMagic)}
	version := r.u32()
	if r.err == nil && version&0xffff == 0 {
		return nil, nil, errors.New("a big-endian GGUF file, want little-endian")
	}
	if r.err == nil && version != 2 && version != 3 {
		return nil, nil, fmt.Errorf("GGUF version %d is not supported, want 2 or 3", version)
	}
	nTensors, nMeta := r.u64(), r.u64()
	meta, err := r.metadata(nMeta)
	if err != nil {
		return nil, nil, err
	}
	alignment := uint64(ggufAlignment)
	if v, ok := meta["general.alignment"]; ok {
		n, _ := v.decode().(int64)
		if n <= 0 || n > maxAlignment || n&(n-1) != 0 {
			return nil, nil, fmt.Errorf("general.alignment is %v, want a power of two up to %d", v.decode(), maxAlignment)
		}
		alignment = uint64(n)
	}
	if v, ok := meta["split.count"]; ok && v.decode() != int64(1) && v.decode() != int64(0) {
		return nil, nil, fmt.Errorf("one of %v parts of a split GGUF file, want it merged (llama-gguf-split --merge)", v.decode())
	}
	tensors, err := r.tensors(nTensors, alignment)
	return tensors, meta, err
}

// metadata reads n keys and values.
func (r *ggufReader) metadata(n uint64) (map[string]value, error) {
	meta := map[string]value{}
	for range n {
		size := r.u64()
		if size > maxKeyBytes {
			r.fail("metadata key of %d bytes, want at most %d", size, maxKeyBytes)
		}
		key := string(r.take(size))
		v := r.value()
		if r.err != nil {
			return nil, fmt.Errorf("metadata %.80q: %w", key, r.err)
		}
		if _, twice := meta[key]; twice {
			return nil, fmt.Errorf("metadata %.80q occurs twice", key)
		}
		meta[key] = v
	}
	return meta, r.err
}

// tensors reads n entries and places the tensors in the data that follows.
func (r *ggufReader) tensors(n, alignment uint64) ([]*Tensor, error) {
	var tensors []*Tensor
	var offsets []uint64
	var sizes []int
	seen := map[string]bool{}
	for range n {
		t, offset, bytes := r.entry()
		if r.err != nil {
			return nil, fmt.Errorf("tensor %d of %d: %w", len(tensors)+1, n, r.err)
		}
		switch {
		case seen[t.Name]:
			return nil, fmt.Errorf("tensor %s occurs twice", t.Name)
		case offset%alignment != 0:
			return nil, fmt.Errorf("tensor %s: offset %d, want a multiple of the alignment %d", t.Name, offset, alignment)
		}
		seen[t.Name] = true
		tensors, offsets, sizes = append(tensors, t), append(offsets, offset), append(sizes, bytes)
	}
	if r.err != nil {
		return nil, r.err
	}
	start := (uint64(r.at) + alignment - 1) / alignment * alignment
	body := r.data[min(start, uint64(len(r.data))):]
	order := make([]int, len(tensors))
	for i, t := range tensors {
		order[i] = i
		if offsets[i] > uint64(len(body)) || uint64(sizes[i]) > uint64(len(body))-offsets[i] {
			return nil, fmt.Errorf("tensor %s: truncated: %d bytes at offset %d, the file has %d bytes of data", t.Name, sizes[i], offsets[i], len(body))
		}
		t.Data = body[offsets[i]:][:sizes[i]:sizes[i]]
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(offsets[a], offsets[b]), cmp.Compare(sizes[a], sizes[b]))
	})
	end := uint64(0)
	for _, i := range order {
		if offsets[i] < end {
			return nil, fmt.Errorf("tensor %s: offset %d lies inside another tensor's data", tensors[i].Name, offsets[i])
		}
		end = offsets[i] + uint64(sizes[i])
	}
	return tensors, nil
}

// entry reads one tensor's name, shape, type and offset, and computes its size.
func (r *ggufReader) entry() (t *Tensor, offset uint64, bytes int) {
	n := r.u64()
	if n > maxNameBytes {
		r.fail("name of %d bytes, want at most %d", n, maxNameBytes)
	}
	t = &Tensor{Name: string(r.take(n))}
	if err := checkName(t.Name); r.err == nil && err != nil {
		r.err = err
	}
	dims := r.u32()
	if dims > maxDims {
		r.fail("%s: %d dimensions, want at most %d", t.Name, dims, maxDims)
		return t, 0, 0
	}
	shape := make([]uint64, dims)
	for i := range shape {
		shape[int(dims)-1-i] = r.u64() // the file has the fastest dimension first
	}
	kind := r.u32()
	offset = r.u64()
	if r.err != nil {
		return t, 0, 0
	}
	var err error
	if t.DType, err = ggmlType(kind); err == nil {
		t.Shape, bytes, err = size(shape, t.DType)
	}
	if err != nil {
		r.fail("%s: %w", t.Name, err)
	}
	return t, offset, bytes
}

// ggmlType returns the type with ggml's number. 4 was Q4_2, which no file has had since 2023, when Ollama used it for
// its MXFP4.
func ggmlType(number uint32) (DType, error) {
	switch number {
	case 0:
		return F32, nil
	case 1:
		return F16, nil
	case 4:
		return MXFP4Interleaved, nil
	case 8:
		return Q8_0, nil
	case 24:
		return I8, nil
	case 25:
		return I16, nil
	case 26:
		return I32, nil
	case 27:
		return I64, nil
	case 28:
		return F64, nil
	case 30:
		return BF16, nil
	case 39:
		return MXFP4, nil
	default:
		return 0, fmt.Errorf("ggml type %d is not supported, want F32 (0), F16 (1), BF16 (30), Q8_0 (8) or MXFP4 (39, or Ollama's 4)", number)
	}
}
