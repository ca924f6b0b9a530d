package sandbox_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"chorale/sandbox"
)

// fixture reads a committed module.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func instrument(t testing.TB, wasm []byte) []byte {
	t.Helper()
	out, err := sandbox.Instrument(wasm)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// compile instruments and compiles a module, without a cache.
func compile(t testing.TB, wasm []byte, funcs ...sandbox.Func) *sandbox.Module {
	t.Helper()
	m, err := sandbox.Compile(t.Context(), instrument(t, wasm), sandbox.Options{Funcs: funcs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// shared compiles a committed module once for all tests; nobody closes it.
func shared(t testing.TB, name string) *sandbox.Module {
	t.Helper()
	modules.Lock()
	defer modules.Unlock()
	if m := modules.byName[name]; m != nil {
		return m
	}
	m, err := sandbox.Compile(t.Context(), instrument(t, fixture(t, name)), sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	modules.byName[name] = m
	return m
}

var modules = struct {
	sync.Mutex
	byName map[string]*sandbox.Module
}{byName: map[string]*sandbox.Module{}}

func instantiate(t testing.TB, m *sandbox.Module, c sandbox.Config) *sandbox.Instance {
	t.Helper()
	in, err := m.Instantiate(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	})
	return in
}

// call calls a function that must succeed and have at most one result.
func call(t testing.TB, in *sandbox.Instance, name string, args ...uint64) uint64 {
	t.Helper()
	results, err := in.Call(t.Context(), name, args...)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(results) == 0 {
		return 0
	}
	return results[0]
}

// goGuest is the program of testdata/guest, built for wasip1 by the toolchain that runs the tests, once.
var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "guest.go")
	cmd.Dir = filepath.Join("testdata", "guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return msg, err
	}
	return os.ReadFile(out)
})

// goModule compiles goGuest; tests share the module, so nobody closes it.
var goModule = sync.OnceValues(func() (*sandbox.Module, error) {
	wasm, err := goGuest()
	if err != nil {
		return nil, err
	}
	if wasm, err = sandbox.Instrument(wasm); err != nil {
		return nil, err
	}
	return sandbox.Compile(context.Background(), wasm, sandbox.Options{})
})

// runGo runs one test of the Go guest and returns what it printed.
func runGo(t *testing.T, c sandbox.Config, args ...string) (stdout, stderr string, code uint32) {
	t.Helper()
	m, err := goModule()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	c.Args = append([]string{"guest"}, args...)
	c.Stdout, c.Stderr = &out, &errs
	in := instantiate(t, m, c)
	code, err = in.Run(t.Context())
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, &out, &errs)
	}
	return out.String(), errs.String(), code
}

func TestFixturesMatchTheirManifest(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for line := range strings.Lines(string(fixture(t, "MANIFEST"))) {
		want, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("manifest line %q", line)
		}
		if sum := sha256.Sum256(fixture(t, name)); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s was edited and not made again: run testdata/build.sh", name)
		}
		listed[name] = true
	}
	for _, pattern := range []string{"*.wat", "*.c", "*.wasm"} {
		files, _ := filepath.Glob(filepath.Join("testdata", pattern))
		for _, f := range files {
			if !listed[filepath.Base(f)] {
				t.Errorf("%s is not in the manifest: run testdata/build.sh", f)
			}
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	kinds := instrument(t, fixture(t, "kinds.wasm"))
	for _, c := range []struct{ name, want string }{
		{"nothing at all", "must begin with"},
		{"raw module", "not instrumented"},
		{"function that nobody offers", "env.note, env.triple"},
	} {
		wasm := map[string][]byte{"raw module": fixture(t, "loops.wasm"), "function that nobody offers": kinds}[c.name]
		_, err := sandbox.Compile(t.Context(), wasm, sandbox.Options{})
		if err == nil {
			t.Errorf("%s: compiled", c.name)
			continue
		}
		for w := range strings.SplitSeq(c.want, ", ") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %q does not say %q", c.name, err, w)
			}
		}
	}
}

func TestCallErrors(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	in := instantiate(t, m, sandbox.Config{})
	for _, c := range []struct {
		name, want string
		args       []uint64
	}{
		{"absent", "exports no such function", nil},
		{"add", "1 arguments, want 2", []uint64{1}},
	} {
		if _, err := in.Call(t.Context(), c.name, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if got := call(t, in, "add", 40, 2); got != 42 {
		t.Errorf("add after mistakes of the caller: %d", got)
	}
	if !m.Exports("add") || m.Exports("absent") {
		t.Error("Exports is wrong about add or absent")
	}
}
