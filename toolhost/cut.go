package toolhost

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Cut returns the text with at most limit bytes of it left, and how many bytes were dropped. What stays is the head and
// the tail, in equal parts and whole characters, with a line between them that says how much is missing; that line comes
// on top of limit. Bytes that are no text are replaced first.
func Cut(text string, limit int) (short string, dropped int) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text, 0
	}
	head, tail := (max(limit, 0)+1)/2, len(text)-max(limit, 0)/2
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	dropped = tail - head
	return fmt.Sprintf("%s\n[… %d of %d bytes of output left out …]\n%s", text[:head], dropped, len(text), text[tail:]), dropped
}
