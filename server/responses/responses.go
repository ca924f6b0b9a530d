// Package responses runs one response from the validated request to the stored result.
package responses

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"chorale/server/api"
	"chorale/server/store"
)

// ModelInfo describes the model that the engine runs.
type ModelInfo struct {
	ID         string   // the name that clients ask for and that responses carry
	Aliases    []string // further names under which it is found
	MaxContext int      // tokens of prompt and output together
	Vocab      int      // rows of the model's embedding
	Demo       bool     // the small built-in model
}

// Options configure a Service.
type Options struct {
	Model  ModelInfo
	Store  *store.Store
	Logger *slog.Logger
	Now    func() time.Time // nil = time.Now

	Key             []byte        // 32 bytes that seal encrypted reasoning; nil = a random one, so nothing survives a restart
	MaxOutputTokens int           // of one response; 0 = up to the model's context
	MaxDuration     time.Duration // of one response; 0 = 10 minutes
}

// Stats are counters since the start, except Running.
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

// A Service runs responses. It is safe for concurrent use.
type Service struct{ o Options }

// New returns a Service.
func New(o Options) (*Service, error) { return &Service{o: o}, nil }

// Model returns what the service was configured with.
func (s *Service) Model() ModelInfo { return s.o.Model }

// Create validates the request and starts to generate. The error is an *api.Error.
func (s *Service) Create(ctx context.Context, r *api.Request) (*Run, error) {
	return nil, unavailable()
}

func unavailable() error {
	return &api.Error{Status: 503, Type: "server_error", Message: "The server is starting."}
}

// A Run is one response being generated. It must be read to the end, or its context cancelled.
type Run struct{}

// Events yields the response's events; the last one is terminal.
func (r *Run) Events() iter.Seq[api.Event] { return func(func(api.Event) bool) {} }

// Get returns a stored response. The error is an *api.Error.
func (s *Service) Get(ctx context.Context, id string) (*api.Response, error) {
	return nil, unavailable()
}

// Delete removes a stored response. The error is an *api.Error.
func (s *Service) Delete(ctx context.Context, id string) error { return unavailable() }

// InputItems returns a page of the input of a stored response. The error is an *api.Error.
func (s *Service) InputItems(ctx context.Context, id string, page api.Page) (*api.ItemList, error) {
	return nil, unavailable()
}

// Close refuses new responses and waits for the running ones, which it cancels when ctx ends. It is idempotent.
func (s *Service) Close(ctx context.Context) error { return nil }

// Stats returns a copy of the counters.
func (s *Service) Stats() Stats { return Stats{} }
