package python

// These tests are inside the package because what they check has no surface of its own: memory, and files of the cache.

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"chorale/sandbox"
)

// bootForTest boots with the cache that survives between runs of the tests.
func bootForTest(t *testing.T) *Image {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = t.TempDir()
	}
	img, err := Boot(t.Context(), BootOptions{CacheDir: filepath.Join(dir, "chorale", "python-test")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	})
	return img
}

// TestResetLeavesNothing compares the memory of a used interpreter, after its reset, with that of a new one.
func TestResetLeavesNothing(t *testing.T) {
	t.Parallel()
	img := bootForTest(t)
	p, err := NewPool(img, PoolOptions{Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	used, err := p.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { used.in.Close() }()
	fresh, err := p.fork(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.in.Close()
	memory := func(s *slot) []byte {
		t.Helper()
		b := make([]byte, img.state.Bytes())
		if err := s.in.ReadMemory(b, 0); err != nil {
			t.Fatal(err)
		}
		return b
	}
	want := memory(fresh)
	for _, code := range []string{
		"planted = 'a secret that nobody else may see'; import json; json.planted = planted; planted * 3",
		"import random, re\nclass A: pass\nxs = [A() for _ in range(1000)]\ndef f(): return 1 / 0\nf()",
		"import tomllib, colorsys, wave", // not in the image
	} {
		used.out.reset(1<<20, nil)
		if _, _, err := used.exec(t.Context(), request{Code: code, Seed: newSeed(), Stateful: true, Echo: true}); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(memory(used), want) {
			t.Fatalf("%q changed nothing", code)
		}
		err := used.in.Reset(img.state)
		if errors.Is(err, sandbox.ErrGrown) {
			t.Fatalf("%q took more than the headroom", code)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(memory(used), want) {
			t.Errorf("after %q and a reset, memory is not that of a new fork", code)
		}
	}
	if a, _, err := used.exec(t.Context(), request{Code: "'planted' in globals()", Stateful: true, Echo: true}); err != nil || a.Value != "False" {
		t.Errorf("%v %+v", err, a)
	}
}

func TestBootErrors(t *testing.T) {
	t.Parallel()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	dir = filepath.Join(dir, "chorale", "python-test")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("not a zip file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]BootOptions{
		"No module named 'nothing_of_that_name'": {CacheDir: dir, Preload: []string{"nothing_of_that_name"}},
		"neither a directory nor a good zip":     {CacheDir: dir, Packages: []string{text}},
	} {
		img, err := Boot(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err == nil {
			img.Close()
		}
	}
	if _, err := Boot(t.Context(), BootOptions{CacheDir: dir, Packages: []string{filepath.Join(dir, "none")}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("packages that are not there: %v", err)
	}
	wide := filepath.Join(t.TempDir(), "wide")
	if err := errors.Join(os.MkdirAll(filepath.Join(wide, "code"), 0o755), os.Chmod(filepath.Join(wide, "code"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := Boot(t.Context(), BootOptions{CacheDir: wide}); runtime.GOOS != "windows" && (err == nil || !strings.Contains(err.Error(), "must be 0700")) {
		t.Errorf("a cache that others may write: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Boot(ctx, BootOptions{CacheDir: dir, Preload: []string{"tomllib"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("a boot that is given up: %v", err)
	}
}

func TestAcquireOfAnImageThatIsClosed(t *testing.T) {
	t.Parallel()
	img := bootForTest(t)
	p, err := NewPool(img, PoolOptions{Slots: -1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Acquire(t.Context(), SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), Cell{Code: "import os; os._exit(0)"}); err != nil {
		t.Fatal(err)
	}
	if err := img.state.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), Cell{}); err == nil || !strings.Contains(err.Error(), "image is closed") {
		t.Errorf("a cell without an interpreter: %v", err)
	}
	if _, err := s.Exec(t.Context(), Cell{Stateless: true}); err == nil || !strings.Contains(err.Error(), "image is closed") {
		t.Errorf("a stateless cell: %v", err)
	}
	if _, _, err := s.Snapshot(); err == nil || !strings.Contains(err.Error(), "image is closed") {
		t.Errorf("a snapshot: %v", err)
	}
	if _, err := p.Acquire(t.Context(), SessionOptions{}); err == nil || !strings.Contains(err.Error(), "image is closed") {
		t.Errorf("another session: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if st := p.Stats(); st.Live != 0 || st.Memory != 0 {
		t.Errorf("%+v", st)
	}
}

func TestOldImagesAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Now()
	for i := range keptImages + 3 {
		name := filepath.Join(dir, imagePrefix+string(rune('a'+i))+imageSuffix)
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Chtimes(name, now, now.Add(-time.Duration(i)*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"other", imageTemp + "1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left := func(now time.Time) (names []string) {
		if err := evictImages(dir, now); err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			names = append(names, e.Name())
		}
		return names
	}
	if got := left(now); len(got) != keptImages+2 || got[0] != imageTemp+"1" || got[1] != "other" || got[2] != imagePrefix+"a"+imageSuffix {
		t.Errorf("left %q", got)
	}
	if got := left(now.Add(keptFor - 90*time.Minute)); len(got) != 4 {
		t.Errorf("left %q when only the first two images were used lately", got)
	}
	if got := left(now.Add(keptFor + time.Minute)); !slices.Equal(got, []string{"other"}) {
		t.Errorf("left %q after a time without use", got)
	}
}

func TestLibraries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"pkg/__init__.py": "x", "pkg/data.txt": "12345", "top.py": "", "pkg/__pycache__/a.pyc": "other"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.py")); err != nil {
		t.Log("no links here:", err)
	}
	wheel := filepath.Join(t.TempDir(), "a.whl")
	f, err := os.Create(wheel)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for _, name := range []string{"pkg/__init__.py", "pkg/data.txt", "top.py"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		e, err := w.Create(name)
		if err == nil {
			_, err = e.Write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{dir, wheel} {
		l, err := openLibrary(source)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, at := range []string{".", "pkg"} {
			d, err := l.Open(at, sandbox.Directory)
			if err != nil {
				t.Fatal(err)
			}
			entries, err := d.ReadDir()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, e.Name)
			}
		}
		if want := []string{"pkg", "top.py", "__init__.py", "data.txt"}; !slices.Equal(names, want) {
			t.Errorf("%s has %v, want %v", source, names, want)
		}
		file, err := l.Open("pkg/data.txt", sandbox.Read)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if n, _ := file.ReadAt(b, 2); string(b[:n]) != "345" {
			t.Errorf("%q", b[:n])
		}
		for what, err := range map[string]error{
			"write":  second(l.Open("pkg/data.txt", sandbox.Write)),
			"create": second(l.Open("pkg/new", sandbox.Write|sandbox.Create)),
			"mkdir":  l.Mkdir("d"), "unlink": l.Unlink("top.py"), "rmdir": l.Rmdir("pkg"), "rename": l.Rename("pkg", "p"),
			"times": l.SetTimes("top.py", 0, 0), "truncate": file.Truncate(0), "write at": second(file.WriteAt([]byte("x"), 0)),
		} {
			if !errors.Is(err, sandbox.EROFS) {
				t.Errorf("%s: %v, want %v", what, err, sandbox.EROFS)
			}
		}
		for want, err := range map[sandbox.Errno]error{
			sandbox.ENOENT:  second(l.Stat("none")),
			sandbox.ENOTDIR: second(l.Open("top.py/x", sandbox.Read)),
			sandbox.EINVAL:  second(l.Readlink("top.py")),
		} {
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestBadLibrariesAreRefused(t *testing.T) {
	t.Parallel()
	archive := func(h *zip.FileHeader) string {
		t.Helper()
		name := filepath.Join(t.TempDir(), "a.zip")
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		w := zip.NewWriter(f)
		if _, err := w.CreateRaw(h); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for want, name := range map[string]string{
		"leads elsewhere":     archive(&zip.FileHeader{Name: "../../etc/x"}),
		"it has more than":    archive(&zip.FileHeader{Name: "large", UncompressedSize64: maxLibraryBytes + 1}),
		"large: ":             archive(&zip.FileHeader{Name: "large", UncompressedSize64: 1000}), // and there is nothing
		"no such file or dir": filepath.Join(t.TempDir(), "none"),
	} {
		if _, err := openLibrary(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	nodes := tree{".": {info: rootInfo}}
	if err := errors.Join(nodes.addFile("a", nil), nodes.addFile("a/b", nil)); err == nil || !strings.Contains(err.Error(), "a file and a directory") {
		t.Errorf("%v", err)
	}
	for i := 0; ; i++ {
		if err := nodes.addFile("d"+strings.Repeat("/x", i%7)+"/"+string(rune('a'+i%26))+time.Duration(i).String(), nil); err != nil {
			if !errors.Is(err, errLibraryLarge) || i < maxLibraryFiles/2 {
				t.Errorf("after %d files: %v", i, err)
			}
			break
		}
	}
}
