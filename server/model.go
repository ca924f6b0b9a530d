package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"chorale/inference/checkpoint"
	"chorale/inference/demo"
	"chorale/inference/gptoss"
	"chorale/inference/tokenizer"
)

// A model is what --model names: weights that are mapped and not yet checked, and the tokenizer that goes with them.
type model struct {
	id         string // what clients ask for
	demo       bool
	checkpoint *checkpoint.Checkpoint
	tokenizer  *tokenizer.Tokenizer
}

// openModel opens the model at path, or the built-in one for "". The caller closes the checkpoint.
func openModel(path string) (*model, error) {
	if path == "" {
		return openDemo()
	}
	c, err := checkpoint.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	t, err := tokenizerOf(c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open model %s: %w", path, err), c.Close())
	}
	return &model{id: modelID(path), checkpoint: c, tokenizer: t}, nil
}

func openDemo() (*model, error) {
	c, err := demo.Open()
	if err != nil {
		return nil, fmt.Errorf("open built-in model: %w", err)
	}
	t, err := demo.Tokenizer()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open built-in model: %w", err), c.Close())
	}
	return &model{id: demo.ID, demo: true, checkpoint: c, tokenizer: t}, nil
}

// load checks the weights, and that the tokenizer has no ids without a row.
func (m *model) load() (*gptoss.Model, error) {
	weights, err := gptoss.Load(m.checkpoint)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	if ids, rows := m.tokenizer.Vocab(), weights.Config.Vocab; ids > rows {
		return nil, fmt.Errorf("load model %s: its tokenizer has %d ids, its embedding only %d rows; does it lack its tokenizer.json?", m.id, ids, rows)
	}
	return weights, nil
}

// tokenizerOf is the tokenizer that lies with the weights; most gpt-oss checkpoints have o200k_harmony, some say nothing.
func tokenizerOf(c *checkpoint.Checkpoint) (*tokenizer.Tokenizer, error) {
	data, ok, err := c.TokenizerJSON()
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return tokenizer.O200kHarmony()
	}
	t, err := tokenizer.LoadJSON(data)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	return t, nil
}

// modelID is the folder's or file's name, as people name models.
func modelID(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	name := filepath.Base(path)
	for _, ext := range []string{".gguf", ".safetensors"} {
		name = strings.TrimSuffix(name, ext)
	}
	if parent := filepath.Base(filepath.Dir(path)); name == "original" {
		return parent // openai/gpt-oss-20b keeps its first layout in a folder of this name
	}
	return name
}

// openTokenizer opens the tokenizer of the model at path, or o200k_harmony for "".
func openTokenizer(path string) (*tokenizer.Tokenizer, error) {
	if path == "" {
		return tokenizer.O200kHarmony()
	}
	m, err := openModel(path)
	if err != nil {
		return nil, err
	}
	return m.tokenizer, m.checkpoint.Close()
}
