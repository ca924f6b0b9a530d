package python

// These tests are inside the package because what they check has no surface of its own.

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chorale/sandbox"
)

// TestArtefactIsWhatTheRecipeMade fails when something in build was edited and the outputs were not made again, or when an
// output was changed. It needs no tools.
func TestArtefactIsWhatTheRecipeMade(t *testing.T) {
	t.Parallel()
	m, err := artefactManifest()
	if err != nil {
		t.Fatal(err)
	}
	recipe := hashes(t, "build")
	for name, sum := range recipe {
		if m.Recipe[name] != sum {
			t.Errorf("build/%s has SHA-256 %s, the artefact was made with %q: run make python-wasm", name, sum, m.Recipe[name])
		}
	}
	for name := range m.Recipe {
		if recipe[name] == "" {
			t.Errorf("build/%s, which the artefact was made with, is gone", name)
		}
	}
	outputs := hashes(t, "artefact")
	delete(outputs, "manifest.json")
	for name, sum := range outputs {
		if m.Outputs[name].SHA256 != sum {
			t.Errorf("artefact/%s has SHA-256 %s, the manifest says %q", name, sum, m.Outputs[name].SHA256)
		}
	}
	for name := range m.Outputs {
		if outputs[name] == "" {
			t.Errorf("artefact/%s, which the manifest names, is gone", name)
		}
	}
}

// TestManifestNamesAllSources checks that the list of downloads is the one in the manifest, each with a hash.
func TestManifestNamesAllSources(t *testing.T) {
	t.Parallel()
	m, err := artefactManifest()
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("build/sources.txt")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(string(list)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			want = append(want, line)
		}
	}
	hash := regexp.MustCompile(`^[0-9a-f]{64}$`)
	for _, s := range m.Sources {
		got = append(got, fmt.Sprintf("%s %s %s", s.SHA256, s.Name, s.From))
		if !hash.MatchString(s.SHA256) {
			t.Errorf("%s has no SHA-256: %q", s.Name, s.SHA256)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the manifest names\n%s\nand sources.txt\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, tool := range []string{"clang", "wasm-ld", "wasm-opt", "zstd"} {
		if m.Tools[tool] == "" {
			t.Errorf("the manifest does not say which %s was used", tool)
		}
	}
}

// hashes returns the SHA-256 of every file below a directory, by its name there.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "__pycache__" {
			return filepath.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		sums[filepath.ToSlash(name)] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

func TestArtefactModuleIsInstrumented(t *testing.T) {
	t.Parallel()
	wasm, err := artefactModule()
	if err != nil {
		t.Fatal(err)
	}
	again, err := sandbox.Instrument(wasm)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, wasm) {
		t.Error("the rewriter adds to the embedded interpreter: run sandbox/python/build/build.sh instrument manifest")
	}
}

func TestArtefactFiles(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	err := artefactFiles(func(name string, data []byte) error {
		if _, twice := seen[name]; twice {
			t.Errorf("%s comes twice", name)
		}
		if !fs.ValidPath(name) {
			t.Errorf("%q is not a clean relative path", name)
		}
		seen[name] = len(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"python3.13/encodings/__init__.pyc", "python3.13/sqlite3/__init__.pyc", "python3.13/asyncio/events.pyc",
		"chorale/_chorale/__init__.py", "chorale/ctypes.py",
		"site-packages/sympy/__init__.pyc", "site-packages/tzdata/zoneinfo/Europe/Berlin",
	} {
		if seen[name] == 0 {
			t.Errorf("%s is not there", name)
		}
	}
	for name := range seen {
		if strings.Contains(name, "/test/") || strings.Contains(name, "__pycache__") || strings.HasSuffix(name, ".so") {
			t.Errorf("%s should not be there", name)
		}
	}
	stop := fmt.Errorf("stop")
	if err := artefactFiles(func(string, []byte) error { return stop }); err == nil {
		t.Error("an error of the callback is lost")
	}
}

func TestArtefactHashIsStable(t *testing.T) {
	t.Parallel()
	if a, b := artefactHash(), artefactHash(); a != b || a == sha256.Sum256(nil) {
		t.Errorf("hashes %x and %x", a, b)
	}
}
