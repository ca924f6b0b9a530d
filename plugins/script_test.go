package plugins_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/plugins"
	"chorale/plugins/host"
	"chorale/sandbox/python"
	"chorale/sandbox/quickjs"
)

// started are the real interpreters; nobody closes them. Python boots in seconds where the cache does not have its image.
var started = sync.OnceValues(func() (map[string]plugins.Interpreter, error) {
	engine, err := quickjs.Open(context.Background(), quickjs.Options{})
	if err != nil {
		return nil, err
	}
	o := python.BootOptions{}
	if dir, err := os.UserCacheDir(); err == nil {
		o.CacheDir = filepath.Join(dir, "chorale", "python-test")
	}
	image, err := python.Boot(context.Background(), o)
	if err != nil {
		return nil, err
	}
	pool, err := python.NewPool(image, python.PoolOptions{})
	if err != nil {
		return nil, err
	}
	return map[string]plugins.Interpreter{
		plugins.EndingJavaScript: func(ctx context.Context, file string, source []byte) (plugins.Script, error) {
			return engine.Compile(ctx, file, source)
		},
		plugins.EndingPython: func(ctx context.Context, file string, source []byte) (plugins.Script, error) {
			return pool.Compile(ctx, file, source)
		},
	}, nil
})

func interpreters(t testing.TB) map[string]plugins.Interpreter {
	t.Helper()
	all, err := started()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// scriptManifest has a tool "do" that takes anything.
const scriptManifest = `{"name": "s", "version": "1.0.0", "limits": {"timeout_ms": 20000, "output_bytes": 1000, "file_bytes": 100000, "memory_bytes": 16777216},
	"permissions": {"kv": {"bytes": 1000, "reason": "counts"}, "net": [{"url": "https://api.example.com", "reason": "asks"}]},
	"tools": [{"name": "do", "input_schema": {"type": "object"}}]}`

// loadScript loads a script with what its manifest asks for.
func loadScript(t testing.TB, file, script string) *plugins.Plugin {
	t.Helper()
	return loadLimited(t, file, script, plugins.Limits{})
}

func loadLimited(t testing.TB, file, script string, l plugins.Limits) *plugins.Plugin {
	t.Helper()
	s, err := plugins.NewScript(file, []byte(script), []byte(scriptManifest))
	if err != nil {
		t.Fatal(err)
	}
	return load(t, s, plugins.Options{Interpreters: interpreters(t),
		Grant: &plugins.Grant{SHA256: s.Hash(), KVBytes: 1000, Limits: l}})
}

// A script in either language, and what must come of it.
type scriptCase struct {
	name, py, js  string
	failed, wrong bool
	text          string // of a success exact, of a failure contained; "PY|JS" where they differ
}

func TestScripts(t *testing.T) {
	t.Parallel()
	for _, c := range []scriptCase{
		{name: "arguments and tool", text: "do 7",
			py: "import sys, json\nprint(sys.argv[1], json.load(sys.stdin)['x'], end='')",
			js: `export default ({x}, {tool}) => tool + " " + x`},
		{name: "log is no result", text: "r",
			py: "import sys\nprint('noise', file=sys.stderr)\nprint('r', end='')",
			js: `console.log("noise"); export default () => "r"`},
		{name: "bad arguments", failed: true, wrong: true, text: "x must be small",
			py: "import sys\nprint('x must be small', file=sys.stderr)\nsys.exit(2)",
			js: `export default () => { throw new BadArguments("x must be small") }`},
		{name: "an exception names the line", failed: true, text: `s.py", line 3|s.js:3:`,
			py: "\n\nraise ValueError('no')", js: "export default () => {\n\n  throw new Error('no')\n}"},
		{name: "files of the request", text: "given",
			py: "print(open('/in/a/b.txt').read(), end='')", js: `export default () => chorale.readText("/in/a/b.txt")`},
		{name: "which are not to be changed", failed: true, text: "Read-only file system",
			py: "open('/in/a/b.txt', 'w')", js: `export default () => chorale.writeFile("/in/a/b.txt", "x")`},
		{name: "a denied request", failed: true, text: "is denied",
			py: "import json\nf = open('/host/http', 'r+b', buffering=0)\nf.write(b'{\"url\": \"https://api.example.com/x\"}')\nraise SystemExit(json.loads(f.read())['error']['message'])",
			js: `export default async () => (await fetch("https://api.example.com/x")).text()`},
		{name: "values", text: "[1, null]|[1,null]",
			py: "import json\nopen('/host/kv/a', 'w').write('1')\nprint(json.dumps([json.load(open('/host/kv/a')), None]), end='')",
			js: `export default () => { chorale.kv.set("a", 1); const r = [chorale.kv.get("a"), chorale.kv.get("b")]; chorale.kv.delete("a"); return r }`},
		{name: "too much output", failed: true, text: "more than 1000 bytes", py: "print('x' * 5000)", js: `export default () => "x".repeat(5000)`},
		{name: "too much memory", failed: true, text: "MemoryError|out of memory",
			py: "x = bytearray(64 << 20)", js: `export default () => { const a = []; for (;;) a.push(new Uint8Array(1e6)) }`},
		{name: "recursion", failed: true, text: "RecursionError|Maximum call stack size exceeded", py: "def f(): f()\nf()", js: `export default function f() { f() }`},
		{name: "too many files", failed: true, text: "No space left|No space left",
			py: "open('/out/a', 'wb').write(bytes(1 << 20))", js: `export default () => chorale.writeFile("/out/a", new Uint8Array(1 << 20))`},
	} {
		for _, language := range []struct{ file, script string }{{"s.py", c.py}, {"s.js", c.js}} {
			t.Run(c.name+"/"+language.file, func(t *testing.T) {
				t.Parallel()
				py, js, differ := strings.Cut(c.text, "|")
				want := py
				if differ && language.file == "s.js" {
					want = js
				}
				r, err := loadScript(t, language.file, language.script).Call(t.Context(), plugins.Call{
					Tool: "do", Input: []byte(`{"x": 7}`), Files: []plugins.File{{Path: "a/b.txt", Data: []byte("given")}}})
				if err != nil {
					t.Fatal(err)
				}
				if r.Failed != c.failed || r.BadArguments != c.wrong || !c.failed && r.Text != want || !strings.Contains(r.Text, want) {
					t.Errorf("%+v; want %q", r, want)
				}
			})
		}
	}
}

// TestEndlessScripts: they end by their time.
func TestEndlessScripts(t *testing.T) {
	t.Parallel()
	for file, script := range map[string]string{
		"s.py": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
		"s.js": `for (;;) try { for (;;); } catch {}`,
	} {
		r := call(t, loadLimited(t, file, script, plugins.Limits{TimeoutMS: 100}), "do", `{}`)
		if !r.Failed || !strings.Contains(r.Text, "longer than 100 ms") {
			t.Errorf("%s: %+v", file, r)
		}
	}
}

// TestScriptFiles: what a script writes to /out comes back, whatever the language.
func TestScriptFiles(t *testing.T) {
	t.Parallel()
	for file, script := range map[string]string{
		"s.py": "import os\nos.makedirs('/out/d')\nopen('/out/d/a.csv', 'w').write('1,2')",
		"s.js": `export default () => { chorale.writeFile("/out/a.csv", "1,2"); return "" }`,
	} {
		r := call(t, loadScript(t, file, script), "do", `{}`)
		if r.Failed || len(r.Files) != 1 || string(r.Files[0].Data) != "1,2" || !strings.HasPrefix(r.Files[0].MIME, "text/") {
			t.Errorf("%s: %+v", file, r)
		}
	}
}

func TestScriptsThatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, file, script, want string }{
		{"Python", "s.py", "x = 1\ny = = 2", "s.py:2:5: SyntaxError"},
		{"JavaScript", "s.js", "const x = 1;\nconst y = = 2;", "s.js:2:"},
	} {
		s, err := plugins.NewScript(c.file, []byte(c.script), []byte(scriptManifest))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plugins.Load(t.Context(), s, plugins.Options{Interpreters: interpreters(t)}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := plugins.Load(t.Context(), s, plugins.Options{}); err == nil || !strings.Contains(err.Error(), "no interpreter for scripts that end in "+filepath.Ext(c.file)) {
			t.Errorf("%s without an interpreter: %v", c.name, err)
		}
	}
	if _, err := plugins.NewScript("s.rb", nil, nil); err == nil || !strings.Contains(err.Error(), ".py or .js") {
		t.Errorf("another language: %v", err)
	}
	if _, err := plugins.NewScript("s.py", make([]byte, 5<<20), nil); err == nil || !strings.Contains(err.Error(), "at most 4194304") {
		t.Errorf("a long one: %v", err)
	}
}

func TestManifestInAScript(t *testing.T) {
	t.Parallel()
	const body = `{"name": "s", "version": "1.0.0", "tools": [{"name": "do"}]}`
	for _, c := range []struct{ name, file, script, manifest, wrong string }{
		{"in one line", "s.py", "# /// chorale\n# " + body + "\n# ///\nprint(1)", body, ""},
		{"in several, with an empty one", "s.js", "#!/usr/bin/env x\n// /// chorale\n// {\n//\n//  }\n// ///\r\n", "{\n\n  }", ""},
		{"none", "s.py", "print('# /// chorale')\n", "", ""},
		{"of another tool", "s.py", "# /// script\n# dependencies = []\n# ///\n", "", ""},
		{"the comment of another language", "s.py", "// /// chorale\n// {}\n// ///\n", "", ""},
		{"not closed", "s.py", "x\n# /// chorale\n# {\nprint()", "", "line 4: the manifest that begins in line 2 is not closed"},
		{"not closed at the end", "s.py", "# /// chorale\n# {", "", "begins in line 1 is not closed"},
		{"two", "s.py", "# /// chorale\n# {}\n# ///\n# /// chorale\n# {}\n# ///\n", "", "line 4: there are two"},
	} {
		s, err := plugins.NewScript(c.file, []byte(c.script), nil)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil || string(s.Manifest) != c.manifest || (s.Manifest == nil) != (c.manifest == "") {
			t.Errorf("%s: manifest %q, %v", c.name, s.Manifest, err)
		}
	}
}

// TestScriptAsModule: attaching the manifest gives a module with the same hash, that is the same plugin.
func TestScriptAsModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := "// /// chorale\n// " + `{"name": "s", "version": "1.0.0", "tools": [{"name": "do"}]}` + "\n// ///\nexport const do_ = 1; export default () => 'done'\n"
	if err := os.WriteFile(dir+"/s.js", []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := plugins.ReadSource(dir + "/s.js")
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := plugins.Attach(s.Wasm, s.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := plugins.NewSource("s", wasm, nil)
	if err != nil || whole.Hash() != s.Hash() {
		t.Fatalf("hashes %s and %s, %v", whole.Hash(), s.Hash(), err)
	}
	if i, err := whole.Inspect(); err != nil || i.ABI != plugins.ABIScript {
		t.Errorf("%+v, %v", i, err)
	}
	works(t, load(t, whole, plugins.Options{Interpreters: interpreters(t)}), "do", `{}`, "done")
}

// TestScriptsInAFolder: they come, change and go like modules, and a broken one leaves the last good version.
func TestScriptsInAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(version, body string) {
		t.Helper()
		text := "# /// chorale\n# " + `{"name": "s", "version": "` + version + `", "tools": [{"name": "do"}]}` + "\n# ///\n" + body
		long := time.Now().Add(-time.Hour).Add(time.Duration(sha256.Sum256([]byte(text))[0]) * time.Second)
		if err := errors.Join(os.WriteFile(dir+"/new", []byte(text), 0o644), os.Chtimes(dir+"/new", long, long), os.Rename(dir+"/new", dir+"/s.py")); err != nil {
			t.Fatal(err)
		}
	}
	write("1.0.0", "print('one')")
	r, err := plugins.NewRegistry(plugins.RegistryOptions{Dir: dir, Every: 5 * time.Millisecond, Plugin: plugins.Options{Interpreters: interpreters(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	until := func(what string, ok func([]plugins.Status) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for {
			_, next := r.Changes()
			if ok(r.Plugins()) {
				return
			}
			select {
			case <-next:
			case <-ctx.Done():
				t.Fatalf("%s: there is %+v", what, r.Plugins())
			}
		}
	}
	says := func(want string) func([]plugins.Status) bool {
		return func([]plugins.Status) bool {
			result, err := r.Call(t.Context(), "s", plugins.Call{Tool: "do"})
			return err == nil && result.Text == want+"\n"
		}
	}
	until("the first", says("one"))
	write("2.0.0", "print('two')")
	until("the second", says("two"))
	write("3.0.0", "print('three'")
	until("a broken one", func(list []plugins.Status) bool {
		return len(list) == 2 && list[1].State == plugins.StateFailed && strings.Contains(list[1].Error, "s.py:4:")
	})
	until("the last good one", says("two"))
	if err := os.Remove(dir + "/s.py"); err != nil {
		t.Fatal(err)
	}
	until("none", func(list []plugins.Status) bool { return len(list) == 0 })
}

// TestFilesOfACall: what a call brings is in /in, within limits.
func TestFilesOfACall(t *testing.T) {
	t.Parallel()
	m := manifest("show")
	m.Limits.FileBytes = 1000
	p := load(t, source(t, "program", m), plugins.Options{})
	for _, c := range []struct {
		name   string
		files  []plugins.File
		text   string // contained
		failed bool
		err    string
	}{
		{"one", []plugins.File{{Path: "a", Data: []byte("given")}}, "given", false, ""},
		{"none", nil, "No such file", true, ""},
		{"too large", []plugins.File{{Path: "a", Data: make([]byte, 1000)}}, "limit file_bytes", true, ""},
		{"too many", []plugins.File{{Path: "a"}, {Path: "b"}, {Path: "c"}, {Path: "d"}}, "limit file_bytes", true, ""},
		{"outside", []plugins.File{{Path: "../a"}}, "", false, "must be relative and clean"},
		{"absolute", []plugins.File{{Path: "/in/a"}}, "", false, "must be relative and clean"},
	} {
		r, err := p.Call(t.Context(), plugins.Call{Tool: "show", Input: []byte(`{"path":"/in/a"}`), Files: c.files})
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) || r.Failed != c.failed || !strings.Contains(r.Text, c.text) {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
}

// scriptTape has two requests with headers as the script sends them.
const scriptTape = `{"version": 1, "kv": {}, "http": [
	{"request": {"method": "GET", "url": "https://api.example.com/a", "headers": {"accept": "text/plain"}},
	 "answer": {"status": 200, "url": "https://api.example.com/a", "headers": {"content-type": "text/plain"}, "body": "A"}},
	{"request": {"method": "GET", "url": "https://api.example.com/b", "headers": {"accept": "text/plain"}},
	 "answer": {"status": 404, "url": "https://api.example.com/b", "headers": {"content-type": "text/plain"}, "body_base64": "w6kA"}}]}`

// TestScriptServices: requests at the same time, from a tape, and progress, as JavaScript has them.
func TestScriptServices(t *testing.T) {
	t.Parallel()
	p := loadScript(t, "s.js", `export default async () => {
		chorale.progress("asking", 0.5);
		chorale.log("asks twice");
		const get = async (url) => { const r = await fetch(url, {headers: {Accept: "text/plain"}}); return [r.status, r.ok, r.headers.get("Content-Type"), await r.text()] };
		const late = new Promise((resolve) => setTimeout(resolve, 1, "late"));
		return await Promise.all([get("https://api.example.com/a"), get(new String("https://api.example.com/b")), late]);
	}`)
	tape, err := host.ReadTape(strings.NewReader(scriptTape))
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	r, err := p.Call(t.Context(), plugins.Call{Tool: "do", Replay: tape,
		Progress: func(message string, fraction float64) { said = append(said, fmt.Sprint(message, fraction)) }})
	if err != nil || r.Failed || r.Text != `[[200,true,"text/plain","A"],[404,false,"text/plain","é\u0000"],"late"]` {
		t.Errorf("%+v, %v", r, err)
	}
	if len(said) != 1 || said[0] != "asking0.5" || !strings.Contains(r.Log, "asks twice") {
		t.Errorf("progress %v, log %q", said, r.Log)
	}
}

// TestManyScripts: what runs at the same time does not mix.
func TestManyScripts(t *testing.T) {
	t.Parallel()
	for file, script := range map[string]string{
		"s.py": "import sys, json\nx = json.load(sys.stdin)['x']\nopen('/tmp/x', 'a').write(str(x))\nprint(open('/tmp/x').read(), end='')",
		"s.js": "let n = 0; export default ({x}) => { n += x; chorale.writeFile('/tmp/x', n); return chorale.readText('/tmp/x') }",
	} {
		p := loadScript(t, file, script)
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				for i := range 40 {
					x := 1000*g + i
					r, err := p.Call(t.Context(), plugins.Call{Tool: "do", Input: fmt.Appendf(nil, `{"x": %d}`, x)})
					if err != nil || r.Text != fmt.Sprint(x) {
						t.Errorf("%s: %d gives %+v, %v", file, x, r, err)
						return
					}
				}
			})
		}
		all.Wait()
	}
}

// What is between the lines of a manifest in a script comes out, and nothing makes reading panic.
func FuzzScript(f *testing.F) {
	f.Add("# /// chorale\n# {}\n# ///\n")
	f.Add("#!/bin/x\r\n# /// chorale\r\n#\r\n# ///")
	f.Fuzz(func(t *testing.T, script string) {
		s, err := plugins.NewScript("s.py", []byte(script), nil)
		if err == nil && s.Manifest != nil && !strings.Contains(script, "# /// chorale") {
			t.Errorf("manifest %q of %q", s.Manifest, script)
		}
		if err == nil {
			if i, err := s.Inspect(); err != nil || i.ABI != plugins.ABIScript {
				t.Errorf("%+v, %v", i, err)
			}
		}
	})
}

// A call of a script.
func BenchmarkScript(b *testing.B) {
	for file, script := range map[string]string{
		"s.py": "import sys, json\nprint('Hello, ' + json.load(sys.stdin)['name'])",
		"s.js": "export default ({name}) => `Hello, ${name}`",
	} {
		b.Run(file, func(b *testing.B) {
			p := loadScript(b, file, script)
			median(b, func() { call(b, p, "do", `{"name":"Ada"}`) })
		})
	}
}
