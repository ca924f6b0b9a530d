package harmony

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// modeNames are the render modes as cases spell them.
var modeNames = [...]string{Completion: "completion", Conversation: "conversation", Training: "training", MessageOnly: "message"}

// A renderCase is a conversation to render, as data. Keys that describe an expectation are skipped.
type renderCase struct {
	Mode     string `json:"mode"`
	NextRole Role   `json:"next_role"`
	Options  struct {
		DropAnalysis  bool `json:"auto_drop_analysis"`
		FunctionTools bool `json:"conversation_has_function_tools"`
		LateRecipient bool `json:"recipient_in_channel"`
	} `json:"options"`
	Conversation *struct {
		Messages []Message `json:"messages"`
	} `json:"conversation"`
}

type renderResult struct {
	Text   string  `json:"text"`
	Tokens []int32 `json:"tokens"`
}

// RenderCase renders the conversation that a JSON object describes: keys mode (completion, conversation, training or
// message; absent: completion), next_role (absent: assistant), options with auto_drop_analysis,
// conversation_has_function_tools and recipient_in_channel (absent: false), and conversation with messages. Other keys are
// skipped. The result is {"text":…,"tokens":[…]} on one line, the text with control tokens spelled out.
func (c *Codec) RenderCase(line []byte) ([]byte, error) {
	var rc renderCase
	if err := json.Unmarshal(line, &rc); err != nil {
		return nil, fmt.Errorf("render case: %w", err)
	}
	if rc.Conversation == nil {
		return nil, errors.New("render case: the key conversation is missing")
	}
	o := Options{NextRole: rc.NextRole, DropAnalysis: rc.Options.DropAnalysis, FunctionTools: rc.Options.FunctionTools,
		RecipientInChannel: rc.Options.LateRecipient}
	known := rc.Mode == ""
	for mode, name := range modeNames {
		if rc.Mode == name {
			o.Mode, known = Mode(mode), true
		}
	}
	if !known {
		return nil, fmt.Errorf("render case: unknown mode %q; want completion, conversation, training or message", rc.Mode)
	}
	tokens, err := c.Render([]int32{}, rc.Conversation.Messages, o)
	if err != nil {
		return nil, fmt.Errorf("render case: %w", err)
	}
	return marshal(renderResult{c.tokens.Decode(tokens), tokens})
}

// A parseCase is tokens to parse, as data. Keys that describe an expectation are skipped.
type parseCase struct {
	Role    Role    `json:"role"`
	Strict  *bool   `json:"strict"`
	Lenient bool    `json:"lenient"`
	EOS     *bool   `json:"eos"`
	Tokens  []int64 `json:"tokens"`
	Text    *string `json:"text"`
}

type parseResult struct {
	Messages []Message      `json:"messages"`
	State    string         `json:"state"`
	Error    *string        `json:"error"`
	ErrorAt  *int           `json:"error_at,omitempty"`
	Open     string         `json:"current_content,omitempty"`
	Repairs  map[Repair]int `json:"repairs,omitempty"`
}

// ParseCase parses what a JSON object describes: keys tokens (ids) or text (encoded with all special tokens), role (of the
// first message if it is known from outside, else null), strict (true and false are the reference's two modes; null and
// absent mean lenient), lenient (true overrides strict), eos (false: the stream does not end behind the last token). Other
// keys are skipped. The result is {"messages":[…],"state":…,"error":…} on one line: the complete messages, the state and
// the first error or null; where they apply also error_at (index of the token, their number for the end of the stream),
// current_content (of a message that is still open) and repairs (lenient rules and how often they were applied).
func (c *Codec) ParseCase(line []byte) ([]byte, error) {
	var pc parseCase
	if err := json.Unmarshal(line, &pc); err != nil {
		return nil, fmt.Errorf("parse case: %w", err)
	}
	tokens := tokenIDs(pc.Tokens)
	switch {
	case pc.Role != "" && !pc.Role.valid():
		return nil, fmt.Errorf("parse case: role: %w", unknownRole(pc.Role))
	case pc.Tokens == nil && pc.Text == nil:
		return nil, errors.New("parse case: the key tokens or text is missing; files are not read")
	case pc.Tokens == nil:
		tokens = c.tokens.EncodeSpecial(nil, *pc.Text)
	}
	o := ParserOptions{Role: pc.Role}
	if pc.Strict != nil && !pc.Lenient {
		o.Strictness = NonStrict
		if *pc.Strict {
			o.Strictness = Strict
		}
	}
	return marshal(c.parseAll(tokens, o, pc.EOS == nil || *pc.EOS))
}

// parseAll feeds a parser up to the first error.
func (c *Codec) parseAll(tokens []int32, o ParserOptions, ends bool) parseResult {
	p := c.NewParser(o)
	r := parseResult{Messages: []Message{}}
	for i := 0; i < len(tokens) || ends && i == len(tokens); i++ {
		var d Delta
		var err error
		if i < len(tokens) {
			d, err = p.Push(tokens[i])
		} else {
			d, err = p.End()
		}
		r.Open += d.Text
		if d.Close != nil {
			r.Messages = append(r.Messages, *d.Close)
			r.Open = ""
		}
		if err != nil {
			text := err.Error()
			r.Error, r.ErrorAt = &text, &i
			break
		}
	}
	r.State, r.Repairs = p.State().String(), p.Repairs()
	return r
}

// tokenIDs reads ids of any size: what does not fit an int32 is no token of any table, and becomes -1.
func tokenIDs(ids []int64) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		if out[i] = int32(id); id < 0 || id > math.MaxInt32 {
			out[i] = -1
		}
	}
	return out
}
