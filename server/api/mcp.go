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
	// What OpenAI's items do not have: the result as JSON, and files that the tool made.
	Structured json.RawMessage `json:"structured_content,omitempty"`
	Files      []MCPFile       `json:"files,omitempty"`
}

// An MCPFile is a file that a tool made.
type MCPFile struct {
	Path  string `json:"path"`
	MIME  string `json:"mime_type"`
	Bytes int64  `json:"bytes"`
	URL   string `json:"url,omitempty"` // data:, if contents are included
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
		Structured:        o.get("structured_content").raw,
		Files:             o.get("files").mcpFiles(),
	}
}

func (v value) mcpFiles() (files []MCPFile) {
	if !v.ok() {
		return nil
	}
	for _, e := range v.array(maxItems) {
		o := e.object("a file")
		f := MCPFile{Path: o.need("path").text(), MIME: o.textOr("mime_type", ""), URL: o.get("url").textOrNone()}
		if n := o.optionalInteger("bytes", 0, 1<<50); n != nil {
			f.Bytes = *n
		}
		files = append(files, f)
	}
	return files
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

// MCPListTools is what an MCP server had when it was asked for its tools. While it is in the context, the server is not asked
// again.
type MCPListTools struct {
	ID          string          `json:"id,omitempty"`
	Error       *string         `json:"error"` // why there is no list
	ServerLabel string          `json:"server_label"`
	Tools       []MCPListedTool `json:"tools"`
}

// An MCPListedTool is a tool of an MCP server as that describes it.
type MCPListedTool struct {
	Annotations json.RawMessage `json:"annotations"` // an object; nil = none
	Description *string         `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
	Name        string          `json:"name"`
}

// An MCPApprovalRequest asks the client whether a call may be made.
type MCPApprovalRequest struct {
	ID          string `json:"id,omitempty"`
	Arguments   string `json:"arguments"` // as the model wrote them
	Name        string `json:"name"`      // of the tool
	ServerLabel string `json:"server_label"`
}

// An MCPApprovalResponse is the client's answer to an MCPApprovalRequest.
type MCPApprovalResponse struct {
	ID                string  `json:"id,omitempty"`
	ApprovalRequestID string  `json:"approval_request_id"`
	Approve           bool    `json:"approve"`
	Reason            *string `json:"reason,omitempty"`
}

func (i *MCPListTools) item() (string, *string)        { return "mcp_list_tools", &i.ID }
func (i *MCPApprovalRequest) item() (string, *string)  { return "mcp_approval_request", &i.ID }
func (i *MCPApprovalResponse) item() (string, *string) { return "mcp_approval_response", &i.ID }

// MarshalJSON writes the item with its type.
func (i *MCPListTools) MarshalJSON() ([]byte, error) {
	type plain MCPListTools
	return tagged("mcp_list_tools", (*plain)(i))
}

// MarshalJSON writes the item with its type.
func (i *MCPApprovalRequest) MarshalJSON() ([]byte, error) {
	type plain MCPApprovalRequest
	return tagged("mcp_approval_request", (*plain)(i))
}

// MarshalJSON writes the item with its type.
func (i *MCPApprovalResponse) MarshalJSON() ([]byte, error) {
	type plain MCPApprovalResponse
	return tagged("mcp_approval_response", (*plain)(i))
}

func (o object) mcpListTools(id string) *MCPListTools {
	i := &MCPListTools{ID: id, ServerLabel: o.need("server_label").matching(callNames), Tools: []MCPListedTool{}}
	i.Error = o.optionalText("error", MaxTextLength)
	if v := o.get("tools"); v.ok() {
		for _, e := range v.array(maxTools) {
			t := e.object("a tool")
			listed := MCPListedTool{Name: t.need("name").matching(callNames), Description: t.optionalText("description", MaxTextLength)}
			schema := t.need("input_schema")
			schema.object("an object")
			listed.InputSchema = schema.raw
			if annotations := t.get("annotations"); annotations.ok() {
				annotations.object("an object")
				listed.Annotations = annotations.raw
			}
			i.Tools = append(i.Tools, listed)
		}
	}
	return i
}

func (o object) mcpApprovalRequest(id string) *MCPApprovalRequest {
	return &MCPApprovalRequest{ID: id, Arguments: o.need("arguments").textUpTo(MaxTextLength), Name: o.need("name").matching(callNames),
		ServerLabel: o.need("server_label").matching(callNames)}
}

func (o object) mcpApprovalResponse(id string) *MCPApprovalResponse {
	return &MCPApprovalResponse{ID: id, ApprovalRequestID: o.need("approval_request_id").textUpTo(MaxCallIDLength),
		Approve: o.need("approve").boolean(), Reason: o.optionalText("reason", MaxTextLength)}
}

// MCPProtocolError is the error of a call that the MCP server could not understand, or whose answer was none.
func MCPProtocolError(code int, message string) json.RawMessage {
	return mcpError("mcp_protocol_error", code, message)
}

// MCPHTTPError is the error of a call whose MCP server could not be reached (code 0), or answered with a status of HTTP.
func MCPHTTPError(code int, message string) json.RawMessage {
	return mcpError("http_error", code, message)
}

func mcpError(kind string, code int, message string) json.RawMessage {
	raw, _ := tagged(kind, struct { // numbers and strings always can be written
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{code, message})
	return raw
}
