// Package manifest says which weights of the demo model came from which sources.
//
// It owns the format of model/manifest.json. It does not know how weights are made or used. Functions are safe for
// concurrent use.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
)

// File is the manifest's name in the model's folder.
const File = "manifest.json"

// A Manifest ties the files of the model to the training runs that they came from. Sums are SHA-256 in hexadecimal.
type Manifest struct {
	ID    string            `json:"id"`
	Files map[string]string `json:"files"` // sums by name
	Runs  []Run             `json:"runs"`  // each continues from the one before
}

// A Run is one training.
type Run struct {
	Seed          uint64 `json:"corpus_seed"`
	Documents     int    `json:"corpus_documents"`
	Tokens        int    `json:"corpus_tokens"`
	CorpusSources string `json:"corpus_sources"` // corpus.SourcesDigest when the corpus was written
	// SameCorpus are digests of later sources that were seen to write the same bytes; the model card says how.
	SameCorpus []string `json:"same_corpus,omitempty"`
	Recipe     string   `json:"recipe"` // sum of train.py
}

// Read reads a manifest. Errors name the file.
func Read(path string) (*Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(m.Runs) == 0 || m.Files == nil {
		return nil, fmt.Errorf("%s: files or runs are missing", path)
	}
	return &m, nil
}

// Write writes the manifest.
func (m *Manifest) Write(path string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o666)
}

// Sum is the sum of a file.
func Sum(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
