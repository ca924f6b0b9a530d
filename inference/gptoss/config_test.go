package gptoss_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"chorale/inference/gptoss"
)

// The published 20b configuration, in Hugging Face's form.
const hf20b = `{
	"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "attention_bias": true, "attention_dropout": 0.0,
	"eos_token_id": 200002, "experts_per_token": 4, "head_dim": 64, "hidden_act": "silu", "hidden_size": 2880,
	"initial_context_length": 4096, "initializer_range": 0.02, "intermediate_size": 2880,
	"layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
	"max_position_embeddings": 131072, "num_attention_heads": 64, "num_experts_per_tok": 4, "num_hidden_layers": 3,
	"num_key_value_heads": 8, "num_local_experts": 32, "output_router_logits": false, "pad_token_id": 199999,
	"quantization_config": {"modules_to_not_convert": ["lm_head"], "quant_method": "mxfp4"},
	"rms_norm_eps": 1e-05,
	"rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096,
		"rope_type": "yarn", "truncate": false},
	"rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": 128, "swiglu_limit": 7.0,
	"tie_word_embeddings": false, "use_cache": true, "vocab_size": 201088}`

// The same model in the form of the original/ folder, which has neither eps, alpha nor layer types.
const original20b = `{"num_hidden_layers": 3, "num_experts": 32, "experts_per_token": 4, "vocab_size": 201088,
	"hidden_size": 2880, "intermediate_size": 2880, "swiglu_limit": 7.0, "head_dim": 64, "num_attention_heads": 64,
	"num_key_value_heads": 8, "sliding_window": 128, "initial_context_length": 4096, "rope_theta": 150000,
	"rope_scaling_factor": 32.0, "rope_ntk_alpha": 1, "rope_ntk_beta": 32}`

func config20b() gptoss.Config {
	return gptoss.Config{
		Layers: 3, Hidden: 2880, Intermediate: 2880, Heads: 64, KVHeads: 8, HeadDim: 64, Experts: 32, ExpertsPerToken: 4,
		Vocab: 201088, Window: 128, MaxContext: 131072, Sliding: []bool{true, false, true},
		RopeTheta: 150000, RopeFactor: 32, BetaFast: 32, BetaSlow: 1, RopeOriginalContext: 4096,
		Eps: 1e-5, SwigluLimit: 7, SwigluAlpha: 1.702, EOS: []int32{200002},
	}
}

// edit returns the JSON object doc with top-level keys replaced; a nil value deletes the key.
func edit(t *testing.T, doc string, changes map[string]any) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		t.Fatal(err)
	}
	for k, v := range changes {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseConfig(t *testing.T) {
	t.Parallel()
	yarn := map[string]any{"rope_type": "yarn", "factor": 32, "beta_fast": 32, "beta_slow": 1,
		"original_max_position_embeddings": 4096, "truncate": false, "rope_theta": 150000}
	with := func(m map[string]any, k string, v any) map[string]any {
		out := map[string]any{}
		for k, v := range m {
			out[k] = v
		}
		if out[k] = v; v == nil {
			delete(out, k)
		}
		return out
	}
	for _, tt := range []struct {
		name    string
		doc     string
		changes map[string]any
		want    func(*gptoss.Config)
	}{
		{"as published", hf20b, nil, func(*gptoss.Config) {}},
		{"original/ names no end token", original20b, nil, func(c *gptoss.Config) { c.EOS = nil }},
		{"rope_parameters of newer transformers", hf20b,
			map[string]any{"rope_scaling": nil, "rope_theta": nil, "rope_parameters": yarn}, func(*gptoss.Config) {}},
		{"older key type for rope_type", hf20b,
			map[string]any{"rope_scaling": with(with(yarn, "rope_type", nil), "type", "yarn")}, func(*gptoss.Config) {}},
		{"truncate absent means exact", hf20b, map[string]any{"rope_scaling": with(yarn, "truncate", nil)}, func(*gptoss.Config) {}},
		{"truncate true", hf20b, map[string]any{"rope_scaling": with(yarn, "truncate", true)},
			func(c *gptoss.Config) { c.RopeTruncate = true }},
		{"attention_factor that follows from factor", hf20b,
			map[string]any{"rope_scaling": with(yarn, "attention_factor", 1.3465735902799727)}, func(*gptoss.Config) {}},
		{"plain rope", hf20b, map[string]any{"rope_scaling": map[string]any{"rope_type": "default"}},
			func(c *gptoss.Config) { c.RopeFactor, c.RopeOriginalContext = 1, 131072 }},
		{"layer types absent: even layers slide", hf20b, map[string]any{"layer_types": nil, "num_hidden_layers": 4},
			func(c *gptoss.Config) { c.Layers, c.Sliding = 4, []bool{true, false, true, false} }},
		{"layer types in another order", hf20b,
			map[string]any{"layer_types": []string{"full_attention", "full_attention", "sliding_attention"}},
			func(c *gptoss.Config) { c.Sliding = []bool{false, false, true} }},
		{"no layer slides, no window", hf20b, map[string]any{"num_hidden_layers": 1, "layer_types": []string{"full_attention"}, "sliding_window": nil},
			func(c *gptoss.Config) { c.Layers, c.Sliding, c.Window = 1, []bool{false}, 0 }},
		{"several end tokens", hf20b, map[string]any{"eos_token_id": []int{200002, 199999, 200012}},
			func(c *gptoss.Config) { c.EOS = []int32{200002, 199999, 200012} }},
		{"tied embeddings", hf20b, map[string]any{"tie_word_embeddings": true}, func(c *gptoss.Config) { c.TiedEmbeddings = true }},
		{"not quantised", hf20b, map[string]any{"quantization_config": nil}, func(*gptoss.Config) {}},
		{"alpha and eps given", hf20b, map[string]any{"swiglu_alpha": 1.5, "rms_norm_eps": 1e-6},
			func(c *gptoss.Config) { c.SwigluAlpha, c.Eps = 1.5, 1e-6 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := config20b()
			tt.want(&want)
			got, err := gptoss.ParseConfig(edit(t, tt.doc, tt.changes))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestParseConfigRefuses(t *testing.T) {
	t.Parallel()
	yarn := func(k string, v any) map[string]any {
		return map[string]any{"rope_scaling": map[string]any{"rope_type": "yarn", "factor": 32,
			"original_max_position_embeddings": 4096, k: v}}
	}
	for _, tt := range []struct {
		name    string
		doc     string
		changes map[string]any
		want    string // in the message
	}{
		{"another model type", hf20b, map[string]any{"model_type": "llama", "architectures": []string{"LlamaForCausalLM"}},
			`architecture ["LlamaForCausalLM"] (model_type "llama") is not supported, want GptOssForCausalLM`},
		{"another architecture of the same type", hf20b, map[string]any{"architectures": []string{"GptOssForTokenClassification"}},
			`architecture "GptOssForTokenClassification" is not supported`},
		{"no architecture at all", `{"hidden_size": 8}`, nil, "neither architectures nor model_type"},
		{"another quantisation", hf20b, map[string]any{"quantization_config": map[string]any{"quant_method": "awq"}},
			`quant_method "awq" is not supported, want mxfp4`},
		{"another activation", hf20b, map[string]any{"hidden_act": "gelu"}, `hidden_act "gelu"`},
		{"no attention bias", hf20b, map[string]any{"attention_bias": false}, "attention_bias false"},
		{"size missing", hf20b, map[string]any{"head_dim": nil}, "head_dim is missing"},
		{"size zero", hf20b, map[string]any{"num_local_experts": 0}, "num_local_experts is 0, want 1 to 4096"},
		{"size negative", hf20b, map[string]any{"hidden_size": -2880}, "hidden_size is -2880, want 1 to"},
		{"size absurd", hf20b, map[string]any{"vocab_size": 1 << 40}, "vocab_size is 1099511627776, want 1 to"},
		{"heads times width absurd", hf20b, map[string]any{"num_attention_heads": 1 << 17, "head_dim": 1 << 17}, "head_dim is 131072, want 2 to 1"},
		{"layers absurd", hf20b, map[string]any{"num_hidden_layers": 1 << 40, "layer_types": nil}, "num_hidden_layers is 1099511627776, want 1 to 1024"},
		{"layers zero", hf20b, map[string]any{"num_hidden_layers": 0, "layer_types": []string{}}, "num_hidden_layers is 0, want 1 to 1024"},
		{"size of wrong type", hf20b, map[string]any{"hidden_size": "2880"}, "hidden_size is a JSON string, want int"},
		{"size with fraction", hf20b, map[string]any{"hidden_size": 28.5}, "hidden_size is a JSON number 28.5, want int"},
		{"key heads do not divide", hf20b, map[string]any{"num_key_value_heads": 7}, "num_key_value_heads 7 does not divide num_attention_heads 64"},
		{"odd head", hf20b, map[string]any{"head_dim": 63}, "head_dim 63 is odd"},
		{"more experts per token than experts", hf20b, map[string]any{"num_experts_per_tok": 33}, "num_experts_per_tok is 33, want 1 to 32"},
		{"layer types too few", hf20b, map[string]any{"layer_types": []string{"full_attention"}}, "layer_types has 1 entries, want num_hidden_layers = 3"},
		{"layer type unknown", hf20b, map[string]any{"layer_types": []string{"full_attention", "mamba", "full_attention"}}, `layer_types[1] is "mamba"`},
		{"sliding layers without a window", hf20b, map[string]any{"sliding_window": nil}, "sliding_window is 0, want 1 to"},
		{"no rope scaling", hf20b, map[string]any{"rope_scaling": nil}, "rope_scaling (or rope_parameters, or rope_scaling_factor) is missing"},
		{"no rope base", hf20b, map[string]any{"rope_theta": nil}, "rope_theta is missing"},
		{"rope base one", hf20b, map[string]any{"rope_theta": 1}, "rope_theta is 1, want 1.0001 to"},
		{"another rope type", hf20b, yarn("rope_type", "llama3"), `rope_scaling.rope_type "llama3" is not supported, want yarn or default`},
		{"no rope type", hf20b, map[string]any{"rope_scaling": map[string]any{"factor": 2}}, "rope_scaling.rope_type is missing"},
		{"rope factor below one", hf20b, yarn("factor", 0.5), "rope factor is 0.5, want 1 to"},
		{"another attention factor", hf20b, yarn("attention_factor", 1.0), "rope_scaling.attention_factor 1 is not supported"},
		{"beta order", hf20b, yarn("beta_fast", 0.5), "beta_fast is 0.5, want 1 to"},
		{"end token of wrong type", hf20b, map[string]any{"eos_token_id": "x"}, `eos_token_id is "x", want a token id`},
		{"end token outside", hf20b, map[string]any{"eos_token_id": 201088}, "eos_token_id 201088 is outside vocab_size 201088"},
		{"original/ without its rope factor", original20b, map[string]any{"rope_scaling_factor": nil}, "rope_scaling_factor) is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := gptoss.ParseConfig(edit(t, tt.doc, tt.changes))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "config.json: ") {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	for name, doc := range map[string]string{"no JSON": "{", "an array": "[]", "empty": ""} {
		if _, err := gptoss.ParseConfig([]byte(doc)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
