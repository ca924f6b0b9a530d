package toolhost_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"chorale/toolhost"
)

// A fake is a tool whose instances do what call says.
type fake struct {
	spec   toolhost.Spec
	call   func(ctx context.Context, in *instance, c toolhost.Call) (toolhost.Result, error)
	open   func(ctx context.Context) error // may be nil
	closed atomic.Int64
	opened atomic.Int64
}

// An instance of a fake remembers what was said to it.
type instance struct {
	tool    *fake
	history []string
	files   []toolhost.File
	closing func() error
}

func (f *fake) Spec() toolhost.Spec { return f.spec }

func (f *fake) Open(ctx context.Context) (toolhost.Instance, error) {
	if f.open != nil {
		if err := f.open(ctx); err != nil {
			return nil, err
		}
	}
	f.opened.Add(1)
	return &instance{tool: f}, nil
}

func (in *instance) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	in.history = append(in.history, c.Input)
	if in.tool.call == nil {
		return toolhost.Result{Text: strings.Join(in.history, " ")}, nil
	}
	return in.tool.call(ctx, in, c)
}

func (in *instance) Close() error {
	in.tool.closed.Add(1)
	if in.closing != nil {
		return in.closing()
	}
	return nil
}

// A stateful is a fake whose state is its history.
type stateful struct{ fake }

type saver struct{ *instance }

func (f *stateful) Open(ctx context.Context) (toolhost.Instance, error) {
	in, err := f.fake.Open(ctx)
	if err != nil {
		return nil, err
	}
	return saver{in.(*instance)}, nil
}

func (f *stateful) Resume(ctx context.Context, s toolhost.State) (toolhost.Instance, error) {
	if bytes.Equal(s.Memory, []byte("damaged")) {
		return nil, unusable(s)
	}
	in, err := f.Open(ctx)
	if err != nil {
		return nil, err
	}
	in.(saver).files = s.Files
	if s.Memory != nil {
		in.(saver).history = strings.Fields(string(s.Memory))
	}
	if bytes.Equal(s.Memory, []byte("half")) {
		in.(saver).history = nil
		return in, unusable(s)
	}
	return in, nil
}

func unusable(s toolhost.State) error {
	return &toolhost.StateError{Reason: "it is " + string(s.Memory)}
}

func (s saver) Save(context.Context) (toolhost.State, error) {
	return toolhost.State{Memory: []byte(strings.Join(s.history, " ")), Files: s.files}, nil
}

// loading is a Load that can be called once.
func loading(s toolhost.State) func(context.Context, string) (*toolhost.State, error) {
	var calls atomic.Int64
	return func(_ context.Context, tool string) (*toolhost.State, error) {
		if tool != "x" || calls.Add(1) > 1 {
			panic("loaded again, or the state of " + tool)
		}
		return &s, nil
	}
}

func set(t *testing.T, tools ...toolhost.Tool) *toolhost.Set {
	t.Helper()
	s, err := toolhost.NewSet(tools...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func do(s *toolhost.Session, tool string, inputs ...string) []toolhost.Outcome {
	calls := make([]toolhost.Call, len(inputs))
	for i, input := range inputs {
		calls[i] = toolhost.Call{Tool: tool, ID: fmt.Sprint("call_", i), Input: input}
	}
	return s.Do(context.Background(), calls)
}

func checkStats(t *testing.T, s *toolhost.Set, want toolhost.Stats) {
	t.Helper()
	for _, got := range s.Stats() {
		if got.Tool != want.Tool {
			continue
		}
		got.Duration, got.BytesIn, got.BytesOut = 0, 0, 0
		if got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	}
}

func TestCallsOfOneInstance(t *testing.T) {
	t.Parallel()
	tool := &fake{spec: toolhost.Spec{Name: "python"}}
	tools := set(t, tool)
	s := tools.NewSession(toolhost.SessionOptions{})
	if tool.opened.Load() != 0 {
		t.Error("an instance is open before the first call")
	}
	outcomes := append(do(s, "python", "a", "b"), do(s, "python", "c")...)
	for i, want := range []string{"a", "a b", "a b c"} {
		if outcomes[i].Text != want || outcomes[i].Err != nil || outcomes[i].Failed {
			t.Errorf("outcome %d: %+v, want %q", i, outcomes[i], want)
		}
	}
	checkStats(t, tools, toolhost.Stats{Tool: "python", Calls: 3, Open: 1})
	s.Close()
	s.Close()
	if tool.opened.Load() != 1 || tool.closed.Load() != 1 {
		t.Errorf("opened %d and closed %d times, want once", tool.opened.Load(), tool.closed.Load())
	}
	checkStats(t, tools, toolhost.Stats{Tool: "python", Calls: 3})
}

// TestIndependentCalls makes calls that can only end together.
func TestIndependentCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var together sync.WaitGroup
		together.Add(5)
		tool := &fake{spec: toolhost.Spec{Name: "x", Independent: true}, call: func(_ context.Context, in *instance, c toolhost.Call) (toolhost.Result, error) {
			together.Done()
			together.Wait()
			return toolhost.Result{Text: strings.Join(in.history, " ")}, nil
		}}
		s := set(t, tool).NewSession(toolhost.SessionOptions{})
		for i, o := range do(s, "x", "0", "1", "2", "3", "4") {
			if o.Text != fmt.Sprint(i) {
				t.Errorf("outcome %d is %q", i, o.Text)
			}
		}
		if tool.opened.Load() != 5 || tool.closed.Load() != 5 {
			t.Errorf("opened %d and closed %d, want 5", tool.opened.Load(), tool.closed.Load())
		}
		s.Close()
	})
}

// TestToolsDoNotWait has a call of one tool wait for one of another.
func TestToolsDoNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		met := make(chan string)
		a := &fake{spec: toolhost.Spec{Name: "a"}, call: func(context.Context, *instance, toolhost.Call) (toolhost.Result, error) {
			return toolhost.Result{Text: <-met}, nil
		}}
		b := &fake{spec: toolhost.Spec{Name: "b"}, call: func(context.Context, *instance, toolhost.Call) (toolhost.Result, error) {
			met <- "from b"
			return toolhost.Result{}, nil
		}}
		s := set(t, a, b).NewSession(toolhost.SessionOptions{})
		defer s.Close()
		if o := s.Do(t.Context(), []toolhost.Call{{Tool: "a"}, {Tool: "b"}}); o[0].Text != "from b" {
			t.Errorf("got %+v", o)
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	broken := errors.New("secret: the disk is on fire")
	tests := []struct {
		name   string
		tool   *fake
		err    error
		text   string
		opened int64 // by a failing call and one that works
	}{
		{"own failure", &fake{call: func(context.Context, *instance, toolhost.Call) (toolhost.Result, error) {
			return toolhost.Result{Text: "ZeroDivisionError", Failed: true}, nil
		}}, nil, "ZeroDivisionError", 1},
		{"host failure", &fake{call: func(context.Context, *instance, toolhost.Call) (toolhost.Result, error) {
			return toolhost.Result{Text: "half a result"}, broken
		}}, broken, "The call failed: the tool cannot be used at the moment.", 2},
		{"panic", &fake{call: func(context.Context, *instance, toolhost.Call) (toolhost.Result, error) {
			panic(broken)
		}}, toolhost.ErrPanic, "The call failed: the tool crashed.", 2},
		{"panic of nil", &fake{call: func(_ context.Context, in *instance, _ toolhost.Call) (toolhost.Result, error) {
			var none *instance
			return toolhost.Result{Text: none.history[0]}, nil
		}}, toolhost.ErrPanic, "The call failed: the tool crashed.", 2},
		{"cannot open", &fake{open: func(context.Context) error { return broken }}, broken,
			"The call failed: the tool cannot be used at the moment.", 1},
		{"panic on opening", &fake{open: func(context.Context) error { panic("no") }}, toolhost.ErrPanic,
			"The call failed: the tool crashed.", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			tool := tt.tool
			tool.spec.Name = "x"
			tools := set(t, tool)
			s := tools.NewSession(toolhost.SessionOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			o := do(s, "x", "private")[0]
			if !errors.Is(o.Err, tt.err) || (tt.err == nil) != (o.Err == nil) || o.Text != tt.text || !o.Failed {
				t.Errorf("got %+v", o)
			}
			tool.call, tool.open = nil, nil
			if again := do(s, "x", "b")[0]; again.Err != nil || !strings.HasSuffix(again.Text, "b") {
				t.Errorf("the next call: %+v", again)
			}
			if tool.opened.Load() != tt.opened {
				t.Errorf("opened %d times, want %d", tool.opened.Load(), tt.opened)
			}
			s.Close()
			if tool.closed.Load() != tool.opened.Load() {
				t.Errorf("closed %d of %d", tool.closed.Load(), tool.opened.Load())
			}
			want := toolhost.Stats{Tool: "x", Calls: 2, Failed: 1}
			if tt.err != nil {
				want.Errors = 1
			}
			checkStats(t, tools, want)
			if strings.Contains(log.String(), "private") || strings.Contains(log.String(), tt.text) {
				t.Errorf("the log has contents: %s", &log)
			}
		})
	}
}

// TestLostState breaks an instance that has state: the model hears of the loss, once.
func TestLostState(t *testing.T) {
	t.Parallel()
	tool := &stateful{fake{spec: toolhost.Spec{Name: "x"}}}
	file := toolhost.File{Path: "/f", Data: []byte("kept")}
	s := set(t, tool).NewSession(toolhost.SessionOptions{Load: loading(toolhost.State{Memory: []byte("old"), Files: []toolhost.File{file}})})
	defer s.Close()
	if o := do(s, "x", "a")[0]; o.Text != "old a" {
		t.Fatalf("got %+v", o)
	}
	tool.call = func(context.Context, *instance, toolhost.Call) (toolhost.Result, error) { panic("no") }
	do(s, "x", "b")
	if _, ok, err := s.Save(t.Context(), "x"); ok || !errors.Is(err, toolhost.ErrLost) {
		t.Errorf("saved what is lost: %v, %v", ok, err)
	}
	tool.call = nil
	outcomes := do(s, "x", "c", "d")
	if want := "[Note: The tool had to be started again: what earlier calls left in it is lost.]\nc"; outcomes[0].Text != want || outcomes[1].Text != "c d" {
		t.Errorf("got %+v", outcomes)
	}
	if state, ok, err := s.Save(t.Context(), "x"); !ok || err != nil || string(state.Memory) != "c d" || len(state.Files) != 1 {
		t.Errorf("the files did not come back: %+v, %v, %v", state, ok, err)
	}
}

// TestLostBehindSave breaks an instance that has been saved: the next one has the files of then, and not those of the
// beginning, and the model hears of the loss though no call came between.
func TestLostBehindSave(t *testing.T) {
	t.Parallel()
	tool := &stateful{fake{spec: toolhost.Spec{Name: "x"}}}
	s := set(t, tool).NewSession(toolhost.SessionOptions{Load: loading(toolhost.State{Memory: []byte("old")})})
	defer s.Close()
	tool.call = func(_ context.Context, in *instance, c toolhost.Call) (toolhost.Result, error) {
		if c.Input == "break" {
			panic("no")
		}
		in.files = append(in.files, toolhost.File{Path: "/" + c.Input})
		return toolhost.Result{Text: fmt.Sprint(len(in.files), " files")}, nil
	}
	do(s, "x", "a")
	if _, ok, err := s.Save(t.Context(), "x"); !ok || err != nil {
		t.Fatalf("not saved: %v", err)
	}
	do(s, "x", "never saved", "break")
	if o := do(s, "x", "b")[0]; !strings.HasPrefix(o.Text, "[Note: The tool had to be started again") || !strings.HasSuffix(o.Text, "]\n2 files") {
		t.Errorf("got %q", o.Text)
	}
	if state, ok, err := s.Save(t.Context(), "x"); !ok || err != nil || string(state.Memory) != "b" || len(state.Files) != 2 || state.Files[0].Path != "/a" {
		t.Errorf("saved %+v, %v, %v", state, ok, err)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		limit time.Duration
		call  func(ctx context.Context) (toolhost.Result, error)
		took  time.Duration
		text  string
		err   error
	}{
		{"tool obeys with an error", 0, func(ctx context.Context) (toolhost.Result, error) {
			<-ctx.Done()
			return toolhost.Result{}, ctx.Err()
		}, 120 * time.Second, "The call was stopped: it did not end within 2m0s.", toolhost.ErrDeadline},
		{"tool obeys with a result", 10 * time.Second, func(ctx context.Context) (toolhost.Result, error) {
			<-ctx.Done()
			return toolhost.Result{Text: "so far", Failed: true}, nil
		}, 10 * time.Second, "so far", nil},
		{"result within the grace period", 10 * time.Second, func(ctx context.Context) (toolhost.Result, error) {
			time.Sleep(11 * time.Second)
			return toolhost.Result{Text: "late"}, nil
		}, 11 * time.Second, "late", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tool := &fake{spec: toolhost.Spec{Name: "x"}, call: func(ctx context.Context, _ *instance, _ toolhost.Call) (toolhost.Result, error) {
					return tt.call(ctx)
				}}
				tools := set(t, tool)
				s := tools.NewSession(toolhost.SessionOptions{Limits: toolhost.Limits{Deadline: tt.limit}})
				began := time.Now()
				o := do(s, "x", "")[0]
				if took := time.Since(began); took != tt.took || o.Duration != tt.took {
					t.Errorf("took %v and says %v, want %v", took, o.Duration, tt.took)
				}
				if o.Text != tt.text || !errors.Is(o.Err, tt.err) {
					t.Errorf("got %+v", o)
				}
				s.Close()
				if stats := tools.Stats()[0]; stats.Hung != 0 || stats.Open != 0 || stats.GivenUp != 0 {
					t.Errorf("got %+v", stats)
				}
			})
		})
	}
}

// TestHangingTool has a tool that ignores its deadline. It delays its own call by the grace period and nothing else, and
// is closed when it comes back.
func TestHangingTool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hang := &fake{spec: toolhost.Spec{Name: "hang"}, call: func(_ context.Context, _ *instance, c toolhost.Call) (toolhost.Result, error) {
			if c.Input == "hang" {
				<-release
			}
			return toolhost.Result{Text: c.Input}, nil
		}}
		quick := &fake{spec: toolhost.Spec{Name: "quick"}}
		tools := set(t, hang, quick)
		limits := toolhost.Limits{Deadline: 10 * time.Second, Grace: time.Second}
		s := tools.NewSession(toolhost.SessionOptions{Limits: limits})
		began := time.Now()
		outcomes := s.Do(t.Context(), []toolhost.Call{{Tool: "hang", Input: "a"}, {Tool: "hang", Input: "hang"}, {Tool: "hang", Input: "b"}, {Tool: "quick", Input: "c"}})
		if took := time.Since(began); took != 11*time.Second {
			t.Errorf("took %v, want 11s", took)
		}
		if o := outcomes[1]; !errors.Is(o.Err, toolhost.ErrDeadline) || !strings.Contains(o.Text, "did not end within 11s") {
			t.Errorf("the call that hangs: %+v", o)
		}
		if o := outcomes[2]; o.Err != nil || !strings.HasPrefix(o.Text, "[Note: ") || !strings.HasSuffix(o.Text, "\nb") {
			t.Errorf("the call behind it: %+v", o)
		}
		if o := outcomes[3]; o.Text != "c" || o.Duration != 0 {
			t.Errorf("the other tool: %+v", o)
		}
		s.Close()
		checkStats(t, tools, toolhost.Stats{Tool: "hang", Calls: 3, Failed: 1, Errors: 1, Open: 1, Hung: 1, GivenUp: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := tools.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for what hangs: %v", err)
		}
		close(release)
		if err := tools.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		checkStats(t, tools, toolhost.Stats{Tool: "hang", Calls: 3, Failed: 1, Errors: 1, GivenUp: 1})
		if hang.closed.Load() != 2 {
			t.Errorf("closed %d of 2 instances", hang.closed.Load())
		}
	})
}

func TestHangingEntries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		tool func(release chan struct{}) toolhost.Tool
		took time.Duration // of a call, saving and closing
	}{
		{"open", func(release chan struct{}) toolhost.Tool {
			return &fake{spec: toolhost.Spec{Name: "x"}, open: func(context.Context) error { <-release; return nil }}
		}, 122 * time.Second},
		{"close", func(release chan struct{}) toolhost.Tool {
			return &fake{spec: toolhost.Spec{Name: "x"}, call: func(_ context.Context, in *instance, _ toolhost.Call) (toolhost.Result, error) {
				in.closing = func() error { <-release; return nil }
				return toolhost.Result{}, nil
			}}
		}, 2 * time.Second},
		{"save", func(release chan struct{}) toolhost.Tool { return hangingSaver{release} }, 122 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				tools := set(t, tt.tool(release))
				s := tools.NewSession(toolhost.SessionOptions{})
				began := time.Now()
				do(s, "x", "")
				if _, ok, err := s.Save(t.Context(), "x"); ok || (err != nil) != (tt.name != "close") {
					t.Errorf("saved %v, %v", ok, err)
				}
				if tt.name == "save" {
					if o := do(s, "x", "")[0]; !strings.HasPrefix(o.Text, "[Note: The tool had to be started again") {
						t.Errorf("behind saving: %+v", o)
					}
				}
				s.Close()
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if stats := tools.Stats()[0]; stats.Hung != 1 || stats.Open != 1 {
					t.Errorf("got %+v", stats)
				}
				close(release)
				if err := tools.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				if stats := tools.Stats()[0]; stats.Hung != 0 || stats.Open != 0 {
					t.Errorf("got %+v", stats)
				}
			})
		})
	}
}

// A hangingSaver saves when it is released.
type hangingSaver struct{ release chan struct{} }

func (h hangingSaver) Spec() toolhost.Spec                             { return toolhost.Spec{Name: "x"} }
func (h hangingSaver) Open(context.Context) (toolhost.Instance, error) { return h, nil }
func (h hangingSaver) Close() error                                    { return nil }
func (h hangingSaver) Save(context.Context) (toolhost.State, error) {
	<-h.release
	return toolhost.State{Memory: []byte("x")}, nil
}
func (h hangingSaver) Call(context.Context, toolhost.Call) (toolhost.Result, error) {
	return toolhost.Result{}, nil
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the client is gone")
		tool := &fake{spec: toolhost.Spec{Name: "x", Independent: true}, call: func(ctx context.Context, _ *instance, _ toolhost.Call) (toolhost.Result, error) {
			<-ctx.Done()
			return toolhost.Result{}, ctx.Err()
		}}
		s := set(t, tool).NewSession(toolhost.SessionOptions{})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		began := time.Now()
		for _, o := range s.Do(ctx, []toolhost.Call{{Tool: "x"}, {Tool: "x"}}) {
			if !errors.Is(o.Err, gone) || !o.Failed {
				t.Errorf("got %+v", o)
			}
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
		s.Close()
		if tool.closed.Load() != 2 {
			t.Errorf("%d closed, want 2", tool.closed.Load())
		}
	})
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tool := &fake{spec: toolhost.Spec{Name: "x", MaxOpen: 2}, call: func(_ context.Context, _ *instance, c toolhost.Call) (toolhost.Result, error) {
			time.Sleep(time.Second)
			return toolhost.Result{Text: c.Input}, nil
		}}
		tools := set(t, tool)
		var sessions []*toolhost.Session
		for range 3 {
			sessions = append(sessions, tools.NewSession(toolhost.SessionOptions{Limits: toolhost.Limits{Deadline: 10 * time.Second}}))
		}
		do(sessions[0], "x", "")
		do(sessions[1], "x", "")
		o := do(sessions[2], "x", "")[0]
		if _, ok, err := sessions[2].Save(t.Context(), "x"); ok || err != nil {
			t.Errorf("saved without an instance: %v, %v", ok, err)
		}
		if o.Err == nil || o.Text != "The tool is too busy at the moment: the call was not made." || o.Duration != 10*time.Second {
			t.Errorf("without a place: %+v", o)
		}
		time.AfterFunc(3*time.Second, sessions[0].Close)
		if o := do(sessions[2], "x", "b")[0]; o.Text != "b" || o.Duration != 4*time.Second {
			t.Errorf("with a place after 3 s: %+v", o)
		}
		sessions[1].Close()
		sessions[2].Close()
		if tool.opened.Load() != 3 || tool.closed.Load() != 3 {
			t.Errorf("opened %d, closed %d", tool.opened.Load(), tool.closed.Load())
		}
	})
}

func TestState(t *testing.T) {
	t.Parallel()
	tests := []struct {
		memory, text string
		unusable     uint64
	}{
		{"one two", "one two a", 0},
		{"damaged", "[Note: What earlier calls left in the tool cannot be restored, so it starts afresh: it is damaged.]\na", 1},
		{"half", "[Note: What earlier calls left in the tool cannot be restored, so it starts afresh: it is half.]\na", 1},
	}
	for _, tt := range tests {
		t.Run(tt.memory, func(t *testing.T) {
			t.Parallel()
			tool := &stateful{fake{spec: toolhost.Spec{Name: "x"}}}
			tools := set(t, tool)
			state := toolhost.State{Memory: []byte(tt.memory)}
			s := tools.NewSession(toolhost.SessionOptions{Load: loading(state)})
			if _, ok, err := s.Save(t.Context(), "x"); ok || err != nil {
				t.Errorf("saved before the first call: %v, %v", ok, err)
			}
			if o := do(s, "x", "a")[0]; o.Text != tt.text || o.Err != nil {
				t.Errorf("got %+v, want %q", o, tt.text)
			}
			if stats := tools.Stats()[0]; stats.Unusable != tt.unusable {
				t.Errorf("%d unusable states counted", stats.Unusable)
			}
			saved, ok, err := s.Save(t.Context(), "x")
			if !ok || err != nil || !strings.HasSuffix(string(saved.Memory), "a") {
				t.Errorf("saved %q, %v, %v", saved.Memory, ok, err)
			}
			if o := do(s, "x", "b")[0]; !strings.HasSuffix(o.Text, "a b") || strings.Contains(o.Text, "Note") {
				t.Errorf("behind saving: %+v", o)
			}
			s.Close()
		})
	}
}

// TestCannotLoad fails to load once: the call fails, and the next one begins with the state all the same.
func TestCannotLoad(t *testing.T) {
	t.Parallel()
	broken := errors.New("secret: no disk")
	loads := 0
	s := set(t, &stateful{fake{spec: toolhost.Spec{Name: "x"}}}).NewSession(toolhost.SessionOptions{Load: func(context.Context, string) (*toolhost.State, error) {
		if loads++; loads == 1 {
			return nil, broken
		}
		return &toolhost.State{Memory: []byte("old")}, nil
	}})
	defer s.Close()
	o := do(s, "x", "a", "b", "c")
	if !errors.Is(o[0].Err, broken) || o[0].Text != "The call failed: the tool cannot be used at the moment." || o[1].Text != "old b" || o[2].Text != "old b c" || loads != 2 {
		t.Errorf("got %+v, loaded %d times", o, loads)
	}
}

func TestCannotSave(t *testing.T) {
	t.Parallel()
	s := set(t, &fake{spec: toolhost.Spec{Name: "x"}}).NewSession(toolhost.SessionOptions{})
	defer s.Close()
	do(s, "x", "a")
	if _, ok, err := s.Save(t.Context(), "x"); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	tool := &fake{spec: toolhost.Spec{Name: "units", Independent: true, Functions: []toolhost.Function{
		{Name: "convert", Parameters: json.RawMessage(`{"type":"object"}`)}, {Name: "list"}}}}
	raw := &fake{spec: toolhost.Spec{Name: "raw"}}
	var records []toolhost.Record
	tools := set(t, tool, raw)
	s := tools.NewSession(toolhost.SessionOptions{ID: "resp_1", Audit: func(r toolhost.Record) { records = append(records, r) }})
	defer s.Close()
	tests := []struct{ tool, function, text string }{
		{"units", "convert", "{}"},
		{"units", "secret", "There is no such function. The functions are: convert, list."},
		{"units", "", "There is no such function. The functions are: convert, list."},
		{"raw", "secret", "There is no such function."},
		{"secret", "convert", "There is no such tool."},
	}
	for _, tt := range tests {
		o := s.Do(t.Context(), []toolhost.Call{{Tool: tt.tool, Function: tt.function, ID: "c", Input: "{}"}})[0]
		if o.Text != tt.text || (tt.text != "{}") != errors.Is(o.Err, toolhost.ErrUnknown) || o.Failed != (o.Err != nil) {
			t.Errorf("%s.%s: got %+v", tt.tool, tt.function, o)
		}
	}
	if len(records) != len(tests) || records[0].Function != "convert" || records[0].Session != "resp_1" || strings.Contains(fmt.Sprint(records), "secret") {
		t.Errorf("records %+v", records)
	}
	names := []string{}
	for _, spec := range tools.Specs() {
		names = append(names, spec.Name)
	}
	if spec, ok := tools.Spec("units"); !slices.Equal(names, []string{"raw", "units"}) || !ok || len(spec.Functions) != 2 {
		t.Errorf("specs %q, %+v", names, spec)
	}
	if _, ok := tools.Spec("none"); ok {
		t.Error("there is a spec of no tool")
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var kept func(string, float64)
	tool := &fake{spec: toolhost.Spec{Name: "x"}, call: func(_ context.Context, _ *instance, c toolhost.Call) (toolhost.Result, error) {
		c.Progress("half", 0.5)
		kept = c.Progress
		return toolhost.Result{}, nil
	}}
	s := set(t, tool).NewSession(toolhost.SessionOptions{})
	defer s.Close()
	var got []string
	s.Do(t.Context(), []toolhost.Call{{Tool: "x"}, {Tool: "x", Progress: func(m string, f float64) { got = append(got, fmt.Sprint(m, f)) }}})
	if kept("late", 1); !slices.Equal(got, []string{"half0.5"}) {
		t.Errorf("got %q", got)
	}
}

func TestLimitsOfResults(t *testing.T) {
	t.Parallel()
	tool := &fake{spec: toolhost.Spec{Name: "x"}, call: func(_ context.Context, _ *instance, c toolhost.Call) (toolhost.Result, error) {
		return toolhost.Result{Text: strings.Repeat("é", 30<<10), Structured: json.RawMessage(`"123456"`), Files: []toolhost.File{
			{Path: "/a", Data: make([]byte, 2)}, {Path: "/b", Data: make([]byte, 10)}, {Path: "/c", Data: make([]byte, 2)}}}, nil
	}}
	tools := set(t, tool)
	var record toolhost.Record
	audit := func(r toolhost.Record) { record = r }
	s := tools.NewSession(toolhost.SessionOptions{Limits: toolhost.Limits{AttachedBytes: 12}, Audit: audit})
	defer s.Close()
	o := do(s, "x", "four")[0]
	if len(o.Files) != 2 || o.Files[1].Path != "/c" || o.Structured == nil || !strings.HasSuffix(o.Text, "é\n[The file /b is not shown: with its 10 bytes there are too many.]") {
		t.Errorf("files %v, text ends %q", o.Files, o.Text[len(o.Text)-100:])
	}
	if o.Cut != 28<<10 || len(o.Text) > 32<<10+200 || !strings.Contains(o.Text, "[… 28672 of 61440 bytes of output left out …]") {
		t.Errorf("cut %d, length %d", o.Cut, len(o.Text))
	}
	if record.BytesIn != 4 || record.BytesOut != 60<<10 || record.Cut != o.Cut {
		t.Errorf("record %+v", record)
	}
	if stats := tools.Stats()[0]; stats.BytesIn != 4 || stats.BytesOut != 60<<10 || stats.Cut != 28<<10 {
		t.Errorf("stats %+v", stats)
	}
	s = tools.NewSession(toolhost.SessionOptions{Limits: toolhost.Limits{AttachedBytes: 7}})
	defer s.Close()
	if o := do(s, "x", "")[0]; o.Structured != nil || !strings.Contains(o.Text, "[The structured result is left out: it is larger than 7 bytes.]") {
		t.Errorf("structured %s", o.Structured)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		limit      int
		want       string
		dropped    int
	}{
		{"fits", "abc", 3, "abc", 0},
		{"one too many", "abcd", 3, "ab\n[… 1 of 4 bytes of output left out …]\nd", 1},
		{"nothing left", "abcd", 0, "\n[… 4 of 4 bytes of output left out …]\n", 4},
		{"negative", "abcd", -5, "\n[… 4 of 4 bytes of output left out …]\n", 4},
		{"inside characters", "ééé", 4, "é\n[… 2 of 6 bytes of output left out …]\né", 2},
		{"split characters", "ééé", 2, "\n[… 6 of 6 bytes of output left out …]\n", 6},
		{"no text", "a\xffb", 9, "a\uFFFDb", 0},
	}
	for _, tt := range tests {
		if got, dropped := toolhost.Cut(tt.text, tt.limit); got != tt.want || dropped != tt.dropped {
			t.Errorf("%s: got %q, %d, want %q, %d", tt.name, got, dropped, tt.want, tt.dropped)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("aé💖\xf0\x9f", 3)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		got, dropped := toolhost.Cut(text, limit)
		if !utf8.ValidString(got) || dropped < 0 || len(got) > max(limit, 0)+100 && dropped > 0 {
			t.Errorf("got %q, %d", got, dropped)
		}
	})
}

func TestNewSetRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		spec toolhost.Spec
		want string
	}{
		{"no name", toolhost.Spec{}, `tool "": the name`},
		{"dot in the name", toolhost.Spec{Name: "a.b"}, `tool "a.b": the name`},
		{"same name", toolhost.Spec{Name: "python"}, `another tool`},
		{"negative limit", toolhost.Spec{Name: "x", MaxOpen: -1}, `MaxOpen is -1`},
		{"name of a function", toolhost.Spec{Name: "x", Functions: []toolhost.Function{{Name: "a b"}}}, `function "a b"`},
		{"same function", toolhost.Spec{Name: "x", Functions: []toolhost.Function{{Name: "f"}, {Name: "f"}}}, `function "f" is there twice`},
		{"parameters", toolhost.Spec{Name: "x", Functions: []toolhost.Function{{Name: "f", Parameters: json.RawMessage(`null`)}}}, `parameters of function "f"`},
		{"output", toolhost.Spec{Name: "x", Functions: []toolhost.Function{{Name: "f", Output: json.RawMessage(`{`)}}}, `output schema of function "f"`},
	}
	for _, tt := range tests {
		_, err := toolhost.NewSet(&fake{spec: toolhost.Spec{Name: "python"}}, &fake{spec: tt.spec})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

// TestManySessions is for the race detector: sessions that work, fail, hang and are cancelled, beside each other.
func TestManySessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tool := &fake{spec: toolhost.Spec{Name: "x", MaxOpen: 50}, call: func(ctx context.Context, in *instance, c toolhost.Call) (toolhost.Result, error) {
			switch c.Input {
			case "panic":
				panic("no")
			case "hang":
				time.Sleep(time.Hour)
			case "wait":
				<-ctx.Done()
				return toolhost.Result{}, ctx.Err()
			}
			return toolhost.Result{Text: c.Input}, nil
		}}
		other := &fake{spec: toolhost.Spec{Name: "y", Independent: true}}
		tools := set(t, tool, other)
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				s := tools.NewSession(toolhost.SessionOptions{Limits: toolhost.Limits{Deadline: 10 * time.Second}})
				defer s.Close()
				input := []string{"ok", "panic", "hang", "wait"}[i%4]
				o := s.Do(t.Context(), []toolhost.Call{{Tool: "x", Input: input}, {Tool: "y", Input: "1"}, {Tool: "x", Input: "ok"}, {Tool: "y", Input: "2"}})
				if o[1].Text != "1" || o[3].Text != "2" {
					t.Errorf("got %+v", o)
				}
			})
		}
		wg.Wait()
		if err := tools.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		for _, stats := range tools.Stats() {
			if stats.Open != 0 || stats.Hung != 0 || stats.Calls != 400 {
				t.Errorf("got %+v", stats)
			}
		}
		if tool.opened.Load() != tool.closed.Load() || other.opened.Load() != other.closed.Load() {
			t.Errorf("%d opened, %d closed", tool.opened.Load(), tool.closed.Load())
		}
	})
}

// TestNext replaces a set: what stays goes on with its counters, what has the same name only does not.
func TestNext(t *testing.T) {
	t.Parallel()
	stays, old, renewed := &fake{spec: toolhost.Spec{Name: "a"}}, &fake{spec: toolhost.Spec{Name: "b"}}, &fake{spec: toolhost.Spec{Name: "b"}}
	set, err := toolhost.NewSet(stays, old)
	if err != nil {
		t.Fatal(err)
	}
	s := set.NewSession(toolhost.SessionOptions{})
	s.Do(t.Context(), []toolhost.Call{{Tool: "a"}, {Tool: "b"}})
	next, err := set.Next(stays, renewed)
	if err != nil {
		t.Fatal(err)
	}
	if got := next.Stats(); got[0].Calls != 1 || got[0].Open != 1 || got[1].Calls != 0 || got[1].Open != 0 {
		t.Errorf("got %+v", got)
	}
	if s.Close(); next.Stats()[0].Open != 0 {
		t.Errorf("a session of the old set is not counted in the next: %+v", next.Stats())
	}
	if _, err := set.Next(stays, stays); err == nil {
		t.Error("a tool may be there twice")
	}
}

// TestWith adds a tool for one response: those of the set count for all, and it is not in the set.
func TestWith(t *testing.T) {
	t.Parallel()
	set, err := toolhost.NewSet(&fake{spec: toolhost.Spec{Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	with, err := set.With(&fake{spec: toolhost.Spec{Name: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	s := with.NewSession(toolhost.SessionOptions{})
	defer s.Close()
	for i, o := range s.Do(t.Context(), []toolhost.Call{{Tool: "a"}, {Tool: "b"}}) {
		if o.Failed {
			t.Errorf("call %d: %+v", i, o)
		}
	}
	if got := set.Stats(); len(got) != 2 || got[0].Calls != 1 || got[1].Tool != toolhost.Guests || got[1].Calls != 1 {
		t.Errorf("got %+v", got)
	}
	if next, err := set.Next(); err != nil || len(next.Stats()) != 1 {
		t.Errorf("the next set has forgotten the guests: %v", err)
	}
	if _, err := set.With(&fake{spec: toolhost.Spec{Name: "a"}}); err == nil {
		t.Error("a tool of the set may be replaced")
	}
}
