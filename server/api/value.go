package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

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
	if v.raw == nil || v.raw[0] != '"' {
		v.wrongType("a string")
		return ""
	}
	return unquote(v.raw)
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

// integer reads a whole number within the bounds. 16.0 is whole too: some languages have no other numbers.
func (v value) integer(least, most int64) int64 {
	f, ok := v.float()
	if !ok || f != math.Trunc(f) {
		v.wrongType("an integer")
		return 0
	}
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	if err != nil && math.Abs(f) < 1<<63 {
		n = int64(f)
	}
	switch {
	case n < least, f < -1<<63:
		v.invalid("integer_below_min_value",
			"integer below minimum value. Expected a value >= %d, but got %s instead.", least, v.raw)
	case n > most, f >= 1<<63:
		v.invalid("integer_above_max_value",
			"integer above maximum value. Expected a value <= %d, but got %s instead.", most, v.raw)
	}
	return n
}

// number reads a number within the bounds.
func (v value) number(least, most float64) float64 {
	f, ok := v.float()
	switch {
	case !ok:
		v.wrongType("a decimal number")
	case f < least:
		v.invalid("decimal_below_min_value",
			"decimal below minimum value. Expected a value >= %v, but got %s instead.", least, v.raw)
	case f > most:
		v.invalid("decimal_above_max_value",
			"decimal above maximum value. Expected a value <= %v, but got %s instead.", most, v.raw)
	}
	return f
}

// float returns false if the value is not a number. One that is too large is infinite.
func (v value) float() (float64, bool) {
	if v.raw == nil || v.raw[0] != '-' && (v.raw[0] < '0' || v.raw[0] > '9') {
		return 0, false
	}
	f, _ := strconv.ParseFloat(string(v.raw), 64)
	return f, true
}

// array reads the elements of an array of at most limit elements; their paths are path[0], path[1], …
func (v value) array(limit int) []value {
	if v.raw == nil || v.raw[0] != '[' {
		v.wrongType("an array")
		return nil
	}
	n := 0
	for range elements(v.raw) {
		n++
	}
	if n > limit {
		v.invalid("array_above_max_length", "array too long. Expected an array with maximum length %d, "+
			"but got an array with length %d instead.", limit, n)
		return nil
	}
	out := make([]value, 0, n)
	for raw := range elements(v.raw) {
		out = append(out, newValue(v.err, v.path+"["+strconv.Itoa(len(out))+"]", raw))
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
	o := object{v, map[string]json.RawMessage{}}
	if v.raw == nil || v.raw[0] != '{' {
		v.wrongType(expected)
		return o
	}
	for key, raw := range members(v.raw) {
		o.members[key] = raw
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
