package sandbox_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"chorale/sandbox"
)

func TestStoredImage(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	boot := instantiate(t, m, sandbox.Config{})
	call(t, boot, "bump", 1)
	call(t, boot, "grow", 2)
	img := capture(t, boot)
	name := filepath.Join(t.TempDir(), "image")
	for range 2 { // the second replaces the first
		if err := img.Save(name); err != nil {
			t.Fatal(err)
		}
	}
	if fi, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", fi.Mode(), err)
	}
	if list, err := os.ReadDir(filepath.Dir(name)); err != nil || len(list) != 1 {
		t.Errorf("%v, %v beside the image", list, err)
	}
	back, err := sandbox.LoadImage(name)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if back.Hash() != img.Hash() || back.Bytes() != img.Bytes() {
		t.Error("the image came back as another one")
	}
	in := fork(t, m, back)
	if !bytes.Equal(contents(t, in, img.Bytes()), contents(t, boot, img.Bytes())) {
		t.Error("memory differs")
	}
	if got := call(t, in, "bump", 1); got != begun+10 {
		t.Errorf("bump: %d, globals are not the image's", got)
	}
	if err := in.Reset(back); err != nil {
		t.Fatal(err)
	}
	// A delta against the one applies to the other.
	call(t, in, "bump", 5)
	d := delta(t, in, back)
	to := fork(t, m, img)
	if err := to.Apply(img, d); err != nil {
		t.Fatal(err)
	}
	if got, want := call(t, to, "bump", 1), call(t, in, "bump", 1); got != want {
		t.Errorf("bump after the delta: %d, want %d", got, want)
	}
}

func TestDamagedImageIsRefused(t *testing.T) {
	t.Parallel()
	m := shared(t, "state.wasm")
	img := capture(t, instantiate(t, m, sandbox.Config{}))
	var stored bytes.Buffer
	if _, err := img.WriteTo(&stored); err != nil {
		t.Fatal(err)
	}
	whole := stored.Bytes()
	changed := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 1
		return b
	}
	for _, c := range []struct {
		name, want string
		b          []byte
	}{
		{"empty", "cut short", nil},
		{"text", "not a stored image", []byte("not an image of anything")},
		{"another version", "not a stored image of this version", changed(7)},
		{"another module", "its hash is another", changed(8)},
		{"hash", "its hash is another", changed(40)},
		{"size", "damaged", changed(72)},
		{"larger size", "its hash is another", changed(74)},
		{"content", "damaged", changed(80)},
		{"number of globals", "globals", changed(90)},
		{"a global more", "cut short", changed(88)},
		{"a global", "its hash is another", changed(92)},
		{"the last byte", "its hash is another", changed(len(whole) - 1)},
		{"cut in the head", "cut short", whole[:60]},
		{"cut in the globals", "cut short", whole[:100]},
		{"cut in the content", "cut short", whole[:len(whole)-1]},
		{"longer", "more follows", append(bytes.Clone(whole), 0)},
	} {
		if _, err := sandbox.ReadImage(bytes.NewReader(c.b)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	other, err := sandbox.ReadImage(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := shared(t, "loops.wasm").Fork(t.Context(), other, sandbox.Config{}); err == nil || !strings.Contains(err.Error(), "another module") {
		t.Errorf("fork by another module: %v", err)
	}
	if other.Module() != m.Hash() {
		t.Error("the image does not say which module it belongs to")
	}
	dir := t.TempDir()
	if _, err := sandbox.LoadImage(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := sandbox.LoadImage(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	name := filepath.Join(dir, "image")
	if err := img.Save(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := sandbox.LoadImage(name); err == nil || !strings.Contains(err.Error(), "must be 0600") {
		t.Errorf("a file that others may read: %v", err)
	}
	if err := img.Save(filepath.Join(dir, "none", "image")); err == nil {
		t.Error("saved to a directory that is not there")
	}
	img.Close()
	if err := img.Save(name); err == nil || !strings.Contains(err.Error(), "image is closed") {
		t.Errorf("save a closed image: %v", err)
	}
}
