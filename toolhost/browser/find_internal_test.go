package browser

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The cases have pages whose text no document can have, so they are for the function below the tool.
func TestFindVectors(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("CHORALE_VECTORS")
	if dir == "" {
		dir = "../../../shared/vectors"
	}
	data, err := os.ReadFile(filepath.Join(dir, "harmony", "browser_cases.json"))
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "vectors") {
			t.Fatalf("vectors are required: %v", err)
		}
		t.Skipf("no vectors: %v", err)
	}
	var v struct {
		Find []struct {
			Name, Pattern string
			Page          struct{ URL, Title, Text string }
			Result        struct {
				URL, Title, Text string
				URLs             map[string]string
				Snippets         map[string]struct {
					Line int `json:"line_idx"`
				}
			}
		} `json:"find_cases"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Find) < 5 {
		t.Fatalf("%d cases, want at least 5", len(v.Find))
	}
	for _, c := range v.Find {
		p := &shown{kind: pageKind, url: c.Page.URL, cite: c.Page.URL, title: c.Page.Title, text: c.Page.Text}
		got := matches(p, c.Pattern)
		if got.url != c.Result.URL || got.title != c.Result.Title || got.text != c.Result.Text {
			t.Errorf("%s:\n got %q %q\n%s\nwant %q %q\n%s", c.Name, got.url, got.title, got.text, c.Result.URL, c.Result.Title, c.Result.Text)
		}
		if len(got.links) != len(c.Result.URLs) {
			t.Errorf("%s: %d links, want %d", c.Name, len(got.links), len(c.Result.URLs))
		}
		for i, to := range got.targets {
			id := string(rune('0' + i))
			if to.page != p || to.line != c.Result.Snippets[id].Line || got.links[i] != c.Result.URLs[id] {
				t.Errorf("%s: link %d leads to line %d of %q", c.Name, i, to.line, got.links[i])
			}
		}
	}
}
