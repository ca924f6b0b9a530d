// Package browser is the tool browser: search, open and find, as gpt-oss was trained to use them.
//
// It owns what a call means: arguments as models write them, the stack of pages that cursors count, links, which lines are
// shown, and what the model reads when something does not work. How documents become lines is page's, how they arrive is for
// a Session, what is found for search's. It knows no harmony and no HTTP. A Tool is safe for concurrent use; an instance gets
// one call at a time, as toolhost promises.
//
// Every call that works puts a page on the stack, and its cursor is the place there. Stack entries hold their page, not its
// address, so an older cursor shows what was seen then, also when the page was loaded anew since. Pages beyond the limits
// lose their text, the least recently used first; their cursors stay and say so.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"chorale/toolhost"
	"chorale/toolhost/browser/page"
	"chorale/toolhost/browser/search"
)

// A Session fetches the pages of one response.
type Session interface {
	// Get returns the document at an http or https URL. The error says why there is none, in words for the model.
	Get(ctx context.Context, url string) (*page.Document, error)
	Close() error
}

// Options configure a Tool.
type Options struct {
	// Fetch begins to fetch pages for a response; it is called when the first page is opened. nil: no page can be opened.
	Fetch func() Session
	// Search is asked by search. nil: search says that it is not configured.
	Search search.Backend
	// Documents open the addresses of other schemes, such as those of a corpus. file, view-source, data and those of the web
	// are not for them.
	Documents map[string]func(ctx context.Context, url string) (*page.Document, error)
	// Tokens returns the byte at which token n (counted from 0) of a text begins, -1 if there are not so many. nil: four bytes
	// are a token.
	Tokens func(text string, n int) int
	// Ar5iv opens arxiv.org at ar5iv.org, where papers are HTML, as the model's own tool did. It is off unless asked for, since
	// a page should come from where its address says.
	Ar5iv   bool
	MaxOpen int // instances at a time; 0 = toolhost's default
	Limits  Limits
	Logger  *slog.Logger // nil: nobody
}

// Limits bound what an instance keeps and shows. Zeros are the defaults.
type Limits struct {
	ViewTokens int // of a view without num_lines; 0 = 1024
	ViewBytes  int // of any view; 0 = 30 KiB, since toolhost cuts at 32
	Pages      int // that are kept whole; 0 = 64
	PageBytes  int // of text and links of all of them; 0 = 16 MiB
	Cursors    int // 0 = 10,000; behind them calls fail
	StateBytes int // of text and links in a saved state, before compression; 0 = 4 MiB
	Results    int // of a search; 0 = 20
	Page       page.Limits
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		v   *int
		def int
	}{
		{&l.ViewTokens, 1024}, {&l.ViewBytes, 30 << 10}, {&l.Pages, 64}, {&l.PageBytes, 16 << 20}, {&l.Cursors, 10_000},
		{&l.StateBytes, 4 << 20}, {&l.Results, 20},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	return l
}

// A Tool is the tool.
type Tool struct{ o Options }

// New returns the tool.
func New(o Options) (*Tool, error) {
	for scheme := range o.Documents {
		switch scheme {
		case "", "http", "https", "file", "view-source", "data", "javascript", "blob", "about":
			return nil, errors.New("browser tool: Documents must not open " + scheme + ":")
		}
	}
	o.Limits = o.Limits.withDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Tool{o}, nil
}

// Spec returns the functions by name and parameters. Their descriptions are not here: models were trained with certain texts,
// which whoever renders prompts has.
func (t *Tool) Spec() toolhost.Spec {
	return toolhost.Spec{Name: "browser", MaxOpen: t.o.MaxOpen, Functions: []toolhost.Function{
		{Name: "search", Parameters: json.RawMessage(`{"type":"object","properties":{"query":{"type":"string"},` +
			`"topn":{"type":"number","default":10},"source":{"type":"string"}},"required":["query"]}`)},
		{Name: "open", Parameters: json.RawMessage(`{"type":"object","properties":{"id":{"type":["number","string"],"default":-1},` +
			`"cursor":{"type":"number","default":-1},"loc":{"type":"number","default":-1},"num_lines":{"type":"number","default":-1},` +
			`"view_source":{"type":"boolean","default":false},"source":{"type":"string"}}}`)},
		{Name: "find", Parameters: json.RawMessage(`{"type":"object","properties":{"pattern":{"type":"string"},` +
			`"cursor":{"type":"number","default":-1}},"required":["pattern"]}`)},
	}}
}

// Open returns an instance that has seen no page.
func (t *Tool) Open(context.Context) (toolhost.Instance, error) { return t.instance(), nil }

func (t *Tool) instance() *instance {
	return &instance{tool: t, byURL: map[string]*shown{}}
}
