package api

import "encoding/json"

// A CodeInterpreterTool lets the model run code in the server's sandbox.
type CodeInterpreterTool struct {
	Container ContainerChoice
	JSON      json.RawMessage // the whole tool as it was sent
}

// MarshalJSON writes the tool as it was sent, and with the container that it gets if it did not name one.
func (t *CodeInterpreterTool) MarshalJSON() ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(t.JSON, &members); err != nil {
		return nil, err
	}
	if c := members["container"]; c != nil && string(c) != "null" {
		return t.JSON, nil
	}
	delete(members, "type")
	members["container"] = json.RawMessage(`{"type":"auto"}`)
	return tagged("code_interpreter", members)
}

// A CodeInterpreterCall is code that the model ran in the server's sandbox.
type CodeInterpreterCall struct {
	ID          string       `json:"id,omitempty"`
	Status      string       `json:"status,omitempty"` // in_progress, interpreting, completed, incomplete, failed
	Code        string       `json:"code"`
	ContainerID string       `json:"container_id"`
	Outputs     []CodeOutput `json:"outputs"` // nil = not included
}

func (i *CodeInterpreterCall) item() (string, *string) { return "code_interpreter_call", &i.ID }

// MarshalJSON writes the item with its type.
func (i *CodeInterpreterCall) MarshalJSON() ([]byte, error) {
	type plain CodeInterpreterCall
	return tagged("code_interpreter_call", (*plain)(i))
}

// A CodeOutput is one output of a code interpreter's call. Its variants are CodeLogs, CodeImage and, for every other
// type, RawOutput.
type CodeOutput interface {
	codeOutput()
}

// CodeLogs are what the code printed.
type CodeLogs struct {
	Logs string `json:"logs"`
}

// A CodeImage is a picture that the code made.
type CodeImage struct {
	URL string `json:"url"`
}

// A RawOutput is an output of a type that this package does not know, kept as it was sent.
type RawOutput struct {
	Type string
	JSON json.RawMessage // the whole output
}

func (CodeLogs) codeOutput()  {}
func (CodeImage) codeOutput() {}
func (RawOutput) codeOutput() {}

// MarshalJSON writes the output with its type.
func (o CodeLogs) MarshalJSON() ([]byte, error) {
	type plain CodeLogs
	return tagged("logs", plain(o))
}

// MarshalJSON writes the output with its type.
func (o CodeImage) MarshalJSON() ([]byte, error) {
	type plain CodeImage
	return tagged("image", plain(o))
}

// MarshalJSON writes the output as it was sent.
func (o RawOutput) MarshalJSON() ([]byte, error) { return o.JSON, nil }

func (v value) codeOutputs() []CodeOutput {
	if !v.ok() {
		return nil
	}
	values := v.array(maxItems)
	out := make([]CodeOutput, 0, len(values))
	for _, e := range values {
		o := e.object("an output")
		switch name := o.need("type").text(); name {
		case "logs":
			out = append(out, CodeLogs{o.need("logs").textUpTo(MaxTextLength)})
		case "image":
			out = append(out, CodeImage{o.need("url").text()})
		default:
			out = append(out, RawOutput{name, e.raw})
		}
	}
	return out
}

// textOrNone reads a long string that may be missing.
func (v value) textOrNone() string {
	if !v.ok() {
		return ""
	}
	return v.textUpTo(MaxTextLength)
}
