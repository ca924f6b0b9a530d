package search_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chorale/toolhost"
	"chorale/toolhost/browser/search"
)

// A fake answers with what it has and counts.
type fake struct {
	name    string
	results []search.Result
	err     error

	mu    sync.Mutex // guards asked during searches at the same time
	asked int
}

func (f *fake) Name() string { return f.name }

func (f *fake) Search(context.Context, search.Query) ([]search.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.results, f.err
}

func TestChain(t *testing.T) {
	t.Parallel()
	if _, err := search.NewChain(search.ChainOptions{}).Search(t.Context(), search.Query{Text: "q"}); !errors.Is(err, search.ErrNoBackend) {
		t.Errorf("without backends: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		broken := &fake{name: "one", err: &search.Error{Backend: "one", Reason: "answered 500"}}
		empty := &fake{name: "two"}
		good := &fake{name: "three", results: []search.Result{{URL: "https://a.org/"}}}
		c := search.NewChain(search.ChainOptions{}, search.Link{Backend: broken}, search.Link{Backend: empty}, search.Link{Backend: good})
		if c.Name() != "one, two, three" {
			t.Errorf("name %q", c.Name())
		}
		for range 2 { // the second time from memory
			results, err := c.Search(t.Context(), search.Query{Text: " q  x"})
			if err != nil || len(results) != 1 || broken.asked != 1 || empty.asked != 1 || good.asked != 1 {
				t.Errorf("%v, %v; asked %d, %d, %d; want the third's result and each asked once", results, err, broken.asked, empty.asked, good.asked)
			}
			results[0].URL = "changed by the caller"
		}
		if results, _ := c.Search(t.Context(), search.Query{Text: "Q X"}); results[0].URL != "https://a.org/" || good.asked != 1 {
			t.Errorf("what is remembered was changed, or is asked again in other letters")
		}
		c.Search(t.Context(), search.Query{Text: "other"})
		if broken.asked != 1 || good.asked != 2 {
			t.Errorf("one that failed just now was asked %d times, the good one %d; want 1 and 2", broken.asked, good.asked)
		}
		time.Sleep(16 * time.Minute)
		c.Search(t.Context(), search.Query{Text: "q x"})
		if broken.asked != 2 || good.asked != 3 {
			t.Errorf("after a while asked %d and %d times; want 2 and 3", broken.asked, good.asked)
		}
	})
}

func TestChainFails(t *testing.T) {
	t.Parallel()
	a := &fake{name: "a", err: &search.Error{Backend: "a", Reason: "no"}}
	b := &fake{name: "b", err: &search.Error{Backend: "b", Reason: "neither"}}
	c := search.NewChain(search.ChainOptions{}, search.Link{Backend: a}, search.Link{Backend: b})
	_, err := c.Search(t.Context(), search.Query{Text: "q"})
	var e *search.Error
	if err == nil || err.Error() != "a: no; b: neither" || !errors.As(err, &e) {
		t.Errorf("got %v, want what both say", err)
	}
}

func TestChainInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := &fake{name: "slow", results: []search.Result{{URL: "https://a.org/"}}}
		next := &fake{name: "next", results: []search.Result{{URL: "https://b.org/"}}}
		c := search.NewChain(search.ChainOptions{Remember: -1}, search.Link{Backend: slow, Interval: 2 * time.Second}, search.Link{Backend: next})
		began := time.Now()
		q := search.Query{Text: "q"}
		for range 3 {
			c.Search(t.Context(), q)
		}
		if took := time.Since(began); took != 4*time.Second || slow.asked != 3 || next.asked != 0 {
			t.Errorf("three queries took %v, asked %d and %d; want 4s, 3 and 0", took, slow.asked, next.asked)
		}
		done := make(chan string, 3)
		for range 3 { // at the same time: two can wait, for the third it is too long
			go func() {
				results, _ := c.Search(t.Context(), q)
				done <- results[0].URL
			}()
		}
		got := map[string]int{}
		for range 3 {
			got[<-done]++
		}
		if got["https://a.org/"] != 1 || got["https://b.org/"] != 2 {
			t.Errorf("got %v, want one that waited and two from the next", got)
		}
	})
}

func TestChainForgets(t *testing.T) {
	t.Parallel()
	f := &fake{name: "f", results: []search.Result{{URL: "https://a.org/"}}}
	c := search.NewChain(search.ChainOptions{Answers: 2}, search.Link{Backend: f})
	for _, text := range []string{"1", "2", "1", "3", "1", "2"} {
		c.Search(t.Context(), search.Query{Text: text})
	}
	if f.asked != 4 {
		t.Errorf("asked %d times, want 4: the answer used longest ago is forgotten", f.asked)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "norway.html", "<title>Norway</title><p>Oslo is the <b>capital</b> of Norway. <a href=sub/x.md>Cafés</a> abound.")
	write(t, dir, "sub/sweden list.md", "# Sweden\n\nStockholm is the capital of Sweden.")
	write(t, dir, "plain_text.txt", "Nothing about countries.")
	write(t, dir, ".hidden/x.txt", "capital hidden")
	write(t, dir, "program.go", "capital of code")
	write(t, dir, "large.txt", strings.Repeat("capital ", 1000))
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "passwd.txt")); err != nil {
		t.Fatal(err)
	}
	c, err := search.OpenCorpus(search.CorpusOptions{Dir: dir, Refresh: time.Nanosecond, Bytes: 4000})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	find := func(text string) string {
		t.Helper()
		results, err := c.Search(t.Context(), search.Query{Text: text, Offline: true})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var b strings.Builder
		for _, r := range results {
			b.WriteString(r.URL + " | " + r.Title + " | " + r.Snippet + "\n")
		}
		return b.String()
	}
	const norway = "corpus://docs/norway.html | Norway | Oslo is the capital of Norway. Cafés abound.\n"
	const sweden = "corpus://docs/sub/sweden%20list.md | Sweden | # Sweden\n\nStockholm is the capital of Sweden.\n"
	for _, q := range []struct{ text, want string }{
		{"capital of Norway", norway + sweden},
		{"cafe", norway},
		{"capitals stockholm", sweden + norway},
		{"passwd root hidden program", ""},
		{`") OR "x NEAR( * :`, ""},
		{"?!", ""},
		{"countries", "corpus://docs/plain_text.txt | plain text | Nothing about countries.\n"},
	} {
		if got := find(q.text); got != q.want {
			t.Errorf("%s:\n%swant\n%s", q.text, got, q.want)
		}
	}
	d, err := c.Document(t.Context(), "corpus://docs/sub/sweden%20list.md")
	if err != nil || d.MIME != "text/markdown" || d.Title != "Sweden" || !strings.Contains(string(d.Body), "Stockholm") {
		t.Errorf("%+v, %v", d, err)
	}
	for _, address := range []string{"corpus://other/norway.html", "corpus://docs/../norway.html/..", "corpus://docs/passwd.txt",
		"corpus://docs/..%2f..%2fetc%2fpasswd.txt", "corpus://docs/.hidden/x.txt", "corpus://docs/program.go", "corpus://docs/large.txt",
		"corpus://docs/", "file:///etc/passwd", "corpus:norway.html"} {
		if d, err := c.Document(t.Context(), address); err == nil {
			t.Errorf("%s opens %+v", address, d)
		}
	}
	write(t, dir, "norway.html", "<title>Norway</title>Bergen is a town, longer than before or not.")
	write(t, dir, "new.txt", "A new capital.")
	if err := os.Remove(filepath.Join(dir, "sub/sweden list.md")); err != nil {
		t.Fatal(err)
	}
	if got := find("capital"); got != "corpus://docs/new.txt | new | A new capital.\n" {
		t.Errorf("after changes:\n%s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Search(ctx, search.Query{Text: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCorpusOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []search.CorpusOptions{{Dir: "/nowhere/at/all"}, {Dir: t.TempDir(), Name: "A/b"}} {
		if c, err := search.OpenCorpus(o); err == nil {
			t.Errorf("%+v is taken", o)
			c.Close()
		}
	}
	dir := t.TempDir()
	write(t, dir, "a.txt", "word")
	write(t, dir, "b.txt", "word")
	c, err := search.OpenCorpus(search.CorpusOptions{Dir: dir, Name: "x", Files: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if results, err := c.Search(t.Context(), search.Query{Text: "word"}); err != nil || len(results) != 1 || c.Name() != "corpus x" {
		t.Errorf("%v, %v; want one file", results, err)
	}
}

// A finder is a tool with a search function.
type finder struct {
	parameters string
	result     toolhost.Result
	err        error
	input      *string
}

func (f finder) Spec() toolhost.Spec {
	return toolhost.Spec{Name: "finder", Independent: true, Functions: []toolhost.Function{
		{Name: "other", Parameters: []byte(`{}`)}, {Name: "search", Parameters: []byte(f.parameters)}}}
}
func (f finder) Open(context.Context) (toolhost.Instance, error) { return f, nil }
func (f finder) Call(_ context.Context, c toolhost.Call) (toolhost.Result, error) {
	if f.input != nil {
		*f.input = c.Function + c.Input
	}
	return f.result, f.err
}
func (f finder) Close() error { return nil }

func TestToolBackend(t *testing.T) {
	t.Parallel()
	const parameters = `{"type":"object","properties":{"q":{"type":"string"},"max_results":{"type":"integer"}},"required":["q"]}`
	for _, c := range []struct {
		name   string
		result toolhost.Result
		want   search.Result
	}{
		{"structured", toolhost.Result{Structured: []byte(`{"data":{"items":[{"link":"https://a.org/","name":"A","description":"about"}]}}`)}, search.Result{URL: "https://a.org/", Title: "A", Snippet: "about"}},
		{"JSON as text", toolhost.Result{Text: ` [{"url":"https://a.org/","title":"A","snippet":"about"}]`}, search.Result{URL: "https://a.org/", Title: "A", Snippet: "about"}},
		{"markdown", toolhost.Result{Text: "Found:\n1. [A](https://a.org/) - about\n   more\n"}, search.Result{URL: "https://a.org/", Title: "A", Snippet: "about more"}},
		{"labels", toolhost.Result{Text: "Title: A\nURL: https://a.org/\nDescription: about\n\nTitle: B\nURL: https://b.org/\n"}, search.Result{URL: "https://a.org/", Title: "A", Snippet: "about"}},
		{"one line", toolhost.Result{Text: "1. A - https://a.org/\nabout"}, search.Result{URL: "https://a.org/", Title: "A", Snippet: "about"}},
	} {
		var input string
		b, err := search.NewToolBackend(finder{parameters: parameters, result: c.result, input: &input}, "")
		if err != nil {
			t.Fatal(err)
		}
		results, err := b.Search(t.Context(), search.Query{Text: "x", Top: 3})
		if err != nil || len(results) == 0 || results[0] != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, results, err, c.want)
		}
		if input != `search{"max_results":3,"q":"x"}` {
			t.Errorf("%s: called %s", c.name, input)
		}
	}
	for _, f := range []finder{
		{parameters: parameters, result: toolhost.Result{Text: "no key\nset", Failed: true}},
		{parameters: parameters, err: errors.New("secret")},
		{parameters: parameters, result: toolhost.Result{Text: "://"}},
	} {
		b, err := search.NewToolBackend(f, "search")
		if err != nil {
			t.Fatal(err)
		}
		var e *search.Error
		if _, err := b.Search(t.Context(), search.Query{Text: "x"}); !errors.As(err, &e) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v; want an Error", f.result, err)
		}
	}
	if _, err := search.NewToolBackend(finder{parameters: `{"properties":{"a":{},"b":{}}}`}, ""); err == nil {
		t.Errorf("a function without a text is taken")
	}
	if _, err := search.NewToolBackend(finder{parameters: parameters}, "none"); err == nil {
		t.Errorf("a function that does not exist is taken")
	}
}
