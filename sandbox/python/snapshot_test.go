package python_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"chorale/sandbox/python"
)

// rich leaves behind what does not survive a pickle.
const rich = `import collections, random, json, os
class A:
    def __init__(self, x): self.x = x
    def twice(self): return 2 * self.x
a = A(21)
d = collections.deque(range(5), maxlen=5)
def count():
    n = 0
    while True:
        n += 1
        yield n
g = count()
next(g); next(g)
f = lambda y: y + a.x
text = open('notes.txt', 'w+')
text.write('first line\nsecond line\n'); text.flush(); text.seek(11)
os.makedirs('empty/dir')
e = ValueError('kept')
rng = random.Random(7)`

// goOn uses all of it.
const goOn = `(next(g), a.twice(), type(a) is A, list(d), f(1), text.readline(), os.path.isdir('empty/dir'), e.args, rng.random())`

const wentOn = `(3, 42, True, [0, 1, 2, 3, 4], 22, 'second line\n', True, ('kept',), 0.32383276483316237)`

var key = []byte("a key of the tests")

func snapshot(t testing.TB, s *python.Session) ([]byte, []python.File) {
	t.Helper()
	b, files, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return b, files
}

func restore(t testing.TB, p *python.Pool, b []byte, files []python.File) *python.Session {
	t.Helper()
	s, err := p.Restore(t.Context(), b, files, python.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// waitLive waits until so many sessions are live: places are given back off the caller's path.
func waitLive(t *testing.T, p *python.Pool, n int) {
	t.Helper()
	for start := time.Now(); p.Stats().Live != n; runtime.Gosched() {
		if time.Since(start) > time.Minute {
			t.Fatalf("%+v, want %d sessions live", p.Stats(), n)
		}
	}
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 2, Key: key})
	s := acquire(t, p, python.Limits{})
	if r := exec(t, s, rich); r.Status != python.OK {
		t.Fatal(r.Output)
	}
	b, files := snapshot(t, s)
	if len(b) > 128<<10 {
		t.Errorf("the snapshot has %d bytes", len(b))
	}
	if len(files) != 1 || files[0].Path != "/mnt/data/notes.txt" || string(files[0].Data) != "first line\nsecond line\n" {
		t.Errorf("files: %+v", files)
	}
	branch := restore(t, p, b, files)
	for name, s := range map[string]*python.Session{"original": s, "branch": branch, "another branch": restore(t, p, b, files)} {
		if r := exec(t, s, goOn); r.Value != wentOn {
			t.Errorf("%s: %s%s, want %s", name, r.Output, r.Value, wentOn)
		}
		if r := exec(t, s, "1/0"); !strings.Contains(r.Output, "<cell 3>") {
			t.Errorf("%s: cells are counted anew: %s", name, r.Output)
		}
	}
	// A branch can be stored and branched itself.
	exec(t, branch, "next(g); extra = 1")
	b2, files2 := snapshot(t, branch)
	if r := exec(t, restore(t, p, b2, files2), "next(g), extra"); r.Value != "(5, 1)" {
		t.Errorf("branch of a branch: %+v", r)
	}
	// The one that it came from is not touched.
	if r := exec(t, restore(t, p, b, files), "next(g), 'extra' in globals()"); r.Value != "(3, False)" {
		t.Errorf("the first snapshot after its branches ran: %+v", r)
	}
	// Files that changed in between.
	if r := exec(t, restore(t, p, b, nil), "os.listdir('.'), os.path.isdir('empty/dir')"); r.Value != "(['empty'], True)" {
		t.Errorf("without files: %+v", r)
	}
	if r := exec(t, restore(t, p, b, nil), "text.read()"); r.Status != python.Error {
		t.Errorf("a file that is gone: %+v", r)
	}
	changed := []python.File{{Path: "/mnt/data/notes.txt", Data: []byte("FIRST LINE\nSECOND"), Modified: time.Unix(1e9, 0)}, {Path: "/tmp/new", Data: []byte("x")}}
	if r := exec(t, restore(t, p, b, changed), "open('notes.txt').read(), os.path.getmtime('notes.txt'), os.listdir('/tmp')"); r.Value != "('FIRST LINE\\nSECOND', 1000000000.0, ['new'])" {
		t.Errorf("with other files: %+v", r)
	}
}

func TestBranchesHaveRandomnessOfTheirOwn(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 2})
	s := acquire(t, p, python.Limits{})
	exec(t, s, "import random, tempfile, uuid; random.random()")
	b, files := snapshot(t, s)
	const code = "print(random.random(), uuid.uuid4(), tempfile.mktemp())"
	seen := map[string]bool{}
	for _, s := range []*python.Session{s, restore(t, p, b, files), restore(t, p, b, files)} {
		for word := range strings.FieldsSeq(exec(t, s, code).Output) {
			if seen[word] {
				t.Errorf("%s is there twice", word)
			}
			seen[word] = true
		}
	}
	if len(seen) != 9 {
		t.Errorf("%v", seen)
	}
}

func TestSnapshotOfLargeMemory(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{})
	exec(t, s, "x = list(range(1_000_000)); b = bytearray(30_000_000); b[-1] = 7")
	snap, files := snapshot(t, s)
	if r := exec(t, restore(t, p, snap, files), "sum(x), len(b), b[-1]"); r.Value != "(499999500000, 30000000, 7)" {
		t.Errorf("%+v", r)
	}
	_, err := p.Restore(t.Context(), snap, files, python.SessionOptions{Limits: python.Limits{Memory: 80 << 20}})
	var refused *python.SnapshotError
	if !errors.As(err, &refused) || refused.Reason != python.SnapshotTooLarge {
		t.Errorf("into less memory: %v", err)
	}
	// A session that grew and was stopped is snapshotted as the pristine one that it then is.
	exec(t, s, "import os; os._exit(1)")
	snap, files = snapshot(t, s)
	if r := exec(t, restore(t, p, snap, files), "'x' in globals()"); r.Value != "False" || len(snap) > 4096 {
		t.Errorf("after a hard stop: %d bytes, %+v", len(snap), r)
	}
	waitLive(t, p, 3) // the refused one is not left over
}

func TestBadSnapshotsAreRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1, Key: key})
	s := acquire(t, p, python.Limits{})
	exec(t, s, "x = 1")
	good, files := snapshot(t, s)
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 0x10
		return b
	}
	longer := append(bytes.Clone(good), 0)
	binary.LittleEndian.PutUint64(longer[40:], uint64(len(longer)))
	for _, c := range []struct {
		name string
		b    []byte
		want python.SnapshotReason
	}{
		{"nothing", nil, python.SnapshotUnknown},
		{"text", []byte("{\"state\": null}"), python.SnapshotUnknown},
		{"another version", flip(7), python.SnapshotUnknown},
		{"cut in the head", good[:50], python.SnapshotTruncated},
		{"cut at the end", good[:len(good)-1], python.SnapshotTruncated},
		{"longer", append(bytes.Clone(good), 0), python.SnapshotTruncated},
		{"longer, with the length to it", longer, python.SnapshotForged},
		{"length", flip(40), python.SnapshotTruncated},
		{"image", flip(10), python.SnapshotForged},
		{"length of the payload", flip(48), python.SnapshotForged},
		{"code", flip(60), python.SnapshotForged},
		{"payload", flip(100), python.SnapshotForged},
		{"last byte", flip(len(good) - 1), python.SnapshotForged},
	} {
		_, err := p.Restore(t.Context(), c.b, files, python.SessionOptions{})
		var refused *python.SnapshotError
		if !errors.As(err, &refused) || refused.Reason != c.want {
			t.Errorf("%s: %v, want: %v", c.name, err, c.want)
		}
	}
	other := newPool(t, python.PoolOptions{Slots: 1})
	var refused *python.SnapshotError
	if _, err := other.Restore(t.Context(), good, files, python.SessionOptions{}); !errors.As(err, &refused) || refused.Reason != python.SnapshotForged {
		t.Errorf("another key: %v", err)
	}
	if _, err := p.Restore(t.Context(), good, []python.File{{Path: "relative"}}, python.SessionOptions{}); err == nil || !strings.Contains(err.Error(), `"relative"`) {
		t.Errorf("a file with a bad path: %v", err)
	}
	waitLive(t, p, 1)
}

func TestSnapshotOfAnotherImage(t *testing.T) {
	t.Parallel()
	dir, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	packages := t.TempDir()
	if err := os.WriteFile(filepath.Join(packages, "ours.py"), []byte("answer = 42\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := python.Boot(t.Context(), python.BootOptions{CacheDir: dir, Packages: []string{packages}, Preload: []string{"ours"}})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if img.Hash() == image(t).Hash() {
		t.Fatal("other packages, same image")
	}
	p, err := python.NewPool(img, python.PoolOptions{Slots: 1, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s := acquire(t, p, python.Limits{})
	if r := exec(t, s, "import ours; ours.answer, ours.__file__"); r.Value != "(42, '/extra/0/ours.py')" {
		t.Errorf("an operator's package: %+v", r)
	}
	b, files := snapshot(t, s)
	var refused *python.SnapshotError
	_, err = newPool(t, python.PoolOptions{Slots: 1, Key: key}).Restore(t.Context(), b, files, python.SessionOptions{})
	if !errors.As(err, &refused) || refused.Reason != python.SnapshotOtherImage {
		t.Errorf("%v, want: %v", err, python.SnapshotOtherImage)
	}
}

// TestSnapshotInAnotherProcess stores a session here and goes on with it in another process, which stores it again.
func TestSnapshotInAnotherProcess(t *testing.T) {
	type stored struct {
		Memory []byte
		Files  []python.File
	}
	if name := os.Getenv("PYTHON_SNAPSHOT"); name != "" {
		var st stored
		raw, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(raw, &st)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := restore(t, newPool(t, python.PoolOptions{Slots: 1, Key: key}), st.Memory, st.Files)
		fmt.Printf("went on: %s\n", exec(t, s, goOn).Value)
		st.Memory, st.Files = snapshot(t, s)
		if raw, err = json.Marshal(st); err == nil {
			err = os.WriteFile(name, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1, Key: key})
	s := acquire(t, p, python.Limits{})
	exec(t, s, rich)
	var st stored
	st.Memory, st.Files = snapshot(t, s)
	raw, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(os.Args[0], "-test.run=^TestSnapshotInAnotherProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), "PYTHON_SNAPSHOT="+name)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "went on: "+wentOn) {
		t.Fatalf("%v\n%s", err, out)
	}
	if raw, err = os.ReadFile(name); err == nil {
		err = json.Unmarshal(raw, &st)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := exec(t, restore(t, p, st.Memory, st.Files), "next(g), a.twice()"); r.Value != "(4, 42)" {
		t.Errorf("back here: %+v", r)
	}
}

// TestBootIsDeterministic boots without a cache and compares with the image that was booted another time.
func TestBootIsDeterministic(t *testing.T) {
	t.Parallel()
	dir, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	// Native code is taken from the cache, the image is not.
	fresh := filepath.Join(t.TempDir(), "cache")
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		t.Fatal(err)
	}
	want := image(t).Hash()
	if err := os.CopyFS(filepath.Join(fresh, "code"), os.DirFS(filepath.Join(dir, "code"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(fresh, "code"), 0o700); err != nil {
		t.Fatal(err)
	}
	boot := func() [32]byte {
		t.Helper()
		img, err := python.Boot(t.Context(), python.BootOptions{CacheDir: fresh})
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		return img.Hash()
	}
	if boot() != want {
		t.Error("another boot has another image: snapshots would be worth nothing on another machine")
	}
	// A poisoned and a cut image are replaced.
	images, err := filepath.Glob(filepath.Join(fresh, "python-*.image"))
	if err != nil || len(images) != 1 {
		t.Fatal(images, err)
	}
	for name, damage := range map[string]func(b []byte) []byte{
		"poisoned": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut":      func(b []byte) []byte { return b[:len(b)-4096] },
	} {
		b, err := os.ReadFile(images[0])
		if err != nil {
			t.Fatal(err)
		}
		bad := damage(slices.Clone(b))
		if err := os.WriteFile(images[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if boot() != want {
			t.Errorf("%s: the image is another one", name)
		}
		if again, err := os.ReadFile(images[0]); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: the stored image was not replaced: %v", name, err)
		}
	}
}
