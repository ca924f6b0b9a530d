package search_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"chorale/toolhost/browser/search"
)

const key = "key-0123456789abcdef"

// asked is a request as an engine got it: its line, the header with the key, and the body.
type asked struct{ line, key, body string }

// serve is an engine that answers every request with the same.
func serve(t *testing.T, header string, status int, answer string) (address string, got func() asked) {
	t.Helper()
	requests := make(chan asked, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- asked{r.Method + " " + r.URL.String(), r.Header.Get(header), string(body)}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() asked { return <-requests }
}

func TestEngines(t *testing.T) {
	t.Parallel()
	q := search.Query{Text: "capital of Norway?", Top: 2, Blocked: []string{"spam.org"}, Location: search.Location{Country: "no"}}
	for _, c := range []struct {
		kind         search.Kind
		header, key  string
		answer       string
		request      string
		body         string
		urls         []string
		title, about string // of the first result
	}{
		{search.SearXNG, "Authorization", "", `{"query":"q","results":[{"url":"https://a.org/","title":"A","content":"about a","engine":"x","score":1.5},
			{"url":"https://spam.org/","title":"S"},{"url":"https://b.org/","title":"B","content":"about b"},{"url":"https://c.org/","title":"C"}]}`,
			"GET /search?format=json&q=capital+of+Norway%3F+-site%3Aspam.org&safesearch=1", "", []string{"https://a.org/", "https://b.org/"}, "A", "about a"},
		{search.Brave, "X-Subscription-Token", key, `{"type":"search","web":{"results":[{"url":"https://a.org/","title":"A","description":"about a"},
			{"url":"https://x.spam.org/","title":"S"},{"url":"https://a.org/","title":"again"}]}}`,
			"GET /web/search?count=20&country=NO&q=capital+of+Norway%3F+-site%3Aspam.org&text_decorations=false", "", []string{"https://a.org/"}, "A", "about a"},
		{search.Exa, "X-Api-Key", key, `{"results":[{"url":"https://a.org/","title":"A","text":"long","highlights":["one","two"]},{"url":"https://b.org/","title":"B","text":"t"}]}`,
			"POST /search", `{"query":"capital of Norway?","numResults":20,"excludeDomains":["spam.org"],"userLocation":"NO","contents":{"highlights":true,"text":{"maxCharacters":600}}}`,
			[]string{"https://a.org/", "https://b.org/"}, "A", "one ... two"},
		{search.Tavily, "Authorization", "Bearer " + key, `{"query":"q","results":[{"url":"https://a.org/","title":"A","content":"about a","score":0.9}]}`,
			"POST /search", `{"query":"capital of Norway?","max_results":20,"exclude_domains":["spam.org"]}`, []string{"https://a.org/"}, "A", "about a"},
		{search.You, "X-Api-Key", key, `{"results":{"web":[{"url":"https://a.org/","title":"A","description":"d","snippets":["one","two"]}],"news":[{"url":"https://n.org/","title":"N","description":"news"}]}}`,
			"GET /v1/search?count=20&country=NO&query=capital+of+Norway%3F+-site%3Aspam.org", "", []string{"https://a.org/", "https://n.org/"}, "A", "one ... two"},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			address, got := serve(t, c.header, http.StatusOK, c.answer)
			e, err := search.NewEngine(search.Config{Kind: c.kind, URL: address, Key: c.key[max(0, len(c.key)-len(key)):]})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			results, err := e.Search(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if r := got(); r.line != c.request || r.body != c.body || r.key != c.key {
				t.Errorf("asked\n%s %q\n%s\nwant\n%s %q\n%s", r.line, r.key, r.body, c.request, c.key, c.body)
			}
			var urls []string
			for _, r := range results {
				urls = append(urls, r.URL)
			}
			if !slices.Equal(urls, c.urls) || results[0].Title != c.title || results[0].Snippet != c.about {
				t.Errorf("got %+v, want %q, the first with %q and %q", results, c.urls, c.title, c.about)
			}
		})
	}
}

func TestAllowedDomains(t *testing.T) {
	t.Parallel()
	address, got := serve(t, "", http.StatusOK, `{"results":[{"url":"https://a.org/"},{"url":"https://docs.b.org/"},{"url":"https://notb.org/"}]}`)
	e, err := search.NewEngine(search.Config{Kind: search.SearXNG, URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	results, err := e.Search(t.Context(), search.Query{Text: "q", Allowed: []string{"B.org", "c.org"}})
	if err != nil || len(results) != 1 || results[0].URL != "https://docs.b.org/" {
		t.Errorf("%v, %v; want the result below b.org", results, err)
	}
	if r := got(); !strings.Contains(r.line, "q=q+%28site%3AB.org+OR+site%3Ac.org%29") {
		t.Errorf("asked %s", r.line)
	}
}

func TestEngineErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		kind   search.Kind
		status int
		answer string
		want   string
	}{
		{"JSON is switched off", search.SearXNG, 403, "Forbidden", "searxng: refuses to answer in JSON (403): add json to search.formats in its settings.yml"},
		{"wrong key", search.Brave, 401, key, "brave: answered 401 Unauthorized: is its key right?"},
		{"rate limit", search.Tavily, 429, "", "tavily: answered 429 Too Many Requests: over its rate limit"},
		{"plan is used up", search.Exa, 402, "", "exa: answered 402 Payment Required: its plan is used up"},
		{"broken", search.You, 500, "", "you: answered 500 Internal Server Error"},
		{"HTML", search.SearXNG, 200, "<html>", "searxng: its answer is not the JSON that was expected"},
		{"redirect", search.You, 302, "", "you: answered 302 Found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, _ := serve(t, "", c.status, c.answer)
			e, err := search.NewEngine(search.Config{Kind: c.kind, URL: address, Key: key})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			_, err = e.Search(t.Context(), search.Query{Text: "secret question"})
			var typed *search.Error
			if !errors.As(err, &typed) || err.Error() != c.want || strings.Contains(err.Error(), key) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	e, err := search.NewEngine(search.Config{Kind: search.SearXNG, URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, err = e.Search(t.Context(), search.Query{Text: "secret question"})
	if err == nil || !strings.HasPrefix(err.Error(), "searxng: cannot be reached: ") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want that it cannot be reached, without the query", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = e.Search(ctx, search.Query{Text: "q"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if _, err = e.Search(t.Context(), search.Query{Text: "q", Offline: true}); err == nil || !strings.Contains(err.Error(), "does not allow") {
		t.Errorf("offline: %v", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		c    search.Config
		want string // in the error
	}{
		{"kind", search.Config{Kind: "bing"}, `kind "bing": want searxng, brave, exa, tavily or you`},
		{"no URL", search.Config{Kind: search.SearXNG}, "searxng: URL is required"},
		{"no key", search.Config{Kind: search.Exa}, "exa: Key is required"},
		{"odd URL", search.Config{Kind: search.SearXNG, URL: "ftp://x"}, "searxng: URL: "},
		{"odd network", search.Config{Kind: search.SearXNG, URL: "http://x.lan", Networks: []string{"home"}}, "URL and Networks: "},
	} {
		if _, err := search.NewEngine(c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	for _, kind := range []search.Kind{search.Brave, search.Exa, search.Tavily, search.You} {
		e, err := search.NewEngine(search.Config{Kind: kind, Key: key})
		if err != nil {
			t.Errorf("%s with a key alone: %v", kind, err)
			continue
		}
		if e.Name() != string(kind) {
			t.Errorf("its name is %q", e.Name())
		}
		e.Close()
	}
}

// The results of a backend are what its tool form has.
func TestResultJSON(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(search.Result{URL: "u", Title: "t", Snippet: "s"})
	if err != nil || string(data) != `{"url":"u","title":"t","snippet":"s"}` {
		t.Errorf("%s, %v", data, err)
	}
}
