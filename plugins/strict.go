package plugins

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep JSON may be nested.
const maxDepth = 64

// decodeStrict is json.Unmarshal for what people write by hand: a key that v has no field for, in exactly that spelling,
// a key that is there twice, and a value of the wrong type are errors that name the place.
func decodeStrict(p []byte, v any) error {
	if _, err := parseJSON(p, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	return json.Unmarshal(p, v)
}

// parseJSON reads one value that fits a type; nil stands for any. It has the numbers as json.Number. The standard library's
// decoder neither refuses keys that are there twice, which readers understand differently, nor is it fast enough for
// arguments of a megabyte.
func parseJSON(p []byte, t reflect.Type) (any, error) {
	if !utf8.Valid(p) {
		return nil, errors.New("the JSON is no UTF-8")
	}
	r := &jsonReader{p, 0}
	v, err := r.value(t, "", 0)
	if err != nil {
		return nil, err
	}
	if r.next() != 0 || r.at < len(p) {
		return nil, errors.New("there is something after the JSON")
	}
	return v, nil
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

// A jsonReader reads UTF-8.
type jsonReader struct {
	b  []byte
	at int
}

var errCut = errors.New("the JSON is cut off")

// next is the next byte that is no space, 0 at the end.
func (r *jsonReader) next() byte {
	for ; r.at < len(r.b); r.at++ {
		switch c := r.b[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// expect passes over one of the bytes and says which it was.
func (r *jsonReader) expect(set string) (byte, error) {
	c := r.next()
	if r.at == len(r.b) {
		return 0, errCut
	}
	if strings.IndexByte(set, c) < 0 {
		return 0, fmt.Errorf("invalid JSON: %q at byte %d, want one of %s", c, r.at, set)
	}
	r.at++
	return c, nil
}

// value reads a value that is to become a t.
func (r *jsonReader) value(t reflect.Type, at string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, place(at, "is nested too deep")
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == rawMessage {
		t = nil
	}
	switch r.next() {
	case '{':
		return r.object(t, at, depth)
	case '[':
		return r.array(t, at, depth)
	}
	v, err := r.scalar()
	if err != nil {
		return nil, err
	}
	return v, checkScalar(v, t, at)
}

func (r *jsonReader) object(t reflect.Type, at string, depth int) (any, error) {
	if t != nil && t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return nil, place(at, "is an object, want "+kindName(t))
	}
	r.at++
	members := map[string]any{}
	if r.next() == '}' {
		r.at++
		return members, nil
	}
	for {
		if c := r.next(); c != '"' {
			_, err := r.expect(`"`)
			return nil, err
		}
		key, err := r.text()
		if err != nil {
			return nil, err
		}
		below := key
		if at != "" {
			below = at + "." + key
		}
		if _, there := members[key]; there {
			return nil, place(below, "is there twice")
		}
		of, err := memberType(t, key, below)
		if err != nil {
			return nil, err
		}
		if _, err := r.expect(":"); err != nil {
			return nil, err
		}
		if members[key], err = r.value(of, below, depth+1); err != nil {
			return nil, err
		}
		if c, err := r.expect(",}"); err != nil || c == '}' {
			return members, err
		}
	}
}

func (r *jsonReader) array(t reflect.Type, at string, depth int) (any, error) {
	var of reflect.Type
	if t != nil {
		if t.Kind() != reflect.Slice {
			return nil, place(at, "is an array, want "+kindName(t))
		}
		of = t.Elem()
	}
	r.at++
	list := []any{}
	if r.next() == ']' {
		r.at++
		return list, nil
	}
	for {
		v, err := r.value(of, at+"["+strconv.Itoa(len(list))+"]", depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if c, err := r.expect(",]"); err != nil || c == ']' {
			return list, err
		}
	}
}

// text reads a string, whose quote is next.
func (r *jsonReader) text() (string, error) {
	start := r.at + 1
	end := start
	for {
		n := bytes.IndexByte(r.b[end:], '"')
		if n < 0 {
			return "", errCut
		}
		end += n
		// A quote behind an odd number of backslashes is part of the string.
		slashes := 0
		for end-slashes > start && r.b[end-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			break
		}
		end++
	}
	content := r.b[start:end]
	if i := indexControl(content); i >= 0 {
		return "", fmt.Errorf("invalid JSON: %q at byte %d, within a string", content[i], start+i)
	}
	r.at = end + 1
	if bytes.IndexByte(content, '\\') < 0 {
		return string(content), nil
	}
	var s string
	if err := json.Unmarshal(r.b[start-1:r.at], &s); err != nil {
		return "", fmt.Errorf("invalid JSON: a string at byte %d: %w", start-1, err)
	}
	return s, nil
}

// indexControl is where the first byte below a space is, -1 without one. It looks at eight bytes at a time: in each, taking a
// space's code away borrows from the highest bit, and only for such bytes and those that had it set.
func indexControl(b []byte) int {
	const each, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if v := binary.LittleEndian.Uint64(b[i:]); (v-each*' ')&^v&high != 0 {
			break
		}
	}
	for ; i < len(b); i++ {
		if b[i] < ' ' {
			return i
		}
	}
	return -1
}

// scalar reads a string, a number, true, false or null.
func (r *jsonReader) scalar() (any, error) {
	if r.next() == '"' {
		return r.text()
	}
	start := r.at
	for r.at < len(r.b) && strings.IndexByte(" \t\r\n,:[]{}\"", r.b[r.at]) < 0 {
		r.at++
	}
	switch word := string(r.b[start:r.at]); {
	case word == "" && start == len(r.b):
		return nil, errCut
	case word == "null":
		return nil, nil
	case word == "true" || word == "false":
		return word == "true", nil
	case word != "" && strings.IndexByte("-0123456789", word[0]) >= 0 && json.Valid([]byte(word)):
		return json.Number(word), nil
	default:
		return nil, fmt.Errorf("invalid JSON: %.20q at byte %d is no value", r.b[start:max(r.at, start+1)], start)
	}
}

// memberType is the type of a member of a t.
func memberType(t reflect.Type, key, at string) (reflect.Type, error) {
	switch {
	case t == nil:
		return nil, nil
	case t.Kind() == reflect.Map:
		return t.Elem(), nil
	}
	of, ok := fieldType(t, key)
	if !ok {
		return nil, place(at, "is unknown here; known are "+strings.Join(fieldNames(t), ", "))
	}
	return of, nil
}

func checkScalar(tok any, t reflect.Type, at string) error {
	if t == nil {
		return nil
	}
	ok := false
	switch v := tok.(type) {
	case string:
		ok = t.Kind() == reflect.String
	case bool:
		ok = t.Kind() == reflect.Bool
	case json.Number:
		_, err := v.Int64()
		ok = t.Kind() == reflect.Int64 && err == nil
	}
	if !ok {
		text, _ := json.Marshal(tok)
		return place(at, fmt.Sprintf("is %.100s, want %s", text, kindName(t)))
	}
	return nil
}

func place(at, what string) error {
	if at == "" {
		return errors.New("the JSON " + what)
	}
	return &FieldError{at, errors.New(what)}
}

// A FieldError says which value of a manifest or of grants is wrong.
type FieldError struct {
	Field string // such as "weather.net[0]"
	Err   error  // what is wrong with it
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *FieldError) Unwrap() error { return e.Err }

// inside puts the name of what a value is part of before that of the value.
func inside(name string, err error) error {
	if f, ok := err.(*FieldError); ok {
		return &FieldError{name + "." + f.Field, f.Err}
	}
	return &FieldError{name, err}
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}

func fieldType(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name == key {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
