package sandbox_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"chorale/sandbox"
)

// contents is the whole memory of an instance.
func contents(t testing.TB, in *sandbox.Instance, bytes uint64) []byte {
	t.Helper()
	b := make([]byte, bytes)
	if err := in.ReadMemory(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func capture(t testing.TB, in *sandbox.Instance) *sandbox.Image {
	t.Helper()
	img, err := in.Capture()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

func fork(t testing.TB, m *sandbox.Module, img *sandbox.Image) *sandbox.Instance {
	t.Helper()
	in, err := m.Fork(t.Context(), img, sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return in
}

// The sum of state.wasm's globals and memory word: 11+2+3+4 after the start function, and 5 for each 1 bumped.
const begun = 20

func TestForkAndReset(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	boot := instantiate(t, m, sandbox.Config{})
	if got := call(t, boot, "bump", 1); got != begun+5 {
		t.Fatalf("bump of a fresh instance: %d", got)
	}
	call(t, boot, "grow", 3)
	img := capture(t, boot)
	if img.Bytes() != 7<<16 {
		t.Fatalf("image of %d bytes", img.Bytes())
	}
	want := contents(t, boot, img.Bytes())
	if !bytes.HasPrefix(want[200_000:], []byte("data")) {
		t.Error("the data segment is not in memory")
	}
	in := fork(t, m, img)
	for _, c := range []struct {
		name  string
		pages uint64 // written all over
	}{{"untouched", 0}, {"a few pages", 5}, {"all pages", 7 * 16}} {
		if got := contents(t, in, img.Bytes()); !bytes.Equal(got, want) {
			t.Fatalf("%s: memory differs from the image", c.name)
		}
		if got := call(t, in, "bump", 10); got != begun+5+50 {
			t.Errorf("%s: bump: %d, globals are not the image's", c.name, got)
		}
		call(t, in, "dirty", c.pages)
		if bytes.Equal(contents(t, in, img.Bytes()), want) {
			t.Fatalf("%s: bump changed nothing", c.name)
		}
		if err := in.Reset(img); err != nil {
			t.Fatal(err)
		}
	}
	if got := contents(t, in, img.Bytes()); !bytes.Equal(got, want) {
		t.Error("memory differs from the image after the last reset")
	}
	// The instance that the image was taken from goes on, and can be reset as well.
	if got := call(t, boot, "bump", 1); got != begun+10 {
		t.Errorf("bump of the original: %d", got)
	}
	if err := boot.Reset(img); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, boot, img.Bytes()); !bytes.Equal(got, want) {
		t.Error("memory of the original differs after its reset")
	}
	if img2 := capture(t, in); img2.Hash() != img.Hash() {
		t.Error("the same state has another hash")
	}
	call(t, in, "bump", 1)
	if img2 := capture(t, in); img2.Hash() == img.Hash() {
		t.Error("another state has the same hash")
	}
}

func TestResetOfManyPages(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	boot := instantiate(t, m, sandbox.Config{})
	call(t, boot, "grow", 96) // to 100 pages of 64 KiB
	call(t, boot, "dirty", 30)
	img := capture(t, boot)
	in := fork(t, m, img)
	for _, pages := range []uint64{1600, 3, 1600} {
		call(t, in, "dirty", pages)
		if err := in.Reset(img); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(contents(t, in, img.Bytes()), contents(t, boot, img.Bytes())) {
			t.Fatalf("memory differs after %d pages were written", pages)
		}
	}
}

func TestForksAreIsolated(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	img := capture(t, instantiate(t, m, sandbox.Config{}))
	var wg sync.WaitGroup
	for i := range uint64(50) {
		wg.Go(func() {
			in, err := m.Fork(t.Context(), img, sandbox.Config{})
			if err != nil {
				t.Error(err)
				return
			}
			defer in.Close()
			for n := range uint64(20) {
				results, err := in.Call(t.Context(), "bump", i)
				if err != nil || results[0] != begun+5*i {
					t.Errorf("fork %d, call %d: %d, %v", i, n, results, err)
					return
				}
				if err := in.Reset(img); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestImageErrors(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	in := instantiate(t, m, sandbox.Config{})
	img := capture(t, in)
	if _, err := m.Fork(t.Context(), img, sandbox.Config{Limits: sandbox.Limits{Memory: 1 << 16}}); err == nil {
		t.Error("a fork with less memory than the image")
	}
	if _, err := shared(t, "loops.wasm").Fork(t.Context(), img, sandbox.Config{}); err == nil || !strings.Contains(err.Error(), "another module") {
		t.Errorf("fork of another module: %v", err)
	}
	call(t, in, "grow", 1)
	if err := in.Reset(img); !errors.Is(err, sandbox.ErrGrown) {
		t.Errorf("reset of a memory that has grown: %v", err)
	}
	forked := fork(t, m, img)
	img.Close()
	if err := forked.Reset(img); err == nil {
		t.Error("reset to an image that is closed")
	}
	if _, err := m.Fork(t.Context(), img, sandbox.Config{}); err == nil {
		t.Error("fork of an image that is closed")
	}
	if got := call(t, forked, "bump", 1); got != begun+5 {
		t.Errorf("a fork after its image was closed: %d", got)
	}
	forked.Close()
	if _, err := forked.Capture(); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("capture of a closed instance: %v", err)
	}
	tables := instantiate(t, shared(t, "loops.wasm"), sandbox.Config{})
	if _, err := tables.Capture(); err == nil || !strings.Contains(err.Error(), "table.") {
		t.Errorf("capture of a module that changes tables: %v", err)
	}
}
