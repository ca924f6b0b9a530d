package httpd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chorale/inference/engine"
	"chorale/inference/engine/enginetest"
	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
	"chorale/server/httpd"
	"chorale/server/responses"
	"chorale/server/store"
)

// A backend is the real service over a model that answers what it is told to.
type backend struct {
	service *responses.Service
	engine  *engine.Engine
}

// settings of a backend; zero values are harmless.
type settings struct {
	answer     string // in harmony, from the channel of the first message on
	beforeStep func(context.Context, *engine.Batch) error
	engine     engine.Options
}

const shortAnswer = "<|channel|>analysis<|message|>Let me greet.<|end|><|start|>assistant<|channel|>final<|message|>Hi!<|return|>"

func newBackend(t testing.TB, o settings) *backend {
	t.Helper()
	table, err := tokenizer.O200kHarmony()
	check(t, err)
	codec, err := harmony.NewCodec(table)
	check(t, err)
	if o.answer == "" {
		o.answer = shortAnswer
	}
	answer := table.EncodeSpecial(nil, o.answer)
	e, err := engine.New(enginetest.NewScripted(enginetest.Options{
		Script:     func(_, generated []int32) int32 { return answer[min(len(generated), len(answer)-1)] },
		BeforeStep: o.beforeStep,
	}), o.engine)
	check(t, err)
	db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
	check(t, err)
	s, err := responses.New(responses.Options{
		Engine: e, Codec: codec, Store: db, Logger: slog.New(slog.DiscardHandler),
		Model: responses.ModelInfo{ID: "test-model", Aliases: []string{"alias", "openai/alias"}, MaxContext: e.MaxContext(), Vocab: table.Vocab()},
	})
	check(t, err)
	t.Cleanup(func() {
		e.Close() // what is still running fails
		s.Close(context.Background())
		db.Close()
	})
	return &backend{s, e}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// events cuts a stream into its blocks and checks the form of each: "name data" or the comment.
func events(t *testing.T, stream string) (all []string) {
	t.Helper()
	for block := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		if strings.HasPrefix(block, ":") || block == "data: [DONE]" {
			all = append(all, block)
			continue
		}
		var name, data string
		if n, err := fmt.Sscanf(block, "event: %s\ndata: ", &name); n != 1 && err != nil {
			t.Fatalf("block %q", block)
		}
		_, data, _ = strings.Cut(block, "\ndata: ")
		var body struct{ Type string }
		if err := json.Unmarshal([]byte(data), &body); err != nil || body.Type != name || strings.Contains(data, "\n") {
			t.Fatalf("event %s has data %q: %v", name, data, err)
		}
		all = append(all, name)
	}
	return all
}

func TestStream(t *testing.T) {
	t.Parallel()
	s := newServer(t, httpd.Options{Responses: newBackend(t, settings{}).service})
	const body = `{"input":"Hello","stream":true}`
	openAI := strings.Fields(`response.created response.in_progress response.output_item.added response.content_part.added
		response.reasoning_text.delta response.reasoning_text.done response.content_part.done response.output_item.done
		response.output_item.added response.content_part.added response.output_text.delta response.output_text.done
		response.content_part.done response.output_item.done response.completed`)
	openResponses := strings.Fields(strings.ReplaceAll(strings.Join(openAI, " "), "reasoning_text", "reasoning"))
	tests := []struct {
		name, path, header string
		want               []string
	}{
		{"OpenAI", "/v1/responses", "", openAI},
		{"Open Responses by header", "/v1/responses", "OpenResponses-Version: latest", openResponses},
		{"Open Responses by mount", "/openresponses/v1/responses", "", openResponses},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res := do(s, "POST", test.path, strings.NewReader(body), test.header)
			for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "Connection": "close"} {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if _, version, _ := strings.Cut(test.header, ": "); res.Header.Get("OpenResponses-Version") != version {
				t.Errorf("OpenResponses-Version is %q, want %q", res.Header.Get("OpenResponses-Version"), version)
			}
			stream, _ := io.ReadAll(res.Body)
			var kinds []string // deltas of a kind once
			for _, e := range events(t, string(stream)) {
				if len(kinds) == 0 || kinds[len(kinds)-1] != e {
					kinds = append(kinds, e)
				}
			}
			if got, want := strings.Join(kinds, " "), strings.Join(test.want, " ")+" data: [DONE]"; got != want {
				t.Errorf("events\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestJSONAnswerIsStoredAndFound(t *testing.T) {
	t.Parallel()
	s := newServer(t, httpd.Options{Responses: newBackend(t, settings{}).service})
	res := do(s, "POST", "/v1/responses", strings.NewReader(`{"input":[{"role":"user","content":"one"},{"role":"user","content":"two"}]}`))
	created, _ := io.ReadAll(res.Body)
	var r struct{ ID, Status string }
	if err := json.Unmarshal(created, &r); err != nil || res.StatusCode != 200 || r.Status != "completed" {
		t.Fatalf("status %d, %v: %s", res.StatusCode, err, created)
	}
	path := "/v1/responses/" + r.ID
	if got, _ := io.ReadAll(do(s, "GET", path, nil).Body); string(got) != string(created) {
		t.Errorf("stored\n%s\ncreated\n%s", got, created)
	}
	if got, _ := io.ReadAll(do(s, "GET", path+"/input_items?order=asc&limit=1", nil).Body); !strings.Contains(string(got), `"one"`) ||
		strings.Contains(string(got), `"two"`) || !strings.Contains(string(got), `"has_more":true`) {
		t.Errorf("input items %s", got)
	}
	checkError(t, do(s, "GET", path+"/input_items?after=msg_none", nil), 400, "invalid_value", "msg_none")
	checkError(t, do(s, "POST", path+"/cancel", nil), 400, "", "background")
	checkError(t, do(s, "POST", "/v1/responses/resp_none/cancel", nil), 404, "response_not_found", "resp_none")
	if got, _ := io.ReadAll(do(s, "DELETE", path, nil).Body); string(got) != `{"id":"`+r.ID+`","object":"response","deleted":true}` {
		t.Errorf("deletion %s", got)
	}
	checkError(t, do(s, "GET", path, nil), 404, "response_not_found", r.ID)
	checkError(t, do(s, "DELETE", path, nil), 404, "response_not_found", r.ID)
	checkError(t, do(s, "GET", path+"/input_items", nil), 404, "response_not_found", r.ID)
}

func TestSilenceIsFilledWithKeepalives(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, want string
	}{
		{"OpenAI gets events", "/v1/responses", "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":1}\n\n"},
		{"Open Responses gets comments", "/openresponses/v1/responses", ": keepalive\n\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				silent := sync.OnceFunc(func() { time.Sleep(50 * time.Second) }) // synthetic time
				b := newBackend(t, settings{beforeStep: func(context.Context, *engine.Batch) error { silent(); return nil }})
				s := newServer(t, httpd.Options{Responses: b.service})
				res := do(s, "POST", test.path, strings.NewReader(`{"input":"Hello","stream":true}`))
				stream, _ := io.ReadAll(res.Body)
				all := events(t, string(stream))
				if got := strings.Count(string(stream), test.want); got != 3 {
					t.Errorf("%d keepalives in 50 s, want 3 of %q in %q", got, test.want, all)
				}
				if all[0] != "response.created" || all[len(all)-1] != "data: [DONE]" {
					t.Errorf("events %q", all)
				}
			})
		})
	}
}

func TestFullQueueIs429(t *testing.T) {
	t.Parallel()
	resume := make(chan struct{})
	b := newBackend(t, settings{
		beforeStep: func(context.Context, *engine.Batch) error { <-resume; return nil },
		engine:     engine.Options{MaxSequences: 1, MaxQueue: 1},
	})
	s := newServer(t, httpd.Options{Responses: b.service})
	const body = `{"input":"Hello"}`
	// Whatever the engine has taken from its queue by now: of many requests some are refused, the others are answered.
	var group sync.WaitGroup
	refused, answered := make(chan *http.Response, 8), make(chan *http.Response, 8)
	for range 8 {
		group.Go(func() {
			if res := do(s, "POST", "/v1/responses", strings.NewReader(body)); res.StatusCode == 200 {
				answered <- res
			} else {
				refused <- res
			}
		})
	}
	for range 6 { // one runs, one waits; the engine may not have taken the first before the second came
		res := <-refused
		if res.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		checkError(t, res, 429, "rate_limit_exceeded", "waiting")
	}
	close(resume)
	group.Wait()
	if n := len(answered) + len(refused); n != 2 {
		t.Errorf("%d requests were left, want 2", n)
	}
}

func TestFailureOfTheModel(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", stream), func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, settings{beforeStep: func(context.Context, *engine.Batch) error { return errors.New("out of order") }})
			s := newServer(t, httpd.Options{Responses: b.service})
			res := do(s, "POST", "/v1/responses", strings.NewReader(fmt.Sprintf(`{"input":"Hello","stream":%v}`, stream)))
			if !stream {
				checkError(t, res, 500, "server_error", "error")
				return
			}
			data, _ := io.ReadAll(res.Body)
			all := events(t, string(data))
			if got := strings.Join(all[len(all)-3:], " "); got != "error response.failed data: [DONE]" {
				t.Errorf("events end with %s", got)
			}
		})
	}
}

// A stalledWriter takes nothing any more once full says so, as a connection does whose deadline has passed.
type stalledWriter struct {
	*httptest.ResponseRecorder
	full     func(written int, next []byte) bool
	deadline time.Time
}

func (w *stalledWriter) Write(p []byte) (int, error) {
	if w.full(w.Body.Len(), p) {
		return 0, os.ErrDeadlineExceeded
	}
	return w.ResponseRecorder.Write(p)
}

func (w *stalledWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

// endlessAnswer fills the context, for its last token comes again and again.
const endlessAnswer = "<|channel|>final<|message|>" + "word word word word"

func TestStalledClientStopsGeneration(t *testing.T) {
	t.Parallel()
	b := newBackend(t, settings{answer: endlessAnswer})
	s := newServer(t, httpd.Options{Responses: b.service, WriteTimeout: time.Hour})
	w := &stalledWriter{ResponseRecorder: httptest.NewRecorder(), full: func(written int, _ []byte) bool { return written > 8000 }}
	s.ServeHTTP(w, httptest.NewRequest("POST", "/v1/responses", strings.NewReader(`{"input":"Hello","stream":true}`)))
	if stats := b.service.Stats(); stats.Running != 0 || stats.Cancelled != 1 {
		t.Errorf("stats %+v, want one cancelled", stats)
	}
	if left := time.Until(w.deadline); left < 50*time.Minute || left > time.Hour {
		t.Errorf("the write deadline is in %v, want an hour", left)
	}
}

func TestFailedKeepaliveStopsGeneration(t *testing.T) {
	t.Parallel()
	// Nothing but a keepalive notices that the client is gone while the model is silent.
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, settings{beforeStep: func(context.Context, *engine.Batch) error { time.Sleep(5 * time.Minute); return nil }})
		s := newServer(t, httpd.Options{Responses: b.service})
		w := &stalledWriter{ResponseRecorder: httptest.NewRecorder(), full: func(_ int, next []byte) bool {
			return strings.HasPrefix(string(next), "event: keepalive")
		}}
		s.ServeHTTP(w, httptest.NewRequest("POST", "/v1/responses", strings.NewReader(`{"input":"Hello","stream":true}`)))
		if stats := b.service.Stats(); stats.Cancelled != 1 {
			t.Errorf("stats %+v, want one cancelled", stats)
		}
	})
}

func TestDisconnectStopsGeneration(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", stream), func(t *testing.T) {
			t.Parallel()
			stepped := make(chan struct{}, 1)
			b := newBackend(t, settings{answer: endlessAnswer, beforeStep: func(ctx context.Context, _ *engine.Batch) error {
				select {
				case stepped <- struct{}{}:
				case <-ctx.Done():
				}
				return nil
			}})
			s := newServer(t, httpd.Options{Responses: b.service})
			handled := make(chan struct{})
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(handled)
				s.ServeHTTP(w, r)
			}))
			defer web.Close()
			ctx, hangUp := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, "POST", web.URL+"/v1/responses", strings.NewReader(fmt.Sprintf(`{"input":"Hello","stream":%v}`, stream)))
			check(t, err)
			go func() {
				if res, err := http.DefaultClient.Do(r); err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			}()
			<-stepped // it runs
			hangUp()
			for {
				select {
				case <-stepped:
					continue
				case <-handled:
				}
				break
			}
			if stats := b.service.Stats(); stats.Cancelled != 1 || stats.Running != 0 {
				t.Errorf("stats %+v", stats)
			}
		})
	}
}

// onWrite is a writer that calls.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func TestServeDrains(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, answer string
		drain        time.Duration
		want         string // last events
	}{
		{"running responses finish", shortAnswer, time.Hour, "response.completed data: [DONE]"},
		{"the deadline fails them", endlessAnswer, time.Nanosecond, "response.failed data: [DONE]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			resume, drained := make(chan struct{}), make(chan struct{})
			b := newBackend(t, settings{answer: test.answer, beforeStep: func(ctx context.Context, _ *engine.Batch) error {
				select {
				case <-resume:
				case <-ctx.Done():
				}
				return nil
			}})
			log := slog.New(slog.NewTextHandler(onWrite(sync.OnceFunc(func() { close(resume) })), &slog.HandlerOptions{Level: slog.LevelWarn}))
			s := newServer(t, httpd.Options{Responses: b.service, DrainTimeout: test.drain, Logger: log, OnDrain: func() { close(drained) }})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			check(t, err)
			ctx, terminate := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- s.Serve(ctx, l) }()
			res, err := http.Post("http://"+l.Addr().String()+"/v1/responses", "", strings.NewReader(`{"input":"Hello","stream":true}`))
			check(t, err) // the header has come, so the response runs
			defer res.Body.Close()
			terminate()
			if test.drain == time.Hour {
				log.Warn("go on") // in the other case the server itself logs, once it gives up
			}
			data, err := io.ReadAll(res.Body)
			check(t, err)
			all := events(t, string(data))
			if got := strings.Join(all[len(all)-2:], " "); got != test.want {
				t.Errorf("events end with %s, want %s", got, test.want)
			}
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
			<-drained
			if _, err := http.Get("http://" + l.Addr().String() + "/health"); err == nil {
				t.Error("the address still answers")
			}
		})
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	l.Close()
	if err := newServer(t, httpd.Options{}).Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("error %v, want the address in it", err)
	}
}

func TestSlowBodiesAreGivenUp(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(newServer(t, httpd.Options{BodyTimeout: 20 * time.Millisecond}))
	defer web.Close()
	for name, body := range map[string]string{
		"nothing":    "Content-Length: 10\r\n\r\n",
		"a part":     "Content-Length: 10\r\n\r\n{",
		"half chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", web.Listener.Addr().String())
			check(t, err)
			defer c.Close()
			_, err = io.WriteString(c, "POST /v1/responses HTTP/1.1\r\nHost: x\r\n"+body)
			check(t, err)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			check(t, err)
			checkError(t, res, 408, "", "20ms")
		})
	}
}

func TestBrokenChunksAreTheClientsMistake(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(newServer(t, httpd.Options{}))
	defer web.Close()
	c, err := net.Dial("tcp", web.Listener.Addr().String())
	check(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "POST /v1/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	check(t, err)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	check(t, err)
	checkError(t, res, 400, "", "body")
}
