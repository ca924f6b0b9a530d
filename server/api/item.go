package api

import "encoding/json"

// An Item is one element of a response's input or output. Its variants are Message, Reasoning, FunctionCall,
// FunctionCallOutput, CustomToolCall, CustomToolCallOutput, CodeInterpreterCall, MCPCall, MCPListTools, MCPApprovalRequest,
// MCPApprovalResponse, WebSearchCall, ItemReference and, for every other type, RawItem, all as pointers. Kind, ID and SetID work
// on any of them.
type Item interface {
	item() (kind string, id *string)
}

// A Message is text from or to the user. Content that was sent as a string is one part.
type Message struct {
	ID      string `json:"id,omitempty"`
	Status  string `json:"status,omitempty"` // in_progress, completed, incomplete
	Role    string `json:"role"`             // user, assistant, system, developer
	Phase   string `json:"phase,omitempty"`  // of an assistant: commentary or final_answer; "" = not said
	Content []Part `json:"content"`
}

// Reasoning is the model's chain of thought. Content holds it in the open, EncryptedContent sealed for the server.
type Reasoning struct {
	ID               string `json:"id,omitempty"`
	Summary          []Part `json:"summary"`
	Content          []Part `json:"content,omitempty"`
	EncryptedContent string `json:"encrypted_content,omitempty"`
	Status           string `json:"status,omitempty"`
}

// A FunctionCall asks the client to run one of its functions.
type FunctionCall struct {
	ID        string `json:"id,omitempty"`
	CallID    string `json:"call_id"` // what the output refers to
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Arguments string `json:"arguments"` // as the model wrote them; JSON unless the model erred
	Status    string `json:"status,omitempty"`
}

// A FunctionCallOutput is the client's answer to a FunctionCall.
type FunctionCallOutput struct {
	ID     string     `json:"id,omitempty"`
	CallID string     `json:"call_id"`
	Output ToolOutput `json:"output"`
	Status string     `json:"status,omitempty"`
}

// A CustomToolCall is a call whose input is free text instead of JSON.
type CustomToolCall struct {
	ID        string `json:"id,omitempty"`
	CallID    string `json:"call_id"`
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Input     string `json:"input"`
	Status    string `json:"status,omitempty"`
}

// A CustomToolCallOutput is the client's answer to a CustomToolCall.
type CustomToolCallOutput struct {
	ID     string     `json:"id,omitempty"`
	CallID string     `json:"call_id"`
	Output ToolOutput `json:"output"`
	Status string     `json:"status,omitempty"`
}

// An ItemReference stands for a stored item.
type ItemReference struct {
	ID string `json:"id"`
}

// A RawItem is an item of a type that this package does not know, kept as it was sent.
type RawItem struct {
	Type string
	ID   string
	JSON json.RawMessage // the whole item
}

// A ToolOutput is a string or, when Parts is not nil, an array of content parts.
type ToolOutput struct {
	Text  string
	Parts []Part
}

// Kind returns the item's "type".
func Kind(i Item) string {
	kind, _ := i.item()
	return kind
}

// ID returns the item's id, "" when it has none.
func ID(i Item) string {
	_, id := i.item()
	return *id
}

// SetID gives the item an id.
func SetID(i Item, id string) {
	_, field := i.item()
	*field = id
}

func (i *Message) item() (string, *string)              { return "message", &i.ID }
func (i *Reasoning) item() (string, *string)            { return "reasoning", &i.ID }
func (i *FunctionCall) item() (string, *string)         { return "function_call", &i.ID }
func (i *FunctionCallOutput) item() (string, *string)   { return "function_call_output", &i.ID }
func (i *CustomToolCall) item() (string, *string)       { return "custom_tool_call", &i.ID }
func (i *CustomToolCallOutput) item() (string, *string) { return "custom_tool_call_output", &i.ID }
func (i *ItemReference) item() (string, *string)        { return "item_reference", &i.ID }
func (i *RawItem) item() (string, *string)              { return i.Type, &i.ID }

// MarshalJSON writes the item with its type.
func (i *Message) MarshalJSON() ([]byte, error) {
	type plain Message
	return tagged("message", (*plain)(i))
}

// MarshalJSON writes the item with its type.
func (i *Reasoning) MarshalJSON() ([]byte, error) {
	type plain Reasoning
	return tagged("reasoning", (*plain)(i))
}

// MarshalJSON writes the item with its type.
func (i *FunctionCall) MarshalJSON() ([]byte, error) {
	type plain FunctionCall
	return tagged("function_call", (*plain)(i))
}

// MarshalJSON writes the item with its type.
func (i *FunctionCallOutput) MarshalJSON() ([]byte, error) {
	type plain FunctionCallOutput
	return tagged("function_call_output", (*plain)(i))
}

// MarshalJSON writes the item with its type.
func (i *CustomToolCall) MarshalJSON() ([]byte, error) {
	type plain CustomToolCall
	return tagged("custom_tool_call", (*plain)(i))
}

// MarshalJSON writes the item with its type.
func (i *CustomToolCallOutput) MarshalJSON() ([]byte, error) {
	type plain CustomToolCallOutput
	return tagged("custom_tool_call_output", (*plain)(i))
}

// MarshalJSON writes the item with its type.
func (i *ItemReference) MarshalJSON() ([]byte, error) {
	type plain ItemReference
	return tagged("item_reference", (*plain)(i))
}

// MarshalJSON writes the item as it was sent, with its id.
func (i *RawItem) MarshalJSON() ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(i.JSON, &members); err != nil {
		return nil, err
	}
	id, err := encode(i.ID)
	if err != nil || i.ID == "" || string(members["id"]) == string(id) {
		return i.JSON, err
	}
	delete(members, "type")
	members["id"] = id
	return tagged(i.Type, members)
}

// MarshalJSON writes a string or an array.
func (o ToolOutput) MarshalJSON() ([]byte, error) {
	if o.Parts != nil {
		return encode(o.Parts)
	}
	return encode(o.Text)
}
