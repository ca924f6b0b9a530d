package mcp

import (
	"context"
	"encoding/json"
	"fmt"

	wire "github.com/mark3labs/mcp-go/mcp"
)

// An Elicitation is a question of a server to the user.
type Elicitation struct {
	Label   string // of the server
	Message string
	Schema  json.RawMessage // of the answer, a flat object; nil for a URL
	URL     string          // that the user is to visit, or ""
}

// An Answer is what became of an Elicitation.
type Answer struct {
	Action  string         // "accept", "decline" or "cancel"
	Content map[string]any // of an accepted form; members that have a default and are missing get it
}

// An Elicit asks the user. In the newer era the time of the call does not pass meanwhile; in the older one nothing says
// which call a question belongs to, and it does.
type Elicit func(ctx context.Context, e Elicitation) (Answer, error)

// An elicitor is mcp-go's handler.
type elicitor struct{ c *Client }

// Elicit implements client.ElicitationHandler.
func (e elicitor) Elicit(ctx context.Context, r wire.ElicitationRequest) (*wire.ElicitationResult, error) {
	defer exchangeOf(ctx).pause()()
	schema, err := json.Marshal(r.Params.RequestedSchema)
	if err != nil {
		return nil, err
	}
	q := Elicitation{Label: e.c.conf.Label, Message: r.Params.Message, URL: r.Params.URL}
	if r.Params.RequestedSchema != nil {
		q.Schema = schema
	}
	a, err := e.c.opts.Elicit(ctx, q)
	if err != nil {
		return nil, err
	}
	result := &wire.ElicitationResult{}
	result.Action = wire.ElicitationResponseAction(a.Action)
	switch a.Action {
	case "accept":
		if q.Schema != nil {
			content, err := withDefaults(q.Schema, a.Content)
			if err != nil {
				return nil, err
			}
			result.Content = content
		}
	case "decline", "cancel":
	default:
		return nil, fmt.Errorf("action %q: must be accept, decline or cancel", a.Action)
	}
	return result, nil
}

func withDefaults(schema json.RawMessage, content map[string]any) (map[string]any, error) {
	var s struct {
		Properties map[string]struct {
			Default json.RawMessage `json:"default"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("schema of the question: %w", err)
	}
	full := map[string]any{}
	for name, p := range s.Properties {
		if p.Default != nil {
			full[name] = p.Default
		}
	}
	for name, v := range content {
		full[name] = v
	}
	return full, nil
}
