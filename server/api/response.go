package api

import "encoding/json"

// States of a response. An item has the first, second or third.
const (
	InProgress = "in_progress"
	Completed  = "completed"
	Incomplete = "incomplete"
	Failed     = "failed"
	Cancelled  = "cancelled"
)

// A Response is the resource that /v1/responses returns: what came out, and every setting as it was used. Its members
// are always present, null where OpenAI's schema allows it, except the few marked omitempty.
type Response struct {
	ID                 string             `json:"id"`
	Object             string             `json:"object"` // always "response"
	CreatedAt          int64              `json:"created_at"`
	CompletedAt        *int64             `json:"completed_at"`
	Status             string             `json:"status"`
	Background         bool               `json:"background"`
	Error              *ResponseError     `json:"error"`
	IncompleteDetails  *IncompleteDetails `json:"incomplete_details"`
	Instructions       *string            `json:"instructions"`
	MaxOutputTokens    *int64             `json:"max_output_tokens"`
	MaxToolCalls       *int64             `json:"max_tool_calls"`
	Model              string             `json:"model"`
	Output             []Item             `json:"output"`
	ParallelToolCalls  bool               `json:"parallel_tool_calls"`
	PreviousResponseID *string            `json:"previous_response_id"`
	Reasoning          ReasoningOptions   `json:"reasoning"`
	ServiceTier        string             `json:"service_tier"`
	Store              bool               `json:"store"`
	Text               TextOptions        `json:"text"`
	ToolChoice         ToolChoice         `json:"tool_choice"`
	Tools              []Tool             `json:"tools"`
	Truncation         string             `json:"truncation"`
	Usage              *Usage             `json:"usage"`
	Metadata           map[string]string  `json:"metadata"`

	Temperature      float64 `json:"temperature"`
	TopP             float64 `json:"top_p"`
	PresencePenalty  float64 `json:"presence_penalty"`
	FrequencyPenalty float64 `json:"frequency_penalty"`
	TopLogprobs      int64   `json:"top_logprobs"`

	// Settings that OpenAI does not have.
	TopK              int64              `json:"top_k"`
	MinP              float64            `json:"min_p"`
	RepetitionPenalty float64            `json:"repetition_penalty"`
	Seed              int64              `json:"seed"` // chosen by the server if the request had none
	Stop              []string           `json:"stop,omitempty"`
	LogitBias         map[string]float64 `json:"logit_bias,omitempty"`

	SafetyIdentifier     *string `json:"safety_identifier"`
	PromptCacheKey       *string `json:"prompt_cache_key"`
	PromptCacheRetention *string `json:"prompt_cache_retention,omitempty"`
	User                 *string `json:"user"`

	// Warnings name what was accepted but has no effect. They are this server's own addition.
	Warnings []Warning `json:"warnings,omitempty"`
}

// A ResponseError says why a response failed.
type ResponseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// IncompleteDetails say why a response ended early.
type IncompleteDetails struct {
	Reason string `json:"reason"` // max_output_tokens
}

// A Warning says that a part of the request has no effect.
type Warning struct {
	Param   string `json:"param"`
	Message string `json:"message"`
}

// Usage counts tokens.
type Usage struct {
	InputTokens        int                `json:"input_tokens"`
	InputTokensDetails InputTokensDetails `json:"input_tokens_details"`
	OutputTokens       int                `json:"output_tokens"`
	OutputTokenDetails OutputTokenDetails `json:"output_tokens_details"`
	TotalTokens        int                `json:"total_tokens"`
}

// InputTokensDetails say how many input tokens were not computed again. CacheWriteTokens are tokens that cost extra to
// keep, of which there are none here; OpenAI's SDKs want the number.
type InputTokensDetails struct {
	CachedTokens     int `json:"cached_tokens"`
	CacheWriteTokens int `json:"cache_write_tokens"`
}

// OutputTokenDetails say how many output tokens were reasoning.
type OutputTokenDetails struct {
	ReasoningTokens int `json:"reasoning_tokens"`
}

// UnmarshalJSON reads a response as Encode wrote it.
func (r *Response) UnmarshalJSON(data []byte) error {
	type plain Response
	aux := struct {
		*plain
		Output     json.RawMessage `json:"output"`
		Tools      json.RawMessage `json:"tools"`
		ToolChoice json.RawMessage `json:"tool_choice"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	var failure error
	r.Output = newValue(&failure, "output", aux.Output).items()
	r.Tools = newValue(&failure, "tools", aux.Tools).tools()
	r.ToolChoice = newValue(&failure, "tool_choice", aux.ToolChoice).toolChoice()
	return failure
}
