package checkpoint_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"chorale/inference/checkpoint"
	"chorale/inference/checkpoint/checkpointtest"
)

// folder writes files, given by their names relative to it, and returns its path.
func folder(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func one(name string) []*checkpoint.Tensor {
	return []*checkpoint.Tensor{tensor(name, checkpoint.BF16, 2, 2)}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	hf := checkpointtest.Safetensors(one("lm_head.weight"))
	original := checkpointtest.Safetensors(one("unembedding.weight"))
	gguf := checkpointtest.GGUF([]checkpointtest.Pair{{Key: "general.architecture", Value: "gpt-oss"}}, one("output.weight"))
	for _, tt := range []struct {
		name   string
		files  map[string][]byte
		open   string // relative to the folder
		tensor string
		layout checkpoint.Layout
		config string
	}{
		{"one file in a folder", map[string][]byte{"model.safetensors": hf, "config.json": []byte("1")}, "", "lm_head.weight", checkpoint.HuggingFace, "1"},
		{"one file by name", map[string][]byte{"x.safetensors": hf, "config.json": []byte("1")}, "x.safetensors", "lm_head.weight", checkpoint.HuggingFace, "1"},
		{"no config", map[string][]byte{"x.safetensors": hf}, "x.safetensors", "lm_head.weight", checkpoint.HuggingFace, ""},
		{"original by name", map[string][]byte{"original/model.safetensors": original, "original/config.json": []byte("2"), "config.json": []byte("1")}, "original", "unembedding.weight", checkpoint.Original, "2"},
		{"original is all there is", map[string][]byte{"original/model.safetensors": original, "original/config.json": []byte("2"), "config.json": []byte("1")}, "", "unembedding.weight", checkpoint.Original, "2"},
		{"hugging face beside original", map[string][]byte{"original/model.safetensors": original, "model.safetensors": hf, "config.json": []byte("1")}, "", "lm_head.weight", checkpoint.HuggingFace, "1"},
		{"gguf in a folder", map[string][]byte{"m.gguf": gguf, "README.md": nil}, "", "output.weight", checkpoint.GGUF, ""},
		{"gguf under another name", map[string][]byte{"sha256-0": gguf, "config.json": []byte("1")}, "sha256-0", "output.weight", checkpoint.GGUF, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(folder(t, tt.files), tt.open)
			c, err := checkpoint.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := c.Tensor(tt.tensor); !ok || c.Layout() != tt.layout || string(c.Config()) != tt.config || c.Name() != path {
				t.Errorf("got tensors %q, layout %v, config %q, name %q", c.Names(), c.Layout(), c.Config(), c.Name())
			}
			for range 2 { // Close is idempotent
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestOpenSharded(t *testing.T) {
	t.Parallel()
	a := []*checkpoint.Tensor{tensor("a", checkpoint.F32, 3), tensor("both", checkpoint.U8, 1)}
	b := []*checkpoint.Tensor{tensor("b", checkpoint.BF16, 5), tensor("both", checkpoint.U8, 2)}
	files := map[string][]byte{
		// Numbered as gpt-oss-20b's shards are, which no scheme explains: only the index counts.
		"model-00000-of-00002.safetensors": checkpointtest.Safetensors(a),
		"model-00002-of-00002.safetensors": checkpointtest.Safetensors(b),
		"unrelated.safetensors":            []byte("damaged"),
		"model.safetensors.index.json": checkpointtest.Index(map[string][]*checkpoint.Tensor{
			"model-00000-of-00002.safetensors": a[:1], "model-00002-of-00002.safetensors": b,
		}),
		"tokenizer.json": []byte("{}"),
	}
	c, err := checkpoint.Open(folder(t, files))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, file := range map[string]string{"a": "model-00000-of-00002.safetensors", "b": "model-00002-of-00002.safetensors", "both": "model-00002-of-00002.safetensors"} {
		if x, ok := c.Tensor(name); !ok || x.File != file {
			t.Errorf("tensor %s: got %+v, want it from %s", name, x, file)
		}
	}
	if x, _ := c.Tensor("both"); x != nil && len(x.Data) != 2 {
		t.Errorf("tensor both was taken from the shard that the index does not name")
	}
	if c.Bytes() != 12+10+2 {
		t.Errorf("%d bytes, want 24", c.Bytes())
	}
	if data, ok, err := c.TokenizerJSON(); !ok || err != nil || string(data) != "{}" {
		t.Errorf("tokenizer.json: %q, %v, %v", data, ok, err)
	}
}

func TestOpenSeveralFilesWithoutIndex(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{"model--00001-of-00002.safetensors": checkpointtest.Safetensors(one("a")), "model--00002-of-00002.safetensors": checkpointtest.Safetensors(one("b"))}
	c, err := checkpoint.Open(folder(t, files))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Names(); len(got) != 2 {
		t.Errorf("got tensors %q, want those of both files", got)
	}
	files["copy.safetensors"] = files["model--00001-of-00002.safetensors"]
	_, err = checkpoint.Open(folder(t, files))
	refused(t, err, "tensor a is also in copy.safetensors, want each tensor once")
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	good := checkpointtest.Safetensors(one("a"))
	index := func(weights string) []byte {
		return []byte(`{"metadata":{"total_size":8},"weight_map":` + weights + `}`)
	}
	for _, tt := range []struct {
		name  string
		files map[string][]byte
		open  string
		want  []string
	}{
		{"nothing there", nil, "absent", []string{"absent: "}},
		{"empty folder", map[string][]byte{"README.md": nil}, "", []string{"no model in this folder: want config.json with *.safetensors"}},
		{"several gguf", map[string][]byte{"a.gguf": good, "b.gguf": good}, "", []string{"2 GGUF files (a.gguf, b.gguf), name one"}},
		{"empty file", map[string][]byte{"model.safetensors": nil}, "", []string{"model.safetensors: the file is empty"}},
		{"truncated shard", map[string][]byte{"model.safetensors": good[:len(good)-1]}, "", []string{"model.safetensors: tensor a: truncated"}},
		{"a folder named as a file", map[string][]byte{"model.safetensors/x": nil}, "", []string{"model.safetensors: not a regular file"}},
		{"config a folder", map[string][]byte{"model.safetensors": good, "config.json/x": nil}, "", []string{"config.json: not a regular file"}},
		{"index no JSON", map[string][]byte{"model.safetensors.index.json": []byte("x")}, "", []string{"model.safetensors.index.json: want a JSON object"}},
		{"index without a map", map[string][]byte{"model.safetensors.index.json": []byte(`{"metadata":{}}`)}, "", []string{"model.safetensors.index.json: no weight_map"}},
		{"index map no object", map[string][]byte{"model.safetensors.index.json": index(`["a"]`)}, "", []string{"index.json: want a JSON object"}},
		{"index with a number", map[string][]byte{"model.safetensors.index.json": index(`{"a":1}`)}, "", []string{`weight_map: tensor "a": `}},
		{"index with a name twice", map[string][]byte{"model.safetensors.index.json": index(`{"a":"x","a":"y"}`)}, "", []string{`"a" occurs twice`}},
		{"shard missing", map[string][]byte{"model.safetensors.index.json": index(`{"a":"model-2.safetensors"}`)}, "",
			[]string{"model.safetensors.index.json: shard model-2.safetensors: ", "must lie beside it"}},
		{"shard above the folder", map[string][]byte{"model.safetensors.index.json": index(`{"a":"../x.safetensors"}`)}, "",
			[]string{`weight_map: tensor "a" is in "../x.safetensors", want the name of a file in the same folder`}},
		{"shard by absolute path", map[string][]byte{"model.safetensors.index.json": index(`{"a":"/etc/passwd"}`)}, "", []string{`is in "/etc/passwd", want the name of a file`}},
		{"shard above, for Windows", map[string][]byte{"model.safetensors.index.json": index(`{"a":"..\\x"}`)}, "", []string{`is in "..\\x", want the name of a file`}},
		{"shard is the folder", map[string][]byte{"model.safetensors.index.json": index(`{"a":"."}`)}, "", []string{`is in ".", want the name of a file`}},
		{"tensor not in its shard", map[string][]byte{"model.safetensors.index.json": index(`{"a":"m.safetensors","b":"m.safetensors"}`), "m.safetensors": good}, "",
			[]string{"m.safetensors: tensor b is not in it, though model.safetensors.index.json says so"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(folder(t, tt.files), tt.open)
			_, err := checkpoint.Open(path)
			refused(t, err, append(tt.want, "open "+path+": ")...)
		})
	}
}

// A mapping is of the file and not of a copy: what is in the tensors is what is in the file, to the last byte.
func TestOpenMapsWholeFile(t *testing.T) {
	t.Parallel()
	w := tensor("x", checkpoint.U8, 3<<20+17)
	c, err := checkpoint.Open(folder(t, map[string][]byte{"m.safetensors": checkpointtest.Safetensors([]*checkpoint.Tensor{w})}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sameTensors(t, c, []*checkpoint.Tensor{w}, "m.safetensors")
}

func TestNamesOfTypes(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(checkpoint.BF16, checkpoint.MXFP4, checkpoint.DType(0), checkpoint.HuggingFace, checkpoint.Layout(0)); got != "BF16 MXFP4 DType(0) Hugging Face safetensors Layout(0)" {
		t.Errorf("got %s", got)
	}
}

// A shard of gpt-oss-120b has up to a hundred tensors, its whole index 687; this has 10,000 in eight files.
func BenchmarkOpenManyTensors(b *testing.B) {
	shards, files := map[string][]*checkpoint.Tensor{}, map[string][]byte{}
	for s := range 8 {
		name := fmt.Sprintf("model-%05d-of-00008.safetensors", s+1)
		for i := range 1250 {
			shards[name] = append(shards[name], tensor(fmt.Sprintf("model.layers.%d.self_attn.q_proj.%d", i, s), checkpoint.BF16, 4, 4))
		}
		files[name] = checkpointtest.Safetensors(shards[name])
	}
	files["model.safetensors.index.json"] = checkpointtest.Index(shards)
	config, err := json.Marshal(map[string]int{"num_hidden_layers": 1250})
	if err != nil {
		b.Fatal(err)
	}
	files["config.json"] = config
	dir := folder(b, files)
	for b.Loop() {
		c, err := checkpoint.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/10_000, "µs/tensor")
}
