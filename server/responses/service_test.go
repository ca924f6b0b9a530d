package responses_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/inference/engine"
	"chorale/inference/engine/enginetest"
	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
	"chorale/server/api"
	"chorale/server/responses"
	"chorale/server/store"
)

// codec is the real one; making it takes a while, so that all tests share it.
var codec = sync.OnceValue(func() *harmony.Codec {
	t, err := tokenizer.O200kHarmony()
	if err != nil {
		panic(err)
	}
	c, err := harmony.NewCodec(t)
	if err != nil {
		panic(err)
	}
	return c
})

// now is the time of all tests.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// A model is a Runner's script: one text per generation, written with control tokens, in the order in which the
// generations begin. Without a text it answers "ok", and behind one it writes <|return|>.
type model struct {
	mu      sync.Mutex
	texts   []string
	prompts []string // of the generations so far, with control tokens
	last    []int32  // the prompt of the last one
	writing []int32
}

func (m *model) script(prompt, generated []int32) int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := codec().Tokenizer()
	if len(generated) == 0 {
		m.prompts, m.last = append(m.prompts, t.Decode(prompt)), slices.Clone(prompt)
		m.writing = t.EncodeSpecial(nil, final("ok"))
		if len(m.texts) > 0 {
			m.writing, m.texts = t.EncodeSpecial(nil, m.texts[0]), m.texts[1:]
		}
	}
	if n := len(generated); n < len(m.writing) {
		return m.writing[n]
	}
	end, _ := t.Special("<|return|>")
	return end
}

// write sets what the model writes next, and forgets the prompts.
func (m *model) write(texts ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.texts, m.prompts = texts, nil
}

func (m *model) lastPrompts() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.prompts
}

// start starts a service, an engine and a store over what runner and options say; zero options get defaults for tests.
func start(t testing.TB, runner enginetest.Options, o responses.Options) *responses.Service {
	t.Helper()
	e, err := engine.New(enginetest.NewScripted(runner), engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(context.Background(), store.Options{Path: ":memory:", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	o.Engine, o.Codec = e, codec()
	if o.Store == nil {
		o.Store = db
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Model.ID == "" {
		layout := runner.Layout
		if layout.MaxContext == 0 {
			layout = enginetest.Layout(codec().Tokenizer().Vocab())
		}
		o.Model = responses.ModelInfo{ID: "gpt-oss-20b", Aliases: []string{"gpt-oss"}, MaxContext: layout.MaxContext, Vocab: layout.Vocab}
	}
	if o.Now == nil {
		o.Now = func() time.Time { return now }
	}
	s, err := responses.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := s.Close(context.Background())
		if failed := e.Close(); runner.BeforeStep == nil { // which may have broken it on purpose
			err = errors.Join(err, failed)
		}
		if err = errors.Join(err, db.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// counter makes ids that count up.
func counter() func([]byte) {
	var mu sync.Mutex
	var n uint64
	return func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		n++
		clear(p)
		binary.BigEndian.PutUint64(p[len(p)-8:], n)
	}
}

func request(t testing.TB, body string) *api.Request {
	t.Helper()
	r, err := api.DecodeRequest([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return r
}

// create starts a response that must be accepted.
func create(t testing.TB, s *responses.Service, body string) *responses.Run {
	t.Helper()
	run, err := s.Create(t.Context(), request(t, body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return run
}

// respond runs a response to its end.
func respond(t testing.TB, s *responses.Service, body string) *api.Response {
	t.Helper()
	return finish(t, create(t, s, body).Events())
}

// finish returns the response of the terminal event.
func finish(t testing.TB, events iter.Seq[api.Event]) *api.Response {
	t.Helper()
	var response *api.Response
	for e := range events {
		if response != nil {
			t.Errorf("an event follows the terminal one: %s", encode(t, e))
		}
		response, _ = api.Terminal(e)
	}
	if response == nil {
		t.Fatal("no terminal event")
	}
	return response
}

func encode(t testing.TB, v any) string {
	t.Helper()
	data, err := api.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// text is the visible text of a response, its messages joined by a bar.
func text(r *api.Response) string {
	var texts []string
	for _, item := range r.Output {
		if m, ok := item.(*api.Message); ok {
			texts = append(texts, m.Content[0].(api.OutputText).Text)
		}
	}
	return strings.Join(texts, "|")
}

// final is a generation that is one answer.
func final(text string) string { return "<|channel|>final<|message|>" + text + "<|return|>" }
