package api

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	maxMCPToolNames = 1024
	maxMCPName      = 256 // characters of the name of a server's tool
	maxHeaders      = 64
	maxHeaderValue  = 16 << 10
)

// mcpLabels is the pattern for labels of MCP servers: OpenAI's, with room for a prefix within the 64 characters of a namespace.
var mcpLabels = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,55}$`)

// headerNames is the pattern for names of header fields (RFC 9110).
var headerNames = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")

// An MCPTool lets the model call the tools of an MCP server: of the one at ServerURL, or without that, of the server's operator
// one with the label. What proves the client's rights to the MCP server, and all of the URL that may, is never written.
type MCPTool struct {
	ServerLabel       string
	ServerURL         string // "" = the operator's
	ServerDescription *string
	AllowedTools      *MCPFilter // nil = all
	RequireApproval   MCPApproval
	DeferLoading      bool
	AllowedCallers    []string // nil = not sent

	Authorization string            // bearer token; never written
	Headers       map[string]string // never written
}

func (*MCPTool) tool() string { return "mcp" }

// An MCPFilter chooses tools of an MCP server.
type MCPFilter struct {
	ToolNames []string // nil = any
	ReadOnly  *bool    // whether the server says that the tool changes nothing; nil = either
	raw       json.RawMessage
}

// Matches reports whether the filter chooses a tool. nil chooses none.
func (f *MCPFilter) Matches(name string, readOnly bool) bool {
	return f != nil && (f.ToolNames == nil || slices.Contains(f.ToolNames, name)) && (f.ReadOnly == nil || *f.ReadOnly == readOnly)
}

// An MCPApproval says which calls a person must approve. The zero value was not sent.
type MCPApproval struct {
	Mode          string     // always, never, or "" with filters or if it was not sent
	Always, Never *MCPFilter // with filters: tools that are in none of them are as with always
	raw           json.RawMessage
}

// Sent reports whether the client has said anything.
func (a *MCPApproval) Sent() bool { return a.raw != nil }

// Needs reports whether calls of a tool need an approval. Of what is chosen by both filters, always is right.
func (a *MCPApproval) Needs(name string, readOnly bool) bool {
	switch {
	case a.Mode != "":
		return a.Mode != "never"
	case a.Always.Matches(name, readOnly):
		return true
	default:
		return !a.Never.Matches(name, readOnly)
	}
}

// MarshalJSON writes the tool with its type, and with what must stay between client and MCP server left out: as OpenAI does it,
// headers are null, and of the URL there is only the origin.
func (t *MCPTool) MarshalJSON() ([]byte, error) {
	approval := t.RequireApproval.raw
	switch {
	case approval != nil:
	case t.RequireApproval.Mode == "never":
		approval = json.RawMessage(`"never"`)
	default:
		approval = json.RawMessage(`"always"`)
	}
	var allowed json.RawMessage
	if t.AllowedTools != nil {
		allowed = t.AllowedTools.raw
	}
	return tagged("mcp", struct {
		AllowedCallers    []string        `json:"allowed_callers,omitempty"`
		AllowedTools      json.RawMessage `json:"allowed_tools"`
		DeferLoading      bool            `json:"defer_loading,omitempty"`
		Headers           *struct{}       `json:"headers"`
		RequireApproval   json.RawMessage `json:"require_approval"`
		ServerDescription *string         `json:"server_description"`
		ServerLabel       string          `json:"server_label"`
		ServerURL         string          `json:"server_url,omitempty"`
	}{t.AllowedCallers, allowed, t.DeferLoading, nil, approval, t.ServerDescription, t.ServerLabel, origin(t.ServerURL)})
}

// origin is the part of a URL that holds no secrets; paths and queries of MCP servers often do.
func origin(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return ""
	case err != nil || u.Host == "":
		return "<redacted>"
	case strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == "":
		return u.Scheme + "://" + u.Host
	default:
		return u.Scheme + "://" + u.Host + "/<redacted>"
	}
}

// mcpTool reads the tool. Members that it does not have are refused: a misspelt limit must not be no limit.
func (o object) mcpTool() *MCPTool {
	t := &MCPTool{
		ServerLabel:       o.need("server_label").matching(mcpLabels),
		ServerURL:         o.textOr("server_url", ""),
		ServerDescription: o.optionalText("server_description", maxToolDescription),
		RequireApproval:   o.get("require_approval").mcpApproval(),
		AllowedCallers:    o.get("allowed_callers").texts(8),
		Headers:           o.get("headers").headers(),
	}
	if v := o.get("allowed_tools"); v.ok() {
		t.AllowedTools = v.mcpFilter()
	}
	if v := o.get("defer_loading"); v.ok() {
		t.DeferLoading = v.boolean()
	}
	if v := o.get("authorization"); v.ok() {
		t.Authorization = v.headerValue()
	}
	for name, advice := range map[string]string{
		"connector_id": "This server has no connectors: use 'server_url' and 'authorization' to reach the service's own MCP server.",
		"tunnel_id":    "This server has no tunnels: it can be run where the MCP server is, and its operator can list that one, to be used by its 'server_label' alone.",
	} {
		if v := o.get(name); v.ok() {
			v.fail(BadRequest("unsupported_parameter", v.path, "Unsupported parameter: '%s'. %s", v.path, advice))
		}
	}
	for name := range t.Headers {
		if t.Authorization != "" && strings.EqualFold(name, "authorization") {
			newValue(o.err, o.path+".headers."+name, nil).invalid("invalid_value", "there is an 'authorization' too. Send one of the two.")
		}
	}
	o.refuseUnknown("server_label", "server_url", "server_description", "authorization", "headers", "allowed_tools", "require_approval",
		"defer_loading", "allowed_callers")
	return t
}

// mcpFilter reads a list of names or an object.
func (v value) mcpFilter() *MCPFilter {
	f := &MCPFilter{raw: v.raw}
	if v.ok() && v.raw[0] == '[' {
		f.ToolNames = v.mcpNames()
		return f
	}
	o := v.object("one of an array of tool names or an object")
	if names := o.get("tool_names"); names.ok() {
		f.ToolNames = names.mcpNames()
	}
	f.ReadOnly = o.optionalBoolean("read_only")
	o.refuseUnknown("tool_names", "read_only")
	return f
}

func (v value) mcpNames() []string {
	names := []string{}
	for _, e := range v.array(maxMCPToolNames) {
		names = append(names, e.textUpTo(maxMCPName))
	}
	return names
}

func (v value) mcpApproval() MCPApproval {
	if !v.ok() {
		return MCPApproval{}
	}
	a := MCPApproval{raw: v.raw}
	if v.raw[0] == '"' {
		a.Mode = v.oneOf("always", "never")
		return a
	}
	o := v.object("one of a string or an object")
	if f := o.get("always"); f.ok() {
		a.Always = f.mcpFilter()
	}
	if f := o.get("never"); f.ok() {
		a.Never = f.mcpFilter()
	}
	o.refuseUnknown("always", "never")
	return a
}

// headers reads an object of strings. Errors do not repeat the values.
func (v value) headers() map[string]string {
	if !v.ok() {
		return nil
	}
	o := v.object("an object")
	headers := map[string]string{}
	if n := len(o.members); n > maxHeaders {
		v.invalid("object_above_max_properties", "too many properties. Expected an object with at most %d properties, "+
			"but got an object with %d properties instead.", maxHeaders, n)
		return nil
	}
	for _, name := range sortedKeys(o.members) {
		e := o.need(name)
		if !headerNames.MatchString(name) {
			e.invalid("invalid_value", "it is no name of a header field.")
		}
		headers[name] = e.headerValue()
	}
	return headers
}

// headerValue reads a string without line breaks and other control characters.
func (v value) headerValue() string {
	s := v.textUpTo(maxHeaderValue)
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		v.invalid("invalid_value", "a header field must not have control characters.")
	}
	return s
}
