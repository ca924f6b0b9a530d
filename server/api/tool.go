package api

import "encoding/json"

// A Tool is something that the model may call. Its variants are *FunctionTool, *CodeInterpreterTool, *PluginTool, *MCPTool,
// *WebSearchTool and, for every other type, *RawTool. ToolKind works on any of them.
type Tool interface {
	tool() (kind string)
}

// ToolKind returns the tool's "type".
func ToolKind(t Tool) string { return t.tool() }

// A FunctionTool is a function of the client. Nil members were not sent and are written as null.
type FunctionTool struct {
	Name        string          `json:"name"`
	Description *string         `json:"description"`
	Parameters  json.RawMessage `json:"parameters"` // a JSON Schema of type object, key order and number spelling kept
	Strict      *bool           `json:"strict"`
}

// A RawTool is a tool of a type that this package does not know, kept as it was sent.
type RawTool struct {
	Type string
	JSON json.RawMessage // the whole tool
}

func (*FunctionTool) tool() string        { return "function" }
func (*CodeInterpreterTool) tool() string { return "code_interpreter" }
func (t *RawTool) tool() string           { return t.Type }

// MarshalJSON writes the tool with its type.
func (t *FunctionTool) MarshalJSON() ([]byte, error) {
	type plain FunctionTool
	return tagged("function", (*plain)(t))
}

// MarshalJSON writes the tool as it was sent.
func (t *RawTool) MarshalJSON() ([]byte, error) { return t.JSON, nil }

// A ToolChoice limits which tools the model may or must call. The zero value was not sent and is written as "auto".
type ToolChoice struct {
	Mode         string          // none, auto or required; also for allowed_tools and for a type other than function
	Allowed      []string        // with allowed_tools: the functions that may be called
	AllowedOther []OtherTool     // with allowed_tools: the other tools that may be called
	Name         string          // with function: the one that must be called
	Other        OtherTool       // with a type other than function and allowed_tools: what must be called
	Type         string          // "" when the choice is a plain string; else function, allowed_tools or what was sent
	JSON         json.RawMessage // the whole choice as it was sent, when it was an object
}

// An OtherTool names a tool that is no function in a ToolChoice.
type OtherTool struct {
	Type string
	Name string // of a plugin, or the label of an MCP server; "" = all tools of the type
	Tool string // of that one; "" = all it has
}

// String names the tool in error messages.
func (t OtherTool) String() string {
	switch {
	case t.Name == "":
		return t.Type
	case t.Tool == "":
		return t.Name
	default:
		return t.Name + "." + t.Tool
	}
}

// MarshalJSON writes the choice as it was sent.
func (c ToolChoice) MarshalJSON() ([]byte, error) {
	switch {
	case c.JSON != nil:
		return c.JSON, nil
	case c.Mode == "":
		return []byte(`"auto"`), nil
	}
	return encode(c.Mode)
}
