package engine

import (
	"errors"
	"fmt"
	"time"

	"chorale/inference/sample"
)

var (
	// ErrQueueFull refuses a request because Options.MaxQueue others wait already. Trying again later may work.
	ErrQueueFull = errors.New("the queue is full")
	// ErrClosed refuses a request to, or ends a generation of, an engine that is closed or draining.
	ErrClosed = errors.New("the engine is closed")
)

// A ContextError refuses a prompt that leaves no room for an answer.
type ContextError struct {
	Max int // tokens that the context and the KV memory hold, prompt and output together
	Got int // tokens of the prompt
}

func (e *ContextError) Error() string {
	return fmt.Sprintf("the prompt has %d tokens, at most %d fit: the context holds %d, prompt and output together", e.Got, e.Max-1, e.Max)
}

// A PanicError is what stopped the engine when the Runner, a constraint or the engine itself panicked. The stack is for
// whoever mends it, and so is not part of the message.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// A Request asks for the tokens that follow a prompt.
type Request struct {
	Prompt     []int32       // copied
	MaxTokens  int           // tokens to generate at most; 0, or more than the context has room for: up to the context
	Stop       []int32       // ids that end the generation; the stop token itself is generated. Not written
	Sampling   sample.Params // LogitBias is not written
	Constraint Constraint    // nil: none
	// CacheSalt separates prefix caches: only requests with the same salt share computed prefixes.
	CacheSalt string
}

// validate reports what is wrong with the request in itself: the ContextError, a *sample.ParamError, or a sentence.
func (r *Request) validate(context, vocab int) error {
	if len(r.Prompt) == 0 {
		return errors.New("the prompt is empty, it needs at least one token")
	}
	if len(r.Prompt) >= context {
		return &ContextError{Max: context, Got: len(r.Prompt)}
	}
	for i, t := range r.Prompt {
		if t < 0 || int(t) >= vocab {
			return fmt.Errorf("token %d of the prompt is %d, ids are between 0 and %d", i, t, vocab-1)
		}
	}
	if r.MaxTokens < 0 {
		return fmt.Errorf("the number of tokens to generate is %d, must be positive, or 0 for as many as fit", r.MaxTokens)
	}
	return r.Sampling.Validate(vocab)
}

// A sequence is a request on its way. The engine's goroutine owns it.
type sequence struct {
	*Generation
	stop       []int32
	sampling   sample.Params
	constraint Constraint

	tokens   []int32 // known: the prompt and what was sampled
	prompt   int     // tokens of the prompt
	limit    int     // known tokens at which it ends
	computed int     // tokens whose keys and values are in memory
	kv       kvState

	take    int  // tokens in this step
	running bool // false: waiting
	arrived time.Time
	opened  bool // it has run before, and was preempted if it waits now
	cached  int  // prompt tokens that were found in memory when it first ran
}

// pending is the one number that scheduling is about: known tokens that are not computed. Computing the last of them
// samples the next.
func (s *sequence) pending() int { return len(s.tokens) - s.computed }
