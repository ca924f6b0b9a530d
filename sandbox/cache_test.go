package sandbox_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"chorale/sandbox"
)

// cached compiles a fixture with a cache directory and checks that it works.
func cached(t *testing.T, dir string) error {
	t.Helper()
	m, err := sandbox.Compile(t.Context(), instrument(t, fixture(t, "state.wasm")), sandbox.Options{CacheDir: dir})
	if err != nil {
		return err
	}
	defer m.Close()
	in := instantiate(t, m, sandbox.Config{})
	if got := call(t, in, "bump", 0); got != begun {
		t.Errorf("bump: %d", got)
	}
	return in.Close()
}

// entries lists the files of a cache with their modification times.
func entries(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		out[p] = fi.ModTime().UnixNano()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCache(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "cache")
	if err := cached(t, dir); err != nil {
		t.Fatal(err)
	}
	first := entries(t, dir)
	if len(first) != 2 {
		t.Fatalf("cache has %d files, want native code and a manifest: %v", len(first), first)
	}
	if fi, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o700 {
		t.Errorf("cache directory has mode %v, %v", fi.Mode(), err)
	}
	if err := cached(t, dir); err != nil {
		t.Fatal(err)
	}
	for p, at := range entries(t, dir) {
		if first[p] != at {
			t.Errorf("%s was written again", p)
		}
	}
	for _, damage := range []struct {
		name string
		do   func(p string) error
	}{
		{"cut", func(p string) error { return os.Truncate(p, 100) }},
		{"changed", func(p string) error {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 0x40
			return os.WriteFile(p, b, 0o600)
		}},
		{"removed", os.Remove},
		{"joined by another", func(p string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(p), "other"), []byte("x"), 0o600)
		}},
	} {
		for p := range entries(t, dir) {
			if err := damage.do(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := cached(t, dir); err != nil {
			t.Errorf("with files %s: %v", damage.name, err)
		}
		if n := len(entries(t, dir)); n != 2 {
			t.Errorf("with files %s: %d files afterwards, want 2", damage.name, n)
		}
	}
}

func TestOldCodeIsRemoved(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	if err := cached(t, dir); err != nil {
		t.Fatal(err)
	}
	ours := entries(t, dir)
	now := time.Now()
	for name, age := range map[string]time.Duration{"lately": 24 * time.Hour, "long-ago": 15 * 24 * time.Hour, "new-unfinished": 15 * 24 * time.Hour} {
		sub := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(sub, 0o700), os.WriteFile(filepath.Join(sub, "code"), nil, 0o600), os.Chtimes(sub, now, now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	if err := cached(t, dir); err != nil {
		t.Fatal(err)
	}
	left := entries(t, dir)
	if _, ok := left[filepath.Join(dir, "lately", "code")]; !ok || len(left) != len(ours)+1 {
		t.Errorf("left are %v", left)
	}
}

func TestCacheDirectoryMustBePrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no modes here")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := cached(t, dir); err == nil || !strings.Contains(err.Error(), "must be 0700") {
		t.Errorf("a directory that others may read: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := cached(t, link); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("a link: %v", err)
	}
}

func TestCacheIsTiedToTheEngine(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile("cache.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(mod), "github.com/tetratelabs/wazero ")
	version, _, _ := strings.Cut(rest, "\n")
	version = strings.Fields(version)[0]
	if !strings.Contains(string(src), `const engineVersion = "`+version+`"`) {
		t.Errorf("go.mod has wazero %s and the cache key another one", version)
	}
}
