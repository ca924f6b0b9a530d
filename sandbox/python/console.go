package python

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A console collects what a cell prints on both streams, in order: its beginning and its end, within a limit. What is
// between is counted and dropped.
type console struct {
	limit   int64
	head    []byte // up to half of the limit
	tail    []byte // the last bytes after head, in a ring of the other half when full
	tailAt  int    // where the oldest byte of a full ring is
	written int64  // bytes in all
	stream  func(p []byte)
}

// reset begins a cell.
func (c *console) reset(limit int64, stream func(p []byte)) {
	*c = console{limit: limit, head: c.head[:0], tail: c.tail[:0], stream: stream}
}

// Write implements io.Writer and never fails.
func (c *console) Write(p []byte) (int, error) {
	n := len(p)
	if c.stream != nil {
		c.stream(p)
	}
	c.written += int64(n)
	if room := int(c.limit+1)/2 - len(c.head); room > 0 {
		k := min(room, len(p))
		c.head = append(c.head, p[:k]...)
		p = p[k:]
	}
	size := int(c.limit / 2)
	if len(p) > size { // only the last bytes can stay
		p = p[len(p)-size:]
	}
	if room := size - len(c.tail); room > 0 {
		k := min(room, len(p))
		c.tail = append(c.tail, p[:k]...)
		p = p[k:]
	}
	for len(p) > 0 {
		k := copy(c.tail[c.tailAt:], p)
		p = p[k:]
		c.tailAt = (c.tailAt + k) % size
	}
	return n, nil
}

// text is the output as valid UTF-8, with a line where something was cut, and how many bytes that was.
func (c *console) text() (text string, cut int64) {
	tail := append(append(make([]byte, 0, len(c.tail)), c.tail[c.tailAt:]...), c.tail[:c.tailAt]...)
	cut = c.written - int64(len(c.head)+len(tail))
	if cut <= 0 {
		return strings.ToValidUTF8(string(append(append(make([]byte, 0, len(c.head)+len(tail)), c.head...), tail...)), "\ufffd"), 0
	}
	head := c.head
	// A character that the cut went through is not shown in halves.
	for i := 1; i < utf8.UTFMax && i <= len(head); i++ {
		if b := head[len(head)-i]; utf8.RuneStart(b) {
			if !utf8.FullRune(head[len(head)-i:]) {
				head = head[:len(head)-i]
			}
			break
		}
	}
	for i := 0; i < utf8.UTFMax-1 && len(tail) > 0 && !utf8.RuneStart(tail[0]); i++ {
		tail = tail[1:]
	}
	cut = c.written - int64(len(head)+len(tail))
	note := fmt.Sprintf("\n[… %d bytes of output cut …]\n", cut)
	return strings.ToValidUTF8(string(head), "\ufffd") + note + strings.ToValidUTF8(string(tail), "\ufffd"), cut
}
