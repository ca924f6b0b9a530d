package responses_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"chorale/inference/engine/enginetest"
	cpython "chorale/sandbox/python"
	"chorale/server/api"
	"chorale/server/containers"
	"chorale/server/responses"
	"chorale/server/store"
	pythontool "chorale/toolhost/python"
)

// pythonImage is booted once for all tests; compiling it takes seconds once on a machine.
var pythonImage = sync.OnceValues(func() (*cpython.Image, error) {
	dir, err := os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(dir, "chorale", "python-test")
	}
	return cpython.Boot(context.Background(), cpython.BootOptions{CacheDir: dir})
})

// A notebookServer is a service over real interpreters and a file, which can be started again.
type notebookServer struct {
	t          testing.TB
	path       string
	m          model
	script     func(prompt, generated []int32) int32 // instead of m; may be nil
	limits     cpython.Limits
	o          responses.Options // beside what start sets
	s          *responses.Service
	containers *containers.Service
}

func (n *notebookServer) start() (stop func()) {
	n.t.Helper()
	img, err := pythonImage()
	if err != nil {
		n.t.Fatal(err)
	}
	pool, err := cpython.NewPool(img, cpython.PoolOptions{Slots: 1, Key: []byte("the same after a restart")})
	if err != nil {
		n.t.Fatal(err)
	}
	tool, err := pythontool.New(pythontool.Options{Limits: n.limits,
		Pool: func(context.Context) (*cpython.Pool, error) { return pool, nil }})
	if err != nil {
		n.t.Fatal(err)
	}
	db, err := store.Open(n.t.Context(), store.Options{Path: n.path})
	if err != nil {
		n.t.Fatal(err)
	}
	n.containers = newContainers(n.t, db)
	script := n.script
	if script == nil {
		script = n.m.script
	}
	o := n.o
	o.Tools, o.Store, o.Containers = tools(n.t, tool), db, n.containers
	n.s = start(n.t, enginetest.Options{Script: script}, o)
	return func() {
		n.t.Helper()
		if err := n.s.Close(context.Background()); err != nil {
			n.t.Error(err)
		}
		for _, c := range []interface{ Close() error }{db, pool} {
			if err := c.Close(); err != nil {
				n.t.Error(err)
			}
		}
	}
}

// run lets the model write the cells one after the other in a response that continues another one, and returns the response
// and what the cells gave.
func (n *notebookServer) run(previous *api.Response, container string, cells ...string) (*api.Response, []string) {
	n.t.Helper()
	var texts []string
	for _, cell := range cells {
		texts = append(texts, run(cell))
	}
	n.m.write(append(texts, final("ok"))...)
	body := `{"input":"Go.","include":["code_interpreter_call.outputs"],"tools":[{"type":"code_interpreter","container":` + container + `}]`
	if previous != nil {
		body += `,"previous_response_id":"` + previous.ID + `"`
	}
	r := respond(n.t, n.s, body+"}")
	var outputs []string
	for _, c := range calls(r) {
		outputs = append(outputs, logs(c))
	}
	if r.Status != api.Completed || len(outputs) != len(cells) {
		n.t.Fatalf("got %s", encode(n.t, r))
	}
	return r, outputs
}

func (n *notebookServer) want(got []string, want ...string) {
	n.t.Helper()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		n.t.Errorf("got %q, want %q", got, want)
	}
}

const auto = `{"type":"auto"}`

// TestRealPython runs real code in responses: variables and files stay within a response, in those that continue it, in every
// branch for itself, and behind a restart.
func TestRealPython(t *testing.T) {
	t.Parallel()
	n := &notebookServer{t: t, path: filepath.Join(t.TempDir(), "s.db")}
	stop := n.start()
	first, got := n.run(nil, auto, "import math\nx = [math.factorial(20)]", "x", "print(x[0] % 1000007); open('n.txt', 'w').write('a')", "1/0")
	n.want(got[:3], "[The code ran and printed nothing. Use print() to see values.]", "[2432902008176640000]", fmt.Sprintf("%d\n1", 2432902008176640000%1000007))
	if !strings.HasPrefix(got[3], "Traceback") || !strings.HasSuffix(got[3], "ZeroDivisionError: division by zero") {
		t.Errorf("traceback: %q", got[3])
	}
	left, got := n.run(first, auto, "x.append('left'); open('n.txt', 'a').write('l'); x[1:], open('n.txt').read()")
	n.want(got, "(['left'], 'al')")
	_, got = n.run(first, auto, "x.append('right'); x[1:], open('n.txt').read()")
	n.want(got, "(['right'], 'a')")
	stop()

	stop = n.start()
	_, got = n.run(left, auto, "x[1:], open('n.txt').read(), math.floor(1.5)")
	n.want(got, "(['left'], 'al', 1)")
	_, got = n.run(nil, auto, "'x' in globals()")
	n.want(got, "False")

	c, err := n.containers.Create(t.Context(), "", &api.ContainerRequest{Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	mine := `"` + c.ID + `"`
	n.run(nil, mine, "y = 7; open('/mnt/data/y.txt', 'w').write(str(y))")
	stop()

	stop = n.start()
	defer stop()
	_, got = n.run(nil, mine, "y, open('y.txt').read()")
	n.want(got, "(7, '7')")
	files, err := n.containers.Files(t.Context(), c.ID, api.Page{Order: "asc"})
	if err != nil || len(files.Data) != 1 || files.Data[0].Path != "/mnt/data/y.txt" || files.Data[0].Source != api.SourceAssistant {
		t.Errorf("files %s, %v", encode(t, files), err)
	}
	if _, err := n.containers.Upload(t.Context(), c.ID, containers.Upload{Name: "in.csv", Data: []byte("a,b\n1,2\n")}); err != nil {
		t.Fatal(err)
	}
	_, got = n.run(nil, mine, "import csv; list(csv.reader(open('/mnt/data/in.csv'))), y")
	n.want(got, "([['a', 'b'], ['1', '2']], 7)")
}

// TestManyRealPythons runs responses at once, and then those that continue them: nobody sees what is another's.
func TestManyRealPythons(t *testing.T) {
	t.Parallel()
	n := &notebookServer{t: t, path: filepath.Join(t.TempDir(), "s.db"), script: echo}
	defer n.start()()
	var randoms sync.Map
	var wg sync.WaitGroup
	for i := range manyPythons {
		wg.Go(func() {
			ask := func(code, previous string) *api.Response {
				r, err := n.s.Create(context.Background(), request(t, `{"input":"`+code+`",`+interpreter+previous+`}`))
				if err != nil {
					t.Error(err)
					return &api.Response{}
				}
				return finish(t, r.Events())
			}
			first := ask(fmt.Sprintf("import random, json; open('f', 'w').write('%d'); json.mine = x = %d; 'y' in globals(), random.random()", i, i), "")
			if random, fresh := strings.CutPrefix(text(first), "It is (False, "); !fresh {
				t.Errorf("session %d is not fresh: %q", i, text(first))
			} else if other, same := randoms.LoadOrStore(random, i); same {
				t.Errorf("sessions %d and %d have the same random numbers", i, other)
			}
			second := ask("y = 1; x, json.mine, open('f').read()", `,"previous_response_id":"`+first.ID+`"`)
			if want := fmt.Sprintf("It is (%d, %d, '%d')", i, i, i); text(second) != want {
				t.Errorf("session %d: got %q, want %q", i, text(second), want)
			}
		})
	}
	wg.Wait()
}

func TestRealPicture(t *testing.T) {
	t.Parallel()
	n := &notebookServer{t: t, path: ":memory:"}
	defer n.start()()
	r, _ := n.run(nil, auto, "import matplotlib.pyplot as plt\nplt.plot([1, 2, 4])\nplt.show()")
	outputs := calls(r)[0].Outputs
	if len(outputs) != 2 {
		t.Fatalf("got %s", encode(t, outputs))
	}
	data, ok := strings.CutPrefix(outputs[1].(api.CodeImage).URL, "data:image/png;base64,")
	picture, err := base64.StdEncoding.DecodeString(data)
	if !ok || err != nil || !strings.HasPrefix(string(picture), "\x89PNG\r\n") {
		t.Errorf("got %.100q, %v", data, err)
	}
}

// BenchmarkRealPython is a response in which a scripted model calls python once: in a new interpreter, which is stored with
// the response, and in one that goes on from that. "no call" is the same without python; what eleven calls take longer than one
// is what ten of them take, with saving what each has left.
func BenchmarkRealPython(b *testing.B) {
	n := &notebookServer{t: b, path: filepath.Join(b.TempDir(), "s.db")}
	defer n.start()()
	first, _ := n.run(nil, auto, "import json\nx = list(range(1000))")
	b.Run("no call", func(b *testing.B) {
		for b.Loop() {
			n.run(nil, auto)
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			n.run(nil, auto, "1+1")
		}
	})
	b.Run("new, 11 calls", func(b *testing.B) {
		for b.Loop() {
			n.run(nil, auto, slices.Repeat([]string{"1+1"}, 11)...)
		}
	})
	for _, file := range []string{"1", "16"} { // MiB
		code := "import os; open('f', 'wb').write(os.urandom(" + file + " << 20))"
		b.Run(file+" MiB", func(b *testing.B) {
			for b.Loop() {
				n.run(nil, auto, code)
			}
		})
		b.Run(file+" MiB, 11 calls", func(b *testing.B) {
			for b.Loop() {
				n.run(nil, auto, append([]string{code}, slices.Repeat([]string{"1+1"}, 10)...)...)
			}
		})
	}
	b.Run("continued", func(b *testing.B) {
		for b.Loop() {
			n.run(first, auto, "len(x)")
		}
	})
}
