// Package page turns documents into the text that the model reads: lines of 80 characters with numbered links.
//
// It owns the form in which gpt-oss was trained to see pages: what becomes of elements, links and images, which characters
// are replaced because they mean something in that form, and where lines are broken. It reads HTML, plain text, JSON, CSV
// and PDF. It does not know where documents come from, cursors, or how much of a page is shown at a time. All functions are
// pure and safe for concurrent use; the work is linear in the size of the document and bounded by Limits.
//
// HTML is rendered over the tree of golang.org/x/net/html by one walk with a writer that holds breaks, blanks and prefixes back
// until text follows, so that there is nothing to clean up afterwards but blank lines in preformatted text. A document that
// is nested too deeply for a tree, or made to blow one up, is rendered from its tokens by the same writer, which is less exact.
//
// PDF is read by our own code: objects are found by looking for them rather than by the file's table, which may be damaged or lead
// in circles; all work is paid from one budget; and pages are run for what they show as text, with blanks and new lines where
// the pen moves. Encrypted files, scans and LZW are refused or left out.
package page

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// A Document is a page as it arrived.
type Document struct {
	URL, Requested string // after redirects; as asked
	Status         int    // of HTTP, 0 if there was none
	MIME           string // "text/html", "application/pdf", …; "" is found out from Body
	Charset        string // as the header has it, "" if it has none; "utf-8" for what was rendered
	Title          string // of the rendered page, else ""
	Body           []byte // HTML of the rendered tree, or the bytes as they came, decompressed
	Rendered       bool   // by a browser
	Truncated      bool   // a limit cut it
	Notice         string // what a reader should know of how it was fetched, or ""
}

// A Page is the text of a document.
type Page struct {
	URL   string
	Title string
	// Text begins with an empty line and the line of the URL. Lines are not wrapped.
	Text string
	// Links are the addresses of the markers 【id†text】; id is the index. Each is there once.
	Links     []string
	Truncated bool // Text or Links are not all that the document has
}

// Limits bound what a document may cost. Zeros are the defaults.
type Limits struct {
	Body  int // bytes that are looked at; 0 = 4 MiB, of PDF 16 MiB
	Text  int // bytes of text; 0 = 2 MiB
	Links int // 0 = 20,000; further ones are plain text
	Pages int // of a PDF; 0 = 500
}

func (l Limits) withDefaults(pdf bool) Limits {
	if l.Body == 0 {
		l.Body = 4 << 20
		if pdf {
			l.Body = 16 << 20
		}
	}
	if l.Text == 0 {
		l.Text = 2 << 20
	}
	if l.Links == 0 {
		l.Links = 20_000
	}
	if l.Pages == 0 {
		l.Pages = 500
	}
	return l
}

// An UnreadableError says why a document has no text.
type UnreadableError struct {
	MIME   string
	Reason string // for the model to read
}

func (e *UnreadableError) Error() string { return e.Reason }

// Read returns the page of a document. The error is an *UnreadableError.
func Read(d Document, l Limits) (*Page, error) {
	kind := mediaType(d)
	l = l.withDefaults(kind == "application/pdf")
	p := &Page{URL: d.URL, Title: d.Title, Truncated: d.Truncated}
	body := d.Body
	if len(body) > l.Body && kind != "application/pdf" {
		body, p.Truncated = body[:l.Body], true
	}
	var text string
	switch kind {
	case "text/html", "application/xhtml+xml":
		r := readHTML(decode(body, d.Charset, kind), d.URL, l)
		text, p.Links, p.Truncated = r.text, r.links, p.Truncated || r.truncated
		p.Title = firstTitle(p.Title, r.title)
	case "application/pdf":
		var title string
		var err error
		if text, title, p.Truncated, err = readPDF(d, l); err != nil {
			return nil, err
		}
		text, p.Title = scrub(text), firstTitle(p.Title, title)
	case "text/csv", "text/tab-separated-values":
		text = scrub(table(decode(body, d.Charset, kind), kind))
	default:
		switch {
		case kind == "application/json" || strings.HasSuffix(kind, "+json"):
			text = scrub(indentJSON(decode(body, d.Charset, kind)))
		case readable(kind):
			text = scrub(decode(body, d.Charset, kind))
		default:
			return nil, &UnreadableError{MIME: kind, Reason: fmt.Sprintf("This is not a page of text but %s (%d bytes), which cannot be shown.", kind, len(d.Body))}
		}
	}
	p.finish(text, l)
	if d.Notice != "" {
		p.Text += "\n\n[" + Clean(d.Notice) + "]"
	}
	return p, nil
}

func firstTitle(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Source returns a document as it was sent, for people and models that ask for the source of a page. The address of the page
// begins with "view-source:".
func Source(d Document, l Limits) (*Page, error) {
	kind := mediaType(d)
	l = l.withDefaults(false)
	if kind != "text/html" && kind != "application/xhtml+xml" && !readable(kind) {
		return nil, &UnreadableError{MIME: kind, Reason: fmt.Sprintf("This is %s (%d bytes), which has no source text.", kind, len(d.Body))}
	}
	body := d.Body
	p := &Page{URL: d.URL, Title: d.Title, Truncated: d.Truncated}
	if len(body) > l.Body {
		body, p.Truncated = body[:l.Body], true
	}
	if !strings.HasPrefix(p.URL, SourcePrefix) {
		p.URL = SourcePrefix + p.URL
	}
	p.finish(scrub(decode(body, d.Charset, kind)), l)
	return p, nil
}

// SourcePrefix is what the address of a page's source begins with.
const SourcePrefix = "view-source:"

// finish makes the page of its text.
func (p *Page) finish(text string, l Limits) {
	text = tidy(text)
	if len(text) > l.Text {
		text, p.Truncated = cut(text, l.Text), true
	}
	if p.Truncated {
		text += "\n\n[The page goes on, but is too long to be read whole.]"
	}
	p.Text = "\nURL: " + Clean(p.URL) + "\n" + text
	if p.Title = Clean(p.Title); p.Title == "" {
		p.Title = Domain(p.URL)
	}
}

// Domain is the host of an address, with its port if it has one; "" if there is none.
func Domain(address string) string {
	u, err := url.Parse(strings.TrimPrefix(address, SourcePrefix))
	if err != nil {
		return ""
	}
	return u.Host
}

// mediaType is the type of a document, from its body if nothing says so.
func mediaType(d Document) string {
	kind, _, err := mime.ParseMediaType(d.MIME)
	if err != nil || kind == "" {
		kind, _, _ = mime.ParseMediaType(http.DetectContentType(d.Body))
	}
	return kind
}

// readable reports whether a type is text as it is.
func readable(kind string) bool {
	if strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+xml") || strings.HasSuffix(kind, "+json") {
		return kind != "image/svg+xml"
	}
	switch kind {
	case "application/json", "application/xml", "application/javascript", "application/x-javascript", "application/ecmascript",
		"application/yaml", "application/x-yaml", "application/toml", "application/x-sh", "application/sql", "application/x-ndjson",
		"application/jsonl", "application/x-tex", "application/x-httpd-php", "application/graphql", "application/rtf":
		return true
	}
	return false
}
