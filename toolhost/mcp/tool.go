package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"chorale/toolhost"
	"chorale/toolhost/egress"
)

// NewTool returns the tools of a list as one tool of ours, whose functions they are. Only tools with one of the names
// are in it; nil stands for all. They are called as they are in the list: not when their definition has changed
// meanwhile. The Client is not closed by it.
func NewTool(c *Client, l *Listing, only []string) toolhost.Tool {
	t := &tool{client: c, tools: map[string]Tool{}}
	t.spec = toolhost.Spec{Name: c.conf.Label, Description: l.Instructions, Independent: true}
	for _, of := range l.Tools {
		if only != nil && !slices.Contains(only, of.Name) {
			continue
		}
		t.tools[of.Function] = of
		t.spec.Functions = append(t.spec.Functions, toolhost.Function{
			Name: of.Function, Description: of.Description, Parameters: of.Input, Output: of.Output,
		})
	}
	return t
}

type tool struct {
	client *Client
	spec   toolhost.Spec
	tools  map[string]Tool // by function
}

// Spec implements toolhost.Tool.
func (t *tool) Spec() toolhost.Spec { return t.spec }

// Open implements toolhost.Tool.
func (t *tool) Open(context.Context) (toolhost.Instance, error) { return instance{t}, nil }

type instance struct{ *tool }

// Close implements toolhost.Instance.
func (instance) Close() error { return nil }

// Call implements toolhost.Instance.
func (i instance) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	t := i.tools[c.Function]
	r, err := i.client.CallAs(ctx, t.Name, t.Hash, json.RawMessage(c.Input), c.Progress)
	if err != nil {
		return failure(err), nil
	}
	out := toolhost.Result{Text: r.Text(), Failed: r.Failed, Structured: r.Structured}
	for n, part := range r.Content {
		if part.Data != nil {
			path := fmt.Sprintf("/%s-%d", part.Type, n+1)
			out.Files = append(out.Files, toolhost.File{Path: path, MIME: part.MIME, Data: part.Data})
		}
	}
	return out, nil
}

// failure is what a model reads when there is no answer of the tool.
func failure(err error) toolhost.Result {
	var arguments *ArgumentsError
	if errors.As(err, &arguments) {
		return toolhost.Result{Text: arguments.Reason, Failed: true}
	}
	return toolhost.Result{Text: "The tool could not be used: " + err.Error() + ".", Failed: true}
}

// A Kind says of which kind an error is, for those who tell clients.
type Kind string

// The kinds of errors.
const (
	KindProtocol  Kind = "protocol"  // *ProtocolError, *InvalidError
	KindHTTP      Kind = "http"      // *HTTPError, *AuthError, and what kept a request from its answer
	KindArguments Kind = "arguments" // *ArgumentsError, *ChangedError, ErrUnknown: the call was not made
	KindHost      Kind = "host"      // a child, a limit, a policy
)

// KindOf returns the kind of an error of a Client, and its code: of the protocol, or a status of HTTP; 0 for none.
func KindOf(err error) (kind Kind, code int) {
	var protocol *ProtocolError
	var invalid *InvalidError
	var status *HTTPError
	var auth *AuthError
	var arguments *ArgumentsError
	var changed *ChangedError
	var process *ProcessError
	var limit *LimitError
	var denied *egress.DeniedError
	switch {
	case errors.As(err, &protocol):
		return KindProtocol, protocol.Code
	case errors.As(err, &invalid):
		return KindProtocol, 0
	case errors.As(err, &status):
		return KindHTTP, status.Status
	case errors.As(err, &auth):
		return KindHTTP, auth.Status
	case errors.As(err, &arguments), errors.As(err, &changed), errors.Is(err, ErrUnknown):
		return KindArguments, 0
	case errors.As(err, &process), errors.As(err, &limit), errors.As(err, &denied), errors.Is(err, ErrClosed):
		return KindHost, 0
	}
	return KindHTTP, 0
}
