package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"chorale/toolhost"
	"chorale/toolhost/browser/page"
)

// An instance is a stack of pages.
type instance struct {
	tool    *Tool
	session Session
	stack   []*shown          // the index is the cursor
	byURL   map[string]*shown // the pages that links lead to without being loaded again
	clock   int               // counts uses of pages

	settings settings // of the call
}

// What kind of page is shown.
const (
	pageKind   = "page"
	searchKind = "search"
	findKind   = "find"
)

// A shown page is one that is on the stack, once or several times.
type shown struct {
	kind    string
	url     string // as displayed
	cite    string // the address that a citation of the page means; "" on search pages
	title   string
	text    string
	links   []string
	targets []target // of search and find pages: where link i leads
	lines   []string // the text, wrapped; nil until it is needed
	gone    bool     // the text was given up
	used    int
}

// A target is where a link of a result page leads to.
type target struct {
	snippet string // on search pages: text that should be near the top of the view
	line    int    // on find pages: the line of the match
	page    *shown // on find pages: the page that was searched
}

// size is how many bytes are kept of a page, about.
func (p *shown) size() int {
	n := len(p.text)
	for _, l := range p.links {
		n += len(l)
	}
	return n
}

func (p *shown) wrapped() []string {
	if p.lines == nil {
		p.lines = page.Wrap(p.text, page.Width)
	}
	return p.lines
}

// An action is what a call did, as clients see it.
type action struct {
	Type    string   `json:"type"` // search, open_page, find_in_page
	Query   string   `json:"query,omitempty"`
	Queries []string `json:"queries,omitempty"`
	Sources []source `json:"sources,omitempty"`
	URL     string   `json:"url,omitempty"`
	Pattern string   `json:"pattern,omitempty"`
}

type source struct {
	Type string `json:"type"` // url
	URL  string `json:"url"`
}

// A structured result is what Result.Structured holds. Without a page there are only the action and the error.
type structured struct {
	Action action `json:"action"`
	Cursor *int   `json:"cursor,omitempty"`
	URL    string `json:"url,omitempty"` // that a citation of the page means; none for search results
	Title  string `json:"title,omitempty"`
	Lines  int    `json:"lines,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Call makes one call. What goes wrong is text for the model.
func (in *instance) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	var s structured
	var err error
	if in.settings, err = readSettings(c.Settings); err != nil {
		return toolhost.Result{}, err
	}
	text, err := in.call(ctx, c, &s)
	if ctx.Err() != nil {
		return toolhost.Result{}, context.Cause(ctx)
	}
	if err != nil {
		text = strings.ToValidUTF8(err.Error(), "\ufffd")
		s.Cursor, s.Error = nil, text
	}
	data, marshalErr := json.Marshal(s)
	if marshalErr != nil {
		return toolhost.Result{}, fmt.Errorf("describe call: %w", marshalErr)
	}
	return toolhost.Result{Text: text, Failed: err != nil, Structured: data}, nil
}

func (in *instance) call(ctx context.Context, c toolhost.Call, s *structured) (string, error) {
	main := map[string]string{"search": "query", "open": "id", "find": "pattern"}[c.Function]
	a, err := parseArguments(c.Input, main)
	s.Action.Type = map[string]string{"search": "search", "open": "open_page", "find": "find_in_page"}[c.Function]
	if err != nil {
		return "", err
	}
	if len(in.stack) >= in.tool.o.Limits.Cursors {
		return "", usageError("Too many pages were opened: no further ones can be. Answer with what is known.")
	}
	switch c.Function {
	case "search":
		return in.search(ctx, a, s)
	case "open":
		return in.open(ctx, a, s)
	case "find":
		return in.find(a, s)
	default:
		return "", usageError(fmt.Sprintf("There is no function `%s`. The functions are: search, open, find.", shorten(c.Function, 100)))
	}
}

// notConfigured is what search says without a backend.
const notConfigured = "Searching is not set up on this server. Whoever runs it can configure a search backend: a SearXNG " +
	"instance, Brave, Exa, Tavily or You.com with a key, a folder of documents, or a tool of a plugin or an MCP server. Pages " +
	"can still be opened by their URL with `open`."

func (in *instance) search(ctx context.Context, a arguments, s *structured) (string, error) {
	query := strings.Join(strings.Fields(a.text("query")), " ")
	s.Action.Query, s.Action.Queries = query, []string{query}
	if query == "" {
		s.Action.Queries = nil
		return "", usageError("`query` is missing: say what to search for.")
	}
	if in.tool.o.Search == nil {
		return "", usageError(notConfigured)
	}
	top := 0
	for _, name := range []string{"topn", "top_n"} {
		if _, ok := a[name]; ok {
			n, err := a.integer(name, 0)
			if err != nil {
				return "", err
			}
			top = n
		}
	}
	q := in.settings.query(query, top)
	q.Top = min(q.Top, in.tool.o.Limits.Results)
	results, err := in.tool.o.Search.Search(ctx, q)
	if err != nil {
		return "", fmt.Errorf("Error during search for `%s`: %s", shorten(query, 200), shorten(page.Clean(err.Error()), maxShort))
	}
	p, sources := in.resultPage(query, results)
	s.Action.Sources = sources
	return in.show(p, 0, -1, s)
}

func (in *instance) open(ctx context.Context, a arguments, s *structured) (string, error) {
	id, address, err := a.link()
	if err != nil {
		return "", err
	}
	var numbers [3]int
	for i, name := range []string{"cursor", "loc", "num_lines"} {
		if numbers[i], err = a.integer(name, -1); err != nil {
			return "", err
		}
	}
	cursor, loc, count := numbers[0], numbers[1], numbers[2]
	var p *shown
	var to target
	switch {
	case address != "":
		s.Action.URL = address
	case id >= 0:
		from, err := in.at(cursor)
		if err != nil {
			return "", err
		}
		if address, to, err = from.follow(id); err != nil {
			return "", err
		}
		p = to.page
	default:
		if p, err = in.at(cursor); err != nil {
			return "", err
		}
		s.Action.URL = p.cite
		if a.truth("view_source") && p.kind == searchKind {
			return "", usageError("A page of search results has no source.")
		}
		address = p.cite
	}
	known := address
	if a.truth("view_source") && !strings.HasPrefix(address, page.SourcePrefix) {
		known = page.SourcePrefix + address
		to.snippet = ""
	}
	if strings.HasPrefix(known, page.SourcePrefix) && (p == nil || known != p.url) {
		p = nil
	}
	if p == nil && id >= 0 {
		p = in.cached(known)
	}
	if p == nil {
		s.Action.URL = strings.TrimPrefix(known, page.SourcePrefix)
		if p, err = in.load(ctx, known); err != nil {
			return "", err
		}
	}
	s.Action.URL = p.cite
	if loc < 0 {
		loc = to.start(p)
	}
	return in.show(p, loc, count, s)
}

// follow returns where a link of the page leads.
func (p *shown) follow(id int) (address string, to target, err error) {
	if id >= len(p.links) {
		if len(p.links) == 0 {
			return "", target{}, usageError(fmt.Sprintf("Invalid link id `%d`: the page has no links.", id))
		}
		return "", target{}, usageError(fmt.Sprintf("Invalid link id `%d`: the links of the page are 0 to %d.", id, len(p.links)-1))
	}
	if id < len(p.targets) {
		to = p.targets[id]
	}
	if to.page != nil && to.page.gone {
		to.page = nil
	}
	return p.links[id], to, nil
}

// start is the line that a view begins with: somewhat above what the link was about.
func (to target) start(p *shown) int {
	line := to.line
	if to.snippet != "" {
		line = locate(p.wrapped(), to.snippet)
	}
	if line > 4 {
		line -= 4
	}
	return max(0, min(line, len(p.wrapped())-1))
}

// at returns the page of a cursor; -1 is the last one.
func (in *instance) at(cursor int) (*shown, error) {
	if len(in.stack) == 0 {
		return nil, usageError("No page is open yet. Use `search`, or `open` with a URL.")
	}
	top := len(in.stack) - 1
	if cursor == -1 {
		cursor = top
	}
	if cursor < 0 || cursor > top {
		return nil, usageError(fmt.Sprintf("Cursor `%d` is out of range. Available cursor indices: [0 - %d].", cursor, top))
	}
	p := in.stack[cursor]
	if p.gone {
		again := "Open its URL again: " + shorten(p.cite, maxShort)
		if p.kind == searchKind {
			again = "Search again for: " + p.title
		}
		return nil, usageError(fmt.Sprintf("The page of cursor `%d` is no longer kept. %s", cursor, again))
	}
	in.clock++
	p.used = in.clock
	return p, nil
}

// load fetches a page. The address may be of its source.
func (in *instance) load(ctx context.Context, address string) (*shown, error) {
	asked, source := strings.CutPrefix(address, page.SourcePrefix)
	fetched := in.tool.rewrite(asked)
	d, err := in.document(ctx, fetched)
	if err != nil {
		return nil, fmt.Errorf("Error opening the page `%s`: %s", shorten(asked, 300), shorten(page.Clean(err.Error()), maxShort))
	}
	if d.URL == "" {
		d.URL = fetched
	}
	read := page.Read
	if source {
		read = page.Source
	}
	r, err := read(*d, in.tool.o.Limits.Page)
	if err != nil {
		return nil, fmt.Errorf("Error opening the page `%s`: %w", shorten(asked, 300), err)
	}
	p := &shown{kind: pageKind, url: r.URL, cite: strings.TrimPrefix(r.URL, page.SourcePrefix), title: r.Title, text: r.Text, links: r.Links}
	for _, key := range []string{r.URL, address} {
		in.byURL[withoutFragment(key)] = p
	}
	return p, nil
}

// document gets a document from the web, or from what else there is.
func (in *instance) document(ctx context.Context, address string) (*page.Document, error) {
	scheme, _, _ := strings.Cut(address, ":")
	if open := in.tool.o.Documents[strings.ToLower(scheme)]; open != nil {
		return open(ctx, withoutFragment(address))
	}
	if err := in.settings.allows(address); err != nil {
		return nil, err
	}
	if in.tool.o.Fetch == nil {
		return nil, errors.New("pages of the web cannot be opened on this server")
	}
	if in.session == nil {
		in.session = in.tool.o.Fetch()
	}
	d, err := in.session.Get(ctx, address)
	if err != nil {
		return nil, err
	}
	if d.URL != "" && d.URL != address {
		err = in.settings.allows(d.URL) // it redirected
	}
	return d, err
}

// rewrite completes an address that lacks its scheme, and moves papers to where they can be read, if that is wanted.
func (t *Tool) rewrite(address string) string {
	if !strings.Contains(address, ":") || !strings.Contains(address, "://") && strings.Contains(strings.SplitN(address, ":", 2)[0], ".") {
		address = "https://" + strings.TrimPrefix(address, "//")
	}
	if t.o.Ar5iv {
		if u, err := url.Parse(address); err == nil && (u.Host == "arxiv.org" || u.Host == "www.arxiv.org") {
			u.Host = "ar5iv.org"
			return u.String()
		}
	}
	return address
}

func (in *instance) cached(address string) *shown {
	if p := in.byURL[withoutFragment(address)]; p != nil && !p.gone {
		return p
	}
	return nil
}

func withoutFragment(address string) string {
	address, _, _ = strings.Cut(address, "#")
	return address
}

// Close ends fetching.
func (in *instance) Close() error {
	if in.session == nil {
		return nil
	}
	return in.session.Close()
}
