package python_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"chorale/sandbox/python"
)

// cacheDir survives between runs of the tests: the first one compiles for seconds.
var cacheDir = sync.OnceValues(func() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return os.MkdirTemp("", "chorale-python-test")
	}
	return filepath.Join(dir, "chorale", "python-test"), nil
})

// booted is the image that all tests share; nobody closes it.
var booted = sync.OnceValues(func() (*python.Image, error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return python.Boot(context.Background(), python.BootOptions{CacheDir: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
})

func image(t testing.TB) *python.Image {
	t.Helper()
	img, err := booted()
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func newPool(t testing.TB, o python.PoolOptions) *python.Pool {
	t.Helper()
	p, err := python.NewPool(image(t), o)
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

func acquire(t testing.TB, p *python.Pool, l python.Limits) *python.Session {
	t.Helper()
	s, err := p.Acquire(t.Context(), python.SessionOptions{Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// exec runs a cell whose result does not matter to be an error of the host.
func exec(t testing.TB, s *python.Session, code string) python.Result {
	t.Helper()
	r, err := s.Exec(t.Context(), python.Cell{Code: code})
	if err != nil {
		t.Fatalf("%q: %v", code, err)
	}
	return r
}

func TestCells(t *testing.T) {
	t.Parallel()
	s := acquire(t, newPool(t, python.PoolOptions{Slots: 1}), python.Limits{})
	for _, c := range []struct {
		name, code, output, value string
		status                    python.Status
	}{
		{"value of the last expression", "x = 20\nx + 1", "21\n", "21", python.OK},
		{"state lives on", "print(x)", "20\n", "", python.OK},
		{"both streams in order", "import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')", "a\nb\nc\n", "", python.OK},
		{"exit", "import sys; sys.exit(3)", "", "", python.Exit},
		{"not ASCII", "'ü→𝄞'", "'ü→𝄞'\n", "'ü→𝄞'", python.OK},
		{"empty", "", "", "", python.OK},
	} {
		r := exec(t, s, c.code)
		if r.Output != c.output || r.Value != c.value || r.Status != c.status || r.Lost {
			t.Errorf("%s: %+v, want %v, %q, value %q", c.name, r, c.status, c.output, c.value)
		}
	}
	if r := exec(t, s, "import sys; sys.exit(3)"); r.ExitCode != 3 {
		t.Errorf("exit code %d, want 3", r.ExitCode)
	}
	r := exec(t, s, "def f():\n    1/0\nf()")
	want := "Traceback (most recent call last):\n  File \"<cell 8>\", line 3, in <module>\n    f()\n    ~^^\n" +
		"  File \"<cell 8>\", line 2, in f\n    1/0\n    ~^~\nZeroDivisionError: division by zero\n"
	if r.Status != python.Error || r.Exception != "ZeroDivisionError" || r.Output != want {
		t.Errorf("traceback: %v %s %s", r.Status, r.Exception, r.Output)
	}
}
