package quickjs

// These tests are inside the package because what they check has no surface of its own.

import (
	"crypto/sha256"
	"fmt"
	"os"
	"testing"
)

// TestArtefactIsWhatTheRecipeMade fails when something in build was edited and the outputs were not made again, or when an
// output was changed. It needs no tools.
func TestArtefactIsWhatTheRecipeMade(t *testing.T) {
	t.Parallel()
	m, err := readManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files(t, "build") {
		if sum := hash(t, "build/"+name); m.Recipe[name] != sum {
			t.Errorf("build/%s has SHA-256 %s, the artefact was made with %q: run make quickjs-wasm", name, sum, m.Recipe[name])
		}
	}
	outputs := files(t, "artefact")
	if len(outputs) != len(m.Outputs)+1 {
		t.Errorf("artefact has the files %v, the manifest names %v", outputs, m.Outputs)
	}
	for name, want := range m.Outputs {
		if sum := hash(t, "artefact/"+name); want.SHA256 != sum {
			t.Errorf("artefact/%s has SHA-256 %s, the manifest says %q", name, sum, want.SHA256)
		}
	}
	if n := m.Outputs[moduleFile].Bytes; n > 1<<20 {
		t.Errorf("%s has %d bytes, more than a megabyte", moduleFile, n)
	}
	for _, tool := range []string{"clang", "wasm-ld", "zstd"} {
		if m.Tools[tool] == "" {
			t.Errorf("the manifest does not say which %s was used", tool)
		}
	}
	if len(m.Sources) != 1 || len(m.Sources[0].SHA256) != 64 || m.QuickJS == "" || m.Flags == "" {
		t.Errorf("the manifest is not complete: %+v", m)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func hash(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}
