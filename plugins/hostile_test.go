package plugins_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"chorale/plugins"
)

// A manifest is the author's word. Where the module cannot do what it says, loading or the call fails with a sentence.
func TestLyingManifest(t *testing.T) {
	t.Parallel()
	// What the module is decides, not what the manifest would need: see TestLoadErrors for the ways that are refused at once.
	program := load(t, source(t, "program", manifest("echo", "fly")), plugins.Options{})
	if r := call(t, program, "fly", `{}`); !r.Failed || !r.BadArguments || !strings.Contains(r.Text, "no tool fly") {
		t.Errorf("a tool that the program does not have: %+v", r)
	}
	works(t, program, "echo", `{"a":1}`, `{"a":1}`)

	// hyper-mcp's plugins list their tools. A manifest that has others does not make them.
	m := manifest("fly")
	m.Tools[0].Export = "describe"
	if p, err := plugins.Load(t.Context(), source(t, "extism", m), plugins.Options{}); err == nil {
		p.Close()
		t.Error("an export that is not there is taken")
	}

	// It asks for much and has little: the ceilings hold, and what is not granted is not there.
	m = manifest("self", "http", "show")
	m.Limits = plugins.Limits{MemoryBytes: 1 << 40, TimeoutMS: 1 << 40, OutputBytes: 1 << 40, LogBytes: 1 << 40, FileBytes: 1 << 40, HTTPRequests: 1 << 40, HTTPBytes: 1 << 40, Concurrency: 1 << 40, Queue: 1 << 40}
	m.Permissions.Net = []plugins.NetPermission{{URL: "https://*", Methods: []string{"GET"}, Reason: "everything"}}
	m.Permissions.Env = []plugins.EnvPermission{{Name: "PATH", Reason: "curious"}}
	m.Permissions.FS = []plugins.FSPermission{{Path: "/etc", Access: "write", Reason: "curious"}}
	greedy := load(t, source(t, "program", m), plugins.Options{})
	if got, most := greedy.Effective().Limits, plugins.DefaultCeilings(); got != most {
		t.Errorf("limits %+v, ceilings %+v", got, most)
	}
	works(t, greedy, "self", `{}`, "2 p self")
	if r := call(t, greedy, "http", `{"url":"https://example.com/"}`); !strings.Contains(r.Text, `"code":"denied"`) {
		t.Errorf("a request that was not granted: %+v", r)
	}
	if r := call(t, greedy, "show", `{"path":"/etc/passwd"}`); !r.Failed {
		t.Errorf("a directory that was not granted: %+v", r)
	}
}

// wasmModule is the smallest module that imports one function without parameters and exports _start.
func wasmModule(module, name string) []byte {
	b := []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00")
	section := func(id byte, body ...byte) { b = append(append(b, id, byte(len(body))), body...) }
	imported := append([]byte{1, byte(len(module))}, module...)
	imported = append(append(append(imported, byte(len(name))), name...), 0, 0)
	section(2, imported...)
	section(3, 1, 0)
	section(5, 1, 0, 1)
	section(7, append([]byte{2, 6}, "_start\x00\x01\x06memory\x02\x00"...)...)
	section(10, 1, 2, 0, 0x0b)
	return b
}

// A module that needs functions which are not there is refused before it runs, with their names.
func TestForeignImports(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ module, name string }{
		{"env", "system"}, {"wasi_snapshot_preview1", "sock_connect"}, {"wasi_unstable", "fd_write"}, {"extism:host/env", "exec"}, {"extism:host/user", "get_keyring_secret"},
	} {
		p, err := plugins.Load(t.Context(), pair(t, wasmModule(c.module, c.name), manifest("a")), plugins.Options{})
		if err == nil {
			p.Close()
			t.Errorf("%s.%s: was loaded", c.module, c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.name) && !strings.Contains(err.Error(), c.module) {
			t.Errorf("%s.%s: %v does not name it", c.module, c.name, err)
		}
	}
}

// A guest that talks without end fills nobody's memory and is heard only so often.
func TestTalkative(t *testing.T) {
	t.Parallel()
	p := loadScript(t, "s.js", `export default () => {
		for (let i = 0; i < 20000; i++) { chorale.progress("step " + i, i / 20000); chorale.log("line " + i); console.log("said " + i) }
		return "done"
	}`)
	var messages atomic.Int64
	r, err := p.Call(t.Context(), plugins.Call{Tool: "do", Progress: func(string, float64) { messages.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	if n := messages.Load(); n == 0 || n > 1000 {
		t.Errorf("%d messages of progress came through, want 1 to 1000", n)
	}
	if most := int(p.Effective().Limits.LogBytes); len(r.Log) == 0 || len(r.Log) > most {
		t.Errorf("the log has %d bytes, the limit is %d", len(r.Log), most)
	}
	works(t, p, "do", `{}`, "done")
}

// What a call leaves behind is gone: nobody finds the state of another.
func TestForkedState(t *testing.T) {
	t.Parallel()
	p := loadScript(t, "s.js", `
		globalThis.calls = (globalThis.calls ?? 0) + 1; Object.prototype.stained = (Object.prototype.stained ?? "") + "x"
		export default ({who}) => {
			let found = ""; try { found = chorale.readText("/tmp/trace") } catch {}
			chorale.writeFile("/tmp/trace", who); setTimeout(() => { globalThis.calls = 99 }, 1e6)
			return [globalThis.calls, ({}).stained, found].join(" ")
		}`)
	errs := make(chan error)
	const callers = 8
	for i := range callers {
		go func() {
			for range 10 {
				r, err := p.Call(t.Context(), plugins.Call{Tool: "do", Input: fmt.Appendf(nil, `{"who":"caller %d"}`, i)})
				if err != nil || r.Text != "1 x " {
					errs <- fmt.Errorf("caller %d: %+v, %v", i, r, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
