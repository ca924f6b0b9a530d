package wasm_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chorale/plugins"
	"chorale/toolhost"
	"chorale/toolhost/wasm"
)

// registry has a plugin of the module with tools that take anything.
func registry(t *testing.T, module string, tools ...string) (r *plugins.Registry, file string) {
	t.Helper()
	dir := t.TempDir()
	m := plugins.Manifest{Name: "p", Version: "1.0.0", Description: "Does things."}
	m.Limits = plugins.Limits{TimeoutMS: 5000, Concurrency: 1, Queue: 1}
	for _, name := range tools {
		m.Tools = append(m.Tools, plugins.ManifestTool{Name: name, Description: "Does " + name + ".", Input: json.RawMessage(`{"type":"object"}`)})
	}
	wasmFile, err := os.ReadFile(filepath.Join("../../plugins/testdata", module))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "p.wasm")
	long := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(dir+"/p.json", text, 0o644), os.WriteFile(file, wasmFile, 0o644),
		os.Chtimes(dir+"/p.json", long, long), os.Chtimes(file, long, long)); err != nil {
		t.Fatal(err)
	}
	r, err = plugins.NewRegistry(plugins.RegistryOptions{Dir: dir, Every: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	until(t, r, func() bool { return len(wasm.Tools(r)) == 1 })
	return r, file
}

func until(t *testing.T, r *plugins.Registry, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, next := r.Changes()
		if ok() {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			t.Fatalf("there is %+v", r.Plugins())
		}
	}
}

func TestTool(t *testing.T) {
	t.Parallel()
	r, file := registry(t, "program.wasm", "count", "fail", "files", "sleep", "show")
	set, err := toolhost.NewSet(wasm.Tools(r)...)
	if err != nil {
		t.Fatal(err)
	}
	spec, ok := set.Spec("p")
	if !ok || !spec.Independent || spec.Description != "Does things." || len(spec.Functions) != 5 ||
		spec.Functions[0].Description != "Does count." || string(spec.Functions[0].Parameters) != `{"type":"object"}` {
		t.Errorf("spec: %+v", spec)
	}
	s := set.NewSession(toolhost.SessionOptions{})
	defer s.Close()
	// One after the other, none is too much.
	one := func(function, input string) toolhost.Outcome {
		t.Helper()
		o := s.Do(t.Context(), []toolhost.Call{{Tool: "p", Function: function, Input: input}})[0]
		if o.Err != nil {
			t.Errorf("%s: %v", function, o.Err)
		}
		return o
	}
	if o := one("count", `{}`); o.Failed || o.Text != "1" {
		t.Errorf("count: %+v", o)
	}
	if o := one("fail", `{}`); !o.Failed || !strings.Contains(o.Text, "on fire") {
		t.Errorf("fail: %+v", o)
	}
	if o := one("count", `[]`); !o.Failed || !strings.Contains(o.Text, "arguments are wrong") {
		t.Errorf("wrong arguments: %+v", o)
	}
	if o := one("files", ``); len(o.Files) != 2 || o.Files[0].Path != "/out/a.txt" || string(o.Files[0].Data) != "first" {
		t.Errorf("files: %+v", o)
	}
	read := toolhost.Call{Tool: "p", Function: "show", Input: `{"path":"/in/a/b.txt"}`, Files: []toolhost.File{{Path: "/mnt/data/a/b.txt", Data: []byte("given")}}}
	if o := s.Do(t.Context(), []toolhost.Call{read})[0]; o.Err != nil || o.Text != "given" {
		t.Errorf("a file of the request: %+v", o)
	}

	// The place is taken and one waits: the third is told.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool)
	go func() {
		defer close(done)
		busy := set.NewSession(toolhost.SessionOptions{})
		defer busy.Close()
		busy.Do(ctx, []toolhost.Call{{Tool: "p", Function: "sleep"}, {Tool: "p", Function: "sleep"}})
	}()
	for st := r.Stats()["p"]; st.Running+st.Waiting < 2; st = r.Stats()["p"] {
	}
	if o := one("count", `{}`); !o.Failed || !strings.Contains(o.Text, "too much to do") {
		t.Errorf("one call too many: %+v", o)
	}
	cancel()
	<-done

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	until(t, r, func() bool { return len(wasm.Tools(r)) == 0 })
	if o := one("count", `{}`); !o.Failed || !strings.Contains(o.Text, "not there any more") {
		t.Errorf("after the plugin is gone: %+v", o)
	}
}
