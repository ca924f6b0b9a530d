package python_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cpython "chorale/sandbox/python"
	"chorale/toolhost"
	"chorale/toolhost/python"
)

// image is booted once for all tests, and compiled for seconds once on a machine: the cache outlives the tests.
var image = sync.OnceValues(func() (*cpython.Image, error) {
	dir, err := os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(dir, "chorale", "python-test")
	}
	return cpython.Boot(context.Background(), cpython.BootOptions{CacheDir: dir})
})

func pool(t *testing.T, o cpython.PoolOptions) *cpython.Pool {
	t.Helper()
	img, err := image()
	if err != nil {
		t.Fatal(err)
	}
	p, err := cpython.NewPool(img, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// tool returns the tool over a pool of its own.
func tool(t *testing.T, o python.Options) *python.Tool {
	t.Helper()
	p := pool(t, cpython.PoolOptions{Slots: 1})
	o.Pool = func(context.Context) (*cpython.Pool, error) { return p, nil }
	tool, err := python.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

// session returns a session of the tool alone.
func session(t *testing.T, tool *python.Tool, o toolhost.SessionOptions) *toolhost.Session {
	t.Helper()
	set, err := toolhost.NewSet(tool)
	if err != nil {
		t.Fatal(err)
	}
	s := set.NewSession(o)
	t.Cleanup(s.Close)
	return s
}

func run(t *testing.T, s *toolhost.Session, code string) toolhost.Outcome {
	t.Helper()
	o := s.Do(t.Context(), []toolhost.Call{{Tool: "python", ID: "c", Input: code}})[0]
	if o.Err != nil {
		t.Errorf("%s: %v", code, o.Err)
	}
	return o
}

// A reading is what the model reads of code, in this order.
type reading struct {
	name, code string
	want       []string
	failed     bool
}

// check runs code in one session.
func check(t *testing.T, s *toolhost.Session, tests []reading) {
	t.Helper()
	for _, tt := range tests {
		o := run(t, s, tt.code)
		rest := o.Text
		for _, want := range tt.want {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Errorf("%s: got %q, want %q in it", tt.name, o.Text, tt.want)
			}
			rest = after
		}
		if o.Failed != tt.failed || len(o.Text) > 1000 {
			t.Errorf("%s: failed %v, want %v; %q", tt.name, o.Failed, tt.failed, o.Text)
		}
	}
}

func TestWhatTheModelReads(t *testing.T) {
	t.Parallel()
	tl := tool(t, python.Options{Limits: cpython.Limits{Wall: time.Minute, Soft: 300 * time.Millisecond, Output: 200}})
	check(t, session(t, tl, toolhost.SessionOptions{}), []reading{
		{"value of the last expression", "x = 6\nx * 7", []string{"42"}, false},
		{"variables stay", "x", []string{"6"}, false},
		{"printed", "print('a'); print('b')\n'c'", []string{"a\nb\n'c'"}, false},
		{"nothing", "y = 1", []string{"[The code ran and printed nothing. Use print() to see values.]"}, false},
		{"traceback", "1/0", []string{"Traceback", "<cell", "ZeroDivisionError: division by zero"}, true},
		{"syntax", "1 +", []string{"SyntaxError"}, true},
		{"much output", "print('x' * 1000 + 'end')", []string{"xxx", "x", "end"}, false},
		{"exit", "import sys; sys.exit(3)", []string{"[The code ended with exit code 3.]"}, true},
		{"interrupted", "while True: pass", []string{"KeyboardInterrupt", "[The code was interrupted after 300ms.]"}, true},
		{"variables survive an interrupt", "x", []string{"6"}, false},
		{"files", "open('/mnt/data/t.txt', 'w').write('kept')", []string{"4"}, false},
	})
}

// TestStoppedCode has code that goes on behind interrupts until it is stopped.
func TestStoppedCode(t *testing.T) {
	t.Parallel()
	tl := tool(t, python.Options{Limits: cpython.Limits{Wall: time.Second, Soft: 300 * time.Millisecond}})
	check(t, session(t, tl, toolhost.SessionOptions{}), []reading{
		{"variable", "x = 6", []string{"printed nothing"}, false},
		{"file", "open('/mnt/data/t.txt', 'w').write('kept')", []string{"4"}, false},
		{"stopped", "while True:\n  try:\n    while True: pass\n  except BaseException: pass", []string{"[The code was stopped after 1s.]", "[The interpreter had to be started again: all variables and imports are lost, files are still there.]"}, true},
		{"variables are lost", "x", []string{"NameError"}, true},
		{"files are not", "open('t.txt').read()", []string{"'kept'"}, false},
	})
}

func TestMemory(t *testing.T) {
	t.Parallel()
	s := session(t, tool(t, python.Options{Limits: cpython.Limits{Memory: 192 << 20}}), toolhost.SessionOptions{})
	if o := run(t, s, "x = bytearray(1 << 30)"); !strings.Contains(o.Text, "MemoryError") || !strings.Contains(o.Text, "[The code needed more memory than it may have.]") || !o.Failed {
		t.Errorf("got %q", o.Text)
	}
}

func TestStateSurvives(t *testing.T) {
	t.Parallel()
	tl := tool(t, python.Options{})
	first := session(t, tl, toolhost.SessionOptions{})
	run(t, first, "def f(x): return x + base\nbase = 40\nopen('/mnt/data/a.bin', 'wb').write(bytes(range(256)))")
	state, ok, err := first.Save(t.Context(), "python")
	if err != nil || !ok || len(state.Memory) == 0 || len(state.Files) != 1 || state.Files[0].Path != "/mnt/data/a.bin" || len(state.Files[0].Data) != 256 {
		t.Fatalf("saved %d bytes, %d files, %v, %v", len(state.Memory), len(state.Files), ok, err)
	}
	load := func(s toolhost.State) toolhost.SessionOptions {
		return toolhost.SessionOptions{Load: func(context.Context, string) (*toolhost.State, error) { return &s, nil }}
	}
	for i := range 2 {
		branch := session(t, tl, load(state))
		if o := run(t, branch, fmt.Sprintf("base += %d\nf(2), len(open('a.bin', 'rb').read())", i)); o.Text != fmt.Sprintf("(%d, 256)", 42+i) {
			t.Errorf("branch %d: %q", i, o.Text)
		}
	}

	t.Run("files alone", func(t *testing.T) {
		s := session(t, tl, load(toolhost.State{Files: []toolhost.File{{Path: "/mnt/data/sub/b.txt", Data: []byte("hi")}}}))
		if o := run(t, s, "open('/mnt/data/sub/b.txt').read()"); o.Text != "'hi'" {
			t.Errorf("got %q", o.Text)
		}
	})
	t.Run("less memory than the tool's limit", func(t *testing.T) {
		for _, memory := range [][]byte{nil, state.Memory} {
			s := session(t, tl, load(toolhost.State{Memory: memory, MaxMemory: 128 << 20}))
			if o := run(t, s, "len(bytes(20_000_000))"); o.Text != "20000000" {
				t.Errorf("20 MB: %q", o.Text)
			}
			if o := run(t, s, "len(bytes(130_000_000))"); !strings.Contains(o.Text, "MemoryError") {
				t.Errorf("130 MB of 128 MiB: %q", o.Text)
			}
		}
		s := session(t, tl, load(toolhost.State{MaxMemory: 4 << 30}))
		if o := run(t, s, "len(bytes(300_000_000))"); !strings.Contains(o.Text, "MemoryError") {
			t.Errorf("300 MB, above the tool's own limit: %q", o.Text)
		}
	})
	other := tool(t, python.Options{})
	for name, tt := range map[string]struct {
		memory []byte
		tool   *python.Tool
		want   string
	}{
		"changed":      {append(bytes.Clone(state.Memory[:len(state.Memory)-1]), state.Memory[len(state.Memory)-1]^1), tl, "damaged"},
		"not kept":     {[]byte{}, tl, "could not be kept; files are still there"},
		"other format": {[]byte("CHORPY\x00\x7f and so on"), tl, "from another version"},
		"other server": {state.Memory, other, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			spoilt := toolhost.State{Memory: tt.memory, Files: state.Files}
			s := session(t, tt.tool, load(spoilt))
			o := run(t, s, "print('base' in globals())\nlen(open('a.bin', 'rb').read())")
			if !strings.HasPrefix(o.Text, "[Note: ") || !strings.Contains(o.Text, tt.want) || !strings.HasSuffix(o.Text, "]\nFalse\n256") {
				t.Errorf("got %q, want %q in it", o.Text, tt.want)
			}
		})
	}
}

func TestStateless(t *testing.T) {
	t.Parallel()
	tl := tool(t, python.Options{Stateless: true})
	s := session(t, tl, toolhost.SessionOptions{})
	outcomes := s.Do(t.Context(), []toolhost.Call{{Tool: "python", Input: "x = 1\nx"}, {Tool: "python", Input: "'x' in globals()"}})
	if outcomes[0].Text != "1" || outcomes[1].Text != "False" {
		t.Errorf("got %+v", outcomes)
	}
	if _, ok, err := s.Save(t.Context(), "python"); ok || err != nil {
		t.Errorf("saved %v, %v", ok, err)
	}
	if d := tl.Spec().Description; !strings.Contains(d, "new interpreter") {
		t.Errorf("the model is told %q", d)
	}
}

// figure makes a value that is a picture.
const figure = `class Figure:
    def _repr_png_(self): return b"\x89PNG a picture"
Figure()`

func TestPictures(t *testing.T) {
	t.Parallel()
	s := session(t, tool(t, python.Options{}), toolhost.SessionOptions{})
	o := run(t, s, figure)
	if len(o.Files) != 1 || !strings.HasPrefix(o.Files[0].MIME, "image/") || len(o.Files[0].Data) == 0 || !strings.Contains(o.Text, ".png was drawn. You cannot see it; the user may.]") {
		t.Errorf("got %q with %d files", o.Text, len(o.Files))
	}
}

func TestNoPool(t *testing.T) {
	t.Parallel()
	if _, err := python.New(python.Options{}); err == nil {
		t.Error("made without a pool")
	}
	broken := errors.New("secret: no interpreter")
	tl, err := python.New(python.Options{Pool: func(context.Context) (*cpython.Pool, error) { return nil, broken }})
	if err != nil {
		t.Fatal(err)
	}
	set, err := toolhost.NewSet(tl)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []*toolhost.State{nil, {}, {Memory: []byte("x")}} {
		s := set.NewSession(toolhost.SessionOptions{Load: func(context.Context, string) (*toolhost.State, error) { return state, nil }})
		o := s.Do(t.Context(), []toolhost.Call{{Tool: "python", Input: "1"}})[0]
		if !errors.Is(o.Err, broken) || o.Text != "The call failed: the tool cannot be used at the moment." {
			t.Errorf("got %+v", o)
		}
		s.Close()
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if img, err := image(); err == nil {
		img.Close()
	}
	os.Exit(code)
}
