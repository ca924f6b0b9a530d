package gptoss

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// A Config holds the sizes and constants of a model. A Config from ParseConfig or Load is consistent: every size is
// positive and bounded, the heads divide, and Sliding has Layers entries.
type Config struct {
	Layers          int
	Hidden          int // width of the residual stream
	Intermediate    int // width of one expert
	Heads           int // query heads
	KVHeads         int // key/value heads; divides Heads
	HeadDim         int // even; Heads*HeadDim need not be Hidden
	Experts         int // experts per layer
	ExpertsPerToken int // experts that a token is sent to
	Vocab           int // rows of the embedding and of the head
	// Window is how many positions a sliding layer sees, the token's own included. 0 only if no layer slides.
	Window     int
	MaxContext int    // positions the model was made for
	Sliding    []bool // per layer

	RopeTheta           float64
	RopeFactor          float64 // YaRN's extension factor; 1 = plain rotary embedding
	BetaFast, BetaSlow  float64 // YaRN: rotations over the original context above which, below which a pair is kept, stretched
	RopeOriginalContext int
	RopeTruncate        bool // round YaRN's range to whole pairs; gpt-oss does not

	Eps         float64 // of RMSNorm
	SwigluLimit float64
	SwigluAlpha float64

	TiedEmbeddings bool    // the head is the embedding
	EOS            []int32 // ids that end a text, as far as the configuration names them
}

// Constants of the architecture, for configurations that leave them out: original/ names neither eps nor alpha, Hugging
// Face alpha only since 2026, GGUF neither
// limit nor alpha, and not always the original context.
const (
	defaultEps   = 1e-5
	defaultLimit = 7.0
	defaultAlpha = 1.702

	defaultOriginalContext = 4096
)

// rawConfig is config.json in both spellings. A nil field was absent or null.
type rawConfig struct {
	Architectures []string `json:"architectures"`
	ModelType     *string  `json:"model_type"`

	Layers          *int     `json:"num_hidden_layers"`
	Hidden          *int     `json:"hidden_size"`
	Intermediate    *int     `json:"intermediate_size"`
	Heads           *int     `json:"num_attention_heads"`
	KVHeads         *int     `json:"num_key_value_heads"`
	HeadDim         *int     `json:"head_dim"`
	LocalExperts    *int     `json:"num_local_experts"`
	OrigExperts     *int     `json:"num_experts"`
	ExpertsPerTok   *int     `json:"num_experts_per_tok"`
	ExpertsPerToken *int     `json:"experts_per_token"`
	Vocab           *int     `json:"vocab_size"`
	Window          *int     `json:"sliding_window"`
	LayerTypes      []string `json:"layer_types"`
	MaxPositions    *int     `json:"max_position_embeddings"`
	InitialContext  *int     `json:"initial_context_length"`

	RopeTheta      *float64 `json:"rope_theta"`
	RopeScaling    *rawRope `json:"rope_scaling"`
	RopeParameters *rawRope `json:"rope_parameters"`
	ScalingFactor  *float64 `json:"rope_scaling_factor"`
	NTKAlpha       *float64 `json:"rope_ntk_alpha"`
	NTKBeta        *float64 `json:"rope_ntk_beta"`

	Eps           *float64        `json:"rms_norm_eps"`
	SwigluLimit   *float64        `json:"swiglu_limit"`
	SwigluAlpha   *float64        `json:"swiglu_alpha"`
	HiddenAct     *string         `json:"hidden_act"`
	AttentionBias *bool           `json:"attention_bias"`
	Tied          bool            `json:"tie_word_embeddings"`
	EOS           json.RawMessage `json:"eos_token_id"`
	Quantization  *struct {
		Method string `json:"quant_method"`
	} `json:"quantization_config"`
}

type rawRope struct {
	RopeType        *string  `json:"rope_type"`
	Type            *string  `json:"type"` // older spelling of rope_type
	Theta           *float64 `json:"rope_theta"`
	Factor          *float64 `json:"factor"`
	BetaFast        *float64 `json:"beta_fast"`
	BetaSlow        *float64 `json:"beta_slow"`
	OriginalContext *int     `json:"original_max_position_embeddings"`
	Truncate        bool     `json:"truncate"`
	AttentionFactor *float64 `json:"attention_factor"`
}

// ParseConfig reads a config.json of Hugging Face (rope_scaling or rope_parameters) or of the original/ folder. It
// refuses other architectures by name, and whatever a gpt-oss Runner would compute wrongly. Errors name the field.
func ParseConfig(data []byte) (Config, error) {
	c, err := parseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

func parseConfig(data []byte) (Config, error) {
	var raw rawConfig
	if err := json.Unmarshal(data, &raw); err != nil {
		var mistyped *json.UnmarshalTypeError
		if errors.As(err, &mistyped) && mistyped.Field != "" {
			return Config{}, fmt.Errorf("%s is a JSON %s, want %v", mistyped.Field, mistyped.Value, mistyped.Type)
		}
		return Config{}, fmt.Errorf("not a JSON object of a model's configuration: %w", err)
	}
	if err := raw.refuseOthers(); err != nil {
		return Config{}, err
	}
	var r required
	c := Config{
		Layers:          r.int("num_hidden_layers", raw.Layers),
		Hidden:          r.int("hidden_size", raw.Hidden),
		Intermediate:    r.int("intermediate_size", raw.Intermediate),
		Heads:           r.int("num_attention_heads", raw.Heads),
		KVHeads:         r.int("num_key_value_heads", raw.KVHeads),
		HeadDim:         r.int("head_dim", raw.HeadDim),
		Experts:         r.int("num_local_experts", first(raw.LocalExperts, raw.OrigExperts)),
		ExpertsPerToken: r.int("num_experts_per_tok", first(raw.ExpertsPerTok, raw.ExpertsPerToken)),
		Vocab:           r.int("vocab_size", raw.Vocab),
		SwigluLimit:     r.float("swiglu_limit", raw.SwigluLimit),
		SwigluAlpha:     or(raw.SwigluAlpha, defaultAlpha),
		Eps:             or(raw.Eps, defaultEps),
		TiedEmbeddings:  raw.Tied,
	}
	raw.rope(&c, &r)
	if r.err != nil {
		return Config{}, r.err
	}
	if raw.Window != nil {
		c.Window = *raw.Window
	}
	if raw.MaxPositions != nil {
		c.MaxContext = *raw.MaxPositions
	} else {
		c.MaxContext = int(float64(c.RopeOriginalContext) * c.RopeFactor)
	}
	var err error
	if c.EOS, err = parseEOS(raw.EOS); err != nil {
		return Config{}, err
	}
	if err := c.setSliding(raw.LayerTypes); err != nil {
		return Config{}, err
	}
	return c, c.check()
}

// refuseOthers reports a configuration that is not of this architecture, or of a variant that is computed differently.
func (raw *rawConfig) refuseOthers() error {
	const want = `want GptOssForCausalLM (model_type "gpt_oss")`
	switch {
	case raw.ModelType != nil && *raw.ModelType != "gpt_oss":
		return fmt.Errorf("architecture %q (model_type %q) is not supported, %s", raw.Architectures, *raw.ModelType, want)
	case len(raw.Architectures) > 0 && raw.Architectures[0] != "GptOssForCausalLM":
		return fmt.Errorf("architecture %q is not supported, %s", raw.Architectures[0], want)
	case raw.ModelType == nil && len(raw.Architectures) == 0 && raw.OrigExperts == nil:
		return fmt.Errorf("neither architectures nor model_type nor the num_experts of an original/ folder is given, %s", want)
	case raw.Quantization != nil && raw.Quantization.Method != "mxfp4":
		return fmt.Errorf("quantization_config.quant_method %q is not supported, want mxfp4 or none", raw.Quantization.Method)
	case raw.HiddenAct != nil && *raw.HiddenAct != "silu":
		return fmt.Errorf("hidden_act %q is not supported, want silu", *raw.HiddenAct)
	case raw.AttentionBias != nil && !*raw.AttentionBias:
		return errors.New("attention_bias false is not supported, want true")
	}
	return nil
}

// rope fills in the rotary embedding's constants from whichever of the three spellings is there.
func (raw *rawConfig) rope(c *Config, r *required) {
	rope, name := raw.RopeScaling, "rope_scaling"
	if rope == nil {
		rope, name = raw.RopeParameters, "rope_parameters"
	}
	if rope == nil { // original/
		c.RopeTheta = r.float("rope_theta", raw.RopeTheta)
		c.RopeFactor = r.float("rope_scaling (or rope_parameters, or rope_scaling_factor)", raw.ScalingFactor)
		c.BetaFast = r.float("rope_ntk_beta", raw.NTKBeta)
		c.BetaSlow = r.float("rope_ntk_alpha", raw.NTKAlpha)
		c.RopeOriginalContext = r.int("initial_context_length", raw.InitialContext)
		return
	}
	c.RopeTheta = r.float("rope_theta", first(rope.Theta, raw.RopeTheta))
	c.RopeFactor, c.BetaFast, c.BetaSlow = 1, or(rope.BetaFast, 32), or(rope.BetaSlow, 1)
	switch kind := first(rope.RopeType, rope.Type); {
	case kind == nil:
		r.fail("%s.rope_type is missing, want yarn or default", name)
	case *kind == "yarn":
		c.RopeFactor = r.float(name+".factor", rope.Factor)
		c.RopeOriginalContext = r.int(name+".original_max_position_embeddings", first(rope.OriginalContext, raw.InitialContext))
		c.RopeTruncate = rope.Truncate
		if f := rope.AttentionFactor; f != nil && math.Abs(*f-concentration(c.RopeFactor)) > 1e-6 {
			r.fail("%s.attention_factor %v is not supported, want none or the %v that follows from factor", name, *f, concentration(c.RopeFactor))
		}
	case *kind == "default":
		c.RopeOriginalContext = r.int("max_position_embeddings", raw.MaxPositions)
	default:
		r.fail("%s.rope_type %q is not supported, want yarn or default", name, *kind)
	}
}

// setSliding fills in Sliding from HF's layer_types; without them even layers slide.
func (c *Config) setSliding(types []string) error {
	if types != nil && len(types) != c.Layers {
		return fmt.Errorf("layer_types has %d entries, want num_hidden_layers = %d", len(types), c.Layers)
	}
	if err := within("num_hidden_layers", c.Layers, 1, maxLayers); err != nil {
		return err
	}
	c.Sliding = make([]bool, c.Layers)
	for i := range c.Sliding {
		switch {
		case types == nil:
			c.Sliding[i] = i%2 == 0
		case types[i] == "sliding_attention":
			c.Sliding[i] = true
		case types[i] != "full_attention":
			return fmt.Errorf("layer_types[%d] is %q, want sliding_attention or full_attention", i, types[i])
		}
	}
	return nil
}

// Bounds of a configuration: far above any model of this kind, and low enough that no product of sizes overflows.
const (
	maxLayers  = 1 << 10
	maxWidth   = 1 << 17
	maxExperts = 1 << 12
	maxVocab   = 1 << 22
	maxContext = 1 << 26
)

// check reports the first size or constant that is out of range.
func (c *Config) check() error {
	slides := 0
	for _, s := range c.Sliding {
		if s {
			slides = 1
		}
	}
	for _, f := range []struct {
		name            string
		value, low, top int
	}{
		{"hidden_size", c.Hidden, 1, maxWidth},
		{"intermediate_size", c.Intermediate, 1, maxWidth},
		{"num_attention_heads", c.Heads, 1, maxWidth},
		{"num_key_value_heads", c.KVHeads, 1, c.Heads},
		{"head_dim", c.HeadDim, 2, maxWidth / c.headsOr1()},
		{"num_local_experts", c.Experts, 1, maxExperts},
		{"num_experts_per_tok", c.ExpertsPerToken, 1, c.Experts},
		{"vocab_size", c.Vocab, 1, maxVocab},
		{"sliding_window", c.Window, slides, maxContext},
		{"max_position_embeddings", c.MaxContext, 1, maxContext},
		{"original_max_position_embeddings", c.RopeOriginalContext, 1, maxContext},
	} {
		if err := within(f.name, f.value, f.low, f.top); err != nil {
			return err
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("num_key_value_heads %d does not divide num_attention_heads %d", c.KVHeads, c.Heads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("head_dim %d is odd, want an even number", c.HeadDim)
	}
	for _, f := range []struct {
		name            string
		value, low, top float64
	}{
		{"rope_theta", c.RopeTheta, 1.0001, 1e12},
		{"rope factor", c.RopeFactor, 1, 1e6},
		{"beta_fast", c.BetaFast, c.BetaSlow, 1e6},
		{"beta_slow", c.BetaSlow, 1e-6, 1e6},
		{"rms_norm_eps", c.Eps, 1e-12, 1},
		{"swiglu_limit", c.SwigluLimit, 1e-6, 1e6},
		{"swiglu_alpha", c.SwigluAlpha, 1e-6, 1e6},
	} {
		if !(f.value >= f.low && f.value <= f.top) {
			return fmt.Errorf("%s is %v, want %v to %v", f.name, f.value, f.low, f.top)
		}
	}
	for _, id := range c.EOS {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("eos_token_id %d is outside vocab_size %d", id, c.Vocab)
		}
	}
	return nil
}

func (c *Config) headsOr1() int { return max(1, min(c.Heads, maxWidth)) }

func within(name string, value, low, top int) error {
	if value < low || value > top {
		return fmt.Errorf("%s is %d, want %d to %d", name, value, low, top)
	}
	return nil
}

// parseEOS reads eos_token_id, which is absent, a number or an array of them.
func parseEOS(data json.RawMessage) ([]int32, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	var many []int32
	if json.Unmarshal(data, &many) == nil {
		return many, nil
	}
	var one int32
	if json.Unmarshal(data, &one) == nil {
		return []int32{one}, nil
	}
	return nil, fmt.Errorf("eos_token_id is %.40s, want a token id or an array of them", data)
}

// required collects fields that must be there; err is the first failure.
type required struct{ err error }

func (r *required) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *required) int(name string, v *int) int {
	if v == nil {
		r.fail("%s is missing", name)
		return 0
	}
	return *v
}

func (r *required) float(name string, v *float64) float64 {
	if v == nil {
		r.fail("%s is missing", name)
		return 0
	}
	return *v
}

func or(v *float64, absent float64) float64 {
	if v == nil {
		return absent
	}
	return *v
}

// first returns the first of two spellings that is present.
func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}
