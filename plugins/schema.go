package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// A schema is a compiled JSON Schema of an object. It is safe for concurrent use.
type schema struct {
	compiled *jsonschema.Schema
}

// schemaURL is where a schema stands while it is compiled; nothing is ever loaded.
const schemaURL = "schema:///"

// noLoader refuses references to other documents.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}

// compileSchema compiles the schema of an object.
func compileSchema(p json.RawMessage) (*schema, error) {
	doc, err := parseJSON(p, nil)
	if err != nil {
		return nil, err
	}
	members, ok := doc.(map[string]any)
	if !ok {
		return nil, errors.New("is no object, want a JSON Schema")
	}
	if members["type"] != "object" {
		return nil, errors.New(`type: must be "object"`)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, fmt.Errorf("is no JSON Schema: %w", err)
	}
	compiled, err := c.Compile(schemaURL)
	if err != nil {
		return nil, fmt.Errorf("is no JSON Schema: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return &schema{compiled}, nil
}

// check checks a JSON value. The error says what is wrong where, for the model and the author to read.
func (s *schema) check(p []byte) error {
	v, err := parseJSON(p, nil)
	if err != nil {
		return err
	}
	err = s.compiled.Validate(v)
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		return errors.New(strings.Join(causes(invalid, nil), "; "))
	}
	return err
}

// maxCauses bounds how many faults of a value are told.
const maxCauses = 8

// causes lists the innermost faults.
func causes(e *jsonschema.ValidationError, list []string) []string {
	if len(list) >= maxCauses {
		return list
	}
	if len(e.Causes) == 0 {
		text := e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
		if len(e.InstanceLocation) > 0 {
			text = strings.Join(e.InstanceLocation, ".") + ": " + text
		}
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	for _, c := range e.Causes {
		list = causes(c, list)
	}
	return list
}

// checkConfigSchema checks the schema of a configuration, whose values become files.
func checkConfigSchema(p json.RawMessage) error {
	if _, err := compileSchema(p); err != nil {
		return err
	}
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(p, &s); err != nil {
		return fmt.Errorf("properties: %w", err)
	}
	for name := range s.Properties {
		if !configName.MatchString(name) {
			return fmt.Errorf("properties: %q must match %s", name, configName)
		}
	}
	return nil
}
