package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"chorale/sandbox"
)

// A lineFile hands on whatever is written, line by line. Nothing can be read from it.
type lineFile struct {
	info sandbox.Info
	line func(string) error

	mu   sync.Mutex // guards rest
	rest []byte     // of a line that has not ended
}

// WriteAt implements sandbox.File. It appends, wherever the guest thinks it is.
func (f *lineFile) WriteAt(p []byte, _ int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rest = append(f.rest, p...)
	for {
		line, rest, whole := bytes.Cut(f.rest, []byte("\n"))
		if !whole {
			if len(f.rest) <= MaxLine {
				return len(p), nil
			}
			line, rest = f.rest[:MaxLine], f.rest[MaxLine:]
		}
		f.rest = rest
		if err := f.emit(line); err != nil {
			f.rest = nil
			return 0, err
		}
	}
}

func (f *lineFile) emit(line []byte) error {
	for len(line) > MaxLine {
		if err := f.line(string(line[:MaxLine])); err != nil {
			return err
		}
		line = line[MaxLine:]
	}
	if text := strings.TrimSuffix(string(line), "\r"); text != "" {
		return f.line(strings.ToValidUTF8(text, "\uFFFD"))
	}
	return nil
}

// Close implements sandbox.File: a last line needs no end.
func (f *lineFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := f.rest
	f.rest = nil
	return f.emit(rest)
}

func (f *lineFile) Stat() (sandbox.Info, error)       { return f.info, nil }
func (f *lineFile) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (f *lineFile) Truncate(int64) error              { return nil }
func (f *lineFile) Sync() error                       { return nil }
func (f *lineFile) ReadDir() ([]sandbox.Entry, error) { return nil, sandbox.ENOTDIR }

// logLine hands a line on while there is room.
func (f *FS) logLine(line string) error {
	f.mu.Lock()
	f.logBytes += len(line) + 1
	f.logLines++
	over := f.logBytes > f.limits.LogBytes || f.logLines > f.limits.LogLines
	first := over && !f.logFull
	f.logFull = over || f.logFull
	full := f.logFull
	f.mu.Unlock()
	switch {
	case first:
		f.log("the log of this call is full, the rest is dropped")
	case !full:
		f.log(line)
	}
	return nil
}

// progressLine reads a message and hands it on while there are not too many.
func (f *FS) progressLine(line string) error {
	var m struct {
		Message  string   `json:"message"`
		Fraction *float64 `json:"fraction"`
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || m.Fraction != nil && (*m.Fraction < 0 || *m.Fraction > 1) {
		return sandbox.EINVAL
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return sandbox.EINVAL
	}
	f.mu.Lock()
	f.messages++
	over := f.messages > f.limits.Progress
	f.mu.Unlock()
	if over {
		return nil
	}
	fraction := -1.0
	if m.Fraction != nil {
		fraction = *m.Fraction
	}
	if len(m.Message) > MaxMessage {
		end := MaxMessage
		for end > 0 && !utf8.RuneStart(m.Message[end]) {
			end--
		}
		m.Message = m.Message[:end]
	}
	f.progress(m.Message, fraction)
	return nil
}
