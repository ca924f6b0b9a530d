package api

import (
	"bytes"
	"encoding/json"
)

// DecodeItems reads an array of items as Encode wrote it. The error is an *Error.
func DecodeItems(data []byte) ([]Item, error) { return decode(data, value.items) }

// DecodeItem reads one item as Encode wrote it. The error is an *Error.
func DecodeItem(data []byte) (Item, error) { return decode(data, value.itemOf) }

func decode[T any](data []byte, read func(value) T) (T, error) {
	var failure error
	if err := checkSyntax(data); err != nil {
		var none T
		return none, err
	}
	out := read(newValue(&failure, "", data).trimmed())
	return out, failure
}

// trimmed drops the white space around a value; that inside has been dropped by encoding/json.
func (v value) trimmed() value {
	return newValue(v.err, v.path, bytes.TrimSpace(v.raw))
}

func (v value) items() []Item {
	values := v.array(maxItems)
	out := make([]Item, 0, len(values))
	for _, e := range values {
		out = append(out, e.itemOf())
		if *v.err != nil {
			break
		}
	}
	return out
}

func (v value) itemOf() Item {
	o := v.object("an input item")
	kind, id := o.get("type"), o.textOr("id", "")
	switch {
	case kind.ok():
	case o.members["role"] == nil && id != "":
		return &ItemReference{id} // OpenAI's clients leave the type out
	default:
		return o.message(id)
	}
	switch name := kind.text(); name {
	case "message":
		return o.message(id)
	case "reasoning":
		return o.reasoningItem(id)
	case "function_call":
		return &FunctionCall{id, o.callID(), o.need("name").matching(callNames), o.textOr("namespace", ""),
			o.need("arguments").textUpTo(MaxTextLength), o.textOr("status", "")}
	case "function_call_output":
		return &FunctionCallOutput{id, o.callID(), o.need("output").toolOutput(), o.textOr("status", "")}
	case "custom_tool_call":
		return &CustomToolCall{id, o.callID(), o.need("name").matching(callNames), o.textOr("namespace", ""),
			o.need("input").textUpTo(MaxTextLength), o.textOr("status", "")}
	case "custom_tool_call_output":
		return &CustomToolCallOutput{id, o.callID(), o.need("output").toolOutput(), o.textOr("status", "")}
	case "code_interpreter_call":
		return &CodeInterpreterCall{id, o.textOr("status", ""), o.get("code").textOrNone(), o.textOr("container_id", ""),
			o.get("outputs").codeOutputs()}
	case "mcp_call":
		return o.mcpCall(id)
	case "web_search_call":
		return &WebSearchCall{ID: id, Status: o.textOr("status", ""), Action: o.get("action").webAction()}
	case "mcp_list_tools":
		return o.mcpListTools(id)
	case "mcp_approval_request":
		return o.mcpApprovalRequest(id)
	case "mcp_approval_response":
		return o.mcpApprovalResponse(id)
	case "item_reference":
		if id == "" {
			o.need("id")
		}
		return &ItemReference{id}
	default:
		return &RawItem{name, id, v.raw}
	}
}

func (o object) callID() string {
	v := o.need("call_id")
	id := v.textUpTo(MaxCallIDLength)
	if *v.err == nil && id == "" {
		v.invalid("invalid_value", "it must not be empty.")
	}
	return id
}

func (o object) message(id string) *Message {
	m := &Message{
		ID:     id,
		Status: o.textOr("status", ""),
		Role:   o.need("role").oneOf("user", "assistant", "system", "developer"),
		Phase:  o.textOr("phase", ""),
	}
	content := o.need("content")
	switch {
	case !content.ok():
	case content.raw[0] == '"' && m.Role == "assistant":
		m.Content = []Part{OutputText{Text: content.textUpTo(MaxTextLength)}}
	case content.raw[0] == '"':
		m.Content = []Part{InputText{content.textUpTo(MaxTextLength)}}
	case content.raw[0] == '[':
		m.Content = content.parts(m.Role)
	default:
		content.wrongType("one of a string or an array of content parts")
	}
	return m
}

func (o object) reasoningItem(id string) *Reasoning {
	r := &Reasoning{
		ID:               id,
		Summary:          []Part{},
		EncryptedContent: o.textOr("encrypted_content", ""),
		Status:           o.textOr("status", ""),
	}
	if v := o.get("summary"); v.ok() {
		r.Summary = v.parts("")
	}
	if v := o.get("content"); v.ok() {
		r.Content = v.parts("")
	}
	return r
}

func (v value) toolOutput() ToolOutput {
	switch {
	case !v.ok():
	case v.raw[0] == '"':
		return ToolOutput{Text: v.textUpTo(MaxTextLength)}
	case v.raw[0] == '[':
		return ToolOutput{Parts: v.parts("")}
	default:
		v.wrongType("one of a string or an array of content parts")
	}
	return ToolOutput{}
}

func (v value) parts(role string) []Part {
	values := v.array(maxItems)
	out := make([]Part, 0, len(values))
	for _, e := range values {
		out = append(out, e.partOf(role))
		if *v.err != nil {
			break
		}
	}
	return out
}

func (v value) partOf(role string) Part {
	o := v.object("a content part")
	switch name := o.need("type").text(); name {
	case "input_text":
		return InputText{o.need("text").textUpTo(MaxTextLength)}
	case "text": // the name in chat completions; Open Responses allows it too
		if role == "assistant" {
			return OutputText{Text: o.need("text").textUpTo(MaxTextLength)}
		}
		return InputText{o.need("text").textUpTo(MaxTextLength)}
	case "output_text":
		return o.outputText()
	case "reasoning_text":
		return ReasoningText{o.need("text").textUpTo(MaxTextLength)}
	case "summary_text":
		return SummaryText{o.need("text").textUpTo(MaxTextLength)}
	case "refusal":
		return Refusal{o.need("refusal").textUpTo(MaxTextLength)}
	case "input_image":
		return InputImage{o.textOr("image_url", ""), o.textOr("file_id", ""), o.textOr("detail", "")}
	case "input_file":
		return InputFile{o.textOr("file_id", ""), o.textOr("file_url", ""), o.textOr("filename", ""),
			o.textOr("file_data", "")}
	default:
		return RawPart{name, v.raw}
	}
}

func (o object) outputText() OutputText {
	t := OutputText{Text: o.need("text").textUpTo(MaxTextLength)}
	if v := o.get("annotations"); v.ok() {
		for _, a := range v.array(maxItems) {
			t.Annotations = append(t.Annotations, a.raw)
		}
	}
	if v := o.get("logprobs"); v.ok() && v.array(maxItems) != nil {
		if json.Unmarshal(v.raw, &t.Logprobs) != nil {
			v.wrongType("an array of log-probabilities")
		}
	}
	return t
}
