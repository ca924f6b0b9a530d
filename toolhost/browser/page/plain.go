package page

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
)

// decode returns a text in UTF-8. A byte order mark wins, then valid UTF-8 with more than ASCII in it, since wrong labels are
// frequent and valid UTF-8 is rarely an accident; then the label, what the document itself says, and a guess.
func decode(body []byte, label, kind string) string {
	contentType := kind
	if label != "" {
		contentType += "; charset=" + label
	}
	encoding, name, _ := charset.DetermineEncoding(body, contentType)
	if name == "utf-8" || isUTF8(body) && !strings.HasPrefix(name, "utf-16") {
		return strings.ToValidUTF8(string(bytes.TrimPrefix(body, []byte("\ufeff"))), "\ufffd")
	}
	text, err := encoding.NewDecoder().Bytes(body)
	if err != nil {
		text = body
	}
	return strings.ToValidUTF8(strings.TrimPrefix(string(text), "\ufeff"), "\ufffd")
}

// isUTF8 reports whether a text is valid UTF-8 with more than ASCII in it. A last character may be cut.
func isUTF8(body []byte) bool {
	for i := 1; i <= utf8.UTFMax && i <= len(body); i++ {
		if last := body[len(body)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				body = body[:len(body)-i]
			}
			break
		}
	}
	return utf8.Valid(body) && slices.ContainsFunc(body, func(c byte) bool { return c >= utf8.RuneSelf })
}

// indentJSON gives JSON that is on one line several. What is not JSON stays as it is.
func indentJSON(text string) string {
	var b bytes.Buffer
	if strings.Count(strings.TrimSpace(text), "\n") > 0 || json.Indent(&b, []byte(text), "", " ") != nil {
		return text
	}
	return b.String()
}

// table writes the cells of a row with " | " between them. What is not a table stays as it is.
func table(text, kind string) string {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord, r.ReuseRecord, r.LazyQuotes = -1, true, true
	if kind == "text/tab-separated-values" {
		r.Comma = '\t'
	} else if first, _, _ := strings.Cut(text, "\n"); strings.Count(first, ";") > strings.Count(first, ",") {
		r.Comma = ';'
	}
	var b strings.Builder
	for {
		row, err := r.Read()
		if err != nil {
			if b.Len() == 0 {
				return text
			}
			return b.String()
		}
		for i, cell := range row {
			if i > 0 {
				b.WriteString(" | ")
			}
			b.WriteString(strings.Join(strings.Fields(cell), " "))
		}
		b.WriteByte('\n')
	}
}

// replacement is what stands for a character that the form of pages uses itself, or that nobody should see; -1 is nothing.
func replacement(r rune) rune {
	switch {
	case r == '【':
		return '〖'
	case r == '】':
		return '〗'
	case r == '◼':
		return '◾'
	case r == '\u200b', r == '\ufeff', r < ' ' && r != '\n' && r != '\t', r >= 0x7f && r < 0xa0:
		return -1
	case r >= 0xe0000 && r < 0xe0080: // tags: text that is invisible to people and not to models
		return -1
	}
	return r
}

// Clean returns a text as one line of a page: the characters that mean something there replaced, white space collapsed.
func Clean(text string) string {
	return strings.Join(strings.FieldsFunc(strings.Map(replacement, strings.Map(blankLine, text)), unicode.IsSpace), " ")
}

// blankLine makes blanks of line ends, which replacement would drop.
func blankLine(r rune) rune {
	if r == '\r' || r == '\v' || r == '\f' || r == 0x85 {
		return ' '
	}
	return r
}

// scrub replaces the characters of a text that is shown as it is.
func scrub(text string) string {
	if strings.IndexByte(text, '\r') >= 0 {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	return strings.Map(replacement, strings.ReplaceAll(text, "\f", "\n"))
}

// tidy drops empty lines around a text, and all but one where there are several.
func tidy(text string) string {
	text = strings.TrimSpace(text)
	var b strings.Builder
	b.Grow(len(text))
	empty := false
	for line := range strings.SplitSeq(text, "\n") {
		if isBlank(line) {
			empty = true
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		if empty {
			b.WriteByte('\n')
			empty = false
		}
		b.WriteString(line)
	}
	return b.String()
}

func isBlank(line string) bool {
	for _, r := range line {
		if !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}

// cut returns at most n bytes of text, up to the end of a line if there is one near.
func cut(text string, n int) string {
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	if i := strings.LastIndexByte(text[:n], '\n'); i > n-1000 && text[n] != '\n' {
		n = i
	}
	return strings.TrimSpace(text[:n])
}
