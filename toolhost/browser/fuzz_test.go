package browser_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"chorale/toolhost"
	"chorale/toolhost/browser"
	"chorale/toolhost/browser/page"
	"chorale/toolhost/browser/search"
)

// Whatever a model writes, the answer is text, and a call that works adds exactly one cursor.
func FuzzCall(f *testing.F) {
	for _, input := range []string{`{"id":0,"cursor":1,"loc":2,"num_lines":3}`, `{"pattern":"o"}`, `{"query":"x","topn":1e9}`, `{"id":"【1†x】"}`, `"x"`, `[`, `{"id":-5}`, `{"cursor":1e300}`, `{"id":"view-source:https://other.org/x"}`} {
		f.Add("open", input)
		f.Add("find", input)
		f.Add("search", input)
	}
	f.Fuzz(func(t *testing.T, function, input string) {
		in := toolOf(t, browser.Options{Fetch: example().session, Search: &engine{results: []search.Result{{URL: "https://other.org/x", Title: "t"}}}})
		call(t, in, "open", `{"id":"https://example.com/"}`)
		r, err := in.Call(t.Context(), toolhost.Call{Function: function, Input: input})
		if err != nil || r.Text == "" || !utf8.ValidString(r.Text) {
			t.Fatalf("%q, %v", r.Text, err)
		}
		want := "[1] "
		if r.Failed {
			want = ""
		}
		if !strings.HasPrefix(r.Text, want) {
			t.Errorf("failed %v: %s", r.Failed, r.Text)
		}
		next := fmt.Sprintf("[%d] Home", len(want)/4+1)
		if text := call(t, in, "open", `{"cursor":0}`).Text; !strings.HasPrefix(text, next) {
			t.Errorf("after it: %s; want %s", text, next)
		}
	})
}

func FuzzResume(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, memory []byte) {
		tool, err := browser.New(browser.Options{})
		if err != nil {
			t.Fatal(err)
		}
		in, err := tool.Resume(t.Context(), toolhost.State{Memory: memory})
		if err == nil {
			call(t, in, "open", `{}`)
		}
	})
}

// big is an instance with a page of about a megabyte.
func big(b *testing.B) (toolhost.Instance, int) {
	var text strings.Builder
	for i := 0; text.Len() < 1<<20; i++ {
		fmt.Fprintf(&text, "Line %d of a text that is not short, with some words in it that may be found or not.\n", i)
	}
	w := &web{pages: map[string]page.Document{"https://a.org/": {MIME: "text/plain", Body: []byte(text.String())}}}
	tool, err := browser.New(browser.Options{Fetch: w.session, Limits: browser.Limits{Cursors: 1 << 30}})
	if err != nil {
		b.Fatal(err)
	}
	in, err := tool.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if r, err := in.Call(b.Context(), toolhost.Call{Function: "open", Input: `{"id":"https://a.org/"}`}); err != nil || r.Failed {
		b.Fatal(r.Text, err)
	}
	return in, text.Len()
}

func benchmark(b *testing.B, function, input string) {
	in, bytes := big(b)
	b.SetBytes(int64(bytes))
	for b.Loop() {
		if r, err := in.Call(b.Context(), toolhost.Call{Function: function, Input: input}); err != nil || r.Failed {
			b.Fatal(r.Text, err)
		}
	}
}

func BenchmarkFind(b *testing.B)   { benchmark(b, "find", `{"pattern":"line 12000 ","cursor":0}`) }
func BenchmarkScroll(b *testing.B) { benchmark(b, "open", `{"cursor":0,"loc":9000}`) }
