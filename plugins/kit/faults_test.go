package kit_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chorale/plugins"
	"chorale/plugins/host"
	"chorale/plugins/kit"
)

// program loads the program with a tool for each thing that plugins do, with a manifest.
func program(t testing.TB, manifest string) *plugins.Plugin {
	t.Helper()
	wasm, err := os.ReadFile("../testdata/program.wasm")
	if err != nil {
		t.Fatal(err)
	}
	s, err := plugins.NewSource("program", wasm, []byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plugins.Load(t.Context(), s, plugins.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

const header = `{"name": "program", "version": "1.0.0", `

// TestFaultsOfTheNetwork calls a tool whose requests get no answer. It passes on what the host says, so that this is seen.
func TestFaultsOfTheNetwork(t *testing.T) {
	t.Parallel()
	p := program(t, header+`"permissions": {"net": [{"url": "https://example.com", "reason": "a test"}]},
		"tools": [{"name": "http", "description": "makes a request", "input_schema": {"type": "object"}, "examples": [{"input": {"url": "https://example.com/"}}]}]}`)
	checks, err := kit.Faults(t.Context(), p, nil, kit.Tapes{})
	if err != nil {
		t.Fatal(err)
	}
	notes := map[string]string{}
	for _, c := range checks {
		if notes[c.Name] = c.Note; c.Err != nil {
			t.Errorf("%s: %v", c.Name, c.Err)
		}
	}
	for name, want := range map[string]string{
		"nothing granted":              "it does not mind", // it prints the denial
		"a network that times out":     "it does not mind", // it prints the error
		"a network that never answers": "timeout_ms",
		"arguments that are wrong":     "3 of 7 are refused",
	} {
		if !strings.Contains(notes[name], want) {
			t.Errorf("%s: %q, want %q", name, notes[name], want)
		}
	}
	tape := host.NewTape()
	tape.TimeOut()
	r, err := p.Call(t.Context(), plugins.Call{Tool: "http", Input: []byte(`{"url": "https://example.com/"}`), Replay: tape})
	if err != nil || r.Failed || !strings.Contains(r.Text, `"code":"timeout"`) {
		t.Errorf("a tape that times out: %+v, %v", r, err)
	}
}

// TestFaultsOfArguments has a tool that is stopped by its limit of output when the arguments are longer than it expects.
func TestFaultsOfArguments(t *testing.T) {
	t.Parallel()
	p := program(t, header+`"limits": {"output_bytes": 20},
		"tools": [{"name": "echo", "description": "says it again", "input_schema": {"type": "object"}, "examples": [{"input": {"a": 1}}]}]}`)
	checks, err := kit.Faults(t.Context(), p, nil, kit.Tapes{})
	if err != nil || len(checks) != 4 {
		t.Fatalf("%d checks, %v", len(checks), err)
	}
	if c := checks[3]; c.Err == nil || !strings.HasPrefix(c.Err.Error(), "an argument that nobody asked for: It was stopped") {
		t.Errorf("%s: %v, %q", c.Name, c.Err, c.Note)
	}
}

// TestGolden learns results and compares with them.
func TestGolden(t *testing.T) {
	t.Parallel()
	const tools = `"tools": [{"name": "files", "description": "writes files", "examples": [{"input": {}}]}, {"name": "self", "description": "says who it is", "examples": [{"input": {}}, {"input": {}, "contains": "self"}]},
		{"name": "chart", "description": "draws", "output": "mcp", "examples": [{"name": "points", "input": {}}]}]}`
	p := program(t, header+tools)
	run := func(p *plugins.Plugin, g *kit.Golden) []error {
		t.Helper()
		checks, err := kit.Examples(t.Context(), p, kit.Tapes{}, g)
		if err != nil {
			t.Fatal(err)
		}
		var errs []error
		for _, c := range checks {
			if c.Err != nil {
				errs = append(errs, c.Err)
			}
		}
		return errs
	}
	learnt := kit.LearnGolden()
	if errs := run(p, learnt); len(errs) > 0 || learnt.Len() != 3 {
		t.Fatalf("%d learnt, %v", learnt.Len(), errs)
	}
	var text bytes.Buffer
	if _, err := learnt.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, from, to, want string }{
		{"the same", "", "", ""},
		{"another text", `program self`, `program other`, "golden text: got"},
		{"another output", `"points": 3`, `"points": 4`, "golden output: got"},
		{"another file", `/out/a.txt`, `/out/b.txt`, "golden files: got"},
		{"another content of a file", `"sha256": "`, `"sha256": "0`, "golden files: got"},
		{"another example", `"points"`, `"lines"`, "no golden result"},
	} {
		changed := strings.Replace(text.String(), test.from, test.to, 1)
		g, err := kit.ReadGolden(strings.NewReader(changed))
		if err != nil || (changed == text.String()) != (test.want == "") {
			t.Fatalf("%s: %v\n%s", test.name, err, changed)
		}
		errs := run(p, g)
		if test.want == "" && len(errs) > 0 || test.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, errs, test.want)
		}
	}
	for _, wrong := range []string{"", `{"version": 2}`, `{"version": 1, "x": 1}`} {
		if _, err := kit.ReadGolden(strings.NewReader(wrong)); err == nil || !strings.Contains(err.Error(), "golden results: ") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// TestBenchReplays measures a plugin without its network: each call begins the tape anew.
func TestBenchReplays(t *testing.T) {
	t.Parallel()
	tape, err := os.ReadFile(filepath.Join("../examples/weather", "weather"+kit.TapeSuffix))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plugins.Open(t.Context(), "../examples/weather/weather.wasm", plugins.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	now := p.Manifest().Tools[0]
	load := kit.Load{Call: plugins.Call{Tool: now.Name, Input: now.Examples[0].Input}, Calls: 5}
	if _, err := kit.Bench(t.Context(), p, load); err == nil {
		t.Error("without a network and a tape it works")
	}
	load.Tapes.Replay = tape
	if m, err := kit.Bench(t.Context(), p, load); err != nil || m.Calls != 5 {
		t.Errorf("%+v, %v", m, err)
	}
}
