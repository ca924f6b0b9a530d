package page

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// A writer makes text of the elements of a document, which come in their order: start, what is in it, end. An end that is
// missing or too many changes how the text looks and does no harm.
type writer struct {
	b     []byte
	limit int // bytes; what comes later is left out
	full  bool

	// What comes before the next text, if any follows.
	newlines int    // 2 leave an empty line
	blank    bool   // white space
	seam     bool   // the end of an element: blanks keep words apart
	hard     bool   // the line was broken by hand, which two blanks at its end say
	prefix   string // of a list item or heading
	opening  string // of a quotation or code

	quote, pre, code int
	quoted           int   // depth of the last line's quotation
	lists            []int // of each open list the number of its next item; -1 without numbers
	last             rune  // that was written

	base      *url.URL
	host      string
	links     []string
	ids       map[string]int
	maxLinks  int
	linkBytes int // of all addresses, which may be as long as the text
	cutLinks  bool
	images    int
	link      *capture
	title     string
	haveTitle bool
}

// A capture is a link whose text is being collected.
type capture struct {
	outer   *writer
	address string // "" for a place in the same page
}

// How elements are set apart.
const (
	paragraph = 2 // by an empty line
	ownLine   = 1
)

var blocks = map[string]int{ // read only
	"p": paragraph, "div": paragraph, "section": paragraph, "article": paragraph, "aside": paragraph, "header": paragraph,
	"footer": paragraph, "main": paragraph, "nav": paragraph, "form": paragraph, "fieldset": paragraph, "figure": paragraph,
	"address": paragraph, "details": paragraph, "dialog": paragraph, "center": paragraph, "hgroup": paragraph,
	"search": paragraph, "h1": paragraph, "h2": paragraph, "h3": paragraph, "h4": paragraph, "h5": paragraph, "h6": paragraph,
	"hr": paragraph, "pre": paragraph, "blockquote": paragraph, "table": paragraph, "listing": paragraph, "xmp": paragraph,
	"plaintext": paragraph, "dl": ownLine, "dt": ownLine, "dd": ownLine, "li": ownLine, "tr": ownLine, "caption": ownLine,
	"figcaption": ownLine, "summary": ownLine, "legend": ownLine, "thead": ownLine, "tbody": ownLine, "tfoot": ownLine,
}

// inline elements stand within words; the words around all others are kept apart.
var inline = map[string]bool{ // read only
	"b": true, "i": true, "em": true, "strong": true, "u": true, "small": true, "big": true, "font": true, "mark": true,
	"ins": true, "dfn": true, "var": true, "cite": true, "abbr": true, "wbr": true, "bdi": true, "bdo": true, "acronym": true,
	"nobr": true, "sup": true, "sub": true, "code": true, "kbd": true, "samp": true, "tt": true, "q": true, "del": true,
	"s": true, "strike": true, "html": true, "body": true, "tbody": true,
}

// silent elements have nothing for readers in them.
var silent = map[string]bool{ // read only
	"script": true, "style": true, "template": true, "noscript": true, "math": true, "svg": true, "canvas": true,
	"iframe": true, "object": true, "embed": true, "applet": true, "audio": true, "video": true, "datalist": true,
	"noframes": true, "noembed": true, "rp": true,
}

// start begins an element and reports whether what is in it is to be written.
func (w *writer) start(name string, attributes []html.Attribute) bool {
	if silent[name] || w.full || hidden(name, attributes) {
		return false
	}
	if !inline[name] {
		w.seam = true
	}
	if gap := blocks[name]; gap > 0 {
		w.gap(gap)
	}
	switch name {
	case "h1", "h2", "h3", "h4", "h5", "h6":
		w.prefix += strings.Repeat("#", int(name[1]-'0')) + " "
	case "ul", "ol", "menu", "dir":
		w.startList(name, attributes)
	case "li":
		w.prefix = w.item()
	case "dd":
		w.prefix = "    "
	case "blockquote":
		w.quote++
	case "pre", "listing", "xmp", "plaintext":
		w.pre++
	case "code", "kbd", "samp", "tt":
		if w.pre == 0 {
			w.code++
			w.opening += "`"
		}
	case "q":
		w.opening += `"`
	case "del", "s", "strike":
		w.opening += "~~"
	case "br":
		w.newline()
	case "hr":
		w.text("* * *")
		w.gap(paragraph)
	case "img":
		w.image(attributes)
	case "td", "th":
		w.blank = true
	case "base":
		w.rebase(attributes)
	case "a":
		w.startLink(attributes)
	}
	return true
}

// end ends an element that start said true for.
func (w *writer) end(name string) {
	if w.full {
		return
	}
	switch name {
	case "a":
		w.endLink()
	case "ul", "ol", "menu", "dir":
		w.endList()
	case "li", "dd", "h1", "h2", "h3", "h4", "h5", "h6":
		w.prefix = ""
	case "blockquote":
		w.quote = max(0, w.quote-1)
	case "pre", "listing", "xmp", "plaintext":
		w.pre = max(0, w.pre-1)
	case "code", "kbd", "samp", "tt":
		if w.code > 0 && w.pre == 0 {
			w.code--
			w.closing("`")
		}
	case "q":
		w.closing(`"`)
	case "del", "s", "strike":
		w.closing("~~")
	case "tr":
		if w.newlines == 0 && !w.clean() {
			w.hard = true
		}
	}
	if !inline[name] {
		w.seam = true
	}
	if gap := blocks[name]; gap > 0 {
		w.gap(gap)
	}
}

// gap sets what follows apart. Within a line that has only its prefix yet, and in the text of a link, there are no breaks.
func (w *writer) gap(newlines int) {
	w.blank = true
	if w.prefix == "" && w.link == nil {
		w.newlines = max(w.newlines, newlines)
	}
}

// newline ends a line by hand.
func (w *writer) newline() {
	w.blank = true
	if w.prefix != "" || w.link != nil || w.clean() {
		return
	}
	w.hard = w.hard || w.newlines == 0 && w.pre == 0
	w.newlines = min(w.newlines+1, paragraph)
}

// clean reports whether nothing is written yet.
func (w *writer) clean() bool { return len(w.b) == 0 }

func (w *writer) startList(name string, attributes []html.Attribute) {
	w.gap(ownLine)
	if len(w.lists) == 0 {
		w.gap(paragraph)
	}
	first := -1
	if name == "ol" {
		first = 1
		if n, err := strconv.Atoi(attribute(attributes, "start")); err == nil && n >= 0 && n < 1e9 {
			first = n
		}
	}
	if len(w.lists) < maxDepth {
		w.lists = append(w.lists, first)
	}
}

// maxDepth bounds how deep lists and quotations are shown.
const maxDepth = len(quoteMarks)

const quoteMarks = ">>>>>>>>>>>>>>>>>>>>>>>>>>>>>>>>"

func (w *writer) endList() {
	if len(w.lists) > 0 {
		w.lists = w.lists[:len(w.lists)-1]
	}
	w.gap(ownLine)
}

// item is what the next list item begins with.
func (w *writer) item() string {
	if len(w.lists) == 0 {
		return "* "
	}
	indent := strings.Repeat("  ", len(w.lists))
	n := &w.lists[len(w.lists)-1]
	if *n < 0 {
		return indent + "* "
	}
	*n++
	return indent + strconv.Itoa(*n-1) + ". "
}

// text writes text of the document.
func (w *writer) text(s string) {
	if w.tooMuch() {
		return
	}
	if w.pre > 0 {
		w.verbatim(s)
		return
	}
	for _, r := range s {
		if unicode.IsSpace(r) {
			w.blank = true
			continue
		}
		if r = replacement(r); r < 0 {
			continue
		}
		w.rune(r)
	}
}

// tooMuch reports whether the limit is reached. Behind a link that is too long the document goes on.
func (w *writer) tooMuch() bool {
	over := len(w.b) > w.limit
	w.full = w.full || over && w.link == nil
	return over
}

// verbatim writes preformatted text.
func (w *writer) verbatim(s string) {
	for _, r := range s {
		if r == '\n' {
			w.newlines = min(w.newlines+1, paragraph)
			continue
		}
		if r = replacement(r); r < 0 {
			continue
		}
		if w.newlines > 0 || w.clean() || w.prefix != "" {
			w.flushLine()
		}
		w.blank, w.seam = false, false
		w.b, w.last = utf8.AppendRune(w.b, r), r
	}
}

// rune writes one character of text that is not white space, and before it what was held back.
func (w *writer) rune(r rune) {
	switch {
	case w.newlines > 0 || w.prefix != "" || w.clean():
		w.flushLine()
	case w.blank || w.seam && isWord(w.last) && isWord(r):
		w.b = append(w.b, ' ')
	}
	if w.opening != "" {
		w.b, w.opening = append(w.b, w.opening...), ""
	}
	w.blank, w.seam = false, false
	w.b, w.last = utf8.AppendRune(w.b, r), r
}

// flushLine begins the line that was asked for.
func (w *writer) flushLine() {
	depth := min(w.quote, maxDepth)
	if !w.clean() {
		if w.hard {
			w.b = append(w.b, "  "...)
		}
		if w.newlines == 0 && w.prefix != "" && w.link == nil {
			w.newlines = ownLine
		}
		for i := range w.newlines {
			w.b = append(w.b, '\n')
			if i == 0 && w.newlines > ownLine {
				w.b = append(w.b, quoteMarks[:min(depth, w.quoted)]...)
			}
		}
	}
	if depth > 0 {
		w.b = append(append(w.b, quoteMarks[:depth]...), ' ')
	}
	w.quoted = depth
	w.b = append(w.b, w.prefix...)
	if w.pre > 0 {
		w.b = append(w.b, "    "...)
	}
	w.newlines, w.hard, w.prefix, w.blank, w.seam = 0, false, "", false, false
}

// closing writes the end of what opening began, unless nothing came between.
func (w *writer) closing(mark string) {
	if strings.HasSuffix(w.opening, mark) {
		w.opening = strings.TrimSuffix(w.opening, mark)
		return
	}
	w.b, w.last = append(w.b, mark...), '`'
}

// image writes the marker of an image. In the text of a link there are none.
func (w *writer) image(attributes []html.Attribute) {
	if w.link != nil || attribute(attributes, "width") == "1" || attribute(attributes, "height") == "1" {
		return
	}
	name, found := lookup(attributes, "alt")
	if !found {
		name = attribute(attributes, "title")
	}
	marker := "[Image " + strconv.Itoa(w.images) + "]"
	if name = Clean(name); name != "" {
		marker = marker[:len(marker)-1] + ": " + name + "]"
	}
	w.images++
	w.marker(marker)
}

// marker writes a text that is not the document's.
func (w *writer) marker(s string) {
	for i, r := range s {
		if i == 0 {
			w.rune(r)
			continue
		}
		w.b, w.last = utf8.AppendRune(w.b, r), r
	}
}

func (w *writer) rebase(attributes []html.Attribute) {
	if href := attribute(attributes, "href"); href != "" && len(href) <= maxBase && w.ids == nil && w.base != nil {
		if u, err := w.base.Parse(href); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
			w.base = u
		}
	}
}

// startLink begins to collect the text of a link, if it is one that can be opened.
func (w *writer) startLink(attributes []html.Attribute) {
	if w.link != nil { // links are not nested; this one ends the other, as in browsers
		w.endLink()
	}
	href, found := lookup(attributes, "href")
	href = strings.TrimSpace(href)
	if !found {
		return
	}
	address := ""
	if !strings.HasPrefix(href, "#") {
		if address = w.resolve(href); address == "" {
			return
		}
	}
	outer := *w
	*w = writer{limit: maxLinkText, link: &capture{outer: &outer, address: address}}
}

// maxLinkText is the most bytes of a link's text.
const maxLinkText = 2000

// maxAddress is the most bytes of an address that a link may have, and maxBase of what others are relative to.
const (
	maxAddress = 4000
	maxBase    = 1000
)

// inAddress does with addresses what browsers do.
var inAddress = strings.NewReplacer("\n", "", "\r", "", "\t", "", " ", "%20") // read only

// resolve returns the absolute address of a link, "" if it leads to nothing that can be opened.
func (w *writer) resolve(href string) string {
	if len(href) > maxAddress {
		return ""
	}
	u, err := url.Parse(inAddress.Replace(href))
	if err != nil {
		return ""
	}
	if w.base != nil {
		u = w.base.ResolveReference(u)
	}
	if u.Scheme != "http" && u.Scheme != "https" && (w.base == nil || u.Scheme != w.base.Scheme) || u.Host == "" {
		return ""
	}
	if address := u.String(); len(address) <= maxAddress {
		return address
	}
	return ""
}

// endLink writes the marker of the link whose text was collected.
func (w *writer) endLink() {
	if w.link == nil {
		return
	}
	text, blank, address := string(w.b), w.blank, w.link.address
	leading := len(w.b) > 0 && w.b[0] == ' '
	*w = *w.link.outer
	text = strings.ReplaceAll(strings.TrimSpace(text), "†", "‡")
	w.blank = w.blank || leading
	if text == "" {
		w.blank = w.blank || blank
		return
	}
	id, known := w.ids[address]
	switch {
	case address == "":
	case !known && (len(w.links) >= w.maxLinks || w.linkBytes+len(address) > w.limit):
		w.cutLinks = true
		address = ""
	case !known:
		if w.ids == nil {
			w.ids = map[string]int{}
		}
		id = len(w.links)
		w.linkBytes += len(address)
		w.ids[address], w.links = id, append(w.links, address)
	}
	if address != "" {
		text = Marker(id, text, otherDomain(address, w.host))
	}
	w.marker(text)
	w.seam, w.blank = true, blank
}

// otherDomain is the domain of an address, "" if it is the host.
func otherDomain(address, host string) string {
	if d := Domain(address); d != host {
		return d
	}
	return ""
}

// Marker is a link as it stands in the text of a page. The text is Clean; the domain is "" for the page's own.
func Marker(id int, text, domain string) string {
	text = strings.ReplaceAll(text, "†", "‡")
	if domain != "" {
		text += "†" + Clean(domain)
	}
	return "【" + strconv.Itoa(id) + "†" + text + "】"
}

// hidden reports whether people do not see an element.
func hidden(name string, attributes []html.Attribute) bool {
	open := false
	for _, a := range attributes {
		switch a.Key {
		case "hidden":
			if !strings.EqualFold(a.Val, "until-found") {
				return true
			}
		case "style":
			style := strings.ToLower(strings.Join(strings.Fields(a.Val), ""))
			if strings.Contains(style, "display:none") || strings.Contains(style, "visibility:hidden") {
				return true
			}
		case "open":
			open = true
		}
	}
	return name == "dialog" && !open
}

func attribute(attributes []html.Attribute, key string) string {
	value, _ := lookup(attributes, key)
	return value
}

func lookup(attributes []html.Attribute, key string) (value string, found bool) {
	for _, a := range attributes {
		if a.Key == key && a.Namespace == "" {
			return a.Val, true
		}
	}
	return "", false
}
