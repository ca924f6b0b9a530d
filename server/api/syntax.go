package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"unicode/utf8"
)

const (
	// maxDepth bounds the nesting of a request. OpenAI allows ten levels in a schema; this leaves room for everybody.
	maxDepth = 128
	// maxKeys bounds the size of an object, and so the memory for reading it. A bias for each token of the vocabulary fits.
	maxKeys = 1 << 18
)

// checkSyntax refuses what is not JSON, and what encoding/json would silently accept or repair: repeated keys, invalid
// UTF-8, deep nesting. All that follows relies on it.
func checkSyntax(data []byte) *Error {
	if !utf8.Valid(data) {
		return syntaxError("it is not valid UTF-8")
	}
	if !json.Valid(data) {
		err := json.Unmarshal(data, new(json.RawMessage))
		if syntax, ok := err.(*json.SyntaxError); ok {
			return syntaxError("%v at byte %d", err, syntax.Offset)
		}
		return syntaxError("%v", err)
	}
	var open []map[string]bool // the keys of each open object so far; nil for an array
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if len(open) == maxDepth {
				return syntaxError("it is nested deeper than %d levels at byte %d", maxDepth, i)
			}
			var keys map[string]bool
			if data[i] == '{' {
				keys = map[string]bool{}
			}
			open = append(open, keys)
		case '}', ']':
			open = open[:len(open)-1]
		case '"':
			end := endOfString(data, i)
			if next := skipSpace(data, end); next < len(data) && data[next] == ':' {
				key := unquote(data[i:end])
				if open[len(open)-1][key] {
					return syntaxError("the key %q is repeated at byte %d", abbreviate(key), i)
				}
				if len(open[len(open)-1]) == maxKeys {
					return syntaxError("an object has more than %d keys at byte %d", maxKeys, i)
				}
				open[len(open)-1][key] = true
			}
			i = end - 1
		}
	}
	return nil
}

func syntaxError(format string, args ...any) *Error {
	return BadRequest("invalid_json", "", "The request body is not valid JSON: %s.", fmt.Sprintf(format, args...))
}

// members yields the members of an object whose syntax has been checked, and elements those of an array. The values
// share memory with data.
func members(data []byte) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		for i := next(data, 1); i < len(data)-1; i = next(data, i) {
			key := i
			i = endOfString(data, i)
			name := unquote(data[key:i])
			i = skipSpace(data, i) + len(":")
			i = skipSpace(data, i)
			end := endOfValue(data, i)
			if !yield(name, data[i:end]) {
				return
			}
			i = end
		}
	}
}

func elements(data []byte) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		for i := next(data, 1); i < len(data)-1; i = next(data, i) {
			end := endOfValue(data, i)
			if !yield(data[i:end]) {
				return
			}
			i = end
		}
	}
}

// next returns the index of the next member or element, or of the closing bracket.
func next(data []byte, i int) int {
	i = skipSpace(data, i)
	if data[i] == ',' {
		i = skipSpace(data, i+1)
	}
	return i
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

func endOfString(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func endOfValue(data []byte, i int) int {
	depth := 0
	for ; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // of what is around a number or literal
				return i
			}
			depth--
			if depth == 0 {
				return i + 1
			}
		case '"':
			i = endOfString(data, i) - 1
			if depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

// unquote returns the value of a string whose syntax has been checked.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // cannot fail
	return s
}
