package python_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"chorale/sandbox"
	"chorale/sandbox/python"
)

func compile(t testing.TB, p *python.Pool, source string) *python.Program {
	t.Helper()
	g, err := p.Compile(t.Context(), "tool.py", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A programRun is what a program did.
type programRun struct {
	code     uint32
	out, log string
	tmp, in  *sandbox.Mem
	err      error
}

func runProgram(t testing.TB, g *python.Program, stdin string) *programRun {
	t.Helper()
	r := &programRun{tmp: sandbox.NewMem(0, 0), in: sandbox.NewMem(0, 0)}
	if err := r.in.WriteFile("data/a.txt", []byte("given")); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	r.code, _, r.err = g.Run(t.Context(), sandbox.Config{
		Limits: sandbox.Limits{Memory: 64 << 20, Wall: 5 * time.Second}, Args: []string{"plugin", "tool"},
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &log,
		Mounts: []sandbox.Mount{{Path: "/tmp", FS: r.tmp}, {Path: "/in", FS: r.in, ReadOnly: true}, {Path: "/data/deep", FS: r.in}, {Path: "/out", FS: sandbox.NewMem(0, 0)}},
	})
	r.out, r.log = out.String(), log.String()
	return r
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	for _, test := range []struct {
		name, source string
		code         uint32
		out, log     string // log: contained
	}{
		{"arguments and input", "import sys, json\nprint(sys.argv[1], json.load(sys.stdin)['x'], __name__, __file__)", 0, "tool 7 __main__ tool.py\n", ""},
		{"bytes", "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())", 0, `{"x": 7}`, ""},
		{"log", "import sys\nprint('careful', file=sys.stderr)", 0, "", "careful\n"},
		{"no newline at the end", "print('x', end='')", 0, "x", ""},
		{"exit code", "import sys\nprint('bad', file=sys.stderr)\nsys.exit(2)", 2, "", "bad\n"},
		{"exit text", "raise SystemExit('because')", 1, "", "because\n"},
		{"exit at once", "import os\nos._exit(3)", 3, "", ""},
		{"an exception", "def f():\n    return 1 / 0\nf()\n", 1, "", "  File \"tool.py\", line 2, in f\n    return 1 / 0\n"},
		{"main guard", "def main():\n    print('main')\nif __name__ == '__main__':\n    main()", 0, "main\n", ""},
		{"working directory", "import os\nopen('a', 'w').write('x')\nprint(os.getcwd(), open('/tmp/a').read())", 0, "/tmp x\n", ""},
		{"the root", "import os\nprint(os.listdir('/'), os.listdir('/data'), os.path.isdir('/data'))", 0, "['data', 'in', 'out', 'tmp'] ['deep'] True\n", ""},
		{"walk", "import os\nprint([(d, f) for d, _, f in os.walk('/in')])", 0, "[('/in', []), ('/in/data', ['a.txt'])]\n", ""},
		{"copy between mounts", "import shutil\nshutil.copy('/in/data/a.txt', '/out/a.txt')\nshutil.move('/out/a.txt', '/tmp/b')\nprint(open('/tmp/b').read())", 0, "given\n", ""},
		{"not writable", "open('/in/x', 'w')", 1, "", "Read-only file system"},
		{"not writable above", "open('/x', 'w')", 1, "", "Read-only file system"},
		{"no directory above", "import os\nos.mkdir('/x')", 1, "", "Read-only file system"},
		{"removing a mount", "import os\nos.rmdir('/tmp')", 1, "", "Read-only file system"},
		{"temporary files", "import tempfile\nwith tempfile.NamedTemporaryFile('w+') as f:\n    f.write('x'); f.seek(0); print(f.read())", 0, "x\n", ""},
		{"asyncio", "import asyncio\nasync def f():\n    await asyncio.sleep(0.001)\n    return 3\nprint(asyncio.run(f()))", 0, "3\n", ""},
		{"classes and pickles", "import pickle, dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\nprint(pickle.loads(pickle.dumps(A(1))))", 0, "A(x=1)\n", ""},
		{"memory", "x = bytearray(100 << 20)", 1, "", "MemoryError"},
		{"recursion", "def f(): f()\nf()", 1, "", "RecursionError"},
		{"standard output is closed", "import sys\nsys.stdout.close()", 0, "", ""},
		{"standard output is replaced", "import sys, io\nsys.stdout = io.StringIO()\nprint('lost')", 0, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := runProgram(t, compile(t, p, test.source), `{"x": 7}`)
			if r.err != nil || r.code != test.code || r.out != test.out || !strings.Contains(r.log, test.log) || strings.Contains(r.log, "_chorale") {
				t.Errorf("code %d, output %q, log %q, error %v", r.code, r.out, r.log, r.err)
			}
		})
	}
}

// TestProgramsShareNothing: an interpreter is used again, what a program did in it is not there.
func TestProgramsShareNothing(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	g := compile(t, p, "import sys, math, random, os\nprint(hasattr(math, 'mine'), os.path.exists('/tmp/x'), len(sys.argv), random.random())\n"+
		"math.mine = 1; open('/tmp/x', 'w'); sys.argv.append('more')")
	seen := map[string]bool{}
	for range 10 {
		r := runProgram(t, g, "{}")
		if !strings.HasPrefix(r.out, "False False 2 0.") || seen[r.out] || r.err != nil {
			t.Fatalf("got %q, %q, %v after %v", r.out, r.log, r.err, seen)
		}
		seen[r.out] = true
	}
	if st := p.Stats(); st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

func TestProgramThatDoesNotCompile(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	for _, test := range []struct{ name, source, want string }{
		{"a word", "x = 1\ny = = 2\n", "tool.py:2:5: SyntaxError: invalid syntax"},
		{"indentation", "if 1:\nx = 2", "tool.py:2:1: IndentationError: expected an indented block"},
		{"a zero byte", "x = '\x00'", "tool.py:"},
		{"no UTF-8", "x = '\xff'", "tool.py is no UTF-8 text"},
		{"await outside", "await x", "tool.py:1:"},
	} {
		_, err := p.Compile(t.Context(), "tool.py", []byte(test.source))
		var syntax *python.SyntaxError
		if !errors.As(err, &syntax) || !strings.HasPrefix(syntax.Text, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestProgramIsStopped(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	g := compile(t, p, "while True:\n    try:\n        while True: pass\n    except BaseException: pass")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := g.Run(ctx, sandbox.Config{Limits: sandbox.Limits{Memory: 1 << 20}})
	var stop *sandbox.StopError
	if !errors.As(err, &stop) {
		t.Errorf("got %v", err)
	}
	if r := runProgram(t, compile(t, p, "print(1)"), ""); r.out != "1\n" {
		t.Errorf("the next program gives %q, %v", r.out, r.err)
	}
}

func BenchmarkProgram(b *testing.B) {
	g := compile(b, newPool(b, python.PoolOptions{}), "import sys, json\nprint('Hello, ' + json.load(sys.stdin)['name'])")
	var r *programRun
	for b.Loop() {
		r = runProgram(b, g, `{"name": "Ada"}`)
	}
	if r.out != "Hello, Ada\n" {
		b.Fatal(r)
	}
}
