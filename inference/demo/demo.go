// Package demo is the model that the binary carries: a small network of the gpt-oss architecture that speaks harmony.
//
// It owns the weights in model/, which is an ordinary model folder, and opens them. It does not know how they are run,
// what a conversation is, or how the model was trained: its corpus and its recipe lie in the folders below, README.md is
// its model card, and model/manifest.json says which sources and weights belong together. Functions are safe for
// concurrent use.
package demo

import (
	"embed"
	"fmt"

	"chorale/inference/checkpoint"
	"chorale/inference/tokenizer"
)

// ID is the model's name in requests and responses.
const ID = "chorale-demo"

// Ranks is how many ranks of o200k_harmony the model's tokenizer keeps.
const Ranks = 2048

//go:embed model/model.safetensors model/config.json
var files embed.FS

// Open returns the model as a checkpoint in the Hugging Face layout. Its bytes are a copy in memory (10 MB), which the
// garbage collector frees; the checkpoint holds nothing else to close.
func Open() (*checkpoint.Checkpoint, error) {
	weights, err := files.ReadFile("model/model.safetensors")
	if err != nil {
		return nil, fmt.Errorf("open the built-in model: %w", err)
	}
	config, err := files.ReadFile("model/config.json")
	if err != nil {
		return nil, fmt.Errorf("open the built-in model: %w", err)
	}
	c, err := checkpoint.FromBytes(ID, weights, config)
	if err != nil {
		return nil, fmt.Errorf("open the built-in model: %w", err)
	}
	return c, nil
}

// Tokenizer returns the model's tokenizer, which model/tokenizer.json describes too: the first Ranks ranks of
// o200k_harmony and the special tokens of gpt-oss behind them.
func Tokenizer() (*tokenizer.Tokenizer, error) { return tokenizer.Truncated(Ranks) }
