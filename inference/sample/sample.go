// Package sample chooses the next token from logits.
//
// It owns the sampling parameters of a request, the reference sampler that every Runner must agree with, and the
// matcher that ends a text at a stop string. It knows token ids, numbers and plain text, not harmony or scheduling.
// Choosing is a pure function, so a sampled token depends on nothing but the row's own logits, parameters, history and
// seed: never on its neighbours in a batch. Functions are safe for concurrent use; a Scratch and a Stops belong to one
// goroutine.
//
// The sampler sorts nothing: it needs one pass for the largest logit, one for the weights, and for TopK and TopP a radix
// selection. Random numbers are counted rather than drawn from a generator with state (see Uniform), so repeating a step
// after a preemption repeats its token.
package sample

// Params are the sampling parameters of one sequence. They are immutable once a request has been submitted.
// The zero value means greedy decoding.
type Params struct {
	Temperature float32 // 0 = greedy; OpenAI's range is 0..2
	TopP        float32 // nucleus mass in (0, 1]; 0 or 1 = off
	TopK        int     // keep the k likeliest; 0 = off
	MinP        float32 // drop tokens below MinP times the likeliest probability; 0 = off

	PresencePenalty   float32 // subtracted once from the logit of a token that was generated before; -2..2
	FrequencyPenalty  float32 // subtracted once per earlier occurrence among the generated tokens; -2..2
	RepetitionPenalty float32 // divides positive and multiplies negative logits of generated tokens; 0 or 1 = off

	LogitBias []Bias // added to the logits before anything else; at most one entry a token

	Seed uint64 // with the index of the sampled token it determines the random number

	// Logprobs is how many alternatives to report beside the chosen token's own log-probability: -1 none at all,
	// 0 only the chosen one, up to 20. The zero value therefore reports the chosen token's.
	Logprobs int
}

// A Bias adds Value to the logit of Token.
type Bias struct {
	Token int32
	Value float32
}

// A Result is one sampled token. Log-probabilities are finite: -9999 stands for a probability of zero.
type Result struct {
	Token   int32
	Logprob float32     // natural log of the token's probability under softmax(logits), before bias, temperature and filters
	Top     []TokenProb // likeliest first under the same softmax; at most Params.Logprobs entries
}

// A TokenProb is a token with its natural log-probability.
type TokenProb struct {
	Token   int32
	Logprob float32
}
