// Command pack turns the text file of a tiktoken rank table into the packed form that package tokenizer embeds.
//
//	go run ./inference/tokenizer/pack o200k_base.tiktoken
//
// run from the repository root writes inference/tokenizer/o200k_base.bin, which holds every token's length in one byte
// followed by its bytes, in rank order, and inference/tokenizer/o200k_base.json, which records the hashes of both forms.
// The text file is published by OpenAI with tiktoken (MIT) and is part of the Go module
// github.com/pkoukk/tiktoken-go-loader v0.0.2 as assets/o200k_base.tiktoken. A file with another hash is refused.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// sourceSHA256 is the hash that tiktoken and openai/harmony check o200k_base.tiktoken against.
const sourceSHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

const outputDir = "inference/tokenizer"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./inference/tokenizer/pack o200k_base.tiktoken")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if got := hash(text); got != sourceSHA256 {
		return fmt.Errorf("%s: sha256 is %s, want %s", path, got, sourceSHA256)
	}
	packed, ranks, err := pack(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	manifest, err := json.MarshalIndent(map[string]any{
		"source":        "o200k_base.tiktoken",
		"source_sha256": sourceSHA256,
		"packed":        "o200k_base.bin",
		"packed_sha256": hash(packed),
		"ranks":         ranks,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(outputDir, "o200k_base.bin"), packed, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(outputDir, "o200k_base.json"), append(manifest, '\n'), 0o644)
}

// pack converts lines of "base64(token) rank", which must come in rank order without holes.
func pack(text []byte) (packed []byte, ranks int, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		encoded, rank, _ := bytes.Cut(lines.Bytes(), []byte{' '})
		token, err := base64.StdEncoding.AppendDecode(nil, encoded)
		if err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", ranks+1, err)
		}
		if got, err := strconv.Atoi(string(rank)); err != nil || got != ranks {
			return nil, 0, fmt.Errorf("line %d: rank is %q, want %d", ranks+1, rank, ranks)
		}
		if len(token) == 0 || len(token) > 255 {
			return nil, 0, fmt.Errorf("line %d: token of %d bytes, want 1 to 255", ranks+1, len(token))
		}
		packed = append(packed, byte(len(token)))
		packed = append(packed, token...)
		ranks++
	}
	return packed, ranks, lines.Err()
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
