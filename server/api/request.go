package api

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
)

// Limits of a request, all OpenAI's.
const (
	MaxTextLength      = 10_485_760 // characters of one string
	MaxMetadataPairs   = 16
	MaxMetadataKey     = 64  // characters
	MaxMetadataValue   = 512 // characters
	MaxTopLogprobs     = 20
	MaxCallIDLength    = 256 // OpenAI writes ids of up to 64 characters; other servers' longer ones are welcome
	MaxStopStrings     = 16
	maxItems           = 100_000
	maxTools           = 2_048
	maxIdentifier      = 512 // safety_identifier, prompt_cache_key, user
	maxToolDescription = 1 << 20
)

// toolNames is OpenAI's pattern for function names, with room for the long names that MCP clients build.
var toolNames = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

// callNames is the pattern for the names in calls of earlier turns, which other servers may have made.
var callNames = regexp.MustCompile(`^[a-zA-Z0-9_./:-]{1,256}$`)

// A Request is the body of POST /v1/responses. Nil and zero members were not sent.
type Request struct {
	Model              string
	Input              []Item // a string input is one user message; nil = not sent
	Instructions       *string
	PreviousResponseID string
	Store              *bool
	Stream             *bool
	Background         *bool
	Conversation       bool // sent, whatever it held
	Prompt             bool // sent, whatever it held
	Include            []string
	Metadata           map[string]string

	Tools             []Tool
	ToolChoice        ToolChoice
	ParallelToolCalls *bool
	MaxToolCalls      *int64

	Reasoning       ReasoningOptions
	Text            TextOptions
	Truncation      string // auto or disabled
	MaxOutputTokens *int64

	Temperature      *float64 // 0..2
	TopP             *float64 // 0..1
	PresencePenalty  *float64 // -2..2
	FrequencyPenalty *float64 // -2..2
	TopLogprobs      *int64   // 0..20

	// Settings that OpenAI does not have, under the names that other servers use.
	TopK              *int64             // 0 = off
	MinP              *float64           // 0..1
	RepetitionPenalty *float64           // above 0 up to 10; 1 = off
	Seed              *int64             // the same seed gives the same tokens
	Stop              []string           // the text ends before the first of these
	LogitBias         map[string]float64 // token id → -100..100

	ServiceTier          string
	SafetyIdentifier     *string
	PromptCacheKey       *string
	PromptCacheRetention *string
	User                 *string

	Unknown []string // names of members that were ignored, sorted
}

// ReasoningOptions say how much the model thinks and what it shows. Effort is any word; a server maps those it does
// not know.
type ReasoningOptions struct {
	Effort  *string `json:"effort"`
	Summary *string `json:"summary"` // auto, concise or detailed
}

// TextOptions say what the answer looks like.
type TextOptions struct {
	Format    Format  `json:"format"`
	Verbosity *string `json:"verbosity,omitempty"` // low, medium or high
}

// A Format is the form of the answer. The zero value is plain text.
type Format struct {
	Type        string          `json:"type"`                  // text, json_object or json_schema; "" = not sent
	Name        string          `json:"name,omitempty"`        // with json_schema
	Description *string         `json:"description,omitempty"` // with json_schema
	Schema      json.RawMessage `json:"schema,omitempty"`      // with json_schema; spelling kept
	Strict      *bool           `json:"strict,omitempty"`      // with json_schema
}

// DecodeRequest reads the body of POST /v1/responses. The error is an *Error.
func DecodeRequest(data []byte) (*Request, error) {
	if err := checkSyntax(data); err != nil {
		return nil, err
	}
	var failure error
	r := newValue(&failure, "", data).trimmed().request()
	if failure != nil {
		return nil, failure
	}
	return r, nil
}

func (v value) request() *Request {
	o := v.object("an object")
	r := &Request{
		Model:              o.textOr("model", ""),
		Input:              o.get("input").input(),
		Instructions:       o.optionalText("instructions", MaxTextLength),
		PreviousResponseID: o.textOr("previous_response_id", ""),
		Store:              o.optionalBoolean("store"),
		Stream:             o.optionalBoolean("stream"),
		Background:         o.optionalBoolean("background"),
		Conversation:       o.get("conversation").ok(),
		Prompt:             o.get("prompt").ok(),
		Include:            o.get("include").texts(64),
		Metadata:           o.get("metadata").metadata(),

		Tools:             o.get("tools").tools(),
		ToolChoice:        o.get("tool_choice").toolChoice(),
		ParallelToolCalls: o.optionalBoolean("parallel_tool_calls"),
		MaxToolCalls:      o.optionalInteger("max_tool_calls", 1, math.MaxInt32),

		Reasoning: o.get("reasoning").reasoning(),
		Text:      o.get("text").textOptions(),
		// OpenAI's least value is 16; a smaller one does no harm here, and tests and benchmarks like to ask for 1.
		MaxOutputTokens: o.optionalInteger("max_output_tokens", 1, math.MaxInt32),

		Temperature:      o.optionalNumber("temperature", 0, 2),
		TopP:             o.optionalNumber("top_p", 0, 1),
		PresencePenalty:  o.optionalNumber("presence_penalty", -2, 2),
		FrequencyPenalty: o.optionalNumber("frequency_penalty", -2, 2),
		TopLogprobs:      o.optionalInteger("top_logprobs", 0, MaxTopLogprobs),

		TopK:              o.optionalInteger("top_k", 0, math.MaxInt32),
		MinP:              o.optionalNumber("min_p", 0, 1),
		RepetitionPenalty: o.optionalNumber("repetition_penalty", 0.01, 10),
		Seed:              o.optionalInteger("seed", math.MinInt64, math.MaxInt64),
		Stop:              o.get("stop").stops(),
		LogitBias:         o.get("logit_bias").logitBias(),

		ServiceTier:          o.textOr("service_tier", ""),
		SafetyIdentifier:     o.optionalText("safety_identifier", maxIdentifier),
		PromptCacheKey:       o.optionalText("prompt_cache_key", maxIdentifier),
		PromptCacheRetention: o.optionalText("prompt_cache_retention", maxIdentifier),
		User:                 o.optionalText("user", maxIdentifier),
	}
	if t := o.get("truncation"); t.ok() {
		r.Truncation = t.oneOf("auto", "disabled")
	}
	if s := o.get("stream_options"); s.ok() {
		// Obfuscation hides token lengths from eavesdroppers. It may be asked for but is not done: no padding is sent.
		s.object("an object").optionalBoolean("include_obfuscation")
	}
	for name := range o.members {
		r.Unknown = append(r.Unknown, name)
	}
	slices.Sort(r.Unknown)
	return r
}

// input reads a string or an array of items.
func (v value) input() []Item {
	switch {
	case !v.ok():
		return nil
	case v.raw[0] == '"':
		return []Item{&Message{Role: "user", Content: []Part{InputText{v.textUpTo(MaxTextLength)}}}}
	case v.raw[0] == '[':
		return v.items()
	}
	v.wrongType("one of a string or an array of input items")
	return nil
}

func (v value) texts(limit int) []string {
	if !v.ok() {
		return nil
	}
	out := []string{}
	for _, e := range v.array(limit) {
		out = append(out, e.text())
	}
	return out
}

func (v value) stops() []string {
	if v.ok() && v.raw[0] == '"' {
		return []string{v.text()}
	}
	stops := v.texts(MaxStopStrings)
	if slices.Contains(stops, "") {
		v.invalid("invalid_value", "a stop string must not be empty.")
	}
	return stops
}

func (v value) metadata() map[string]string {
	if !v.ok() {
		return nil
	}
	o := v.object("an object")
	if n := len(o.members); n > MaxMetadataPairs {
		v.invalid("object_above_max_properties", "too many properties. Expected an object with at most %d properties, "+
			"but got an object with %d properties instead.", MaxMetadataPairs, n)
		return nil
	}
	out := make(map[string]string, len(o.members))
	for _, key := range sortedKeys(o.members) {
		if len([]rune(key)) > MaxMetadataKey {
			v.invalid("string_above_max_length", "the key '%s' is too long. Expected at most %d characters.",
				abbreviate(key), MaxMetadataKey)
		}
		out[key] = o.need(key).textUpTo(MaxMetadataValue)
	}
	return out
}

func (v value) logitBias() map[string]float64 {
	if !v.ok() {
		return nil
	}
	o := v.object("an object")
	out := make(map[string]float64, len(o.members))
	for _, key := range sortedKeys(o.members) {
		out[key] = o.need(key).number(-100, 100)
	}
	return out
}

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (v value) reasoning() ReasoningOptions {
	if !v.ok() {
		return ReasoningOptions{}
	}
	o := v.object("an object")
	r := ReasoningOptions{Effort: o.optionalText("effort", 32)}
	if s := o.get("summary"); s.ok() {
		summary := s.oneOf("auto", "concise", "detailed")
		r.Summary = &summary
	}
	return r
}

func (v value) textOptions() TextOptions {
	if !v.ok() {
		return TextOptions{}
	}
	o := v.object("an object")
	var t TextOptions
	if verbosity := o.get("verbosity"); verbosity.ok() {
		s := verbosity.oneOf("low", "medium", "high")
		t.Verbosity = &s
	}
	if format := o.get("format"); format.ok() {
		t.Format = format.format()
	}
	return t
}

func (v value) format() Format {
	o := v.object("an object")
	f := Format{Type: o.need("type").oneOf("text", "json_object", "json_schema")}
	if f.Type != "json_schema" {
		return f
	}
	f.Name = o.need("name").matching(toolNames)
	f.Description = o.optionalText("description", maxToolDescription)
	f.Strict = o.optionalBoolean("strict")
	if schema := o.get("schema"); schema.ok() {
		schema.object("an object")
		f.Schema = schema.raw
	}
	return f
}

func (v value) tools() []Tool {
	if !v.ok() {
		return nil
	}
	out := []Tool{}
	for _, e := range v.array(maxTools) {
		out = append(out, e.tool())
	}
	return out
}

func (v value) tool() Tool {
	o := v.object("an object")
	kind := o.need("type").text()
	switch kind {
	case "function":
	case "code_interpreter":
		return &CodeInterpreterTool{Container: o.get("container").containerChoice(), JSON: v.raw}
	case "plugin":
		return o.pluginTool()
	case "mcp":
		return o.mcpTool()
	default:
		if isWebSearch(kind) {
			return o.webSearchTool(v.raw)
		}
		return &RawTool{kind, v.raw}
	}
	t := &FunctionTool{
		Name:        o.need("name").matching(toolNames),
		Description: o.optionalText("description", maxToolDescription),
		Strict:      o.optionalBoolean("strict"),
	}
	if parameters := o.get("parameters"); parameters.ok() {
		parameters.object("an object")
		t.Parameters = parameters.raw
	}
	return t
}

func (v value) toolChoice() ToolChoice {
	if !v.ok() {
		return ToolChoice{}
	}
	if v.raw[0] == '"' {
		return ToolChoice{Mode: v.oneOf("none", "auto", "required")}
	}
	o := v.object("one of a string or an object")
	c := ToolChoice{Mode: "required", Type: o.need("type").text(), JSON: v.raw}
	switch c.Type {
	case "function":
		c.Name = o.need("name").text()
	case "allowed_tools":
		c.Mode, c.Allowed = o.need("mode").oneOf("auto", "required"), []string{}
		for _, e := range o.need("tools").array(maxTools) {
			t := e.object("an object")
			if kind := t.need("type").text(); kind != "function" {
				c.AllowedOther = append(c.AllowedOther, t.otherTool(kind))
				continue
			}
			c.Allowed = append(c.Allowed, t.need("name").text())
		}
	default:
		c.Other = o.otherTool(c.Type)
	}
	return c
}

// otherTool reads which tool of a type other than function is meant.
func (o object) otherTool(kind string) OtherTool {
	t := OtherTool{Type: kind}
	if isWebSearch(kind) { // whichever of its names the tools have
		t.Type = "web_search"
	}
	switch kind {
	case "plugin":
		t.Name, t.Tool = o.need("name").text(), o.textOr("tool", "")
		o.refuseUnknown("name", "tool")
	case "mcp":
		t.Name, t.Tool = o.need("server_label").text(), o.textOr("name", "")
		o.refuseUnknown("server_label", "name")
	}
	return t
}
