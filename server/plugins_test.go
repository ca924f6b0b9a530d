package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// putPlugin renames an example into the folder, as the plugin name, its manifest changed by the replacements.
func putPlugin(t *testing.T, folder, example string, replacements ...string) {
	t.Helper()
	for _, extension := range []string{".json", ".wasm"} {
		data, err := os.ReadFile(filepath.Join("../plugins/examples", example, example+extension))
		if err != nil {
			t.Fatal(err)
		}
		if extension == ".json" {
			data = []byte(strings.NewReplacer(replacements...).Replace(string(data)))
		}
		part := filepath.Join(folder, example+extension+".part")
		if err := os.WriteFile(part, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(part, strings.TrimSuffix(part, ".part")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlugins lets the built-in model convert units with a plugin beside one that cannot be loaded, and changes the folder under
// the server: the next responses see it.
func TestPlugins(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "broken.wasm"), []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--plugins", folder, "--cache-dir", t.TempDir(), "--log-level", "info")
	ask := func(question string) (status int, data []byte) {
		return p.request("POST", "/v1/responses", body(map[string]any{"input": question, "temperature": 0,
			"tools": []any{map[string]any{"type": "plugin", "name": "units", "allowed_tools": []string{"convert"}}}}))
	}
	if status, data := ask("Hello!"); status != http.StatusBadRequest || !strings.Contains(string(data), "This server has no plugins.") {
		t.Errorf("without plugins: status %d, %s", status, data)
	}
	putPlugin(t, folder, "units")
	eventually(t, "the plugin", func() bool { status, _ := ask("Hello!"); return status == http.StatusOK })
	r := p.decode(ask("Convert 26.2 miles to km."))
	calls := r.items("mcp_call")
	if len(calls) != 1 || calls[0]["server_label"] != "units" || calls[0]["name"] != "convert" || calls[0]["status"] != "completed" ||
		!strings.Contains(fmt.Sprint(calls[0]["output"]), "42.1648128") || !strings.Contains(r.text(), "42.1648128") {
		t.Fatalf("output %v", r.Output)
	}
	if _, page := p.request("GET", "/metrics", ""); !regexp.MustCompile(`(?m)^chorale_tool_call_seconds_count\{tool="units"\} [1-9]`).Match(page) {
		t.Error("the metrics have no calls of the plugin")
	} else if !strings.Contains(string(page), `chorale_plugins{state="failed"} 1`) {
		t.Error("the metrics have no plugin that cannot be loaded")
	}
	if status, list := p.request("GET", "/v1/plugins", ""); status != http.StatusOK || !regexp.MustCompile(`"id":"broken.wasm".*"state":"failed","error":"`).Match(list) ||
		!regexp.MustCompile(`"id":"units".*"state":"ready".*"approved":.*"memory_bytes":.*"name":"convert"`).Match(list) {
		t.Errorf("plugins: status %d, %s", status, list)
	}
	if status, one := p.request("GET", "/v1/plugins/units", ""); status != http.StatusOK || !strings.HasPrefix(string(one), `{"id":"units","object":"plugin"`) {
		t.Errorf("plugin: status %d, %s", status, one)
	}
	if status, none := p.request("GET", "/v1/plugins/nothing", ""); status != http.StatusNotFound || !strings.Contains(string(none), "plugin_not_found") {
		t.Errorf("no plugin: status %d, %s", status, none)
	}

	putPlugin(t, folder, "units", `"convert"`, `"change"`, "convert knows", "change knows")
	eventually(t, "the new version", func() bool {
		status, data := ask("Hello!")
		return status == http.StatusBadRequest && strings.Contains(string(data), `The tools are: 'change', 'list_units'.`)
	})
	putPlugin(t, folder, "units")
	eventually(t, "the first version again", func() bool { status, _ := ask("Hello!"); return status == http.StatusOK })
	for _, name := range []string{"units.wasm", "units.json"} {
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the end of the plugin", func() bool { status, _ := ask("Hello!"); return status == http.StatusBadRequest })
	next := p.create(map[string]any{"input": "Hello!", "previous_response_id": r.ID})
	if next.Status != "completed" {
		t.Errorf("continued without the plugin: %+v", next)
	}
	p.cmd.Process.Kill()
	p.wait()
	for _, want := range []string{`msg="plugin ready" tool=units`, `msg="plugin cannot be loaded" file=broken.wasm`, `msg="plugin removed" tool=units`} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, &p.log)
		}
	}
}

// TestPluginWithATakenName has a plugin that is called like a tool of the server: it is left out, and all else works.
func TestPluginWithATakenName(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	putPlugin(t, folder, "units", `"name": "units"`, `"name": "python"`)
	putPlugin(t, folder, "html")
	p := start(t, "--python", "--plugins", folder, "--cache-dir", t.TempDir(), "--log-level", "warn")
	eventually(t, "the other plugin", func() bool {
		status, data := p.request("POST", "/v1/responses", body(map[string]any{"input": "Hello!", "tools": []any{map[string]any{"type": "plugin", "name": "python"}}}))
		return status == http.StatusBadRequest && strings.Contains(string(data), "The plugins are: 'html'.")
	})
}

// TestPluginsThatAreScripts: they run beside modules, and without Python the list says why one in Python does not.
func TestPluginsThatAreScripts(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, file := range []string{"dates/dates.py", "diff/diff.js"} {
		data, err := os.ReadFile("../plugins/examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(file)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, "--plugins", folder, "--python=false")
	eventually(t, "the plugins", func() bool {
		_, list := p.request("GET", "/v1/plugins", "")
		return regexp.MustCompile(`"id":"dates.py".*"state":"failed","error":"[^"]*--python=false`).Match(list) && regexp.MustCompile(`"id":"diff".*"state":"ready"`).Match(list)
	})
}

// TestPluginSources has the configuration name a plugin in a registry: the server fetches it once, and again when its file is
// not what it was. A registry that is away, and a source without a digest, do what they should.
func TestPluginSources(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			asked.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(hub.Close)
	tag := "oci://" + hub.Listener.Addr().String() + "/tools/units:1"
	code, ref, stderr := execute("", "plugin", "push", "--allow", hub.URL, unitsPlugin, tag)
	if code != 0 {
		t.Fatal(stderr)
	}
	ref = strings.TrimSpace(ref)
	folder, cache := filepath.Join(t.TempDir(), "plugins.d"), t.TempDir()
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	config := writeFile(t, "chorale.yaml", "plugins: "+folder+"\nplugin-source:\n  - oci://127.0.0.1:1/away@sha256:"+strings.Repeat("0", 64)+"\n  - "+ref+"\nplugin-allow: ["+hub.URL+"]\n")
	data := t.TempDir()
	run := func(wantAsked int64) *process {
		t.Helper()
		p := &process{t: t, data: data, exited: make(chan error, 1)}
		p.launch("--config", config, "--cache-dir", cache)
		eventually(t, "the plugin", func() bool {
			status, _ := p.request("POST", "/v1/responses", body(map[string]any{"input": "Hello!", "tools": []any{map[string]any{"type": "plugin", "name": "units"}}}))
			return status == http.StatusOK && asked.Load() >= wantAsked
		})
		p.cmd.Process.Kill()
		p.wait()
		if n := asked.Load(); n != wantAsked {
			t.Errorf("the registry was asked %d times, want %d", n, wantAsked)
		}
		return p
	}
	if p := run(1); !strings.Contains(p.log.String(), `msg="plugin cannot be installed" source=oci://127.0.0.1:1/away@sha256:000`) {
		t.Errorf("the log:\n%s", &p.log)
	}
	run(1) // it is there
	if err := os.WriteFile(filepath.Join(folder, "units.wasm"), []byte("swapped"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(2)
	for source, want := range map[string]string{tag: "has no digest, and a tag may be moved", "units": "begins with oci://"} {
		out, err := command(t, "serve", "--listen", "127.0.0.1:0", "--python=false", "--data-dir", t.TempDir(), "--plugin-source", source).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s; want %q", source, err, out, want)
		}
	}
}

func TestPluginsThatAreNotThere(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{filepath.Join(file, "x"): "not a directory", file + "s": "no such file", file: "is no directory"} {
		out, err := command(t, "serve", "--listen", "127.0.0.1:0", "--python=false", "--data-dir", t.TempDir(), "--plugins", folder).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s; want %q", folder, err, out, want)
		}
	}
}

func TestDoctorLoadsPlugins(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	putPlugin(t, folder, "units")
	doctor := func() (string, error) {
		out, err := command(t, "doctor", "--python=false", "--cache-dir", t.TempDir(), "--data-dir", t.TempDir(), "--plugins", folder).CombinedOutput()
		return string(out), err
	}
	if out, err := doctor(); err != nil || !regexp.MustCompile(`(?m)^ok   plugins +1 in .*: units 1\.0\.0$`).MatchString(out) {
		t.Errorf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(folder, "broken.wasm"), []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := doctor(); err == nil || !regexp.MustCompile(`(?m)^FAIL plugins +broken\.wasm: `).MatchString(out) {
		t.Errorf("%v\n%s", err, out)
	}
}
