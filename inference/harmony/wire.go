package harmony

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// wireMessage is the JSON form of a Message.
type wireMessage struct {
	Role        Role            `json:"role"`
	Name        string          `json:"name,omitempty"`
	Recipient   string          `json:"recipient,omitempty"`
	Channel     string          `json:"channel,omitempty"`
	ContentType string          `json:"content_type,omitempty"`
	Content     json.RawMessage `json:"content"`
}

// wirePart is the JSON form of a Part; Type says which of the fields count.
type wirePart struct {
	Type string `json:"type"`

	Text *string `json:"text,omitempty"` // text

	ModelIdentity   string        `json:"model_identity,omitempty"` // system_content
	ReasoningEffort string        `json:"reasoning_effort,omitempty"`
	StartDate       string        `json:"conversation_start_date,omitempty"`
	KnowledgeCutoff string        `json:"knowledge_cutoff,omitempty"`
	ChannelConfig   *wireChannels `json:"channel_config,omitempty"`

	Instructions *string `json:"instructions,omitempty"` // developer_content

	Tools map[string]Namespace `json:"tools,omitempty"` // system_content, developer_content
}

type wireChannels struct {
	Valid    []string `json:"valid_channels"`
	Required bool     `json:"channel_required"`
}

// The types of wirePart.
const (
	wireText      = "text"
	wireSystem    = "system_content"
	wireDeveloper = "developer_content"
)

// wireEfforts spells the efforts as the harmony library does.
var wireEfforts = []struct {
	effort Effort
	text   string
}{{EffortLow, "Low"}, {EffortMedium, "Medium"}, {EffortHigh, "High"}}

// MarshalJSON writes the harmony library's form of the message.
func (m Message) MarshalJSON() ([]byte, error) {
	w := wireMessage{Role: m.Role, Name: m.Name, Recipient: m.Recipient, Channel: m.Channel, ContentType: m.ContentType}
	var content any
	if len(m.Content) == 1 {
		if t, ok := m.Content[0].(Text); ok {
			content = string(t)
		}
	}
	if content == nil {
		parts := make([]wirePart, 0, len(m.Content))
		for i, part := range m.Content {
			p, err := encodePart(part)
			if err != nil {
				return nil, fmt.Errorf("content %d: %w", i, err)
			}
			parts = append(parts, p)
		}
		content = parts
	}
	var err error
	if w.Content, err = marshal(content); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return marshal(w)
}

// UnmarshalJSON reads the harmony library's form of a message. Keys it does not know are skipped.
func (m *Message) UnmarshalJSON(data []byte) error {
	var w wireMessage
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	if !w.Role.valid() {
		return fmt.Errorf("role: %w", unknownRole(w.Role))
	}
	content, err := decodeContent(w.Content)
	if err != nil {
		return err
	}
	*m = Message{w.Role, w.Name, w.Recipient, w.Channel, w.ContentType, content}
	return nil
}

func encodePart(part Part) (wirePart, error) {
	switch p := part.(type) {
	case Text:
		text := string(p)
		return wirePart{Type: wireText, Text: &text}, nil
	case *System:
		w := wirePart{Type: wireSystem, ModelIdentity: p.ModelIdentity, StartDate: p.StartDate,
			KnowledgeCutoff: p.KnowledgeCutoff, Tools: p.Tools}
		for _, e := range wireEfforts {
			if e.effort == p.Effort {
				w.ReasoningEffort = e.text
			}
		}
		if p.Effort != "" && w.ReasoningEffort == "" {
			return wirePart{}, fmt.Errorf("unknown reasoning effort %q; want low, medium or high", string(p.Effort))
		}
		if p.Channels != nil || p.ChannelRequired {
			w.ChannelConfig = &wireChannels{p.Channels, p.ChannelRequired}
		}
		return w, nil
	case *Developer:
		return wirePart{Type: wireDeveloper, Instructions: p.Instructions, Tools: p.Tools}, nil
	default:
		return wirePart{}, fmt.Errorf("type %T; want Text, *System or *Developer", part)
	}
}

// decodeContent reads a string or a list of parts; absent content is no parts.
func decodeContent(data []byte) ([]Part, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	if data[0] == '"' {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return nil, fmt.Errorf("content: %w", err)
		}
		return []Part{Text(text)}, nil
	}
	var wire []wirePart
	if err := json.Unmarshal(data, &wire); err != nil {
		return nil, fmt.Errorf("content: want a string or a list of parts: %w", err)
	}
	parts := make([]Part, 0, len(wire))
	for i := range wire {
		part, err := wire[i].decode()
		if err != nil {
			return nil, fmt.Errorf("content[%d]: %w", i, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (w *wirePart) decode() (Part, error) {
	switch w.Type {
	case wireText:
		if w.Text == nil {
			return nil, fmt.Errorf("a part of type text needs the key text")
		}
		return Text(*w.Text), nil
	case wireSystem:
		s := &System{ModelIdentity: w.ModelIdentity, StartDate: w.StartDate, KnowledgeCutoff: w.KnowledgeCutoff, Tools: w.Tools}
		for _, e := range wireEfforts {
			if strings.EqualFold(w.ReasoningEffort, e.text) {
				s.Effort = e.effort
			}
		}
		if w.ReasoningEffort != "" && s.Effort == "" {
			return nil, fmt.Errorf("unknown reasoning_effort %q; want Low, Medium or High", w.ReasoningEffort)
		}
		if w.ChannelConfig != nil {
			s.Channels, s.ChannelRequired = w.ChannelConfig.Valid, w.ChannelConfig.Required
		}
		return s, nil
	case wireDeveloper:
		return &Developer{Instructions: w.Instructions, Tools: w.Tools}, nil
	default:
		return nil, fmt.Errorf("unknown part type %q; want text, system_content or developer_content", w.Type)
	}
}

// marshal is json.Marshal with <, > and & left readable, because the markup of the format is full of them.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
