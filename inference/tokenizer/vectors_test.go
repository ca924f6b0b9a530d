package tokenizer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chorale/inference/tokenizer"
)

// vectors reads a file of the shared test vectors, or skips the test when they are not beside the repository.
func vectors(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("CHORALE_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "vectors") {
			t.Fatalf("vectors are required: %v", err)
		}
		t.Skipf("no vectors: %v", err)
	}
	return data
}

// TestVectors compares with the ids that the reference encoder gave.
func TestVectors(t *testing.T) {
	t.Parallel()
	var file struct {
		Cases []struct {
			Name           string  `json:"name"`
			Text           string  `json:"text"`
			AllowedSpecial string  `json:"allowed_special"`
			Tokens         []int32 `json:"tokens"`
		} `json:"tokenizer_cases"`
	}
	if err := json.Unmarshal(vectors(t, "harmony/cases.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("no tokenizer_cases")
	}
	tok := harmony(t)
	for _, c := range file.Cases {
		got := tok.Encode(nil, c.Text)
		if c.AllowedSpecial == "all" {
			got = tok.EncodeSpecial(nil, c.Text)
		}
		if !slices.Equal(got, c.Tokens) {
			t.Errorf("%s: %q\n got %v\nwant %v", c.Name, c.Text, got, c.Tokens)
		}
		if got := tok.Decode(c.Tokens); got != c.Text {
			t.Errorf("%s: decoded %q, want %q", c.Name, got, c.Text)
		}
	}
}

func harmony(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.O200kHarmony()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
