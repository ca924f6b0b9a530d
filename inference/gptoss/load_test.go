package gptoss_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"chorale/inference/checkpoint"
	"chorale/inference/checkpoint/checkpointtest"
	"chorale/inference/gptoss"
)

// load writes the file and opens it as a user would; the checkpoint stays open during the test.
func load(t *testing.T, data, config []byte) (*gptoss.Model, *checkpoint.Checkpoint, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "model")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if config != nil {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := gptoss.Load(c)
	return m, c, err
}

// One model, written in every form that users have, is the same numbers to the last bit after loading.
func TestLoadEveryLayoutAlike(t *testing.T) {
	t.Parallel()
	const seed = 20250805
	m := newTiny(seed)
	want := m.flat()
	const f32, f16, bf16, q8, mxfp4, old = checkpoint.F32, checkpoint.F16, checkpoint.BF16, checkpoint.Q8_0, checkpoint.MXFP4, checkpoint.MXFP4Interleaved
	for _, tt := range []struct {
		name         string
		safetensors  []*checkpoint.Tensor
		config       string
		gguf         []*checkpoint.Tensor
		arch         string
		dense, dtype checkpoint.DType // of Q and of Down
		layout       checkpoint.Layout
	}{
		{name: "hugging face, MXFP4", safetensors: m.hf(bf16, true), config: tinyConfig, dense: bf16, dtype: checkpoint.MXFP4Planes, layout: checkpoint.HuggingFace},
		{name: "hugging face, BF16 experts", safetensors: m.hf(bf16, false), config: tinyConfig, dense: bf16, dtype: bf16, layout: checkpoint.HuggingFace},
		{name: "hugging face, F32", safetensors: m.hf(f32, false), config: tinyConfig, dense: f32, dtype: f32, layout: checkpoint.HuggingFace},
		{name: "original, MXFP4", safetensors: m.original(bf16, true), config: tinyOriginal, dense: bf16, dtype: checkpoint.MXFP4Planes, layout: checkpoint.Original},
		{name: "original, BF16 experts", safetensors: m.original(bf16, false), config: tinyOriginal, dense: bf16, dtype: bf16, layout: checkpoint.Original},
		{name: "llama.cpp, Q8_0 dense", gguf: m.gguf(q8, ggufForm{experts: mxfp4}), arch: "gpt-oss", dense: q8, dtype: mxfp4, layout: checkpoint.GGUF},
		{name: "llama.cpp, BF16 dense", gguf: m.gguf(bf16, ggufForm{experts: mxfp4}), arch: "gpt-oss", dense: bf16, dtype: mxfp4, layout: checkpoint.GGUF},
		{name: "llama.cpp, F16 dense", gguf: m.gguf(f16, ggufForm{experts: mxfp4}), arch: "gpt-oss", dense: f16, dtype: mxfp4, layout: checkpoint.GGUF},
		{name: "llama.cpp, fused q/k/v in Q8_0", gguf: m.gguf(q8, ggufForm{experts: mxfp4, fused: true}), arch: "gpt-oss", dense: q8, dtype: mxfp4, layout: checkpoint.GGUF},
		{name: "llama.cpp, nothing quantised", gguf: m.gguf(f32, ggufForm{experts: bf16}), arch: "gpt-oss", dense: f32, dtype: bf16, layout: checkpoint.GGUF},
		{name: "ollama, first converter", gguf: m.gguf(bf16, ggufForm{ollamaNames: true, fused: true, experts: old}), arch: "gptoss", dense: bf16, dtype: old, layout: checkpoint.OllamaGGUF},
		{name: "ollama, library files", gguf: m.gguf(bf16, ggufForm{ollamaNames: true, experts: mxfp4}), arch: "gptoss", dense: bf16, dtype: mxfp4, layout: checkpoint.OllamaGGUF},
		{name: "ollama, type 4 and split", gguf: m.gguf(bf16, ggufForm{ollamaNames: true, experts: old}), arch: "gptoss", dense: bf16, dtype: old, layout: checkpoint.OllamaGGUF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var data, config []byte
			if tt.gguf != nil {
				data = checkpointtest.GGUF(tinyMeta(tt.arch), tt.gguf)
			} else {
				data, config = checkpointtest.Safetensors(tt.safetensors), []byte(tt.config)
			}
			got, c, err := load(t, data, config)
			if err != nil {
				t.Fatal(err)
			}
			l := got.Layers[1]
			if c.Layout() != tt.layout || l.Q.DType != tt.dense || l.Down.DType != tt.dtype {
				t.Errorf("layout %v, dense %v, experts %v, want %v, %v, %v", c.Layout(), l.Q.DType, l.Down.DType, tt.layout, tt.dense, tt.dtype)
			}
			if !got.Layers[0].Sliding || got.Layers[1].Sliding || l.GateUp.Interleaved != (l.GateUp.N > 0) || l.Down.Interleaved || l.Gate.Interleaved {
				t.Errorf("sliding %v %v, interleaved %v %v %v", got.Layers[0].Sliding, l.Sliding, l.GateUp.Interleaved, l.Down.Interleaved, l.Gate.Interleaved)
			}
			for name, v := range flatten(got) {
				if !slices.Equal(v, want[name]) {
					t.Errorf("seed %d: %s differs", seed, name)
				}
			}
			sameConfig(t, got.Config, tt.layout)
		})
	}
}

func sameConfig(t *testing.T, got gptoss.Config, layout checkpoint.Layout) {
	t.Helper()
	want, err := gptoss.ParseConfig([]byte(tinyConfig))
	if err != nil {
		t.Fatal(err)
	}
	switch layout { // what the formats do not or differently say
	case checkpoint.Original:
		want.EOS, want.Eps = nil, 1e-5
	case checkpoint.OllamaGGUF:
		want.EOS = []int32{3, 7, 9}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("config\ngot  %+v\nwant %+v", got, want)
	}
}

// Views, not copies: every byte of a large tensor that the Model holds lies in the mapped file.
func TestLoadKeepsBlocksWhereTheyLie(t *testing.T) {
	t.Parallel()
	m, c, err := load(t, checkpointtest.Safetensors(newTiny(1).hf(checkpoint.BF16, true)), []byte(tinyConfig))
	if err != nil {
		t.Fatal(err)
	}
	l := m.Layers[1]
	for name, got := range map[string][]byte{
		"model.layers.1.mlp.experts.gate_up_proj_blocks": l.GateUp.Blocks, "model.layers.1.mlp.experts.gate_up_proj_scales": l.GateUp.Scales,
		"model.layers.1.mlp.experts.down_proj_blocks": l.Down.Blocks, "model.layers.1.self_attn.o_proj.weight": l.O.Data, "lm_head.weight": m.Head.Data,
	} {
		x, _ := c.Tensor(name)
		if &got[0] != &x.Data[0] || len(got) != len(x.Data) {
			t.Errorf("%s was copied", name)
		}
	}
}

func TestLoadTiedEmbeddings(t *testing.T) {
	t.Parallel()
	tensors := without(newTiny(1).hf(checkpoint.BF16, true), "lm_head.weight")
	m, _, err := load(t, checkpointtest.Safetensors(tensors), edit(t, tinyConfig, map[string]any{"tie_word_embeddings": true}))
	if err != nil {
		t.Fatal(err)
	}
	if &m.Head.Data[0] != &m.Embed.Data[0] {
		t.Error("the head is not the embedding")
	}
	_, _, err = load(t, checkpointtest.Safetensors(tensors), []byte(tinyConfig))
	if err == nil || !strings.Contains(err.Error(), "tensor lm_head.weight is missing") {
		t.Errorf("not tied: got error %v", err)
	}
}

func TestLoadRefusesSafetensors(t *testing.T) {
	t.Parallel()
	const u8, bf16 = checkpoint.U8, checkpoint.BF16
	m := newTiny(1)
	hf := m.hf(bf16, true)
	replace := func(tensors []*checkpoint.Tensor, by *checkpoint.Tensor) []*checkpoint.Tensor {
		return append(without(tensors, by.Name), by)
	}
	l := m.layers[1]
	const experts = "model.layers.1.mlp.experts."
	for _, tt := range []struct {
		name    string
		tensors []*checkpoint.Tensor
		config  map[string]any
		want    string
	}{
		{"dense tensor missing", without(hf, "layers.1.self_attn.v_proj.weight"), nil, "tensor model.layers.1.self_attn.v_proj.weight is missing"},
		{"bias missing", without(hf, "layers.0.mlp.router.bias"), nil, "tensor model.layers.0.mlp.router.bias is missing"},
		{"sinks missing", without(hf, "layers.0.self_attn.sinks"), nil, "tensor model.layers.0.self_attn.sinks is missing"},
		{"blocks missing", without(hf, "layers.1.mlp.experts.down_proj_blocks"), nil,
			"tensor " + experts + "down_proj_blocks is missing, and so is " + experts + "down_proj of a model that is not quantised"},
		{"scales missing", without(hf, "layers.1.mlp.experts.down_proj_scales"), nil, "tensor " + experts + "down_proj_scales is missing"},
		{"whole layer missing", without(without(hf, "layers.1.input_layernorm.weight"), "x"), nil, "tensor model.layers.1.input_layernorm.weight is missing"},
		{"rows too few", replace(hf, encode("model.layers.1.self_attn.q_proj.weight", bf16, l.q[:80*hidden], 80, hidden)), nil,
			"model: tensor model.layers.1.self_attn.q_proj.weight: shape [80 64], want [96 64]"},
		{"transposed", replace(hf, encode("model.layers.1.self_attn.o_proj.weight", bf16, l.o, queries, hidden)), nil,
			"model: tensor model.layers.1.self_attn.o_proj.weight: shape [96 64], want [64 96]"},
		{"more dimensions", replace(hf, encode("model.norm.weight", bf16, m.norm, 1, hidden)), nil, "tensor model.norm.weight: shape [1 64], want [64]"},
		{"bias of the wrong length", replace(hf, encode(experts+"down_proj_bias", bf16, l.down.bias[:nExperts], nExperts, 1)), nil,
			"tensor " + experts + "down_proj_bias: shape [3 1], want [3 64]"},
		{"blocks of the wrong shape", replace(hf, raw(experts+"down_proj_blocks", u8, l.down.codes, nExperts, hidden, 10, 8)), nil,
			"tensor " + experts + "down_proj_blocks: shape [3 64 10 8], want [3 64 5 16]"},
		{"scales of the wrong shape", replace(hf, raw(experts+"down_proj_scales", u8, l.down.scales, nExperts, hidden*5)), nil,
			"tensor " + experts + "down_proj_scales: shape [3 320], want [3 64 5]"},
		{"weight of the wrong type", replace(hf, raw("model.layers.1.self_attn.k_proj.weight", checkpoint.I8, make([]byte, keys*hidden), keys, hidden)), nil,
			"model: tensor model.layers.1.self_attn.k_proj.weight: dtype I8, want BF16 or F16 or F32 or Q8_0"},
		{"norm of the wrong type", replace(hf, raw("model.norm.weight", u8, make([]byte, hidden), hidden)), nil, "tensor model.norm.weight: dtype U8, want BF16 or F16 or F32"},
		{"blocks of the wrong type", replace(hf, raw(experts+"down_proj_blocks", checkpoint.I8, l.down.codes, nExperts, hidden, 5, 16)), nil,
			"tensor " + experts + "down_proj_blocks: dtype I8, want U8"},
		{"experts twice", append(slices.Clone(hf), encode(experts+"down_proj", bf16, l.down.dequantised(), nExperts, inter, hidden)), nil,
			"tensors " + experts + "down_proj_blocks and " + experts + "down_proj hold the same weights"},
		{"a layer more than configured", hf, map[string]any{"num_hidden_layers": 1}, "tensor model.layers.1.input_layernorm.weight belongs to layer 1, but the configuration has 1 layers"},
		{"a layer fewer than configured", hf, map[string]any{"num_hidden_layers": 3}, "tensor model.layers.2."},
		{"other vocabulary", hf, map[string]any{"vocab_size": 41}, "tensor model.embed_tokens.weight: shape [40 64], want [41 64]"},
		{"rows of MXFP4 that are no whole blocks", hf, map[string]any{"intermediate_size": 161},
			"tensor model.layers.0.mlp.experts.down_proj_blocks: the configuration makes rows of 161 elements, want a multiple of MXFP4's 32"},
		{"unsupported architecture", hf, map[string]any{"model_type": "mixtral"}, `config.json: architecture ["GptOssForCausalLM"] (model_type "mixtral") is not supported`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, checkpointtest.Safetensors(tt.tensors), edit(t, tinyConfig, tt.config))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "model") {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	_, c, err := load(t, checkpointtest.Safetensors(hf), nil)
	if want := c.Name() + ": config.json is missing"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("without config.json: got error %v, want %q", err, want)
	}
}

func TestLoadRefusesGGUF(t *testing.T) {
	t.Parallel()
	const f32, bf16 = checkpoint.F32, checkpoint.BF16
	m := newTiny(1)
	good := m.gguf(bf16, ggufForm{experts: checkpoint.MXFP4})
	add := func(t ...*checkpoint.Tensor) []*checkpoint.Tensor { return append(slices.Clone(good), t...) }
	l := m.layers[1]
	for _, tt := range []struct {
		name    string
		tensors []*checkpoint.Tensor
		key     string // of metadata below "gpt-oss." to replace, or to delete if value is nil
		value   any
		want    string
	}{
		{"other architecture", good, "general.architecture", "llama", `general.architecture "llama" is not supported, want gpt-oss`},
		{"no architecture", good, "general.architecture", nil, "general.architecture <nil> is not supported"},
		{"size missing", good, "expert_count", nil, "metadata gpt-oss.expert_count is missing"},
		{"both widths of an expert missing", good, "feed_forward_length", nil, "metadata gpt-oss.feed_forward_length is missing"},
		{"size a text", good, "block_count", "2", `metadata gpt-oss.block_count is "2", want a size`},
		{"size negative", good, "block_count", int32(-2), "metadata gpt-oss.block_count is -2, want a size"},
		{"size absurd", good, "block_count", uint64(1 << 63), "metadata gpt-oss.block_count is 9223372036854775808, want a size"},
		{"too many layers", good, "block_count", uint32(1025), "block_count is 1025, want 1 to 1024"},
		{"zero", good, "attention.head_count", uint32(0), "num_attention_heads is 0, want 1 to"},
		{"rope base missing", good, "rope.freq_base", nil, "metadata gpt-oss.rope.freq_base is missing"},
		{"rope base a text", good, "rope.freq_base", "x", `metadata gpt-oss.rope.freq_base is "x", want a number`},
		{"rope scaling of another kind", good, "rope.scaling.type", "linear", `metadata gpt-oss.rope.scaling.type "linear" is not supported, want yarn`},
		{"keys and values of different width", good, "attention.value_length", uint32(32), "metadata gpt-oss.attention.value_length is 32, want the 16 of key_length"},
		{"window pattern zero", good, "attention.sliding_window_pattern", uint32(0), "metadata gpt-oss.attention.sliding_window_pattern is 0, want a positive number or a flag for each of 2 layers"},
		{"window pattern of another length", good, "attention.sliding_window_pattern", []bool{true}, "sliding_window_pattern is [true], want a positive number or a flag"},
		{"window pattern a text", good, "attention.sliding_window_pattern", "x", `sliding_window_pattern is "x", want`},
		{"end token no number", good, "tokenizer.ggml.eos_token_id", "x", `metadata tokenizer.ggml.eos_token_id is "x", want a token id`},
		{"end token outside", good, "tokenizer.ggml.eos_token_id", uint32(40), "eos_token_id 40 is outside vocab_size 40"},
		{"embedding missing", without(good, "token_embd.weight"), "", nil, "tensor token_embd.weight is missing"},
		{"one of two names missing", without(good, "blk.1.attn_sinks.weight"), "", nil, "tensor blk.1.attn_sinks.weight or blk.1.attn_sinks is missing"},
		{"one of two names missing, with a suffix", without(good, "blk.1.attn_output.weight"), "", nil, "tensor blk.1.attn_output.weight or blk.1.attn_out.weight is missing"},
		{"both names", add(encode("blk.1.attn_sinks", f32, l.sinks, heads)), "", nil, "tensors blk.1.attn_sinks.weight and blk.1.attn_sinks hold the same weights, want one"},
		{"fused and split q/k/v", add(encode("blk.1.attn_qkv.weight", bf16, slices.Concat(l.q, l.k, l.v), queries+2*keys, hidden)), "", nil,
			"tensors blk.1.attn_qkv.weight and blk.1.attn_q.weight hold the same weights"},
		{"fused and split gate and up", add(encode("blk.1.ffn_gate_up_exps.weight", bf16, l.gateUp.dequantised(), nExperts, 2*inter, hidden)), "", nil,
			"tensors blk.1.ffn_gate_up_exps.weight and blk.1.ffn_gate_exps.weight hold the same weights"},
		{"up without gate", without(good, "blk.1.ffn_gate_exps.weight"), "", nil, "tensor blk.1.ffn_gate_exps.weight is missing"},
		{"experts of another shape", add(), "expert_feed_forward_length", uint32(128), "model: tensor blk.0.ffn_down_exps.weight: shape [3 64 160], want [3 64 128]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			key := tt.key
			if !strings.HasPrefix(key, "general.") && !strings.HasPrefix(key, "tokenizer.") {
				key = "gpt-oss." + key
			}
			meta := slices.DeleteFunc(tinyMeta("gpt-oss"), func(p checkpointtest.Pair) bool {
				// Without this the first of two keys for the width of an expert would hide the second.
				return p.Key == key || tt.key == "feed_forward_length" && p.Key == "gpt-oss.expert_feed_forward_length"
			})
			if tt.value != nil {
				meta = append(meta, checkpointtest.Pair{Key: key, Value: tt.value})
			}
			_, _, err := load(t, checkpointtest.GGUF(meta, tt.tensors), nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "model") {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// What GGUF files leave open or spell differently.
func TestLoadGGUFMetadata(t *testing.T) {
	t.Parallel()
	good := newTiny(1).gguf(checkpoint.BF16, ggufForm{experts: checkpoint.MXFP4})
	for _, tt := range []struct {
		name  string
		key   string
		value any
		check func(gptoss.Config) bool
	}{
		{"period 2", "attention.sliding_window_pattern", uint32(2), func(c gptoss.Config) bool { return slices.Equal(c.Sliding, []bool{true, false}) }},
		{"period 3", "attention.sliding_window_pattern", uint32(3), func(c gptoss.Config) bool { return slices.Equal(c.Sliding, []bool{true, true}) }},
		{"period 1 slides nowhere", "attention.sliding_window_pattern", uint32(1), func(c gptoss.Config) bool { return slices.Equal(c.Sliding, []bool{false, false}) }},
		{"flags", "attention.sliding_window_pattern", []bool{false, true}, func(c gptoss.Config) bool { return slices.Equal(c.Sliding, []bool{false, true}) }},
		{"flags as numbers", "attention.sliding_window_pattern", []int32{0, 1}, func(c gptoss.Config) bool { return slices.Equal(c.Sliding, []bool{false, true}) }},
		{"original context written as 0", "rope.scaling.original_context_length", uint32(0), func(c gptoss.Config) bool { return c.RopeOriginalContext == 4096 }},
		{"original context absent", "rope.scaling.original_context_length", nil, func(c gptoss.Config) bool { return c.RopeOriginalContext == 4096 }},
		{"betas given", "rope.scaling.yarn_beta_fast", float32(16), func(c gptoss.Config) bool { return c.BetaFast == 16 && c.BetaSlow == 1 }},
		{"base as an integer", "rope.freq_base", uint32(10000), func(c gptoss.Config) bool { return c.RopeTheta == 10000 }},
		{"constants of the architecture", "attention.layer_norm_rms_epsilon", nil, func(c gptoss.Config) bool {
			return c.Eps == 1e-5 && c.SwigluLimit == 7 && c.SwigluAlpha == 1.702 && !c.RopeTruncate
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			meta := slices.DeleteFunc(tinyMeta("gpt-oss"), func(p checkpointtest.Pair) bool { return p.Key == "gpt-oss."+tt.key })
			if tt.value != nil {
				meta = append(meta, checkpointtest.Pair{Key: "gpt-oss." + tt.key, Value: tt.value})
			}
			m, _, err := load(t, checkpointtest.GGUF(meta, good), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.check(m.Config) {
				t.Errorf("got %+v", m.Config)
			}
			for i, l := range m.Layers {
				if l.Sliding != m.Config.Sliding[i] {
					t.Errorf("layer %d slides: %v, want %v", i, l.Sliding, m.Config.Sliding[i])
				}
			}
		})
	}
}

// Loading reads headers, norms, biases and sinks; the weights' pages are not touched.
func BenchmarkLoad(b *testing.B) {
	m := newTiny(1)
	c, err := checkpoint.FromBytes("m", checkpointtest.Safetensors(m.hf(checkpoint.BF16, true)), []byte(tinyConfig))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := gptoss.Load(c); err != nil {
			b.Fatal(err)
		}
	}
}
