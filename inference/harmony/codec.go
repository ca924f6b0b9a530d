package harmony

import (
	"errors"
	"fmt"
	"strings"

	"chorale/inference/tokenizer"
)

// Texts of the control tokens; their ids come from the tokenizer.
const (
	startText     = "<|start|>"
	endText       = "<|end|>"
	messageText   = "<|message|>"
	channelText   = "<|channel|>"
	constrainText = "<|constrain|>"
	returnText    = "<|return|>"
	callText      = "<|call|>"
	endOfTextText = "<|endoftext|>"
)

// A Codec renders messages to tokens and makes parsers for the way back. It is immutable and safe for concurrent use.
type Codec struct {
	tokens *tokenizer.Tokenizer

	start, end, message, channel, constrain, ret, call, endOfText int32
}

// NewCodec returns a codec over t. The error names a control token that t lacks.
func NewCodec(t *tokenizer.Tokenizer) (*Codec, error) {
	c := &Codec{tokens: t}
	for _, s := range []struct {
		text string
		id   *int32
	}{
		{startText, &c.start}, {endText, &c.end}, {messageText, &c.message}, {channelText, &c.channel},
		{constrainText, &c.constrain}, {returnText, &c.ret}, {callText, &c.call}, {endOfTextText, &c.endOfText},
	} {
		id, ok := t.Special(s.text)
		if !ok {
			return nil, fmt.Errorf("the tokenizer has no token %s, which the harmony format needs", s.text)
		}
		*s.id = id
	}
	return c, nil
}

// Tokenizer returns the tokenizer the codec was made with.
func (c *Codec) Tokenizer() *tokenizer.Tokenizer { return c.tokens }

// Stops returns the tokens at which sampling ends: <|return|>, <|call|> and <|endoftext|>. Leaving <|call|> out makes
// the model run on behind a tool call.
func (c *Codec) Stops() []int32 { return []int32{c.ret, c.call, c.endOfText} }

// isStop reports whether a message ends at token in the reference parser.
func (c *Codec) isStop(token int32) bool {
	return token == c.end || token == c.ret || token == c.call
}

// A Mode is a way to render a conversation.
type Mode int

const (
	// Completion renders the conversation and the start of a message of Options.NextRole.
	Completion Mode = iota
	// Conversation renders the messages and nothing behind them.
	Conversation
	// Training is Conversation, but a closing assistant message on the final channel ends in <|return|>.
	Training
	// MessageOnly renders a single message outside of a conversation.
	MessageOnly
)

// Options say how a conversation is rendered. The zero value asks for an assistant completion with everything kept.
type Options struct {
	Mode     Mode
	NextRole Role // Completion: the role the model continues as; empty means RoleAssistant
	// DropAnalysis applies the reference library's rule: if the last assistant message is on the final channel, all
	// messages on the analysis channel in front of the conversation's first final message are left out, tool calls and
	// their results included. DropFinishedReasoning is the kinder rule.
	DropAnalysis bool
	// FunctionTools says, for MessageOnly, that the conversation the message belongs to declares functions. The other
	// modes find out themselves.
	FunctionTools bool
	// RecipientInChannel writes the recipient of an assistant message behind the channel, as the models do, and not behind
	// the role, as the reference renderer does. Messages without a channel and of other roles are not affected.
	RecipientInChannel bool
}

// Render appends the tokens of conv to dst and returns the longer slice. The error names the message, and the function
// whose parameters cannot be rendered.
func (c *Codec) Render(dst []int32, conv []Message, o Options) ([]int32, error) {
	if o.Mode < Completion || o.Mode > MessageOnly {
		return nil, fmt.Errorf("unknown render mode %d", o.Mode)
	}
	if o.Mode == MessageOnly {
		if len(conv) != 1 {
			return nil, fmt.Errorf("got %d messages; a single one is rendered alone", len(conv))
		}
		return c.appendMessage(dst, &conv[0], o)
	}
	o.FunctionTools = declaresFunctions(conv)
	keptFrom := 0 // analysis in front of this message is dropped
	if o.DropAnalysis {
		keptFrom = analysisKeptFrom(conv)
	}
	var err error
	for i := range conv {
		if i < keptFrom && conv[i].Channel == ChannelAnalysis {
			continue
		}
		if dst, err = c.appendMessage(dst, &conv[i], o); err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
	}
	switch o.Mode {
	case Completion:
		return c.appendNext(dst, o.NextRole)
	case Training:
		if n := len(conv); n > 0 && conv[n-1].Role == RoleAssistant && conv[n-1].Channel == ChannelFinal {
			dst[len(dst)-1] = c.ret
		}
	}
	return dst, nil
}

// AppendMessage appends the tokens of m alone to dst, e.g. of a tool's result behind sampled tokens. functionTools
// says whether the conversation declares functions, which matters to system messages only.
func (c *Codec) AppendMessage(dst []int32, m Message, functionTools bool) ([]int32, error) {
	return c.appendMessage(dst, &m, Options{Mode: MessageOnly, FunctionTools: functionTools})
}

// appendNext appends the beginning of the message that the model is to write.
func (c *Codec) appendNext(dst []int32, next Role) ([]int32, error) {
	if next == "" {
		next = RoleAssistant
	}
	if !next.valid() {
		return nil, fmt.Errorf("next role: %w", unknownRole(next))
	}
	return c.tokens.Encode(append(dst, c.start), string(next)), nil
}

func (c *Codec) appendMessage(dst []int32, m *Message, o Options) ([]int32, error) {
	dst, err := c.appendHeader(dst, m, o.RecipientInChannel)
	if err != nil {
		return nil, err
	}
	for i, part := range m.Content {
		switch part := part.(type) {
		case Text:
			dst = c.tokens.Encode(dst, string(part))
		case *System:
			if m.Role != RoleSystem {
				return nil, fmt.Errorf("content %d is system content in a message of role %s", i, m.Role)
			}
			text, err := systemText(part, o.FunctionTools)
			if err != nil {
				return nil, err
			}
			dst = c.tokens.Encode(dst, text)
		case *Developer:
			if m.Role != RoleDeveloper {
				return nil, fmt.Errorf("content %d is developer content in a message of role %s", i, m.Role)
			}
			text, err := developerText(part)
			if err != nil {
				return nil, err
			}
			dst = c.tokens.Encode(dst, text)
		default:
			return nil, fmt.Errorf("content %d has the type %T; want Text, *System or *Developer", i, part)
		}
	}
	if m.Role == RoleAssistant && m.Recipient != "" {
		return append(dst, c.call), nil
	}
	return append(dst, c.end), nil
}

// appendHeader appends everything up to and including <|message|>. Each piece is encoded on its own, because that is
// how the models saw them: "commentary" and " json" never merge.
func (c *Codec) appendHeader(dst []int32, m *Message, recipientInChannel bool) ([]int32, error) {
	dst = append(dst, c.start)
	switch {
	case !m.Role.valid():
		return nil, unknownRole(m.Role)
	case m.Role == RoleTool && m.Name == "":
		return nil, errors.New("a tool message needs the name of the tool")
	case m.Role == RoleTool:
		dst = c.tokens.Encode(dst, m.Name)
	default:
		dst = c.tokens.Encode(dst, string(m.Role))
		if m.Name != "" {
			dst = c.tokens.Encode(dst, ":"+m.Name)
		}
	}
	var to string
	if m.Recipient != "" && m.Recipient != "all" { // "all" is what everybody hears anyway
		to = " to=" + m.Recipient
	}
	late := recipientInChannel && m.Role == RoleAssistant && m.Channel != ""
	if !late {
		dst = c.tokens.Encode(dst, to)
	}
	if m.Channel != "" {
		dst = append(dst, c.channel)
		dst = c.tokens.Encode(dst, m.Channel)
	}
	if late {
		dst = c.tokens.Encode(dst, to)
	}
	if format, ok := strings.CutPrefix(m.ContentType, constrainText); ok {
		dst = append(c.tokens.Encode(dst, " "), c.constrain)
		dst = c.tokens.Encode(dst, format)
	} else if m.ContentType != "" {
		dst = c.tokens.Encode(dst, " "+m.ContentType)
	}
	return append(dst, c.message), nil
}

// declaresFunctions reports whether a developer message of conv declares a function in the namespace "functions".
func declaresFunctions(conv []Message) bool {
	for i := range conv {
		for _, part := range conv[i].Content {
			if d, ok := part.(*Developer); ok && len(d.Tools[functionsNamespace].Tools) > 0 {
				return true
			}
		}
	}
	return false
}

func unknownRole(r Role) error {
	return fmt.Errorf("unknown role %q; want system, developer, user, assistant or tool", string(r))
}
