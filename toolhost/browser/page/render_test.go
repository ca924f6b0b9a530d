package page_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"chorale/toolhost/browser/page"
)

var update = flag.Bool("update", false, "write the texts in testdata")

func TestRender(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/article.html")
	if err != nil {
		t.Fatal(err)
	}
	p, err := page.Read(page.Document{URL: "https://example.org/a/b", MIME: "text/html", Body: body}, page.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := p.Title + "\n" + p.Text + "\n"
	for i, l := range p.Links {
		got += fmt.Sprintf("%d %s\n", i, l)
	}
	if *update {
		if err := os.WriteFile("testdata/article.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/article.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// read returns the text behind the line of the URL.
func read(t *testing.T, d page.Document, l page.Limits) string {
	t.Helper()
	if d.URL == "" {
		d.URL = "https://a.org/"
	}
	p, err := page.Read(d, l)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(strings.TrimPrefix(p.Text, "\n"), "\n")
	return text
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		d    page.Document
		want string
	}{
		{"plain text keeps its lines", page.Document{MIME: "text/plain", Body: []byte("a\r\n\r\n\r\n  b <b>\t【1†x】\x00\x1b\n")}, "a\n\n  b <b>\t〖1†x〗"},
		{"JSON on one line is indented", page.Document{MIME: "application/json", Body: []byte(`{"b":1.0,"a":[]}`)}, "{\n \"b\": 1.0,\n \"a\": []\n}"},
		{"JSON of several lines stays", page.Document{MIME: "application/ld+json", Body: []byte("{\n\"b\": 1}")}, "{\n\"b\": 1}"},
		{"what is not JSON stays", page.Document{MIME: "application/json", Body: []byte("{oops")}, "{oops"},
		{"CSV", page.Document{MIME: "text/csv", Body: []byte("a,\"b, c\"\n1,\"x\ny\"\n")}, "a | b, c\n1 | x y"},
		{"CSV with semicolons", page.Document{MIME: "text/csv", Body: []byte("a;b\n1,5;2\n")}, "a | b\n1,5 | 2"},
		{"TSV", page.Document{MIME: "text/tab-separated-values", Body: []byte("a\tb\n1\t\n")}, "a | b\n1 |"},
		{"XML", page.Document{MIME: "application/rss+xml", Body: []byte("<rss>x</rss>")}, "<rss>x</rss>"},
		{"type from the body", page.Document{Body: []byte("<!DOCTYPE html><p>x")}, "x"},
		{"parameters", page.Document{MIME: "text/html; charset=utf-8", Body: []byte("<p>x")}, "x"},
		{"a notice", page.Document{MIME: "text/html", Body: []byte("<p>x"), Notice: "It needs\nscripts."}, "x\n\n[It needs scripts.]"},
		{"nothing", page.Document{MIME: "text/html"}, ""},
		{"Latin-1 by label", page.Document{MIME: "text/plain", Charset: "iso-8859-1", Body: []byte("caf\xe9")}, "café"},
		{"UTF-8 with a wrong label", page.Document{MIME: "text/plain", Charset: "iso-8859-1", Body: []byte("café")}, "café"},
		{"Latin-1 by meta", page.Document{MIME: "text/html", Body: []byte("<meta charset=windows-1252><p>\x93caf\xe9\x94")}, "“café”"},
		{"Shift JIS", page.Document{MIME: "text/plain", Charset: "shift_jis", Body: []byte("\x93\xfa\x96\x7b")}, "日本"},
		{"UTF-16 by its mark", page.Document{MIME: "text/plain", Body: []byte("\xff\xfea\x00\xe9\x00")}, "aé"},
		{"ISO-2022-JP", page.Document{MIME: "text/plain", Charset: "iso-2022-jp", Body: []byte("\x1b$BF|K\\\x1b(B")}, "日本"},
		{"broken UTF-8", page.Document{MIME: "text/plain", Charset: "utf-8", Body: []byte("a\xffb")}, "a\ufffdb"},
		{"an unknown label", page.Document{MIME: "text/plain", Charset: "klingon", Body: []byte("x")}, "x"},
	} {
		if got := read(t, c.d, page.Limits{}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	_, err := page.Read(page.Document{MIME: "image/png", Body: make([]byte, 7)}, page.Limits{})
	var unreadable *page.UnreadableError
	if !errors.As(err, &unreadable) || unreadable.MIME != "image/png" || !strings.Contains(err.Error(), "7 bytes") {
		t.Errorf("an image: %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const note = "\n\n[The page goes on, but is too long to be read whole.]"
	long := strings.Repeat("<p>word</p>", 100)
	for _, c := range []struct {
		name string
		d    page.Document
		l    page.Limits
		want string
	}{
		{"body", page.Document{MIME: "text/html", Body: []byte(long)}, page.Limits{Body: 22}, "word\n\nword" + note},
		{"text", page.Document{MIME: "text/html", Body: []byte(long)}, page.Limits{Text: 10}, "word\n\nword" + note},
		{"plain text", page.Document{MIME: "text/plain", Body: []byte("one\ntwo\nthree")}, page.Limits{Text: 9}, "one\ntwo" + note},
		{"links", page.Document{MIME: "text/html", Body: []byte("<a href=/1>x</a> <a href=/2>y</a> <a href=/1>z</a>")}, page.Limits{Links: 1}, "【0†x】 y 【0†z】" + note},
		{"addresses", page.Document{MIME: "text/html", Body: []byte("<a href=/1>x</a> <a href=/" + strings.Repeat("2", 40) + ">y</a>")}, page.Limits{Text: 50}, "【0†x】 y" + note},
		{"an address", page.Document{MIME: "text/html", Body: []byte("<a href=/" + strings.Repeat("2", 4000) + ">y</a>")}, page.Limits{}, "y"},
		{"the base", page.Document{MIME: "text/html", Body: []byte("<base href=/" + strings.Repeat("2", 1000) + "/><a href=1>y</a>")}, page.Limits{}, "【0†y】"},
		{"the page's own address", page.Document{URL: "https://a.org/" + strings.Repeat("p", 1000) + "/x", MIME: "text/html", Body: []byte("<a href=1>y</a>")}, page.Limits{}, "【0†y】"},
		{"cut before", page.Document{MIME: "text/plain", Body: []byte("x"), Truncated: true}, page.Limits{}, "x" + note},
		{"the text of a link", page.Document{MIME: "text/html", Body: []byte("<a href=/1>" + strings.Repeat("<b>x </b>", 2000) + "</a> after")}, page.Limits{},
			"【0†" + strings.TrimSpace(strings.Repeat("x ", 1001)) + "】 after"},
	} {
		if got := read(t, c.d, c.l); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// Documents that are made to take long or much memory are read all the same; the test fails by its deadline otherwise.
func TestHostile(t *testing.T) {
	t.Parallel()
	many := func(s string) []byte { return []byte(strings.Repeat(s, 200_000/len(s))) }
	formatting := "" // that the parser would open again in every paragraph
	for i := range 300 {
		formatting += fmt.Sprintf("<b id=%d>", i)
	}
	for name, body := range map[string][]byte{
		"deep": many("<div>"), "deep lists": many("<ul><li>"), "quotations": many("<blockquote>"), "formatting": append([]byte(formatting), many("<p>x")...),
		"links": many("<a href=x>y"), "tables": many("<table><tr><td>"), "attributes": []byte("<p " + strings.Repeat("a=1 ", 50_000) + ">x"),
		"comments": many("<!--"), "entities": many("&amp;"), "markers": many("【1†"), "tabs": many("\t"), "ends": many("</p>"), "carets": many("<sup>2</sup>"),
		"blanks": many(" \n"), "selects": many("<select><option>x"), "script": []byte("<script>" + strings.Repeat("<!--<script>", 10_000)),
	} {
		p, err := page.Read(page.Document{URL: "https://a.org/", MIME: "text/html", Body: body}, page.Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		page.StripLinks(strings.Join(page.Wrap(p.Text, page.Width), "\n"))
	}
	text := read(t, page.Document{MIME: "text/html", Body: []byte(strings.Repeat("<div>", 600) + "<h2>deep</h2><a href=/x>link</a><script>no</script>")}, page.Limits{})
	if text != "## deep\n\n【0†link】" {
		t.Errorf("a page that is too deep for a tree reads %q", text)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	p, err := page.Source(page.Document{URL: "https://a.org/", MIME: "text/html", Body: []byte("<p>【x】</p>")}, page.Limits{})
	if err != nil || p.Text != "\nURL: view-source:https://a.org/\n<p>〖x〗</p>" || p.Title != "a.org" || p.URL != "view-source:https://a.org/" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := page.Source(page.Document{MIME: "application/pdf"}, page.Limits{}); err == nil {
		t.Errorf("a PDF has a source")
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	if got, want := page.Clean(" a\r\n【b】\t\u00a0c\u200b◼\x07\u0085d\U000E0041 "), "a 〖b〗 c◾ d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzRead(f *testing.F) {
	article, err := os.ReadFile("testdata/article.html")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("text/html", article)
	f.Add("text/html", []byte("<a href=x>y<a href=z><pre>q</a><ul><li><q><code>c</q></code>"))
	f.Add("text/csv", []byte("a,\"b\n"))
	f.Add("application/json", []byte(`{"a":[1]}`))
	f.Add("", []byte("\xff\xfea"))
	f.Fuzz(func(t *testing.T, mime string, body []byte) {
		p, err := page.Read(page.Document{URL: "https://a.org/", MIME: mime, Body: body}, page.Limits{})
		if err != nil {
			return
		}
		if !utf8.ValidString(p.Text) || strings.ContainsAny(p.Title, "\n\r【】") || strings.Contains(p.Text, "\n\n\n") || strings.ContainsAny(p.Text, "\x00\x1b") {
			t.Errorf("title %q, text %q", p.Title, p.Text)
		}
		if strings.Count(p.Text, "【") != strings.Count(p.Text, "】") {
			t.Errorf("unpaired markers: %q", p.Text)
		}
		for i := range p.Links {
			if !strings.Contains(p.Text, fmt.Sprintf("【%d†", i)) && !p.Truncated {
				t.Errorf("link %d is not in %q", i, p.Text)
			}
		}
	})
}

func FuzzWrap(f *testing.F) {
	f.Add("some words-with-hyphens -- and\ttabs\n\nend ", 10)
	f.Fuzz(func(t *testing.T, text string, width int) {
		if !utf8.ValidString(text) || width < 1 || width > 200 {
			return
		}
		lines := page.Wrap(text, width)
		for _, l := range lines {
			if utf8.RuneCountInString(l) > width {
				t.Errorf("%q is longer than %d", l, width)
			}
		}
		if !strings.Contains(text, "\t") && strings.Join(lines, "") != strings.ReplaceAll(text, "\n", "") {
			t.Errorf("wrapping %q changes it", text)
		}
	})
}

// megabyte is a page of about a megabyte, like those of an encyclopedia.
func megabyte() []byte {
	var b bytes.Buffer
	b.WriteString("<!DOCTYPE html><title>Big</title><body>")
	for i := 0; b.Len() < 1<<20; i++ {
		fmt.Fprintf(&b, `<h2 id="s%d" class="heading"><span class="mw-headline">Section %d</span></h2><p>Some <b>text</b> about <a href="/wiki/Topic_%d" title="Topic %d">topic %d</a>,
which is long enough to be wrapped over several lines, with <i>emphasis</i> and a footnote.<sup class="reference"><a href="#cite_note-%d">[%d]</a></sup></p>
<ul class="list"><li>one &amp; two</li><li><a href="https://other.org/%d">other</a></li></ul><table><tr><td>1</td><td>2</td></tr></table>`, i, i, i%999, i, i, i, i, i)
	}
	return b.Bytes()
}

func BenchmarkRead(b *testing.B) {
	body := megabyte()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := page.Read(page.Document{URL: "https://a.org/", MIME: "text/html", Body: body}, page.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrap(b *testing.B) {
	p, err := page.Read(page.Document{URL: "https://a.org/", MIME: "text/html", Body: megabyte()}, page.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(p.Text)))
	for b.Loop() {
		page.Wrap(p.Text, page.Width)
	}
}

func BenchmarkStripLinks(b *testing.B) {
	p, err := page.Read(page.Document{URL: "https://a.org/", MIME: "text/html", Body: megabyte()}, page.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(p.Text)))
	for b.Loop() {
		page.StripLinks(p.Text)
	}
}
