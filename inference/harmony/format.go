package harmony

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// A ResponseFormat describes what a final answer should look like.
type ResponseFormat struct {
	Name        string
	Description string
	Schema      json.RawMessage // a JSON Schema
}

// AppendResponseFormats returns the instructions of a developer message with a section that shows the formats, as the
// format guide of openai/harmony asks for structured output. It only nudges the model; it enforces nothing.
func AppendResponseFormats(instructions string, formats ...ResponseFormat) (string, error) {
	if len(formats) == 0 {
		return instructions, nil
	}
	var sections []string
	if instructions != "" {
		sections = append(sections, instructions)
	}
	sections = append(sections, "# Response Formats")
	for _, f := range formats {
		if f.Name == "" {
			return "", fmt.Errorf("a response format needs a name")
		}
		var schema bytes.Buffer
		if err := json.Compact(&schema, f.Schema); err != nil {
			return "", fmt.Errorf("schema of response format %s: %w", f.Name, err)
		}
		body := append(appendComment(nil, f.Description), schema.String())
		sections = append(sections, "## "+f.Name, strings.Join(body, "\n"))
	}
	return strings.Join(sections, "\n\n"), nil
}
