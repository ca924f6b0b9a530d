package parity_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"chorale/inference/checkpoint"
	"chorale/inference/gptoss"
	"chorale/inference/gptoss/gptosstest"
	"chorale/inference/gptoss/gptosstest/parity"
)

// reference computes the rows of a case.
func reference(c *parity.Case) [][]float32 {
	all := gptosstest.Reference(c.Model, c.Tokens, c.Positions)
	out := make([][]float32, len(c.Rows))
	for i, t := range c.Rows {
		out[i] = all[t]
	}
	return out
}

func cases(t *testing.T) []parity.Case {
	t.Helper()
	out, err := parity.Cases()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The specification is right: it was written from the description of the model, not from transformers' code.
func TestReferenceAgreesWithTransformers(t *testing.T) {
	t.Parallel()
	for _, c := range cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			if testing.Short() && len(c.Tokens) > 1000 {
				t.Skip("takes seconds")
			}
			worst, err := c.Compare(reference(&c))
			if err != nil {
				t.Error(err)
			}
			// Both are exact but for transformers' float32; the looser tolerance is for Runners.
			if !(worst < 5e-5) {
				t.Errorf("worst logit off by %.2g of the range, want less than 5e-5", worst)
			}
			t.Logf("worst logit off by %.2g of the range", worst)
		})
	}
}

// The fixtures are worth having: what other implementations got wrong fails the comparison.
func TestMistakesAreNoticed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	zero := func(v []float32) []float32 { return make([]float32, len(v)) }
	eachLayer := func(f func(l *gptoss.Layer)) func(*gptoss.Model) {
		return func(m *gptoss.Model) {
			for i := range m.Layers {
				f(&m.Layers[i])
			}
		}
	}
	mistakes := []struct {
		name  string
		apply func(m *gptoss.Model)
	}{
		{"window one too short", func(m *gptoss.Model) { m.Config.Window-- }},
		{"window one too long", func(m *gptoss.Model) { m.Config.Window++ }},
		{"windows on the other layers", eachLayer(func(l *gptoss.Layer) { l.Sliding = !l.Sliding })},
		{"no windows", eachLayer(func(l *gptoss.Layer) { l.Sliding = false })},
		{"YaRN's range rounded", func(m *gptoss.Model) { m.Config.RopeTruncate = true }},
		{"no YaRN", func(m *gptoss.Model) { m.Config.RopeFactor = 1 }},
		{"no sinks", eachLayer(func(l *gptoss.Layer) {
			l.Sinks = zero(l.Sinks)
			for h := range l.Sinks {
				l.Sinks[h] = float32(math.Inf(-1))
			}
		})},
		{"sinks of zero", eachLayer(func(l *gptoss.Layer) { l.Sinks = zero(l.Sinks) })},
		{"no clamping", func(m *gptoss.Model) { m.Config.SwigluLimit = 1e9 }},
		{"ordinary SiLU", func(m *gptoss.Model) { m.Config.SwigluAlpha = 1 }},
		{"one expert too few", func(m *gptoss.Model) { m.Config.ExpertsPerToken-- }},
		{"no router bias", eachLayer(func(l *gptoss.Layer) { l.RouterBias = zero(l.RouterBias) })},
		{"no output bias", eachLayer(func(l *gptoss.Layer) { l.OBias = zero(l.OBias) })},
		{"no down bias", eachLayer(func(l *gptoss.Layer) { l.Down.Bias = zero(l.Down.Bias) })},
		{"experts in another order", eachLayer(func(l *gptoss.Layer) {
			if l.GateUp.DType == checkpoint.BF16 { // gate_up is square here, so its shape would not tell
				l.GateUp.Transposed = !l.GateUp.Transposed
			} else {
				l.GateUp.Blocks = swapNibbles(l.GateUp.Blocks)
			}
		})},
	}
	for _, c := range cases(t) {
		if filepath.Base(c.Name) != "prompt" {
			continue
		}
		for _, mistake := range mistakes {
			t.Run(c.Checkpoint+"/"+mistake.name, func(t *testing.T) {
				m := *c.Model
				m.Layers = slices.Clone(m.Layers)
				mistake.apply(&m)
				wrong := c
				wrong.Model = &m
				worst, err := c.Compare(reference(&wrong))
				if err == nil {
					t.Errorf("not noticed: worst logit off by %.2g of the range", worst)
				}
				t.Logf("off by %.2g of the range", worst)
			})
		}
	}
}

func swapNibbles(data []byte) []byte {
	out := make([]byte, len(data))
	for i, b := range data {
		out[i] = b<<4 | b>>4
	}
	return out
}

func TestCompareRefuses(t *testing.T) {
	t.Parallel()
	c := cases(t)[0]
	for _, tt := range []struct {
		name  string
		spoil func(rows [][]float32) [][]float32
	}{
		{"a row missing", func(r [][]float32) [][]float32 { return r[1:] }},
		{"a logit missing", func(r [][]float32) [][]float32 { r[0] = r[0][1:]; return r }},
		{"not a number", func(r [][]float32) [][]float32 { r[3][7] = float32(math.NaN()); return r }},
		{"infinite", func(r [][]float32) [][]float32 { r[3][7] = float32(math.Inf(-1)); return r }},
		{"one logit off", func(r [][]float32) [][]float32 {
			r[3][7] += 1.01 * parity.Tolerance * (slices.Max(r[3]) - slices.Min(r[3]))
			return r
		}},
		{"rows of other tokens", func(r [][]float32) [][]float32 { r[0], r[1] = r[1], r[0]; return r }},
	} {
		got := make([][]float32, len(c.Logits))
		for i := range got {
			got[i] = slices.Clone(c.Logits[i])
		}
		if worst, err := c.Compare(got); err != nil || worst != 0 {
			t.Fatalf("the expected logits themselves: %v, %v", worst, err)
		}
		if _, err := c.Compare(tt.spoil(got)); err == nil {
			t.Errorf("%s: accepted", tt.name)
		}
	}
}

// What is committed is what make.py made: no file was edited, added or lost since.
func TestManifest(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		SHA256 map[string]string `json:"sha256"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	paths := []string{"make.py", "requirements.txt"}
	err = filepath.WalkDir("testdata", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "manifest.json" {
			paths = append(paths, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); got != manifest.SHA256[path] {
			t.Errorf("sha256 of %s is %s, the manifest has %q: run make.py again", path, got, manifest.SHA256[path])
		}
		delete(manifest.SHA256, path)
	}
	for path := range manifest.SHA256 {
		t.Errorf("%s is in the manifest and not in the folder", path)
	}
}
