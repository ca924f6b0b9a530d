package page

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Width is the number of characters of a line that pages are shown with.
const Width = 80

// Wrap returns the lines of a text as the model sees them: each line of the text broken so that it has at most width code
// points. Tabs become blanks up to the next multiple of 8. A line is broken behind white space, behind the hyphens of words
// and before and behind dashes of several hyphens; white space stays at the ends of lines and counts. A word that is longer
// than a line is broken behind a hyphen or anywhere. Empty lines stay.
func Wrap(text string, width int) []string {
	lines := make([]string, 0, strings.Count(text, "\n")+len(text)/width+1)
	var w wrapper
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) <= width && strings.IndexByte(line, '\t') < 0 {
			lines = append(lines, line)
			continue
		}
		lines = w.wrap(lines, expandTabs(line), width)
	}
	return lines
}

// expandTabs replaces tabs. A carriage return begins a new column.
func expandTabs(line string) string {
	if strings.IndexByte(line, '\t') < 0 {
		return line
	}
	var b strings.Builder
	column := 0
	for _, r := range line {
		switch r {
		case '\t':
			n := 8 - column%8
			b.WriteString("        "[:n])
			column += n
		case '\r':
			b.WriteRune(r)
			column = 0
		default:
			b.WriteRune(r)
			column++
		}
	}
	return b.String()
}

// A wrapper has the memory that wrapping needs, for the next line.
type wrapper struct {
	runes []rune
	at    []int // byte offset of each rune, and of the end
}

func (w *wrapper) wrap(lines []string, line string, width int) []string {
	w.runes, w.at = w.runes[:0], w.at[:0]
	for i, r := range line {
		w.runes, w.at = append(w.runes, r), append(w.at, i)
	}
	w.at = append(w.at, len(line))
	n := len(w.runes)
	begin, used := 0, 0 // of the line that grows: its first rune and its length
	for i := 0; i < n; {
		end := w.chunk(i)
		for i < end {
			if used+end-i <= width {
				used += end - i
				i = end
				continue
			}
			if end-i > width { // longer than any line: fill this one
				take := width - used
				if hyphen := w.lastHyphen(i, i+take); hyphen > i {
					take = hyphen + 1 - i
				}
				i += take
			}
			lines = append(lines, line[w.at[begin]:w.at[i]])
			begin, used = i, 0
		}
	}
	if begin < n || n == 0 {
		lines = append(lines, line[w.at[begin]:])
	}
	return lines
}

// lastHyphen is the last hyphen in [begin, end) that has something else before it, or begin.
func (w *wrapper) lastHyphen(begin, end int) int {
	for i := end - 1; i > begin; i-- {
		if w.runes[i] != '-' {
			continue
		}
		for j := begin; j < i; j++ {
			if w.runes[j] != '-' {
				return i
			}
		}
		return begin
	}
	return begin
}

// chunk returns the end of the piece that begins at i and is not broken: white space, a dash between words, or a word with
// its first hyphen.
func (w *wrapper) chunk(i int) int {
	s := w.runes
	n := len(s)
	if isWrapSpace(s[i]) {
		for i < n && isWrapSpace(s[i]) {
			i++
		}
		return i
	}
	if s[i] == '-' && i > 0 && isWordPunct(s[i-1]) {
		if end := w.dashes(i); end-i >= 2 && end < n && isWord(s[end]) {
			return end
		}
	}
	for j := i; ; j++ { // j is the last rune of the piece
		if j+1 == n || isWrapSpace(s[j+1]) {
			return j + 1
		}
		if s[j] == '-' && j > i && w.hyphenates(j) {
			return j + 1
		}
		if s[j+1] == '-' && isWordPunct(s[j]) {
			if end := w.dashes(j + 1); end-(j+1) >= 2 && end < n && isWord(s[end]) {
				return j + 1
			}
		}
	}
}

// hyphenates reports whether the hyphen at j is one within a word: behind two letters, or a letter that has a hyphen and a
// letter before it; and before two letters, which may have a hyphen between them.
func (w *wrapper) hyphenates(j int) bool {
	s := w.runes
	before := j >= 2 && isLetter(s[j-1]) && (isLetter(s[j-2]) || j >= 3 && s[j-2] == '-' && isLetter(s[j-3]))
	if !before || j+2 >= len(s) || !isLetter(s[j+1]) {
		return false
	}
	return isLetter(s[j+2]) || s[j+2] == '-' && j+3 < len(s) && isLetter(s[j+3])
}

// dashes returns the end of the run of hyphens at i.
func (w *wrapper) dashes(i int) int {
	for i < len(w.runes) && w.runes[i] == '-' {
		i++
	}
	return i
}

func isWrapSpace(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }

// isWord is \w of the reference: letters, numbers of any kind, and the underscore, but no marks.
func isWord(r rune) bool {
	if r < utf8.RuneSelf {
		return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r)
}

func isLetter(r rune) bool { return isWord(r) && !unicode.Is(unicode.Nd, r) }

func isWordPunct(r rune) bool {
	return isWord(r) || r < utf8.RuneSelf && strings.ContainsRune(`!"'&.,?`, r)
}
