package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a request. OpenAI allows ten levels in a schema; this leaves room for everybody.
const maxDepth = 128

// checkSyntax refuses what encoding/json would silently accept or repair: repeated keys, invalid UTF-8, deep nesting,
// data after the value.
func checkSyntax(data []byte) *Error {
	if !utf8.Valid(data) {
		return syntaxError("it is not valid UTF-8")
	}
	type frame struct {
		keys map[string]bool // nil in an array
		key  bool            // the next string is a key
	}
	var stack []frame
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for first := true; first || len(stack) > 0; first = false {
		token, err := d.Token()
		if err != nil {
			return syntaxError(describeSyntax(err, len(data)))
		}
		var top *frame
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		if key, ok := token.(string); ok && top != nil && top.key {
			if top.keys[key] {
				return syntaxError(fmt.Sprintf("the key %q is repeated at byte %d", key, d.InputOffset()))
			}
			top.keys[key], top.key = true, false
			continue
		}
		if top != nil {
			top.key = top.keys != nil
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, frame{map[string]bool{}, true})
		case json.Delim('['):
			stack = append(stack, frame{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) > maxDepth {
			return syntaxError(fmt.Sprintf("it is nested deeper than %d levels at byte %d", maxDepth, d.InputOffset()))
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return syntaxError(fmt.Sprintf("there is more data after the JSON value, at byte %d", d.InputOffset()))
	}
	return nil
}

func describeSyntax(err error, size int) string {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("%s at byte %d", syntax.Error(), syntax.Offset)
	case size == 0:
		return "it is empty"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("it ends too early, after byte %d", size)
	}
	return err.Error()
}

func syntaxError(reason string) *Error {
	return BadRequest("invalid_json", "", "The request body is not a valid JSON object: %s.", reason)
}

// A value is one JSON value of a request, with the path by which errors name it. Its methods return zero values once
// anything has failed: the first error is kept and read at the end.
type value struct {
	err  *error
	path string
	raw  json.RawMessage // syntax has been checked; nil = absent or null
}

func (v value) ok() bool { return v.raw != nil }

func (v value) fail(e *Error) {
	if *v.err == nil {
		*v.err = e
	}
}

// label is the path as a message quotes it; the whole body has none.
func (v value) label() string {
	if v.path == "" {
		return "the request body"
	}
	return "'" + v.path + "'"
}

// kind says what sort of value was sent, in the words of OpenAI's messages.
func (v value) kind() string {
	if v.raw == nil {
		return "null"
	}
	switch v.raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	}
	if bytes.ContainsAny(v.raw, ".eE") {
		return "a decimal number"
	}
	return "an integer"
}

func (v value) wrongType(want string) {
	v.fail(BadRequest("invalid_type", v.path, "Invalid type for %s: expected %s, but got %s instead.",
		v.label(), want, v.kind()))
}

func (v value) invalid(code, format string, args ...any) {
	v.fail(BadRequest(code, v.path, "Invalid %s: %s", v.label(), fmt.Sprintf(format, args...)))
}

// text reads a string.
func (v value) text() string {
	var s string
	if v.raw == nil || v.raw[0] != '"' || json.Unmarshal(v.raw, &s) != nil {
		v.wrongType("a string")
	}
	return s
}

// textUpTo reads a string of at most limit characters.
func (v value) textUpTo(limit int) string {
	s := v.text()
	if len(s) > limit {
		if n := utf8.RuneCountInString(s); n > limit {
			v.invalid("string_above_max_length", "string too long. Expected a string with maximum length %d, "+
				"but got a string with length %d instead.", limit, n)
		}
	}
	return s
}

// oneOf reads a string that must be among the allowed ones.
func (v value) oneOf(allowed ...string) string {
	s := v.text()
	if *v.err == nil && !slices.Contains(allowed, s) {
		v.fail(BadRequest("invalid_value", v.path, "Invalid value for %s: '%s'. Supported values are: '%s'.",
			v.label(), abbreviate(s), strings.Join(allowed, "', '")))
	}
	return s
}

// matching reads a string that must match the pattern.
func (v value) matching(pattern *regexp.Regexp) string {
	s := v.text()
	if *v.err == nil && !pattern.MatchString(s) {
		v.invalid("invalid_value", "string does not match pattern. Expected a string that matches the pattern '%s', "+
			"but got '%s'.", pattern, abbreviate(s))
	}
	return s
}

func abbreviate(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func (v value) boolean() bool {
	switch string(v.raw) {
	case "true":
		return true
	case "false":
		return false
	}
	v.wrongType("a boolean")
	return false
}

// integer reads a whole number within the bounds. A number written with a point or exponent is accepted when it is
// whole, since some languages have no other numbers.
func (v value) integer(least, most int64) int64 {
	if v.raw == nil || (v.raw[0] != '-' && (v.raw[0] < '0' || v.raw[0] > '9')) {
		v.wrongType("an integer")
		return 0
	}
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(string(v.raw), 64)
		switch {
		case ferr == nil && f != math.Trunc(f):
			v.wrongType("an integer")
			return 0
		case f >= math.MaxInt64:
			n = math.MaxInt64
		case f <= math.MinInt64:
			n = math.MinInt64
		default:
			n = int64(f)
		}
		if errors.Is(err, strconv.ErrRange) || f >= math.MaxInt64 || f <= math.MinInt64 {
			// Outside int64 is outside of any bounds; never let a clamped value pass as the one that was sent.
			least, most = max(least, math.MinInt64+1), min(most, math.MaxInt64-1)
		}
	}
	if n < least {
		v.invalid("integer_below_min_value",
			"integer below minimum value. Expected a value >= %d, but got %s instead.", least, v.raw)
	}
	if n > most {
		v.invalid("integer_above_max_value",
			"integer above maximum value. Expected a value <= %d, but got %s instead.", most, v.raw)
	}
	return n
}

// number reads a number within the bounds.
func (v value) number(least, most float64) float64 {
	if v.raw == nil || (v.raw[0] != '-' && (v.raw[0] < '0' || v.raw[0] > '9')) {
		v.wrongType("a decimal number")
		return 0
	}
	f, _ := strconv.ParseFloat(string(v.raw), 64) // out of range gives an infinity, which the bounds refuse
	if f < least {
		v.invalid("decimal_below_min_value",
			"decimal below minimum value. Expected a value >= %v, but got %s instead.", least, v.raw)
	}
	if f > most {
		v.invalid("decimal_above_max_value",
			"decimal above maximum value. Expected a value <= %v, but got %s instead.", most, v.raw)
	}
	return f
}

// array reads the elements of an array; their paths are path[0], path[1], …
func (v value) array() []value {
	var raws []json.RawMessage
	if v.raw == nil || v.raw[0] != '[' || json.Unmarshal(v.raw, &raws) != nil {
		v.wrongType("an array")
		return nil
	}
	out := make([]value, len(raws))
	for i, raw := range raws {
		out[i] = newValue(v.err, fmt.Sprintf("%s[%d]", v.path, i), raw)
	}
	return out
}

// arrayUpTo reads an array of at most limit elements.
func (v value) arrayUpTo(limit int) []value {
	out := v.array()
	if len(out) > limit {
		v.invalid("array_above_max_length", "array too long. Expected an array with maximum length %d, "+
			"but got an array with length %d instead.", limit, len(out))
		return nil
	}
	return out
}

// newValue keeps raw, which may be null, as the value at path.
func newValue(err *error, path string, raw json.RawMessage) value {
	if string(raw) == "null" {
		raw = nil
	}
	return value{err, path, raw}
}

// An object is a JSON object of a request.
type object struct {
	value
	members map[string]json.RawMessage // those not yet read
}

// object reads an object; expected says what was wanted in its place, "an object" or a list of alternatives.
func (v value) object(expected string) object {
	o := object{value: v}
	if v.raw == nil || v.raw[0] != '{' || json.Unmarshal(v.raw, &o.members) != nil {
		v.wrongType(expected)
	}
	return o
}

// get takes the member out of the object. Absent and null are the same.
func (o object) get(name string) value {
	path := name
	if o.path != "" {
		path = o.path + "." + name
	}
	raw := o.members[name]
	delete(o.members, name)
	return newValue(o.err, path, raw)
}

// need takes a member that must be there.
func (o object) need(name string) value {
	v := o.get(name)
	if !v.ok() {
		v.fail(BadRequest("missing_required_parameter", v.path, "Missing required parameter: '%s'.", v.path))
	}
	return v
}

func (o object) textOr(name, absent string) string {
	if v := o.get(name); v.ok() {
		return v.text()
	}
	return absent
}

func (o object) optionalText(name string, limit int) *string {
	if v := o.get(name); v.ok() {
		s := v.textUpTo(limit)
		return &s
	}
	return nil
}

func (o object) optionalBoolean(name string) *bool {
	if v := o.get(name); v.ok() {
		b := v.boolean()
		return &b
	}
	return nil
}

func (o object) optionalInteger(name string, least, most int64) *int64 {
	if v := o.get(name); v.ok() {
		n := v.integer(least, most)
		return &n
	}
	return nil
}

func (o object) optionalNumber(name string, least, most float64) *float64 {
	if v := o.get(name); v.ok() {
		f := v.number(least, most)
		return &f
	}
	return nil
}
