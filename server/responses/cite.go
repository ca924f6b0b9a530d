package responses

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"chorale/server/api"
)

// The models cite what they have read as 【cursor†L3-L5】, with the number of the display of the browser that it was in. Clients
// know nothing of displays: for them a citation is a link, and an annotation that says where in the text it is.

// maxMarker is how many bytes a citation has at most; what goes on for longer is text.
const maxMarker = 512

// A citer turns citations in a message into links while the message is being written. It holds back the text only from the
// beginning of a citation to where it is clear whether it is one.
type citer struct {
	page func(cursor int) (page webPage, ok bool)
	held string // begins with the bracket of what may become a citation
	at   int    // code points that have gone out
	last rune   // of them; 0 = none
}

// A webPage is a page that the model has seen.
type webPage struct {
	URL   string `json:"url"` // "" for lists of results
	Title string `json:"title"`
}

// A piece is text that goes out, with the citation that it is the link of, if it is one.
type piece struct {
	text     string
	citation *api.URLCitation
}

// push takes text and returns what can go out.
func (c *citer) push(text string) (out []piece) {
	rest := c.held + text
	for c.held = ""; rest != ""; {
		before, _, found := strings.Cut(rest, "【")
		if out = c.plain(out, before); !found {
			break
		}
		rest = rest[len(before):]
		cursor, size, state := readMarker(rest)
		switch state {
		case markerOpen:
			c.held = rest
			return out
		case markerNone:
			size = len("【")
			out = c.plain(out, rest[:size])
		case markerWhole:
			if p, ok := c.page(cursor); ok && p.URL != "" {
				out = c.link(out, p)
			} else {
				out = c.plain(out, rest[:size])
			}
		}
		rest = rest[size:]
	}
	return out
}

// flush returns what is held at the end of the message: a citation that was not finished is text.
func (c *citer) flush() []piece {
	held := c.held
	c.held = ""
	return c.plain(nil, held)
}

func (c *citer) plain(out []piece, text string) []piece {
	if text == "" {
		return out
	}
	c.at += utf8.RuneCountInString(text)
	c.last, _ = utf8.DecodeLastRuneInString(text)
	return append(out, piece{text: text})
}

// link appends the link to the page, with a blank in front of it unless there is one.
func (c *citer) link(out []piece, p webPage) []piece {
	address := pageURL(p.URL)
	host := address
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		host = u.Host
	}
	title := p.Title
	if title == "" {
		title = host
	}
	if c.last != 0 && !unicode.IsSpace(c.last) {
		out = c.plain(out, " ")
	}
	text := fmt.Sprintf("([%s](%s))", host, linkEscapes.Replace(address))
	citation := &api.URLCitation{URL: address, Title: title, StartIndex: c.at}
	out = c.plain(out, text)
	citation.EndIndex = c.at
	out[len(out)-1].citation = citation
	return out
}

// linkEscapes writes what would end a link in Markdown.
var linkEscapes = strings.NewReplacer("(", "%28", ")", "%29", " ", "%20", "<", "%3C", ">", "%3E", "\n", "%0A")

// pageURL is the address that a person can open: displays of sources and of what was found in a page have one of their own.
func pageURL(address string) string {
	address = strings.TrimPrefix(address, "view-source:")
	if page, _, found := strings.Cut(address, "/find?pattern="); found {
		return page
	}
	return address
}

// What text that begins with a bracket is.
type markerState int

const (
	markerNone  markerState = iota
	markerOpen              // it may become a citation
	markerWhole             // it begins with one, of size bytes
)

// readMarker reads the bracket, digits, a dagger, text without daggers, perhaps a dagger and more such text, and the closing
// bracket.
func readMarker(text string) (cursor, size int, state markerState) {
	digits, fields, empty := "", 0, true
	for i, r := range text[len("【"):] {
		at := len("【") + i
		switch {
		case at > maxMarker || r == '\n' || r == '【':
			return 0, 0, markerNone
		case r == '†' && fields < 2 && (fields == 0 && digits != "" || fields == 1 && !empty):
			fields, empty = fields+1, true
		case r == '】' && fields > 0 && !empty:
			cursor, err := strconv.Atoi(digits)
			if err != nil {
				return 0, 0, markerNone
			}
			return cursor, at + len("】"), markerWhole
		case r == '†' || r == '】':
			return 0, 0, markerNone
		case fields > 0:
			empty = false
		case r < '0' || r > '9':
			return 0, 0, markerNone
		default:
			digits += string(r)
		}
	}
	return 0, 0, markerOpen
}
