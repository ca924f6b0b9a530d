package harmony

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// systemText is the body of a system message: sections with a blank line between them, empty ones left out.
func systemText(s *System, functionTools bool) (string, error) {
	var sections, top []string
	if s.ModelIdentity != "" {
		top = append(top, s.ModelIdentity)
	}
	if s.KnowledgeCutoff != "" {
		top = append(top, "Knowledge cutoff: "+s.KnowledgeCutoff)
	}
	if s.StartDate != "" {
		top = append(top, "Current date: "+s.StartDate)
	}
	if len(top) > 0 {
		sections = append(sections, strings.Join(top, "\n"))
	}
	switch s.Effort {
	case "":
	case EffortLow, EffortMedium, EffortHigh:
		sections = append(sections, "Reasoning: "+string(s.Effort))
	default:
		return "", fmt.Errorf("unknown reasoning effort %q; want low, medium or high", string(s.Effort))
	}
	sections, err := appendTools(sections, s.Tools)
	if err != nil {
		return "", err
	}
	if len(s.Channels) > 0 {
		line := "# Valid channels: " + strings.Join(s.Channels, ", ") + "."
		if s.ChannelRequired {
			line += " Channel must be included for every message."
		}
		if functionTools {
			line += "\nCalls to these tools must go to the commentary channel: 'functions'."
		}
		sections = append(sections, line)
	}
	return strings.Join(sections, "\n\n"), nil
}

// developerText is the body of a developer message.
func developerText(d *Developer) (string, error) {
	var sections []string
	if d.Instructions != nil {
		sections = append(sections, "# Instructions", *d.Instructions)
	}
	sections, err := appendTools(sections, d.Tools)
	if err != nil {
		return "", err
	}
	return strings.Join(sections, "\n\n"), nil
}

// appendTools appends the heading "# Tools" and a section for each namespace, if there are any.
func appendTools(sections []string, tools map[string]Namespace) ([]string, error) {
	if len(tools) == 0 {
		return sections, nil
	}
	sections = append(sections, "# Tools")
	for _, key := range slices.Sorted(maps.Keys(tools)) {
		text, err := namespaceText(tools[key])
		if err != nil {
			return nil, fmt.Errorf("tool namespace %s: %w", key, err)
		}
		sections = append(sections, text)
	}
	return sections, nil
}

// namespaceText declares a namespace in the TypeScript-like way of the format.
func namespaceText(n Namespace) (string, error) {
	out := []string{"## " + n.Name + "\n"}
	if len(n.Tools) == 0 {
		return strings.Join(append(out, lines(n.Description)...), "\n"), nil
	}
	out = appendComment(out, n.Description)
	out = append(out, "namespace "+n.Name+" {\n")
	for _, f := range n.Tools {
		out = appendComment(out, f.Description)
		parameters, err := parametersText(f.Parameters)
		if err != nil {
			return "", fmt.Errorf("parameters of function %s: %w", f.Name, err)
		}
		out = append(out, "type "+f.Name+" = ("+parameters+") => any;\n")
	}
	return strings.Join(append(out, "} // namespace "+n.Name), "\n"), nil
}

// parametersText is what stands between the parentheses of a function type.
func parametersText(schema []byte) (string, error) {
	if s := bytes.TrimSpace(schema); len(s) == 0 || string(s) == "null" {
		return "", nil
	}
	v, err := parseJSON(schema)
	if err != nil {
		return "", err
	}
	text, err := schemaText(v)
	if err != nil {
		return "", err
	}
	return "_: " + text, nil
}

// appendComment appends the lines of text as comment lines.
func appendComment(out []string, text string) []string {
	for _, line := range lines(text) {
		out = append(out, "// "+line)
	}
	return out
}

// lines splits text at line feeds. A carriage return in front of one goes with it, and a line feed at the end does not
// begin another line.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	parts := strings.Split(text, "\n")
	last := len(parts) - 1
	for i := range last {
		parts[i] = strings.TrimSuffix(parts[i], "\r")
	}
	if parts[last] == "" {
		parts = parts[:last]
	}
	return parts
}
