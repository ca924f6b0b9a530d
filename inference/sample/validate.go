package sample

import "fmt"

// A ParamError says which sampling parameter is out of range. Field is spelled as in OpenAI's API.
type ParamError struct {
	Field  string
	Reason string // what it is and what would be right
}

func (e *ParamError) Error() string { return e.Field + " " + e.Reason }

// MaxLogprobs is the largest Params.Logprobs, the limit of OpenAI's top_logprobs.
const MaxLogprobs = 20

// Validate reports the first parameter that is out of range for a model of vocab ids, as a *ParamError.
// The ranges are those of OpenAI's API where it has the field.
func (p *Params) Validate(vocab int) error {
	for _, f := range []struct {
		field         string
		value, lo, hi float32
	}{
		{"temperature", p.Temperature, 0, 2},
		{"top_p", p.TopP, 0, 1},
		{"min_p", p.MinP, 0, 1},
		{"presence_penalty", p.PresencePenalty, -2, 2},
		{"frequency_penalty", p.FrequencyPenalty, -2, 2},
		{"repetition_penalty", p.RepetitionPenalty, 0, 10},
	} {
		if !(f.value >= f.lo && f.value <= f.hi) { // NaN fails too
			return &ParamError{f.field, fmt.Sprintf("is %v, must be between %v and %v", f.value, f.lo, f.hi)}
		}
	}
	if p.TopK < 0 {
		return &ParamError{"top_k", fmt.Sprintf("is %d, must be 0 (off) or more", p.TopK)}
	}
	if p.Logprobs < -1 || p.Logprobs > MaxLogprobs {
		return &ParamError{"top_logprobs", fmt.Sprintf("is %d, must be between 0 and %d, or -1 for none", p.Logprobs, MaxLogprobs)}
	}
	seen := make(map[int32]struct{}, len(p.LogitBias))
	for _, b := range p.LogitBias {
		if b.Token < 0 || int(b.Token) >= vocab {
			return &ParamError{"logit_bias", fmt.Sprintf("names token %d, must be between 0 and %d", b.Token, vocab-1)}
		}
		if !(b.Value >= -100 && b.Value <= 100) {
			return &ParamError{"logit_bias", fmt.Sprintf("of token %d is %v, must be between -100 and 100", b.Token, b.Value)}
		}
		if _, dup := seen[b.Token]; dup {
			return &ParamError{"logit_bias", fmt.Sprintf("names token %d twice, must name it once", b.Token)}
		}
		seen[b.Token] = struct{}{}
	}
	return nil
}
