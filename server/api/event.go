package api

// A Dialect decides the names of a few events.
type Dialect int

const (
	// OpenAI is what OpenAI's clients and most others expect.
	OpenAI Dialect = iota
	// OpenResponses is the Open Responses specification of 2026-04-24, whose clients know only its 24 events.
	OpenResponses
)

// Types of events, in OpenAI's spelling.
const (
	EventCreated          = "response.created"
	EventInProgress       = "response.in_progress"
	EventCompleted        = "response.completed"
	EventIncomplete       = "response.incomplete"
	EventFailed           = "response.failed"
	EventItemAdded        = "response.output_item.added"
	EventItemDone         = "response.output_item.done"
	EventPartAdded        = "response.content_part.added"
	EventPartDone         = "response.content_part.done"
	EventTextDelta        = "response.output_text.delta"
	EventTextDone         = "response.output_text.done"
	EventReasoningDelta   = "response.reasoning_text.delta"
	EventReasoningDone    = "response.reasoning_text.done"
	EventSummaryPartAdded = "response.reasoning_summary_part.added"
	EventSummaryPartDone  = "response.reasoning_summary_part.done"
	EventSummaryDelta     = "response.reasoning_summary_text.delta"
	EventSummaryDone      = "response.reasoning_summary_text.done"
	EventArgumentsDelta   = "response.function_call_arguments.delta"
	EventArgumentsDone    = "response.function_call_arguments.done"
	EventCodeDelta        = "response.code_interpreter_call_code.delta"
	EventCodeDone         = "response.code_interpreter_call_code.done"
	EventCodeInProgress   = "response.code_interpreter_call.in_progress"
	EventCodeInterpreting = "response.code_interpreter_call.interpreting"
	EventCodeCompleted    = "response.code_interpreter_call.completed"
	EventMCPArgsDelta     = "response.mcp_call_arguments.delta"
	EventMCPArgsDone      = "response.mcp_call_arguments.done"
	EventMCPInProgress    = "response.mcp_call.in_progress"
	EventMCPCompleted     = "response.mcp_call.completed"
	EventMCPFailed        = "response.mcp_call.failed"
	EventWebInProgress    = "response.web_search_call.in_progress"
	EventWebSearching     = "response.web_search_call.searching"
	EventWebCompleted     = "response.web_search_call.completed"
	EventAnnotationAdded  = "response.output_text.annotation.added"
	EventMCPListing       = "response.mcp_list_tools.in_progress"
	EventMCPListed        = "response.mcp_list_tools.completed"
	EventMCPListFailed    = "response.mcp_list_tools.failed"
	EventError            = "error"
	EventKeepAlive        = "keepalive"
)

// An Event is one step of a response's life. There is one Go type per JSON form, all used as pointers:
// ResponseEvent, ItemEvent, PartEvent, SummaryPartEvent, TextDelta, TextDone, ReasoningDelta, ReasoningDone,
// SummaryDelta, SummaryDone, ArgumentsDelta, ArgumentsDone, CodeDelta, CodeDone, MCPArgumentsDelta, MCPArgumentsDone,
// AnnotationAdded, ToolEvent, ErrorEvent and KeepAlive. Once it has been handed out an event and all it refers to are never changed.
type Event interface {
	head() *Head
}

// A Head begins every event.
type Head struct {
	Type           string `json:"type"`
	SequenceNumber int    `json:"sequence_number"` // 0, 1, 2, … within a response
}

func (h *Head) head() *Head { return h }

// A Place says which part of the output an event is about.
type Place struct {
	ItemID      string `json:"item_id"`
	OutputIndex int    `json:"output_index"`
}

// A ResponseEvent carries the whole response: created, in_progress, completed, incomplete and failed.
type ResponseEvent struct {
	Head
	Response *Response `json:"response"`
}

// An ItemEvent begins (added) or ends (done) an item.
type ItemEvent struct {
	Head
	OutputIndex int  `json:"output_index"`
	Item        Item `json:"item"`
}

// A PartEvent begins (added) or ends (done) a content part.
type PartEvent struct {
	Head
	Place
	ContentIndex int  `json:"content_index"`
	Part         Part `json:"part"`
}

// A SummaryPartEvent begins (added) or ends (done) a part of a reasoning summary.
type SummaryPartEvent struct {
	Head
	Place
	SummaryIndex int  `json:"summary_index"`
	Part         Part `json:"part"`
}

// A TextDelta adds to visible text.
type TextDelta struct {
	Head
	Place
	ContentIndex int       `json:"content_index"`
	Delta        string    `json:"delta"`
	Logprobs     []Logprob `json:"logprobs"` // of the tokens behind Delta; empty when not asked for, never nil
}

// A TextDone ends visible text.
type TextDone struct {
	Head
	Place
	ContentIndex int       `json:"content_index"`
	Text         string    `json:"text"`
	Logprobs     []Logprob `json:"logprobs"` // of the whole text; never nil
}

// A ReasoningDelta adds to the chain of thought.
type ReasoningDelta struct {
	Head
	Place
	ContentIndex int    `json:"content_index"`
	Delta        string `json:"delta"`
}

// A ReasoningDone ends a piece of chain of thought.
type ReasoningDone struct {
	Head
	Place
	ContentIndex int    `json:"content_index"`
	Text         string `json:"text"`
}

// A SummaryDelta adds to a reasoning summary.
type SummaryDelta struct {
	Head
	Place
	SummaryIndex int    `json:"summary_index"`
	Delta        string `json:"delta"`
}

// A SummaryDone ends a part of a reasoning summary.
type SummaryDone struct {
	Head
	Place
	SummaryIndex int    `json:"summary_index"`
	Text         string `json:"text"`
}

// An ArgumentsDelta adds to a function call's arguments.
type ArgumentsDelta struct {
	Head
	Place
	Delta string `json:"delta"`
}

// An ArgumentsDone ends a function call's arguments.
type ArgumentsDone struct {
	Head
	Place
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// A CodeDelta adds to the code of a code interpreter's call.
type CodeDelta struct {
	Head
	Place
	Delta string `json:"delta"`
}

// A CodeDone ends the code of a code interpreter's call.
type CodeDone struct {
	Head
	Place
	Code string `json:"code"`
}

// A ToolEvent says how far a call of a tool of the server is; its type says which tool and how far.
type ToolEvent struct {
	Head
	Place
}

// An ErrorEvent says that the response fails; a failed ResponseEvent follows.
type ErrorEvent struct {
	Head
	Code    *string `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
}

// A KeepAlive keeps a silent stream open. Only the transport sends it.
type KeepAlive struct {
	Head
}

// Terminal returns the response of an event that ends a stream.
func Terminal(e Event) (r *Response, ok bool) {
	switch e.head().Type {
	case EventCompleted, EventIncomplete, EventFailed:
		return e.(*ResponseEvent).Response, true
	}
	return nil, false
}

// Sequence returns the event's number.
func Sequence(e Event) int { return e.head().SequenceNumber }

// EventName returns the event's type in the dialect; it is also the name of the server-sent event.
func EventName(e Event, d Dialect) string {
	name := e.head().Type
	if d == OpenResponses {
		switch name {
		case EventReasoningDelta:
			return "response.reasoning.delta"
		case EventReasoningDone:
			return "response.reasoning.done"
		}
	}
	return name
}

// EncodeEvent appends the event's JSON, without a line break, to dst.
func EncodeEvent(dst []byte, e Event, d Dialect) ([]byte, error) {
	if failure, ok := e.(*ErrorEvent); ok && d == OpenResponses {
		return appendNestedError(dst, failure)
	}
	body, err := encode(e)
	if err != nil {
		return dst, err
	}
	// Every event begins with its type, so another name is another beginning.
	dst = append(dst, `{"type":"`...)
	dst = append(dst, EventName(e, d)...)
	return append(dst, body[len(`{"type":"`)+len(e.head().Type):]...), nil
}

// appendNestedError writes an error in the form of Open Responses, which puts it into a member of its own.
func appendNestedError(dst []byte, e *ErrorEvent) ([]byte, error) {
	type nested struct {
		Type    string  `json:"type"`
		Code    *string `json:"code"`
		Message string  `json:"message"`
		Param   *string `json:"param"`
	}
	body, err := encode(struct {
		Head
		Error nested `json:"error"`
	}{e.Head, nested{"server_error", e.Code, e.Message, e.Param}})
	return append(dst, body...), err
}
