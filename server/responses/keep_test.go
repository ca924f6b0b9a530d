package responses_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chorale/inference/engine/enginetest"
	cpython "chorale/sandbox/python"
	"chorale/server/api"
	"chorale/server/containers"
	"chorale/server/responses"
	"chorale/server/store"
	"chorale/toolhost"
)

// named makes a container and returns it as a request names it, with its id.
func (n *notebookServer) named() (choice, id string) {
	n.t.Helper()
	c, err := n.containers.Create(context.Background(), "", &api.ContainerRequest{Name: "mine"})
	if err != nil {
		n.t.Fatal(err)
	}
	return `"` + c.ID + `"`, c.ID
}

// cancel lets the model write the cells, and the client hang up while the last of them runs.
func (n *notebookServer) cancel(container string, cells ...string) *api.Response {
	n.t.Helper()
	var texts []string
	for _, cell := range cells {
		texts = append(texts, run(cell))
	}
	n.m.write(texts...)
	ctx, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	r, err := n.s.Create(ctx, request(n.t, `{"input":"Go.","tools":[{"type":"code_interpreter","container":`+container+`}]}`))
	if err != nil {
		n.t.Fatal(err)
	}
	var last *api.Response
	running := 0
	for e := range r.Events() {
		if e, ok := e.(*api.ToolEvent); ok && e.Type == api.EventCodeInterpreting {
			if running++; running == len(cells) {
				hangUp()
			}
		}
		last, _ = api.Terminal(e)
	}
	if last == nil || last.Status != api.Cancelled {
		n.t.Fatalf("got %s", encode(n.t, last))
	}
	return last
}

// TestRealContainerAfterACancel has a client that hangs up during a cell: the container keeps what the cells before have left,
// also those of the response that was cancelled.
func TestRealContainerAfterACancel(t *testing.T) {
	t.Parallel()
	n := &notebookServer{t: t, path: filepath.Join(t.TempDir(), "s.db")}
	defer n.start()()
	mine, _ := n.named()
	n.run(nil, mine, "x = 5")
	n.cancel(mine, "y = 6; open('b.txt', 'w').write('b')", "open('c.txt', 'w').write('c')\nwhile True: pass")
	_, got := n.run(nil, mine, "x, y, open('b.txt').read()", "import os; os.path.exists('c.txt')")
	n.want(got, "(5, 6, 'b')", "False")
}

// TestRealContainerAfterAHardLimit has a response that goes on behind a cell that could not be ended but with its interpreter.
// Variables are lost and the model is told; files stay.
func TestRealContainerAfterAHardLimit(t *testing.T) {
	t.Parallel()
	const stubborn = "open('b.txt', 'w').write('b')\nwhile True:\n  try:\n    while True: pass\n  except BaseException: pass"
	t.Run("of the interpreter", func(t *testing.T) {
		t.Parallel()
		n := &notebookServer{t: t, path: filepath.Join(t.TempDir(), "s.db"),
			limits: cpython.Limits{Wall: 2 * time.Second, Soft: time.Second}}
		defer n.start()()
		mine, _ := n.named()
		_, got := n.run(nil, mine, "x = 5; open('a.txt', 'w').write('a')", stubborn)
		if !strings.Contains(got[1], "all variables and imports are lost, files are still there") {
			t.Errorf("the model was told %q", got[1])
		}
		_, got = n.run(nil, mine, "'x' in globals(), open('a.txt').read(), open('b.txt').read()")
		n.want(got, "(False, 'a', 'b')")
	})
	t.Run("of the call", func(t *testing.T) {
		t.Parallel()
		n := &notebookServer{t: t, path: filepath.Join(t.TempDir(), "s.db")}
		n.o = responses.Options{ToolLimits: toolhost.Limits{Deadline: 2 * time.Second}}
		defer n.start()()
		mine, _ := n.named()
		n.run(nil, mine, "w = 4")
		_, got := n.run(nil, mine, "x = 5; open('a.txt', 'w').write('a')", stubborn, "w", "open('a.txt').read()")
		if want := "[Note: The tool had to be started again: what earlier calls left in it is lost.]\n"; !strings.HasPrefix(got[2], want) ||
			!strings.Contains(got[2], "NameError") {
			t.Errorf("the model was told %q", got[2])
		}
		n.want(got[3:], "'a'")
		_, got = n.run(nil, mine, "'x' in globals(), open('a.txt').read()")
		n.want(got, "(False, 'a')")
	})
	t.Run("of the last call", func(t *testing.T) {
		t.Parallel()
		n := &notebookServer{t: t, path: filepath.Join(t.TempDir(), "s.db")}
		n.o = responses.Options{ToolLimits: toolhost.Limits{Deadline: 2 * time.Second}}
		defer n.start()()
		mine, _ := n.named()
		r, got := n.run(nil, mine, "x = 5; open('a.txt', 'w').write('a')", stubborn)
		if !strings.HasPrefix(got[1], "The call was stopped: it did not end within") {
			t.Errorf("the model was told %q", got[1])
		}
		for _, container := range []string{mine, auto} { // as before the call that failed
			_, got = n.run(r, container, "x, open('a.txt').read()")
			n.want(got, "(5, 'a')")
		}
	})
}

// TestRealContainerOfAnotherInterpreter begins with what another build of the interpreter has left: files are there, and the
// model is told about variables.
func TestRealContainerOfAnotherInterpreter(t *testing.T) {
	t.Parallel()
	n := &notebookServer{t: t, path: filepath.Join(t.TempDir(), "s.db")}
	defer n.start()()
	mine, id := n.named()
	n.run(nil, mine, "x = 5; open('a.txt', 'w').write('a')")
	lease, err := n.containers.Acquire(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	old := *lease.State()
	old.Memory = []byte("CHORPY\x00\x7f of a later version")
	if err := lease.Save(t.Context(), &old); err != nil {
		t.Fatal(err)
	}
	lease.Release()
	_, got := n.run(nil, mine, "'x' in globals(), open('a.txt').read()", "y = 1", "y")
	if !strings.HasPrefix(got[0], "[Note: What earlier calls left in the tool cannot be restored, so it starts afresh: "+
		"variables are lost, since they are from another version of the interpreter; files are still there.]\n(False, 'a')") {
		t.Errorf("got %q", got[0])
	}
	_, got = n.run(nil, mine, "y, open('a.txt').read()")
	n.want(got, "(1, 'a')")
}

// TestRealContainerInASmallerInterpreter begins with more memory than an interpreter may have by now.
func TestRealContainerInASmallerInterpreter(t *testing.T) {
	t.Parallel()
	n := &notebookServer{t: t, path: filepath.Join(t.TempDir(), "s.db")}
	stop := n.start()
	mine, _ := n.named()
	n.run(nil, mine, "x = bytes(120 << 20); open('a.txt', 'w').write('a')")
	stop()
	n.limits = cpython.Limits{Memory: 128 << 20}
	defer n.start()()
	_, got := n.run(nil, mine, "'x' in globals(), open('a.txt').read()")
	if !strings.Contains(got[0], "they need more memory than there is; files are still there.]\n(False, 'a')") {
		t.Errorf("got %q", got[0])
	}
}

// TestStateBehindALostCall lets the last call of a response break the tool: what the calls before it left is there afterwards,
// in the container and for responses that continue, and without a note, since nothing that the model knows of is lost.
func TestStateBehindALostCall(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{"broke": "[broken]", "answered": "b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, py := &model{texts: []string{run("a"), run("b"), final("ok")}}, &pythonFake{answers: []string{"a", answer}}
			db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			c := newContainers(t, db)
			s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, py), Store: db, Containers: c})
			first := respond(t, s, `{"input":"x",`+interpreter+`}`)
			want := map[string]string{"broke": "a; c", "answered": "a; b; c"}[name]
			m.write(run("c"), final("ok"))
			if got := calls(respond(t, s, `{"input":"x","previous_response_id":"`+first.ID+`",`+interpreter+`}`)); logs(got[0]) != want {
				t.Errorf("continued with %s, want %q", encode(t, got), want)
			}
			m.write(run("c"), final("ok"))
			body := `{"input":"x","tools":[{"type":"code_interpreter","container":"` + calls(first)[0].ContainerID + `"}],"include":["code_interpreter_call.outputs"]}`
			if got := calls(respond(t, s, body)); logs(got[0]) != want {
				t.Errorf("in the container %s, want %q", encode(t, got), want)
			}
		})
	}
}

// TestContainerInUse lets a response wait for a container that another one uses: its client hears of it from the beginning,
// and it waits no longer than a response may take.
func TestContainerInUse(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Second
	for name, frees := range map[string]time.Duration{"in time": limit / 2, "too late": 2 * limit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				c, m := newContainers(t, db), &model{}
				s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, &pythonFake{}), Store: db, Containers: c, MaxDuration: limit})
				made, err := c.Create(t.Context(), "", &api.ContainerRequest{Name: "mine"})
				if err != nil {
					t.Fatal(err)
				}
				lease, err := c.Acquire(t.Context(), made.ID)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				time.AfterFunc(frees, lease.Release)
				tool := `"tools":[{"type":"code_interpreter","container":"` + made.ID + `"}]`
				if r := respond(t, s, `{"input":"x",`+tool+`}`); r.Status != api.Completed || time.Since(began) != 0 {
					t.Errorf("without a call: got %s after %v", encode(t, r), time.Since(began))
				}
				m.write(run("a"), final("ok"))
				check := client{t: t}
				var r *api.Response
				for e := range create(t, s, `{"input":"x",`+tool+`}`).Events() {
					if check.event(e); time.Since(began) == 0 {
						continue
					}
					if e, ok := e.(*api.ToolEvent); check.n < 7 || ok && e.Type == api.EventCodeInProgress {
						t.Errorf("event %d came only after %v", check.n, time.Since(began))
					}
					r, _ = api.Terminal(e)
				}
				want, took := api.Completed, frees
				if frees > limit {
					want, took = api.Failed, limit
				}
				if r.Status != want || time.Since(began) != took || len(calls(r)) != 1 {
					t.Errorf("got %s after %v, want it %s after %v", encode(t, r), time.Since(began), want, took)
				}
				time.Sleep(2 * limit)
				synctest.Wait()
				if stats := c.Stats(); stats.Leased != 0 || stats.Waiting != 0 {
					t.Errorf("left behind: %+v", stats)
				}
			})
		})
	}
}

// TestContainerBoundsMemory has containers that ask for less memory than interpreters may use, and for as much.
func TestContainerBoundsMemory(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string][]int64{"1g": {1 << 30}, "4g": nil} {
		db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		c, err := containers.New(t.Context(), containers.Options{Store: db, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		m := &model{texts: []string{run("a"), final("ok")}}
		py := &pythonFake{}
		s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, py), Store: db, Containers: c})
		r := respond(t, s, `{"input":"x","tools":[{"type":"code_interpreter","container":{"type":"auto","memory_limit":"`+asked+`"}}]}`)
		if r.Status != api.Completed || !slices.Equal(py.bounds, want) {
			t.Errorf("%s: %s, with bounds %d, want %d", asked, r.Status, py.bounds, want)
		}
	}
}

// TestStateIsTooLarge has code that leaves more than a response keeps: the response is stored all the same, without its largest
// files, and says so. The container has them.
func TestStateIsTooLarge(t *testing.T) {
	t.Parallel()
	files := []toolhost.File{{Path: "/mnt/data/small", Data: make([]byte, 100)}, {Path: "/mnt/data/large", Data: make([]byte, 3000)},
		{Path: "/mnt/data/medium", Data: make([]byte, 1000)}}
	memory := int64(len(pythonVersion) + len("a"))
	tests := []struct {
		name    string
		limit   int64 // of a state
		store   int64 // of the store
		warning string
		begins  string // what a response that continues has
	}{
		{"all of it fits", memory + 4100, 0, "", "small large medium, a; b"},
		{"one byte too much", memory + 4099, 0, "without 1 of its files, the largest /mnt/data/large.", "small medium, a; b"},
		{"memory alone", memory, 0, "without 3 of its files, the largest /mnt/data/large.", ", a; b"},
		{"not even the memory", memory - 1, 0, "without its variables and 3 of its files, the largest /mnt/data/large.", ", [Note"},
		{"a quarter of the store", 0, 16_000, "larger than the 4000 bytes that a response keeps", "small medium, a; b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db, err := store.Open(t.Context(), store.Options{Path: ":memory:", MaxBytes: tt.store})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			m, py, c := &model{texts: []string{run("a"), final("ok")}}, &pythonFake{files: files}, newContainers(t, db)
			s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, py), Store: db, Containers: c, MaxStateBytes: tt.limit})
			r := respond(t, s, `{"input":"x",`+interpreter+`}`)
			if warnings := encode(t, r.Warnings); r.Status != api.Completed || (len(r.Warnings) > 0) != (tt.warning != "") || !strings.Contains(warnings, tt.warning) {
				t.Errorf("got %s with warnings %s, want %q", r.Status, warnings, tt.warning)
			}
			if list, err := c.Files(t.Context(), calls(r)[0].ContainerID, api.Page{}); err != nil || len(list.Data) != len(files) {
				t.Errorf("in the container %s, %v", encode(t, list), err)
			}
			state, err := db.State(t.Context(), r.ID, "python")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range files {
				if slices.ContainsFunc(state.Files, func(g store.File) bool { return f.Path == g.Path }) {
					names = append(names, filepath.Base(f.Path))
				}
			}
			m.write(run("b"), final("ok"))
			next := calls(respond(t, s, `{"input":"x","previous_response_id":"`+r.ID+`",`+interpreter+`}`))
			if got := strings.Join(names, " ") + ", " + logs(next[0]); !strings.HasPrefix(got, tt.begins) {
				t.Errorf("continued with %q, want %q", got, tt.begins)
			}
		})
	}
}

// TestContainerIsFull has code that leaves more than its container may hold: the response says so and goes on.
func TestContainerIsFull(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c, err := containers.New(t.Context(), containers.Options{Store: db, Logger: slog.New(slog.DiscardHandler), MaxContainerBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	m := &model{texts: []string{run("a"), run("b"), final("ok")}}
	py := &pythonFake{files: []toolhost.File{{Path: "/mnt/data/large", Data: make([]byte, 3000)}}}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, py), Store: db, Containers: c})
	r := respond(t, s, `{"input":"x",`+interpreter+`}`)
	if r.Status != api.Completed || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Message, "A container holds at most 1000 bytes") ||
		r.Warnings[0].Param != "tools[0].container" {
		t.Errorf("got %s with warnings %s", r.Status, encode(t, r.Warnings))
	}
}
