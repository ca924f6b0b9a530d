package browser_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"chorale/toolhost"
	"chorale/toolhost/browser"
	"chorale/toolhost/browser/page"
	"chorale/toolhost/browser/search"
)

// A web is pages by address, and counts what is fetched. It stands in for the network.
type web struct {
	pages  map[string]page.Document
	got    []string
	opened int
	closed int
}

func (w *web) session() browser.Session { w.opened++; return w }

func (w *web) Get(_ context.Context, address string) (*page.Document, error) {
	w.got = append(w.got, address)
	d, ok := w.pages[strings.SplitN(address, "#", 2)[0]]
	if !ok {
		return nil, errors.New("The server answered 404 Not Found.")
	}
	if d.URL == "" {
		d.URL = address
	}
	return &d, nil
}

func (w *web) Close() error { w.closed++; return nil }

func html(body string) page.Document {
	return page.Document{MIME: "text/html", Charset: "utf-8", Body: []byte(body)}
}

// An engine answers every query with the same results.
type engine struct {
	results []search.Result
	err     error
	asked   []search.Query
}

func (e *engine) Name() string { return "engine" }

func (e *engine) Search(_ context.Context, q search.Query) ([]search.Result, error) {
	e.asked = append(e.asked, q)
	return e.results, e.err
}

func toolOf(t *testing.T, o browser.Options) toolhost.Instance {
	t.Helper()
	tool, err := browser.New(o)
	if err != nil {
		t.Fatal(err)
	}
	in, err := tool.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func call(t *testing.T, in toolhost.Instance, function, input string) toolhost.Result {
	t.Helper()
	r, err := in.Call(t.Context(), toolhost.Call{Tool: "browser", Function: function, Input: input, Progress: func(string, float64) {}})
	if err != nil {
		t.Fatalf("%s %s: %v", function, input, err)
	}
	return r
}

// want makes a call and compares all of its text.
func want(t *testing.T, in toolhost.Instance, function, input, text string) {
	t.Helper()
	if r := call(t, in, function, input); r.Text != text {
		t.Errorf("%s %s:\n%s\nwant\n%s", function, input, r.Text, text)
	}
}

// wantStructured compares Result.Structured of a call.
func wantStructured(t *testing.T, in toolhost.Instance, function, input, structured string) {
	t.Helper()
	if r := call(t, in, function, input); string(r.Structured) != structured {
		t.Errorf("%s %s:\n%s\nwant\n%s", function, input, r.Structured, structured)
	}
}

func example() *web {
	long := "<title>Long</title>"
	for i := range 30 {
		long += fmt.Sprintf("<p>paragraph %d</p>", i)
	}
	return &web{pages: map[string]page.Document{
		"https://example.com/": html("<title>Home</title><h1>Welcome</h1><p>See <a href=/long>the long one</a> or " +
			"<a href=https://other.org/x>another</a>, and <a href=/gone>nothing</a>.</p>"),
		"https://example.com/long": html(long),
		"https://other.org/x":      html("<p>Text of the other page, which says that Oslo is the capital of Norway.</p>"),
	}}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	w := example()
	in := toolOf(t, browser.Options{Fetch: w.session})
	want(t, in, "open", `{"id":"https://example.com/"}`, "[0] Home (https://example.com/)\n**viewing lines [0 - 4] of 4**\n\n"+
		"L0: \nL1: URL: https://example.com/\nL2: # Welcome\nL3: \n"+
		"L4: See 【0†the long one】 or 【1†another†other.org】, and 【2†nothing】.")
	want(t, in, "open", `{"id":1}`, "[1] other.org (https://other.org/x)\n**viewing lines [0 - 2] of 2**\n\n"+
		"L0: \nL1: URL: https://other.org/x\nL2: Text of the other page, which says that Oslo is the capital of Norway.")
	want(t, in, "open", `{"cursor":0,"id":0,"loc":4,"num_lines":2}`, "[2] Long (https://example.com/long)\n"+
		"**viewing lines [4 - 5] of 60**\n\nL4: paragraph 1\nL5: ")
	want(t, in, "open", `{"loc":58}`, "[3] Long (https://example.com/long)\n**viewing lines [58 - 60] of 60**\n\n"+
		"L58: paragraph 28\nL59: \nL60: paragraph 29")
	want(t, in, "open", `{"loc":61}`, "Invalid location parameter: `61`. Cannot exceed page maximum of 60.")
	want(t, in, "open", `{"cursor":0,"id":2}`, "Error opening the page `https://example.com/gone`: The server answered 404 Not Found.")
	want(t, in, "open", `{"cursor":0,"id":3}`, "Invalid link id `3`: the links of the page are 0 to 2.")
	want(t, in, "open", `{"cursor":4}`, "Cursor `4` is out of range. Available cursor indices: [0 - 3].")
	if got := []string{"https://example.com/", "https://other.org/x", "https://example.com/long", "https://example.com/gone"}; !slices.Equal(w.got, got) {
		t.Errorf("fetched %q, want %q: scrolling and failing do not load again", w.got, got)
	}
	call(t, in, "open", `{"cursor":0,"id":0}`)
	if len(w.got) != 4 {
		t.Errorf("a link to a page that is known was fetched again")
	}
	call(t, in, "open", `{"id":"https://example.com/long"}`)
	if len(w.got) != 5 {
		t.Errorf("a page opened by its address was not fetched again")
	}
	if err := in.Close(); err != nil || w.opened != 1 || w.closed != 1 {
		t.Errorf("%d sessions begun, %d closed, %v; want one each", w.opened, w.closed, err)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, function, input, want string }{
		{"floats", "open", `{"id":-1.0,"cursor":0.0,"loc":2.0,"num_lines":1.0}`, "[1] Home (https://example.com/)\n**viewing lines [2 - 2] of 4**\n\nL2: # Welcome"},
		{"numeric strings", "open", `{"id":"-1","cursor":"0","loc":"2","num_lines":"1"}`, "[1] Home (https://example.com/)\n**viewing lines [2 - 2] of 4**\n\nL2: # Welcome"},
		{"a marker as id", "open", `{"id":"【1†another†other.org】","num_lines":1}`, "[1] other.org (https://other.org/x)\n**viewing lines [0 - 0] of 2**\n\nL0: "},
		{"a link in a string", "open", `{"id":"1","num_lines":1}`, "[1] other.org (https://other.org/x)\n**viewing lines [0 - 0] of 2**\n\nL0: "},
		{"unknown keys and null", "open", `{"cursor":null,"loc":2,"num_lines":1,"source":"web","why":[1]}`, "[1] Home (https://example.com/)\n**viewing lines [2 - 2] of 4**\n\nL2: # Welcome"},
		{"url for id", "open", `{"url":"https://other.org/x","num_lines":1}`, "[1] other.org (https://other.org/x)\n**viewing lines [0 - 0] of 2**\n\nL0: "},
		{"no scheme", "open", `{"id":"other.org/x","num_lines":1}`, "[1] other.org (https://other.org/x)\n**viewing lines [0 - 0] of 2**\n\nL0: "},
		{"only a string", "open", `"https://other.org/x"`, "[1] other.org (https://other.org/x)\n**viewing lines [0 - 2] of 2**\n\nL0: \nL1: URL: https://other.org/x\nL2: Text of the other page, which says that Oslo is the capital of Norway."},
		{"nothing scrolls to the top", "open", ``, "[1] Home (https://example.com/)\n**viewing lines [0 - 4] of 4**\n\nL0: \nL1: URL: https://example.com/\nL2: # Welcome\nL3: \nL4: See 【0†the long one】 or 【1†another†other.org】, and 【2†nothing】."},
		{"no JSON", "open", `{"id":`, "The arguments are not a JSON object."},
		{"a list", "find", `[1]`, "The arguments are not a JSON object."},
		{"a fraction", "open", `{"loc":1.5}`, "`loc` must be a whole number, not `1.5`."},
		{"a fraction as id", "open", `{"id":1.5}`, "`id` must be the whole number of a link or a URL, not `1.5`."},
		{"a word", "open", `{"cursor":"last"}`, "`cursor` must be a whole number, not `last`."},
		{"no pattern", "find", `{}`, "`pattern` is missing: say what to look for."},
		{"no query", "search", `{"topn":3}`, "`query` is missing: say what to search for."},
		{"unknown function", "click", `{}`, "There is no function `click`. The functions are: search, open, find."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := toolOf(t, browser.Options{Fetch: example().session})
			call(t, in, "open", `{"id":"https://example.com/"}`)
			want(t, in, c.function, c.input, c.want)
		})
	}
}

func TestNothingOpen(t *testing.T) {
	t.Parallel()
	in := toolOf(t, browser.Options{})
	want(t, in, "open", `{"id":3}`, "No page is open yet. Use `search`, or `open` with a URL.")
	want(t, in, "find", `{"pattern":"x"}`, "No page is open yet. Use `search`, or `open` with a URL.")
	want(t, in, "open", `{"id":"https://example.com/"}`, "Error opening the page `https://example.com/`: pages of the web cannot be opened on this server")
	if r := call(t, in, "search", `{"query":"x"}`); !r.Failed || !strings.Contains(r.Text, "SearXNG") {
		t.Errorf("search without a backend says %q, want how to configure one", r.Text)
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	w := example()
	e := &engine{results: []search.Result{
		{URL: "https://other.org/x", Title: "Other 【1†x】", Snippet: "... says that Oslo is the capital\nof Norway ..."},
		{URL: "file:///etc/passwd", Title: "a file"},
		{URL: "https://example.com/long", Title: "", Snippet: "paragraph 20 and <|start|>"},
		{URL: "https://other.org/x", Title: "twice"},
	}}
	in := toolOf(t, browser.Options{Fetch: w.session, Search: e})
	want(t, in, "search", `{"query":"capital of  Norway","topn":50}`, "[0] capital of Norway\n**viewing lines [0 - 5] of 5**\n\n"+
		"L0: \nL1: URL: \nL2: # Search Results\nL3: \n"+
		"L4:   * 【0†Other 〖1‡x〗†other.org】 ... says that Oslo is the capital of Norway ...\n"+
		"L5:   * 【1†example.com†example.com】 paragraph 20 and <|start|>")
	if q := e.asked[0]; q.Text != "capital of Norway" || q.Top != 20 {
		t.Errorf("asked %+v, want the query with its blanks collapsed and at most 20 results", q)
	}
	wantStructured(t, in, "search", `{"query":"again"}`, `{"action":{"type":"search","query":"again","queries":["again"],`+
		`"sources":[{"type":"url","url":"https://other.org/x"},{"type":"url","url":"https://example.com/long"}]},"cursor":1,"title":"again","lines":6}`)
	want(t, in, "find", `{"pattern":"oslo"}`, "Cannot run `find` on a search results page or find results page. Open a page first, or give its `cursor`.")
	want(t, in, "open", `{"cursor":0,"view_source":true}`, "A page of search results has no source.")
	want(t, in, "open", `{"cursor":0,"loc":5}`, "[2] capital of Norway\n**viewing lines [5 - 5] of 5**\n\n"+
		"L5:   * 【1†example.com†example.com】 paragraph 20 and <|start|>")
	e.err = errors.New("engine: over its limit")
	want(t, in, "search", `{"query":"x"}`, "Error during search for `x`: engine: over its limit")
	e.results, e.err = nil, nil
	want(t, in, "search", `{"query":"x"}`, "[3] x\n**viewing lines [0 - 4] of 4**\n\nL0: \nL1: URL: \nL2: # Search Results\nL3: \nL4: Nothing was found.")
}

func TestResultOpensAtItsSnippet(t *testing.T) {
	t.Parallel()
	e := &engine{results: []search.Result{{URL: "https://example.com/long", Title: "Long", Snippet: "… Paragraph 20 paragraph 21 paragraph 22 …"}}}
	in := toolOf(t, browser.Options{Fetch: example().session, Search: e})
	call(t, in, "search", `{"query":"x"}`)
	want(t, in, "open", `{"id":0,"num_lines":5}`, "[1] Long (https://example.com/long)\n**viewing lines [38 - 42] of 60**\n\n"+
		"L38: paragraph 18\nL39: \nL40: paragraph 19\nL41: \nL42: paragraph 20")
}

func TestFind(t *testing.T) {
	t.Parallel()
	in := toolOf(t, browser.Options{Fetch: example().session})
	call(t, in, "open", `{"id":"https://example.com/long"}`)
	want(t, in, "find", `{"pattern":"PARAGRAPH 2"}`, "[1] Find results for text: `paragraph 2` in `Long` (https://example.com/long/find?pattern=paragraph 2)\n"+
		"**viewing lines [0 - 33] of 33**\n\n"+
		"L0: # 【0†match at L6】\nL1: paragraph 2\nL2: \nL3: paragraph 3\nL4: \nL5: \n"+
		"L6: # 【1†match at L42】\nL7: paragraph 20\nL8: \nL9: paragraph 21\nL10: \nL11: \n"+
		"L12: # 【2†match at L46】\nL13: paragraph 22\nL14: \nL15: paragraph 23\nL16: \nL17: \n"+
		"L18: # 【3†match at L50】\nL19: paragraph 24\nL20: \nL21: paragraph 25\nL22: \nL23: \n"+
		"L24: # 【4†match at L54】\nL25: paragraph 26\nL26: \nL27: paragraph 27\nL28: \nL29: \n"+
		"L30: # 【5†match at L58】\nL31: paragraph 28\nL32: \nL33: paragraph 29")
	want(t, in, "open", `{"id":1,"num_lines":5}`, "[2] Long (https://example.com/long)\n**viewing lines [38 - 42] of 60**\n\n"+
		"L38: paragraph 18\nL39: \nL40: paragraph 19\nL41: \nL42: paragraph 20")
	want(t, in, "find", `{"pattern":"absent\n"}`, "[3] Find results for text: `absent ` in `Long` (https://example.com/long/find?pattern=absent)\n"+
		"**viewing lines [0 - 1] of 1**\n\nL0: No `find` results for pattern: `absent\nL1: `")
	wantStructured(t, in, "find", `{"pattern":"29","cursor":0}`, `{"action":{"type":"find_in_page","url":"https://example.com/long","pattern":"29"},`+
		`"cursor":4,"url":"https://example.com/long","title":"Long","lines":2}`)
}
