package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chorale/sandbox"
)

func TestGoPrograms(t *testing.T) {
	t.Parallel()
	host, err := sandbox.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	for _, c := range []struct {
		name, stdin     string
		env             []string
		stdout, stderrs string
		code            uint32
	}{
		{name: "files", env: []string{"HOSTDIR=/host"}, stdout: "ok\n"},
		{name: "stdio", stdin: "one\ntwo\n\nlast", stdout: "<one><two><><last>", stderrs: "(3)(3)(0)(4)"},
		{name: "echo", stdin: strings.Repeat("x", 200_000), stdout: strings.Repeat("x", 200_000)},
		{name: "goroutines", stdout: "45\n"},
		{name: "sleep", stdout: "ok\n"},
		{name: "network", stdout: "ok\n"},
		{name: "exit", code: 7},
		{name: "panic", code: 2, stderrs: "panic: on purpose"},
		{name: "unknown", code: 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := runGo(t, sandbox.Config{
				Stdin: strings.NewReader(c.stdin), Env: c.env,
				Mounts: []sandbox.Mount{{Path: "/data", FS: sandbox.NewMem(0, 0)}, {Path: "/host", FS: host}},
			}, c.name)
			if stdout != c.stdout || !strings.HasPrefix(stderr, c.stderrs) || code != c.code {
				t.Errorf("code %d, stdout %.200q, stderr %.500q, want %d, %.200q, %q…", code, stdout, stderr, c.code, c.stdout, c.stderrs)
			}
		})
	}
}

func TestArgumentsEnvironmentClockAndRandomness(t *testing.T) {
	t.Parallel()
	c := sandbox.Config{
		Now:    func() time.Time { return time.Unix(1234567890, 0) },
		Random: bytes.NewReader(bytes.Repeat([]byte{0xab}, 1<<16)),
	}
	stdout, _, _ := runGo(t, c, "env", "", "ünï code", "a\x01b")
	if want := "[\"\" \"ünï code\" \"a\\x01b\"] []\nabababababababab 1234567890\n"; stdout != want {
		t.Errorf("guest printed %q, want %q", stdout, want)
	}
	stdout, _, _ = runGo(t, sandbox.Config{Env: []string{"A=b=c", "EMPTY="}}, "env")
	if !strings.HasPrefix(stdout, "[] [\"A=b=c\" \"EMPTY=\"]\n") {
		t.Errorf("guest printed %q", stdout)
	}
}

// posix runs one test of testdata/posix.c.
func posix(t *testing.T, test string, c sandbox.Config) {
	t.Helper()
	m := shared(t, "posix.wasm")
	var out, errs bytes.Buffer
	c.Args, c.Stdout, c.Stderr = []string{"posix", test}, &out, &errs
	in := instantiate(t, m, c)
	code, err := in.Run(t.Context())
	if err != nil || code != 0 || out.String() != "ok\n" {
		t.Errorf("%s: code %d, %v\n%s%s", test, code, err, &out, &errs)
	}
}

// hostDirs returns two directories on the host: one to mount, with a secret beside it, and an empty one.
func hostDirs(t *testing.T) (readable, writable *sandbox.Dir) {
	t.Helper()
	base := t.TempDir()
	jail := filepath.Join(base, "jail")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(jail, "sub"), 0o755),
		os.Mkdir(filepath.Join(base, "empty"), 0o755),
		os.WriteFile(filepath.Join(base, "secret"), []byte("secret"), 0o644),
		os.WriteFile(filepath.Join(jail, "file"), []byte("text"), 0o644),
		os.Symlink("../secret", filepath.Join(jail, "link")),
		os.Symlink(filepath.Join(base, "secret"), filepath.Join(jail, "abslink")),
		os.Symlink("..", filepath.Join(jail, "dirlink")),
		os.Symlink("loop", filepath.Join(jail, "loop")),
		os.Symlink("file", filepath.Join(jail, "inside")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOOS == "linux" {
		if err := exec.Command("mkfifo", filepath.Join(jail, "pipe")).Run(); err != nil {
			t.Log("no pipe:", err)
		}
	}
	for dir, name := range map[**sandbox.Dir]string{&readable: "jail", &writable: "empty"} {
		d, err := sandbox.OpenDir(filepath.Join(base, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		*dir = d
	}
	return readable, writable
}

func TestCPrograms(t *testing.T) {
	t.Parallel()
	for _, test := range []string{"files", "directories", "readonly", "escape", "times"} {
		for _, kind := range []string{"memory", "host"} {
			t.Run(test+" "+kind, func(t *testing.T) {
				t.Parallel()
				jail, empty := hostDirs(t)
				data := sandbox.FS(sandbox.NewMem(0, 0))
				if kind == "host" {
					data = empty
				}
				posix(t, test, sandbox.Config{Mounts: []sandbox.Mount{
					{Path: "/data", FS: data}, {Path: "/ro", FS: jail, ReadOnly: test != "escape"}}})
			})
		}
	}
	t.Run("quota", func(t *testing.T) {
		t.Parallel()
		mem := sandbox.NewMem(1<<20, 20)
		posix(t, "quota", sandbox.Config{Limits: sandbox.Limits{Files: 16}, Mounts: []sandbox.Mount{{Path: "/data", FS: mem}}})
		if bytes, files := mem.Usage(); bytes > 1<<20 || files != 20 {
			t.Errorf("%d bytes and %d files in use", bytes, files)
		}
	})
	t.Run("stdio", func(t *testing.T) {
		t.Parallel()
		posix(t, "stdio", sandbox.Config{Stdin: strings.NewReader("first\nsecond"), Env: []string{"GIVEN=a=b"}})
	})
}

func TestEscapeFindsNoSecret(t *testing.T) {
	t.Parallel()
	jail, _ := hostDirs(t)
	for _, name := range []string{"link", "abslink", "dirlink/secret", "loop", "pipe", "../secret", "/etc/passwd"} {
		if f, err := jail.Open(name, sandbox.Read); err == nil {
			f.Close()
			t.Errorf("%s could be opened", name)
		}
	}
	if err := jail.Rename("file", "../moved"); err == nil {
		t.Error("a file was moved out")
	}
	if err := jail.Mkdir("dirlink/made"); err == nil {
		t.Error("a directory was made outside")
	}
}

func TestOutputIsCutAndCounted(t *testing.T) {
	t.Parallel()
	m := shared(t, "loops.wasm")
	var out bytes.Buffer
	in := instantiate(t, m, sandbox.Config{Stdout: &out, Limits: sandbox.Limits{Output: 1000, Fuel: 100_000}})
	_, err := in.Call(t.Context(), "flood")
	if !errors.Is(err, sandbox.ErrFuel) {
		t.Fatalf("flood: %v", err)
	}
	u := in.Usage()
	if out.Len() != 1000 || !bytes.HasPrefix(out.Bytes(), []byte("0123456789abcdef\n0123")) {
		t.Errorf("%d bytes came through: %.40q", out.Len(), out.Bytes())
	}
	if total := u.StdoutCut + 1000; u.StdoutCut == 0 || total%17 != 0 || u.StderrCut != 0 {
		t.Errorf("%d bytes were cut of stdout, %d of stderr", u.StdoutCut, u.StderrCut)
	}
}

func TestSleeps(t *testing.T) {
	m := shared(t, "loops.wasm")
	synctest.Test(t, func(t *testing.T) {
		in, err := m.Instantiate(t.Context(), sandbox.Config{Limits: sandbox.Limits{Wall: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		at := func(d time.Duration) uint64 { return uint64(time.Now().Add(d).UnixNano()) }
		for _, c := range []struct {
			name                string
			clock, when, absent uint64
			want                time.Duration
			errno               uint64
		}{
			{"relative, realtime", 0, uint64(20 * time.Second), 0, 20 * time.Second, 0},
			{"relative, monotonic", 1, uint64(20 * time.Second), 0, 20 * time.Second, 0},
			{"absolute, realtime", 0, at(70 * time.Second), 1, 30 * time.Second, 0},
			{"absolute, monotonic", 1, at(100 * time.Second), 1, 30 * time.Second, 0},
			{"absolute, in the past", 1, 1, 1, 0, 0},
			{"not at all", 0, 0, 0, 0, 0},
		} {
			start := time.Now()
			if got := call(t, in, "sleep", c.clock, c.when, c.absent); got != c.errno || time.Since(start) != c.want {
				t.Errorf("%s: errno %d after %v, want %d after %v", c.name, got, time.Since(start), c.errno, c.want)
			}
			if got := call(t, in, "events"); got != 1<<32|77 {
				t.Errorf("%s: events %#x, want one with user data 77", c.name, got)
			}
		}
	})
}

func TestSleepEndsByLimit(t *testing.T) {
	m := shared(t, "loops.wasm")
	for _, c := range []struct {
		name string
		c    sandbox.Config
		stop func(*sandbox.Instance)
		want error
		at   time.Duration
	}{
		{"wall time", sandbox.Config{Limits: sandbox.Limits{Wall: 300 * time.Millisecond}}, nil, sandbox.ErrTime, 300 * time.Millisecond},
		{"default wall time", sandbox.Config{}, nil, sandbox.ErrTime, sandbox.DefaultWall},
		{"kill", sandbox.Config{}, func(in *sandbox.Instance) { in.Kill(nil) }, sandbox.ErrKilled, time.Second},
		{"kill with a reason", sandbox.Config{}, func(in *sandbox.Instance) { in.Kill(io.EOF) }, io.EOF, time.Second},
		{"close", sandbox.Config{}, func(in *sandbox.Instance) { in.Close() }, sandbox.ErrClosed, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, err := m.Instantiate(t.Context(), c.c)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				if c.stop != nil {
					time.AfterFunc(time.Second, func() { c.stop(in) })
				}
				start := time.Now()
				_, err = in.Call(t.Context(), "sleep", 1, uint64(time.Hour), 0)
				var stop *sandbox.StopError
				if !errors.As(err, &stop) || !errors.Is(err, c.want) || time.Since(start) != c.at {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(start), c.want, c.at)
				}
				if _, err := in.Call(t.Context(), "add", 1, 2); !errors.Is(err, sandbox.ErrClosed) {
					t.Errorf("a call after the end: %v", err)
				}
			})
		})
	}
}

func TestSleepWakesByInterrupt(t *testing.T) {
	m := shared(t, "loops.wasm")
	const eintr = 27
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		in, err := m.Instantiate(t.Context(), sandbox.Config{
			Limits:    sandbox.Limits{Soft: 2 * time.Second, Wall: time.Minute},
			Interrupt: func(*sandbox.Instance) { calls++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		start := time.Now()
		if got := call(t, in, "sleep", 1, uint64(time.Hour), 0); got != eintr || calls != 1 || time.Since(start) != 2*time.Second {
			t.Errorf("soft limit: errno %d after %v and %d interrupts", got, time.Since(start), calls)
		}
		time.AfterFunc(time.Second, in.Interrupt)
		start = time.Now()
		if got := call(t, in, "sleep", 1, uint64(time.Hour), 0); got != eintr || calls != 2 || time.Since(start) != time.Second {
			t.Errorf("Interrupt: errno %d after %v and %d interrupts", got, time.Since(start), calls)
		}
	})
}

func TestInputThatBlocks(t *testing.T) {
	m := shared(t, "loops.wasm")
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		in, err := m.Instantiate(t.Context(), sandbox.Config{Stdin: r, Limits: sandbox.Limits{Wall: time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		time.AfterFunc(time.Second/2, func() { w.Write([]byte("hello")) })
		if got := call(t, in, "read"); got != 5 {
			t.Errorf("read %d bytes, want 5", got)
		}
		if _, err := in.Call(t.Context(), "read"); !errors.Is(err, sandbox.ErrTime) {
			t.Errorf("read of nothing: %v", err)
		}
	})
}

func TestFileTable(t *testing.T) {
	t.Parallel()
	mem := sandbox.NewMem(0, 0)
	if err := mem.WriteFile("dir/file", []byte("content")); err != nil {
		t.Fatal(err)
	}
	m := shared(t, "opener.wasm")
	in := instantiate(t, m, sandbox.Config{Mounts: []sandbox.Mount{{Path: "/m", FS: mem}}})
	if fd := call(t, in, "open"); fd != 4 {
		t.Fatalf("open: %d", fd)
	}
	img, err := in.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	want := []sandbox.OpenFile{{FD: 0, Path: "stdin"}, {FD: 1, Path: "stdout"}, {FD: 2, Path: "stderr"},
		{FD: 3, Path: "/m", Mount: true}, {FD: 4, Path: "/m/dir/file", Offset: 4}}
	if got := in.Files(); !slices.Equal(got, want) {
		t.Errorf("files after open: %+v", got)
	}
	if err := in.Reset(img); err != nil {
		t.Fatal(err)
	}
	if got := in.Files(); !slices.Equal(got, want[:4]) {
		t.Errorf("files after reset: %+v", got)
	}
}

// TestWASIWithAnyArguments calls every function with numbers that are at or over some edge. None of it may fail the host.
func TestWASIWithAnyArguments(t *testing.T) {
	t.Parallel()
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, 0))
	m := shared(t, "wasi.wasm")
	edges := []uint64{0, 1, 2, 3, 4, 5, 8, 15, 40, 100, 1000, 65535, 65536, 65530, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	mem := sandbox.NewMem(1<<20, 50)
	names := regexp.MustCompile(`preview1" "(\w+)" \(func \$\w+( \(param ([i0-9 ]+)\))?`).FindAllStringSubmatch(string(fixture(t, "wasi.wat")), -1)
	if len(names) < 40 {
		t.Fatalf("%d functions", len(names))
	}
	var in *sandbox.Instance
	for range 200 {
		for _, f := range names {
			if in == nil || in.WriteMemory(0, []byte("a/b\x00name\x00\x08\x00\x00\x00\x10")) != nil {
				in = instantiate(t, m, sandbox.Config{
					Limits: sandbox.Limits{Wall: 2 * time.Millisecond}, Args: []string{"a", "b"}, Env: []string{"A=b"},
					Stdin: strings.NewReader("input"), Mounts: []sandbox.Mount{{Path: "/", FS: mem}},
				})
			}
			var args []uint64
			for _, kind := range strings.Fields(f[3]) {
				v := edges[rnd.IntN(len(edges))]
				if kind == "i32" {
					v = uint64(uint32(v))
				}
				args = append(args, v)
			}
			_, err := in.Call(t.Context(), f[1], args...)
			var exit *sandbox.ExitError
			if err != nil && !errors.As(err, &exit) && !errors.Is(err, sandbox.ErrTime) {
				t.Fatalf("seed %d: %s(%v): %v", seed, f[1], args, err)
			}
		}
	}
}

// A slowFile can be read when its channel is closed, and says how often it was asked and whether it was closed.
type slowFile struct {
	sandbox.File
	ready  chan struct{}
	asked  atomic.Int32
	closed atomic.Bool
}

func (f *slowFile) Ready() <-chan struct{} { f.asked.Add(1); return f.ready }
func (f *slowFile) Close() error           { f.closed.Store(true); return f.File.Close() }

type slowFS struct {
	sandbox.FS
	file *slowFile
}

func (s slowFS) Open(name string, how sandbox.Flag) (sandbox.File, error) {
	f, err := s.FS.Open(name, how)
	if name == "." || err != nil {
		return f, err
	}
	s.file.File = f
	return s.file, nil
}

func TestFilesThatMustBeWaitedFor(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, c sandbox.Config) (wasiGuest, *slowFile, int32) {
		mem := sandbox.NewMem(0, 0)
		if err := mem.WriteFile("slow", []byte("late")); err != nil {
			t.Fatal(err)
		}
		file := &slowFile{ready: make(chan struct{})}
		c.Mounts = []sandbox.Mount{{Path: "/m", FS: slowFS{mem, file}}}
		g := wasiGuest{t, instantiate(t, shared(t, "wasi.wasm"), c)}
		return g, file, g.open("slow", 0, 0)
	}
	read := func(ctx context.Context, g wasiGuest, fd int32) error {
		g.WriteMemory(400, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 2000), 10))
		_, err := g.Call(ctx, "fd_read", uint64(uint32(fd)), 400, 1, 500)
		return err
	}
	t.Run("ready", func(t *testing.T) {
		t.Parallel()
		g, file, fd := start(t, sandbox.Config{})
		time.AfterFunc(time.Millisecond, func() { close(file.ready) })
		if got := g.read(fd, 10) + g.read(fd, 10); got != "late" || file.asked.Load() != 2 {
			t.Errorf("read %q, asked %d times", got, file.asked.Load())
		}
	})
	t.Run("now", func(t *testing.T) {
		t.Parallel()
		g, file, fd := start(t, sandbox.Config{})
		file.ready = nil
		if got := g.read(fd, 10); got != "late" {
			t.Errorf("read %q", got)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		g, file, fd := start(t, sandbox.Config{Interrupt: func(*sandbox.Instance) {}, Limits: sandbox.Limits{Soft: time.Millisecond}})
		if got := g.read(fd, 10); got != fmt.Sprint("errno ", uint16(sandbox.EINTR)) {
			t.Errorf("read %q", got)
		}
		close(file.ready)
		if got := g.read(fd, 10); got != "late" {
			t.Errorf("read again: %q", got)
		}
	})
	for name, want := range map[string]error{"time": sandbox.ErrTime, "killed": sandbox.ErrKilled, "context": context.Canceled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := sandbox.Config{}
			if name == "time" {
				c.Limits.Wall = 20 * time.Millisecond
			}
			g, file, fd := start(t, c)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			time.AfterFunc(time.Millisecond, map[string]func(){"time": func() {}, "killed": func() { g.Kill(nil) }, "context": cancel}[name])
			if err := read(ctx, g, fd); !errors.Is(err, want) || !file.closed.Load() {
				t.Errorf("%v, want %v; file closed: %v", err, want, file.closed.Load())
			}
		})
	}
}
