package mcp

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"time"
)

// An event is one of a stream of server-sent events. An event without data has an id or a retry only.
type event struct {
	name, id string
	hasID    bool
	retry    time.Duration // 0: not said
	data     []byte
}

// maxRetry is the longest that a server can make a client wait before it connects again.
const maxRetry = 30 * time.Second

// An eventReader reads a stream of server-sent events. Lines and events are limited to the size of a message, all to
// that of a stream.
type eventReader struct {
	r      *bufio.Reader
	limits Limits
	read   int64
	heard  func()
}

func newEventReader(r io.Reader, l Limits, heard func()) *eventReader {
	return &eventReader{r: bufio.NewReader(r), limits: l, heard: heard}
}

// next returns the next event, or io.EOF. What a stream breaks off in the middle of is no event.
func (e *eventReader) next() (event, error) {
	var ev event
	some := false
	for {
		line, err := e.line()
		if err != nil {
			return event{}, err
		}
		if len(line) == 0 {
			if some {
				ev.data = bytes.TrimSuffix(ev.data, []byte("\n"))
				return ev, nil
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "data":
			if int64(len(ev.data)+len(value)) > e.limits.Message {
				return event{}, overBytes("bytes of a message", e.limits.Message)
			}
			ev.data = append(append(ev.data, value...), '\n')
			some = true
		case "event":
			ev.name, some = string(value), true
		case "id":
			if !bytes.ContainsRune(value, 0) {
				ev.id, ev.hasID, some = string(value), true, true
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				ev.retry, some = min(max(time.Duration(ms)*time.Millisecond, time.Millisecond), maxRetry), true
			}
		}
	}
}

// line returns the next line without its end. The slice is valid until the next call.
func (e *eventReader) line() ([]byte, error) {
	line, err := readLine(e.r, e.limits.Message+16)
	if e.heard != nil {
		e.heard()
	}
	if e.read += int64(len(line)) + 1; e.read > e.limits.Stream {
		return nil, overBytes("bytes of a stream", e.limits.Stream)
	}
	return line, err
}

// readLine returns the next line without its end, LF or CRLF. A last line without an end is none.
func readLine(r *bufio.Reader, most int64) ([]byte, error) {
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if int64(len(long)+len(part)) > most {
			return nil, overBytes("bytes of a line", most)
		}
		if err == nil && long == nil {
			return bytes.TrimSuffix(part[:len(part)-1], []byte("\r")), nil
		}
		long = append(long, part...)
		if err == nil {
			return bytes.TrimSuffix(long[:len(long)-1], []byte("\r")), nil
		}
		if err != bufio.ErrBufferFull {
			return nil, err
		}
	}
}
