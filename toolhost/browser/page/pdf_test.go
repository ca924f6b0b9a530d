package page_test

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"chorale/toolhost/browser/page"
)

func pdfDocument(body string) page.Document {
	return page.Document{URL: "https://a.org/x.pdf", MIME: "application/pdf", Body: []byte(body)}
}

func TestPDFOfChromium(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/fjords.pdf")
	if err != nil {
		t.Fatal(err)
	}
	p, err := page.Read(pdfDocument(string(body)), page.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	const want = "\nURL: https://a.org/x.pdf\n[Page 1]\nFjords & towns\n" +
		"Oslo is the capital of Norway; its area is 454 km². The café “Blå” is efficient, and its office\noffers fish.\n\n" +
		"A second paragraph that is long enough to be broken over more than one line of the\n" +
		"page, so that one sees what becomes of the line ends in it.\n\n" +
		"Town People\nBergen 289,330\n\n[Page 2]\nThe second page: bold and italic words, ελληνικά."
	if p.Text != want || p.Title != "Fjords of Norway – a test" {
		t.Errorf("%q\n%s\nwant\n%s", p.Title, p.Text, want)
	}
	p, err = page.Read(pdfDocument(string(body)), page.Limits{Pages: 1})
	if err != nil || strings.Contains(p.Text, "[Page 2]") || !p.Truncated {
		t.Errorf("one page: %+v, %v", p, err)
	}
	for _, c := range []struct {
		d    page.Document
		l    page.Limits
		want string
	}{
		{pdfDocument(string(body)), page.Limits{Body: 1000}, "The PDF cannot be read: it has more than 1000 bytes."},
		{pdfDocument("%PDF-1.4 nothing"), page.Limits{}, "The PDF cannot be read: it has no pages."},
		{page.Document{MIME: "application/pdf", Body: body[:9000], Truncated: true}, page.Limits{}, "The PDF cannot be read: it is too long and was cut."},
		{pdfDocument(onePage("q Q", "", "")), page.Limits{}, "The PDF cannot be read: its pages are pictures without text."},
		{pdfDocument(onePage("BT (x) Tj ET", "", "/Encrypt 9 0 R")), page.Limits{}, "The PDF cannot be read: it is encrypted."},
	} {
		_, err := page.Read(c.d, c.l)
		var unreadable *page.UnreadableError
		if !errors.As(err, &unreadable) || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// onePage is a file with one page, the fields of its font, and those of its trailer.
func onePage(content, font, trailer string) string {
	return fmt.Sprintf("%%PDF-1.4\n1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj\n"+
		"2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1 /Resources <</Font <</F1 4 0 R>> /XObject <</X 6 0 R>>>>>> endobj\n"+
		"3 0 obj <</Type /Page /Parent 2 0 R /Contents 5 0 R>> endobj\n4 0 obj <</Type /Font /Subtype /Type1 %s>> endobj\n"+
		"5 0 obj <</Length %d>> stream\n%s\nendstream endobj\n"+
		"6 0 obj <</Subtype /Form /Matrix [1 0 0 1 0 -50]>> stream\nBT /F1 10 Tf (form) Tj /X Do ET\nendstream endobj\n"+
		"trailer <</Root 1 0 R %s>>\n%%%%EOF", font, len(content), content, trailer)
}

func TestPDFText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, content, font, want string }{
		{"strings", `BT /F1 10 Tf (a\(b\)\051 \101\12\\ (c)) Tj <4 1 4> Tj ET`, "", "a(b)) A\\ (c)A@"},
		{"lines", "BT /F1 10 Tf 12 TL 0 700 Td (one) Tj T* (two) Tj 0 -30 Td (three) Tj (four) ' ET", "", "one\ntwo\n\nthree\nfour"},
		{"kerning and blanks", "BT /F1 10 Tf [(W) 80 (ord) -400 (next) -100 (er)] TJ ET", "", "Word nexter"},
		{"columns", "BT /F1 10 Tf 1 0 0 1 0 700 Tm (a) Tj 1 0 0 1 100 700 Tm (b) Tj ET", "", "a b"},
		{"Windows", "BT /F1 10 Tf (\\223caf\\351\\224 \\200) Tj ET", "/Encoding /WinAnsiEncoding", "“café” €"},
		{"Macintosh", "BT /F1 10 Tf (caf\\216) Tj ET", "/Encoding /MacRomanEncoding", "café"},
		{"differences", "BT /F1 10 Tf (\\001\\002\\003\\004A) Tj ET", "/Encoding <</Differences [1 /ffi /eacute /uni20AC /a.alt]>>", "ffie\u0301€aA"},
		{"ligatures of TeX", "BT /F1 10 Tf (e\\016cient \\014sh) Tj ET", "", "efficient fish"},
		{"widths", "BT /F1 10 Tf (il) Tj 5 0 Td (x) Tj ET", "/FirstChar 105 /Widths [250 0 0 250]", "ilx"},
		{"forms, which do not end in themselves", "BT /F1 10 Tf 0 100 Td (a) Tj ET /X Do", "", "a\n\nform\n\nform\n\nform\n\nform\n\nform\n\nform\n\nform\n\nform"},
		{"inline pictures", "BT /F1 10 Tf (a) Tj ET BI /W 1 ID (((( EI BT (b) Tj ET", "", "ab"},
		{"arguments missing", "BT Tf Td Tm TJ Tj ' \" Do cm Q Tz /F1 10 Tf (a) Tj ET", "", "a"},
		{"control tokens and markers stay text", "BT /F1 10 Tf (<|start|> \\001) Tj ET", "/Encoding <</Differences [1 /uni3010]>>", "<|start|> 〖"},
	} {
		if got := read(t, pdfDocument(onePage(c.content, c.font, "")), page.Limits{}); got != "[Page 1]\n"+c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func deflate(text string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.String()
}

func stream(number int, fields, data string) string {
	return fmt.Sprintf("%d 0 obj <<%s /Length %d>> stream\r\n%s\nendstream endobj\n", number, fields, len(data), data)
}

// Files of today have most objects in compressed streams, and no trailer.
func TestPDFObjectStreams(t *testing.T) {
	t.Parallel()
	objects := "<</Type /Catalog /Pages 2 0 R>> <</Kids [3 0 R 2 0 R 3 0 R]>> <</Type /Page /Contents [8 0 R 9 0 R]>>"
	second := strings.Index(objects, "<</Kids")
	third := strings.Index(objects, "<</Type /Page /")
	head := fmt.Sprintf("1 0 2 %d 3 %d ", second, third)
	rows := "" // of the predictor Up: each row is the difference to the one above
	previous := make([]byte, 4)
	content := "BT (ab) Tj ET   " // rows of 4
	for i := 0; i < len(content); i += 4 {
		rows += "\x02"
		for j := range 4 {
			rows += string([]byte{content[i+j] - previous[j]})
			previous[j] = content[i+j]
		}
	}
	file := "%PDF-1.7\n" + stream(8, "/Filter /FlateDecode /DecodeParms <</Predictor 12 /Columns 4>>", deflate(rows)) +
		stream(9, "/Filter [/ASCIIHexDecode]", "42542028 6364 2920546a204554>") +
		stream(10, fmt.Sprintf("/Type /ObjStm /N 3 /First %d /Filter /FlateDecode", len(head)), deflate(head+objects)) +
		stream(11, "/Type /XRef /Root 1 0 R", "")
	if got := read(t, pdfDocument(file), page.Limits{}); got != "[Page 1]\nabcd" {
		t.Errorf("got %q", got)
	}
}

// Files that are made to take long or much memory end in an error, or in the text until there.
func TestHostilePDF(t *testing.T) {
	t.Parallel()
	bomb := deflate(strings.Repeat("(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj ", 500_000))
	var objects, lengths strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&objects, "%d 0 obj [ ", i+1)
		fmt.Fprintf(&lengths, "%d 0 obj <</Length %d 0 R>> stream\n", i+1, i+2)
	}
	for name, body := range map[string]string{
		"bomb":           "1 0 obj <</Pages 2 0 R>> endobj 2 0 obj <</Kids [3 0 R]>> endobj 3 0 obj <</Contents 4 0 R>> endobj " + stream(4, "/Filter /FlateDecode", bomb) + "trailer <</Root 1 0 R>>",
		"many pages":     "1 0 obj <</Pages 2 0 R>> endobj 2 0 obj <</Kids [" + strings.Repeat("<</Contents 4 0 R>>", 10_000) + "]>> endobj " + stream(4, "/Filter /FlateDecode", bomb) + "trailer <</Root 1 0 R>>",
		"open arrays":    objects.String(),
		"open streams":   lengths.String(),
		"nested":         "1 0 obj " + strings.Repeat("[", 100_000),
		"dictionaries":   "1 0 obj " + strings.Repeat("<<", 100_000),
		"own length":     "1 0 obj <</Length 1 0 R /Pages 1 0 R>> stream endstream trailer <</Root 1 0 R>>",
		"trailers":       strings.Repeat("trailer <<", 10_000),
		"circle":         "1 0 obj 2 0 R endobj 2 0 obj 1 0 R endobj trailer <</Root 1 0 R>>",
		"widths":         onePage("BT /F1 9 Tf (x) Tj", "/Subtype /Type0 /DescendantFonts [<</W ["+strings.Repeat("0 65535 1 ", 1000)+"]>>]", ""),
		"object streams": stream(1, "/Type /ObjStm /N 1000000000 /First 5", "1 0 2 0"),
		"numbers":        "1 0 obj 1e999 endobj 99999999999999999999 0 obj 1 endobj -1 0 obj",
	} {
		p, err := page.Read(pdfDocument(body), page.Limits{})
		if err == nil && !p.Truncated && name != "widths" {
			t.Errorf("%s: %d bytes of text and no sign that something is missing", name, len(p.Text))
		}
	}
}

func FuzzPDF(f *testing.F) {
	chromium, err := os.ReadFile("testdata/fjords.pdf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(chromium)
	f.Add([]byte(onePage("BT /F1 10 Tf 12 TL [(a) -300 (b)] TJ T* <41> Tj ET /X Do", "/Encoding <</Differences [1 /a /b]>> /Widths [1 2] /ToUnicode 5 0 R", "")))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := page.Read(page.Document{MIME: "application/pdf", Body: body}, page.Limits{})
		if err == nil && !utf8.ValidString(p.Text) {
			t.Errorf("text %q", p.Text)
		}
	})
}

func BenchmarkPDF(b *testing.B) {
	body, err := os.ReadFile("testdata/fjords.pdf")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := page.Read(pdfDocument(string(body)), page.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
