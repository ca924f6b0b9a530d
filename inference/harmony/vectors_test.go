package harmony_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
)

// codec returns the codec over the tokenizer of gpt-oss.
func codec(t testing.TB) *harmony.Codec {
	t.Helper()
	tok, err := tokenizer.O200kHarmony()
	if err != nil {
		t.Fatal(err)
	}
	c, err := harmony.NewCodec(tok)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// vector reads a file of the reference's test vectors, or skips the test when they are not beside the repository.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("CHORALE_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	data, err := os.ReadFile(filepath.Join(dir, "harmony", name))
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "vectors") {
			t.Fatalf("vectors are required: %v", err)
		}
		t.Skipf("no vectors: %v", err)
	}
	return data
}

// vectorText is a vector file as text, with line feeds only and nothing blank at its end.
func vectorText(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimRight(strings.ReplaceAll(string(vector(t, name)), "\r\n", "\n"), " \t\n")
}

// TestRenderVectors compares with the reference renderer's tokens and text.
func TestRenderVectors(t *testing.T) {
	t.Parallel()
	var file struct {
		Cases []json.RawMessage `json:"render_cases"`
	}
	if err := json.Unmarshal(vector(t, "cases.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("no render_cases")
	}
	c := codec(t)
	for _, line := range file.Cases {
		var want struct {
			Name   string  `json:"name"`
			Text   *string `json:"expected_text"`
			File   string  `json:"expected_file"`
			Tokens []int32 `json:"expected_tokens"`
		}
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		t.Run(want.Name, func(t *testing.T) {
			if want.Text == nil {
				text := vectorText(t, want.File)
				want.Text = &text
			}
			out, err := c.RenderCase(line)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Text   string  `json:"text"`
				Tokens []int32 `json:"tokens"`
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if want.File != "" {
				got.Text = strings.TrimRight(got.Text, " \t\n")
			}
			if got.Text != *want.Text {
				t.Errorf("text\n got %q\nwant %q", got.Text, *want.Text)
			}
			if !slices.Equal(got.Tokens, want.Tokens) {
				t.Errorf("tokens\n got %v\nwant %v", got.Tokens, want.Tokens)
			}
		})
	}
}
