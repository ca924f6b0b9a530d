package responses

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"chorale/inference/harmony"
	"chorale/inference/sample"
	"chorale/server/api"
	"chorale/server/store"
	"chorale/toolhost"
)

// anyObject is the schema of an answer in JSON without a schema.
var anyObject = json.RawMessage(`{"type":"object"}`)

// A plan is a validated request: what will be done, every default filled in.
type plan struct {
	response *api.Response // without output, its settings echoed as they are used
	input    []api.Item    // each with an id, references replaced by what they stand for
	history  []store.Record

	instructions  *string
	formatSection string // of the developer message
	effort        harmony.Effort
	began         time.Time
	functions     []harmony.Function // of the client, that the model is shown
	callable      []string           // names of those that it may call now
	tools         *toolhost.Set      // that this server has, as the response found them; nil = none
	hosted        []*hosted          // those of them that the request has
	all           []*hosted          // those and the ones that tool_choice hides
	steps         []*preparation     // that tools take before anything is generated
	approved      []*approval        // calls that the client has approved, to be made first
	talk          *conversation      // the context
	notes         []string           // that the model is told by this server
	servers       int                // MCP servers among them
	maxToolCalls  int                // of those
	must          harmony.CallMode   // whether it must call something

	include   []string
	sampling  sample.Params
	maxTokens int // to generate; 0 = up to the context
	truncate  bool
	stop      []string
	logprobs  bool
	summarise bool
	sealed    bool
}

// plan validates a request against the model, the tools and the store.
func (s *Service) plan(ctx context.Context, r *api.Request) (p *plan, err error) {
	defer func() {
		if err != nil && p != nil {
			p.release()
		}
	}()
	p = &plan{input: r.Input, instructions: r.Instructions, stop: r.Stop,
		began: s.o.Now(), truncate: r.Truncation == "auto", summarise: r.Reasoning.Summary != nil,
		include: r.Include}
	if s.o.Tools != nil {
		p.tools = s.o.Tools()
	}
	if p.tools == nil {
		p.tools = s.noTools
	}
	p.logprobs, p.sealed = p.includes("message.output_text.logprobs"), p.includes("reasoning.encrypted_content")
	if err := s.checkSupported(r); err != nil {
		return p, err
	}
	p.response = s.echo(r)
	p.effort = p.readEffort(r.Reasoning.Effort)
	for _, step := range []func(*api.Request) *api.Error{s.readTools(p), p.readToolChoice, p.readFormat, s.readSampling(p)} {
		if err := step(r); err != nil {
			return p, err
		}
	}
	if err := s.loadHistory(ctx, p, r.PreviousResponseID); err != nil {
		return p, err
	}
	if err := s.prepareInput(ctx, p); err != nil {
		return p, err
	}
	return p, s.converse(p)
}

func (p *plan) includes(what string) bool { return slices.Contains(p.include, what) }

func (s *Service) checkSupported(r *api.Request) *api.Error {
	unsupported := func(param, advice string) *api.Error {
		return api.BadRequest("unsupported_parameter", param, "'%s' is not supported by this server yet. %s", param, advice)
	}
	switch {
	case r.Background != nil && *r.Background:
		return unsupported("background", "Send the request without it and read the stream.")
	case r.Conversation:
		return unsupported("conversation", "Use 'previous_response_id' to continue a response.")
	case r.Prompt:
		return unsupported("prompt", "Send 'instructions' and 'input'.")
	case r.Model != "" && r.Model != s.o.Model.ID && !slices.Contains(s.o.Model.Aliases, r.Model):
		return api.BadRequest("model_not_found", "model", "The requested model '%s' does not exist; this server has '%s'.",
			r.Model, s.o.Model.ID)
	case r.Input == nil && r.PreviousResponseID == "":
		return api.BadRequest("missing_required_parameter", "input", "Missing required parameter: 'input'.")
	case len(r.Input) == 0 && r.PreviousResponseID == "":
		return api.BadRequest("empty_array", "input", "Invalid 'input': it has no items.")
	}
	return nil
}

// seed returns the request's seed, or a random one of 53 bits, which every language can write as a number.
func (s *Service) seed(r *api.Request) int64 {
	if r.Seed != nil {
		return *r.Seed
	}
	var random [8]byte
	s.o.Random(random[:])
	return int64(binary.LittleEndian.Uint64(random[:]) >> 11)
}

// echo fills in the response's settings as they will be used.
func (s *Service) echo(r *api.Request) *api.Response {
	a := &api.Response{
		ID:                 s.newID("resp"),
		Object:             "response",
		CreatedAt:          s.o.Now().Unix(),
		Status:             api.InProgress,
		Instructions:       r.Instructions,
		MaxOutputTokens:    r.MaxOutputTokens,
		MaxToolCalls:       r.MaxToolCalls,
		Model:              s.o.Model.ID,
		Output:             []api.Item{},
		ParallelToolCalls:  orDefault(r.ParallelToolCalls, true),
		PreviousResponseID: nil,
		Reasoning:          r.Reasoning,
		ServiceTier:        "default",
		Store:              orDefault(r.Store, true),
		Text:               r.Text,
		ToolChoice:         r.ToolChoice,
		Tools:              r.Tools,
		Truncation:         r.Truncation,
		Metadata:           r.Metadata,

		Temperature:       orDefault(r.Temperature, 1),
		TopP:              orDefault(r.TopP, 1),
		PresencePenalty:   orDefault(r.PresencePenalty, 0),
		FrequencyPenalty:  orDefault(r.FrequencyPenalty, 0),
		TopLogprobs:       orDefault(r.TopLogprobs, 0),
		TopK:              orDefault(r.TopK, 0),
		MinP:              orDefault(r.MinP, 0),
		RepetitionPenalty: orDefault(r.RepetitionPenalty, 1),
		Seed:              s.seed(r),
		Stop:              r.Stop,
		LogitBias:         r.LogitBias,

		SafetyIdentifier:     r.SafetyIdentifier,
		PromptCacheKey:       r.PromptCacheKey,
		PromptCacheRetention: r.PromptCacheRetention,
		User:                 r.User,
	}
	if limit := int64(s.o.MaxOutputTokens); limit > 0 && (a.MaxOutputTokens == nil || *a.MaxOutputTokens > limit) {
		a.MaxOutputTokens = &limit
	}
	if r.PreviousResponseID != "" {
		a.PreviousResponseID = &r.PreviousResponseID
	}
	if a.Text.Format.Type == "" {
		a.Text.Format.Type = "text"
	}
	if a.Truncation == "" {
		a.Truncation = "disabled"
	}
	if a.Tools == nil {
		a.Tools = []api.Tool{}
	}
	if a.Metadata == nil {
		a.Metadata = map[string]string{}
	}
	return a
}

func orDefault[T any](v *T, absent T) T {
	if v == nil {
		return absent
	}
	return *v
}

func (p *plan) warn(param, format string, args ...any) {
	p.response.Warnings = append(p.response.Warnings, api.Warning{Param: param, Message: fmt.Sprintf(format, args...)})
}

// readEffort maps what clients may ask for to the three efforts that the models know. What was asked for is echoed.
func (p *plan) readEffort(asked *string) harmony.Effort {
	if asked == nil {
		effort := string(harmony.EffortMedium)
		p.response.Reasoning.Effort = &effort
		return harmony.EffortMedium
	}
	switch *asked {
	case "none", "minimal", "low":
		return harmony.EffortLow
	case "high", "xhigh", "max":
		return harmony.EffortHigh
	case "medium":
	default:
		p.warn("reasoning.effort", "The effort %q is not known; medium is used.", *asked)
	}
	return harmony.EffortMedium
}

// readTools returns the step that collects the functions and the tools of ours; other tools are reported and have no effect.
func (s *Service) readTools(p *plan) func(*api.Request) *api.Error {
	return func(r *api.Request) *api.Error {
		p.maxToolCalls = s.o.MaxToolCalls
		if most := r.MaxToolCalls; most != nil {
			p.maxToolCalls = int(min(int64(p.maxToolCalls), *most))
		}
		for i, tool := range r.Tools {
			param := fmt.Sprintf("tools[%d]", i)
			if f, ok := tool.(*api.FunctionTool); ok {
				if err := p.readFunction(f, param); err != nil {
					return err
				}
				continue
			}
			h, err := s.readHosted(p, tool, param)
			if h != nil {
				p.all = append(p.all, h)
			}
			switch {
			case err != nil:
				return err
			case h == nil:
				p.warn(param, "Tools of type %q are not supported by this server; the model does not see this one.", api.ToolKind(tool))
			case slices.ContainsFunc(p.hosted, func(other *hosted) bool { return h.label != "" && other.namespace.Name == h.namespace.Name }):
				return api.BadRequest("invalid_value", param, "Invalid '%s': there is another tool with the name '%s'.", param, h.label)
			case slices.ContainsFunc(p.hosted, func(other *hosted) bool { return other.tool == h.tool }):
				return api.BadRequest("invalid_value", param, "Invalid '%s': there is another tool of type '%s'.", param, h.kind)
			default:
				p.hosted = append(p.hosted, h)
			}
		}
		return nil
	}
}

func (p *plan) readFunction(t *api.FunctionTool, param string) *api.Error {
	if slices.Contains(p.callable, t.Name) {
		return api.BadRequest("invalid_value", param+".name", "Invalid '%s.name': there is another function named '%s'.",
			param, t.Name)
	}
	if orDefault(t.Strict, false) {
		p.warn(param+".strict", "The model sees the schema, but it is not enforced yet.")
	}
	f := harmony.Function{Name: t.Name, Description: orDefault(t.Description, "")}
	if t.Parameters != nil {
		var err error
		if f.Parameters, err = harmony.NormalizeSchema(t.Parameters); err != nil {
			return api.BadRequest("invalid_function_parameters", param+".parameters",
				"Invalid schema for function '%s': %v.", t.Name, err)
		}
	}
	p.functions = append(p.functions, f)
	p.callable = append(p.callable, t.Name)
	return nil
}

// readFormat renders the format of the answer as the section that OpenAI's harmony guide describes.
func (p *plan) readFormat(r *api.Request) *api.Error {
	f := r.Text.Format
	format := harmony.ResponseFormat{Name: f.Name, Description: orDefault(f.Description, ""), Schema: f.Schema}
	switch {
	case f.Type == "" || f.Type == "text":
		return nil
	case f.Type == "json_object":
		format = harmony.ResponseFormat{Name: "json_object", Description: "Any JSON object.", Schema: anyObject}
	case f.Schema == nil:
		format.Schema = anyObject
	}
	p.warn("text.format", "The model sees the format, but it is not enforced yet.")
	var err error
	if p.formatSection, err = harmony.AppendResponseFormats("", format); err != nil {
		return api.BadRequest("invalid_value", "text.format.schema", "Invalid 'text.format.schema': %v.", err)
	}
	return nil
}

// readToolChoice narrows down what may be called. "none" hides the tools, since a model that sees them wants them;
// allowed_tools leaves the prompt as it is, which is its purpose.
func (p *plan) readToolChoice(r *api.Request) *api.Error {
	c := r.ToolChoice
	missing := func(name string) *api.Error {
		return api.BadRequest("invalid_value", "tool_choice", "Tool choice '%s' not found in 'tools' parameter.", name)
	}
	isHosted := func(t api.OtherTool) bool {
		return slices.ContainsFunc(p.hosted, func(h *hosted) bool { return h.has(t) })
	}
	switch c.Type {
	case "":
	case "function":
		if !slices.Contains(p.callable, c.Name) {
			return missing(c.Name)
		}
		p.callable = []string{c.Name}
		p.narrowHosted()
	case "allowed_tools":
		for _, name := range c.Allowed {
			if !slices.Contains(p.callable, name) {
				return missing(name)
			}
		}
		for _, t := range c.AllowedOther {
			// Types that this server does not run may be allowed all the same.
			if !isHosted(t) && (t.Name != "" || !slices.ContainsFunc(r.Tools, func(o api.Tool) bool { return api.ToolKind(o) == t.Type })) {
				return missing(t.String())
			}
		}
		p.callable = c.Allowed
		p.narrowHosted(c.AllowedOther...)
	default:
		if !isHosted(c.Other) {
			if c.Other.Name != "" {
				return missing(c.Other.String())
			}
			return api.BadRequest("invalid_value", "tool_choice.type", "Invalid value for 'tool_choice.type': '%s'. Supported values "+
				"are: 'function', 'allowed_tools', and the types of those tools in 'tools' that this server runs.", c.Type)
		}
		p.callable = nil
		p.narrowHosted(c.Other)
	}
	switch c.Mode {
	case "none":
		p.functions, p.callable, p.hosted, p.must = nil, nil, nil, harmony.MustNotCall
	case "required":
		if len(p.callable) == 0 && !slices.ContainsFunc(p.hosted, func(h *hosted) bool { return h.callable }) {
			return api.BadRequest("invalid_value", "tool_choice", "Tool choice 'required' needs a tool in 'tools' that this server can call.")
		}
		p.must = harmony.MustCall
	}
	return nil
}

// readSampling returns the step that maps the sampling settings.
func (s *Service) readSampling(p *plan) func(*api.Request) *api.Error {
	return func(*api.Request) *api.Error {
		a := p.response
		p.maxTokens = int(orDefault(a.MaxOutputTokens, 0))
		p.sampling = sample.Params{
			Temperature:       float32(a.Temperature),
			TopP:              float32(a.TopP),
			TopK:              int(a.TopK),
			MinP:              float32(a.MinP),
			PresencePenalty:   float32(a.PresencePenalty),
			FrequencyPenalty:  float32(a.FrequencyPenalty),
			RepetitionPenalty: float32(a.RepetitionPenalty),
			Seed:              uint64(a.Seed),
			Logprobs:          -1,
		}
		if p.logprobs {
			p.sampling.Logprobs = int(a.TopLogprobs)
		}
		for key, bias := range a.LogitBias {
			token, err := strconv.ParseInt(key, 10, 32)
			if err != nil {
				return api.BadRequest("invalid_value", "logit_bias",
					"Invalid 'logit_bias': the keys are token ids, but got '%s'.", key)
			}
			p.sampling.LogitBias = append(p.sampling.LogitBias, sample.Bias{Token: int32(token), Value: float32(bias)})
		}
		slices.SortFunc(p.sampling.LogitBias, func(a, b sample.Bias) int { return int(a.Token) - int(b.Token) })
		var wrong *sample.ParamError
		if err := p.sampling.Validate(s.o.Model.Vocab); errors.As(err, &wrong) {
			return api.BadRequest("invalid_value", wrong.Field, "Invalid '%s': it %s.", wrong.Field, wrong.Reason)
		}
		return nil
	}
}

// loadHistory reads the responses that the request continues.
func (s *Service) loadHistory(ctx context.Context, p *plan, id string) error {
	if id == "" {
		return nil
	}
	var err error
	p.history, err = s.o.Store.Chain(ctx, id)
	var missing *store.NotFoundError
	switch {
	case errors.As(err, &missing) && missing.ID == id:
		return api.BadRequest("previous_response_not_found", "previous_response_id",
			"Previous response with id '%s' not found.", id)
	case errors.As(err, &missing):
		return api.BadRequest("previous_response_not_found", "previous_response_id",
			"Previous response with id '%s' continues '%s', which is no longer stored.", id, missing.ID)
	case err != nil:
		return err
	}
	if status := p.history[len(p.history)-1].Response.Status; status != api.Completed && status != api.Incomplete {
		return api.BadRequest("invalid_value", "previous_response_id",
			"Previous response with id '%s' cannot be continued: it is %s.", id, status)
	}
	return nil
}

// prepareInput gives every input item an id and puts stored items in the place of references, and stored results into
// calls of our tools that came without.
func (s *Service) prepareInput(ctx context.Context, p *plan) error {
	for i, item := range p.input {
		if reference, ok := item.(*api.ItemReference); ok {
			m, _, err := s.o.Store.Item(ctx, reference.ID)
			var missing *store.NotFoundError
			switch {
			case errors.As(err, &missing):
				param := fmt.Sprintf("input[%d].id", i)
				return api.BadRequest("item_not_found", param, "Item with id '%s' not found.", reference.ID)
			case err != nil:
				return err
			}
			p.input[i] = m.Item
		}
		if kind := hostedItem(p.input[i]); kind != nil {
			if err := s.recall(ctx, kind, p.input[i]); err != nil {
				return err
			}
		}
		if api.ID(p.input[i]) == "" {
			api.SetID(p.input[i], s.newID(idPrefix(p.input[i])))
		}
	}
	return nil
}

// recall gives a call of a tool of ours its result back, if this server has it: clients get items without their outputs,
// unless they ask for them, and send them back like that.
func (s *Service) recall(ctx context.Context, kind *hostedKind, item api.Item) error {
	m, tokenizer, err := s.o.Store.Item(ctx, api.ID(item))
	var missing *store.NotFoundError
	if errors.As(err, &missing) || err == nil && (tokenizer != s.o.Model.ID || m.Tokens == nil) {
		return nil
	}
	if err != nil {
		return err
	}
	parser := s.o.Codec.NewParser(harmony.ParserOptions{})
	for _, token := range m.Tokens {
		if d, _ := parser.Push(token); d.Close != nil && d.Close.Role == harmony.RoleTool {
			kind.recall(item, m.Item, string(d.Close.Content[0].(harmony.Text)))
		}
	}
	return nil
}

// idPrefix is OpenAI's where OpenAI has one.
func idPrefix(item api.Item) string {
	switch item.(type) {
	case *api.Message:
		return "msg"
	case *api.Reasoning:
		return "rs"
	case *api.FunctionCall:
		return "fc"
	case *api.FunctionCallOutput:
		return "fco"
	case *api.CustomToolCall:
		return "ctc"
	case *api.CustomToolCallOutput:
		return "ctco"
	case *api.CodeInterpreterCall:
		return "ci"
	case *api.MCPCall:
		return "mcp"
	case *api.MCPListTools:
		return "mcpl"
	case *api.MCPApprovalRequest:
		return approvalPrefix
	case *api.MCPApprovalResponse:
		return "mcpa"
	default:
		return "item"
	}
}
