package mcp

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// A Result is what a tool gave.
type Result struct {
	Content    []Content
	Structured json.RawMessage // the result as JSON, or nil
	Failed     bool            // the tool says that it failed, and Content why
	Notes      []string        // of this program: what was cut or does not fit the tool's own schema
	Meta       json.RawMessage // the result's _meta, or nil
}

// A Content is one part of a result.
type Content struct {
	Type                     string // "text", "image", "audio", "resource" or "resource_link"; others have their JSON in Text
	Text                     string
	MIME, URI                string
	Name, Title, Description string // of a link
	Data                     []byte // of an image, a sound, a binary resource
}

// reduceCall shows mcp-go whether the result asks for input, and nothing else of it.
func reduceCall(raw json.RawMessage) (json.RawMessage, error) {
	var r struct {
		Type string `json:"resultType"`
	}
	if fields, err := object(raw, knownBelow); err != nil {
		return nil, &InvalidError{"the result: " + err.Error()}
	} else if t, ok := fields["resultType"]; ok && json.Unmarshal(t, &r.Type) != nil {
		return nil, &InvalidError{`the result: "resultType" must be a string`}
	}
	if r.Type == "input_required" {
		return raw, nil
	}
	return json.RawMessage(`{"content":[]}`), nil
}

// readResult makes a Result of the JSON of one.
func readResult(raw json.RawMessage, t *Tool, l Limits) (*Result, error) {
	fields, err := object(raw, knownBelow)
	if err != nil {
		return nil, &InvalidError{"the result: " + err.Error()}
	}
	r := &Result{Structured: fields["structuredContent"], Meta: fields["_meta"]}
	if string(r.Structured) == "null" && t.Output == nil {
		r.Structured = nil
	}
	if v, ok := fields["isError"]; ok && json.Unmarshal(v, &r.Failed) != nil {
		return nil, &InvalidError{`the result: "isError" must be true or false`}
	}
	var parts []json.RawMessage
	if v, ok := fields["content"]; ok && json.Unmarshal(v, &parts) != nil {
		return nil, &InvalidError{`the result: "content" must be an array`}
	}
	left := l.Result
	if r.Structured != nil && int64(len(r.Structured)) > left {
		r.Notes = append(r.Notes, fmt.Sprintf("structured result of %d bytes left out, the limit is %d", len(r.Structured), left))
		r.Structured = nil
	}
	left -= int64(len(r.Structured))
	for i, p := range parts {
		c, err := readContent(p)
		if err != nil {
			return nil, &InvalidError{fmt.Sprintf("the result: content[%d]: %s", i, err)}
		}
		r.Notes = append(r.Notes, c.fit(&left)...)
		r.Content = append(r.Content, c)
	}
	if t.output != nil && !r.Failed && len(r.Notes) == 0 {
		switch {
		case r.Structured == nil:
			r.Notes = append(r.Notes, "the result has no structured form, which the tool promises")
		default:
			if err := t.output.check(r.Structured); err != nil {
				r.Notes = append(r.Notes, "the structured result does not fit the schema that the tool promises: "+err.Error())
			}
		}
	}
	return r, nil
}

// fit cuts a content to what is left, and says so.
func (c *Content) fit(left *int64) (notes []string) {
	if n := int64(len(c.Data)); n > *left {
		notes = append(notes, fmt.Sprintf("%s of %d bytes left out, the result is too large", c.Type, n))
		c.Data = nil
	}
	*left -= int64(len(c.Data))
	if n := int64(len(c.Text)); n > *left {
		notes = append(notes, fmt.Sprintf("text cut, %d of %d bytes are missing", n-*left, n))
		c.Text = strings.ToValidUTF8(c.Text[:*left], "")
	}
	*left -= int64(len(c.Text))
	return notes
}

var knownContent = []string{
	"type", "text", "data", "mimeType", "resource", "uri", "blob", "name", "title", "description", "annotations", "_meta",
}

func readContent(raw json.RawMessage) (Content, error) {
	fields, err := object(raw, knownContent)
	if err != nil {
		return Content{}, err
	}
	var c Content
	var data string
	read := func(from map[string]json.RawMessage, name string, to *string) {
		if v, ok := from[name]; ok && string(v) != "null" && json.Unmarshal(v, to) != nil && err == nil {
			err = fmt.Errorf("%s: must be a string", name)
		}
	}
	read(fields, "type", &c.Type)
	switch c.Type {
	case "text":
		read(fields, "text", &c.Text)
	case "image", "audio":
		read(fields, "data", &data)
		read(fields, "mimeType", &c.MIME)
	case "resource_link":
		read(fields, "uri", &c.URI)
		read(fields, "mimeType", &c.MIME)
		read(fields, "name", &c.Name)
		read(fields, "title", &c.Title)
		read(fields, "description", &c.Description)
	case "resource":
		inner, bad := object(fields["resource"], knownContent)
		if bad != nil {
			return c, fmt.Errorf("resource: %w", bad)
		}
		read(inner, "uri", &c.URI)
		read(inner, "mimeType", &c.MIME)
		read(inner, "text", &c.Text)
		read(inner, "blob", &data)
	default:
		c.Text = string(raw)
	}
	if err == nil && data != "" {
		if c.Data, err = base64.StdEncoding.DecodeString(data); err != nil {
			err = fmt.Errorf("data: is no base64")
		}
	}
	return c, err
}

// Text is what a model reads of the result: texts as they are, everything else as a line that says what it is, and at
// the end what this program has to say.
func (r *Result) Text() string {
	var parts []string
	for _, c := range r.Content {
		parts = append(parts, c.line())
	}
	if len(parts) == 0 && r.Structured != nil {
		parts = append(parts, string(r.Structured))
	}
	for _, n := range r.Notes {
		parts = append(parts, "[Note: "+n+".]")
	}
	return strings.Join(parts, "\n")
}

func (c Content) line() string {
	about := strings.Join(strings.Fields(strings.Join([]string{c.MIME, c.URI}, " ")), " ")
	if about != "" {
		about = " " + about
	}
	switch c.Type {
	case "text":
		return c.Text
	case "image", "audio":
		return fmt.Sprintf("[%s%s, %d bytes]", c.Type, about, len(c.Data))
	case "resource":
		if c.Data != nil || c.Text == "" {
			return fmt.Sprintf("[resource%s, %d bytes]", about, len(c.Data))
		}
		return fmt.Sprintf("[resource%s]\n%s", about, c.Text)
	case "resource_link":
		name := c.Title
		if name == "" {
			name = c.Name
		}
		s := fmt.Sprintf("[link%s: %s", about, name)
		if c.Description != "" {
			s += ", " + c.Description
		}
		return s + "]"
	}
	return fmt.Sprintf("[content of type %q]\n%s", c.Type, c.Text)
}
