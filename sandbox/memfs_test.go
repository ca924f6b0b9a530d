package sandbox_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"chorale/sandbox"
)

// TestMemAgainstHost runs random operations on a Mem and on a directory of the host, which must agree about everything
// but times, numbers and quotas.
func TestMemAgainstHost(t *testing.T) {
	t.Parallel()
	const seed = 1
	dir := t.TempDir()
	host, err := sandbox.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	mem := sandbox.NewMem(0, 0)
	rnd := rand.New(rand.NewPCG(seed, 0))
	names := []string{"a", "b", "a/x", "a/y", "b/x", "a/x/deep", "b/x/deep", "."}
	for step := range 3000 {
		name, other := names[rnd.IntN(len(names))], names[rnd.IntN(len(names)-1)]
		op, size := rnd.IntN(8), rnd.IntN(100)
		run := func(f sandbox.FS) string {
			switch op {
			case 0:
				return verdict(f.Mkdir(name))
			case 1:
				return verdict(f.Unlink(name))
			case 2:
				return verdict(f.Rmdir(name))
			case 3:
				if name == "." {
					return ""
				}
				return verdict(f.Rename(name, other))
			case 4, 5:
				return write(f, name, size)
			case 6:
				return read(f, name)
			}
			info, err := f.Stat(name)
			if info.Type == sandbox.TypeDirectory {
				info.Size = 0
			}
			return fmt.Sprint(info.Type, info.Size, verdict(err))
		}
		if m, h := run(mem), run(host); m != h {
			t.Fatalf("seed %d, step %d, operation %d on %s, %s: memory says %q, the host %q", seed, step, op, name, other, m, h)
		}
	}
	bytes, files := mem.Usage()
	n := 0
	filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { n++; return nil })
	if files != n-1 {
		t.Errorf("%d files in use, there are %d", files, n-1)
	}
	var total int64
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, _ error) error {
		if fi, err := e.Info(); err == nil && !e.IsDir() {
			total += fi.Size()
		}
		return nil
	})
	if over := bytes - total; over < int64(256*files) || over > int64(300*files) {
		t.Errorf("%d bytes in use by %d files with %d bytes", bytes, files, total)
	}
}

// verdict is an error without its words: whether one happened, and the class that callers look at.
func verdict(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "absent"
	}
	return "refused"
}

func write(f sandbox.FS, name string, size int) string {
	file, err := f.Open(name, sandbox.Write|sandbox.Read|sandbox.Create)
	if err != nil {
		return verdict(err)
	}
	defer file.Close()
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(size)
	}
	if _, err := file.WriteAt(p, int64(size/2)); err != nil {
		return verdict(err)
	}
	return verdict(file.Truncate(int64(size)))
}

func read(f sandbox.FS, name string) string {
	file, err := f.Open(name, sandbox.Read)
	if err != nil {
		return verdict(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return verdict(err)
	}
	if info.Type == sandbox.TypeDirectory {
		list, err := file.ReadDir()
		names := ""
		for _, e := range list {
			names += fmt.Sprint(e.Name, e.Type, " ")
		}
		return names + verdict(err)
	}
	b := make([]byte, info.Size)
	_, err = file.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return fmt.Sprintf("%x %s", b, verdict(err))
}

func TestMemQuotas(t *testing.T) {
	t.Parallel()
	m := sandbox.NewMem(4096, 3)
	if err := m.WriteFile("d/a", make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile("d/b", make([]byte, 4000)); !errors.Is(err, sandbox.ENOSPC) {
		t.Errorf("too many bytes: %v", err)
	}
	if err := m.Mkdir("d/c"); !errors.Is(err, sandbox.ENOSPC) {
		t.Errorf("too many files: %v", err)
	}
	f, err := m.Open("d/a", sandbox.Read|sandbox.Write)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 1<<40); err == nil {
		t.Error("a write far behind the end")
	}
	if err := f.Truncate(1 << 40); err == nil {
		t.Error("a file of a terabyte")
	}
	for _, name := range []string{"d/a", "d/b"} {
		if err := m.Unlink(name); err != nil {
			t.Fatal(err)
		}
	}
	before, files := m.Usage()
	if before < 1000 || files != 2 {
		t.Errorf("%d bytes and %d files with an open file that was removed", before, files)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if bytes, files := m.Usage(); bytes > 300 || files != 1 {
		t.Errorf("%d bytes and %d files at the end", bytes, files)
	}
	if _, err := m.ReadFile("d"); !errors.Is(err, sandbox.EISDIR) {
		t.Errorf("reading a directory: %v", err)
	}
	if _, err := m.ReadFile("d/a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading what was removed: %v", err)
	}
}
