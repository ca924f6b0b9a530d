// Package responses runs one response from the received request to the stored result.
//
// It owns the validation of requests against model, tools and store, the translation between items and harmony
// messages, the model's turn, and the events; what goes over the wire is api's, what the model computes engine's, and
// of HTTP it knows nothing. A Service is safe for concurrent use; a Run belongs to one goroutine.
//
// There is one path: Run.Events, whose last event holds the finished response. Streaming forwards the events, everything
// else keeps the last one. Within a response the token sequence is the truth: it only grows, and a continued response
// uses the very tokens that were sampled, so that their keys and values are found in the cache (see
// withoutFinishedReasoning for what a finished turn loses).
package responses

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"chorale/inference/engine"
	"chorale/inference/harmony"
	"chorale/server/api"
	"chorale/server/containers"
	"chorale/server/store"
	"chorale/toolhost"
)

// ModelInfo describes the model that the engine runs.
type ModelInfo struct {
	ID         string   // the name that clients ask for and that responses carry; also names its tokens in the store
	Aliases    []string // further names under which it is found
	MaxContext int      // tokens of prompt and output together
	Vocab      int      // rows of the model's embedding
	Demo       bool     // the small built-in model
}

// Options configure a Service. Engine, Codec, Store and Logger are required and stay the caller's to close.
type Options struct {
	Engine *engine.Engine
	Codec  *harmony.Codec
	Model  ModelInfo
	Store  *store.Store
	Logger *slog.Logger
	Now    func() time.Time // nil = time.Now

	// Key is the 32 bytes that seal reasoning for clients (reasoning.encrypted_content). Nil: a random key, so that what
	// was sealed is of no use after a restart.
	Key []byte
	// Random fills p with random bytes, for ids, seeds and seals; nil = crypto/rand. Tests make it predictable.
	Random func(p []byte)

	// Ungated lets the model write whatever it wants, to measure how well it keeps to the format by itself.
	Ungated bool

	// Tools returns those that this server runs for the model now; a response keeps to what it found. It may be nil or return
	// nil: there are none. Only the ones that a request asks for are shown to the model.
	Tools        func() *toolhost.Set
	MCP          MCPOptions      // further tools, of MCP servers
	ToolLimits   toolhost.Limits // of their calls
	MaxToolCalls int             // of Tools in one response; 0 = 64
	MaxToolTime  time.Duration   // for all of those together; 0 = 5 minutes
	// MaxStateBytes is how much of what tools leave is stored with a response; 0 = 32 MiB. It is at most a quarter of what the
	// Store may hold.
	MaxStateBytes int64
	// Containers hold what the code of code interpreters leaves, for clients to name. It may be nil: then the state goes from
	// response to response only.
	Containers *containers.Service

	MaxOutputTokens int           // of one response; 0 = as many as the context holds
	MaxDuration     time.Duration // from Create to the last token; 0 = 10 minutes
}

// Stats are counters since the start, except Running. It is a copy.
type Stats struct {
	Running    int // responses being generated now
	Completed  uint64
	Incomplete uint64
	Failed     uint64
	Cancelled  uint64
	Refused    uint64 // requests answered with an error before anything was generated

	InputTokens     uint64
	CachedTokens    uint64
	OutputTokens    uint64
	ReasoningTokens uint64

	UnknownCalls uint64            // calls of the model to tools that do not exist
	Repairs      map[string]uint64 // malformed model output by the rule that repaired it
}

// A Service runs responses.
type Service struct {
	o    Options
	seal *seal

	approvalKey []byte
	noTools     *toolhost.Set

	maxState       int64   // bytes of state that a response keeps
	stops          []int32 // tokens at which sampling ends
	end, call      int32   // tokens that end a message and a call in the history
	assistantStart []int32 // the beginning of the model's message

	mu      sync.Mutex // guards all below
	stats   Stats
	closed  bool
	running map[*Run]bool
	idle    chan struct{} // closed when closed and nothing runs
}

// New returns a Service.
func New(o Options) (*Service, error) {
	if o.Engine == nil || o.Codec == nil || o.Store == nil || o.Logger == nil || o.Model.ID == "" {
		return nil, errors.New("responses: Engine, Codec, Store, Logger and Model.ID are required")
	}
	if o.MaxOutputTokens < 0 || o.MaxDuration < 0 || o.MaxToolCalls < 0 || o.MaxToolTime < 0 || o.MaxStateBytes < 0 {
		return nil, fmt.Errorf("responses: MaxOutputTokens is %d, MaxDuration %v, MaxToolCalls %d, MaxToolTime %v and MaxStateBytes %d, want no negative limits",
			o.MaxOutputTokens, o.MaxDuration, o.MaxToolCalls, o.MaxToolTime, o.MaxStateBytes)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = func(p []byte) { _, _ = rand.Read(p) } // it never fails
	}
	if o.MaxDuration == 0 {
		o.MaxDuration = 10 * time.Minute
	}
	if o.MaxToolCalls == 0 {
		o.MaxToolCalls = 64
	}
	if o.MaxToolTime == 0 {
		o.MaxToolTime = 5 * time.Minute
	}
	if o.MaxStateBytes == 0 {
		o.MaxStateBytes = 32 << 20
	}
	if o.Key == nil {
		o.Key = make([]byte, 32)
		_, _ = rand.Read(o.Key)
	}
	s := &Service{o: o, maxState: min(o.MaxStateBytes, o.Store.MaxBytes()/4), running: map[*Run]bool{}, idle: make(chan struct{})}
	s.stats.Repairs = map[string]uint64{}
	var err error
	if s.seal, err = newSeal(o.Key, o.Random); err != nil {
		return nil, fmt.Errorf("responses: %w", err)
	}
	s.approvalKey = newApprovalKey(o.Key)
	if s.noTools, err = toolhost.NewSet(); err != nil {
		return nil, fmt.Errorf("responses: %w", err)
	}
	for text, id := range map[string]*int32{"<|end|>": &s.end, "<|call|>": &s.call} {
		var ok bool
		if *id, ok = o.Codec.Tokenizer().Special(text); !ok {
			return nil, fmt.Errorf("responses: the tokenizer has no token %s", text)
		}
	}
	s.stops = o.Codec.Stops()
	s.assistantStart, err = o.Codec.Render(nil, nil, harmony.Options{Mode: harmony.Completion})
	return s, err
}

// Model returns what the service was configured with.
func (s *Service) Model() ModelInfo { return s.o.Model }

// Create validates the request, which it takes over, and starts to generate, unless tools have to learn something elsewhere
// first: then Events does. It does not wait for the model or for tools. The error is an *api.Error.
func (s *Service) Create(ctx context.Context, request *api.Request) (*Run, error) {
	if len(request.Unknown) > 0 {
		s.o.Logger.Debug("members of the request ignored", "reason", request.Unknown)
	}
	r, err := s.create(ctx, request)
	if err != nil {
		s.mu.Lock()
		s.stats.Refused++
		s.mu.Unlock()
		return nil, s.publicError(err)
	}
	return r, nil
}

func (s *Service) create(ctx context.Context, request *api.Request) (*Run, error) {
	p, err := s.plan(ctx, request)
	if err != nil {
		return nil, err
	}
	r := &Run{s: s, plan: p, stops: newStops(p.stop), out: emitter{response: p.response}}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	if err := s.enter(r); err != nil {
		r.cancel(nil)
		p.release()
		return nil, err
	}
	if err := p.acquire(r.ctx); err != nil {
		if r.ctx.Err() != nil {
			err = context.Cause(r.ctx)
		}
		s.leave(r)
		return nil, err
	}
	if len(p.steps) == 0 { // otherwise, what the model is shown is not known yet
		if err := r.start(); err != nil {
			s.leave(r)
			return nil, err
		}
	}
	limit := time.AfterFunc(s.o.MaxDuration, func() { r.cancel(errTooLong) })
	context.AfterFunc(r.ctx, func() {
		limit.Stop()
		if !r.taken.Swap(true) { // nobody has read the events, and now nobody will
			s.leave(r)
		}
	})
	return r, nil
}

// start lets the engine go on from the tokens, of which generated ones count towards the plan's limit already.
func (s *Service) start(ctx context.Context, p *plan, tokens []int32, generated int) (*engine.Generation, error) {
	limit := p.maxTokens
	if limit > 0 {
		limit -= generated
	}
	request := engine.Request{Prompt: tokens, MaxTokens: limit, Stop: s.stops, Sampling: p.sampling}
	if !s.o.Ungated {
		request.Constraint = s.o.Codec.NewGate(p.gate(s.o.Model.Vocab))
	}
	return s.o.Engine.Generate(ctx, request)
}

// publicError maps what can go wrong before generating to what the client is told.
func (s *Service) publicError(err error) error {
	var known *api.Error
	var tooLong *engine.ContextError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooLong):
		return api.BadRequest("context_length_exceeded", "input", "Your input exceeds the context window of this model: "+
			"it has %d tokens and at most %d fit, the output included.", tooLong.Got, tooLong.Max)
	case errors.Is(err, engine.ErrQueueFull):
		return &api.Error{Status: 429, Type: "rate_limit_error", Code: "rate_limit_exceeded",
			Message: "Too many requests are waiting. Please try again in 1s."}
	case errors.Is(err, engine.ErrClosed), errors.Is(err, errShutdown):
		return &api.Error{Status: 503, Type: "server_error", Code: "server_shutting_down",
			Message: "The server is shutting down."}
	case errors.Is(err, context.Canceled): // by the client, who does not read this
		return &api.Error{Status: 503, Type: "server_error", Code: "server_error", Message: "The request was given up."}
	}
	s.o.Logger.Error("request failed", "err", err)
	return &api.Error{Status: 500, Type: "server_error", Code: "server_error",
		Message: "The server had an error while it processed the request."}
}

// Get returns a stored response. The error is an *api.Error.
func (s *Service) Get(ctx context.Context, id string) (*api.Response, error) {
	r, err := s.o.Store.Get(ctx, id)
	return r, s.stored(err, id)
}

// Delete removes a stored response. The error is an *api.Error.
func (s *Service) Delete(ctx context.Context, id string) error {
	return s.stored(s.o.Store.Delete(ctx, id), id)
}

// InputItems returns a page of the items that the request of a stored response brought; those of the responses that it
// continues are theirs. The error is an *api.Error.
func (s *Service) InputItems(ctx context.Context, id string, page api.Page) (*api.List[api.Item], error) {
	list, err := s.o.Store.InputItems(ctx, id, page)
	return list, s.stored(err, id)
}

// stored maps errors of the store for an operation on the response.
func (s *Service) stored(err error, id string) error {
	var missing *store.NotFoundError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing) && missing.ID != id:
		return api.BadRequest("invalid_value", "after", "Invalid 'after': the response has no input item with id '%s'.",
			missing.ID)
	case errors.As(err, &missing):
		return &api.Error{Status: 404, Type: "invalid_request_error", Code: "response_not_found", Param: "response_id",
			Message: fmt.Sprintf("Response with id '%s' not found.", id)}
	}
	return s.publicError(err)
}

// Close refuses new responses and waits for those that run. When ctx ends it fails them and returns its error, as soon
// as they have ended. It is idempotent.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed && len(s.running) == 0 {
		close(s.idle)
	}
	s.closed = true
	s.mu.Unlock()
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for r := range s.running {
		r.cancel(errShutdown)
	}
	s.mu.Unlock()
	<-s.idle
	return ctx.Err()
}

// enter counts the run in, unless the service is closed.
func (s *Service) enter(r *Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errShutdown
	}
	s.running[r] = true
	return nil
}

// leave counts the run out and stops whatever still runs for it.
func (s *Service) leave(r *Run) {
	r.cancel(nil)
	if r.tools.session != nil {
		r.tools.session.Close()
	}
	r.plan.release()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, r)
	if s.closed && len(s.running) == 0 {
		close(s.idle)
	}
}

// Stats returns a copy of the counters.
func (s *Service) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Running = len(s.running)
	stats.Repairs = maps.Clone(s.stats.Repairs)
	return stats
}

func (s *Service) countRepair(rule string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Repairs[rule]++
}

func (s *Service) countUnknownCall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.UnknownCalls++
}

// count adds up a finished response.
func (s *Service) count(a *api.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch a.Status {
	case api.Completed:
		s.stats.Completed++
	case api.Incomplete:
		s.stats.Incomplete++
	case api.Cancelled:
		s.stats.Cancelled++
	default:
		s.stats.Failed++
	}
	s.stats.InputTokens += uint64(a.Usage.InputTokens)
	s.stats.CachedTokens += uint64(a.Usage.InputTokensDetails.CachedTokens)
	s.stats.OutputTokens += uint64(a.Usage.OutputTokens)
	s.stats.ReasoningTokens += uint64(a.Usage.OutputTokenDetails.ReasoningTokens)
}

// newID returns a new id like OpenAI's: a prefix that says what of, and 192 random bits.
func (s *Service) newID(prefix string) string {
	random := make([]byte, 24)
	s.o.Random(random)
	return prefix + "_" + hex.EncodeToString(random)
}
