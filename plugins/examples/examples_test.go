// Package examples_test keeps the example plugins honest: what is committed is what the sources say, and it works.
package examples_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"chorale/plugins"
	"chorale/plugins/kit"
	"chorale/sandbox/python"
	"chorale/sandbox/quickjs"
)

// built is an entry of manifest.json: hashes by name of file.
type built struct {
	Compiler, Flags string
	Output, Sources map[string]string
}

func readBuilt(t *testing.T) map[string]built {
	t.Helper()
	p, err := os.ReadFile("manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]built
	if err := json.Unmarshal(p, &all); err != nil {
		t.Fatalf("manifest.json: %v", err)
	}
	return all
}

// TestBuilt fails when a source was edited and not built, or a file is in the folder and not in manifest.json.
func TestBuilt(t *testing.T) {
	t.Parallel()
	all := readBuilt(t)
	folders, err := filepath.Glob("*/*.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) != len(all) {
		t.Errorf("there are %d modules and %d entries in manifest.json; run ./build", len(folders), len(all))
	}
	total := 0
	for name, b := range all {
		if b.Compiler == "" || b.Flags == "" || len(b.Sources) == 0 || len(b.Output) != 1 {
			t.Errorf("%s: manifest.json is incomplete", name)
		}
		for _, files := range []map[string]string{b.Sources, b.Output} {
			for file, want := range files {
				p, err := os.ReadFile(file)
				if err != nil {
					t.Error(err)
					continue
				}
				if sum := sha256.Sum256(p); hex.EncodeToString(sum[:]) != want {
					t.Errorf("%s: the content is not what manifest.json says; run plugins/examples/build %s", file, name)
				}
			}
		}
		for file := range b.Output {
			if fi, err := os.Stat(file); err == nil {
				total += int(fi.Size())
			}
		}
	}
	if total > 5<<20 {
		t.Errorf("the modules have %d bytes together; more than 5 MiB do not belong into a repository", total)
	}
}

// TestManifests checks what the loader would, without compiling.
func TestManifests(t *testing.T) {
	t.Parallel()
	for name := range readBuilt(t) {
		p, err := os.ReadFile(filepath.Join(name, name+".json"))
		if err != nil {
			t.Error(err)
			continue
		}
		m, err := plugins.DecodeManifest(p)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m.Name != name {
			t.Errorf("%s: the manifest's name is %s", name, m.Name)
		}
		for _, tool := range m.Tools {
			if len(tool.Examples) == 0 {
				t.Errorf("%s: tool %s has no examples", name, tool.Name)
			}
		}
	}
}

// TestExamples runs what the manifests promise, through the loader.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name := range readBuilt(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := plugins.Open(t.Context(), filepath.Join(name, name+".wasm"), plugins.Options{CacheDir: cacheDir(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			checks, err := kit.Examples(t.Context(), p, tapes(t, name), nil)
			if err != nil || len(checks) == 0 {
				t.Fatalf("%d examples were run: %v", len(checks), err)
			}
			for _, c := range checks {
				if c.Err != nil {
					t.Errorf("%s, %s: %v", c.Tool, c.Name, c.Err)
				}
			}
		})
	}
}

// interpreters are the real ones; nobody closes them. Python boots in seconds where the cache does not have its image.
var interpreters = sync.OnceValues(func() (map[string]plugins.Interpreter, error) {
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

// TestScripts runs what the manifests of scripts promise, and tries them with faults.
func TestScripts(t *testing.T) {
	t.Parallel()
	all, err := interpreters()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"dates/dates.py", "diff/diff.js"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			p, err := plugins.Open(t.Context(), file, plugins.Options{Interpreters: all})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			checks, err := kit.Examples(t.Context(), p, kit.Tapes{}, nil)
			if err != nil || len(checks) < 6 {
				t.Fatalf("%d examples were run: %v", len(checks), err)
			}
			faults, err := kit.Faults(t.Context(), p, nil, kit.Tapes{})
			if err != nil || len(faults) == 0 {
				t.Fatalf("%d faults were tried: %v", len(faults), err)
			}
			for _, c := range append(checks, faults...) {
				if c.Err != nil {
					t.Errorf("%s, %s: %v", c.Tool, c.Name, c.Err)
				}
			}
		})
	}
}

// TestExamplesFaults sees to it that an example which cannot do its work says why.
func TestExamplesFaults(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"units", "html", "text", "image", "weather"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := plugins.Open(t.Context(), filepath.Join(name, name+".wasm"), plugins.Options{CacheDir: cacheDir(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			checks, err := kit.Faults(t.Context(), p, nil, tapes(t, name))
			if err != nil || len(checks) == 0 {
				t.Fatalf("%d faults were tried: %v", len(checks), err)
			}
			for _, c := range checks {
				if c.Err != nil {
					t.Errorf("%s, %s: %v", c.Tool, c.Name, c.Err)
				}
				t.Logf("%s, %s: %s", c.Tool, c.Name, c.Note)
			}
		})
	}
}

// tapes has the tape of an example, if there is one.
func tapes(t *testing.T, name string) kit.Tapes {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(name, name+kit.TapeSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return kit.Tapes{Replay: p}
}

// cacheDir keeps compiled code from one run of the tests to the next, for Go modules take seconds.
func cacheDir(t *testing.T) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	return filepath.Join(dir, "chorale", "plugins")
}
