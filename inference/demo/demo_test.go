package demo_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"chorale/inference/checkpoint"
	"chorale/inference/demo"
	"chorale/inference/demo/corpus"
	"chorale/inference/demo/manifest"
	"chorale/inference/gptoss"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	c, err := demo.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check(t, c)
}

func TestFolderIsAnOrdinaryModel(t *testing.T) {
	t.Parallel()
	c, err := checkpoint.Open("model")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check(t, c)
	got, ok, err := c.TokenizerJSON()
	if err != nil || !ok {
		t.Fatalf("tokenizer.json: %v, %v", ok, err)
	}
	tok, err := demo.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := tok.WriteJSON(&want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("model/tokenizer.json is not what the tokenizer writes; run the install command again")
	}
}

func check(t *testing.T, c *checkpoint.Checkpoint) {
	t.Helper()
	m, err := gptoss.Load(c)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := demo.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.Vocab != tok.Vocab() {
		t.Errorf("the model has %d rows, its tokenizer %d ids", m.Config.Vocab, tok.Vocab())
	}
	if ret, ok := tok.Special("<|return|>"); !ok || len(m.Config.EOS) == 0 || m.Config.EOS[0] != ret {
		t.Errorf("end tokens are %v, want <|return|> = %d first", m.Config.EOS, ret)
	}
}

// The folder's budget is 12 MB, since every binary carries it.
func TestSize(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("model")
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 12e6 {
		t.Errorf("model/ has %d bytes, at most 12,000,000 are allowed", total)
	}
}

// Weights without their sources could not be made again, so neither changes alone.
func TestManifest(t *testing.T) {
	t.Parallel()
	m, err := manifest.Read(filepath.Join("model", manifest.File))
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != demo.ID {
		t.Errorf("id is %q, want %q", m.ID, demo.ID)
	}
	entries, err := os.ReadDir("model")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == manifest.File {
			continue
		}
		got, err := manifest.Sum(filepath.Join("model", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if want := m.Files[e.Name()]; got != want {
			t.Errorf("%s has sum %s, the manifest says %q", e.Name(), got, want)
		}
	}
	if got, want := len(m.Files), len(entries)-1; got != want {
		t.Errorf("the manifest lists %d files, model/ has %d", got, want)
	}
	last := m.Runs[len(m.Runs)-1]
	sources, err := corpus.SourcesDigest()
	if err != nil {
		t.Fatal(err)
	}
	if sources != last.CorpusSources && !slices.Contains(last.SameCorpus, sources) {
		t.Errorf("the corpus' sources have sum %s, the weights were trained with %s: train again, or take the change back", sources, last.CorpusSources)
	}
	recipe, err := manifest.Sum(filepath.Join("train", "train.py"))
	if err != nil {
		t.Fatal(err)
	}
	if recipe != last.Recipe {
		t.Errorf("train.py has sum %s, the weights were trained with %s: train again, or take the change back", recipe, last.Recipe)
	}
}
