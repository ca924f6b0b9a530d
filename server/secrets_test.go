package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"chorale/plugins"
)

// canary is the secret. It must be where it is sent, and nowhere else.
const canary = "canary-c0ffee-4711-do-not-tell"

// asker builds the plugin of testdata as NAME.wasm, with a manifest that asks for requests to the server and for its secret.
func asker(t *testing.T, folder, url string) (hash string) {
	t.Helper()
	file := filepath.Join(folder, "weather.wasm")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file+".part", ".")
	build.Dir, build.Env = "testdata/asker", append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GO111MODULE=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	host := strings.TrimPrefix(url, "http://")
	manifest, err := json.Marshal(map[string]any{
		"name": "weather", "version": "1.0.0", "description": "Knows the weather.",
		"tools": []any{map[string]any{"name": "get_weather", "description": "Gets the current weather for a city",
			"input_schema": map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}}}},
		"permissions": map[string]any{
			"net":     []any{map[string]any{"url": url + "/**", "reason": "asks there"}},
			"secrets": []any{map[string]any{"name": "key", "host": host, "header": "Authorization", "format": "Bearer {secret}", "reason": "has an account"}},
			"kv":      map[string]any{"bytes": 65536, "reason": "keeps what it found"},
		},
		"config_schema": map[string]any{"type": "object", "properties": map[string]any{"url": map[string]any{"type": "string"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(file + ".part")
	if err != nil {
		t.Fatal(err)
	}
	s, err := plugins.NewSource("weather", wasm, manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "weather.json"), manifest, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".part", file); err != nil {
		t.Fatal(err)
	}
	return s.Hash()
}

// leaks says in which form a text has the canary, "" if it has not.
func leaks(p []byte) string {
	encoded := base64.StdEncoding.EncodeToString([]byte("Bearer " + canary))
	for _, form := range []string{canary, encoded[8 : len(encoded)-4], base64.RawURLEncoding.EncodeToString([]byte(canary))[:30], fmt.Sprintf("%x", canary)} {
		if bytes.Contains(p, []byte(form)) {
			return form
		}
	}
	return ""
}

// TestSecrets runs the server with a secret in its environment and a grant of it in its configuration. The plugin's request gets
// it, the other side sends it back in every form, and no surface of the server shows it: responses, events, logs, metrics, what is
// stored, and the files of the data directory.
func TestSecrets(t *testing.T) {
	t.Parallel()
	var asked, wrong atomic.Int64
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		secret := r.Header.Get("Authorization")
		if secret != "Bearer "+canary || r.Header.Get("X-Asks") != "for the secret" {
			wrong.Add(1)
		}
		w.Header().Set("X-Echo", secret)
		fmt.Fprintf(w, "the sun shines; you sent %q, in base64 %s and %s", secret,
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(canary)))
	}))
	t.Cleanup(echo.Close)
	folder := t.TempDir()
	hash := asker(t, folder, echo.URL)
	config := filepath.Join(t.TempDir(), "chorale.yaml")
	grants := func(more string) {
		text := "log-level: debug\nplugin-grants:\n  weather:\n    sha256: " + hash + "\n    config: {url: " + echo.URL + "/now}\n    kv_bytes: 65536\n" + more
		if err := os.WriteFile(config+".part", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(config+".part", config); err != nil {
			t.Fatal(err)
		}
	}
	grants("    net: [GET " + echo.URL + "/**]\n    secrets: {key: my-account}\n")
	p := &process{t: t, data: t.TempDir(), exited: make(chan error, 1), env: []string{"CHORALE_SECRET_MY_ACCOUNT=" + canary}}
	p.launch("--config", config, "--plugins", folder, "--cache-dir", t.TempDir(), "--log-level", "debug")
	question := map[string]any{"input": "What is the weather in Paris?", "temperature": 0, "tools": []any{map[string]any{"type": "plugin", "name": "weather"}}}
	eventually(t, "the plugin", func() bool {
		status, _ := p.request("POST", "/v1/responses", body(map[string]any{"input": "Hello!", "tools": question["tools"]}))
		return status == http.StatusOK
	})
	status, data := p.request("POST", "/v1/responses", body(question))
	r := p.decode(status, data)
	calls := r.items("mcp_call")
	if len(calls) == 0 || !strings.Contains(fmt.Sprint(calls[0]["output"]), "the sun shines; you sent") || asked.Load() == 0 || wrong.Load() > 0 {
		t.Fatalf("asked %d times, %d without the secret: %v", asked.Load(), wrong.Load(), r.Output)
	}
	question["stream"] = true
	_, events := p.request("POST", "/v1/responses", body(question))
	_, stored := p.request("GET", "/v1/responses/"+r.ID, "")
	_, inputs := p.request("GET", "/v1/responses/"+r.ID+"/input_items", "")
	_, metrics := p.request("GET", "/metrics", "")
	if !strings.Contains(string(events), "response.completed") || !strings.Contains(string(stored), r.ID) {
		t.Errorf("events %s\nstored %s", events, stored)
	}
	surfaces := map[string][]byte{"the response": data, "its events": events, "what is stored": stored, "its input": inputs, "metrics": metrics}

	grants("    net: [GET " + echo.URL + "/**]\n    secrets: {key: another-account}\n")
	eventually(t, "the log to tell of the secret that is not there", func() bool {
		_, data := p.request("POST", "/v1/responses", body(map[string]any{"input": "What is the weather in Paris?", "tools": question["tools"]}))
		surfaces["the response without it"] = data
		return !strings.Contains(string(data), "the sun shines")
	})
	p.cmd.Process.Kill()
	p.wait()
	surfaces["the log"] = p.log.Bytes()
	if !strings.Contains(p.log.String(), "another-account") || !strings.Contains(p.log.String(), `msg="plugin log"`) {
		t.Errorf("the log:\n%s", &p.log)
	}
	if err := filepath.WalkDir(p.data, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		surfaces[name], err = os.ReadFile(name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	kept := false
	for name, text := range surfaces {
		if form := leaks(text); form != "" {
			t.Errorf("%s has the secret as %s", name, form)
		}
		kept = kept || strings.HasPrefix(name, p.data) && bytes.Contains(text, []byte("the sun shines"))
	}
	if !kept {
		t.Error("nothing of the answer is in the data directory: the wrong one was searched")
	}
	if leaks([]byte("x"+base64.StdEncoding.EncodeToString([]byte("Bearer "+canary)))) == "" {
		t.Error("the scan does not find the secret in base64")
	}
}

// TestPluginGrantsFile runs the server with grants in a file that is broken at first: the log says where, and nothing is granted.
func TestPluginGrantsFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	putPlugin(t, folder, "units")
	file := filepath.Join(t.TempDir(), "grants.yaml")
	write := func(text string) {
		if err := os.WriteFile(file+".part", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".part", file); err != nil {
			t.Fatal(err)
		}
	}
	write("units:\n  sha256: abc\n")
	p := start(t, "--plugins", folder, "--plugin-grants", file, "--cache-dir", t.TempDir())
	eventually(t, "the plugin", func() bool {
		status, _ := p.request("POST", "/v1/responses", body(map[string]any{"input": "Hello!", "tools": []any{map[string]any{"type": "plugin", "name": "units"}}}))
		return status == http.StatusOK
	})
	p.cmd.Process.Kill()
	p.wait()
	if want := `line 2: plugin grants: units.sha256: `; !strings.Contains(p.log.String(), want) {
		t.Errorf("the log has no %q:\n%s", want, &p.log)
	}
}
