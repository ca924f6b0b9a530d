package browser

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"chorale/toolhost"
)

// stateVersion changes when older states can no longer be read.
const stateVersion = 1

// maxStateJSON bounds what a state may take when it is decompressed, whoever made it.
const maxStateJSON = 64 << 20

// A savedState is what an instance leaves behind, as compressed JSON.
type savedState struct {
	Version int         `json:"version"`
	Stack   []int       `json:"stack"` // indices of Pages
	Pages   []savedPage `json:"pages"` // the least recently used first
}

type savedPage struct {
	Kind     string   `json:"kind"`
	URL      string   `json:"url,omitempty"`
	Cite     string   `json:"cite,omitempty"`
	Title    string   `json:"title,omitempty"`
	Text     string   `json:"text,omitempty"`
	Links    []string `json:"links,omitempty"`
	Snippets []string `json:"snippets,omitempty"` // of search results
	Lines    []int    `json:"lines,omitempty"`    // of matches
	Page     int      `json:"page,omitempty"`     // of matches: the page that was searched
	Gone     bool     `json:"gone,omitempty"`
	Keys     []string `json:"keys,omitempty"` // addresses that lead here without loading
}

// Save returns the stack and its pages, of which the least recently used lose their text if it is too much.
func (in *instance) Save(context.Context) (toolhost.State, error) {
	order := in.pages()
	index := make(map[*shown]int, len(order))
	for i, p := range order {
		index[p] = i
	}
	left := in.tool.o.Limits.StateBytes
	s := savedState{Version: stateVersion, Pages: make([]savedPage, len(order)), Stack: make([]int, len(in.stack))}
	for i := len(order) - 1; i >= 0; i-- {
		if s.Pages[i] = order[i].saved(index, left); !s.Pages[i].Gone {
			left -= order[i].size()
		}
	}
	for address, p := range in.byURL {
		if i, ok := index[p]; ok && !s.Pages[i].Gone {
			s.Pages[i].Keys = append(s.Pages[i].Keys, address)
		}
	}
	for i, p := range in.stack {
		s.Stack[i] = index[p]
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(s); err != nil {
		return toolhost.State{}, fmt.Errorf("encode pages: %w", err)
	}
	if err := z.Close(); err != nil {
		return toolhost.State{}, fmt.Errorf("compress pages: %w", err)
	}
	return toolhost.State{Memory: b.Bytes()}, nil
}

// pages returns every page of the stack once, the least recently used first.
func (in *instance) pages() []*shown {
	seen := map[*shown]bool{}
	var order []*shown
	for _, p := range in.stack {
		if !seen[p] {
			seen[p] = true
			order = append(order, p)
		}
		for _, to := range p.targets {
			if to.page != nil && !seen[to.page] {
				seen[to.page] = true
				order = append(order, to.page)
			}
		}
	}
	sortByUse(order)
	return order
}

// saved returns a page with at most so many bytes; its text and links are dropped if it has more.
func (p *shown) saved(index map[*shown]int, bytes int) savedPage {
	s := savedPage{Kind: p.kind, URL: p.url, Cite: p.cite, Title: p.title, Gone: p.gone || p.size() > bytes}
	if s.Gone {
		return s
	}
	s.Text, s.Links = p.text, p.links
	for _, to := range p.targets {
		if p.kind == findKind {
			s.Lines = append(s.Lines, to.line)
			s.Page = index[to.page]
			continue
		}
		s.Snippets = append(s.Snippets, to.snippet)
	}
	return s
}

// Resume returns an instance with the stack and the pages of an earlier one.
func (t *Tool) Resume(_ context.Context, state toolhost.State) (toolhost.Instance, error) {
	if state.Memory == nil {
		return t.instance(), nil
	}
	s, err := readState(state)
	if err != nil {
		return nil, err
	}
	in := t.instance()
	pages := make([]*shown, len(s.Pages))
	for i := range s.Pages {
		pages[i] = &shown{used: i + 1}
	}
	for i, from := range s.Pages {
		from.restore(pages[i], pages)
		for _, address := range from.Keys {
			in.byURL[address] = pages[i]
		}
	}
	for _, i := range s.Stack {
		in.stack = append(in.stack, pages[i])
	}
	in.clock = len(pages)
	return in, nil
}

// restore makes a page of what was saved of it.
func (s *savedPage) restore(p *shown, pages []*shown) {
	p.kind, p.url, p.cite, p.title, p.text, p.links, p.gone = s.Kind, s.URL, s.Cite, s.Title, s.Text, s.Links, s.Gone
	for _, line := range s.Lines {
		p.targets = append(p.targets, target{line: line, page: pages[s.Page]})
	}
	for _, snippet := range s.Snippets {
		p.targets = append(p.targets, target{snippet: snippet})
	}
}

// readState decodes and checks a state. The error is a *toolhost.StateError.
func readState(state toolhost.State) (*savedState, error) {
	damaged := &toolhost.StateError{Reason: "what was stored of its pages is damaged"}
	z, err := gzip.NewReader(bytes.NewReader(state.Memory))
	if err != nil {
		return nil, damaged
	}
	data, err := io.ReadAll(io.LimitReader(z, maxStateJSON+1))
	if err != nil || len(data) > maxStateJSON {
		return nil, damaged
	}
	var s savedState
	if json.Unmarshal(data, &s) != nil {
		return nil, damaged
	}
	if s.Version != stateVersion {
		return nil, &toolhost.StateError{Reason: "its pages are from another version of the server"}
	}
	for _, i := range s.Stack {
		if i < 0 || i >= len(s.Pages) {
			return nil, damaged
		}
	}
	for _, p := range s.Pages {
		if p.Page < 0 || p.Page >= len(s.Pages) || p.Kind != pageKind && p.Kind != searchKind && p.Kind != findKind {
			return nil, damaged
		}
	}
	return &s, nil
}

func sortByUse(pages []*shown) {
	slices.SortStableFunc(pages, func(a, b *shown) int { return cmp.Compare(a.used, b.used) })
}
