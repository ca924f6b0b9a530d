package responses_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chorale/inference/engine"
	"chorale/inference/engine/enginetest"
	"chorale/server/api"
	"chorale/server/responses"
	"chorale/server/store"
)

// endless never stops talking.
func endless(_, generated []int32) int32 {
	opening := codec().Tokenizer().EncodeSpecial(nil, "<|channel|>final<|message|>")
	if n := len(generated); n < len(opening) {
		return opening[n]
	}
	return codec().Tokenizer().Encode(nil, " go")[0]
}

// apiError is the error that a call must have returned.
func apiError(t *testing.T, err error, status int, param, code string) *api.Error {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *api.Error", err)
	}
	if e.Status != status || e.Param != param || e.Code != code {
		t.Errorf("got %d, param %q, code %q (%v); want %d, %q, %q", e.Status, e.Param, e.Code, e, status, param, code)
	}
	return e
}

// TestCancelledResponses ends responses in the ways in which clients leave. Generating stops, nothing leaks (synctest
// fails for goroutines that stay), and what there was is stored.
func TestCancelledResponses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		leave  func(cancel context.CancelFunc) (again bool)
		events bool // a terminal event is still seen
	}{
		{"loop is left", func(context.CancelFunc) bool { return false }, false},
		{"context ends", func(cancel context.CancelFunc) bool { cancel(); return true }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var steps atomic.Int64
				s := start(t, enginetest.Options{Script: endless, BeforeStep: func(context.Context, *engine.Batch) error {
					steps.Add(1)
					return nil
				}}, responses.Options{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				run, err := s.Create(ctx, request(t, `{"input":"Talk."}`))
				if err != nil {
					t.Fatal(err)
				}
				var id string
				var last *api.Response
				var texts int
				for e := range run.Events() {
					switch e := e.(type) {
					case *api.ResponseEvent:
						id = e.Response.ID
						last, _ = api.Terminal(e)
					case *api.TextDelta:
						texts++
					}
					if texts == 3 && !tt.leave(cancel) {
						break
					}
				}
				synctest.Wait()
				stopped := steps.Load()
				r, err := s.Get(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if r.Status != api.Cancelled || r.CompletedAt != nil || r.IncompleteDetails != nil ||
					r.Output[0].(*api.Message).Status != api.Incomplete || !strings.HasPrefix(text(r), " go go go") {
					t.Errorf("stored %s", encode(t, r))
				}
				if (last != nil) != tt.events {
					t.Errorf("terminal event: %v, want %v", last != nil, tt.events)
				}
				_, err = s.Create(t.Context(), request(t, `{"input":"On.","previous_response_id":"`+id+`"}`))
				apiError(t, err, 400, "previous_response_id", "invalid_value")
				if synctest.Wait(); steps.Load() != stopped {
					t.Errorf("the engine went on: %d steps, then %d", stopped, steps.Load())
				}
				if stats := s.Stats(); stats.Cancelled != 1 || stats.Running != 0 {
					t.Errorf("got %+v", stats)
				}
			})
		})
	}
}

// TestLeavingAtTheEnd leaves when the answer is complete: it is not cancelled any more.
func TestLeavingAtTheEnd(t *testing.T) {
	t.Parallel()
	s := start(t, enginetest.Options{Script: (&model{}).script}, responses.Options{})
	var id string
	for e := range create(t, s, `{"input":"Hi"}`).Events() {
		if r, ok := e.(*api.ResponseEvent); ok {
			id = r.Response.ID
		}
		if _, ok := e.(*api.TextDone); ok {
			break
		}
	}
	if r, err := s.Get(t.Context(), id); err != nil || r.Status != api.Completed || text(r) != "ok" {
		t.Errorf("got %s, %v", encode(t, r), err)
	}
}

func TestUnreadRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, enginetest.Options{Script: endless}, responses.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		run, err := s.Create(ctx, request(t, `{"input":"Talk."}`))
		if err != nil {
			t.Fatal(err)
		}
		if n := s.Stats().Running; n != 1 {
			t.Errorf("%d run, want 1", n)
		}
		cancel()
		synctest.Wait()
		if n := s.Stats().Running; n != 0 {
			t.Errorf("%d run after the end, want none", n)
		}
		for e := range run.Events() {
			t.Errorf("an event after the end: %s", encode(t, e))
		}
	})
}

func TestEventsTwice(t *testing.T) {
	t.Parallel()
	s := start(t, enginetest.Options{Script: (&model{}).script}, responses.Options{})
	run := create(t, s, `{"input":"Hi"}`)
	finish(t, run.Events())
	for e := range run.Events() {
		t.Errorf("an event the second time: %s", encode(t, e))
	}
}

// TestFailedResponses holds what the client sees when the server's side breaks: an error event, then response.failed,
// which keeps the output so far, is stored, and says nothing about the inside.
func TestFailedResponses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		before  func(ctx context.Context, n int64) error // step n
		limit   time.Duration
		message string
	}{
		{"engine breaks", func(_ context.Context, n int64) error {
			if n == 10 {
				return errors.New("secret: device lost")
			}
			return nil
		}, 0, "The server had an error while it generated the response."},
		{"too long", func(context.Context, int64) error { time.Sleep(time.Second); return nil }, 10 * time.Second,
			"The response took longer than the 10s that this server allows."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var n atomic.Int64
				s := start(t, enginetest.Options{Script: endless, BeforeStep: func(ctx context.Context, _ *engine.Batch) error {
					return tt.before(ctx, n.Add(1))
				}}, responses.Options{MaxDuration: tt.limit})
				check := client{t: t}
				var failure *api.ErrorEvent
				var r *api.Response
				for e := range create(t, s, `{"input":"Talk."}`).Events() {
					check.event(e)
					if e, ok := e.(*api.ErrorEvent); ok {
						failure = e
					}
					r, _ = api.Terminal(e)
				}
				if failure == nil || *failure.Code != "server_error" || failure.Message != tt.message {
					t.Errorf("error event: %s", encode(t, failure))
				}
				if r.Status != api.Failed || r.Error.Message != tt.message || !strings.HasPrefix(text(r), " go") || r.CompletedAt != nil {
					t.Errorf("response: %s", encode(t, r))
				}
				checkStored(t, s, r)
				if stats := s.Stats(); stats.Failed != 1 {
					t.Errorf("got %+v", stats)
				}
			})
		})
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "s.db"), MaxBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var log bytes.Buffer
	s := start(t, enginetest.Options{Script: (&model{texts: []string{final("a"), final("b")}}).script},
		responses.Options{Store: db, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	check := client{t: t}
	var r *api.Response
	for e := range create(t, s, `{"input":"Hi"}`).Events() {
		check.event(e)
		r, _ = api.Terminal(e)
	}
	if r.Status != api.Failed || r.Error.Message != "The response could not be stored." || text(r) != "a" {
		t.Errorf("got %s", encode(t, r))
	}
	if !strings.Contains(log.String(), "s.db") {
		t.Errorf("the log does not name the file: %s", log.String())
	}
	if r := respond(t, s, `{"input":"Hi","store":false}`); r.Status != api.Completed {
		t.Errorf("not to be stored: got %s", encode(t, r))
	}
}

func TestLogHasNoContent(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := start(t, enginetest.Options{Script: (&model{texts: []string{final("SECRET")}}).script},
		responses.Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	r := respond(t, s, `{"input":"SECRET","instructions":"SECRET"}`)
	if strings.Contains(log.String(), "SECRET") || !strings.Contains(log.String(), r.ID) || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("got %s", log.String())
	}
}

func TestCloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		step := make(chan struct{})
		m := &model{texts: []string{final("done")}}
		s := start(t, enginetest.Options{Script: m.script, BeforeStep: func(context.Context, *engine.Batch) error {
			<-step
			return nil
		}}, responses.Options{})
		run := create(t, s, `{"input":"Hi"}`)
		var response *api.Response
		var wg sync.WaitGroup
		wg.Go(func() { response = finish(t, run.Events()) })
		closed := make(chan error, 1)
		go func() { closed <- s.Close(context.Background()) }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("closed while a response runs: %v", err)
		default:
		}
		_, err := s.Create(t.Context(), request(t, `{"input":"Hi"}`))
		apiError(t, err, 503, "", "server_shutting_down")
		close(step)
		wg.Wait()
		if err := <-closed; err != nil || response.Status != api.Completed {
			t.Errorf("got %v, %s", err, response.Status)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("second close: %v", err)
		}
	})
}

func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, enginetest.Options{Script: endless, BeforeStep: func(context.Context, *engine.Batch) error {
			time.Sleep(time.Second)
			return nil
		}}, responses.Options{})
		run := create(t, s, `{"input":"Hi"}`)
		create(t, s, `{"input":"Nobody reads this one."}`)
		var response *api.Response
		var wg sync.WaitGroup
		wg.Go(func() { response = finish(t, run.Events()) })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want deadline exceeded", err)
		}
		wg.Wait()
		if response.Status != api.Failed || response.Error.Message != "The server is shutting down." {
			t.Errorf("got %s", encode(t, response))
		}
	})
}

func TestRefusedByTheEngine(t *testing.T) {
	t.Parallel()
	layout := enginetest.Layout(codec().Tokenizer().Vocab())
	layout.MaxContext = 200
	s := start(t, enginetest.Options{Layout: layout, Script: endless}, responses.Options{})
	_, err := s.Create(t.Context(), request(t, `{"input":"`+strings.Repeat("word ", 300)+`"}`))
	e := apiError(t, err, 400, "input", "context_length_exceeded")
	if !strings.Contains(e.Message, "200") {
		t.Errorf("the message does not say the limit: %s", e.Message)
	}
	if r := respond(t, s, `{"input":"Talk."}`); r.Status != api.Incomplete || r.Usage.TotalTokens != 200 {
		t.Errorf("a full context: got %s", encode(t, r))
	}
	if n := s.Stats().Refused; n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
}

func TestQueueFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		e, err := engine.New(enginetest.NewScripted(enginetest.Options{Script: (&model{}).script,
			BeforeStep: func(context.Context, *engine.Batch) error { <-release; return nil }}),
			engine.Options{MaxSequences: 1, MaxQueue: 1})
		if err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
		if err != nil {
			t.Fatal(err)
		}
		s, err := responses.New(responses.Options{Engine: e, Codec: codec(), Store: db, Logger: slog.New(slog.DiscardHandler),
			Model: responses.ModelInfo{ID: "m", MaxContext: 8192, Vocab: 201088}})
		if err != nil {
			t.Fatal(err)
		}
		var runs []*responses.Run
		for range 2 {
			runs = append(runs, create(t, s, `{"input":"Hi"}`))
			synctest.Wait()
		}
		_, err = s.Create(t.Context(), request(t, `{"input":"Hi"}`))
		if e := apiError(t, err, 429, "", "rate_limit_exceeded"); !strings.Contains(e.Message, "try again in") {
			t.Errorf("message: %s", e.Message)
		}
		close(release)
		for _, run := range runs {
			finish(t, run.Events())
		}
		if err := errors.Join(s.Close(t.Context()), e.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestTruncation(t *testing.T) {
	t.Parallel()
	layout := enginetest.Layout(codec().Tokenizer().Vocab())
	layout.MaxContext = 300
	m := &model{}
	s := start(t, enginetest.Options{Layout: layout, Script: m.script}, responses.Options{})
	var items []string
	for i := range 10 {
		items = append(items, fmt.Sprintf(`{"role":"user","content":"question %d %s"}`, i, strings.Repeat("word ", 20)),
			fmt.Sprintf(`{"type":"function_call","call_id":"c%d","name":"f","arguments":"{}"}`, i),
			fmt.Sprintf(`{"type":"function_call_output","call_id":"c%d","output":"result %d"}`, i, i))
	}
	input := `"input":[` + strings.Join(items, ",") + `]`
	_, err := s.Create(t.Context(), request(t, `{`+input+`}`))
	apiError(t, err, 400, "input", "context_length_exceeded")
	m.write(final("ok"))
	r := respond(t, s, `{"truncation":"auto","max_output_tokens":40,"instructions":"Stay.",`+input+`}`)
	prompt := m.lastPrompts()[0]
	if r.Truncation != "auto" || r.Usage.InputTokens+40 > 300 || !strings.Contains(prompt, "Stay.") ||
		!strings.Contains(prompt, "question 9") || strings.Contains(prompt, "question 5") || strings.Contains(prompt, "result 5") {
		t.Errorf("%d tokens, prompt %s", r.Usage.InputTokens, prompt)
	}
	m.write(final("ok"))
	if short := respond(t, s, `{"truncation":"auto","input":[`+strings.Join(items[:6], ",")+`]}`); short.Usage.InputTokens < 140 {
		t.Errorf("dropped although it fits: %d tokens", short.Usage.InputTokens)
	}
}

func TestLimitsOfTheServer(t *testing.T) {
	t.Parallel()
	s := start(t, enginetest.Options{Script: endless}, responses.Options{MaxOutputTokens: 20})
	for body, want := range map[string]int64{
		`{"input":"a"}`:                          20,
		`{"input":"a","max_output_tokens":100}`:  20,
		`{"input":"a","max_output_tokens":5}`:    5,
		`{"input":"a","max_output_tokens":null}`: 20,
	} {
		r := respond(t, s, body)
		if *r.MaxOutputTokens != want || r.Usage.OutputTokens != int(want) || r.IncompleteDetails.Reason != "max_output_tokens" {
			t.Errorf("%s: got limit %d and %d tokens, want %d", body, *r.MaxOutputTokens, r.Usage.OutputTokens, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	e, err := engine.New(enginetest.NewScripted(enginetest.Options{Script: endless}), engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	good := responses.Options{Engine: e, Codec: codec(), Store: db, Logger: slog.New(slog.DiscardHandler), Model: responses.ModelInfo{ID: "m"}}
	if _, err := responses.New(good); err != nil {
		t.Errorf("good options: %v", err)
	}
	for name, change := range map[string]func(*responses.Options){
		"Engine":          func(o *responses.Options) { o.Engine = nil },
		"Store":           func(o *responses.Options) { o.Store = nil },
		"Model.ID":        func(o *responses.Options) { o.Model.ID = "" },
		"31 bytes":        func(o *responses.Options) { o.Key = make([]byte, 31) },
		"MaxOutputTokens": func(o *responses.Options) { o.MaxOutputTokens = -1 },
		"MaxDuration":     func(o *responses.Options) { o.MaxDuration = -1 },
	} {
		o := good
		change(&o)
		if _, err := responses.New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLogprobs(t *testing.T) {
	t.Parallel()
	tok := codec().Tokenizer()
	writing := tok.EncodeSpecial(nil, "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant"+final("A 💖 or B END"))
	runner := enginetest.Options{Logits: func(_, generated []int32, logits []float32) {
		clear(logits)
		logits[writing[len(generated)]], logits[33] = 20, 19 // id 33 is B or some other single byte
	}}
	s := start(t, runner, responses.Options{})
	const ask = `"input":"Hi","temperature":0,"top_logprobs":2,"stop":"END"`
	if got := respond(t, s, `{`+ask+`}`).Output[1].(*api.Message).Content[0].(api.OutputText).Logprobs; len(got) != 0 {
		t.Errorf("not asked for, but got %d", len(got))
	}
	check := client{t: t}
	var streamed []api.Logprob
	var r *api.Response
	for e := range create(t, s, `{`+ask+`,"include":["message.output_text.logprobs"]}`).Events() {
		check.event(e)
		if d, ok := e.(*api.TextDelta); ok {
			streamed = append(streamed, d.Logprobs...)
		}
		r, _ = api.Terminal(e)
	}
	part := r.Output[1].(*api.Message).Content[0].(api.OutputText)
	if part.Text != "A 💖 or B " {
		t.Fatalf("got %q", part.Text)
	}
	if encode(t, streamed) != encode(t, part.Logprobs) {
		t.Errorf("streamed %s,\nfinally %s", encode(t, streamed), encode(t, part.Logprobs))
	}
	var data []byte
	for _, l := range part.Logprobs {
		for _, b := range l.Bytes {
			data = append(data, byte(b))
		}
		if len(l.TopLogprobs) != 2 || l.TopLogprobs[0].Token != l.Token || l.TopLogprobs[0].Logprob != l.Logprob {
			t.Errorf("alternatives of %q: %v", l.Token, l.TopLogprobs)
		}
		// softmax over one 20, one 19 and the rest 0
		want := -math.Log1p(math.Exp(-1) + float64(tok.Vocab()-2)*math.Exp(-20))
		if math.Abs(l.Logprob-want) > 1e-4 {
			t.Errorf("log-probability of %q: got %v, want %v", l.Token, l.Logprob, want)
		}
	}
	if !strings.HasPrefix(string(data), "A 💖 or B") {
		t.Errorf("the tokens spell %q", data)
	}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	words := tok4()
	s := start(t, enginetest.Options{Logits: func(_, generated []int32, logits []float32) {
		for i := range logits {
			logits[i] = -100
		}
		opening := codec().Tokenizer().EncodeSpecial(nil, "<|channel|>final<|message|>")
		if n := len(generated); n < len(opening) {
			logits[opening[n]] = 0
			return
		}
		for _, w := range words {
			logits[w] = 0
		}
	}}, responses.Options{})
	body := func(seed string) string { return `{"input":"Hi","max_output_tokens":40` + seed + `}` }
	first, second := respond(t, s, body(`,"seed":7`)), respond(t, s, body(`,"seed":7`))
	other := respond(t, s, body(`,"seed":8`))
	if text(first) != text(second) || text(first) == text(other) || first.Seed != 7 {
		t.Errorf("seed 7: %q, %q; seed 8: %q", text(first), text(second), text(other))
	}
	random := respond(t, s, body(``))
	if again := respond(t, s, body(fmt.Sprintf(`,"seed":%d`, random.Seed))); text(again) != text(random) || random.Seed >= 1<<53 {
		t.Errorf("the echoed seed %d gives %q, not %q", random.Seed, text(again), text(random))
	}
}

func tok4() []int32 { return codec().Tokenizer().Encode(nil, "a b c d") }

func TestStoredResponses(t *testing.T) {
	t.Parallel()
	m := &model{texts: []string{"<|channel|>analysis<|message|>Hm<|end|><|start|>assistant" + final("one"), final("two")}}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{})
	first := respond(t, s, `{"input":[{"role":"user","content":"a","id":"mine"},{"type":"odd","x":1},{"role":"user","content":"b"}]}`)
	list, err := s.InputItems(t.Context(), first.ID, api.Page{Order: "asc"})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, item := range list.Data {
		kinds = append(kinds, api.Kind(item))
		if api.ID(item) == "" {
			t.Errorf("no id: %s", encode(t, item))
		}
	}
	if !slices.Equal(kinds, []string{"message", "odd", "message"}) || *list.FirstID != "mine" {
		t.Errorf("got %s", encode(t, list))
	}
	// References to items of either side.
	m.write(final("three"))
	refer := fmt.Sprintf(`{"input":[{"id":"mine"},{"type":"item_reference","id":%q},{"role":"user","content":"c"}]}`, api.ID(first.Output[1]))
	second := respond(t, s, refer)
	if prompt := m.lastPrompts()[0]; !strings.Contains(prompt, "<|message|>a<|end|>") || !strings.Contains(prompt, "<|message|>one<|end|>") {
		t.Errorf("prompt: %s", prompt)
	}
	if err := s.Delete(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(t.Context(), first.ID)
	apiError(t, err, 404, "response_id", "response_not_found")
	apiError(t, s.Delete(t.Context(), first.ID), 404, "response_id", "response_not_found")
	_, err = s.InputItems(t.Context(), first.ID, api.Page{})
	apiError(t, err, 404, "response_id", "response_not_found")
	_, err = s.InputItems(t.Context(), second.ID, api.Page{After: "nobody"})
	apiError(t, err, 400, "after", "invalid_value")
	list, err = s.InputItems(t.Context(), second.ID, api.Page{})
	if err != nil || len(list.Data) != 3 || api.Kind(list.Data[2]) != "message" {
		t.Errorf("references did not become what they stand for: %s, %v", encode(t, list), err)
	}
}

func TestChainIsBroken(t *testing.T) {
	t.Parallel()
	s := start(t, enginetest.Options{Script: (&model{}).script}, responses.Options{})
	a := respond(t, s, `{"input":"a"}`)
	b := respond(t, s, `{"input":"b","previous_response_id":"`+a.ID+`"}`)
	if err := s.Delete(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	_, err := s.Create(t.Context(), request(t, `{"input":"c","previous_response_id":"`+b.ID+`"}`))
	if e := apiError(t, err, 400, "previous_response_id", "previous_response_not_found"); !strings.Contains(e.Message, a.ID) {
		t.Errorf("the message does not name the missing one: %s", e.Message)
	}
}

// TestOtherModelsTokens continues a response of another model on the same store: its items count, not its tokens.
func TestOtherModelsTokens(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var prompts []string
	var previous string
	for _, id := range []string{"one", "two"} {
		m := &model{texts: []string{"<|channel|>commentary to=functions.f json<|message|>{}<|call|>"}}
		s := start(t, enginetest.Options{Script: m.script}, responses.Options{Store: db,
			Model: responses.ModelInfo{ID: id, MaxContext: 8192, Vocab: 201088}})
		r := respond(t, s, `{"input":"x","tools":[{"type":"function","name":"f"}]`+previous+`}`)
		previous = `,"previous_response_id":"` + r.ID + `"`
		prompts = append(prompts, m.lastPrompts()...)
	}
	if !strings.Contains(prompts[1], "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>") {
		t.Errorf("prompt: %s", prompts[1])
	}
}

// TestExactTokens continues a response whose tokens are not those that its text would be encoded to.
func TestExactTokens(t *testing.T) {
	t.Parallel()
	tok := codec().Tokenizer()
	odd := tok.EncodeSpecial(nil, "<|channel|>final<|message|>")
	for _, c := range "a text of one token a letter" {
		odd = tok.Encode(odd, string(c))
	}
	odd = tok.EncodeSpecial(odd, "<|return|>")
	var prompts [][]int32
	var mu sync.Mutex
	s := start(t, enginetest.Options{Script: func(prompt, generated []int32) int32 {
		mu.Lock()
		defer mu.Unlock()
		if len(generated) == 0 {
			prompts = append(prompts, slices.Clone(prompt))
		}
		return odd[len(generated)]
	}}, responses.Options{})
	first := respond(t, s, `{"input":"a"}`)
	second := respond(t, s, `{"input":"b","previous_response_id":"`+first.ID+`"}`)
	sequence := append(slices.Clone(prompts[0]), odd[:len(odd)-1]...)
	if !slices.Equal(prompts[1][:len(sequence)], sequence) {
		t.Errorf("the history has %q, want the tokens of %q", tok.Decode(prompts[1]), tok.Decode(sequence))
	}
	const block = 16 // tokens that are cached together
	if cached := second.Usage.InputTokensDetails.CachedTokens; cached != len(sequence)/block*block || cached <= len(prompts[0]) {
		t.Errorf("%d tokens were cached, want the %d in whole blocks of the first response", cached, len(sequence)/block*block)
	}
}

// TestManyAtOnce runs 200 responses at once on a real store file, and then 200 that continue them.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tok := codec().Tokenizer()
	// The model repeats the last user message.
	s := start(t, enginetest.Options{Script: func(prompt, generated []int32) int32 {
		all := tok.Decode(prompt)
		_, last, _ := strings.Cut(all[strings.LastIndex(all, "<|start|>user"):], "<|message|>")
		last, _, _ = strings.Cut(last, "<|end|>")
		writing := tok.EncodeSpecial(nil, "<|channel|>analysis<|message|>Echo.<|end|><|start|>assistant"+final("You said "+last))
		return writing[len(generated)]
	}}, responses.Options{Store: db})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			previous := ""
			for turn := range 2 {
				said := fmt.Sprintf("thing %d of %d", turn, i)
				check := client{t: t}
				var r *api.Response
				run, err := s.Create(context.Background(), request(t, `{"input":"`+said+`"`+previous+`}`))
				if err != nil {
					t.Error(err)
					return
				}
				for e := range run.Events() {
					check.event(e)
					r, _ = api.Terminal(e)
				}
				if r.Status != api.Completed || text(r) != "You said "+said {
					t.Errorf("%q: got %s %q", said, r.Status, text(r))
				}
				checkStored(t, s, r)
				previous = `,"previous_response_id":"` + r.ID + `"`
			}
		})
	}
	wg.Wait()
	stats := s.Stats()
	if stats.Completed != 400 || stats.Running != 0 || stats.OutputTokens == 0 || stats.ReasoningTokens != 400*6 {
		t.Errorf("got %+v", stats)
	}
}

func TestRepairsAreCounted(t *testing.T) {
	t.Parallel()
	m := &model{texts: []string{"<|channel|>commentary?<|message|>a<|end|><|return|>"}}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Ungated: true})
	respond(t, s, `{"input":"Hi","tools":[{"type":"function","name":"f"}]}`)
	got := s.Stats().Repairs
	if got["misspelled_channel"] != 1 {
		t.Errorf("got %v", got)
	}
	got["misspelled_channel"] = 9
	if s.Stats().Repairs["misspelled_channel"] != 1 {
		t.Error("Stats is not a copy")
	}
}
