package plugins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// maxDepth bounds how deep JSON may be nested.
const maxDepth = 64

// decodeStrict is json.Unmarshal for what people write by hand: a key that v has no field for, in exactly that spelling,
// a key that is there twice, and a value of the wrong type are errors that name the place.
func decodeStrict(p []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(p))
	dec.UseNumber()
	if err := walk(dec, reflect.TypeOf(v).Elem(), "", 0); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("the JSON is cut off")
		}
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the JSON")
	}
	return json.Unmarshal(p, v)
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

// walk reads a value that is to become a t; nil stands for any.
func walk(dec *json.Decoder, t reflect.Type, at string, depth int) error {
	if depth > maxDepth {
		return place(at, "the JSON is nested too deep")
	}
	tok, err := dec.Token()
	if err != nil {
		return err
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
	return checkScalar(tok, t, at)
}

func walkObject(dec *json.Decoder, t reflect.Type, at string, depth int) error {
	if t != nil && t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return place(at, "is an object, want "+kindName(t))
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		key := tok.(string) // the decoder refuses other keys
		below := key
		if at != "" {
			below = at + "." + key
		}
		if seen[key] {
			return place(below, "is there twice")
		}
		seen[key] = true
		of := t
		switch {
		case t == nil:
		case t.Kind() == reflect.Map:
			of = t.Elem()
		default:
			var ok bool
			if of, ok = fieldType(t, key); !ok {
				return place(below, "is unknown here; known are "+strings.Join(fieldNames(t), ", "))
			}
		}
		if err := walk(dec, of, below, depth+1); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

func walkArray(dec *json.Decoder, t reflect.Type, at string, depth int) error {
	var of reflect.Type
	if t != nil {
		if t.Kind() != reflect.Slice {
			return place(at, "is an array, want "+kindName(t))
		}
		of = t.Elem()
	}
	for i := 0; dec.More(); i++ {
		if err := walk(dec, of, fmt.Sprintf("%s[%d]", at, i), depth+1); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
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
