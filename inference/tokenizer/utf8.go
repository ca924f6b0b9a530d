package tokenizer

import "unicode/utf8"

// replacement stands for bytes and ids that have no text.
const replacement = "\uFFFD"

// UTF8 turns a stream of bytes, cut anywhere, into valid text. A sequence that cannot become valid is replaced by one
// U+FFFD for each maximal subpart (Unicode standard, section 3.9: the longest prefix of some valid sequence, or one byte).
// The zero value is ready. It is not safe for concurrent use.
type UTF8 struct {
	tail [utf8.UTFMax]byte // an incomplete sequence
	n    int
}

// Push adds bytes and returns all text that they complete. It keeps at most three bytes, the beginning of a sequence that
// may still become valid.
func (u *UTF8) Push(b []byte) string {
	if u.n == 0 && utf8.Valid(b) {
		return string(b)
	}
	if u.n > 0 {
		b = append(u.tail[:u.n:u.n], b...)
		u.n = 0
	}
	text := make([]byte, 0, len(b)+utf8.UTFMax)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			text = append(text, b[:n]...)
			b = b[n:]
			continue
		}
		if !utf8.FullRune(b) {
			u.n = copy(u.tail[:], b)
			break
		}
		for n < len(b) && !utf8.FullRune(b[:n+1]) {
			n++
		}
		text = append(text, replacement...)
		b = b[n:]
	}
	return string(text)
}

// Flush ends the stream: it returns U+FFFD for an incomplete sequence, or nothing, and makes u ready for the next stream.
func (u *UTF8) Flush() string {
	if u.n == 0 {
		return ""
	}
	u.n = 0
	return replacement
}
