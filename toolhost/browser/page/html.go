package page

import (
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// An htmlText is what was read of an HTML document.
type htmlText struct {
	text, title string
	links       []string
	truncated   bool
}

// readHTML renders a document. The address is what links are relative to.
func readHTML(text, address string, l Limits) htmlText {
	w := &writer{limit: l.Text, maxLinks: l.Links}
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		if len(u.Path) > maxBase {
			u.Path, u.RawPath = "/", ""
		}
		w.base, w.host = u, u.Host
	}
	if !blowsUp(text) {
		if root, err := html.Parse(strings.NewReader(text)); err == nil {
			w.walk(root)
			return w.done()
		}
	}
	w.tokens(text)
	return w.done()
}

func (w *writer) done() htmlText {
	w.endLink()
	return htmlText{text: string(w.b), title: w.title, links: w.links, truncated: w.full || w.cutLinks}
}

// walk writes a node and what is in it. The parser refuses trees that are deeper than 512 elements.
func (w *writer) walk(n *html.Node) {
	switch n.Type {
	case html.TextNode:
		w.text(n.Data)
		return
	case html.ElementNode:
		switch {
		case n.DataAtom == atom.Title && n.Namespace == "":
			w.setTitle(n)
			return
		case n.DataAtom == atom.Sup || n.DataAtom == atom.Sub:
			if w.script(n) {
				return
			}
		}
		if !w.start(n.Data, n.Attr) {
			return
		}
	case html.DocumentNode:
	default:
		return
	}
	for c := n.FirstChild; c != nil && !w.full; c = c.NextSibling {
		w.walk(c)
	}
	if n.Type == html.ElementNode {
		w.end(n.Data)
	}
}

func (w *writer) setTitle(n *html.Node) {
	if !w.haveTitle && n.FirstChild != nil && n.FirstChild.Type == html.TextNode {
		w.title, w.haveTitle = n.FirstChild.Data, true
	}
}

var scriptText = regexp.MustCompile(`^[\pL\pN_-]+$`) // read only

// script writes a superscript or subscript, if it is a single word or number.
func (w *writer) script(n *html.Node) bool {
	c := n.FirstChild
	if c == nil || c.NextSibling != nil || c.Type != html.TextNode || !scriptText.MatchString(c.Data) || w.pre > 0 {
		return false
	}
	mark := "^{"
	if n.DataAtom == atom.Sub {
		mark = "_{"
	}
	w.text(mark + c.Data + "}")
	return true
}

// formatting elements are opened again by the parser in every paragraph until they are closed.
var formatting = map[atom.Atom]bool{ // read only
	atom.A: true, atom.B: true, atom.Big: true, atom.Code: true, atom.Em: true, atom.Font: true, atom.I: true, atom.Nobr: true,
	atom.S: true, atom.Small: true, atom.Strike: true, atom.Strong: true, atom.Tt: true, atom.U: true,
}

// maxReopened bounds the elements that the parser may add to a document of its own accord. Pages have about one for each of
// theirs; one made for it has hundreds.
const maxReopened = 1 << 20

// blowsUp reports whether the tree of a document might be much larger than the document, since formatting elements are left
// open: every tag and text that follows could get all of them.
func blowsUp(text string) bool {
	open, total, reopened := map[atom.Atom]int{}, 0, 0
	z := html.NewTokenizer(strings.NewReader(text))
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			return false
		case html.StartTagToken, html.EndTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			if !formatting[a] {
				break
			}
			if kind == html.StartTagToken {
				open[a]++
				total++
			} else if open[a] > 0 {
				open[a]--
				total--
			}
		}
		if reopened += max(0, total-8); reopened > maxReopened {
			return true
		}
	}
}

// tokens writes a document without making a tree of it. Elements that are left out end at the first end of one of their name.
func (w *writer) tokens(text string) {
	z := html.NewTokenizer(strings.NewReader(text))
	skip, inTitle := "", false
	for !w.full {
		kind := z.Next()
		if kind == html.ErrorToken {
			return
		}
		t := z.Token()
		switch {
		case skip != "":
			if kind == html.EndTagToken && t.Data == skip {
				skip = ""
			}
		case kind == html.TextToken && inTitle:
			w.title, w.haveTitle, inTitle = t.Data, true, false
		case kind == html.TextToken:
			w.text(t.Data)
		case kind == html.StartTagToken || kind == html.SelfClosingTagToken:
			if inTitle = t.DataAtom == atom.Title && !w.haveTitle; inTitle {
				break
			}
			if !w.start(t.Data, t.Attr) && !w.full && silent[t.Data] && kind == html.StartTagToken {
				skip = t.Data
			}
		case kind == html.EndTagToken:
			if inTitle = false; t.DataAtom != atom.Title {
				w.end(t.Data)
			}
		}
	}
}
