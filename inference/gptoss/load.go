package gptoss

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"chorale/inference/checkpoint"
)

// Load finds the weights of a gpt-oss model in a checkpoint of any layout and checks every type and shape against the
// configuration. Nothing is copied but norms, biases and sinks; the checkpoint must stay open while the Model is used.
// Errors name the checkpoint or its file, and the tensor or field.
func Load(c *checkpoint.Checkpoint) (*Model, error) {
	l := &loader{c: c}
	cfg, err := l.config()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name(), err)
	}
	n, err := layoutNames(c.Layout())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name(), err)
	}
	m := &Model{
		Config: cfg,
		Embed:  l.matrix(n.embed, "", cfg.Vocab, cfg.Hidden),
		Layers: make([]Layer, cfg.Layers),
		Norm:   l.vector(n.norm, "", cfg.Hidden),
	}
	if m.Head = m.Embed; !cfg.TiedEmbeddings {
		m.Head = l.matrix(n.head, "", cfg.Vocab, cfg.Hidden)
	}
	for i := range m.Layers {
		l.prefix = fmt.Sprintf(n.layer, i)
		m.Layers[i] = l.layer(&cfg, n)
		m.Layers[i].Sliding = cfg.Sliding[i]
	}
	if l.prefix = fmt.Sprintf(n.layer, cfg.Layers); l.has(n.attnNorm, "") {
		l.fail("%s: tensor %s belongs to layer %d, but the configuration has %d layers", c.Name(), l.prefix+n.attnNorm, cfg.Layers, cfg.Layers)
	}
	if l.err != nil {
		return nil, l.err
	}
	return m, nil
}

// names are a layout's tensor names. Names of a layer follow its prefix; stems are followed by one of the suffixes. A
// "|" separates spellings of which a file has one. "" is a tensor that the layout never has.
type names struct {
	embed, norm, head string
	layer             string // prefix, with the layer's index
	attnNorm, mlpNorm string
	sinks             string
	qkv, q, k, v, o   string // stems, followed by .weight and .bias
	router            string // the same

	gateUp, gate, up, down          string // stems, followed by one of
	weights, blocks, scales, biases string
	transposed                      bool // experts that are not quantised lie [n, in, out]
}

func layoutNames(l checkpoint.Layout) (*names, error) {
	switch l {
	case checkpoint.HuggingFace:
		return &names{
			embed: "model.embed_tokens.weight", norm: "model.norm.weight", head: "lm_head.weight",
			layer: "model.layers.%d.", attnNorm: "input_layernorm.weight", mlpNorm: "post_attention_layernorm.weight",
			sinks: "self_attn.sinks", q: "self_attn.q_proj", k: "self_attn.k_proj", v: "self_attn.v_proj", o: "self_attn.o_proj",
			router: "mlp.router", gateUp: "mlp.experts.gate_up_proj", down: "mlp.experts.down_proj",
			blocks: "_blocks", scales: "_scales", biases: "_bias", transposed: true,
		}, nil
	case checkpoint.Original:
		return &names{
			embed: "embedding.weight", norm: "norm.scale", head: "unembedding.weight",
			layer: "block.%d.", attnNorm: "attn.norm.scale", mlpNorm: "mlp.norm.scale",
			sinks: "attn.sinks", qkv: "attn.qkv", o: "attn.out",
			router: "mlp.gate", gateUp: "mlp.mlp1", down: "mlp.mlp2",
			weights: "_weight", blocks: "_weight.blocks", scales: "_weight.scales", biases: "_bias",
		}, nil
	case checkpoint.GGUF, checkpoint.OllamaGGUF:
		// Ollama's names differ in four places and have changed over time, so both are accepted in both.
		return &names{
			embed: "token_embd.weight", norm: "output_norm.weight", head: "output.weight",
			layer: "blk.%d.", attnNorm: "attn_norm.weight", mlpNorm: "post_attention_norm.weight|ffn_norm.weight",
			sinks: "attn_sinks.weight|attn_sinks", qkv: "attn_qkv", q: "attn_q", k: "attn_k", v: "attn_v", o: "attn_output|attn_out",
			router: "ffn_gate_inp", gateUp: "ffn_gate_up_exps", gate: "ffn_gate_exps", up: "ffn_up_exps", down: "ffn_down_exps",
			weights: ".weight", biases: ".bias",
		}, nil
	default:
		return nil, fmt.Errorf("layout %v is not known", l)
	}
}

// A loader looks tensors up. After its first failure it returns zero values, and err says what was wrong, so that
// reading a model is a list of its tensors.
type loader struct {
	c      *checkpoint.Checkpoint
	prefix string // of the layer at hand
	err    error
}

func (l *loader) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// layer reads one layer.
func (l *loader) layer(c *Config, n *names) Layer {
	width := c.Heads * c.HeadDim
	layer := Layer{
		AttnNorm:   l.vector(n.attnNorm, "", c.Hidden),
		O:          l.matrix(n.o, ".weight", c.Hidden, width),
		OBias:      l.vector(n.o, ".bias", c.Hidden),
		Sinks:      l.vector(n.sinks, "", c.Heads),
		MLPNorm:    l.vector(n.mlpNorm, "", c.Hidden),
		Router:     l.matrix(n.router, ".weight", c.Experts, c.Hidden),
		RouterBias: l.vector(n.router, ".bias", c.Experts),
		Down:       l.experts(n, n.down, []int{c.Experts, c.Hidden, c.Intermediate}),
	}
	l.qkv(&layer, c, n)
	if l.fused(n.gateUp, n.gate, n.weights) {
		layer.GateUp = l.experts(n, n.gateUp, []int{c.Experts, 2 * c.Intermediate, c.Hidden})
		layer.GateUp.Interleaved = true
		return layer
	}
	layer.Gate = l.experts(n, n.gate, []int{c.Experts, c.Intermediate, c.Hidden})
	layer.Up = l.experts(n, n.up, []int{c.Experts, c.Intermediate, c.Hidden})
	return layer
}

// qkv reads the three input projections of attention, which may be one tensor: rows of q, then k, then v.
func (l *loader) qkv(layer *Layer, c *Config, n *names) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	if l.fused(n.qkv, n.q, ".weight") {
		w := l.matrix(n.qkv, ".weight", q+2*kv, c.Hidden)
		b := l.vector(n.qkv, ".bias", q+2*kv)
		if l.err != nil {
			return
		}
		layer.Q, layer.K, layer.V = w.slice(0, q), w.slice(q, q+kv), w.slice(q+kv, q+2*kv)
		layer.QBias, layer.KBias, layer.VBias = b[:q:q], b[q:q+kv:q+kv], b[q+kv:]
		return
	}
	layer.Q, layer.QBias = l.matrix(n.q, ".weight", q, c.Hidden), l.vector(n.q, ".bias", q)
	layer.K, layer.KBias = l.matrix(n.k, ".weight", kv, c.Hidden), l.vector(n.k, ".bias", kv)
	layer.V, layer.VBias = l.matrix(n.v, ".weight", kv, c.Hidden), l.vector(n.v, ".bias", kv)
}

// fused decides between one tensor and several for the same weights, refusing files that have both.
func (l *loader) fused(one, several, suffix string) bool {
	if one == "" || several == "" {
		return one != ""
	}
	hasOne, hasSeveral := l.has(one, suffix), l.has(several, suffix)
	if hasOne && hasSeveral {
		l.both(l.prefix+one+suffix, l.prefix+several+suffix)
	}
	return hasOne
}

// experts reads the weights and biases of all experts, shape being [n, rows, cols].
func (l *loader) experts(n *names, stem string, shape []int) Experts {
	x := Experts{N: shape[0], Rows: shape[1], Cols: shape[2], Bias: l.vector(stem, n.biases, shape[0], shape[1])}
	quantised, plain := n.blocks != "" && l.has(stem, n.blocks), l.has(stem, n.weights)
	switch blocks := l.prefix + stem + n.blocks; {
	case quantised && plain:
		l.both(blocks, l.prefix+stem+n.weights)
	case quantised && x.Cols%32 != 0:
		l.fail("%s: tensor %s: the configuration makes rows of %d elements, want a multiple of MXFP4's 32", l.c.Name(), blocks, x.Cols)
	case quantised:
		x.DType = checkpoint.MXFP4Planes
		_, x.Blocks = l.tensor(stem, n.blocks, []int{x.N, x.Rows, x.Cols / 32, 16}, checkpoint.U8)
		_, x.Scales = l.tensor(stem, n.scales, []int{x.N, x.Rows, x.Cols / 32}, checkpoint.U8)
		return x
	case !plain && n.blocks != "":
		l.fail("%s: tensor %s is missing, and so is %s of a model that is not quantised", l.c.Name(), blocks, l.prefix+stem+n.weights)
	}
	if x.Transposed = n.transposed; x.Transposed {
		shape = []int{x.N, x.Cols, x.Rows}
	}
	x.DType, x.Blocks = l.tensor(stem, n.weights, shape, checkpoint.BF16, checkpoint.F16, checkpoint.F32,
		checkpoint.Q8_0, checkpoint.MXFP4, checkpoint.MXFP4Interleaved)
	return x
}

// matrix returns a view of a weight.
func (l *loader) matrix(stem, suffix string, rows, cols int) Matrix {
	d, data := l.tensor(stem, suffix, []int{rows, cols}, checkpoint.BF16, checkpoint.F16, checkpoint.F32, checkpoint.Q8_0)
	return Matrix{Rows: rows, Cols: cols, DType: d, Data: data}
}

// vector converts a small tensor to float32.
func (l *loader) vector(stem, suffix string, shape ...int) []float32 {
	d, data := l.tensor(stem, suffix, shape, checkpoint.BF16, checkpoint.F16, checkpoint.F32)
	if l.err != nil {
		return nil
	}
	n := 1
	for _, s := range shape {
		n *= s
	}
	v := make([]float32, n) // the tensor has that many elements, so the file bounds it
	checkpoint.Floats(v, d, data)
	return v
}

// tensor returns the type and bytes of the one tensor that any spelling of stem names, which must have the given shape
// and one of the types.
func (l *loader) tensor(stem, suffix string, shape []int, types ...checkpoint.DType) (checkpoint.DType, []byte) {
	if l.err != nil {
		return 0, nil
	}
	found := l.find(stem, suffix)
	switch len(found) {
	case 0:
		spellings := strings.ReplaceAll(stem, "|", suffix+" or "+l.prefix)
		l.fail("%s: tensor %s%s%s is missing", l.c.Name(), l.prefix, spellings, suffix)
		return 0, nil
	case 1:
	default:
		l.both(found[0].Name, found[1].Name)
		return 0, nil
	}
	t := found[0]
	switch {
	case !slices.Contains(types, t.DType):
		l.fail("%s: tensor %s: dtype %v, want %v", t.File, t.Name, t.DType, either(types))
	case !slices.Equal(t.Shape, shape):
		l.fail("%s: tensor %s: shape %v, want %v", t.File, t.Name, t.Shape, shape)
	}
	return t.DType, t.Data
}

// both reports two tensors for one purpose: whichever we took, the other may be the one that was meant.
func (l *loader) both(a, b string) {
	l.fail("%s: tensors %s and %s hold the same weights, want one of them", l.c.Name(), a, b)
}

// find returns the tensors that the spellings of stem name.
func (l *loader) find(stem, suffix string) []*checkpoint.Tensor {
	var found []*checkpoint.Tensor
	for s := range strings.SplitSeq(stem, "|") {
		if t, ok := l.c.Tensor(l.prefix + s + suffix); ok {
			found = append(found, t)
		}
	}
	return found
}

func (l *loader) has(stem, suffix string) bool { return len(l.find(stem, suffix)) > 0 }

func (l *loader) config() (Config, error) {
	switch l.c.Layout() {
	case checkpoint.GGUF, checkpoint.OllamaGGUF:
		return parseMetadata(l.c)
	default:
		if l.c.Config() == nil {
			return Config{}, errors.New("config.json is missing, want it beside the weights")
		}
		return ParseConfig(l.c.Config())
	}
}

func either(types []checkpoint.DType) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.String()
	}
	return strings.Join(names, " or ")
}
