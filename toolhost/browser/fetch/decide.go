package fetch

import (
	"bytes"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// The thresholds of needsBrowser, in characters of visible text without blanks.
const (
	thinText  = 200  // an article has more, a shell with a title and a spinner less
	someText  = 1000 // a shell with a menu and a footer has less
	maxDelay  = 5    // seconds of a <meta> refresh that is a redirect; news sites reload their pages after minutes
	maxNested = 64   // of elements whose text does not count
)

// A shape is what a page looks like from outside.
type shape struct {
	text    int    // visible characters without blanks
	scripts int    // that run
	asks    bool   // <noscript> asks for JavaScript
	shell   bool   // an element that frameworks fill is empty
	refresh string // of a <meta> refresh that is a redirect, "" without one
}

// needsBrowser says whether a page that was fetched over HTTP needs a browser, and why. Without scripts it never does.
// With scripts it does when there is hardly any text; or when there is little and the page itself asks for JavaScript
// or has the empty root element of a framework.
func (s shape) needsBrowser() (bool, string) {
	switch {
	case s.scripts == 0:
		return false, "no scripts"
	case s.text < thinText:
		return true, "scripts and hardly any text"
	case s.text < someText && s.asks:
		return true, "the page asks for JavaScript"
	case s.text < someText && s.shell:
		return true, "an empty application root"
	}
	return false, "text without scripts"
}

// look reads a page as far as needed for its shape.
func look(body []byte) shape {
	var s shape
	var hidden []atom.Atom // open elements whose text is not seen
	var root string        // the element that may be an empty root
	z := html.NewTokenizer(bytes.NewReader(body))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			s.shell = s.shell || root != ""
			return s
		}
		t := z.Token()
		switch kind {
		case html.TextToken:
			n := inked(t.Data)
			switch {
			case len(hidden) == 0:
				s.text += n
				if n > 0 {
					root = ""
				}
			case hidden[0] == atom.Noscript && strings.Contains(strings.ToLower(t.Data), "javascript"):
				s.asks = true
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			switch {
			case t.DataAtom == atom.Script && runs(t):
				s.scripts++
			case t.DataAtom == atom.Meta && s.refresh == "" && len(hidden) == 0:
				s.refresh = redirects(t)
			}
			if kind == html.SelfClosingTagToken {
				break
			}
			if silent(t.DataAtom) {
				if len(hidden) < maxNested {
					hidden = append(hidden, t.DataAtom)
				}
				break
			}
			root = ""
			if len(hidden) == 0 && isRoot(t) {
				root = t.Data
			}
		case html.EndTagToken:
			if len(hidden) > 0 && hidden[len(hidden)-1] == t.DataAtom {
				hidden = hidden[:len(hidden)-1]
			}
			if root != "" && t.Data == root {
				s.shell, root = true, ""
			}
		}
	}
}

// silent reports elements whose text nobody sees.
func silent(a atom.Atom) bool {
	switch a {
	case atom.Script, atom.Style, atom.Noscript, atom.Template, atom.Title, atom.Svg, atom.Textarea, atom.Select,
		atom.Iframe, atom.Object:
		return true
	}
	return false
}

// runs reports scripts that are programs and not data.
func runs(t html.Token) bool {
	typ := strings.ToLower(strings.TrimSpace(attribute(t, "type")))
	return typ == "" || typ == "module" || strings.Contains(typ, "javascript") || strings.Contains(typ, "ecmascript")
}

// isRoot reports elements that frameworks fill: by the names that their tools generate, and Angular's own elements.
func isRoot(t html.Token) bool {
	if strings.HasPrefix(t.Data, "app-") || t.Data == "ion-app" {
		return true
	}
	switch strings.ToLower(attribute(t, "id")) {
	case "root", "app", "__next", "__nuxt", "___gatsby", "svelte", "app-root", "react-root", "main-app", "q-app", "ember-app",
		"application", "mount", "react-app", "vue-app":
		return true
	}
	return false
}

func attribute(t html.Token, name string) string {
	for _, a := range t.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// inked counts characters without blanks, in bytes where the text is no UTF-8.
func inked(text string) int {
	n := 0
	for _, r := range text {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// redirects is where a <meta http-equiv=refresh content="0;url=…"> leads, or "".
func redirects(t html.Token) string {
	if !strings.EqualFold(strings.TrimSpace(attribute(t, "http-equiv")), "refresh") {
		return ""
	}
	delay, rest, ok := strings.Cut(attribute(t, "content"), ";")
	if !ok {
		delay, rest, ok = strings.Cut(attribute(t, "content"), ",")
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(delay), 64)
	if !ok || err != nil || n > maxDelay {
		return ""
	}
	key, to, ok := strings.Cut(rest, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(key), "url") {
		return ""
	}
	return strings.Trim(strings.TrimSpace(to), `"'`)
}

// refresh is the URL to which a page of little text redirects by <meta>, or "".
func refresh(d *Document) string {
	s := look(d.Body)
	base, err := url.Parse(d.URL)
	if s.refresh == "" || s.text >= someText || err != nil {
		return ""
	}
	to, err := resolve(base, s.refresh)
	if err != nil || to == d.URL {
		return ""
	}
	return to
}
