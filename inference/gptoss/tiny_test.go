package gptoss_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"chorale/inference/checkpoint"
	"chorale/inference/checkpoint/checkpointtest"
	"chorale/inference/gptoss"
)

// tinyConfig has no two sizes alike, so that no two shapes can be confused, and rows of whole blocks.
const tinyConfig = `{"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "num_hidden_layers": 2,
	"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16,
	"num_local_experts": 3, "num_experts_per_tok": 2, "vocab_size": 40, "sliding_window": 5, "swiglu_limit": 7.0,
	"max_position_embeddings": 131072, "rms_norm_eps": 0.00390625, "rope_theta": 150000, "rope_scaling": {"rope_type": "yarn",
	"factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 4096, "truncate": false},
	"tie_word_embeddings": false, "eos_token_id": 7}`

const tinyOriginal = `{"num_hidden_layers": 2, "num_experts": 3, "experts_per_token": 2, "vocab_size": 40, "hidden_size": 64,
	"intermediate_size": 160, "swiglu_limit": 7.0, "head_dim": 16, "num_attention_heads": 6, "num_key_value_heads": 2,
	"sliding_window": 5, "initial_context_length": 4096, "rope_theta": 150000, "rope_scaling_factor": 32.0,
	"rope_ntk_alpha": 1, "rope_ntk_beta": 32}`

const (
	layers, hidden, inter, queries, keys, heads, nExperts, vocab = 2, 64, 160, 96, 32, 6, 3, 40
)

// tiny is a model as numbers, before any layout. Dense values are multiples of 1/64 below 2 in size, which F32, F16, BF16
// and Q8_0 all hold exactly.
type tiny struct {
	embed, norm, head []float32
	layers            []tinyLayer
}

type tinyLayer struct {
	attnNorm, mlpNorm, sinks, router, routerBias []float32
	q, k, v, o, qb, kb, vb, ob                   []float32
	gateUp, down                                 tinyExperts
}

// tinyExperts are MXFP4 codes [n, rows, cols/32, 16] in the order of safetensors with scales [n, rows, cols/32].
type tinyExperts struct {
	rows, cols    int
	codes, scales []byte
	bias          []float32
}

func newTiny(seed uint64) *tiny {
	rng := rand.New(rand.NewPCG(seed, 0))
	values := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(rng.IntN(255)-127) / 64
		}
		return out
	}
	experts := func(rows, cols int) tinyExperts {
		x := tinyExperts{rows: rows, cols: cols, codes: make([]byte, nExperts*rows*cols/2), scales: make([]byte, nExperts*rows*cols/32), bias: values(nExperts * rows)}
		for i := range x.codes {
			x.codes[i] = byte(rng.Uint32())
		}
		for i := range x.scales {
			x.scales[i] = byte(118 + rng.IntN(8))
		}
		return x
	}
	m := &tiny{embed: values(vocab * hidden), norm: values(hidden), head: values(vocab * hidden)}
	for range layers {
		m.layers = append(m.layers, tinyLayer{
			attnNorm: values(hidden), mlpNorm: values(hidden), sinks: values(heads), router: values(nExperts * hidden), routerBias: values(nExperts),
			q: values(queries * hidden), k: values(keys * hidden), v: values(keys * hidden), o: values(hidden * queries),
			qb: values(queries), kb: values(keys), vb: values(keys), ob: values(hidden),
			gateUp: experts(2*inter, hidden), down: experts(hidden, inter),
		})
	}
	return m
}

// dequantised returns the experts' values [n, rows, cols], by the definition of the format.
func (x tinyExperts) dequantised() []float32 {
	e2m1 := [16]float64{0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6}
	out := make([]float32, 2*len(x.codes))
	for i := range out {
		out[i] = float32(math.Ldexp(e2m1[x.codes[i/2]>>(i%2*4)&15], int(x.scales[i/32])-127))
	}
	return out
}

// blocks returns the codes as ggml's blocks of 17 bytes, reordered by the given function.
func (x tinyExperts) blocks(reorder func(dst, src []byte)) []byte {
	var out []byte
	for i, s := range x.scales {
		block := make([]byte, 16)
		reorder(block, x.codes[16*i:16*i+16])
		out = append(append(out, s), block...)
	}
	return out
}

// rowsOf returns every second row of [n, rows, size], beginning with the first or the second.
func rowsOf[T byte | float32](all []T, size, first int) []T {
	var out []T
	for at := first * size; at < len(all); at += 2 * size {
		out = append(out, all[at:at+size]...)
	}
	return out
}

// half returns the gate (0) or up (1) rows of interleaved experts.
func (x tinyExperts) half(first int) tinyExperts {
	return tinyExperts{rows: x.rows / 2, cols: x.cols, codes: rowsOf(x.codes, x.cols/2, first),
		scales: rowsOf(x.scales, x.cols/32, first), bias: rowsOf(x.bias, 1, first)}
}

// encode returns a tensor of values in a dense type.
func encode(name string, d checkpoint.DType, values []float32, shape ...int) *checkpoint.Tensor {
	t := &checkpoint.Tensor{Name: name, DType: d, Shape: shape}
	for i, v := range values {
		switch d {
		case checkpoint.F32:
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
		case checkpoint.F16:
			t.Data = binary.LittleEndian.AppendUint16(t.Data, checkpoint.ToF16(v))
		case checkpoint.BF16:
			t.Data = binary.LittleEndian.AppendUint16(t.Data, checkpoint.ToBF16(v))
		case checkpoint.Q8_0:
			if i%32 == 0 {
				t.Data = binary.LittleEndian.AppendUint16(t.Data, checkpoint.ToF16(1./64))
			}
			t.Data = append(t.Data, byte(int8(v*64)))
		default:
			panic(d)
		}
	}
	return t
}

func raw(name string, d checkpoint.DType, data []byte, shape ...int) *checkpoint.Tensor {
	return &checkpoint.Tensor{Name: name, DType: d, Shape: shape, Data: data}
}

// transposed turns [n, rows, cols] into [n, cols, rows].
func transposed(values []float32, rows, cols int) []float32 {
	out := make([]float32, len(values))
	for i := range values {
		e, r, c := i/(rows*cols), i/cols%rows, i%cols
		out[(e*cols+c)*rows+r] = values[i]
	}
	return out
}

// hf returns the tensors of a Hugging Face checkpoint, with MXFP4 experts or, without, ones of type d.
func (m *tiny) hf(d checkpoint.DType, quantised bool) []*checkpoint.Tensor {
	out := []*checkpoint.Tensor{
		encode("model.embed_tokens.weight", d, m.embed, vocab, hidden),
		encode("model.norm.weight", d, m.norm, hidden),
		encode("lm_head.weight", d, m.head, vocab, hidden),
	}
	for i, l := range m.layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		out = append(out,
			encode(p+"input_layernorm.weight", d, l.attnNorm, hidden),
			encode(p+"self_attn.q_proj.weight", d, l.q, queries, hidden), encode(p+"self_attn.q_proj.bias", d, l.qb, queries),
			encode(p+"self_attn.k_proj.weight", d, l.k, keys, hidden), encode(p+"self_attn.k_proj.bias", d, l.kb, keys),
			encode(p+"self_attn.v_proj.weight", d, l.v, keys, hidden), encode(p+"self_attn.v_proj.bias", d, l.vb, keys),
			encode(p+"self_attn.o_proj.weight", d, l.o, hidden, queries), encode(p+"self_attn.o_proj.bias", d, l.ob, hidden),
			encode(p+"self_attn.sinks", d, l.sinks, heads),
			encode(p+"post_attention_layernorm.weight", d, l.mlpNorm, hidden),
			encode(p+"mlp.router.weight", d, l.router, nExperts, hidden), encode(p+"mlp.router.bias", d, l.routerBias, nExperts))
		for name, x := range map[string]tinyExperts{"gate_up_proj": l.gateUp, "down_proj": l.down} {
			name = p + "mlp.experts." + name
			out = append(out, encode(name+"_bias", d, x.bias, nExperts, x.rows))
			if quantised {
				out = append(out, raw(name+"_blocks", checkpoint.U8, x.codes, nExperts, x.rows, x.cols/32, 16), raw(name+"_scales", checkpoint.U8, x.scales, nExperts, x.rows, x.cols/32))
			} else {
				out = append(out, encode(name, d, transposed(x.dequantised(), x.rows, x.cols), nExperts, x.cols, x.rows))
			}
		}
	}
	return out
}

// original returns the tensors of an original/ checkpoint.
func (m *tiny) original(d checkpoint.DType, quantised bool) []*checkpoint.Tensor {
	out := []*checkpoint.Tensor{
		encode("embedding.weight", d, m.embed, vocab, hidden),
		encode("norm.scale", d, m.norm, hidden),
		encode("unembedding.weight", d, m.head, vocab, hidden),
	}
	for i, l := range m.layers {
		p := fmt.Sprintf("block.%d.", i)
		out = append(out,
			encode(p+"attn.norm.scale", d, l.attnNorm, hidden),
			encode(p+"attn.qkv.weight", d, slices.Concat(l.q, l.k, l.v), queries+2*keys, hidden),
			encode(p+"attn.qkv.bias", d, slices.Concat(l.qb, l.kb, l.vb), queries+2*keys),
			encode(p+"attn.sinks", d, l.sinks, heads),
			encode(p+"attn.out.weight", d, l.o, hidden, queries), encode(p+"attn.out.bias", d, l.ob, hidden),
			encode(p+"mlp.norm.scale", d, l.mlpNorm, hidden),
			encode(p+"mlp.gate.weight", d, l.router, nExperts, hidden), encode(p+"mlp.gate.bias", d, l.routerBias, nExperts))
		for name, x := range map[string]tinyExperts{"mlp1": l.gateUp, "mlp2": l.down} {
			name = p + "mlp." + name
			out = append(out, encode(name+"_bias", d, x.bias, nExperts, x.rows))
			if quantised {
				out = append(out, raw(name+"_weight.blocks", checkpoint.U8, x.codes, nExperts, x.rows, x.cols/32, 16), raw(name+"_weight.scales", checkpoint.U8, x.scales, nExperts, x.rows, x.cols/32))
			} else {
				out = append(out, encode(name+"_weight", d, x.dequantised(), nExperts, x.rows, x.cols))
			}
		}
	}
	return out
}

// gguf returns the tensors of a GGUF file. Dense weights get type d, all else is F32 as converters have it.
func (m *tiny) gguf(d checkpoint.DType, f ggufForm) []*checkpoint.Tensor {
	const f32 = checkpoint.F32
	out := []*checkpoint.Tensor{
		encode("token_embd.weight", d, m.embed, vocab, hidden),
		encode("output_norm.weight", f32, m.norm, hidden),
		encode("output.weight", d, m.head, vocab, hidden),
	}
	for i, l := range m.layers {
		p := fmt.Sprintf("blk.%d.", i)
		attnOut, sinks, mlpNorm := "attn_output", "attn_sinks.weight", "post_attention_norm.weight"
		if f.ollamaNames {
			attnOut, sinks, mlpNorm = "attn_out", "attn_sinks", "ffn_norm.weight"
		}
		out = append(out,
			encode(p+"attn_norm.weight", f32, l.attnNorm, hidden),
			encode(p+sinks, f32, l.sinks, heads),
			encode(p+attnOut+".weight", d, l.o, hidden, queries), encode(p+attnOut+".bias", f32, l.ob, hidden),
			encode(p+mlpNorm, f32, l.mlpNorm, hidden),
			encode(p+"ffn_gate_inp.weight", f32, l.router, nExperts, hidden), encode(p+"ffn_gate_inp.bias", f32, l.routerBias, nExperts))
		if f.fused {
			out = append(out,
				encode(p+"attn_qkv.weight", d, slices.Concat(l.q, l.k, l.v), queries+2*keys, hidden),
				encode(p+"attn_qkv.bias", f32, slices.Concat(l.qb, l.kb, l.vb), queries+2*keys))
		} else {
			out = append(out,
				encode(p+"attn_q.weight", d, l.q, queries, hidden), encode(p+"attn_q.bias", f32, l.qb, queries),
				encode(p+"attn_k.weight", d, l.k, keys, hidden), encode(p+"attn_k.bias", f32, l.kb, keys),
				encode(p+"attn_v.weight", d, l.v, keys, hidden), encode(p+"attn_v.bias", f32, l.vb, keys))
		}
		experts := map[string]tinyExperts{"down": l.down, "gate": l.gateUp.half(0), "up": l.gateUp.half(1)}
		if f.fused {
			experts = map[string]tinyExperts{"down": l.down, "gate_up": l.gateUp}
		}
		for name, x := range experts {
			name = p + "ffn_" + name + "_exps"
			out = append(out, encode(name+".bias", f32, x.bias, nExperts, x.rows))
			switch f.experts {
			case checkpoint.MXFP4:
				out = append(out, raw(name+".weight", f.experts, x.blocks(checkpoint.ToGGMLOrder), nExperts, x.rows, x.cols))
			case checkpoint.MXFP4Interleaved:
				out = append(out, raw(name+".weight", f.experts, x.blocks(func(dst, src []byte) { copy(dst, src) }), nExperts, x.rows, x.cols))
			default:
				out = append(out, encode(name+".weight", f.experts, x.dequantised(), nExperts, x.rows, x.cols))
			}
		}
	}
	return out
}

// ggufForm says in which of the known forms a GGUF file is written.
type ggufForm struct {
	ollamaNames, fused bool
	experts            checkpoint.DType
}

func tinyMeta(arch string) []checkpointtest.Pair {
	meta := []checkpointtest.Pair{{Key: "general.architecture", Value: arch}}
	for _, p := range []checkpointtest.Pair{
		{Key: "block_count", Value: uint32(layers)}, {Key: "embedding_length", Value: uint32(hidden)},
		{Key: "feed_forward_length", Value: uint32(inter)}, {Key: "attention.head_count", Value: uint32(heads)},
		{Key: "attention.head_count_kv", Value: uint32(2)}, {Key: "attention.key_length", Value: uint32(16)},
		{Key: "attention.value_length", Value: uint32(16)}, {Key: "expert_count", Value: uint32(nExperts)},
		{Key: "expert_used_count", Value: uint32(2)}, {Key: "attention.sliding_window", Value: uint32(5)},
		{Key: "context_length", Value: uint32(131072)}, {Key: "rope.freq_base", Value: float32(150000)},
		{Key: "rope.scaling.factor", Value: float32(32)}, {Key: "rope.scaling.original_context_length", Value: uint32(4096)},
		{Key: "attention.layer_norm_rms_epsilon", Value: float32(0.00390625)},
	} {
		meta = append(meta, checkpointtest.Pair{Key: arch + "." + p.Key, Value: p.Value})
	}
	if arch == "gpt-oss" {
		meta = append(meta, checkpointtest.Pair{Key: "gpt-oss.rope.scaling.type", Value: "yarn"}, checkpointtest.Pair{Key: "gpt-oss.expert_feed_forward_length", Value: uint32(inter)},
			checkpointtest.Pair{Key: "tokenizer.ggml.eos_token_id", Value: uint32(7)})
	} else {
		meta = append(meta, checkpointtest.Pair{Key: "tokenizer.ggml.eos_token_id", Value: uint32(3)}, checkpointtest.Pair{Key: "tokenizer.ggml.eos_token_ids", Value: []int32{3, 7, 9}})
	}
	return meta
}

// flat returns every number of the model under a name that no layout uses.
func (m *tiny) flat() map[string][]float32 {
	out := map[string][]float32{"embed": m.embed, "norm": m.norm, "head": m.head}
	for i, l := range m.layers {
		for name, v := range map[string][]float32{
			"attnNorm": l.attnNorm, "mlpNorm": l.mlpNorm, "sinks": l.sinks, "router": l.router, "routerBias": l.routerBias,
			"q": l.q, "k": l.k, "v": l.v, "o": l.o, "qBias": l.qb, "kBias": l.kb, "vBias": l.vb, "oBias": l.ob,
			"gate": l.gateUp.half(0).dequantised(), "gateBias": l.gateUp.half(0).bias,
			"up": l.gateUp.half(1).dequantised(), "upBias": l.gateUp.half(1).bias,
			"down": l.down.dequantised(), "downBias": l.down.bias,
		} {
			out[fmt.Sprintf("%d.%s", i, name)] = v
		}
	}
	return out
}

// flatten returns the same of a loaded model.
func flatten(m *gptoss.Model) map[string][]float32 {
	matrix := func(x gptoss.Matrix) []float32 {
		out := make([]float32, x.Rows*x.Cols)
		for r := range x.Rows {
			x.Row(out[r*x.Cols:(r+1)*x.Cols], r)
		}
		return out
	}
	experts := func(x gptoss.Experts) []float32 {
		out := make([]float32, x.N*x.Rows*x.Cols)
		for i := range x.N * x.Rows {
			x.Row(out[i*x.Cols:(i+1)*x.Cols], i/x.Rows, i%x.Rows)
		}
		return out
	}
	out := map[string][]float32{"embed": matrix(m.Embed), "norm": m.Norm, "head": matrix(m.Head)}
	for i, l := range m.Layers {
		parts := map[string][]float32{
			"attnNorm": l.AttnNorm, "mlpNorm": l.MLPNorm, "sinks": l.Sinks, "router": matrix(l.Router), "routerBias": l.RouterBias,
			"q": matrix(l.Q), "k": matrix(l.K), "v": matrix(l.V), "o": matrix(l.O),
			"qBias": l.QBias, "kBias": l.KBias, "vBias": l.VBias, "oBias": l.OBias,
			"down": experts(l.Down), "downBias": l.Down.Bias,
		}
		if l.GateUp.N > 0 {
			both := experts(l.GateUp)
			parts["gate"], parts["up"] = rowsOf(both, l.GateUp.Cols, 0), rowsOf(both, l.GateUp.Cols, 1)
			parts["gateBias"], parts["upBias"] = rowsOf(l.GateUp.Bias, 1, 0), rowsOf(l.GateUp.Bias, 1, 1)
		} else {
			parts["gate"], parts["up"] = experts(l.Gate), experts(l.Up)
			parts["gateBias"], parts["upBias"] = l.Gate.Bias, l.Up.Bias
		}
		for name, v := range parts {
			out[fmt.Sprintf("%d.%s", i, name)] = v
		}
	}
	return out
}

// without returns the tensors but those whose names end so.
func without(tensors []*checkpoint.Tensor, suffix string) []*checkpoint.Tensor {
	return slices.DeleteFunc(slices.Clone(tensors), func(t *checkpoint.Tensor) bool { return strings.HasSuffix(t.Name, suffix) })
}
