package plugins_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chorale/plugins"
)

// cacheDir has the native code of all tests: most load the same modules.
var cacheDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "plugins")
	if err != nil {
		panic(err)
	}
	cacheDir = filepath.Join(dir, "cache")
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// The committed modules are what their sources make.
func TestArtefacts(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("testdata/MANIFEST")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		content := fixture(t, name)
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not what testdata/MANIFEST says: run testdata/build.sh", name)
		}
	}
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// anything is the schema of any object.
var anything = json.RawMessage(`{"type":"object"}`)

// manifest is one whose tools take anything and give text.
func manifest(tools ...string) *plugins.Manifest {
	m := &plugins.Manifest{Name: "p", Version: "1.0.0"}
	for _, name := range tools {
		m.Tools = append(m.Tools, plugins.ManifestTool{Name: name, Input: anything})
	}
	return m
}

// source pairs a committed module with a manifest; nil is none.
func source(t testing.TB, module string, m *plugins.Manifest) plugins.Source {
	t.Helper()
	return pair(t, fixture(t, module+".wasm"), m)
}

func pair(t testing.TB, wasm []byte, m *plugins.Manifest) plugins.Source {
	t.Helper()
	var text []byte
	if m != nil {
		var err error
		if text, err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
	}
	s, err := plugins.NewSource("file", wasm, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t testing.TB, s plugins.Source, o plugins.Options) *plugins.Plugin {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = cacheDir
	}
	p, err := plugins.Load(t.Context(), s, o)
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

func call(t testing.TB, p *plugins.Plugin, tool, input string) plugins.Result {
	t.Helper()
	r, err := p.Call(t.Context(), plugins.Call{Tool: tool, Input: json.RawMessage(input)})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return r
}

// works checks that a call gives a text.
func works(t testing.TB, p *plugins.Plugin, tool, input, want string) {
	t.Helper()
	if r := call(t, p, tool, input); r.Failed || r.Text != want {
		t.Errorf("%s: got %q (failed: %t), want %q", tool, r.Text, r.Failed, want)
	}
}

// fails checks that a call is the plugin's failure, with all of these in the text.
func fails(t testing.TB, p *plugins.Plugin, tool, input string, want ...string) {
	t.Helper()
	r := call(t, p, tool, input)
	if !r.Failed {
		t.Errorf("%s: got %q, want a failure with %q", tool, r.Text, want)
	}
	for _, w := range want {
		if !strings.Contains(r.Text, w) {
			t.Errorf("%s: got %q, want %q in it", tool, r.Text, w)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	m := manifest("echo", "self", "bad", "fail", "count", "files", "chatter", "bytes", "show", "write", "fill", "many_files", "list")
	m.Limits.FileBytes = 4 << 20
	p := load(t, source(t, "program", m), plugins.Options{})
	works(t, p, "echo", `{"a": [1, "ü"]}`, `{"a": [1, "ü"]}`)
	works(t, p, "echo", ``, `{}`)
	works(t, p, "self", `{}`, "2 p self")
	works(t, p, "bytes", `{}`, "a\uFFFDb")
	works(t, p, "list", `{"path":"/tmp"}`, ". .. ")
	works(t, p, "fill", `{}`, "No space left on device")

	if r := call(t, p, "bad", `{}`); !r.Failed || !r.BadArguments || !strings.Contains(r.Text, "no such city") {
		t.Errorf("exit code 2: %+v, want bad arguments and the log", r)
	}
	if r := call(t, p, "fail", `{}`); !r.Failed || r.BadArguments || !strings.Contains(r.Text, "code 3") ||
		!strings.Contains(r.Text, "the disk is on fire") || strings.Contains(r.Text, "half") {
		t.Errorf("exit code 3: %+v, want a failure with the log and without the result", r)
	}
	for range 3 {
		works(t, p, "count", `{}`, "1")
	}
	r := call(t, p, "files", `{}`)
	if len(r.Files) != 2 || r.Files[0].Path != "/out/a.txt" || string(r.Files[0].Data) != "first" ||
		r.Files[1].Path != "/out/sub/b.bin" || !strings.HasPrefix(r.Files[0].MIME, "text/plain") {
		t.Errorf("files: %+v", r.Files)
	}
	fails(t, p, "many_files", `{}`, "No space left")
	fails(t, p, "show", `{"path":"/etc/passwd"}`, "/etc/passwd")
	fails(t, p, "show", `{"path":"/tmp/../../etc/passwd"}`, "passwd")
	fails(t, p, "write", `{"path":"/x"}`, "/x")
	r = call(t, p, "chatter", `{}`)
	if !strings.HasSuffix(r.Text, "line 4999 of the log") || len(r.Text) > 4096 || len(r.Log) > 64<<10 || len(r.Log) < 32<<10 {
		t.Errorf("a long log: %d bytes to the model and %d to the operator, want the end of it", len(r.Text), len(r.Log))
	}
	if _, err := p.Call(t.Context(), plugins.Call{Tool: "nothing"}); !errors.Is(err, plugins.ErrUnknownTool) {
		t.Errorf("an unknown tool: %v", err)
	}
}

// What the model wrote is checked before the plugin sees it, and the messages are for the model.
func TestArguments(t *testing.T) {
	t.Parallel()
	m := manifest("echo")
	m.Tools[0].Input = json.RawMessage(`{"type": "object", "additionalProperties": false, "required": ["value"], "properties": {
		"value": {"type": "number", "minimum": 0}, "unit": {"enum": ["km", "mi"]}, "list": {"type": "array", "items": {"type": "string"}}}}`)
	p := load(t, source(t, "program", m), plugins.Options{})
	works(t, p, "echo", `{"value": 1.50, "unit": "km"}`, `{"value": 1.50, "unit": "km"}`)
	for _, c := range []struct{ name, input, want string }{
		{"none", ``, "value"},
		{"wrong type", `{"value": "1"}`, "value: got string, want number"},
		{"too small", `{"value": -1}`, "value: minimum"},
		{"no member of the list", `{"value": 1, "unit": "m"}`, "unit: value must be one of"},
		{"one more", `{"value": 1, "values": 2}`, "additional properties 'values' not allowed"},
		{"within a list", `{"value": 1, "list": ["a", 2]}`, "list.1: got number, want string"},
		{"array", `[1]`, "got array, want object"},
		{"cut off", `{"value": 1`, "cut off"},
		{"two values", `{"value": 1} {}`, "something after"},
		{"key twice", `{"value": 1, "value": -1}`, "value: is there twice"},
		{"raw text", `1 km`, "something after"},
		{"no JSON", `one km`, "is no value"},
		{"no UTF-8", "{\"value\": \"\xff\"}", "is no UTF-8"},
		{"a line within a string", "{\"value\": \"\n\"}", "within a string"},
		{"a tab far within a string", "{\"value\": \"a long text é, then\ta tab\"}", `'\t' at byte 31, within a string`},
		{"comma too many", `{"value": 1,}`, "want one of"},
		{"number with a zero", `{"value": 01}`, "is no value"},
		{"bad escape", `{"value": "\x"}`, "a string at byte"},
		{"nested too deep", `{"list": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `, "value": 1}`, "nested too deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := call(t, p, "echo", c.input)
			if !r.Failed || !r.BadArguments || !strings.Contains(r.Text, c.want) {
				t.Errorf("got %q, want %q", r.Text, c.want)
			}
		})
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	m := manifest("echo", "lie", "no_json", "chart", "mcp_error")
	for i := range m.Tools {
		m.Tools[i].Output = json.RawMessage(`{"type": "object", "properties": {"celsius": {"type": "number"}, "points": {"minimum": 1}}}`)
	}
	m.Tools[3].Kind, m.Tools[4].Kind = plugins.OutputMCP, plugins.OutputMCP
	p := load(t, source(t, "program", m), plugins.Options{})
	if r := call(t, p, "echo", `{"celsius": 21}`); r.Failed || r.Text != `{"celsius": 21}` || string(r.Structured) != r.Text {
		t.Errorf("json: %+v", r)
	}
	fails(t, p, "lie", `{}`, "does not fit the output_schema: celsius: got string, want number")
	fails(t, p, "no_json", `{}`, "something after")
	fails(t, p, "mcp_error", `{}`, "it rains")
	r := call(t, p, "chart", `{}`)
	if r.Failed || string(r.Structured) != `{"points":3}` || len(r.Files) != 1 || r.Files[0].MIME != "image/png" ||
		!bytes.HasPrefix(r.Files[0].Data, []byte("\x89PNG")) || r.Text != "a chart\n(image content-2, 8 bytes)\nmore https://example.com/" {
		t.Errorf("mcp: %+v", r)
	}
	m.Tools[0].Kind, m.Tools[0].Output = plugins.OutputMCP, nil
	m.Tools[3].Output = json.RawMessage(`{"type": "object", "properties": {"points": {"minimum": 4}}}`)
	p = load(t, source(t, "program", m), plugins.Options{})
	fails(t, p, "chart", `{}`, "structuredContent does not fit", "points")
	for input, want := range map[string]string{
		`{}`:                               "neither content nor structuredContent",
		`{"content": 1}`:                   "no CallToolResult",
		`{"content": [{"type": "video"}]}`: `content[0].type: "video"`,
		`{"content": [{"type": "image"}]}`: "content[0]: an image needs data",
		`{"content": [{"type":"image","data":"!"}]}`: "no CallToolResult",
	} {
		fails(t, p, "echo", input, want)
	}
	works(t, p, "echo", `{"structuredContent": {"a": 1}}`, `{"a": 1}`)
}

// hammer collects garbage until the test ends: a guest that could not be stopped by the collector would hang it.
func hammer(t *testing.T) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	})
	t.Cleanup(func() { close(done); wg.Wait() })
}

// Every attack ends by its limits, says which, and leaves the plugin working, while garbage is collected all the time.
func TestFaults(t *testing.T) {
	hammer(t)
	m := manifest("spin", "sleep", "flood", "flood_log", "recurse", "grow", "crash")
	m.Limits = plugins.Limits{TimeoutMS: 300, OutputBytes: 64 << 10, MemoryBytes: 16 << 20, FileBytes: 1 << 20, Concurrency: 16}
	p := load(t, source(t, "program", m), plugins.Options{})
	// What answers meanwhile, and has time to.
	calm := load(t, source(t, "program", manifest("count")), plugins.Options{})
	for _, c := range []struct{ tool, want string }{
		{"spin", "longer than 300 ms (limit timeout_ms)"},
		{"sleep", "longer than 300 ms (limit timeout_ms)"},
		{"flood", "more than 65536 bytes (limit output_bytes)"},
		{"flood_log", "longer than 300 ms (limit timeout_ms)"},
		{"recurse", "It crashed"},
		{"crash", "It crashed: unreachable"},
	} {
		t.Run(c.tool, func(t *testing.T) { fails(t, p, c.tool, `{}`, c.want) })
	}
	t.Run("grow", func(t *testing.T) {
		if r := call(t, p, "grow", `{}`); r.Memory > 16<<20 {
			t.Errorf("took %d bytes, the limit is %d", r.Memory, 16<<20)
		}
	})
	t.Run("all at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, tool := range []string{"spin", "sleep", "flood", "flood_log", "recurse", "grow", "crash", "spin", "sleep"} {
			wg.Go(func() { call(t, p, tool, `{}`) })
		}
		wg.Go(func() { works(t, calm, "count", `{}`, "1") })
		wg.Wait()
	})
	if s := p.Stats(); s.Running != 0 || s.Waiting != 0 || s.Stopped < 10 || s.Refused != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// What the caller ends is the caller's error, and no failure of the plugin.
func TestCancel(t *testing.T) {
	t.Parallel()
	p := load(t, source(t, "program", manifest("spin", "sleep")), plugins.Options{})
	for _, tool := range []string{"spin", "sleep"} {
		cause := errors.New("the client went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := context.AfterFunc(ctx, func() {})
		defer stop()
		time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
		if _, err := p.Call(ctx, plugins.Call{Tool: tool}); !errors.Is(err, cause) {
			t.Errorf("%s: %v, want the cause of the context", tool, err)
		}
	}
}

func TestReactor(t *testing.T) {
	t.Parallel()
	tools := []string{"echo", "count", "grow", "spin", "bad", "fail", "number", "nothing", "no_json", "outside", "huge", "exit", "crash",
		"chatter"}
	for _, c := range []struct {
		mode plugins.InstanceMode
		want []string // of count, three times
	}{
		{"", []string{"101", "101", "101"}},
		{plugins.InstanceFresh, []string{"101", "101", "101"}},
		{plugins.InstanceReset, []string{"101", "101", "101"}},
		{plugins.InstanceReuse, []string{"101", "102", "103"}},
	} {
		t.Run("instance "+string(c.mode), func(t *testing.T) {
			t.Parallel()
			m := manifest(tools...)
			m.Instance = c.mode
			m.Tools[0].Kind = plugins.OutputJSON
			p := load(t, source(t, "reactor", m), plugins.Options{})
			if p.ABI() != plugins.ABIReactor {
				t.Errorf("the ABI is %s", p.ABI())
			}
			for _, want := range c.want {
				works(t, p, "count", `{}`, want)
			}
			works(t, p, "echo", `{"a":"ü"}`, `{"a":"ü"}`)
			works(t, p, "grow", `{}`, "grown")
			if r := call(t, p, "chatter", `{}`); r.Text != "said" || r.Log != "this is no result" {
				t.Errorf("stdout of a reactor is its log: %+v", r)
			}
			if r := call(t, p, "bad", `{}`); !r.BadArguments || r.Text != "no such city" {
				t.Errorf("bad arguments: %+v", r)
			}
			fails(t, p, "fail", `{}`, "on fire")
			fails(t, p, "number", `{}`, "must be a string")
			fails(t, p, "nothing", `{}`, "neither a result nor an error")
			fails(t, p, "no_json", `{}`, "response of tool_call is wrong")
			fails(t, p, "outside", `{}`, "outside of the memory")
			fails(t, p, "huge", `{}`, "limit output_bytes")
			fails(t, p, "exit", `{}`, "ended itself with code 7")
			fails(t, p, "crash", `{}`, "crashed")
			short := manifest("spin")
			short.Instance, short.Limits.TimeoutMS = c.mode, 100
			fails(t, load(t, source(t, "reactor", short), plugins.Options{}), "spin", `{}`, "limit timeout_ms")
			if r := call(t, p, "count", `{}`); c.mode != plugins.InstanceReuse && r.Text != "101" {
				t.Errorf("after all this the counter is %s", r.Text)
			}
		})
	}
}

// build builds a program of the standard Go toolchain, the one that runs the tests.
func build(t testing.TB, name string, flags ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.wasm")
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", out}, flags...), name)...)
	cmd.Dir = filepath.Join("testdata", "goreactor")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, msg)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// goReactor is testdata/goreactor as a reactor with reset.
func goReactor(t testing.TB) plugins.Source {
	t.Helper()
	m := manifest("say")
	m.Instance, m.Tools[0].Kind = plugins.InstanceReset, plugins.OutputJSON
	return pair(t, build(t, "main.go", "-buildmode=c-shared"), m)
}

// A Go runtime, with its collector and goroutines, is the same after every reset.
func TestGoReactor(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a Go program for a second")
	}
	t.Parallel()
	p := load(t, goReactor(t), plugins.Options{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				text := fmt.Sprintf("%d of %d %s", i, g, strings.Repeat("x", i*50))
				works(t, p, "say", fmt.Sprintf(`{"text":%q}`, text), fmt.Sprintf(`{"count":1,"echo":%q}`, text))
			}
		})
	}
	wg.Wait()
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	reactor := fixture(t, "reactor.wasm")
	needsMemory := manifest("echo")
	needsMemory.Limits.MemoryBytes = 65536
	export := manifest("echo")
	export.Tools[0].Export = "run"
	reset := manifest("echo")
	reset.Instance = plugins.InstanceReset
	future := manifest("echo")
	future.MinHost = "0.10.0"
	for _, c := range []struct {
		name     string
		wasm     []byte
		manifest *plugins.Manifest
		want     string
	}{
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), nil, "cargo build --release --target wasm32-wasip1"},
		{"no manifest", reactor, nil, "neither a file file.json beside the plugin nor one in it (section chorale:manifest"},
		{"nothing to call", emptyModule, manifest("a"), "exports neither _start"},
		{"no tools", reactor, manifest(), "tools: there are none"},
		{"less memory than it begins with", fixture(t, "program.wasm"), needsMemory, "the limit is 65536"},
		{"export of a reactor", reactor, export, "tools[0].export: is for Extism plugins"},
		{"export that is not there", fixture(t, "extism.wasm"), manifest("nope"), `the module exports no function "nope"`},
		{"reset of a program", fixture(t, "program.wasm"), reset, `instance: "reset" is for reactors`},
		{"newer host", reactor, future, "needs a host of version 0.10.0, this is v0.9.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := plugins.Load(t.Context(), pair(t, c.wasm, c.manifest), plugins.Options{HostVersion: "v0.9.1"})
			if err == nil {
				p.Close()
				t.Fatal("was loaded")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want %q in it", err, c.want)
			}
		})
	}
	var component *plugins.ComponentError
	if _, err := pair(t, []byte("\x00asm\x0d\x00\x01\x00"), nil).Inspect(); !errors.As(err, &component) {
		t.Errorf("inspecting a component: %v", err)
	}
	for _, wasm := range [][]byte{nil, []byte("MZ"), []byte("\x00asm")} {
		if _, err := plugins.NewSource("x", wasm, nil); err == nil {
			t.Errorf("%q is a source", wasm)
		}
	}
}

// The hash is of what Attach makes, wherever the manifest lies.
func TestHash(t *testing.T) {
	t.Parallel()
	wasm, text := fixture(t, "reactor.wasm"), []byte(`{"name": "a", "version": "1.0.0"}`)
	beside, err := plugins.NewSource("a", wasm, text)
	if err != nil {
		t.Fatal(err)
	}
	attached, err := plugins.Attach(wasm, text)
	if err != nil {
		t.Fatal(err)
	}
	within, err := plugins.NewSource("a", attached, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(attached)
	if want := hex.EncodeToString(sum[:]); beside.Hash() != want || within.Hash() != want {
		t.Errorf("beside %s, within %s, want %s", beside.Hash(), within.Hash(), want)
	}
	other, err := plugins.NewSource("a", attached, []byte(`{"name": "a", "version": "1.0.1"}`))
	if err != nil {
		t.Fatal(err)
	}
	if other.Hash() == beside.Hash() || !bytes.Contains(other.Manifest, []byte("1.0.1")) {
		t.Error("a manifest beside the module does not replace the one within")
	}
}

// What was read is what runs, whatever happens to the file between looking at it and loading it.
func TestSwappedFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "p.wasm")
	text, err := json.Marshal(manifest("count"))
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := plugins.Attach(fixture(t, "program.wasm"), text)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, wasm, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := plugins.ReadSource(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fixture(t, "reactor.wasm"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := load(t, s, plugins.Options{})
	if sum := sha256.Sum256(wasm); p.Hash() != hex.EncodeToString(sum[:]) || p.ABI() != plugins.ABICommand {
		t.Errorf("loaded %s %s, want what was read", p.ABI(), p.Hash())
	}
	works(t, p, "count", `{}`, "1")
}

// Calls beyond the limits of concurrency and queue are refused at once, and all others are made.
func TestQueue(t *testing.T) {
	t.Parallel()
	m := manifest("sleep", "count")
	m.Limits = plugins.Limits{Concurrency: 1, Queue: 1, TimeoutMS: 20_000}
	p := load(t, source(t, "program", m), plugins.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	until := func(ok func(plugins.Stats) bool) {
		for !ok(p.Stats()) {
			runtime.Gosched()
		}
	}
	wg.Go(func() { p.Call(ctx, plugins.Call{Tool: "sleep"}) })
	until(func(s plugins.Stats) bool { return s.Running == 1 })
	wg.Go(func() { works(t, p, "count", `{}`, "1") })
	until(func(s plugins.Stats) bool { return s.Waiting == 1 })
	var busy *plugins.BusyError
	if _, err := p.Call(ctx, plugins.Call{Tool: "count"}); !errors.As(err, &busy) || busy.Running != 1 || busy.Queue != 1 {
		t.Errorf("the third call: %v, want a BusyError", err)
	}
	cancel()
	wg.Wait()
	if s := p.Stats(); s.Refused != 1 || s.Running != 0 || s.Waiting != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	p := load(t, source(t, "program", manifest("count")), plugins.Options{})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Call(t.Context(), plugins.Call{Tool: "count"}); !errors.Is(err, plugins.ErrClosed) {
		t.Errorf("call: %v", err)
	}
	if err := p.SetGrant(t.Context(), nil); !errors.Is(err, plugins.ErrClosed) {
		t.Errorf("grant: %v", err)
	}
}

// What is damaged in the cache is made again, and what others could write to is not used.
func TestCache(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	s := source(t, "reactor", manifest("count"))
	works(t, load(t, s, plugins.Options{CacheDir: dir}), "count", `{}`, "101")
	files, err := filepath.Glob(dir + "/instrumented/*")
	if err != nil || len(files) != 1 {
		t.Fatalf("in the cache: %v, %v", files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"empty": nil, "cut off": good[:len(good)/2], "a bit": append(append([]byte{}, good[:1000]...), append([]byte{good[1000] ^ 1}, good[1001:]...)...),
	} {
		if err := os.WriteFile(files[0], damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		works(t, load(t, s, plugins.Options{CacheDir: dir}), "count", `{}`, "101")
		if now, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(now, good) {
			t.Errorf("%s: it was not made again: %v", name, err)
		}
	}
	if err := os.Chmod(dir+"/instrumented", 0o777); err != nil {
		t.Fatal(err)
	}
	if p, err := plugins.Load(t.Context(), s, plugins.Options{CacheDir: dir}); err == nil || !strings.Contains(err.Error(), "only its owner") {
		p.Close()
		t.Errorf("a directory for everybody: %v", err)
	}
}

// Many calls of all kinds at the same time give the right answers and leave nothing behind.
func TestMixed(t *testing.T) {
	calls := 60_000
	if testing.Short() {
		calls = 2_000
	}
	program := manifest("hello", "count", "bad", "crash", "files")
	reset := manifest("echo", "count", "grow", "fail", "exit")
	reset.Instance, reset.Tools[0].Kind = plugins.InstanceReset, plugins.OutputJSON
	p := load(t, source(t, "program", program), plugins.Options{})
	r := load(t, source(t, "reactor", reset), plugins.Options{})
	x := load(t, source(t, "extism", manifest("echo", "count", "fail")), plugins.Options{})
	mix := []func(i int) string{
		func(i int) string {
			name := fmt.Sprint("Ada ", i)
			return is(p, "hello", fmt.Sprintf(`{"name":%q}`, name), fmt.Sprintf(`{"greeting":"Hello, %s"}`, name))
		},
		func(int) string { return is(p, "count", `{}`, "1") },
		func(int) string { return is(p, "bad", `{}`, "!The arguments are wrong.\nno such city") },
		func(int) string { return is(p, "files", `{}`, "wrote\n") },
		func(i int) string {
			text := fmt.Sprintf(`{"i":%d,"text":%q}`, i, strings.Repeat("x", i%3000))
			return is(r, "echo", text, text)
		},
		func(int) string { return is(r, "count", `{}`, "101") },
		func(int) string { return is(r, "fail", `{}`, "!on fire") },
		func(i int) string {
			switch i % 20 {
			case 0:
				return is(r, "grow", `{}`, "grown")
			case 1:
				return is(r, "exit", `{}`, "!It ended itself with code 7.")
			case 2:
				return is(p, "crash", `{}`, "!It crashed: unreachable.")
			}
			return is(x, "count", `{}`, "1")
		},
		func(i int) string { return is(x, "echo", fmt.Sprintf(`{"i":%d}`, i), fmt.Sprintf(`{"i":%d}`, i)) },
	}
	settled := func() (goroutines int, heap uint64) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	for i := range 200 {
		mix[i%len(mix)](i)
	}
	goroutines, heap := settled()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= calls; i = int(next.Add(1)) {
				if wrong := mix[i%len(mix)](i); wrong != "" {
					t.Error(wrong)
				}
			}
		})
	}
	wg.Wait()
	after, used := settled()
	t.Logf("%d calls; goroutines %d, then %d; heap %d KB, then %d KB; %+v", calls, goroutines, after, heap>>10, used>>10, p.Stats())
	if after > goroutines || used > heap+8<<20 {
		t.Errorf("something is left: goroutines %d, then %d; heap %d, then %d", goroutines, after, heap, used)
	}
}

// is says what is wrong with a result; one that begins with "!" is a failure.
func is(p *plugins.Plugin, tool, input, want string) string {
	r, err := p.Call(context.Background(), plugins.Call{Tool: tool, Input: json.RawMessage(input)})
	text, failure := strings.CutPrefix(want, "!")
	if err != nil || r.Text != text || r.Failed != failure {
		return fmt.Sprintf("%s: got %q (failed: %t), %v, want %q", tool, r.Text, r.Failed, err, want)
	}
	return ""
}
