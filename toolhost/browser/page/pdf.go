package page

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// maxPDFWork bounds the bytes that are looked at or made for a PDF; a paper of a megabyte takes some 20 MB.
const maxPDFWork = 128 << 20

// readPDF returns the text of a PDF, page by page with a line of its number before each, and its title.
func readPDF(d Document, l Limits) (text, title string, truncated bool, err error) {
	refuse := func(reason string) error {
		return &UnreadableError{MIME: "application/pdf", Reason: "The PDF cannot be read: " + reason + "."}
	}
	if len(d.Body) > l.Body {
		return "", "", false, refuse(fmt.Sprintf("it has more than %d bytes", l.Body))
	}
	var b strings.Builder
	defer func() {
		if r := recover(); r != nil { // a limit, or a mistake of ours in a file made to find it
			if text = b.String(); strings.TrimSpace(text) != "" {
				truncated = true
				return
			}
			reason := "it is damaged"
			if r == errPDFBudget {
				reason = errPDFBudget.Error()
			}
			err = refuse(reason)
		}
	}()
	f := openPDF(d.Body, maxPDFWork)
	if f.secret {
		return "", "", false, refuse("it is encrypted")
	}
	pages := f.pages(l.Pages + 1)
	if len(pages) == 0 {
		reason := "it has no pages"
		if d.Truncated {
			reason = "it is too long and was cut"
		}
		return "", "", false, refuse(reason)
	}
	title = pdfText(f.resolve(f.info["Title"]))
	fonts := map[any]*pdfFont{}
	blank := true
	for i, p := range pages {
		if i == l.Pages || b.Len() > l.Text {
			truncated = true
			break
		}
		t := &pdfPainter{f: f, fonts: fonts}
		t.run(f.contents(p["Contents"]), f.dict(p["Resources"]), 0)
		out := strings.TrimSpace(ligatures.Replace(t.b.String()))
		blank = blank && out == ""
		fmt.Fprintf(&b, "[Page %d]\n%s\n\n", i+1, out)
	}
	if blank {
		return "", "", false, refuse("its pages are pictures without text")
	}
	return b.String(), title, truncated || d.Truncated, nil
}

// ligatures are not what people look for.
var ligatures = strings.NewReplacer("ﬀ", "ff", "ﬁ", "fi", "ﬂ", "fl", "ﬃ", "ffi", "ﬄ", "ffl", "ﬅ", "st", "ﬆ", "st", "\u00ad\n", "", "\u00ad", "") // read only

// pages returns the dictionaries of the first pages in their order, with what they inherit.
func (f *pdfFile) pages(most int) []pdfDict {
	var pages []pdfDict
	seen := map[pdfRef]bool{}
	var walk func(v any, resources any, depth int)
	walk = func(v any, resources any, depth int) {
		if r, ok := v.(pdfRef); ok {
			if seen[r] {
				return
			}
			seen[r] = true
		}
		d := f.dict(v)
		if d == nil || depth > maxPDFDepth || len(pages) >= most {
			return
		}
		f.spend(32)
		if d["Resources"] != nil {
			resources = d["Resources"]
		}
		kids := f.array(d["Kids"])
		if kids == nil && d["Type"] != pdfName("Pages") {
			pages = append(pages, pdfDict{"Contents": d["Contents"], "Resources": resources})
		}
		for _, k := range kids {
			walk(k, resources, depth+1)
		}
	}
	if f.root != nil {
		walk(f.root["Pages"], nil, 0)
	}
	return pages
}

// contents joins the streams of a page.
func (f *pdfFile) contents(v any) []byte {
	switch v := f.resolve(v).(type) {
	case *pdfStream:
		return f.decode(v)
	case []any:
		var all []byte
		for _, e := range v {
			if s, ok := f.resolve(e).(*pdfStream); ok {
				all = append(append(all, f.decode(s)...), '\n')
				f.spend(len(all) / 8)
			}
		}
		return all
	}
	return nil
}

// A pdfPainter runs the operators of a page that have to do with text, ISO 32000-1 section 9, and writes what they show: a
// blank where the pen moves along, a new line where it moves away.
type pdfPainter struct {
	f     *pdfFile
	fonts map[any]*pdfFont
	b     strings.Builder

	ctm      [6]float64
	saved    [][6]float64
	matrix   [6]float64 // of the text
	line     [6]float64
	font     *pdfFont
	size     float64
	leading  float64
	char     float64 // spacing
	word     float64
	scale    float64
	x, y     float64 // where the last text ended
	height   float64 // of it
	anything bool
}

var identity = [6]float64{1, 0, 0, 1, 0, 0} // read only

func multiply(a, b [6]float64) [6]float64 {
	return [6]float64{a[0]*b[0] + a[1]*b[2], a[0]*b[1] + a[1]*b[3], a[2]*b[0] + a[3]*b[2], a[2]*b[1] + a[3]*b[3],
		a[4]*b[0] + a[5]*b[2] + b[4], a[4]*b[1] + a[5]*b[3] + b[5]}
}

// maxForms bounds how deep forms stand in forms.
const maxForms = 8

func (t *pdfPainter) run(data []byte, resources pdfDict, depth int) {
	if depth == 0 {
		t.ctm, t.matrix, t.line, t.scale = identity, identity, identity, 1
	}
	l := pdfLexer{data: data, file: t.f}
	var args []any
	from := 0
	for {
		v := l.next(0)
		t.f.spend(l.at - from + 1)
		from = l.at
		switch v := v.(type) {
		case pdfEnd:
			return
		case pdfWord:
			if v == "BI" { // a picture
				if i := bytes.Index(data[l.at:], []byte("EI")); i >= 0 {
					l.at += i + 2
				}
			} else {
				t.operator(string(v), args, resources, depth)
			}
			args = args[:0]
		default:
			if args = append(args, v); len(args) > 64 {
				args = args[1:]
			}
		}
	}
}

// operator runs one operator. Arguments that are missing are zero.
func (t *pdfPainter) operator(op string, args []any, resources pdfDict, depth int) {
	number := func(i int) float64 {
		if i < len(args) {
			n, _ := args[i].(float64)
			return n
		}
		return 0
	}
	six := func() [6]float64 { return [6]float64{number(0), number(1), number(2), number(3), number(4), number(5)} }
	text := func(i int) {
		if i < len(args) {
			if s, ok := args[i].(pdfString); ok {
				t.show(string(s))
			}
		}
	}
	switch op {
	case "q":
		if len(t.saved) < 256 {
			t.saved = append(t.saved, t.ctm)
		}
	case "Q":
		if n := len(t.saved); n > 0 {
			t.ctm, t.saved = t.saved[n-1], t.saved[:n-1]
		}
	case "cm":
		t.ctm = multiply(six(), t.ctm)
	case "BT":
		t.matrix, t.line = identity, identity
	case "Tf":
		if len(args) > 1 {
			name, _ := args[0].(pdfName)
			t.font, t.size = t.fontOf(t.f.dict(resources["Font"])[name]), number(1)
		}
	case "Tc":
		t.char = number(0)
	case "Tw":
		t.word = number(0)
	case "Tz":
		t.scale = number(0) / 100
	case "TL":
		t.leading = number(0)
	case "Tm":
		t.matrix = six()
		t.line = t.matrix
	case "TD":
		t.leading = -number(1)
		t.move(number(0), number(1))
	case "Td":
		t.move(number(0), number(1))
	case "T*":
		t.move(0, -t.leading)
	case "Tj":
		text(0)
	case "'":
		t.move(0, -t.leading)
		text(0)
	case `"`:
		t.word, t.char = number(0), number(1)
		t.move(0, -t.leading)
		text(2)
	case "TJ":
		if len(args) == 0 {
			return
		}
		parts, _ := args[0].([]any)
		for _, p := range parts {
			switch p := p.(type) {
			case pdfString:
				t.show(string(p))
			case float64:
				t.matrix = multiply([6]float64{1, 0, 0, 1, -p / 1000 * t.size * t.scale, 0}, t.matrix)
			}
		}
	case "Do":
		if len(args) > 0 && depth < maxForms {
			t.form(args[0], resources, depth)
		}
	}
}

func (t *pdfPainter) move(x, y float64) {
	t.line = multiply([6]float64{1, 0, 0, 1, x, y}, t.line)
	t.matrix = t.line
}

// form runs a form, which is content with a name.
func (t *pdfPainter) form(v any, resources pdfDict, depth int) {
	name, _ := v.(pdfName)
	s, ok := t.f.resolve(t.f.dict(resources["XObject"])[name]).(*pdfStream)
	if !ok || t.f.resolve(s.dict["Subtype"]) != pdfName("Form") {
		return
	}
	own := t.f.dict(s.dict["Resources"])
	if own == nil {
		own = resources
	}
	before := *t
	if m := t.f.array(s.dict["Matrix"]); len(m) == 6 {
		var matrix [6]float64
		for i := range m {
			matrix[i] = t.f.number(m[i], identity[i])
		}
		t.ctm = multiply(matrix, t.ctm)
	}
	t.run(t.f.decode(s), own, depth+1)
	t.ctm, t.matrix, t.line, t.font, t.size, t.saved = before.ctm, before.matrix, before.line, before.font, before.size, before.saved
}

// show writes a string and moves the pen behind it.
func (t *pdfPainter) show(s string) {
	if t.font == nil {
		t.font = &pdfFont{bytes: 1}
	}
	at := multiply(t.matrix, t.ctm)
	height := math.Abs(t.size) * math.Hypot(at[2], at[3])
	along := math.Hypot(at[0], at[1])
	var b strings.Builder
	advance := 0.0
	t.font.decode(s, func(text string, width float64, blank bool) {
		b.WriteString(text)
		advance += (width/1000*t.size + t.char) * t.scale
		if blank {
			advance += t.word * t.scale
		}
	})
	if text := b.String(); text != "" {
		dx, dy := at[4]-t.x, at[5]-t.y
		switch away := max(height, t.height, 1e-6); {
		case !t.anything:
		case math.Abs(dy) > 1.9*away:
			t.b.WriteString("\n\n")
		case math.Abs(dy) > 0.6*away || dx < -2*away:
			t.b.WriteByte('\n')
		case dx > 0.18*away && !strings.HasPrefix(text, " "):
			t.b.WriteByte(' ')
		}
		t.anything = true
		t.f.spend(16 * len(text)) // a character takes that much longer than a byte to skip
		t.b.WriteString(text)
		t.height = height
		t.x, t.y = at[4]+advance*along, at[5]
	}
	t.matrix = multiply([6]float64{1, 0, 0, 1, advance, 0}, t.matrix)
}

// A pdfFont says what the codes of a string mean and how wide they are, in thousandths of the size.
type pdfFont struct {
	bytes   int // of a code
	unicode map[int]string
	names   map[int]string // of an encoding's differences, as text
	wide    bool           // codes that nothing is known of mean nothing
	mac     bool
	widths  map[int]float64
	usual   float64 // width
}

// fontOf returns a font, which is read once.
func (t *pdfPainter) fontOf(v any) *pdfFont {
	if r, ok := v.(pdfRef); ok {
		if font := t.fonts[r]; font != nil {
			return font
		}
		font := t.f.font(t.f.dict(v))
		t.fonts[r] = font
		return font
	}
	return t.f.font(t.f.dict(v))
}

func (f *pdfFile) font(d pdfDict) *pdfFont {
	font := &pdfFont{bytes: 1, usual: 500, widths: map[int]float64{}}
	if f.resolve(d["Subtype"]) == pdfName("Type0") {
		font.bytes, font.wide, font.usual = 2, true, 1000
		if below := f.array(d["DescendantFonts"]); len(below) > 0 {
			f.wideWidths(font, f.dict(below[0]))
		}
	}
	if s, ok := f.resolve(d["ToUnicode"]).(*pdfStream); ok {
		f.unicodeMap(font, f.decode(s))
	}
	first := int(f.number(d["FirstChar"], 0))
	for i, w := range f.array(d["Widths"]) {
		if i < 256 {
			font.widths[first+i] = f.number(w, font.usual)
		}
	}
	encoding := f.resolve(d["Encoding"])
	font.mac = encoding == pdfName("MacRomanEncoding")
	if e, ok := encoding.(pdfDict); ok {
		font.mac = f.resolve(e["BaseEncoding"]) == pdfName("MacRomanEncoding")
		font.names = map[int]string{}
		code := 0
		for _, v := range f.array(e["Differences"]) {
			switch v := f.resolve(v).(type) {
			case float64:
				code = int(v)
			case pdfName:
				if text, ok := glyph(string(v)); ok {
					font.names[code] = text
				}
				code++
			}
		}
	}
	return font
}

// wideWidths reads the widths of a font with codes of two bytes.
func (f *pdfFile) wideWidths(font *pdfFont, d pdfDict) {
	font.usual = f.number(d["DW"], 1000)
	w := f.array(d["W"])
	for i := 0; i+1 < len(w); {
		first := int(f.number(w[i], 0))
		if list, ok := f.resolve(w[i+1]).([]any); ok {
			for j, v := range list {
				font.widths[first+j] = f.number(v, font.usual)
			}
			i += 2
			continue
		}
		if i+2 < len(w) {
			last, width := int(f.number(w[i+1], 0)), f.number(w[i+2], font.usual)
			f.spend(64 * max(0, min(last-first, 65536)))
			for c := first; c <= last && c-first < 65536; c++ {
				font.widths[c] = width
			}
		}
		i += 3
	}
}

// unicodeMap reads a ToUnicode map, ISO 32000-1 section 9.10.3.
func (f *pdfFile) unicodeMap(font *pdfFont, data []byte) {
	font.unicode = map[int]string{}
	l := pdfLexer{data: data, file: f}
	var args []any
	code := func(v any) int {
		s, _ := v.(pdfString)
		n := 0
		for i := 0; i < len(s) && i < 4; i++ {
			n = n<<8 | int(s[i])
		}
		return n
	}
	for {
		v := l.next(0)
		switch v := v.(type) {
		case pdfEnd:
			return
		case pdfWord:
			switch v {
			case "endcodespacerange":
				if s, ok := last(args).(pdfString); ok && font.wide && len(s) > 0 && len(s) <= 4 {
					font.bytes = len(s)
				}
			case "endbfchar":
				for i := 0; i+1 < len(args); i += 2 {
					s, _ := args[i+1].(pdfString)
					font.unicode[code(args[i])] = utf16Text(string(s))
				}
			case "endbfrange":
				for i := 0; i+2 < len(args); i += 3 {
					f.bfrange(font, code(args[i]), code(args[i+1]), args[i+2])
				}
			}
			args = args[:0]
		default:
			args = append(args, v)
		}
	}
}

func (f *pdfFile) bfrange(font *pdfFont, first, end int, to any) {
	if end-first > 65535 || end < first {
		return
	}
	f.spend(64 * (end - first + 1))
	switch to := to.(type) {
	case []any:
		for i, v := range to {
			if s, ok := v.(pdfString); ok && first+i <= end {
				font.unicode[first+i] = utf16Text(string(s))
			}
		}
	case pdfString:
		runes := []rune(utf16Text(string(to)))
		for c := first; c <= end && len(runes) > 0; c++ {
			font.unicode[c] = string(runes)
			runes[len(runes)-1]++
		}
	}
}

func last(args []any) any {
	if len(args) == 0 {
		return nil
	}
	return args[len(args)-1]
}

// decode calls for each code of a string.
func (font *pdfFont) decode(s string, each func(text string, width float64, blank bool)) {
	for i := 0; i+font.bytes <= len(s); i += font.bytes {
		code := 0
		for _, c := range []byte(s[i : i+font.bytes]) {
			code = code<<8 | int(c)
		}
		width, ok := font.widths[code]
		if !ok {
			width = font.usual
		}
		each(font.text(code), width, font.bytes == 1 && code == ' ')
	}
}

func (font *pdfFont) text(code int) string {
	if t, ok := font.unicode[code]; ok {
		return t
	}
	if t, ok := font.names[code]; ok {
		return t
	}
	if font.wide || code > 255 {
		return ""
	}
	if font.names == nil && code >= 11 && code <= 15 { // ligatures where TeX's fonts have them
		return [...]string{"ff", "fi", "fl", "ffi", "ffl"}[code-11]
	}
	table := charmap.Windows1252
	if font.mac {
		table = charmap.Macintosh
	}
	r := table.DecodeByte(byte(code))
	if r < ' ' || r == utf8.RuneError {
		return ""
	}
	return string(r)
}

// utf16Text decodes UTF-16, big endian.
func utf16Text(s string) string {
	units := make([]uint16, 0, len(s)/2)
	for i := 0; i+1 < len(s); i += 2 {
		units = append(units, uint16(s[i])<<8|uint16(s[i+1]))
	}
	if len(s) == 1 {
		return s
	}
	return string(utf16.Decode(units))
}

// pdfText decodes a text outside of pages, such as the title.
func pdfText(v any) string {
	s, _ := v.(pdfString)
	if rest, ok := strings.CutPrefix(string(s), "\xfe\xff"); ok {
		return utf16Text(rest)
	}
	if utf8.ValidString(string(s)) {
		return strings.TrimPrefix(string(s), "\ufeff")
	}
	text, err := charmap.Windows1252.NewDecoder().String(string(s))
	if err != nil {
		return ""
	}
	return text
}

// glyph returns the text of a glyph's name, as the Adobe Glyph List has it for the names that are frequent.
func glyph(name string) (string, bool) {
	if t, ok := glyphs[name]; ok {
		return t, true
	}
	if base, _, found := strings.Cut(name, "."); found && base != "" {
		return glyph(base)
	}
	for prefix, least := range map[string]int{"uni": 4, "u": 4} {
		if hex, ok := strings.CutPrefix(name, prefix); ok && len(hex) >= least && len(hex) <= 6 {
			if n, err := strconv.ParseUint(hex, 16, 32); err == nil && utf8.ValidRune(rune(n)) {
				return string(rune(n)), true
			}
		}
	}
	if len(name) == 1 {
		return name, true
	}
	for accent, mark := range accents {
		if base, ok := strings.CutSuffix(name, accent); ok && len(base) == 1 {
			return base + mark, true // decomposed, which reads the same
		}
	}
	return "", false
}

var accents = map[string]string{ // read only; combining marks
	"acute": "\u0301", "grave": "\u0300", "circumflex": "\u0302", "dieresis": "\u0308", "tilde": "\u0303", "caron": "\u030c",
	"cedilla": "\u0327", "ring": "\u030a", "ogonek": "\u0328", "macron": "\u0304", "breve": "\u0306", "dotaccent": "\u0307",
}

var glyphs = map[string]string{ // read only
	"space": " ", "nbspace": " ", "exclam": "!", "quotedbl": `"`, "numbersign": "#", "dollar": "$", "percent": "%", "ampersand": "&",
	"quotesingle": "'", "quoteright": "’", "quoteleft": "‘", "parenleft": "(", "parenright": ")", "asterisk": "*", "plus": "+",
	"comma": ",", "hyphen": "-", "minus": "−", "period": ".", "slash": "/", "zero": "0", "one": "1", "two": "2", "three": "3",
	"four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "colon": ":", "semicolon": ";", "less": "<",
	"equal": "=", "greater": ">", "question": "?", "at": "@", "bracketleft": "[", "backslash": `\`, "bracketright": "]",
	"asciicircum": "^", "underscore": "_", "grave": "`", "braceleft": "{", "bar": "|", "braceright": "}", "asciitilde": "~",
	"quotedblleft": "“", "quotedblright": "”", "quotedblbase": "„", "quotesinglbase": "‚", "guillemotleft": "«",
	"guillemotright": "»", "endash": "–", "emdash": "—", "bullet": "•", "ellipsis": "…", "dagger": "†", "daggerdbl": "‡",
	"fi": "fi", "fl": "fl", "ff": "ff", "ffi": "ffi", "ffl": "ffl", "dotlessi": "ı", "germandbls": "ß", "ae": "æ", "AE": "Æ",
	"oe": "œ", "OE": "Œ", "oslash": "ø", "Oslash": "Ø", "eth": "ð", "thorn": "þ", "lslash": "ł", "Lslash": "Ł", "degree": "°",
	"section": "§", "paragraph": "¶", "copyright": "©", "registered": "®", "trademark": "™", "plusminus": "±", "multiply": "×",
	"divide": "÷", "mu": "µ", "Euro": "€", "sterling": "£", "yen": "¥", "cent": "¢", "periodcentered": "·", "onehalf": "½",
	"onequarter": "¼", "threequarters": "¾", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "lambda": "λ",
	"pi": "π", "sigma": "σ", "theta": "θ", "omega": "ω", "Delta": "Δ", "Sigma": "Σ", "Omega": "Ω", "infinity": "∞",
	"summation": "∑", "integral": "∫", "partialdiff": "∂", "lessequal": "≤", "greaterequal": "≥", "notequal": "≠",
	"approxequal": "≈", "arrowright": "→", "arrowleft": "←", "element": "∈", "radical": "√",
}
