package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"chorale/toolhost"
	"chorale/toolhost/mcp"
)

// cleanupTool is a tool that servers written for vLLM have: it forgets what they keep for a session.
const cleanupTool = "cleanup_session"

// An mcpBuiltin is an MCP server in the place of a tool that the models were trained with. What a response leaves at the server
// is its own: each has a connection to itself, which says in the header x-session-id whose it is.
type mcpBuiltin struct {
	spec    toolhost.Spec
	code    string // python: the server's tool and
	member  string // the member of its arguments that takes the code
	names   map[string]string
	connect func(session string) (*mcp.Client, error)
}

// newMCPBuiltin makes the tool of what the server has.
func newMCPBuiltin(name string, l *mcp.Listing, connect func(session string) (*mcp.Client, error)) (*mcpBuiltin, error) {
	t := &mcpBuiltin{spec: toolhost.Spec{Name: name, Description: l.Instructions}, names: map[string]string{}, connect: connect}
	if name == "python" {
		return t, t.takeCode(l)
	}
	for _, tool := range l.Tools {
		if tool.Name == cleanupTool {
			continue
		}
		t.names[tool.Function] = tool.Name
		t.spec.Functions = append(t.spec.Functions,
			toolhost.Function{Name: tool.Function, Description: tool.Description, Parameters: tool.Input})
	}
	if len(t.spec.Functions) == 0 {
		return nil, errors.New("it has no tools")
	}
	return t, nil
}

// takeCode finds the tool that runs code: that named python, or the only one, with one string among its arguments.
func (t *mcpBuiltin) takeCode(l *mcp.Listing) error {
	tools := slices.DeleteFunc(slices.Clone(l.Tools), func(tool mcp.Tool) bool { return tool.Name == cleanupTool })
	i := slices.IndexFunc(tools, func(tool mcp.Tool) bool { return tool.Name == "python" })
	if i < 0 && len(tools) == 1 {
		i = 0
	}
	if i < 0 {
		return errors.New("it has no tool named python")
	}
	var schema struct {
		Properties map[string]struct{ Type any }
		Required   []string
	}
	if err := json.Unmarshal(tools[i].Input, &schema); err != nil {
		return fmt.Errorf("schema of its tool %q: %w", tools[i].Name, err)
	}
	for _, member := range append([]string{"code"}, schema.Required...) {
		if p, ok := schema.Properties[member]; ok && p.Type == "string" {
			t.code, t.member = tools[i].Name, member
			return nil
		}
	}
	return fmt.Errorf("its tool %q takes no code: a string named code is missing", tools[i].Name)
}

func (t *mcpBuiltin) Spec() toolhost.Spec { return t.spec }

func (t *mcpBuiltin) Open(context.Context) (toolhost.Instance, error) {
	client, err := t.connect(rand.Text())
	return &mcpSession{t, client}, err
}

// An mcpSession is the tool in use by one response.
type mcpSession struct {
	t      *mcpBuiltin
	client *mcp.Client
}

func (s *mcpSession) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	name, input := s.t.names[c.Function], json.RawMessage(c.Input)
	if s.t.code != "" {
		name = s.t.code
		input, _ = json.Marshal(map[string]string{s.t.member: c.Input}) // a string always can be
	}
	r, err := s.client.Call(ctx, name, input, c.Progress)
	switch {
	case err != nil && ctx.Err() != nil:
		return toolhost.Result{}, err
	case err != nil:
		return toolhost.Result{Text: "The call failed: " + err.Error() + ".", Failed: true, Failure: err}, nil
	}
	out := toolhost.Result{Text: r.Text(), Failed: r.Failed, Structured: r.Structured}
	for i, part := range r.Content {
		if part.Data != nil {
			path := fmt.Sprintf("/%s-%d", part.Type, i+1)
			out.Files = append(out.Files, toolhost.File{Path: path, MIME: part.MIME, Data: part.Data})
		}
	}
	return out, nil
}

func (s *mcpSession) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	if l, err := s.client.List(ctx); err == nil {
		if _, has := l.ByName(cleanupTool); has {
			_, _ = s.client.Call(ctx, cleanupTool, nil, nil) // a courtesy, as in vLLM
		}
	}
	return s.client.Close()
}

// cleanupTimeout is how long a server may take to forget a session.
const cleanupTimeout = 2 * time.Second
