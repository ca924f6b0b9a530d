package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"

	"chorale/plugins"
)

// grantsKey is that of the grants in the configuration.
const grantsKey = "plugin-grants"

// grantsDecoder returns what reads grants of the file: a part of the configuration if it is that, else YAML or JSON by its name.
func grantsDecoder(file, config string) func([]byte) (plugins.Grants, error) {
	switch extension := strings.ToLower(filepath.Ext(file)); {
	case file == config:
		return func(p []byte) (plugins.Grants, error) { return yamlGrants(p, grantsKey) }
	case extension == ".yaml" || extension == ".yml":
		return func(p []byte) (plugins.Grants, error) { return yamlGrants(p, "") }
	}
	return plugins.DecodeGrants
}

// yamlGrants reads grants of a YAML document, or of one of its keys. They become JSON, so that there is one reader with one opinion
// of what is right; errors name the line.
func yamlGrants(text []byte, key string) (plugins.Grants, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("plugin grants: %w", err)
	}
	if len(document.Content) == 0 { // nothing but comments
		return plugins.Grants{}, nil
	}
	node := document.Content[0]
	if key != "" {
		if node = member(node, key); node == nil {
			return plugins.Grants{}, nil
		}
	}
	t := translation{lines: map[string]int{}}
	if err := t.value(node, ""); err != nil {
		return nil, fmt.Errorf("plugin grants: line %d: %w", t.line, err)
	}
	grants, err := plugins.DecodeGrants(t.json.Bytes())
	var field *plugins.FieldError
	if errors.As(err, &field) {
		return nil, fmt.Errorf("line %d: %w", t.at(field.Field), err)
	}
	return grants, err
}

// member is the value of a key, nil if it is not there.
func member(node *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(node.Content) && node.Kind == yaml.MappingNode; i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// A translation makes JSON of YAML and knows where everything stood.
type translation struct {
	json  bytes.Buffer
	lines map[string]int // by field, as errors name them
	line  int            // of the value under way
}

// at is the line of a field, or of what it is part of.
func (t *translation) at(field string) int {
	for {
		if line, ok := t.lines[field]; ok {
			return line
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			return t.lines[""]
		}
		field = field[:i]
	}
}

func (t *translation) value(n *yaml.Node, field string) error {
	t.line, t.lines[field] = n.Line, n.Line
	switch n.Kind {
	case yaml.MappingNode:
		return t.mapping(n, field)
	case yaml.SequenceNode:
		t.json.WriteByte('[')
		for i, v := range n.Content {
			if i > 0 {
				t.json.WriteByte(',')
			}
			if err := t.value(v, fmt.Sprintf("%s[%d]", field, i)); err != nil {
				return err
			}
		}
		t.json.WriteByte(']')
		return nil
	case yaml.ScalarNode:
		return t.scalar(n)
	default: // an alias, whose copies may be many
		return fmt.Errorf("%q: write the value again instead of an alias", n.Value)
	}
}

func (t *translation) mapping(n *yaml.Node, field string) error {
	t.json.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		t.line = key.Line
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" {
			return fmt.Errorf("the key %q must be a string", key.Value)
		}
		if i > 0 {
			t.json.WriteByte(',')
		}
		if err := t.text(key.Value); err != nil {
			return err
		}
		t.json.WriteByte(':')
		below := key.Value
		if field != "" {
			below = field + "." + key.Value
		}
		if err := t.value(n.Content[i+1], below); err != nil {
			return err
		}
		t.lines[below] = key.Line // where people look for it
	}
	t.json.WriteByte('}')
	return nil
}

func (t *translation) scalar(n *yaml.Node) error {
	var v any
	switch n.Tag {
	case "!!str":
		return t.text(n.Value)
	case "!!int", "!!float", "!!bool", "!!null":
		if err := n.Decode(&v); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%q: values of the type %s are not read; put it into quotes", n.Value, n.Tag)
	}
	p, err := json.Marshal(v)
	t.json.Write(p)
	return err
}

func (t *translation) text(s string) error {
	p, err := json.Marshal(s)
	t.json.Write(p)
	return err
}
