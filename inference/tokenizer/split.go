package tokenizer

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// pattern is the pre-tokenizer of o200k_base and o200k_harmony (openai/harmony, src/tiktoken_ext/public_encodings.rs).
// Its look-ahead is beyond package regexp; splitter is a hand-written equivalent that looks at every code point a
// bounded number of times.
const pattern = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
	`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
	`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// class is a set of the properties that pattern asks for. Every code point has exactly one of them, except CR and LF,
// which are space and newline.
type class uint8

const (
	upper   class = 1 << iota // Lu, Lt
	lower                     // Ll
	other                     // Lm, Lo: letters that may stand on either side of a word
	mark                      // M
	number                    // N
	space                     // White_Space
	newline                   // CR, LF
	symbol                    // everything else, unassigned code points too

	letter = upper | lower | other
)

// splitter holds the class of every code point in two stages: 256 code points share a block, equal blocks are stored
// once. It is immutable.
type splitter struct {
	ascii  [utf8.RuneSelf]class
	index  [(unicode.MaxRune + 1) >> 8]uint16
	blocks [][256]class
}

// sharedSplitter builds the class table (about 50 KiB) on first use. It depends on nothing but the Unicode tables of
// the standard library, so all tokenizers use one.
var sharedSplitter = sync.OnceValue(newSplitter)

func newSplitter() *splitter {
	classes := make([]class, unicode.MaxRune+1)
	for i := range classes {
		classes[i] = symbol
	}
	for _, c := range []struct {
		class class
		table *unicode.RangeTable
	}{
		{upper, unicode.Lu}, {upper, unicode.Lt}, {lower, unicode.Ll}, {other, unicode.Lm}, {other, unicode.Lo},
		{mark, unicode.M}, {number, unicode.N}, {space, unicode.White_Space},
	} {
		for _, r := range c.table.R16 {
			for i := int(r.Lo); i <= int(r.Hi); i += int(r.Stride) {
				classes[i] = c.class
			}
		}
		for _, r := range c.table.R32 {
			for i := int(r.Lo); i <= int(r.Hi); i += int(r.Stride) {
				classes[i] = c.class
			}
		}
	}
	classes['\r'] = space | newline
	classes['\n'] = space | newline

	s := &splitter{}
	copy(s.ascii[:], classes)
	seen := map[[256]class]uint16{}
	for i := range s.index {
		block := [256]class(classes[i<<8:])
		n, ok := seen[block]
		if !ok {
			n = uint16(len(s.blocks))
			seen[block] = n
			s.blocks = append(s.blocks, block)
		}
		s.index[i] = n
	}
	return s
}

// at returns the class and the length in bytes of the code point at text[i]. A byte that is not part of valid UTF-8
// counts as the replacement character: a symbol of one byte.
func (s *splitter) at(text string, i int) (class, int) {
	if b := text[i]; b < utf8.RuneSelf {
		return s.ascii[b], 1
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	return s.blocks[s.index[r>>8]][r&0xff], n
}

// run returns the end of the longest run from i whose code points all have a class in set.
func (s *splitter) run(text string, i int, set class) int {
	for i < len(text) {
		c, n := s.at(text, i)
		if c&set == 0 {
			break
		}
		i += n
	}
	return i
}

// next returns the end of the piece that begins at text[i], i < len(text). Pieces are never empty.
func (s *splitter) next(text string, i int) int {
	c, n := s.at(text, i)
	if end := s.word(text, i, c, n); end > i {
		return end
	}
	if c&number != 0 {
		return s.number(text, i+n)
	}
	if end := s.punctuation(text, i); end > i {
		return end
	}
	return s.space(text, i)
}

// word matches the first two alternatives of the pattern: an optional prefix, capitals, small letters, an English
// contraction. c and n are the class and length of the first code point. It returns i when there is no word.
func (s *splitter) word(text string, i int, c class, n int) int {
	p := i // where the letters begin
	prefixed := c&(letter|number|newline) == 0
	if prefixed {
		p = i + n
	}
	// Letters without case and marks can end the capitals or begin the small letters; k is the end of the last one.
	j, k := p, 0
	for j < len(text) {
		c, n := s.at(text, j)
		if c&lower != 0 {
			return contraction(text, s.run(text, j, lower|other|mark))
		}
		if c&(upper|other|mark) == 0 {
			break
		}
		j += n
		if c&upper == 0 {
			k = j
		}
	}
	switch {
	case k > 0:
		return contraction(text, k) // the capitals after it begin the next piece
	case prefixed && c&mark != 0:
		return contraction(text, p) // the would-be prefix is itself the small letter
	case j > p:
		return contraction(text, j)
	}
	return i
}

// contraction returns the end of the English contraction at text[i:], or i. The pattern ignores case by Unicode's simple
// folding, which adds one letter: U+017F, the long s.
func contraction(text string, i int) int {
	if i+1 >= len(text) || text[i] != '\'' {
		return i
	}
	switch text[i+1] | 0x20 {
	case 's', 't', 'm', 'd':
		return i + 2
	case 'r', 'v':
		if i+2 < len(text) && text[i+2]|0x20 == 'e' {
			return i + 3
		}
	case 'l':
		if i+2 < len(text) && text[i+2]|0x20 == 'l' {
			return i + 3
		}
	}
	if strings.HasPrefix(text[i+1:], "ſ") {
		return i + 1 + len("ſ")
	}
	return i
}

// number returns the end of at most two more digits at text[i:].
func (s *splitter) number(text string, i int) int {
	for more := 0; more < 2 && i < len(text); more++ {
		c, n := s.at(text, i)
		if c&number == 0 {
			break
		}
		i += n
	}
	return i
}

// punctuation matches an optional blank, symbols and marks, then line ends and slashes. It returns i when there is no
// symbol.
func (s *splitter) punctuation(text string, i int) int {
	start := i
	if text[i] == ' ' {
		start++
	}
	end := s.run(text, start, symbol|mark)
	if end == start {
		return i
	}
	for end < len(text) && (text[end] == '\r' || text[end] == '\n' || text[end] == '/') {
		end++
	}
	return end
}

// space matches white space at i: up to and including the last line end of the run; without one the run but for its last
// code point, which becomes the prefix of the next piece, unless that leaves nothing or the text ends here.
func (s *splitter) space(text string, i int) int {
	last, lineEnd, end := i, i, i // last is the start of the run's last code point
	for end < len(text) {
		c, n := s.at(text, end)
		if c&space == 0 {
			break
		}
		last = end
		end += n
		if c&newline != 0 {
			lineEnd = end
		}
	}
	switch {
	case lineEnd > i:
		return lineEnd
	case end == len(text) || last == i:
		return end
	}
	return last
}
