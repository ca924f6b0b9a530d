package page_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chorale/toolhost/browser/page"
)

// vectors reads the reference's answers, if they are there.
func vectors(t *testing.T, into any) {
	t.Helper()
	dir := os.Getenv("CHORALE_VECTORS")
	if dir == "" {
		dir = "../../../../shared/vectors"
	}
	data, err := os.ReadFile(filepath.Join(dir, "harmony", "browser_cases.json"))
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "vectors") {
			t.Fatalf("vectors are required: %v", err)
		}
		t.Skipf("no vectors: %v", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestVectors(t *testing.T) {
	t.Parallel()
	var v struct {
		Wrap []struct {
			Name, Text string
			Width      int
			Lines      []string
		} `json:"wrap_cases"`
		Strip []struct{ Name, Text, Result string } `json:"strip_link_cases"`
	}
	vectors(t, &v)
	if len(v.Wrap) < 17 || len(v.Strip) < 7 {
		t.Fatalf("%d and %d cases, want at least 17 and 7", len(v.Wrap), len(v.Strip))
	}
	for _, c := range v.Wrap {
		if got := page.Wrap(c.Text, c.Width); !slices.Equal(got, c.Lines) {
			t.Errorf("%s:\n got %q\nwant %q", c.Name, got, c.Lines)
		}
	}
	for _, c := range v.Strip {
		if got := page.StripLinks(c.Text); got != c.Result {
			t.Errorf("%s: got %q, want %q", c.Name, got, c.Result)
		}
	}
}
