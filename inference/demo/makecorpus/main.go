// Command makecorpus writes the demo model's training corpus, or with -show prints episodes as text.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"chorale/inference/demo/corpus"
	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "makecorpus:", err)
		os.Exit(1)
	}
}

func run() error {
	ranks := flag.Int("ranks", 2048, "size of the truncated rank table")
	seed := flag.Uint64("seed", 1, "seed of everything")
	documents := flag.Int("documents", 1000, "documents to invent")
	row := flag.Int("row", 2048, "tokens a row; longer documents are left out")
	split := flag.String("split", "train", "train or heldout")
	out := flag.String("out", "", "folder to write")
	show := flag.Int("show", 0, "print this many episodes instead of writing")
	tokenizerJSON := flag.String("tokenizer", "", "also write the tokenizer as tokenizer.json to this file")
	flag.Parse()

	t, err := tokenizer.Truncated(*ranks)
	if err != nil {
		return err
	}
	codec, err := harmony.NewCodec(t)
	if err != nil {
		return err
	}
	o := corpus.Options{Codec: codec, Seed: *seed, Documents: *documents, RowTokens: *row}
	switch *split {
	case "train":
	case "heldout":
		o.Split = corpus.HeldOut
	default:
		return fmt.Errorf("-split is %q, want train or heldout", *split)
	}
	if *tokenizerJSON != "" {
		f, err := os.Create(*tokenizerJSON)
		if err != nil {
			return err
		}
		if err := t.WriteJSON(f); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if *show > 0 {
		return print(codec, o, *show)
	}
	if *out == "" {
		return fmt.Errorf("-out is missing: the folder to write")
	}
	m, err := corpus.Write(*out, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// print shows n episodes with the model's own words between ⟦ and ⟧.
func print(codec *harmony.Codec, o corpus.Options, n int) error {
	w, err := corpus.NewWriter(codec)
	if err != nil {
		return err
	}
	source := corpus.NewSource(o.Seed, o.Split, 0)
	for range n {
		d, err := w.Document(source.Episode())
		if err != nil {
			return err
		}
		fmt.Printf("=== %v, %d tokens\n", d.Skill, len(d.Tokens))
		for i := 0; i < len(d.Tokens); {
			own := d.Kinds[i] > corpus.Prompt
			j := i
			for j < len(d.Tokens) && (d.Kinds[j] > corpus.Prompt) == own {
				j++
			}
			text := codec.Tokenizer().Decode(d.Tokens[i:j])
			if own {
				text = "⟦" + text + "⟧"
			}
			fmt.Print(text)
			i = j
		}
		fmt.Println()
	}
	return nil
}
