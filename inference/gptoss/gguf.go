package gptoss

import (
	"fmt"
	"math"

	"chorale/inference/checkpoint"
)

// metadata reads GGUF metadata below the architecture's prefix; err is the first failure.
type metadata struct {
	c    *checkpoint.Checkpoint
	arch string
	err  error
}

// parseMetadata reads the configuration of a GGUF file. The format has no place for what gpt-oss fixes by its
// architecture: YaRN's range is not rounded, the SwiGLU's constants, and, in most files, that even layers slide.
func parseMetadata(c *checkpoint.Checkpoint) (Config, error) {
	arch, _ := c.Meta("general.architecture")
	if arch != "gpt-oss" && arch != "gptoss" {
		return Config{}, fmt.Errorf("general.architecture %v is not supported, want gpt-oss (or Ollama's gptoss)", quoted(arch))
	}
	m := &metadata{c: c, arch: arch.(string) + "."}
	cfg := Config{
		Layers:              m.int("block_count"),
		Hidden:              m.int("embedding_length"),
		Intermediate:        m.int("expert_feed_forward_length", "feed_forward_length"),
		Heads:               m.int("attention.head_count"),
		KVHeads:             m.int("attention.head_count_kv"),
		HeadDim:             m.int("attention.key_length"),
		Experts:             m.int("expert_count"),
		ExpertsPerToken:     m.int("expert_used_count"),
		Window:              m.int("attention.sliding_window"),
		MaxContext:          m.int("context_length"),
		RopeTheta:           m.float("rope.freq_base"),
		RopeFactor:          m.float("rope.scaling.factor"),
		BetaFast:            m.floatOr("rope.scaling.yarn_beta_fast", 32),
		BetaSlow:            m.floatOr("rope.scaling.yarn_beta_slow", 1),
		RopeOriginalContext: m.intOr("rope.scaling.original_context_length", 0),
		Eps:                 m.floatOr("attention.layer_norm_rms_epsilon", defaultEps),
		SwigluLimit:         defaultLimit,
		SwigluAlpha:         defaultAlpha,
		EOS:                 m.eos(),
	}
	if cfg.RopeOriginalContext == 0 { // Ollama's converter writes 0 where it did not find the length
		cfg.RopeOriginalContext = defaultOriginalContext
	}
	if t, ok := c.Tensor("token_embd.weight"); ok && len(t.Shape) == 2 {
		cfg.Vocab = t.Shape[0]
	} else {
		m.fail("tensor token_embd.weight is missing or not a matrix, want [vocabulary, embedding_length]")
	}
	if v := m.intOr("attention.value_length", cfg.HeadDim); v != cfg.HeadDim {
		m.fail("metadata %sattention.value_length is %d, want the %d of key_length", m.arch, v, cfg.HeadDim)
	}
	if kind, ok := c.Meta(m.arch + "rope.scaling.type"); ok && kind != "yarn" {
		m.fail("metadata %srope.scaling.type %v is not supported, want yarn", m.arch, quoted(kind))
	}
	if m.err != nil {
		return Config{}, m.err
	}
	if err := within("metadata "+m.arch+"block_count", cfg.Layers, 1, maxLayers); err != nil {
		return Config{}, err
	}
	if cfg.Sliding = m.sliding(cfg.Layers); m.err != nil {
		return Config{}, m.err
	}
	if err := cfg.check(); err != nil {
		return Config{}, fmt.Errorf("metadata of %s (named as in config.json): %w", arch, err)
	}
	return cfg, nil
}

// sliding reads sliding_window_pattern: absent, a period of which the last layer is full, or a flag for each layer.
func (m *metadata) sliding(layers int) []bool {
	out := make([]bool, layers)
	pattern, ok := m.c.Meta(m.arch + "attention.sliding_window_pattern")
	if !ok {
		pattern = int64(2)
	}
	period, isPeriod := pattern.(int64)
	flags, _ := pattern.([]any)
	if period < 1 && len(flags) != layers {
		m.fail("metadata %sattention.sliding_window_pattern is %v, want a positive number or a flag for each of %d layers", m.arch, quoted(pattern), layers)
		return nil
	}
	for i := range out {
		if isPeriod {
			out[i] = int64(i)%period < period-1
		} else {
			out[i] = flags[i] == true || flags[i] == int64(1)
		}
	}
	return out
}

// eos collects the end tokens that the file names, of which there may be a list, a single one, or both.
func (m *metadata) eos() []int32 {
	var ids []int32
	many, _ := m.c.Meta("tokenizer.ggml.eos_token_ids")
	list, _ := many.([]any)
	if one, ok := m.c.Meta("tokenizer.ggml.eos_token_id"); ok && list == nil {
		list = []any{one}
	}
	for _, v := range list {
		id, ok := v.(int64)
		if !ok || id < 0 || id > math.MaxInt32 {
			m.fail("metadata tokenizer.ggml.eos_token_id is %v, want a token id", quoted(v))
			return nil
		}
		ids = append(ids, int32(id))
	}
	return ids
}

func (m *metadata) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
}

// int returns the size under the first of the keys that is there.
func (m *metadata) int(keys ...string) int {
	for _, key := range keys {
		if n := m.intOr(key, -1); n >= 0 {
			return n
		}
	}
	m.fail("metadata %s%s is missing", m.arch, keys[len(keys)-1])
	return 0
}

func (m *metadata) intOr(key string, absent int) int {
	v, ok := m.c.Meta(m.arch + key)
	if !ok {
		return absent
	}
	n, isInt := v.(int64)
	if !isInt || n < 0 || n > math.MaxInt32 {
		m.fail("metadata %s%s is %v, want a size", m.arch, key, quoted(v))
	}
	return int(n)
}

func (m *metadata) float(key string) float64 {
	v := m.floatOr(key, math.NaN())
	if math.IsNaN(v) {
		m.fail("metadata %s%s is missing or not a number", m.arch, key)
	}
	return v
}

func (m *metadata) floatOr(key string, absent float64) float64 {
	switch v, _ := m.c.Meta(m.arch + key); v := v.(type) {
	case nil:
		return absent
	case float64:
		return v
	case int64:
		return float64(v)
	default:
		m.fail("metadata %s%s is %v, want a number", m.arch, key, quoted(v))
		return 0
	}
}

// quoted shortens a metadata value for an error.
func quoted(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%.60q", s)
	}
	return fmt.Sprintf("%.60s", fmt.Sprint(v))
}
