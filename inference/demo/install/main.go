// Command install puts freshly trained weights into the demo model's folder, with the tokenizer's files and a manifest
// that ties them to the sources of the corpus and of the recipe.
//
//	go run ./inference/demo/install -from DIR
//
// DIR holds what train.py wrote (model.safetensors, config.json, generation_config.json) and the corpus' meta.json. The
// weights are refused if their corpus was written by other sources than those that are built into this command.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"chorale/inference/demo"
	"chorale/inference/demo/corpus"
	"chorale/inference/demo/manifest"
)

func main() {
	from := flag.String("from", "", "folder with the trained model and the corpus' meta.json")
	folder := flag.String("demo", "inference/demo", "the demo model's source folder")
	resumed := flag.Bool("resumed", false, "the training continued from the weights that are installed now")
	flag.Parse()
	if err := install(*from, *folder, *resumed); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
}

func install(from, folder string, resumed bool) error {
	if from == "" {
		return fmt.Errorf("-from is missing: the folder with the trained model")
	}
	meta, err := readMeta(filepath.Join(from, "meta.json"))
	if err != nil {
		return err
	}
	m := &manifest.Manifest{ID: demo.ID, Files: map[string]string{}}
	model := filepath.Join(folder, "model")
	if resumed {
		if m, err = manifest.Read(filepath.Join(model, manifest.File)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(model, 0o777); err != nil {
		return err
	}
	contents := map[string][]byte{"tokenizer_config.json": []byte(tokenizerConfig)}
	for _, name := range []string{"model.safetensors", "config.json", "generation_config.json"} {
		if contents[name], err = os.ReadFile(filepath.Join(from, name)); err != nil {
			return err
		}
	}
	t, err := demo.Tokenizer()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.WriteJSON(&text); err != nil {
		return err
	}
	contents["tokenizer.json"] = text.Bytes()
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(model, name), content, 0o666); err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		m.Files[name] = hex.EncodeToString(sum[:])
	}
	recipe, err := manifest.Sum(filepath.Join(folder, "train", "train.py"))
	if err != nil {
		return err
	}
	m.Runs = append(m.Runs, manifest.Run{Seed: meta.Seed, Documents: meta.Documents, Tokens: meta.Tokens, CorpusSources: meta.Sources, Recipe: recipe})
	return m.Write(filepath.Join(model, manifest.File))
}

func readMeta(path string) (*corpus.Meta, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var meta corpus.Meta
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	now, err := corpus.SourcesDigest()
	if err != nil {
		return nil, err
	}
	if meta.Sources != now {
		return nil, fmt.Errorf("%s: sources is %q, want %q: the corpus was written by other sources", path, meta.Sources, now)
	}
	return &meta, nil
}

// tokenizerConfig is what transformers' AutoTokenizer wants beside tokenizer.json.
const tokenizerConfig = `{
  "bos_token": "<|startoftext|>",
  "clean_up_tokenization_spaces": false,
  "eos_token": "<|return|>",
  "model_input_names": [
    "input_ids",
    "attention_mask"
  ],
  "model_max_length": 131072,
  "pad_token": "<|endoftext|>",
  "tokenizer_class": "PreTrainedTokenizerFast"
}
`
