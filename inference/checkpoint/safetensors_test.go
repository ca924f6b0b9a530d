package checkpoint_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"chorale/inference/checkpoint"
	"chorale/inference/checkpoint/checkpointtest"
)

// counting returns n bytes 0, 1, 2 …
func counting(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i)
	}
	return out
}

func tensor(name string, d checkpoint.DType, shape ...int) *checkpoint.Tensor {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return &checkpoint.Tensor{Name: name, DType: d, Shape: shape, Data: counting(d.Bytes(n))}
}

// refused fails the test unless err has all the parts.
func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Fatalf("got error %v, want one with %q", err, part)
		}
	}
}

func TestSafetensors(t *testing.T) {
	t.Parallel()
	want := []*checkpoint.Tensor{
		tensor("matrix", checkpoint.BF16, 3, 2),
		tensor("empty", checkpoint.F32, 0, 5),
		tensor("scalar", checkpoint.F64),
		tensor("bytes", checkpoint.U8, 2, 1, 3),
		tensor(`odd "name" ü`, checkpoint.I64, 1),
	}
	c, err := checkpoint.FromBytes("m.safetensors", checkpointtest.Safetensors(want), []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	sameTensors(t, c, want, "m.safetensors")
	if string(c.Config()) != "{}" || c.Layout() != checkpoint.HuggingFace || c.Name() != "m.safetensors" {
		t.Errorf("config %q, layout %v, name %q", c.Config(), c.Layout(), c.Name())
	}
	if _, ok := c.Tensor("other"); ok {
		t.Error("found a tensor that is not there")
	}
	if _, ok := c.Meta("general.architecture"); ok {
		t.Error("found metadata in a safetensors file")
	}
	if _, ok, err := c.TokenizerJSON(); ok || err != nil {
		t.Errorf("tokenizer.json of an embedded model: %v, %v", ok, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// sameTensors fails the test unless c has exactly the tensors want, all in a file of that name.
func sameTensors(t *testing.T, c *checkpoint.Checkpoint, want []*checkpoint.Tensor, file string) {
	t.Helper()
	var names []string
	bytes := int64(0)
	for _, w := range want {
		names, bytes = append(names, w.Name), bytes+int64(len(w.Data))
		got, ok := c.Tensor(w.Name)
		if !ok {
			t.Fatalf("tensor %s is not there", w.Name)
		}
		if got.Name != w.Name || got.DType != w.DType || !slices.Equal(got.Shape, w.Shape) || !slices.Equal(got.Data, w.Data) || got.File != file {
			t.Errorf("got %+v, want %+v in %s", got, w, file)
		}
		if cap(got.Data) != len(got.Data) {
			t.Errorf("tensor %s: appending to it would write into the next one", w.Name)
		}
	}
	slices.Sort(names)
	if got := c.Names(); !slices.Equal(got, names) {
		t.Errorf("names %q, want %q", got, names)
	}
	if c.Bytes() != bytes {
		t.Errorf("%d bytes, want %d", c.Bytes(), bytes)
	}
}

func TestSafetensorsTags(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]checkpoint.DType{
		"F64": checkpoint.F64, "F32": checkpoint.F32, "F16": checkpoint.F16, "BF16": checkpoint.BF16, "BOOL": checkpoint.Bool,
		"I64": checkpoint.I64, "I32": checkpoint.I32, "I16": checkpoint.I16, "I8": checkpoint.I8,
		"U64": checkpoint.U64, "U32": checkpoint.U32, "U16": checkpoint.U16, "U8": checkpoint.U8,
		"FP4": checkpoint.U8, "UE8": checkpoint.U8, "F8_E8M0": checkpoint.U8,
	} {
		w := tensor("x", want, 3)
		header := fmt.Sprintf(`{"x":{"dtype":%q,"shape":[3],"data_offsets":[0,%d]}}`, tag, len(w.Data))
		c, err := checkpoint.FromBytes("m", checkpointtest.SafetensorsFile(header, []*checkpoint.Tensor{w}), nil)
		if err != nil {
			t.Errorf("%s: %v", tag, err)
			continue
		}
		sameTensors(t, c, []*checkpoint.Tensor{w}, "m")
	}
}

// Each header is refused for one reason, in a message that names the tensor if there is one.
func TestSafetensorsRefuses(t *testing.T) {
	t.Parallel()
	entry := func(name, dtype, shape, offsets string) string {
		return fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":%s}`, name, dtype, shape, offsets)
	}
	good := entry("a", "U8", "[8]", "[0,8]")
	for _, tt := range []struct {
		name   string
		header string // followed by 16 bytes of data
		want   string
	}{
		{"no JSON", "hello", "header: want a JSON object"},
		{"an array", "[]", "header: want a JSON object"},
		{"empty header", "", "header: want a JSON object"},
		{"unfinished", "{" + good, "the JSON object is not closed"},
		{"garbage behind", "{" + good + "}{}", "2 bytes after the JSON object"},
		{"not UTF-8", "{\"\xff\":1}", "not UTF-8"},
		{"name twice", "{" + good + "," + good + "}", `"a" occurs twice`},
		{"name twice in another spelling", "{" + good + `,"\u0061":{}}`, `"a" occurs twice`},
		{"unprintable name", `{"a\nb":{}}`, `tensor name "a\nb", want 1 to`},
		{"empty name", `{"":{}}`, `tensor name "", want 1 to`},
		{"long name", `{"` + strings.Repeat("x", 1025) + `":{}}`, "want 1 to 1024 printable"},
		{"metadata no strings", `{"__metadata__":{"a":1}}`, "__metadata__, want an object of strings"},
		{"entry no object", `{"a":3}`, "tensor a: "},
		{"entry empty", `{"a":{}}`, "tensor a: want dtype, shape and two data_offsets"},
		{"three offsets", "{" + entry("a", "U8", "[8]", "[0,8,8]") + "}", "tensor a: want dtype, shape and two data_offsets"},
		{"dtype unknown", "{" + entry("a", "Q4", "[8]", "[0,8]") + "}", `tensor a: dtype "Q4" is not supported, want F64`},
		{"dtype of blocks", "{" + entry("a", "MXFP4", "[32]", "[0,17]") + "}", `tensor a: dtype "MXFP4" is not supported`},
		{"negative dimension", "{" + entry("a", "U8", "[-8]", "[0,8]") + "}", "tensor a: "},
		{"fractional dimension", "{" + entry("a", "U8", "[8.5]", "[0,8]") + "}", "tensor a: "},
		{"product overflows", "{" + entry("a", "U8", "[4294967296,4294967296]", "[0,0]") + "}", "tensor a: shape [4294967296 4294967296] is absurdly large"},
		{"product wraps to the size", "{" + entry("a", "U8", "[9223372036854775816,2]", "[0,16]") + "}", "is absurdly large"},
		{"bytes overflow", "{" + entry("a", "F64", "[2305843009213693953]", "[0,8]") + "}", "is absurdly large"},
		{"size is not the shape's", "{" + entry("a", "F32", "[5]", "[0,16]") + "}", "tensor a: data_offsets [0 16], want a range of the 20 bytes that F32 [5] takes"},
		{"offsets backwards", "{" + entry("a", "U8", "[8]", "[8,0]") + "}", "tensor a: data_offsets [8 0], want a range of the 8 bytes"},
		{"offset overflows", "{" + entry("a", "U8", "[8]", "[18446744073709551615,7]") + "}", "want a range of the 8 bytes"},
		{"behind the end", "{" + good + "," + entry("b", "U8", "[9]", "[8,17]") + "}", "tensor b: truncated: its data_offsets end at 17, the file has 16 bytes"},
		{"gap", "{" + good + "," + entry("b", "U8", "[7]", "[9,16]") + "}", "tensor b: data_offsets begin at 9, want 8"},
		{"gap at the start", "{" + entry("b", "U8", "[15]", "[1,16]") + "}", "tensor b: data_offsets begin at 1, want 0"},
		{"overlap", "{" + good + "," + entry("b", "U8", "[9]", "[7,16]") + "}", "tensor b: data_offsets begin at 7, want 8"},
		{"bytes left over", "{" + good + "}", "the file has 16 bytes of data, the header describes 8"},
		{"nothing described", "{}", "the file has 16 bytes of data, the header describes 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := append(checkpointtest.SafetensorsFile(tt.header, nil), counting(16)...)
			_, err := checkpoint.FromBytes("m.safetensors", data, nil)
			refused(t, err, "m.safetensors: ", tt.want)
		})
	}
}

func TestSafetensorsHeaderLength(t *testing.T) {
	t.Parallel()
	file := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), "{}"...) }
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "truncated: 0 bytes, want at least the 8"},
		{"half a length", []byte{1, 2, 3}, "truncated: 3 bytes, want at least the 8"},
		{"one more than there is", file(3), "truncated: the header has 3 bytes, the file 2"},
		{"just above the limit", file(100_000_001), "header length 100000001, want at most 100000000"},
		{"all bits", file(1<<64 - 1), "header length 18446744073709551615, want at most"},
		{"text", []byte("<!DOCTYPE html>"), "not a safetensors file"},
		{"what git-lfs leaves without being installed", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "a Git LFS pointer"},
	} {
		_, err := checkpoint.FromBytes("m", tt.data, nil)
		refused(t, err, "m: ", tt.want)
	}
	if _, err := checkpoint.FromBytes("m", file(2), nil); err != nil {
		t.Errorf("a file without tensors: %v", err)
	}
}

// Cutting a file anywhere is noticed.
func TestSafetensorsTruncated(t *testing.T) {
	t.Parallel()
	whole := checkpointtest.Safetensors([]*checkpoint.Tensor{tensor("a", checkpoint.BF16, 4), tensor("b", checkpoint.U8, 9)})
	for n := range whole {
		if _, err := checkpoint.FromBytes("m", whole[:n], nil); err == nil {
			t.Errorf("accepted %d of %d bytes", n, len(whole))
		}
	}
	_, err := checkpoint.FromBytes("m", whole[:len(whole)-1], nil)
	refused(t, err, "m: tensor b: truncated")
}

func FuzzSafetensors(f *testing.F) {
	f.Add([]byte(`{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}`), 16)
	f.Add([]byte(`{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"b":{"dtype":"BF16","shape":[0],"data_offsets":[1,1]}}  `), 1)
	f.Add([]byte(`{"a":{"dtype":"I64","shape":[18446744073709551615,0],"data_offsets":[0,0]}}`), 0)
	f.Add([]byte(`{"a":{"dtype":"FP4","shape":[1,16],"data_offsets":[0,16],"data_offsets":[0,16]}}`), 16)
	f.Fuzz(func(t *testing.T, header []byte, n int) {
		n = min(max(n, 0), 1<<12)
		c, err := checkpoint.FromBytes("m", append(checkpointtest.SafetensorsFile(string(header), nil), counting(n)...), nil)
		if err == nil {
			checkTensors(t, c, n)
		}
	})
}

// checkTensors fails the test unless every tensor of c is as long as its shape says and all are no longer than the file.
func checkTensors(t *testing.T, c *checkpoint.Checkpoint, limit int) {
	t.Helper()
	if c.Bytes() > int64(limit) {
		t.Errorf("tensors of %d bytes in a file of %d", c.Bytes(), limit)
	}
	for _, name := range c.Names() {
		x, _ := c.Tensor(name)
		n := 1
		for _, s := range x.Shape {
			n *= s
		}
		if x.DType.Bytes(n) != len(x.Data) || x.DType.Bytes(1<<10) == 0 {
			t.Errorf("tensor %q: %v %v has %d bytes", name, x.DType, x.Shape, len(x.Data))
		}
	}
}

func BenchmarkSafetensorsHeader(b *testing.B) {
	var tensors []*checkpoint.Tensor
	for i := range 10_000 {
		tensors = append(tensors, tensor(fmt.Sprintf("model.layers.%d.self_attn.q_proj.weight", i), checkpoint.BF16, 2, 2))
	}
	data := checkpointtest.Safetensors(tensors)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := checkpoint.FromBytes("m", data, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(tensors)), "µs/tensor")
}
