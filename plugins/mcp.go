package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A toolResult is MCP's CallToolResult (revision 2025-11-25), as far as it is used.
type toolResult struct {
	Content    []content       `json:"content"`
	Structured json.RawMessage `json:"structuredContent"`
	IsError    bool            `json:"isError"`
}

type content struct {
	Type     string `json:"type"` // text, image, audio, resource_link or resource
	Text     string `json:"text"`
	Data     []byte `json:"data"` // base64
	MIME     string `json:"mimeType"`
	Name     string `json:"name"`
	URI      string `json:"uri"`
	Resource struct {
		URI  string `json:"uri"`
		MIME string `json:"mimeType"`
		Text string `json:"text"`
		Blob []byte `json:"blob"` // base64
	} `json:"resource"`
}

func (t *tool) interpretMCP(output []byte) (Result, error) {
	var m toolResult
	if err := json.Unmarshal(output, &m); err != nil {
		return Result{}, fmt.Errorf("it is no CallToolResult: %w", err)
	}
	r := Result{Failed: m.IsError}
	var texts []string
	for i, c := range m.Content {
		name := fmt.Sprintf("content-%d", i+1)
		switch c.Type {
		case "text":
			texts = append(texts, c.Text)
		case "image", "audio":
			if c.MIME == "" || len(c.Data) == 0 {
				return Result{}, fmt.Errorf("content[%d]: an %s needs data and mimeType", i, c.Type)
			}
			r.Files = append(r.Files, File{Path: name, MIME: c.MIME, Data: c.Data})
			texts = append(texts, fmt.Sprintf("(%s %s, %d bytes)", c.Type, name, len(c.Data)))
		case "resource_link":
			texts = append(texts, strings.TrimSpace(c.Name+" "+c.URI))
		case "resource":
			if c.Resource.Blob != nil {
				r.Files = append(r.Files, File{Path: name, MIME: c.Resource.MIME, Data: c.Resource.Blob})
				texts = append(texts, fmt.Sprintf("(resource %s, %d bytes)", c.Resource.URI, len(c.Resource.Blob)))
				continue
			}
			texts = append(texts, c.Resource.Text)
		default:
			return Result{}, fmt.Errorf("content[%d].type: %q is unknown", i, c.Type)
		}
	}
	if string(m.Structured) != "null" {
		r.Structured = m.Structured
	}
	if m.Content == nil && r.Structured == nil {
		return Result{}, errors.New("it has neither content nor structuredContent")
	}
	if r.Structured != nil && t.output != nil && !m.IsError {
		if err := t.output.check(r.Structured); err != nil {
			return Result{}, fmt.Errorf("structuredContent does not fit the output_schema: %w", err)
		}
	}
	if len(texts) == 0 {
		texts = append(texts, string(r.Structured))
	}
	r.Text = strings.ToValidUTF8(strings.Join(texts, "\n"), "\uFFFD")
	return r, nil
}
