package plugins_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chorale/plugins"
)

func TestExtism(t *testing.T) {
	t.Parallel()
	m := manifest("echo", "count", "fail", "config", "vars", "outside", "hoard", "spin", "named")
	m.Tools[8].Export = "config"
	m.Limits.MemoryBytes = 16 << 20
	m.Config = json.RawMessage(`{"type": "object", "properties": {"units": {"type": "string"}}}`)
	s := source(t, "extism", m)
	p := load(t, s, plugins.Options{Grant: &plugins.Grant{SHA256: s.Hash(), Config: json.RawMessage(`{"units": "metric"}`)}})
	if p.ABI() != plugins.ABIExtism {
		t.Errorf("the ABI is %s", p.ABI())
	}
	input := `{"text":"` + strings.Repeat("ü and more. ", 100) + `"}`
	works(t, p, "echo", input, input)
	for range 3 {
		works(t, p, "count", `{}`, "1")
	}
	works(t, p, "config", `{}`, "metric")
	works(t, p, "named", `{}`, "metric")
	works(t, p, "vars", `{}`, "value")
	works(t, p, "vars", `{}`, "value")
	works(t, p, "hoard", `{}`, "bounded")
	fails(t, p, "fail", `{}`, "on fire", "info: about to fail")
	fails(t, p, "outside", `{}`, "outside of the blocks")
	works(t, p, "count", `{}`, "1")

	short := manifest("spin")
	short.Limits.TimeoutMS = 100
	fails(t, load(t, source(t, "extism", short), plugins.Options{}), "spin", `{}`, "limit timeout_ms")
}

// Plugins of hyper-mcp, older and newer, say themselves which tools they have.
func TestHyper(t *testing.T) {
	t.Parallel()
	for module, want := range map[string]string{
		"hyper1": `{'params':{'name':'say','arguments':{"what":"hi"}}}`,
		"hyper2": `{'request':{'name':'say','arguments':{"what":"hi"}},'context':{'id':1,'_meta':{}}}`,
	} {
		t.Run(module, func(t *testing.T) {
			t.Parallel()
			p := load(t, source(t, module, nil), plugins.Options{})
			m := p.Manifest()
			if m.Name != "file" || len(m.Tools) != 1 || m.Tools[0].Description != "Says it." || m.Tools[0].Kind != plugins.OutputMCP {
				t.Errorf("manifest: %+v", m)
			}
			works(t, p, "say", `{"what":"hi"}`, strings.ReplaceAll(want, `"`, `'`))
			if r := call(t, p, "say", `{}`); !r.BadArguments {
				t.Errorf("without the argument: %+v", r)
			}

			// A manifest may give it a name and ask for more.
			named := load(t, source(t, module, &plugins.Manifest{Name: "talk", Version: "2.0.0"}), plugins.Options{})
			if m := named.Manifest(); m.Name != "talk" || m.Version != "2.0.0" || len(m.Tools) != 1 {
				t.Errorf("manifest: %+v", m)
			}
		})
	}
	p := load(t, source(t, "hyper2", nil), plugins.Options{})
	fails(t, p, "say", `{"what":"`+strings.Repeat("x", 200)+`"}`, "create_message is not offered here")
}

// extismModules is where the prebuilt modules of Extism's own tests are, if the machine has them.
func extismModules(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "github.com", "extism", "go-sdk@v1.7.1", "wasm")
	if _, err := os.Stat(dir); err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "extism") {
			t.Fatal(err)
		}
		t.Skip("needs the modules of Extism's tests: go mod download github.com/extism/go-sdk@v1.7.1")
	}
	return dir
}

// Modules that others built with Extism's kits run as they are.
func TestExtismModules(t *testing.T) {
	t.Parallel()
	dir := extismModules(t)
	for _, c := range []struct{ module, export, input, config, want string }{
		{"alloc", "run_test", `{}`, ``, ""},
		{"count_vowels", "count_vowels", `{"text": "hello"}`, ``, `"count":3`},
		{"input_offset", "input_offset_length", `{"a": 1}`, ``, "\x08\x00"},
		{"config", "run_test", `{}`, `{"thing": "hello"}`, `hello`},
		{"var", "run_test", `{}`, ``, ``},
		{"fail", "run_test", `{}`, ``, `!Some error message`},
		{"log", "run_test", `{}`, ``, ``},
		{"exit", "_start", `{}`, `{"code": "3"}`, `!code 3`},
		{"exit", "_start", `{}`, `{"code": "0"}`, ``},
		{"hello", "run_test", `{}`, ``, `Hello, world!`},
		{"http", "run_test", `{}`, ``, `!denied`},
		{"sleep", "run_test", `{}`, `{"duration": "20"}`, `!timeout_ms`},
	} {
		t.Run(c.module, func(t *testing.T) {
			t.Parallel()
			wasm, err := os.ReadFile(filepath.Join(dir, c.module+".wasm"))
			if err != nil {
				t.Fatal(err)
			}
			m := manifest("t")
			m.Tools[0].Export = c.export
			if m.Limits.TimeoutMS = 30_000; c.module == "sleep" {
				m.Limits.TimeoutMS = 100
			}
			var grant *plugins.Grant
			m.Config = anything
			s := pair(t, wasm, m)
			if c.config != "" {
				grant = &plugins.Grant{SHA256: s.Hash(), Config: json.RawMessage(c.config)}
			}
			p := load(t, s, plugins.Options{Grant: grant})
			r := call(t, p, "t", c.input)
			want, failure := strings.CutPrefix(c.want, "!")
			if r.Failed != failure || !strings.Contains(r.Text, want) {
				t.Errorf("got %q (failed: %t, log %q), want %q", r.Text, r.Failed, r.Log, c.want)
			}
		})
	}
}
