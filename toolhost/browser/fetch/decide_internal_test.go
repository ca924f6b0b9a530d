package fetch

import (
	"strings"
	"testing"
)

// The rule is not visible from outside without a browser, so it has a table here.
func TestNeedsBrowser(t *testing.T) {
	t.Parallel()
	words := func(n int) string { return strings.Repeat("word ", n/4) }
	for _, tt := range []struct {
		name, page string
		want       bool
	}{
		{"an empty page", "", false},
		{"an article without scripts", "<p>" + words(5000), false},
		{"a short page without scripts", "<p>Hello", false},
		{"an article with scripts", "<script src=a.js></script><p>" + words(5000), false},
		{"scripts and nothing else", "<title>Shop</title><script src=a.js></script>", true},
		{"data in a script is no text", "<script>" + words(5000) + "</script>", true},
		{"styles are no text", "<script src=a.js></script><style>" + words(5000) + "</style>", true},
		{"text in a template is no text", "<script src=a.js></script><template>" + words(5000) + "</template>", true},
		{"only data scripts", `<script type="application/ld+json">{}</script><p>Hello`, false},
		{"just below thin", "<script>x()</script>" + words(thinText-4), true},
		{"just thin enough", "<script>x()</script>" + words(thinText), false},
		{"an empty root and a menu", `<script src=a.js></script><ul>` + words(600) + `</ul><div id="root"></div>`, true},
		{"an empty root with blanks", `<script src=a.js></script><p>` + words(600) + `<div id=__next>  </div>`, true},
		{"a filled root", `<script src=a.js></script><div id="root"><p>` + words(600) + `</p></div>`, false},
		{"a root that holds elements only", `<script src=a.js></script><p>` + words(600) + `<div id=root><div></div></div>`, false},
		{"an element of Angular", `<script src=a.js></script><p>` + words(600) + `<app-root></app-root>`, true},
		{"an empty root below an article", `<script src=a.js></script><p>` + words(5000) + `<div id="app"></div>`, false},
		{"asks for JavaScript", `<script src=a.js></script><noscript>Please enable JavaScript.</noscript>` + words(600), true},
		{"noscript for a pixel", `<script src=a.js></script><noscript><img src=x></noscript>` + words(600), false},
		{"asks for it below an article", `<script src=a.js></script><noscript>Enable JavaScript</noscript>` + words(5000), false},
		{"tags that never end", "<script src=a.js></script>" + strings.Repeat("<template>", 10000), true},
		{"no UTF-8", "<script>x()</script>" + strings.Repeat("\xff\xfe", 5000), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, why := look([]byte(tt.page)).needsBrowser(); got != tt.want {
				t.Errorf("needs a browser: %v (%s), want %v", got, why, tt.want)
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	const at = "http://a.example/dir/page"
	for _, tt := range []struct{ name, page, want string }{
		{"none", "<p>x", ""},
		{"at once", `<meta http-equiv="refresh" content="0;url=/next">`, "http://a.example/next"},
		{"quoted", `<META HTTP-EQUIV=Refresh CONTENT="0; URL='next.html'">`, "http://a.example/dir/next.html"},
		{"with a comma", `<meta http-equiv=refresh content="1, url=http://b.example/">`, "http://b.example/"},
		{"loopback is for the policy", `<meta http-equiv=refresh content="0;url=http://127.0.0.1/">`, "http://127.0.0.1/"},
		{"after minutes", `<meta http-equiv=refresh content="300;url=/next">`, ""},
		{"of itself", `<meta http-equiv=refresh content="0;url=page">`, ""},
		{"without a URL", `<meta http-equiv=refresh content="0">`, ""},
		{"inside of noscript", `<noscript><meta http-equiv=refresh content="0;url=/x"></noscript>`, ""},
		{"in a long page", `<meta http-equiv=refresh content="0;url=/x">` + strings.Repeat("word ", 500), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := refresh(&Document{URL: at, Body: []byte(tt.page)}); got != tt.want {
				t.Errorf("refresh is %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzLook(f *testing.F) {
	for _, s := range []string{
		"<p>x", "<script>", "<noscript><template></noscript>", "<div id=root>", "<meta http-equiv=refresh content=',url='>",
		"<svg><title></svg>", "<!--", "<![CDATA[", "\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		s := look(page)
		if s.text < 0 || s.text > len(page) || s.scripts > len(page) {
			t.Fatalf("%+v of %d bytes", s, len(page))
		}
		refresh(&Document{URL: "http://a.example/", Body: page})
	})
}
