package responses_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chorale/inference/engine/enginetest"
	"chorale/server/api"
	"chorale/server/containers"
	"chorale/server/responses"
	"chorale/server/store"
	"chorale/toolhost"
)

// A pythonFake is the tool python with the answers of a script; without one it repeats all code of its session. What it
// has run is its state.
type pythonFake struct {
	mu          sync.Mutex
	answers     []string
	independent bool
	call        func(ctx context.Context, code string) (toolhost.Result, error) // instead of answers; may be nil
	open, saved int
	lose        bool            // saving fails
	hang        chan struct{}   // saving waits for it, whatever its context says; may be nil
	version     string          // begins every memory; "" = pythonVersion
	files       []toolhost.File // of instances that do not begin with any
	bounds      []int64         // of memory, of instances that were resumed
}

// A notebook is an instance of it.
type notebook struct {
	tool  *pythonFake
	cells []string
	files []toolhost.File
}

// pythonVersion is the first line of every memory of the fake.
const pythonVersion = "fake 1\n"

func (p *pythonFake) head() string {
	if p.version != "" {
		return p.version
	}
	return pythonVersion
}

// tools returns what Options.Tools may be: these, always.
func tools(t testing.TB, all ...toolhost.Tool) func() *toolhost.Set {
	t.Helper()
	set, err := toolhost.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return func() *toolhost.Set { return set }
}

func (p *pythonFake) Spec() toolhost.Spec {
	return toolhost.Spec{Name: "python", Description: "Runs code. Nothing is kept.", Independent: p.independent}
}

func (p *pythonFake) Open(context.Context) (toolhost.Instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	return &notebook{tool: p, files: p.files}, nil
}

func (p *pythonFake) Resume(ctx context.Context, s toolhost.State) (toolhost.Instance, error) {
	in, _ := p.Open(ctx)
	n := in.(*notebook)
	p.mu.Lock()
	p.bounds = append(p.bounds, s.MaxMemory)
	p.mu.Unlock()
	if s.Memory == nil && len(s.Files) == 0 { // nothing but a bound
		return n, nil
	}
	n.files = s.Files
	if err := p.check(s); err != nil {
		return n, err
	}
	if cells := strings.TrimPrefix(string(s.Memory), p.head()); cells != "" {
		n.cells = strings.Split(cells, "\n")
	}
	return n, nil
}

// check says what is wrong with a state.
func (p *pythonFake) check(s toolhost.State) error {
	switch {
	case s.Memory == nil || strings.HasPrefix(string(s.Memory), p.head()):
		return nil
	case len(s.Memory) == 0:
		return &toolhost.StateError{Reason: "it is damaged"}
	default:
		return &toolhost.StateError{Reason: "it is of another version"}
	}
}

func (n *notebook) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	n.cells = append(n.cells, strings.ReplaceAll(c.Input, "\n", " "))
	if n.tool.call != nil {
		return n.tool.call(ctx, c.Input)
	}
	n.tool.mu.Lock()
	defer n.tool.mu.Unlock()
	answer := strings.Join(n.cells, "; ")
	if len(n.tool.answers) > 0 {
		answer, n.tool.answers = n.tool.answers[0], n.tool.answers[1:]
	}
	if strings.HasPrefix(answer, "[broken]") {
		panic("broken")
	}
	r := toolhost.Result{Text: strings.TrimPrefix(answer, "[image]")}
	if r.Text != answer {
		r.Files = []toolhost.File{{Path: "/tmp/figure-1.png", MIME: "image/png", Data: []byte("a picture")}, {Path: "/mnt/data/t.csv", MIME: "text/csv"}}
	}
	return r, nil
}

func (n *notebook) Save(context.Context) (toolhost.State, error) {
	if n.tool.hang != nil {
		<-n.tool.hang
	}
	n.tool.mu.Lock()
	defer n.tool.mu.Unlock()
	if n.tool.lose {
		panic("cannot save")
	}
	n.tool.saved++
	return toolhost.State{Memory: []byte(n.tool.head() + strings.Join(n.cells, "\n")), Files: n.files}, nil
}

func (n *notebook) Close() error {
	n.tool.mu.Lock()
	defer n.tool.mu.Unlock()
	n.tool.open--
	return nil
}

const interpreter = `"tools":[{"type":"code_interpreter","container":{"type":"auto"}}],"include":["code_interpreter_call.outputs"]`

// run is a generation that calls python.
func run(code string) string {
	return "<|channel|>analysis to=python code<|message|>" + code + "<|call|>"
}

// calls returns the calls of the code interpreter in a response.
func calls(r *api.Response) (found []*api.CodeInterpreterCall) {
	for _, item := range r.Output {
		if c, ok := item.(*api.CodeInterpreterCall); ok {
			found = append(found, c)
		}
	}
	return found
}

func logs(c *api.CodeInterpreterCall) string {
	if len(c.Outputs) == 0 {
		return ""
	}
	return c.Outputs[0].(api.CodeLogs).Logs
}

// TestPythonStateGoesOn continues and branches responses: each begins with what the one before it left, also when that
// did not use python itself, and does not change it.
func TestPythonStateGoesOn(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("containers %v", kept), func(t *testing.T) {
			t.Parallel()
			db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "s.db")})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			m, py := &model{}, &pythonFake{}
			o := responses.Options{Tools: tools(t, py), Store: db}
			if kept {
				o.Containers = newContainers(t, db)
			}
			s := start(t, enginetest.Options{Script: m.script}, o)
			ask := func(previous *api.Response, code string) *api.Response {
				t.Helper()
				m.write(run(code), final("ok"))
				body := `{"input":"x",` + interpreter
				if code == "" {
					m.write()
				}
				if previous != nil {
					body += `,"previous_response_id":"` + previous.ID + `"`
				}
				return respond(t, s, body+`}`)
			}
			a := ask(nil, "a")
			b := ask(a, "b")
			c := ask(a, "c")
			silent := ask(b, "")
			d := ask(silent, "d")
			containers := map[string]bool{}
			for r, want := range map[*api.Response]string{a: "a", b: "a; b", c: "a; c", d: "a; b; d"} {
				got := calls(r)
				if len(got) != 1 || logs(got[0]) != want {
					t.Errorf("got %s, want %q", encode(t, r.Output), want)
					continue
				}
				containers[got[0].ContainerID] = true
			}
			if len(containers) != 4 {
				t.Errorf("containers %v, want one for each response that used one", containers)
			}
			if py.open != 0 {
				t.Errorf("%d instances are open", py.open)
			}
			s = start(t, enginetest.Options{Script: m.script}, o)
			if e := ask(d, "e"); logs(calls(e)[0]) != "a; b; d; e" {
				t.Errorf("after a restart: %s", encode(t, e.Output))
			}
		})
	}
}

func newContainers(t testing.TB, db *store.Store) *containers.Service {
	t.Helper()
	c, err := containers.New(t.Context(), containers.Options{Store: db, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPythonStateLost has states that cannot be used or kept: the model is told with the first result, once.
func TestPythonStateLost(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(py *pythonFake)
		note  string
	}{
		{"other version", func(py *pythonFake) { py.version = "fake 2\n" }, "it is of another version"},
		{"not saved", func(py *pythonFake) { py.lose = true }, "it is damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, py := &model{texts: []string{run("a"), final("ok")}}, &pythonFake{}
			var log bytes.Buffer
			s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, py), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if tt.name != "other version" {
				tt.spoil(py)
			}
			a := respond(t, s, `{"input":"x",`+interpreter+`}`)
			if a.Status != api.Completed {
				t.Fatalf("got %s", encode(t, a))
			}
			if tt.name == "other version" {
				tt.spoil(py)
			}
			py.lose = false
			m.write(run("b"), run("c"), final("ok"))
			b := calls(respond(t, s, `{"input":"x","previous_response_id":"`+a.ID+`",`+interpreter+`}`))
			want := "[Note: What earlier calls left in the tool cannot be restored, so it starts afresh: " + tt.note + ".]\nb"
			if logs(b[0]) != want || logs(b[1]) != "b; c" {
				t.Errorf("got %q and %q, want %q", logs(b[0]), logs(b[1]), want)
			}
			if tt.name != "other version" && !strings.Contains(log.String(), "state of a tool is lost") {
				t.Errorf("log: %s", &log)
			}
		})
	}
}

// TestPythonHangsAtTheEnd has a tool that does not come back from saving: the response is stored all the same, soon.
func TestPythonHangsAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, py := &model{texts: []string{run("a"), final("ok")}}, &pythonFake{hang: make(chan struct{})}
		set := tools(t, py)
		s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: set})
		began := time.Now()
		r := respond(t, s, `{"input":"x",`+interpreter+`}`)
		if took := time.Since(began); r.Status != api.Completed || took > 15*time.Second {
			t.Errorf("got %s after %v", encode(t, r), took)
		}
		checkStored(t, s, r)
		close(py.hang)
		if err := set().Wait(t.Context()); err != nil || py.open != 0 {
			t.Errorf("%d instances are open, %v", py.open, err)
		}
	})
}

// TestPythonContainer names a container: its files and variables go from response to response, one at a time.
func TestPythonContainer(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c := newContainers(t, db)
	m, py := &model{}, &pythonFake{}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, py), Store: db, Containers: c})
	made, err := c.Create(t.Context(), "", &api.ContainerRequest{Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	body := func(id string) string {
		return `{"input":"x","store":false,"tools":[{"type":"code_interpreter","container":"` + id + `"}],"include":["code_interpreter_call.outputs"]}`
	}
	for i, want := range []string{"cell", "cell; cell", "cell; cell; cell"} {
		m.write(run("cell"), final("ok"))
		got := calls(respond(t, s, body(made.ID)))
		if len(got) != 1 || got[0].ContainerID != made.ID || logs(got[0]) != want {
			t.Errorf("response %d: %s, want %q", i, encode(t, got), want)
		}
	}
	m.write()
	first := create(t, s, body(made.ID))
	second := make(chan *responses.Run, 1)
	go func() { r, _ := s.Create(t.Context(), request(t, body(made.ID))); second <- r }()
	finish(t, first.Events())
	finish(t, (<-second).Events())

	for name, tt := range map[string]struct{ tools, param, code string }{
		"unknown":     {`{"type":"function","name":"f"},{"type":"code_interpreter","container":"cntr_none"}`, "tools[1].container", "container_not_found"},
		"file ids":    {`{"type":"code_interpreter","container":{"type":"auto","file_ids":["f"]}}`, "tools[0].container.file_ids", "unsupported_parameter"},
		"much memory": {`{"type":"code_interpreter","container":{"type":"auto","memory_limit":"64g"}}`, "tools[0].container.memory_limit", "unsupported_parameter"},
	} {
		_, err := s.Create(t.Context(), request(t, `{"input":"x","tools":[`+tt.tools+`]}`))
		var e *api.Error
		if !errors.As(err, &e) || e.Param != tt.param || e.Code != tt.code || (tt.code == "container_not_found") != (e.Status == 404) {
			t.Errorf("%s: got %+v, want %s at %s", name, err, tt.code, tt.param)
		}
	}
	// A response that ends during a call leaves the container as it was.
	py.call = func(ctx context.Context, _ string) (toolhost.Result, error) {
		<-ctx.Done()
		return toolhost.Result{}, ctx.Err()
	}
	m.write(run("never kept"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cancelled, err := s.Create(ctx, request(t, body(made.ID)))
	if err != nil {
		t.Fatal(err)
	}
	for e := range cancelled.Events() {
		if e, ok := e.(*api.ToolEvent); ok && e.Type == api.EventCodeInterpreting {
			cancel()
		}
	}
	py.call = nil
	m.write(run("last"), final("ok"))
	if got := calls(respond(t, s, body(made.ID))); logs(got[0]) != "cell; cell; cell; last" {
		t.Errorf("behind a response that was cancelled: %s", encode(t, got))
	}

	py.version = "fake 2\n"
	m.write(run("again"), final("ok"))
	if got := calls(respond(t, s, body(made.ID))); logs(got[0]) !=
		"[Note: What earlier calls left in the tool cannot be restored, so it starts afresh: it is of another version.]\nagain" {
		t.Errorf("with another version of the tool: %s", encode(t, got))
	}
}

// TestPythonWithoutStore has a client that sends its conversation itself: new containers begin with a copy of the last one in
// it, and the model is told if that is gone.
func TestPythonWithoutStore(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c := newContainers(t, db)
	m := &model{}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, &pythonFake{}), Store: db, Containers: c})
	ask := func(input string, code string) (item string, call *api.CodeInterpreterCall) {
		t.Helper()
		m.write(run(code), final("ok"))
		r := respond(t, s, `{"store":false,"input":[{"role":"user","content":"x"}`+input+`],`+interpreter+`}`)
		return "," + encode(t, calls(r)[0]), calls(r)[0]
	}
	first, one := ask("", "a")
	second, two := ask(first, "b")
	if _, other := ask(first, "c"); logs(two) != "a; b" || logs(other) != "a; c" || one.ContainerID == two.ContainerID {
		t.Errorf("got %s, then %s and %s", encode(t, one), encode(t, two), encode(t, other))
	}
	if err := c.Delete(t.Context(), two.ContainerID); err != nil {
		t.Fatal(err)
	}
	if _, third := ask(first+second, "d"); logs(third) != "[Note: What earlier calls left in the tool cannot be restored, so it starts afresh: it is damaged.]\nd" {
		t.Errorf("without the container: %s", encode(t, third))
	}
}

func TestPythonWithoutContainers(t *testing.T) {
	t.Parallel()
	m := &model{}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, &pythonFake{})})
	_, err := s.Create(t.Context(), request(t, `{"input":"x","tools":[{"type":"code_interpreter","container":"cntr_x"}]}`))
	apiError(t, err, 404, "tools[0].container", "container_not_found")

	none := start(t, enginetest.Options{Script: m.script}, responses.Options{})
	r := respond(t, none, `{"input":"x",`+interpreter+`}`)
	if len(r.Warnings) != 1 || r.Warnings[0].Param != "tools[0]" || strings.Contains(m.lastPrompts()[0], "python") {
		t.Errorf("without the tool: warnings %s, prompt %s", encode(t, r.Warnings), m.lastPrompts()[0])
	}
	_, err = none.Create(t.Context(), request(t, `{"input":"x","tool_choice":"required",`+interpreter+`}`))
	apiError(t, err, 400, "tool_choice", "invalid_value")
}

// TestStatelessPython has a tool whose calls share nothing: the model is shown the tool's own text.
func TestStatelessPython(t *testing.T) {
	t.Parallel()
	m := &model{texts: []string{run("a"), run("b"), final("ok")}}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, &pythonFake{independent: true})})
	got := calls(respond(t, s, `{"input":"x",`+interpreter+`}`))
	if len(got) != 2 || logs(got[0]) != "a" || logs(got[1]) != "b" {
		t.Errorf("got %s", encode(t, got))
	}
	if prompt := m.lastPrompts()[0]; !strings.Contains(prompt, "Runs code. Nothing is kept.") || strings.Contains(prompt, "stateful") {
		t.Errorf("prompt: %s", prompt)
	}
}

// TestPythonPrefixIsCached holds that behind a call only its result is computed: the prompt of each round begins with the
// whole sequence of the one before.
func TestPythonPrefixIsCached(t *testing.T) {
	t.Parallel()
	var prompts, writing [][]int32
	tok := codec().Tokenizer()
	for _, text := range []string{"<|channel|>analysis<|message|>Hm<|end|><|start|>assistant" + run("print(1)"), run("2"), final("ok")} {
		writing = append(writing, tok.EncodeSpecial(nil, text))
	}
	s := start(t, enginetest.Options{Script: func(prompt, generated []int32) int32 {
		if len(generated) == 0 {
			prompts = append(prompts, slices.Clone(prompt))
		}
		return writing[len(prompts)-1][len(generated)]
	}}, responses.Options{Tools: tools(t, &pythonFake{})})
	r := respond(t, s, `{"input":"x",`+interpreter+`}`)
	for i := range len(prompts) - 1 {
		if sequence := append(slices.Clone(prompts[i]), writing[i]...); !slices.Equal(prompts[i+1][:len(sequence)], sequence) {
			t.Errorf("round %d begins with %q, want %q", i+1, tok.Decode(prompts[i+1]), tok.Decode(sequence))
		}
	}
	if r.Usage.TotalTokens != len(prompts[2])+len(writing[2]) || r.Usage.OutputTokens != len(writing[0])+len(writing[1])+len(writing[2]) {
		t.Errorf("usage %+v, want %d tokens", r.Usage, len(prompts[2])+len(writing[2]))
	}
}

// TestPythonResultsAndContext has results that do not fit into the context: they are cut as far as that helps.
func TestPythonResultsAndContext(t *testing.T) {
	t.Parallel()
	layout := enginetest.Layout(codec().Tokenizer().Vocab())
	layout.MaxContext = 600
	tests := []struct {
		name, input string
		status      string
		logs        func(string) bool
	}{
		{"cut to fit", "x", api.Completed, func(s string) bool {
			return strings.HasPrefix(s, "word word") && strings.HasSuffix(s, "word ") && strings.Contains(s, "bytes of output left out")
		}},
		{"no room at all", strings.Repeat("word ", 385), api.Incomplete, func(s string) bool { return len(s) == 15_000 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &model{texts: []string{run("a"), final("ok")}}
			py := &pythonFake{answers: []string{strings.Repeat("word ", 3_000)}}
			s := start(t, enginetest.Options{Layout: layout, Script: m.script}, responses.Options{Tools: tools(t, py)})
			r := respond(t, s, `{"input":"`+tt.input+`",`+interpreter+`}`)
			got := calls(r)
			if r.Status != tt.status || len(got) != 1 || got[0].Status != api.Completed || !tt.logs(logs(got[0])) {
				t.Errorf("got %s", encode(t, r))
			}
			if r.Status == api.Completed && (text(r) != "ok" || !strings.Contains(m.lastPrompts()[1], "left out")) {
				t.Errorf("got %q", text(r))
			}
			if r.Status == api.Incomplete && r.IncompleteDetails.Reason != "max_output_tokens" {
				t.Errorf("got %+v", r.IncompleteDetails)
			}
		})
	}
}

// TestPythonOutputLimit ends the tokens of the answer in a call, and behind one.
func TestPythonOutputLimit(t *testing.T) {
	t.Parallel()
	whole := len(codec().Tokenizer().EncodeSpecial(nil, run("a")))
	for limit, want := range map[int]string{whole - 1: api.Incomplete, whole: api.Completed} {
		m := &model{texts: []string{run("a"), final("ok")}}
		py := &pythonFake{}
		s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, py)})
		check := client{t: t}
		var r *api.Response
		for e := range create(t, s, fmt.Sprintf(`{"input":"x","max_output_tokens":%d,%s}`, limit, interpreter)).Events() {
			check.event(e)
			r, _ = api.Terminal(e)
		}
		if got := calls(r); r.Status != api.Incomplete || len(got) != 1 || got[0].Status != want || got[0].Code != "a" || (logs(got[0]) == "a") != (want == api.Completed) {
			t.Errorf("limit %d: got %s, want the call %s", limit, encode(t, r), want)
		}
		m.write(final("on"))
		on := respond(t, s, `{"input":"On.","previous_response_id":"`+r.ID+`",`+interpreter+`}`)
		if prompt := m.lastPrompts()[0]; on.Status != api.Completed || strings.Contains(prompt, "to=python") != (want == api.Completed) {
			t.Errorf("limit %d: continued with %s", limit, prompt)
		}
	}
}

// TestPythonIsInterrupted ends responses while a call runs: the call ends too, and its item is incomplete.
func TestPythonIsInterrupted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		o      responses.Options
		end    func(s *responses.Service, cancel context.CancelFunc)
		status string
		item   string
	}{
		{"client leaves", responses.Options{}, func(_ *responses.Service, cancel context.CancelFunc) { cancel() }, api.Cancelled, api.Incomplete},
		{"server ends", responses.Options{}, func(s *responses.Service, _ context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			s.Close(ctx)
		}, api.Failed, api.Incomplete},
		{"response takes too long", responses.Options{MaxDuration: 10 * time.Second}, nil, api.Failed, api.Incomplete},
		{"call takes too long", responses.Options{ToolLimits: toolhost.Limits{Deadline: 10 * time.Second}}, nil, api.Completed, api.Failed},
		{"tools take too long", responses.Options{MaxToolTime: 10 * time.Second}, nil, api.Completed, api.Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &model{texts: []string{run("wait"), final("ok")}}
				py := &pythonFake{call: func(ctx context.Context, _ string) (toolhost.Result, error) {
					<-ctx.Done()
					return toolhost.Result{}, ctx.Err()
				}}
				tt.o.Tools = tools(t, py)
				s := start(t, enginetest.Options{Script: m.script}, tt.o)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				run, err := s.Create(ctx, request(t, `{"input":"x",`+interpreter+`}`))
				if err != nil {
					t.Fatal(err)
				}
				if tt.end != nil {
					time.AfterFunc(5*time.Second, func() { tt.end(s, cancel) })
				}
				check := client{t: t}
				var r *api.Response
				for e := range run.Events() {
					check.event(e)
					r, _ = api.Terminal(e)
				}
				if got := calls(r); r.Status != tt.status || len(got) != 1 || got[0].Status != tt.item {
					t.Errorf("got %s", encode(t, r))
				}
				if tt.status == api.Completed && !strings.Contains(m.lastPrompts()[1], "The call was stopped: it did not end within 10s.") {
					t.Errorf("prompt %s", m.lastPrompts()[1])
				}
				if tt.name == "tools take too long" && r.Status != api.Completed {
					t.Errorf("got %s", r.Status)
				}
				stored, err := s.Get(context.Background(), r.ID)
				if err != nil || stored.Status != tt.status {
					t.Errorf("stored %s, %v", encode(t, stored), err)
				}
				synctest.Wait()
				if py.open != 0 {
					t.Errorf("%d instances are open", py.open)
				}
			})
		})
	}
}

// TestLeavingDuringACall stops reading while code runs.
func TestLeavingDuringACall(t *testing.T) {
	t.Parallel()
	m, py := &model{texts: []string{run("a"), final("ok")}}, &pythonFake{}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, py)})
	var id string
	for e := range create(t, s, `{"input":"x",`+interpreter+`}`).Events() {
		if r, ok := e.(*api.ResponseEvent); ok {
			id = r.Response.ID
		}
		if e, ok := e.(*api.ToolEvent); ok && e.Type == api.EventCodeInterpreting {
			break
		}
	}
	r, err := s.Get(t.Context(), id)
	if err != nil || r.Status != api.Cancelled || calls(r)[0].Status != api.Incomplete || py.open != 0 {
		t.Errorf("got %s, %v", encode(t, r), err)
	}
}

// echo is a model that runs what the user says, and answers with what that gave.
func echo(prompt, generated []int32) int32 {
	tok := codec().Tokenizer()
	all := tok.Decode(prompt)
	_, said, _ := strings.Cut(all[strings.LastIndex(all, "<|start|>user"):], "<|message|>")
	said, rest, _ := strings.Cut(said, "<|end|>")
	writing := run(said)
	if _, result, answered := strings.Cut(rest, "<|start|>python to=assistant<|channel|>analysis<|message|>"); answered {
		result, _, _ = strings.Cut(result, "<|end|>")
		writing = final("It is " + result)
	}
	return tok.EncodeSpecial(nil, writing)[len(generated)]
}

// TestManyWithPython runs responses with python at once.
func TestManyWithPython(t *testing.T) {
	t.Parallel()
	py := &pythonFake{}
	s := start(t, enginetest.Options{Script: echo}, responses.Options{Tools: tools(t, py)})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			previous, want := "", ""
			for turn := range 3 {
				code := fmt.Sprintf("cell %d of %d", turn, i)
				if want != "" {
					want += "; "
				}
				want += code
				r, err := s.Create(context.Background(), request(t, `{"input":"`+code+`",`+interpreter+previous+`}`))
				if err != nil {
					t.Error(err)
					return
				}
				response := finish(t, r.Events())
				if text(response) != "It is "+want {
					t.Errorf("got %q, want %q", text(response), want)
				}
				previous = `,"previous_response_id":"` + response.ID + `"`
			}
		})
	}
	wg.Wait()
	if py.open != 0 {
		t.Errorf("%d instances are open", py.open)
	}
}
