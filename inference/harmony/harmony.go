// Package harmony turns messages into the token format the gpt-oss models were trained on, and back.
//
// It owns the message types, the Codec that renders a conversation, the Parser that reads sampled tokens one at a
// time, the declaration texts of the built-in tools and the rules for what of a conversation the model sees again. It
// does not know the Responses API, whether a recipient exists, or how tokens are sampled. A Codec is immutable and safe
// for concurrent use; a Parser belongs to one generation and one goroutine.
//
// Both directions work on token ids, never on text with markup in it: only the renderer emits control tokens, and body
// text always goes through the ordinary encoder, so text that looks like markup stays text. The format is the one of the
// openai/harmony library v0.0.8; where models leave it, the lenient parser repairs by named rules (Repair).
package harmony

import "encoding/json"

// A Role says who wrote a message.
type Role string

// The five roles of the format, in falling order of authority.
const (
	RoleSystem    Role = "system"
	RoleDeveloper Role = "developer"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// valid reports whether r is one of the five roles.
func (r Role) valid() bool {
	switch r {
	case RoleSystem, RoleDeveloper, RoleUser, RoleAssistant, RoleTool:
		return true
	default:
		return false
	}
}

// The channels an assistant message is written to: reasoning, tool calls and preambles, the answer.
const (
	ChannelAnalysis   = "analysis"
	ChannelCommentary = "commentary"
	ChannelFinal      = "final"
)

// functionsNamespace is the map key and name of the namespace that holds the client's functions.
const functionsNamespace = "functions"

// A Message is one header and its content. Empty strings mean that the header does not have the field.
//
// Its JSON form is that of the harmony library: keys role, name, recipient, channel, content_type and content, absent
// ones left out; content is a string for a single text, otherwise a list of typed parts.
type Message struct {
	Role        Role
	Name        string // who of the role; for RoleTool the full name of the tool, e.g. "functions.f", and required
	Recipient   string // whom the message calls or answers: "functions.f", "python", "assistant"
	Channel     string
	ContentType string // e.g. "<|constrain|>json", "code"
	Content     []Part
}

// A Part is a piece of a message's content: Text, *System or *Developer.
type Part interface{ part() }

// Text is content that is rendered as it stands, always with the ordinary encoder.
type Text string

// System is the structured content of a system message. Zero fields are not mentioned in the prompt.
type System struct {
	ModelIdentity   string
	Effort          Effort
	StartDate       string // YYYY-MM-DD
	KnowledgeCutoff string // YYYY-MM
	Channels        []string
	ChannelRequired bool
	Tools           map[string]Namespace // the built-in tools; rendered in byte order of the keys
}

// Developer is the structured content of a developer message. Nil Instructions differ from empty ones, which still
// print their heading.
type Developer struct {
	Instructions *string
	Tools        map[string]Namespace // rendered in byte order of the keys; the client's functions are "functions"
}

func (Text) part()       {}
func (*System) part()    {}
func (*Developer) part() {}

// A Namespace declares a group of tools. Without functions only its description is shown, which is how python is
// declared.
type Namespace struct {
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Tools       []Function `json:"tools,omitempty"`
}

// A Function declares one callable function.
type Function struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Parameters is a JSON Schema, or empty or null for a function without parameters. The order of its keys and the
	// spelling of its numbers are part of the prompt.
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// An Effort is how long the model should reason; empty means that the prompt does not say.
type Effort string

// The three efforts the models were trained with.
const (
	EffortLow    Effort = "low"
	EffortMedium Effort = "medium"
	EffortHigh   Effort = "high"
)
