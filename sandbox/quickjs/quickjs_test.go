package quickjs_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/sandbox"
	"chorale/sandbox/quickjs"
)

// engine is shared: compiling it takes a second.
var engine = sync.OnceValues(func() (*quickjs.Engine, error) {
	return quickjs.Open(context.Background(), quickjs.Options{})
})

func compile(t testing.TB, source string) *quickjs.Script {
	t.Helper()
	e, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Compile(t.Context(), "tool.js", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A run is what a script did.
type run struct {
	code        uint32
	out, log    string
	err         error
	tmp         *sandbox.Mem
	memoryBytes int64
}

func (r *run) do(t testing.TB, s *quickjs.Script, tool, args string) {
	t.Helper()
	var out, log bytes.Buffer
	r.tmp = sandbox.NewMem(0, 0)
	r.code, _, r.err = s.Run(t.Context(), sandbox.Config{
		Limits: sandbox.Limits{Memory: max(r.memoryBytes, 16<<20), Wall: 30 * time.Second},
		Args:   []string{"tool", tool}, Stdin: strings.NewReader(args), Stdout: &out, Stderr: &log,
		Mounts: []sandbox.Mount{{Path: "/tmp", FS: r.tmp}},
	})
	r.out, r.log = out.String(), log.String()
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, script, tool, args string
		code                     uint32
		out, log                 string // log: contained
	}{
		{"a string", `export function greet({name}) { return "Hello, " + name }`, "greet", `{"name":"Ada"}`, 0, "Hello, Ada", ""},
		{"an object", `export const sum = ({list}) => ({sum: list.reduce((a, b) => a + b)})`, "sum", `{"list":[1,2]}`, 0, `{"sum":3}`, ""},
		{"null", `export const f = () => null`, "f", `{}`, 0, "null", ""},
		{"default", `export default (args, {tool}) => tool`, "anything", `{}`, 0, "anything", ""},
		{"async", `export async function f() { await new Promise(r => setTimeout(r, 5)); return "late" }`, "f", `{}`, 0, "late", ""},
		{"top-level await", `const x = await Promise.resolve(7); export const f = () => x`, "f", `{}`, 0, "7", ""},
		{"console", `console.log("a", {b: 1}, [2n], new Map([[1, 2]])); export const f = () => "r"`, "f", `{}`, 0, "r", "a {\"b\":1} [\"2n\"] [[1,2]]\n"},
		{"no export", `export const g = 1`, "f", `{}`, 1, "", "the script exports no function f"},
		{"no result", `export function f() {}`, "f", `{}`, 1, "", "f returned undefined"},
		{"bad arguments", `export function f() { throw new BadArguments("x must be positive") }`, "f", `{}`, 2, "", "x must be positive\n"},
		{"an error", "export function f() {\n  return g();\n}\nconst g = () => null.x;", "f", `{}`, 1, "", "tool.js:4:"},
		{"rejected", `export const f = async () => { await 0; throw new Error("late", {cause: new Error("deep")}) }`, "f", `{}`, 1, "", "caused by Error: deep"},
		{"no error object", `export const f = () => { throw {code: 7} }`, "f", `{}`, 1, "", `thrown: {"code":7}`},
		{"no end of waiting", `export const f = () => new Promise(() => {})`, "f", `{}`, 1, "", "a promise that nothing will settle"},
		{"top level throws", `throw new Error("early")`, "f", `{}`, 1, "", "Error: early"},
		{"recursion", `export const f = (n) => f(n)`, "f", `{}`, 1, "", "Maximum call stack size exceeded"},
		{"recursion in native code", `export const f = () => { return JSON.parse("[".repeat(1e6)).length }`, "f", `{}`, 1, "", "Maximum call stack size exceeded"},
		{"an import", `export const f = async () => (await import("./other.js")).x`, "f", `{}`, 1, "", "other.js"},
		{"files", `export const f = () => { chorale.writeFile("/tmp/a", new Uint8Array([104, 105])); return chorale.readText("/tmp/a") + chorale.readDir("/tmp") }`, "f", `{}`, 0, "hia", ""},
		{"a missing file", `export const f = () => chorale.readText("/tmp/none")`, "f", `{}`, 1, "", "/tmp/none: No such file"},
		{"a missing setting", `export const f = () => String(chorale.config("x"))`, "f", `{}`, 0, "null", ""},
		{"text", `export const f = () => new TextDecoder().decode(new TextEncoder().encode("é€😀")) + atob(btoa("x"))`, "f", `{}`, 0, "é€😀x", ""},
		{"interval", `export const f = () => new Promise(r => { let n = 0; const t = setInterval(() => { if (++n == 3) { clearInterval(t); r("three") } }, 1) })`, "f", `{}`, 0, "three", ""},
		{"random", `export const f = () => /^[0-9a-f]{8}-[0-9a-f]{4}-4/.test(crypto.randomUUID()) && Math.random() < 1 ? "ok" : "no"`, "f", `{}`, 0, "ok", ""},
		{"the year", `export const f = () => new Date().getFullYear() > 2025 ? "ok" : "no"`, "f", `{}`, 0, "ok", ""},
		{"memory", `export const f = () => { const a = []; for (;;) a.push(new Uint8Array(1e6)) }`, "f", `{}`, 1, "", "out of memory"},
		{"memory of strings", `export const f = () => { let a = "x"; for (;;) a += a + 1 }`, "f", `{}`, 1, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var r run
			r.do(t, compile(t, test.script), test.tool, test.args)
			if r.err != nil || r.code != test.code || r.out != test.out || !strings.Contains(r.log, test.log) {
				t.Errorf("code %d, output %q, log %q, error %v", r.code, r.out, r.log, r.err)
			}
			if strings.Contains(r.log, "prelude") {
				t.Errorf("the log shows places that are not the script's: %q", r.log)
			}
		})
	}
}

// TestRunsShareNothing: what one run leaves is not there in the next, nor are its random numbers.
func TestRunsShareNothing(t *testing.T) {
	t.Parallel()
	s := compile(t, `let n = 0; globalThis.m ??= 0; export const f = () => [++n, ++globalThis.m, Math.random()].join(" ")`)
	seen := map[string]bool{}
	for range 20 {
		var r run
		r.do(t, s, "f", `{}`)
		if !strings.HasPrefix(r.out, "1 1 0.") || seen[r.out] {
			t.Errorf("got %q after %v", r.out, seen)
		}
		seen[r.out] = true
	}
}

func TestEndlessLoopIsStopped(t *testing.T) {
	t.Parallel()
	for _, script := range []string{`export const f = () => { for (;;); }`, `for (;;) await 0`, `export const f = () => new Promise(r => setTimeout(r, 1e8))`,
		`export const f = () => { for (;;) try { for (;;); } catch {} }`, `export const f = () => /(a+)+$/.test("a".repeat(99) + "b")`} {
		var r run
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, _, err := compile(t, script).Run(ctx, sandbox.Config{Args: []string{"tool", "f"}, Stdin: strings.NewReader("{}")})
		cancel()
		var stop *sandbox.StopError
		if !errors.As(err, &stop) {
			t.Errorf("%s: %v, %+v", script, err, r)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	e, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, script, want string }{
		{"a word", "export const a = 1;\nexport const b = = 2;\n", "tool.js:2:"},
		{"not closed", "export function f() {", "tool.js:1:"},
		{"no UTF-8", "export const a = '\xff\xfe", "tool.js:1:"},
		{"a name twice", "let a = 1;\nlet a = 2;", "tool.js:2:"},
	} {
		_, err := e.Compile(t.Context(), "tool.js", []byte(test.script))
		var syntax *quickjs.SyntaxError
		if !errors.As(err, &syntax) || !strings.HasPrefix(syntax.Text, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	s := compile(b, `export function greet({name}) { return "Hello, " + name }`)
	var r run
	for b.Loop() {
		r.do(b, s, "greet", `{"name":"Ada"}`)
	}
	if r.out != "Hello, Ada" {
		b.Fatal(r)
	}
}

// A loop of arithmetic, to compare with other engines: a hundred thousand rounds.
func BenchmarkLoop(b *testing.B) {
	s := compile(b, `export function f() { let n = 0; for (let i = 0; i < 100000; i++) n = (n * 31 + i) % 1000003; return n }`)
	var r run
	for b.Loop() {
		r.do(b, s, "f", `{}`)
	}
	if r.code != 0 {
		b.Fatal(r)
	}
}

// Opening an engine whose native code is in the cache, as a restart does.
func BenchmarkOpenCached(b *testing.B) {
	o := quickjs.Options{CacheDir: b.TempDir() + "/cache"}
	for b.Loop() {
		e, err := quickjs.Open(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		e.Close()
	}
}
