package harmony

import (
	"encoding/json"
	"errors"
	"fmt"
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
