package sandbox_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"chorale/sandbox"
)

// delta compares an instance with an image and takes the result through its stored form.
func delta(t testing.TB, in *sandbox.Instance, img *sandbox.Image) *sandbox.Delta {
	t.Helper()
	d, err := in.Delta(img)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	back, err := sandbox.ParseDelta(b)
	if err != nil {
		t.Fatal(err)
	}
	if back.Image() != d.Image() || back.Bytes() != d.Bytes() || back.Size() != d.Size() {
		t.Errorf("delta of %d bytes became one of %d", d.Bytes(), back.Bytes())
	}
	return back
}

func TestDelta(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	boot := instantiate(t, m, sandbox.Config{})
	call(t, boot, "bump", 1)
	img := capture(t, boot)
	for _, c := range []struct {
		name  string
		pages int64 // in the delta, at most
		use   func(in *sandbox.Instance)
	}{
		{"untouched", 0, func(*sandbox.Instance) {}},
		{"one page of few bytes", 1, func(in *sandbox.Instance) { call(t, in, "dirty", 1) }},
		{"globals and pages", 33, func(in *sandbox.Instance) { call(t, in, "bump", 7) }},
		{"written as it was", 0, func(in *sandbox.Instance) { in.WriteMemory(200_000, []byte("data")) }},
		{"set to zero", 1, func(in *sandbox.Instance) { in.WriteMemory(200_000, make([]byte, 4)) }},
		{"grown, nothing written", 0, func(in *sandbox.Instance) { call(t, in, "grow", 3) }},
		{"grown and written", 5 * 16, func(in *sandbox.Instance) { call(t, in, "grow", 1); call(t, in, "dirty", 80) }},
		{"last page", 1, func(in *sandbox.Instance) { in.WriteMemory(4<<16-1, []byte{9}) }},
	} {
		in := fork(t, m, img)
		c.use(in)
		d := delta(t, in, img)
		if got := d.Bytes() / 4096; got > c.pages {
			t.Errorf("%s: %d pages, want %d", c.name, got, c.pages)
		}
		want := contents(t, in, d.Size())
		reused := fork(t, m, img)
		call(t, reused, "bump", 99)
		if err := reused.Reset(img); err != nil {
			t.Fatal(err)
		}
		for place, to := range map[string]*sandbox.Instance{"fork": fork(t, m, img), "reset instance": reused} {
			if err := to.Apply(img, d); err != nil {
				t.Fatalf("%s: %s: %v", c.name, place, err)
			}
			if got := contents(t, to, d.Size()); !bytes.Equal(got, want) {
				t.Errorf("%s: %s: memory differs", c.name, place)
			}
		}
		a, b := fork(t, m, img), fork(t, m, img)
		for _, to := range []*sandbox.Instance{a, b} {
			if err := to.Apply(img, d); err != nil {
				t.Fatal(err)
			}
		}
		// Branches go their own ways from there, and so does the original.
		want1 := call(t, in, "bump", 3)
		if got := call(t, a, "bump", 3); got != want1 {
			t.Errorf("%s: bump says %d in a copy and %d in the original", c.name, got, want1)
		}
		if got, want := call(t, b, "bump", 4), want1+5; got != want {
			t.Errorf("%s: bump says %d in a branch, want %d", c.name, got, want)
		}
		// A copy has the same difference as its original.
		again := delta(t, a, img)
		p, _ := again.MarshalBinary()
		q, _ := delta(t, in, img).MarshalBinary()
		if !bytes.Equal(p, q) {
			t.Errorf("%s: the same state has another delta", c.name)
		}
	}
}

// A delta against an image that is not the instance's own compares everything.
func TestDeltaOfAnotherOrigin(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	boot := instantiate(t, m, sandbox.Config{})
	img := capture(t, boot)
	call(t, boot, "bump", 5)
	d := delta(t, boot, img)
	if d.Bytes() == 0 || d.Bytes() > 33*4096 {
		t.Errorf("%d bytes", d.Bytes())
	}
	to := fork(t, m, img)
	if err := to.Apply(img, d); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(contents(t, to, d.Size()), contents(t, boot, d.Size())) {
		t.Error("memory differs")
	}
}

func TestDeltaErrors(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	boot := instantiate(t, m, sandbox.Config{})
	img := capture(t, boot)
	call(t, boot, "bump", 1)
	other := capture(t, boot)
	used := fork(t, m, img)
	call(t, used, "grow", 40)
	d := delta(t, used, img)
	small, err := m.Fork(t.Context(), img, sandbox.Config{Limits: sandbox.Limits{Memory: 20 << 16}})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	twice := fork(t, m, img)
	if err := twice.Apply(img, d); err != nil {
		t.Fatal(err)
	}
	poked := fork(t, m, img)
	poked.WriteMemory(0, []byte{0})
	closed := fork(t, m, img)
	closed.Close()
	for _, c := range []struct {
		name, want string
		in         *sandbox.Instance
		img        *sandbox.Image
	}{
		{"another image", "belongs to another image", fork(t, m, other), other},
		{"used instance", "not in the state of the image", used, img},
		{"written memory", "not in the state of the image", poked, img},
		{"second time", "not in the state of the image", twice, img},
		{"memory limit", "the limit of 1310720", small, img},
		{"closed instance", "instance is closed", closed, img},
	} {
		if err := c.in.Apply(c.img, d); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := closed.Delta(img); err == nil {
		t.Error("delta of a closed instance")
	}
	if _, err := instantiate(t, shared(t, "opener.wasm"), sandbox.Config{Mounts: dirMount(t)}).Delta(img); err == nil {
		t.Error("delta against an image of another module")
	}
	img.Close()
	if _, err := used.Delta(img); err == nil || !strings.Contains(err.Error(), "image is closed") {
		t.Errorf("delta against a closed image: %v", err)
	}
}

func dirMount(t *testing.T) []sandbox.Mount {
	return []sandbox.Mount{{Path: "/m", FS: sandbox.NewMem(0, 0)}}
}

// A wasiGuest calls functions of wasi.wasm, each an export.
type wasiGuest struct {
	*testing.T
	*sandbox.Instance
}

// open opens a file below the first mount; oflags 1 creates it, fdflags 1 appends.
func (g wasiGuest) open(name string, oflags, fdflags uint64) int32 {
	g.Helper()
	g.WriteMemory(1000, []byte(name))
	const readWrite = 1<<1 | 1<<6
	if e := call(g, g.Instance, "path_open", 3, 1, 1000, uint64(len(name)), oflags, readWrite, 0, fdflags, 500); e != 0 {
		g.Fatalf("open %s: errno %d", name, e)
	}
	b := make([]byte, 4)
	g.ReadMemory(b, 500)
	return int32(binary.LittleEndian.Uint32(b))
}

// read reads up to n bytes, and write writes.
func (g wasiGuest) read(fd int32, n uint32) string {
	g.Helper()
	if e := g.move("fd_read", fd, n); e != 0 {
		return fmt.Sprint("errno ", e)
	}
	count := make([]byte, 4)
	g.ReadMemory(count, 500)
	b := make([]byte, binary.LittleEndian.Uint32(count))
	g.ReadMemory(b, 2000)
	return string(b)
}

func (g wasiGuest) write(fd int32, s string) uint64 {
	g.Helper()
	g.WriteMemory(2000, []byte(s))
	return g.move("fd_write", fd, uint32(len(s)))
}

func (g wasiGuest) move(name string, fd int32, n uint32) uint64 {
	g.WriteMemory(400, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 2000), n))
	return call(g, g.Instance, name, uint64(uint32(fd)), 400, 1, 500)
}

func TestOpenFilesInDeltas(t *testing.T) {
	t.Parallel()
	m := shared(t, "wasi.wasm")
	files := sandbox.NewMem(0, 0)
	for name, text := range map[string]string{"a": "hello world", "log": "1", "gone": "x", "dir/f": ""} {
		if err := files.WriteFile(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	var out, out2 bytes.Buffer
	config := func(out *bytes.Buffer, fs sandbox.FS, readOnly bool) sandbox.Config {
		return sandbox.Config{Stdout: out, Mounts: []sandbox.Mount{{Path: "/data", FS: fs, ReadOnly: readOnly}, {Path: "/tmp", FS: sandbox.NewMem(0, 0)}}}
	}
	img := capture(t, instantiate(t, m, config(&out, files, false)))
	g := wasiGuest{t, must(m.Fork(t.Context(), img, config(&out, files, false)))}
	defer g.Close()
	a, log, gone := g.open("a", 0, 0), g.open("log", 0, 1), g.open("gone", 0, 0)
	g.read(a, 6)
	g.write(log, "2")
	call(t, g.Instance, "fd_close", 0) // the input
	call(t, g.Instance, "fd_close", 4) // the second mount
	call(t, g.Instance, "fd_renumber", uint64(log), 1)
	files.Unlink("gone")
	d := delta(t, g.Instance, img)

	h := wasiGuest{t, must(m.Fork(t.Context(), img, config(&out2, files, false)))}
	defer h.Close()
	if err := h.Apply(img, d); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(g.Files(), func(f sandbox.OpenFile) bool { return f.FD == gone })
	if got := h.Files(); !slices.Equal(got, want) {
		t.Errorf("open files %+v, want %+v", got, want)
	}
	if got := h.read(a, 100); got != "world" {
		t.Errorf("the file goes on with %q", got)
	}
	h.write(1, "3")
	if got, err := files.ReadFile("log"); err != nil || string(got) != "123" {
		t.Errorf("the log has %q, %v: not appended", got, err)
	}
	if got := h.read(gone, 1); got != "errno 8" {
		t.Errorf("a file that was deleted: %s, want EBADF", got)
	}
	if got := h.read(0, 1); got != "errno 8" {
		t.Errorf("input that was closed: %s, want EBADF", got)
	}
	h.write(2, "to stderr, not where stdout was")
	if out.Len()+out2.Len() != 0 {
		t.Errorf("output %q, %q", &out, &out2)
	}
	if err := h.Configure(config(&out2, files, false)); err != nil {
		t.Fatal(err)
	}
	if got := h.read(0, 1); got != "" {
		t.Errorf("input after Configure: %s, want its end", got)
	}
	// Reset brings everything back, and another set of files is another set of files.
	if err := h.Reset(img); err != nil {
		t.Fatal(err)
	}
	if n := len(h.Files()); n != 5 {
		t.Errorf("%d files open after the reset: %+v", n, h.Files())
	}
	for name, fs := range map[string]sandbox.FS{"read-only": files, "empty": sandbox.NewMem(0, 0)} {
		h := wasiGuest{t, must(m.Fork(t.Context(), img, config(&out, fs, name == "read-only")))}
		if err := h.Apply(img, d); err != nil {
			t.Fatal(err)
		}
		if got := h.read(a, 1); got != "errno 8" {
			t.Errorf("%s: read: %s, want EBADF", name, got)
		}
		h.Close()
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func FuzzParseDelta(f *testing.F) {
	m := shared(f, "state.wasm")
	boot := must(m.Instantiate(f.Context(), sandbox.Config{}))
	img := capture(f, boot)
	call(f, boot, "dirty", 2)
	call(f, boot, "grow", 1)
	b, err := must(boot.Delta(img)).MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	boot.Close()
	f.Add(b)
	f.Add(b[:200])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := sandbox.ParseDelta(b)
		if err != nil {
			return
		}
		again, err := d.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if d2, err := sandbox.ParseDelta(again); err != nil || d2.Bytes() != d.Bytes() {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		in := fork(t, m, img)
		in.Apply(img, d) // must not panic
		in.Close()
	})
}
