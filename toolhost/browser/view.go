package browser

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"chorale/toolhost/browser/page"
	"chorale/toolhost/browser/search"
)

// maxShort is the most characters of an address or message that is shown.
const maxShort = 1024

// shorten returns at most n characters of a text.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-3]) + "..."
}

// show puts a page on the stack and returns lines of it, beginning with loc. Without a count, as many as fit the tokens.
func (in *instance) show(p *shown, loc, count int, s *structured) (string, error) {
	lines := p.wrapped()
	if loc >= len(lines) {
		return "", usageError(fmt.Sprintf("Invalid location parameter: `%d`. Cannot exceed page maximum of %d.", loc, len(lines)-1))
	}
	var view strings.Builder
	end := in.tool.o.view(&view, lines, loc, count)
	in.push(p)
	cursor := len(in.stack) - 1
	s.Cursor, s.URL, s.Title, s.Lines = &cursor, p.cite, page.Clean(p.title), len(lines)
	if p.kind == findKind && len(p.targets) > 0 {
		s.Title = p.targets[0].page.title
	}
	header := page.Clean(p.title)
	if shownURL := shorten(page.Clean(unescape(p.url)), maxShort); shownURL != "" {
		header += " (" + shownURL + ")"
	}
	return fmt.Sprintf("[%d] %s\n**viewing lines [%d - %d] of %d**\n\n%s", cursor, header, loc, end-1, len(lines)-1, view.String()), nil
}

// view writes numbered lines and returns the first that it leaves out. There is always one.
func (o *Options) view(b *strings.Builder, lines []string, loc, count int) (end int) {
	budget, whole := o.Limits.ViewBytes, count <= 0
	if whole {
		budget = min(budget, (o.Limits.ViewTokens+1)*128) // no token is longer
		count = len(lines)
	}
	for end = loc; end < len(lines) && end-loc < count; end++ {
		before := b.Len()
		if end > loc {
			b.WriteByte('\n')
		}
		b.WriteByte('L')
		b.WriteString(strconv.Itoa(end))
		b.WriteString(": ")
		b.WriteString(lines[end])
		if b.Len() > budget && end > loc {
			text := b.String()[:before]
			b.Reset()
			b.WriteString(text)
			break
		}
	}
	text := b.String()
	if !whole || utf8.RuneCountInString(text) <= o.Limits.ViewTokens { // about the least that it can be
		return end
	}
	at := o.tokenStart(text)
	if at < 0 {
		return end
	}
	if rest := strings.IndexByte(text[at:], '\n'); rest >= 0 { // the line in which the token falls is shown whole
		text = text[:at+rest]
		b.Reset()
		b.WriteString(text)
		end = loc + strings.Count(text, "\n") + 1
	}
	return end
}

// tokenStart is where the first token begins that is too many, -1 if there is none.
func (o *Options) tokenStart(text string) int {
	if o.Tokens != nil {
		return min(o.Tokens(text, o.Limits.ViewTokens), len(text))
	}
	if at := 4 * o.Limits.ViewTokens; at < len(text) {
		return at
	}
	return -1
}

// push puts a page on the stack, and gives up the text of pages that are too many.
func (in *instance) push(p *shown) {
	in.clock++
	p.used = in.clock
	in.stack = append(in.stack, p)
	kept := map[*shown]bool{}
	bytes := 0
	for _, q := range in.stack {
		if !q.gone && !kept[q] {
			kept[q] = true
			bytes += q.size()
		}
	}
	in.giveUp(kept, bytes, p, in.tool.o.Limits.Pages, in.tool.o.Limits.PageBytes)
}

// giveUp drops the text of the least recently used pages, but not of one, until no more than so many pages and bytes are left.
func (in *instance) giveUp(kept map[*shown]bool, bytes int, spared *shown, maxPages, maxBytes int) {
	for len(kept) > maxPages || bytes > maxBytes {
		var oldest *shown
		for q := range kept {
			if q != spared && (oldest == nil || q.used < oldest.used) {
				oldest = q
			}
		}
		if oldest == nil {
			return
		}
		delete(kept, oldest)
		bytes -= oldest.size()
		oldest.gone, oldest.text, oldest.lines, oldest.links, oldest.targets = true, "", nil, nil, nil
	}
}

// maxSnippet is the most characters of a result's text that is shown.
const maxSnippet = 600

// resultPage makes a page of search results.
func (in *instance) resultPage(query string, results []search.Result) (*shown, []source) {
	p := &shown{kind: searchKind, title: page.Clean(query)}
	var sources []source
	var b strings.Builder
	b.WriteString("\nURL: \n# Search Results\n")
	ids := map[string]bool{}
	for _, r := range results {
		if ids[r.URL] || !in.tool.opens(r.URL) {
			continue
		}
		ids[r.URL] = true
		title, snippet := page.Clean(r.Title), shorten(page.Clean(r.Snippet), maxSnippet)
		if title == "" {
			title = page.Domain(r.URL)
		}
		line := "  * " + page.Marker(len(p.links), title, page.Domain(r.URL))
		if snippet != "" {
			line += " " + snippet
		}
		if len(p.links) == 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line + "\n")
		p.links = append(p.links, r.URL)
		p.targets = append(p.targets, target{snippet: snippet})
		sources = append(sources, source{Type: "url", URL: r.URL})
	}
	if len(p.links) == 0 {
		b.WriteString("\nNothing was found.\n")
	}
	p.text = strings.TrimSuffix(b.String(), "\n")
	return p, sources
}

// opens reports whether an address has a scheme that can be opened.
func (t *Tool) opens(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" || t.o.Documents[u.Scheme] != nil
}

// unescape undoes percent encoding, as far as there is any.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

// maxLocated is the most words of a snippet that are looked for.
const maxLocated = 8

// locate returns the line in which the longest passage of a snippet begins, 0 if it is not there.
func locate(lines []string, snippet string) int {
	passage := ""
	for part := range strings.SplitSeq(strings.ReplaceAll(snippet, "…", "..."), "...") {
		if len(part) > len(passage) {
			passage = part
		}
	}
	words := strings.Fields(strings.ToLower(passage))
	if len(words) < 3 {
		return 0
	}
	wanted := strings.Join(words[:min(len(words), maxLocated)], " ")
	var text strings.Builder
	starts := make([]int, len(lines))
	for i, l := range lines {
		starts[i] = text.Len()
		for _, word := range strings.Fields(strings.ToLower(l)) {
			if text.Len() > 0 {
				text.WriteByte(' ')
			}
			text.WriteString(word)
		}
	}
	at := strings.Index(text.String(), wanted) // a passage with a link in it is not found
	if at < 0 {
		return 0
	}
	for i := len(starts) - 1; i >= 0; i-- {
		if starts[i] <= at {
			return i
		}
	}
	return 0
}
