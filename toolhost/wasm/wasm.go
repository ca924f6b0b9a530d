// Package wasm offers plugins to the model as tools.
//
// It owns what a plugin is called by: a tool with the plugin's name and a function for each of its tools. It knows neither
// modules nor grants, which are the registry's, nor deadlines and audits, which are toolhost's. A Tool is safe for
// concurrent use.
//
// A Tool is a name and what the manifest said when the Tool was made. Calls go to the version that the registry has when
// they begin, so that a plugin can be replaced while a response is under way: a function that the new version does not have,
// or a plugin that is gone, is told to the model like any other failure.
package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"strings"

	"chorale/plugins"
	"chorale/toolhost"
)

// A Tool is one plugin.
type Tool struct {
	registry *plugins.Registry
	spec     toolhost.Spec
}

// Tools returns the plugins that are ready now, in the order of their files. Registry.Changes says when to ask again.
func Tools(r *plugins.Registry) []toolhost.Tool {
	var tools []toolhost.Tool
	for _, s := range r.Plugins() {
		if s.State == plugins.StateReady {
			tools = append(tools, &Tool{r, spec(s.Manifest, s.Effective.Limits)})
		}
	}
	return tools
}

func spec(m *plugins.Manifest, l plugins.Limits) toolhost.Spec {
	// As many as may run and wait at the plugin: the plugin says better than a place that is not free what is the matter.
	s := toolhost.Spec{Name: m.Name, Description: m.Description, Independent: true, MaxOpen: int(l.Concurrency + l.Queue + 1)}
	for _, t := range m.Tools {
		s.Functions = append(s.Functions, toolhost.Function{Name: t.Name, Title: t.Title, Description: t.Description, Parameters: t.Input,
			Output: t.Output, Annotations: toolhost.Annotations(t.Annotations)})
	}
	return s
}

// Spec returns what the manifest says.
func (t *Tool) Spec() toolhost.Spec { return t.spec }

// Open returns an instance, which holds nothing: the plugin has one of its own for every call.
func (t *Tool) Open(context.Context) (toolhost.Instance, error) { return instance{t}, nil }

type instance struct{ t *Tool }

// dataDir is where code sees the files of a container; plugins see them in /in.
const dataDir = "/mnt/data/"

func fileName(p string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path.Clean("/"+p), dataDir), "/")
}

func (instance) Close() error { return nil }

// Call calls the plugin.
func (in instance) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	call := plugins.Call{Tool: c.Function, Input: json.RawMessage(c.Input), Progress: c.Progress}
	for _, f := range c.Files {
		f.Path = fileName(f.Path)
		call.Files = append(call.Files, plugins.File(f))
	}
	r, err := in.t.registry.Call(ctx, in.t.spec.Name, call)
	var busy *plugins.BusyError
	switch {
	case errors.As(err, &busy):
		return toolhost.Result{Failed: true, Text: "The tool has too much to do now. Try again later."}, nil
	case errors.Is(err, plugins.ErrUnknownPlugin), errors.Is(err, plugins.ErrUnknownTool):
		return toolhost.Result{Failed: true, Text: "This tool was replaced or removed and is not there any more: " + err.Error()}, nil
	case err != nil:
		return toolhost.Result{}, err
	}
	result := toolhost.Result{Text: r.Text, Failed: r.Failed, Structured: r.Structured}
	for _, f := range r.Files {
		result.Files = append(result.Files, toolhost.File(f))
	}
	return result, nil
}
