package plugins_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/plugins"
)

// A folder is a folder of plugins with its registry.
type folder struct {
	*plugins.Registry
	dir string
	log *lockedBuffer
}

type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

func newFolder(t testing.TB) *folder {
	t.Helper()
	f := &folder{dir: filepath.Join(t.TempDir(), "plugins.d"), log: &lockedBuffer{}}
	var err error
	f.Registry, err = plugins.NewRegistry(plugins.RegistryOptions{
		Dir: f.dir, Grants: f.dir + "/grants.json", Every: 5 * time.Millisecond,
		Plugin: plugins.Options{
			CacheDir: cacheDir,
			Logger:   slog.New(slog.NewTextHandler(f.log, nil)),
			Secrets:  func(name string) (string, bool) { return "canary-" + name, name == "account" },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// put puts a file into the folder at once, as it should be done, with a time at which it has settled.
func (f *folder) put(t testing.TB, name string, content []byte) {
	t.Helper()
	temp := filepath.Join(f.dir, "."+name)
	if err := os.WriteFile(temp, content, 0o644); err != nil {
		t.Fatal(err)
	}
	// Different times, so that every put is a change.
	then := time.Now().Add(-time.Hour).Add(time.Duration(time.Now().Nanosecond()))
	if err := errors.Join(os.Chtimes(temp, then, then), os.Rename(temp, filepath.Join(f.dir, name))); err != nil {
		t.Fatal(err)
	}
}

// plugin puts a module with its manifest attached into the folder.
func (f *folder) plugin(t testing.TB, file string, wasm []byte, m *plugins.Manifest) {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := plugins.Attach(wasm, text)
	if err != nil {
		t.Fatal(err)
	}
	f.put(t, file, whole)
}

// until waits for the list of plugins to be so.
func (f *folder) until(t testing.TB, what string, ok func([]plugins.Status) bool) []plugins.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, next := f.Changes()
		list := f.Plugins()
		if ok(list) {
			return list
		}
		select {
		case <-next:
		case <-ctx.Done():
			t.Fatalf("waited for %s; there is %+v\n%s", what, list, f.log)
		}
	}
}

// ready waits for a version to be the one that calls go to, with nothing else going on.
func (f *folder) ready(t testing.TB, version string) plugins.Status {
	t.Helper()
	return f.until(t, "version "+version, func(l []plugins.Status) bool {
		return len(l) == 1 && l[0].State == plugins.StateReady && l[0].Version == version
	})[0]
}

func versioned(v string, tools ...string) *plugins.Manifest {
	m := manifest(tools...)
	m.Version = v
	return m
}

func TestRegistryLife(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	if _, err := f.Call(t.Context(), "p", plugins.Call{Tool: "count"}); !errors.Is(err, plugins.ErrUnknownPlugin) {
		t.Errorf("before there is one: %v", err)
	}
	program := fixture(t, "program.wasm")
	f.plugin(t, "a.wasm", program, versioned("1.0.0", "count", "sleep"))
	f.ready(t, "1.0.0")
	if r, err := f.Call(t.Context(), "p", plugins.Call{Tool: "count"}); err != nil || r.Text != "1" {
		t.Errorf("call: %+v, %v", r, err)
	}

	// A call under way ends on its version, new calls go to the new one.
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	gone := errors.New("the test is over")
	wg.Go(func() {
		if _, err := f.Call(ctx, "p", plugins.Call{Tool: "sleep"}); !errors.Is(err, gone) {
			t.Errorf("the call on the old version: %v", err)
		}
	})
	for f.Stats()["p"].Running == 0 {
	}
	f.plugin(t, "a.wasm", program, versioned("2.0.0", "count"))
	list := f.until(t, "both versions", func(l []plugins.Status) bool { return len(l) == 2 && l[1].State == plugins.StateOld })
	if list[0].Version != "2.0.0" || list[0].State != plugins.StateReady || list[1].Version != "1.0.0" {
		t.Errorf("during the change: %+v", list)
	}
	if r, err := f.Call(t.Context(), "p", plugins.Call{Tool: "count"}); err != nil || r.Text != "1" {
		t.Errorf("call of the new version: %+v, %v", r, err)
	}
	cancel(gone)
	wg.Wait()
	f.ready(t, "2.0.0")
	if s := f.Stats()["p"]; s.Calls != 2 || s.Running != 0 {
		t.Errorf("stats over versions: %+v, want two calls", s)
	}

	// What cannot be loaded leaves the last good version.
	f.put(t, "a.wasm", []byte("rubbish"))
	list = f.until(t, "a failure", func(l []plugins.Status) bool { return len(l) == 2 && l[1].State == plugins.StateFailed })
	if list[0].Version != "2.0.0" || list[0].State != plugins.StateReady || !strings.Contains(list[1].Error, "no WebAssembly") {
		t.Errorf("with a broken file: %+v", list)
	}
	if r, err := f.Call(t.Context(), "p", plugins.Call{Tool: "count"}); err != nil || r.Text != "1" {
		t.Errorf("call beside a broken file: %+v, %v", r, err)
	}

	// The same content again repairs it, without loading anything.
	f.plugin(t, "a.wasm", program, versioned("2.0.0", "count"))
	f.ready(t, "2.0.0")

	// A manifest beside the module replaces the one within.
	text, _ := json.Marshal(versioned("3.0.0", "count"))
	f.put(t, "a.json", text)
	f.ready(t, "3.0.0")

	if err := os.Remove(filepath.Join(f.dir, "a.wasm")); err != nil {
		t.Fatal(err)
	}
	f.until(t, "nothing", func(l []plugins.Status) bool { return len(l) == 0 })
	if _, err := f.Call(t.Context(), "p", plugins.Call{Tool: "count"}); !errors.Is(err, plugins.ErrUnknownPlugin) {
		t.Errorf("after its file is gone: %v", err)
	}
}

// Two files cannot have one name; when the first goes, the second comes.
func TestRegistryNames(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.plugin(t, "a.wasm", fixture(t, "reactor.wasm"), versioned("1.0.0", "count"))
	f.ready(t, "1.0.0")
	other := versioned("2.0.0", "count")
	other.Name = "P"
	f.plugin(t, "b.wasm", fixture(t, "reactor.wasm"), other)
	list := f.until(t, "a failure", func(l []plugins.Status) bool { return len(l) == 2 && l[1].State == plugins.StateFailed })
	if !strings.Contains(list[1].Error, `"P" is that of a.wasm already`) {
		t.Errorf("got %q", list[1].Error)
	}
	if err := os.Remove(filepath.Join(f.dir, "a.wasm")); err != nil {
		t.Fatal(err)
	}
	f.ready(t, "2.0.0")
}

// A plugin gets what is granted for its content, and nothing when the content changes.
func TestRegistryGrants(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	m := versioned("1.0.0", "self")
	m.Permissions.Env = []plugins.EnvPermission{{Name: "CITY", Reason: "is the default"}}
	f.plugin(t, "a.wasm", fixture(t, "program.wasm"), m)
	s := f.ready(t, "1.0.0")
	if s.Effective.Approved || !strings.Contains(s.Effective.Note, fmt.Sprintf(`"p": {"sha256": %q}`, s.Hash)) {
		t.Errorf("without grants: %+v", s.Effective)
	}
	says := func(want string) {
		t.Helper()
		if r, err := f.Call(t.Context(), "p", plugins.Call{Tool: "self"}); err != nil || r.Text != want {
			t.Errorf("got %q, %v, want %q", r.Text, err, want)
		}
	}
	says("2 p self")
	grant := func(text string, ok func(plugins.Status) bool) {
		t.Helper()
		f.put(t, "grants.json", []byte(text))
		f.until(t, "the grants "+text, func(l []plugins.Status) bool { return len(l) == 1 && ok(l[0]) })
	}
	good := fmt.Sprintf(`{"p": {"sha256": %q, "env": {"CITY": "Rome"}}}`, s.Hash)
	grant(good, func(s plugins.Status) bool { return s.Effective.Approved })
	says("2 p self CITY=Rome")
	if !strings.Contains(f.log.String(), "plugin permission") {
		t.Errorf("the permissions are not in the log:\n%s", f.log)
	}

	// Grants that cannot be read leave those before in force.
	f.put(t, "grants.json", []byte(`{"p": {"sha256": "all"}}`))
	f.until(t, "an error", func([]plugins.Status) bool { return f.GrantsError() != nil })
	if err := f.GrantsError(); !strings.Contains(err.Error(), `p.sha256: "all" is no SHA-256`) {
		t.Errorf("got %v", err)
	}
	says("2 p self CITY=Rome")

	// A grant that does not fit the plugin grants nothing.
	grant(fmt.Sprintf(`{"p": {"sha256": %q, "config": {}, "env": {"CITY": "Rome"}}}`, s.Hash), func(s plugins.Status) bool {
		return strings.Contains(s.Error, "no config_schema")
	})
	says("2 p self")
	grant(good, func(s plugins.Status) bool { return s.Effective.Approved && s.Error == "" })

	m.Description = "changed"
	f.plugin(t, "a.wasm", fixture(t, "program.wasm"), m)
	changed := f.until(t, "the change", func(l []plugins.Status) bool {
		return len(l) == 1 && l[0].State == plugins.StateReady && l[0].Hash != s.Hash
	})[0]
	if changed.Effective.Approved || !strings.Contains(changed.Effective.Note, "other content") || !strings.Contains(changed.Effective.Note, changed.Hash) {
		t.Errorf("after the change: %+v", changed.Effective)
	}
	says("2 p self")

	if err := os.Remove(filepath.Join(f.dir, "grants.json")); err != nil {
		t.Fatal(err)
	}
	f.until(t, "no grants", func(l []plugins.Status) bool {
		return strings.Contains(l[0].Effective.Note, "no grant for this plugin")
	})
}

// A file that is being written to is not read.
func TestRegistrySettles(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	// It is as if it had been written to just now, for as long as the test looks.
	f.plugin(t, "b.wasm", fixture(t, "reactor.wasm"), versioned("1.0.0", "count"))
	f.ready(t, "1.0.0")
	file := filepath.Join(f.dir, "b.wasm")
	if err := os.WriteFile(file, []byte("the beginning of a module"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.until(t, "it to be read in the end", func(l []plugins.Status) bool { return len(l) == 2 && l[1].State == plugins.StateFailed })
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(fi.ModTime()); age < 100*time.Millisecond {
		t.Errorf("it was read %v after it was written to", age)
	}
}

func TestRegistryClose(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.plugin(t, "a.wasm", fixture(t, "program.wasm"), versioned("1.0.0", "count"))
	if err := f.Close(); err != nil { // perhaps while it is compiled
		t.Fatal(err)
	}
	if _, err := f.Call(t.Context(), "p", plugins.Call{Tool: "count"}); !errors.Is(err, plugins.ErrUnknownPlugin) {
		t.Errorf("after Close: %v", err)
	}
}
