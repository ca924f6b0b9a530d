package plugins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
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

// parseJSON reads one value that fits a type; nil stands for any. It has the numbers as json.Number.
func parseJSON(p []byte, t reflect.Type) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(p))
	dec.UseNumber()
	v, err := walk(dec, t, "", 0)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("the JSON is cut off")
	}
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the JSON")
	}
	return v, nil
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

// walk reads a value that is to become a t.
func walk(dec *json.Decoder, t reflect.Type, at string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, place(at, "is nested too deep")
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == rawMessage {
		t = nil
	}
	switch tok {
	case json.Delim('{'):
		return walkObject(dec, t, at, depth)
	case json.Delim('['):
		return walkArray(dec, t, at, depth)
	}
	return tok, checkScalar(tok, t, at)
}

func walkObject(dec *json.Decoder, t reflect.Type, at string, depth int) (any, error) {
	if t != nil && t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return nil, place(at, "is an object, want "+kindName(t))
	}
	members := map[string]any{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key := tok.(string) // the decoder refuses other keys
		below := key
		if at != "" {
			below = at + "." + key
		}
		if _, there := members[key]; there {
			return nil, place(below, "is there twice")
		}
		of := t
		switch {
		case t == nil:
		case t.Kind() == reflect.Map:
			of = t.Elem()
		default:
			var ok bool
			if of, ok = fieldType(t, key); !ok {
				return nil, place(below, "is unknown here; known are "+strings.Join(fieldNames(t), ", "))
			}
		}
		if members[key], err = walk(dec, of, below, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return members, err
}

func walkArray(dec *json.Decoder, t reflect.Type, at string, depth int) (any, error) {
	var of reflect.Type
	if t != nil {
		if t.Kind() != reflect.Slice {
			return nil, place(at, "is an array, want "+kindName(t))
		}
		of = t.Elem()
	}
	list := []any{}
	for dec.More() {
		v, err := walk(dec, of, at+"["+strconv.Itoa(len(list))+"]", depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, err
}

func checkScalar(tok json.Token, t reflect.Type, at string) error {
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
	return fmt.Errorf("%s: %s", at, what)
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
