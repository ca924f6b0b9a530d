package api

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// pluginNames is the pattern for names of plugins and of their tools.
var pluginNames = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// maxPluginTools is how many tools of a plugin a request may name.
const maxPluginTools = 256

// A PluginTool lets the model call the tools of a plugin of this server. OpenAI does not have it.
type PluginTool struct {
	Name         string   `json:"name"`
	AllowedTools []string `json:"allowed_tools"` // those that the model sees; nil = all
}

func (*PluginTool) tool() string { return "plugin" }

// MarshalJSON writes the tool with its type.
func (t *PluginTool) MarshalJSON() ([]byte, error) {
	type plain PluginTool
	return tagged("plugin", (*plain)(t))
}

// pluginTool reads the tool. Members that it does not have are refused: a misspelt limit must not be no limit.
func (o object) pluginTool() *PluginTool {
	t := &PluginTool{Name: o.need("name").matching(pluginNames)}
	if allowed := o.get("allowed_tools"); allowed.ok() {
		t.AllowedTools = []string{}
		for _, e := range allowed.array(maxPluginTools) {
			name := e.matching(pluginNames)
			if slices.Contains(t.AllowedTools, name) {
				e.invalid("invalid_value", "'%s' is there twice.", name)
			}
			t.AllowedTools = append(t.AllowedTools, name)
		}
		if len(t.AllowedTools) == 0 {
			allowed.invalid("empty_array", "it has no tools. Leave it out to allow all tools of the plugin.")
		}
	}
	o.refuseUnknown("name", "allowed_tools")
	return t
}

// refuseUnknown fails for a member that was not read, and says which there are beside the type.
func (o object) refuseUnknown(known ...string) {
	for _, name := range sortedKeys(o.members) {
		if v := o.get(name); *v.err == nil {
			v.fail(BadRequest("unknown_parameter", v.path, "Unknown parameter: %s. There are 'type', '%s'.", v.label(), strings.Join(known, "', '")))
		}
	}
}

// An MCPCall is a call that the server made of a tool of an MCP server or of one of its plugins.
type MCPCall struct {
	ID                string          `json:"id,omitempty"`
	ApprovalRequestID *string         `json:"approval_request_id"`
	Arguments         string          `json:"arguments"`    // as the model wrote them; JSON unless the model erred
	Error             json.RawMessage `json:"error"`        // an object that says why the call failed; nil = it did not
	Name              string          `json:"name"`         // of the tool
	Output            *string         `json:"output"`       // what the model reads; nil = nothing yet
	ServerLabel       string          `json:"server_label"` // whose tool it is
	Status            string          `json:"status,omitempty"`
}

func (i *MCPCall) item() (string, *string) { return "mcp_call", &i.ID }

// MarshalJSON writes the item with its type.
func (i *MCPCall) MarshalJSON() ([]byte, error) {
	type plain MCPCall
	return tagged("mcp_call", (*plain)(i))
}

func (o object) mcpCall(id string) *MCPCall {
	return &MCPCall{
		ID:                id,
		ApprovalRequestID: o.optionalText("approval_request_id", MaxCallIDLength),
		Arguments:         o.need("arguments").textUpTo(MaxTextLength),
		Error:             o.get("error").raw, // an object, in earlier SDKs a string
		Name:              o.need("name").matching(callNames),
		Output:            o.optionalText("output", MaxTextLength),
		ServerLabel:       o.need("server_label").matching(callNames),
		Status:            o.textOr("status", ""),
	}
}

// MCPExecutionError is the error of a call that its tool could not do, in OpenAI's form.
func MCPExecutionError(text string) json.RawMessage {
	raw, _ := encode(text) // a string always can be
	return slices.Concat([]byte(`{"type":"mcp_tool_execution_error","content":[{"type":"text","text":`), raw, []byte(`}]}`))
}

// An MCPArgumentsDelta adds to an MCPCall's arguments.
type MCPArgumentsDelta struct {
	Head
	Place
	Delta string `json:"delta"`
}

// An MCPArgumentsDone ends an MCPCall's arguments.
type MCPArgumentsDone struct {
	Head
	Place
	Arguments string `json:"arguments"`
}
