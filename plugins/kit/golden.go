package kit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"chorale/plugins"
)

// GoldenSuffix is what the name of a plugin's golden results has in place of ".wasm".
const GoldenSuffix = ".golden.json"

// Golden are the results of a plugin's examples as they were once, and were found good. It is for one goroutine.
type Golden struct {
	learns  bool
	results []goldenResult
}

type goldenResult struct {
	Tool    string          `json:"tool"`
	Example string          `json:"example"`
	Text    string          `json:"text,omitempty"`   // of results that are no JSON
	Output  json.RawMessage `json:"output,omitempty"` // of those that are
	Files   []goldenFile    `json:"files,omitempty"`
}

type goldenFile struct {
	Path   string `json:"path"`
	MIME   string `json:"mime"`
	SHA256 string `json:"sha256"`
}

// goldenVersion is that of the file's format.
const goldenVersion = 1

type goldenForm struct {
	Version int            `json:"version"`
	Results []goldenResult `json:"results"`
}

// LearnGolden returns golden results that take over whatever the examples give.
func LearnGolden() *Golden { return &Golden{learns: true} }

// ReadGolden reads what WriteTo wrote.
func ReadGolden(r io.Reader) (*Golden, error) {
	var form goldenForm
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&form); err != nil {
		return nil, fmt.Errorf("golden results: %w", err)
	}
	if form.Version != goldenVersion {
		return nil, fmt.Errorf("golden results: version %d, want %d", form.Version, goldenVersion)
	}
	return &Golden{results: form.Results}, nil
}

// WriteTo implements io.WriterTo. It writes JSON that can be read and compared by people.
func (g *Golden) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(goldenForm{goldenVersion, g.results}); err != nil {
		return 0, fmt.Errorf("golden results: %w", err)
	}
	return b.WriteTo(w)
}

// Len is how many results there are.
func (g *Golden) Len() int { return len(g.results) }

// check compares a result, or learns it. A nil receiver has nothing against any.
func (g *Golden) check(tool, example string, r plugins.Result) error {
	if g == nil {
		return nil
	}
	got := goldenResult{Tool: tool, Example: example, Output: r.Structured}
	if got.Output == nil {
		got.Text = r.Text
	}
	for _, f := range r.Files {
		sum := sha256.Sum256(f.Data)
		got.Files = append(got.Files, goldenFile{f.Path, f.MIME, hex.EncodeToString(sum[:])})
	}
	if g.learns {
		g.results = append(g.results, got)
		return nil
	}
	i := slices.IndexFunc(g.results, func(w goldenResult) bool { return w.Tool == tool && w.Example == example })
	if i < 0 {
		return errors.New("there is no golden result for it: see that it is right, then run the test with --update")
	}
	want := g.results[i]
	switch {
	case want.Output != nil && !sameJSON(want.Output, got.Output):
		return fmt.Errorf("golden output: %s", difference(compact(got.Output), compact(want.Output)))
	case want.Output == nil && (got.Output != nil || got.Text != want.Text):
		return fmt.Errorf("golden text: %s", difference(r.Text, want.Text))
	case !slices.Equal(got.Files, want.Files):
		return fmt.Errorf("golden files: got  %v\n want %v", got.Files, want.Files)
	}
	return nil
}
