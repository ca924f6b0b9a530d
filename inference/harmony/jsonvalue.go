package harmony

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of a schema; it is the depth at which the reference's JSON decoder gives up.
const maxJSONDepth = 128

// A jsonKind is the kind of a jsonValue.
type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// A jsonValue is decoded JSON that remembers the order of an object's keys and how numbers were written. Values are
// shared and never changed after decoding.
type jsonValue struct {
	kind    jsonKind
	text    string // jsonString: the string; jsonBool, jsonNumber: the compact spelling
	items   []*jsonValue
	members []jsonMember
	index   map[string]int // of the members of a large object by key, else nil
}

// indexedMembers is how many members an object has at least for its look-ups to need an index.
const indexedMembers = 16

type jsonMember struct {
	key   string
	value *jsonValue
}

// parseJSON decodes one JSON value. Of repeated keys the last value counts, at the place of the first.
func parseJSON(data []byte) (*jsonValue, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeJSON(d, 0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("malformed JSON near byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("malformed JSON: more than one value, the second near byte %d", d.InputOffset())
	}
	return v, nil
}

func decodeJSON(d *json.Decoder, depth int) (*jsonValue, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case nil:
		return &jsonValue{kind: jsonNull}, nil
	case bool:
		return &jsonValue{kind: jsonBool, text: strconv.FormatBool(t)}, nil
	case string:
		return &jsonValue{kind: jsonString, text: t}, nil
	case json.Number:
		text, err := numberText(string(t))
		return &jsonValue{kind: jsonNumber, text: text}, err
	case json.Delim:
		if depth++; depth >= maxJSONDepth {
			return nil, fmt.Errorf("nested deeper than %d levels", maxJSONDepth-1)
		}
		if t == '[' {
			return decodeArray(d, depth)
		}
		return decodeObject(d, depth)
	default:
		return nil, fmt.Errorf("unexpected token %v", t)
	}
}

func decodeArray(d *json.Decoder, depth int) (*jsonValue, error) {
	v := &jsonValue{kind: jsonArray}
	for d.More() {
		item, err := decodeJSON(d, depth)
		if err != nil {
			return nil, err
		}
		v.items = append(v.items, item)
	}
	_, err := d.Token() // the closing bracket
	return v, err
}

func decodeObject(d *json.Decoder, depth int) (*jsonValue, error) {
	v := &jsonValue{kind: jsonObject}
	at := map[string]int{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("object key %v is not a string", key)
		}
		member, err := decodeJSON(d, depth)
		if err != nil {
			return nil, err
		}
		if i, seen := at[name]; seen {
			v.members[i].value = member
			continue
		}
		at[name] = len(v.members)
		v.members = append(v.members, jsonMember{name, member})
	}
	if len(v.members) >= indexedMembers {
		v.index = at
	}
	_, err := d.Token() // the closing brace
	return v, err
}

// get returns the member of an object, or nil.
func (v *jsonValue) get(key string) *jsonValue {
	if v == nil || v.kind != jsonObject {
		return nil
	}
	if v.index != nil {
		if i, ok := v.index[key]; ok {
			return v.members[i].value
		}
		return nil
	}
	for i := range v.members {
		if v.members[i].key == key {
			return v.members[i].value
		}
	}
	return nil
}

// str returns the string that v is, if it is one.
func (v *jsonValue) str() (string, bool) {
	if v == nil || v.kind != jsonString {
		return "", false
	}
	return v.text, true
}

// is reports whether v exists and is of kind k.
func (v *jsonValue) is(k jsonKind) bool { return v != nil && v.kind == k }

// isTrue reports whether v is the literal true.
func (v *jsonValue) isTrue() bool { return v.is(jsonBool) && v.text == "true" }

// appendCompact appends v as JSON without blanks, keys in their order, non-ASCII characters as they are.
func (v *jsonValue) appendCompact(dst []byte) []byte {
	switch v.kind {
	case jsonBool, jsonNumber:
		return append(dst, v.text...)
	case jsonString:
		return appendJSONString(dst, v.text)
	case jsonArray:
		dst = append(dst, '[')
		for i, item := range v.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.appendCompact(dst)
		}
		return append(dst, ']')
	case jsonObject:
		dst = append(dst, '{')
		for i, m := range v.members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONString(dst, m.key), ':')
			dst = m.value.appendCompact(dst)
		}
		return append(dst, '}')
	default:
		return append(dst, "null"...)
	}
}

// size returns about how many bytes v takes as JSON.
func (v *jsonValue) size() int {
	n := len(v.text) + 2
	for _, item := range v.items {
		n += item.size()
	}
	for _, m := range v.members {
		n += len(m.key) + 4 + m.value.size()
	}
	return n
}

func appendJSONString(dst []byte, s string) []byte {
	const escaped, letters = "\"\\\b\f\n\r\t", "\"\\bfnrt"
	dst = append(dst, '"')
	for _, r := range s {
		if i := strings.IndexRune(escaped, r); i >= 0 {
			dst = append(dst, '\\', letters[i])
		} else if r < 0x20 {
			dst = fmt.Appendf(dst, `\u%04x`, r)
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// numberText spells a JSON number as the reference library prints it: integers that fit in 64 bits as they are,
// everything else as the shortest decimal that reads back as the same float64, with a point or an exponent. (The
// library's decoder can miss the nearest float64 by one unit when there are many digits or a large exponent; that is not
// copied.)
func numberText(literal string) (string, error) {
	if !strings.ContainsAny(literal, ".eE") && literal != "-0" {
		_, err := strconv.ParseUint(strings.TrimPrefix(literal, "-"), 10, 64)
		if err == nil && literal[0] == '-' {
			_, err = strconv.ParseInt(literal, 10, 64)
		}
		if err == nil {
			return literal, nil
		}
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return "", fmt.Errorf("the number %.40s does not fit in 64 bits", literal)
	}
	return floatText(f), nil
}

// floatText prints f with between 1 and 17 digits: plainly while the decimal point is at most 16 digits to the right or 4
// zeros to the left of the first digit, otherwise with an exponent. A plain integer gets ".0".
func floatText(f float64) string {
	if f == 0 {
		if strconv.FormatFloat(f, 'g', -1, 64) == "-0" {
			return "-0.0"
		}
		return "0.0"
	}
	plain := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(plain, "e")
	power, err := strconv.Atoi(exponent)
	if err != nil {
		return plain
	}
	if power < -5 || power > 15 {
		return mantissa + "e" + strconv.Itoa(power)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// isEnum reports whether the schema v lists at least one permitted value.
func isEnum(v *jsonValue) bool {
	e := v.get("enum")
	return e.is(jsonArray) && len(e.items) > 0
}

// strings returns the string items of an array, in order.
func (v *jsonValue) strings() []string {
	if !v.is(jsonArray) {
		return nil
	}
	var out []string
	for _, item := range v.items {
		if s, ok := item.str(); ok {
			out = append(out, s)
		}
	}
	return slices.Clip(out)
}
