package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	words "golang.org/x/text/message"
)

// A schema is a compiled JSON Schema, safe for concurrent use.
type schema struct{ compiled *jsonschema.Schema }

// schemaURL is where a schema stands while it is compiled.
const schemaURL = "schema:///"

// noLoader fetches nothing: a reference to another document is the server asking us to make a request.
type noLoader struct{}

// Load implements jsonschema.URLLoader.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %q, and documents elsewhere are not fetched", url)
}

// anything stands for a pattern that Go's expressions cannot say, such as one with a look-ahead. Servers wrote it for
// another engine and check it themselves.
type anything string

func (a anything) String() string        { return string(a) }
func (anything) MatchString(string) bool { return true }

func pattern(s string) (jsonschema.Regexp, error) {
	re, err := regexp.Compile(s)
	if err != nil {
		return anything(s), nil
	}
	return re, nil
}

// compile compiles the schema of an object, or of any value.
func compile(raw json.RawMessage, object bool, most int) (*schema, error) {
	if raw == nil {
		return nil, errors.New("is missing")
	}
	if len(raw) > most {
		return nil, fmt.Errorf("has more than %d bytes", most)
	}
	doc, err := decode(raw)
	if err != nil {
		return nil, err
	}
	members, ok := doc.(map[string]any)
	if !ok {
		return nil, errors.New("must be an object")
	}
	if object && members["type"] != "object" {
		return nil, errors.New(`type: must be "object"`)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	c.UseRegexpEngine(pattern)
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, fmt.Errorf("is no JSON Schema: %w", err)
	}
	compiled, err := c.Compile(schemaURL)
	if err != nil {
		return nil, fmt.Errorf("is no JSON Schema: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return &schema{compiled}, nil
}

func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// maxViolations is how many are told at once.
const maxViolations = 5

// check returns what is wrong with a value, or nil.
func (s *schema) check(raw json.RawMessage) error {
	v, err := decode(raw)
	if err != nil {
		return err
	}
	err = s.compiled.Validate(v)
	var e *jsonschema.ValidationError
	if !errors.As(err, &e) {
		return err
	}
	var list []string
	leaves(e, &list)
	if more := len(list) - maxViolations; more > 0 {
		list = append(list[:maxViolations], fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(list, "; "))
}

func leaves(e *jsonschema.ValidationError, list *[]string) {
	if len(e.Causes) == 0 {
		where := strings.Join(e.InstanceLocation, ".")
		if where != "" {
			where += ": "
		}
		*list = append(*list, where+e.ErrorKind.LocalizedString(words.NewPrinter(language.English)))
		return
	}
	for _, c := range e.Causes {
		leaves(c, list)
	}
}

// check makes arguments of what was written, or an *ArgumentsError.
func (t *Tool) check(arguments json.RawMessage, l Limits) (json.RawMessage, error) {
	if len(bytes.TrimSpace(arguments)) == 0 {
		arguments = json.RawMessage("{}")
	}
	if err := checkJSON(arguments, l); err != nil {
		var invalid *InvalidError
		if errors.As(err, &invalid) {
			return nil, &ArgumentsError{fmt.Sprintf("The arguments of %s are not valid: %s.", t.Name, invalid.Reason)}
		}
		return nil, &ArgumentsError{fmt.Sprintf("The arguments of %s are too much: %s.", t.Name, err)}
	}
	err := t.input.check(arguments)
	if err != nil {
		if without, ok := t.withoutNulls(arguments); ok && t.input.check(without) == nil {
			return without, nil
		}
		const text = "The arguments of %s do not fit its schema: %s. Correct them and call it again."
		return nil, &ArgumentsError{fmt.Sprintf(text, t.Name, err)}
	}
	return arguments, nil
}

// withoutNulls leaves out optional arguments that are null. Models write them for what they do not want to say.
func (t *Tool) withoutNulls(arguments json.RawMessage) (json.RawMessage, bool) {
	var s struct {
		Required []string `json:"required"`
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(t.Input, &s) != nil || json.Unmarshal(arguments, &members) != nil {
		return nil, false
	}
	n := len(members)
	for name, v := range members {
		if string(v) == "null" && !slices.Contains(s.Required, name) {
			delete(members, name)
		}
	}
	less, err := json.Marshal(members)
	return less, err == nil && len(members) < n
}
