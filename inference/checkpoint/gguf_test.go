package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"testing"

	"chorale/inference/checkpoint"
	"chorale/inference/checkpoint/checkpointtest"
)

func TestGGUF(t *testing.T) {
	t.Parallel()
	meta := []checkpointtest.Pair{
		{Key: "general.architecture", Value: "gpt-oss"},
		{Key: "u8", Value: uint8(200)}, {Key: "i8", Value: int8(-3)},
		{Key: "u16", Value: uint16(60000)}, {Key: "i16", Value: int16(-300)},
		{Key: "u32", Value: uint32(4e9)}, {Key: "i32", Value: int32(-5)},
		{Key: "u64", Value: uint64(7)}, {Key: "big", Value: uint64(math.MaxUint64)}, {Key: "i64", Value: int64(-1 << 40)},
		{Key: "f32", Value: float32(0.5)}, {Key: "f64", Value: 1e-5},
		{Key: "yes", Value: true}, {Key: "no", Value: false}, {Key: "text", Value: "ü"},
		{Key: "strings", Value: []string{"a", "", "bc"}}, {Key: "none", Value: []string{}},
		{Key: "ids", Value: []int32{-1, 2}}, {Key: "counts", Value: []uint32{3}}, {Key: "floats", Value: []float32{1.5}}, {Key: "flags", Value: []bool{true, false}},
	}
	want := []*checkpoint.Tensor{
		tensor("f32", checkpoint.F32, 3), // 12 bytes, so the next one needs padding
		tensor("mxfp4", checkpoint.MXFP4, 2, 3, 64),
		tensor("old", checkpoint.MXFP4Interleaved, 1, 32),
		tensor("q8", checkpoint.Q8_0, 5, 32),
		tensor("half", checkpoint.F16, 2, 2, 2, 2),
		tensor("brain", checkpoint.BF16, 7),
		tensor("empty", checkpoint.F32, 0),
	}
	c, err := checkpoint.FromBytes("m.gguf", checkpointtest.GGUF(meta, want), nil)
	if err != nil {
		t.Fatal(err)
	}
	sameTensors(t, c, want, "m.gguf")
	if c.Layout() != checkpoint.GGUF {
		t.Errorf("layout %v", c.Layout())
	}
	for key, want := range map[string]any{
		"general.architecture": "gpt-oss", "u8": int64(200), "i8": int64(-3), "u16": int64(60000), "i16": int64(-300),
		"u32": int64(4e9), "i32": int64(-5), "u64": int64(7), "big": uint64(math.MaxUint64), "i64": int64(-1 << 40),
		"f32": 0.5, "f64": 1e-5, "yes": true, "no": false, "text": "ü",
		"strings": []any{"a", "", "bc"}, "none": []any{}, "ids": []any{int64(-1), int64(2)}, "counts": []any{int64(3)},
		"floats": []any{1.5}, "flags": []any{true, false},
	} {
		if got, ok := c.Meta(key); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, want %#v", key, got, want)
		}
	}
	if _, ok := c.Meta("other"); ok {
		t.Error("found metadata that is not there")
	}
}

func TestGGUFLayouts(t *testing.T) {
	t.Parallel()
	for arch, want := range map[string]checkpoint.Layout{"gptoss": checkpoint.OllamaGGUF, "gpt-oss": checkpoint.GGUF, "llama": checkpoint.GGUF} {
		data := checkpointtest.GGUF([]checkpointtest.Pair{{Key: "general.architecture", Value: arch}}, nil)
		c, err := checkpoint.FromBytes("m", data, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Layout() != want {
			t.Errorf("%s: layout %v, want %v", arch, c.Layout(), want)
		}
	}
}

// ggufWith writes a file whose parts the caller spells out.
func ggufWith(version uint32, tensors, meta uint64, rest ...any) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("GGUF"), version)
	b = binary.LittleEndian.AppendUint64(b, tensors)
	b = binary.LittleEndian.AppendUint64(b, meta)
	for _, r := range rest {
		switch r := r.(type) {
		case string: // with its length
			b = append(binary.LittleEndian.AppendUint64(b, uint64(len(r))), r...)
		default:
			var buf bytes.Buffer
			if err := binary.Write(&buf, binary.LittleEndian, r); err != nil {
				panic(err) // a type that the tests above do not use
			}
			b = append(b, buf.Bytes()...)
		}
	}
	return b
}

type (
	u8  = uint8
	u32 = uint32
	u64 = uint64
)

func TestGGUFRefuses(t *testing.T) {
	t.Parallel()
	const all = math.MaxUint64
	data := make([]byte, 64)
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"magic only", []byte("GGUF"), "truncated: 4 bytes wanted at byte 4, 0 are left"},
		{"version 1", ggufWith(1, 0, 0), "GGUF version 1 is not supported, want 2 or 3"},
		{"version 4", ggufWith(4, 0, 0), "GGUF version 4 is not supported"},
		{"big-endian", ggufWith(3<<24, 0, 0), "a big-endian GGUF file"},
		{"no counts", ggufWith(3, 0, 0)[:12], "truncated: 8 bytes wanted at byte 8"},
		{"metadata count absurd", ggufWith(3, 0, all), `metadata "": truncated`},
		{"key absurd", ggufWith(3, 0, 1, u64(1<<16+1)), "metadata key of 65537 bytes, want at most 65536"},
		{"key truncated", ggufWith(3, 0, 1, u64(9), u8('k')), "truncated: 9 bytes wanted at byte 32, 1 are left"},
		{"value type unknown", ggufWith(3, 0, 1, "k", u32(13), data), `metadata "k": value type 13 is not supported`},
		{"arrays in arrays", ggufWith(3, 0, 1, "k", u32(9), u32(9), u64(1), data), `metadata "k": value type 9 is not supported`},
		{"string absurd", ggufWith(3, 0, 1, "k", u32(8), u64(all)), `metadata "k": truncated`},
		{"array absurd", ggufWith(3, 0, 1, "k", u32(9), u32(4), u64(all), data), `metadata "k": truncated: 18446744073709551615 array elements`},
		{"array size wraps to 0", ggufWith(3, 0, 1, "k", u32(9), u32(10), u64(1<<61), data), `metadata "k": truncated: 2305843009213693952 array elements`},
		{"strings absurd", ggufWith(3, 0, 1, "k", u32(9), u32(8), u64(1<<40), data), `metadata "k": truncated: 1099511627776 strings at byte 49, room for 8`},
		{"key twice", ggufWith(3, 0, 2, "k", u32(4), u32(1), "k", u32(4), u32(1)), `metadata "k" occurs twice`},
		{"alignment odd", ggufWith(3, 0, 1, "general.alignment", u32(4), u32(24)), "general.alignment is 24, want a power of two up to"},
		{"alignment zero", ggufWith(3, 0, 1, "general.alignment", u32(4), u32(0)), "general.alignment is 0, want"},
		{"alignment absurd", ggufWith(3, 0, 1, "general.alignment", u32(4), u32(1<<21)), "general.alignment is 2097152, want"},
		{"alignment text", ggufWith(3, 0, 1, "general.alignment", u32(8), "32"), "general.alignment is 32, want"},
		{"split", ggufWith(3, 0, 1, "split.count", u32(2), []uint8{3, 0}), "one of 3 parts of a split GGUF file, want it merged"},
		{"tensor count absurd", ggufWith(3, all, 0), "tensor 1 of 18446744073709551615: truncated"},
		{"tensor name absurd", ggufWith(3, 1, 0, u64(1025)), "tensor 1 of 1: name of 1025 bytes, want at most 1024"},
		{"tensor name empty", ggufWith(3, 1, 0, "", u32(1), u64(4), u32(0), u64(0), data), `tensor name "", want 1 to`},
		{"tensor name unprintable", ggufWith(3, 1, 0, "\x1b[2J", u32(1), u64(4), u32(0), u64(0), data), `tensor name "\x1b[2J", want 1 to`},
		{"five dimensions", ggufWith(3, 1, 0, "x", u32(5), data), "x: 5 dimensions, want at most 4"},
		{"type unknown", ggufWith(3, 1, 0, "x", u32(1), u64(256), u32(12), u64(0), data), "x: ggml type 12 is not supported, want F32 (0)"},
		{"shape overflows", ggufWith(3, 1, 0, "x", u32(4), u64(1<<32), u64(1<<32), u64(1<<32), u64(1), u32(0), u64(0), data), "x: shape [1 4294967296 4294967296 4294967296] is absurdly large"},
		{"row no whole blocks", ggufWith(3, 1, 0, "x", u32(2), u64(33), u64(32), u32(39), u64(0), data), "x: shape [32 33] in MXFP4, want rows of a multiple of 32 elements"},
		{"blocks without a row", ggufWith(3, 1, 0, "x", u32(0), u32(8), u64(0), data), "x: shape [] in Q8_0, want rows of a multiple of 32"},
		{"offset not aligned", ggufWith(3, 1, 0, "x", u32(1), u64(4), u32(0), u64(8), data), "tensor x: offset 8, want a multiple of the alignment 32"},
		{"offset behind the end", ggufWith(3, 1, 0, "x", u32(1), u64(4), u32(0), u64(1<<63), data), "tensor x: truncated: 16 bytes at offset 9223372036854775808"},
		{"data cut", ggufWith(3, 1, 0, "x", u32(1), u64(40), u32(0), u64(0), data), "tensor x: truncated: 160 bytes at offset 0, the file has 57 bytes of data"},
		{"no data at all", ggufWith(3, 1, 0, "x", u32(1), u64(1), u32(0), u64(0)), "tensor x: truncated: 4 bytes at offset 0, the file has 0 bytes"},
		{"tensor twice", ggufWith(3, 2, 0, "x", u32(1), u64(4), u32(0), u64(0), "x", u32(1), u64(4), u32(0), u64(32), data), "tensor x occurs twice"},
		{"overlap", ggufWith(3, 2, 0, "x", u32(1), u64(9), u32(0), u64(0), "y", u32(1), u64(4), u32(0), u64(32), data), "tensor y: offset 32 lies inside another tensor's data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := checkpoint.FromBytes("m.gguf", tt.data, nil)
			refused(t, err, "m.gguf: ", tt.want)
		})
	}
}

func TestGGUFAlignment(t *testing.T) {
	t.Parallel()
	for _, version := range []uint32{2, 3} {
		b := ggufWith(version, 1, 1, "general.alignment", u32(4), u32(8), "x", u32(1), u64(2), u32(0), u64(8))
		b = append(b, make([]byte, -len(b)&7+8)...)
		c, err := checkpoint.FromBytes("m", append(b, counting(8)...), nil)
		if err != nil {
			t.Fatal(err)
		}
		sameTensors(t, c, []*checkpoint.Tensor{tensor("x", checkpoint.F32, 2)}, "m")
	}
}

// Cutting a file anywhere before the end of the last tensor is noticed.
func TestGGUFTruncated(t *testing.T) {
	t.Parallel()
	whole := checkpointtest.GGUF([]checkpointtest.Pair{{Key: "k", Value: []string{"a", "b"}}, {Key: "n", Value: uint32(1)}},
		[]*checkpoint.Tensor{tensor("x", checkpoint.F32, 3), tensor("y", checkpoint.MXFP4, 32)})
	for n := range whole {
		if _, err := checkpoint.FromBytes("m", whole[:n], nil); err == nil {
			t.Errorf("accepted %d of %d bytes", n, len(whole))
		}
	}
}

func FuzzGGUF(f *testing.F) {
	small := checkpointtest.GGUF(
		[]checkpointtest.Pair{{Key: "general.architecture", Value: "gptoss"}, {Key: "a", Value: []string{"x", ""}}, {Key: "b", Value: []bool{true}}, {Key: "general.alignment", Value: uint32(32)}},
		[]*checkpoint.Tensor{tensor("x", checkpoint.F32, 2, 3), tensor("y", checkpoint.MXFP4, 1, 32), tensor("z", checkpoint.Q8_0, 32)})
	f.Add(small)
	f.Add(ggufWith(2, 1, 0, "x", u32(1), u64(1<<40), u32(39), u64(0)))
	f.Add(ggufWith(3, math.MaxUint64, math.MaxUint64))
	f.Add(ggufWith(3, 0, 1, "k", u32(9), u32(8), u64(3), "a", "b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !strings.HasPrefix(string(data), "GGUF") {
			data = append([]byte("GGUF"), data...)
		}
		c, err := checkpoint.FromBytes("m", data, nil)
		if err != nil {
			return
		}
		checkTensors(t, c, len(data))
		for _, key := range []string{"general.architecture", "a", "b", "k"} {
			c.Meta(key)
		}
	})
}

// The vocabulary of gpt-oss makes up nearly all of a real header: 201,088 tokens and 446,189 merges.
func BenchmarkGGUFHeader(b *testing.B) {
	words := make([]string, 650_000)
	for i := range words {
		words[i] = "token123"[:1+i%8]
	}
	data := checkpointtest.GGUF([]checkpointtest.Pair{{Key: "tokenizer.ggml.tokens", Value: words}}, nil)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := checkpoint.FromBytes("m", data, nil); err != nil {
			b.Fatal(err)
		}
	}
}
