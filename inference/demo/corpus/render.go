package corpus

import (
	"fmt"
	"slices"

	"chorale/inference/harmony"
)

// A Kind says what a token is for, and so how much it counts in training.
type Kind uint8

// The kinds, in the order that the training recipe expects. Padding fills rows, Prompt is everything that the model
// reads, the others are what it writes. Padding are also the markers of earlier assistant messages: they end in <|end|>
// and have lost their reasoning, which the model must not learn to write.
const (
	Padding Kind = iota
	Prompt
	Header    // channel and message markers of reasoning and answers, and what opens the next message
	Analysis  // reasoning text
	CallHead  // header of a call, recipient included
	Arguments // a call's content and its end
	Final     // the answer and its end
)

// A Document is an episode as tokens.
type Document struct {
	Skill  Skill
	Tokens []int32
	Kinds  []Kind // [len(Tokens)]
}

// A Writer renders episodes. It is immutable and safe for concurrent use.
type Writer struct {
	codec                                                  *harmony.Codec
	start, channel, message, constrain, end, call, return_ int32
}

// NewWriter returns a Writer for a codec's tokenizer.
func NewWriter(c *harmony.Codec) (*Writer, error) {
	w := &Writer{codec: c}
	for name, id := range map[string]*int32{"<|start|>": &w.start, "<|channel|>": &w.channel, "<|message|>": &w.message,
		"<|constrain|>": &w.constrain, "<|end|>": &w.end, "<|call|>": &w.call, "<|return|>": &w.return_} {
		var ok bool
		if *id, ok = c.Tokenizer().Special(name); !ok {
			return nil, fmt.Errorf("render episodes: the tokenizer has no token %s", name)
		}
	}
	return w, nil
}

// Prompt renders the conversation of an episode with its first done steps, as a request that brings them back.
func (w *Writer) Prompt(e *Episode, done int) ([]int32, error) {
	conversation := append([]harmony.Message(nil), e.Conversation...)
	for _, s := range e.Steps[:done] {
		if s.Analysis != "" {
			conversation = append(conversation, harmony.Message{Role: harmony.RoleAssistant, Channel: harmony.ChannelAnalysis,
				Content: []harmony.Part{harmony.Text(s.Analysis)}})
		}
		conversation = append(conversation, s.Call.Message(), s.Call.Answer(s.Call.Result))
	}
	return w.codec.Render(nil, conversation, harmony.Options{Mode: harmony.Completion, NextRole: harmony.RoleAssistant,
		RecipientInChannel: e.RecipientInChannel})
}

// Document renders an episode: the prompt, then each step as the model should write it and each result as the server
// appends it.
func (w *Writer) Document(e *Episode) (*Document, error) {
	prompt, err := w.Prompt(e, e.Done)
	if err != nil {
		return nil, fmt.Errorf("render %v episode: %w", e.Skill, err)
	}
	d := &Document{Skill: e.Skill}
	d.addPrompt(w, prompt)
	encode := func(s string) []int32 { return w.codec.Tokenizer().Encode(nil, s) }
	assistant := encode(string(harmony.RoleAssistant))
	open := func(kind Kind, channel string) {
		d.add(kind, w.channel)
		d.add(kind, encode(channel)...)
	}
	for _, s := range e.Steps[e.Done:] {
		if s.Analysis != "" {
			open(Header, harmony.ChannelAnalysis)
			d.add(Header, w.message)
			d.add(Analysis, encode(s.Analysis)...)
			d.add(Header, w.end, w.start)
			d.add(Header, assistant...)
		}
		if s.Call == nil {
			open(Header, harmony.ChannelFinal)
			d.add(Header, w.message)
			d.add(Final, encode(s.Final)...)
			d.add(Final, w.return_)
			break
		}
		open(CallHead, s.Call.Channel)
		d.add(CallHead, encode(" to="+s.Call.Recipient)...)
		if s.Call.ContentType == jsonContent {
			d.add(CallHead, encode(" ")...)
			d.add(CallHead, w.constrain)
			d.add(CallHead, encode("json")...)
		} else {
			d.add(CallHead, encode(" "+s.Call.ContentType)...)
		}
		d.add(CallHead, w.message)
		d.add(Arguments, encode(s.Call.Arguments)...)
		d.add(Arguments, w.call)
		answer, err := w.codec.AppendMessage(nil, s.Call.Answer(s.Call.Result), false)
		if err != nil {
			return nil, fmt.Errorf("render %v episode: %w", e.Skill, err)
		}
		d.add(Prompt, answer...)
		d.add(Prompt, w.start)
		d.add(Prompt, assistant...)
	}
	return d, nil
}

// addPrompt adds rendered messages.
func (d *Document) addPrompt(w *Writer, tokens []int32) {
	assistant := w.codec.Tokenizer().Encode(nil, string(harmony.RoleAssistant))
	ours, header := false, false // in an assistant's message; in its header
	for i, t := range tokens {
		switch t {
		case w.start:
			n := min(i+1+len(assistant), len(tokens))
			ours = slices.Equal(tokens[i+1:n], assistant)
			header = ours
		case w.message:
			if header {
				header = false
				d.add(Padding, t)
				continue
			}
		}
		if header && t != w.start || ours && (t == w.end || t == w.call) {
			d.add(Padding, t)
			continue
		}
		d.add(Prompt, t)
	}
}

func (d *Document) add(kind Kind, tokens ...int32) {
	d.Tokens = append(d.Tokens, tokens...)
	for range tokens {
		d.Kinds = append(d.Kinds, kind)
	}
}
