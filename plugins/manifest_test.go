package plugins_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"chorale/plugins"
)

// full is a manifest that uses everything.
func full(t testing.TB) []byte {
	t.Helper()
	p, err := os.ReadFile("testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecodeManifest(t *testing.T) {
	t.Parallel()
	m, err := plugins.DecodeManifest(full(t))
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "weather" || m.MinHost != "0.1.0" || m.Instance != plugins.InstanceReset || len(m.Tools) != 3 {
		t.Errorf("got %+v", m)
	}
	for i, want := range []plugins.OutputKind{plugins.OutputJSON, plugins.OutputText, plugins.OutputMCP} {
		if got := m.Tools[i].Kind; got != want {
			t.Errorf("tools[%d].output is %q, want %q", i, got, want)
		}
	}
	if a := m.Tools[0].Annotations; a.ReadOnly == nil || !*a.ReadOnly || a.Destructive != nil {
		t.Errorf("annotations %+v, want readOnlyHint only", a)
	}
	if got := string(m.Tools[1].Input); !strings.Contains(got, `"additionalProperties":false`) {
		t.Errorf("a tool without input_schema has %s, want one that takes nothing", got)
	}
	if n := m.Permissions.Net[0]; n.URL != "https://api.example.com/v1/**" || n.Reason == "" {
		t.Errorf("net[0] is %+v", n)
	}
}

func TestDecodeManifestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, manifest, want string }{
		{"empty", ``, "cut off"},
		{"cut off", `{"name": "a"`, "cut off"},
		{"array", `[]`, "is an array, want an object"},
		{"more after it", tool(``) + ` {}`, "something after"},
		{"unknown key", `{"nmae": "a"}`, "nmae: is unknown here; known are name, version"},
		{"key in other case", `{"Name": "a"}`, "Name: is unknown"},
		{"key twice", `{"name": "a", "name": "b"}`, "name: is there twice"},
		{"key twice in a schema", tool(`"input_schema": {"type": "object", "type": "object"}`), "tools[0].input_schema.type: is there twice"},
		{"unknown key deep", tool(`"annotations": {"readonly": true}`), "tools[0].annotations.readonly: is unknown"},
		{"wrong type", `{"name": 1}`, "name: is 1, want a string"},
		{"null", `{"name": null}`, "name: is null, want a string"},
		{"fraction", top(`"limits": {"queue": 1.5}`), "limits.queue: is 1.5, want a whole number"},
		{"nested too deep", top(`"config_schema": ` + strings.Repeat("[", 70) + strings.Repeat("]", 70)), "nested too deep"},
		{"too large", strings.Repeat(" ", 1<<20+1), "at most"},
		{"no name", `{"version": "1.0.0"}`, `name: ""`},
		{"name with a dot", `{"name": "a.b", "version": "1.0.0"}`, `name: "a.b" must match`},
		{"name that begins with a digit", `{"name": "1", "version": "1.0.0"}`, `name: "1" must match`},
		{"reserved name", `{"name": "Python", "version": "1.0.0"}`, `name: "Python" is reserved`},
		{"no version", `{"name": "a"}`, `version: ""`},
		{"version with v", `{"name": "a", "version": "v1.0.0"}`, `version: "v1.0.0"`},
		{"host version", top(`"min_host_version": "1"`), `min_host_version: "1"`},
		{"homepage", top(`"homepage": "javascript:alert(1)"`), "homepage:"},
		{"instance", top(`"instance": "pool"`), `instance: "pool" must be`},
		{"long description", top(`"description": "` + strings.Repeat("x", 5000) + `"`), "description: 5000 bytes, at most 4096"},
		{"config of no object", top(`"config_schema": {"type": "string"}`), `config_schema: type: must be "object"`},
		{"config key with a slash", top(`"config_schema": {"type": "object", "properties": {"../x": {}}}`), `config_schema: properties: "../x"`},
		{"negative limit", top(`"limits": {"memory_bytes": -1}`), "limits.memory_bytes: is -1"},

		{"tool name", tool(`"name": "a b"`), `tools[0].name: "a b"`},
		{"two tools of one name", top(`"tools": [{"name": "a"}, {"name": "a"}]`), `tools[1].name: "a" is there twice`},
		{"schema of no object", tool(`"input_schema": {"type": "array"}`), `tools[0].input_schema: type: must be "object"`},
		{"schema that is a string", tool(`"input_schema": "object"`), "tools[0].input_schema: is no object"},
		{"schema with an error", tool(`"input_schema": {"type": "object", "properties": {"a": {"type": "int"}}}`), "tools[0].input_schema: is no JSON Schema"},
		{"schema with a bad pattern", tool(`"input_schema": {"type": "object", "properties": {"a": {"pattern": "("}}}`), "tools[0].input_schema: is no JSON Schema"},
		{"schema that refers to a file", tool(`"input_schema": {"type": "object", "$ref": "file:///etc/passwd"}`), "not followed"},
		{"schema that refers to a URL", tool(`"output_schema": {"type": "object", "$ref": "http://127.0.0.1/"}`), "not followed"},
		{"output kind", tool(`"output": "xml"`), `tools[0].output: "xml" must be`},
		{"text with a schema", tool(`"output": "text", "output_schema": {"type": "object"}`), "tools[0].output: must be json"},
		{"example without input", tool(`"examples": [{"text": "a"}]`), "tools[0].examples[0].input: is missing"},
		{"example that does not fit", tool(`"examples": [{"input": {"x": 1}}]`), "tools[0].examples[0].input: does not fit the input_schema"},
		{"example with two results", tool(`"examples": [{"input": {}, "text": "a", "contains": "b"}]`), "at most one of"},
		{"example with JSON for text", tool(`"examples": [{"input": {}, "output": 1}]`), "tools[0].examples[0].output: the output of tool t is text"},

		{"net without reason", net(`"url": "https://a.example"`, `"reason": " "`), "permissions.net[0].reason: is missing"},
		{"net method", net(`"url": "https://a.example", "methods": ["get"]`), `permissions.net[0].methods: "get"`},
		{"net scheme", net(`"url": "ftp://a.example"`), "scheme: "},
		{"net without scheme", net(`"url": "a.example"`), "must be SCHEME://"},
		{"net with networks", net(`"url": "https://a.example at 127.0.0.1"`), "must be SCHEME://"},
		{"net with user", net(`"url": "https://a.example@b.example/"`), "host: "},
		{"net with query", net(`"url": "https://a.example/?x"`), "path: "},
		{"net with a star within", net(`"url": "https://a.*.example/"`), "net[0].url"},
		{"net with a decimal address", net(`"url": "http://2130706433/"`), "net[0].url"},
		{"net with an octal address", net(`"url": "http://0177.0.0.1/"`), "net[0].url"},
		{"net with port 0", net(`"url": "https://a.example:0/"`), "net[0].url"},
		{"net with an empty port", net(`"url": "https://a.example:/"`), "port: missing"},
		{"net with dots in the path", net(`"url": "https://a.example/a/../b"`), "path: "},
		{"secret with stars", secret(`"host": "*.example"`), "must be one host"},
		{"secret for another host", secret(`"host": "b.example"`), `permissions.secrets[0].host: "b.example" is in no url`},
		{"secret with a bad header", secret(`"header": "A: b"`), "permissions.secrets[0].header"},
		{"secret format", secret(`"format": "Bearer"`), "must contain {secret} once"},
		{"secret format with a line", secret(`"format": "{secret}\r\nX: y"`), "must be printable"},
		{"secret without reason", secret(`"reason": ""`), "permissions.secrets[0].reason: is missing"},
		{"kv of nothing", top(`"permissions": {"kv": {"bytes": 0, "reason": "r"}}`), "permissions.kv.bytes: is 0"},
		{"kv without reason", top(`"permissions": {"kv": {"bytes": 1, "reason": ""}}`), "permissions.kv.reason"},
		{"fs path", top(`"permissions": {"fs": [{"path": "data", "reason": "r"}]}`), `permissions.fs[0].path: "data" must be absolute`},
		{"fs path of the host", top(`"permissions": {"fs": [{"path": "/host/http", "reason": "r"}]}`), "is the host's own"},
		{"fs access", top(`"permissions": {"fs": [{"path": "/d", "access": "all", "reason": "r"}]}`), "permissions.fs[0].access"},
		{"env name", top(`"permissions": {"env": [{"name": "A=B", "reason": "r"}]}`), "permissions.env[0].name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, err := plugins.DecodeManifest([]byte(c.manifest))
			if err == nil {
				t.Fatalf("got %+v, want an error with %q", m, c.want)
			}
			if !strings.HasPrefix(err.Error(), "plugin manifest: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want %q in it", err, c.want)
			}
		})
	}
}

// top is a manifest with further members, tool one with a tool, net and secret one with permissions. Members given twice
// replace the default.
func top(members string) string { return `{"name": "a", "version": "1.0.0", ` + members + `}` }

func tool(members string) string { return top(`"tools": [` + object(members, "name", `"t"`) + `]`) }

func net(members ...string) string {
	return top(`"permissions": {"net": [` + object(strings.Join(members, ","), "reason", `"r"`) + `]}`)
}

func secret(members string) string {
	return top(`"permissions": {"net": [{"url": "https://a.example", "reason": "r"}], "secrets": [` +
		object(members, "name", `"key"`, "host", `"a.example"`, "header", `"Authorization"`, "reason", `"r"`) + `]}`)
}

// object adds those defaults that the members do not hold.
func object(members string, defaults ...string) string {
	list := []string{}
	if members != "" {
		list = append(list, members)
	}
	for i := 0; i < len(defaults); i += 2 {
		if key := fmt.Sprintf("%q:", defaults[i]); !strings.Contains(members, key) {
			list = append(list, key+defaults[i+1])
		}
	}
	return "{" + strings.Join(list, ", ") + "}"
}

// emptyModule is a module with nothing in it.
var emptyModule = []byte("\x00asm\x01\x00\x00\x00")

func TestAttach(t *testing.T) {
	t.Parallel()
	first, second := full(t), []byte(`{"name": "a", "version": "1.0.0"}`)
	for _, manifest := range [][]byte{first, second} {
		wasm, err := plugins.Attach(emptyModule, manifest)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := plugins.Attached(wasm); err != nil || !bytes.Equal(got, manifest) {
			t.Errorf("got %q, %v", got, err)
		}
		again, err := plugins.Attach(wasm, second)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := plugins.Attached(again); !bytes.Equal(got, second) {
			t.Errorf("attached over another: got %q", got)
		}
	}
	if got, err := plugins.Attached(emptyModule); got != nil || err != nil {
		t.Errorf("a module without manifest: %q, %v", got, err)
	}
	for name, wasm := range map[string][]byte{
		"empty": nil, "text": []byte("#!/bin/sh\n"), "cut section": append(bytes.Clone(emptyModule), 0, 9, 1),
		"endless length": append(bytes.Clone(emptyModule), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	} {
		if got, err := plugins.Attach(wasm, second); err == nil {
			t.Errorf("%s: attached to %q", name, got)
		}
	}
	if _, err := plugins.Attach(emptyModule, []byte(`{}`)); err == nil {
		t.Error("a wrong manifest was attached")
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add(full(f))
	f.Add([]byte(tool(`"input_schema": {"type": "object", "$ref": "#"}`)))
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := plugins.DecodeManifest(p)
		if err != nil {
			return
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plugins.DecodeManifest(out); err != nil {
			t.Errorf("the manifest does not survive writing: %v\n%s", err, out)
		}
	})
}

// Whatever is read as JSON is JSON to the standard library as well, and the other way round but for what is refused on purpose.
func FuzzArguments(f *testing.F) {
	f.Add([]byte(`{"a": [1, -2.5e+3, "\u00fc\ud83d\ude00", true, null, {}], "b": ""}`))
	p := load(f, source(f, "reactor", echoing()), plugins.Options{})
	f.Fuzz(func(t *testing.T, input []byte) {
		r, err := p.Call(t.Context(), plugins.Call{Tool: "echo", Input: input})
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		valid := len(input) == 0 || json.Unmarshal(input, &members) == nil && members != nil
		onPurpose := strings.Contains(r.Text, "is there twice") || strings.Contains(r.Text, "no UTF-8") || strings.Contains(r.Text, "nested too deep")
		if r.BadArguments == valid && !onPurpose {
			t.Errorf("%q: %+v, encoding/json says %t", input, r, valid)
		}
	})
}

func echoing() *plugins.Manifest {
	m := manifest("echo")
	m.Instance, m.Tools[0].Kind = plugins.InstanceReset, plugins.OutputJSON
	return m
}

func FuzzAttach(f *testing.F) {
	wasm, err := plugins.Attach(emptyModule, full(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wasm)
	manifest := []byte(`{"name": "a", "version": "1.0.0"}`)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		out, err := plugins.Attach(wasm, manifest)
		if err != nil {
			return
		}
		if _, err := plugins.Attached(wasm); err != nil {
			return // sections that Attach does not look into
		}
		if got, err := plugins.Attached(out); err != nil || !bytes.Equal(got, manifest) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
