package responses_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"chorale/inference/engine/enginetest"
	"chorale/server/api"
	"chorale/server/responses"
	"chorale/toolhost"
)

// A pluginFake is a plugin that repeats the arguments. It fails for the arguments fail, and breaks for break.
type pluginFake struct{ spec toolhost.Spec }

func newPluginFake(name string, tools ...string) *pluginFake {
	p := &pluginFake{toolhost.Spec{Name: name, Description: "The plugin " + name + ".", Independent: true}}
	for _, t := range tools {
		p.spec.Functions = append(p.spec.Functions, toolhost.Function{Name: t, Description: "Does " + t + ".",
			Parameters: json.RawMessage(`{"type":"object","properties":{"value":{"type":"number"}},"required":["value"]}`)})
	}
	return p
}

func (p *pluginFake) Spec() toolhost.Spec                             { return p.spec }
func (p *pluginFake) Open(context.Context) (toolhost.Instance, error) { return p, nil }
func (p *pluginFake) Close() error                                    { return nil }

func (p *pluginFake) Call(_ context.Context, c toolhost.Call) (toolhost.Result, error) {
	switch c.Input {
	case "fail":
		return toolhost.Result{Text: "The arguments are no JSON.", Failed: true}, nil
	case "break":
		panic("broken")
	}
	r := toolhost.Result{Text: p.spec.Name + " " + c.Function + " " + c.Input}
	if c.Input == `{"files":1}` {
		r.Structured, r.Files = json.RawMessage(`{"n":1}`), []toolhost.File{{Path: "/out/a.png", MIME: "image/png", Data: []byte("png")}}
	}
	return r, nil
}

// TestToolsChange has a plugin that is replaced while a response runs: that one keeps to what it found, the next one does not.
func TestToolsChange(t *testing.T) {
	t.Parallel()
	set := tools(t, newPluginFake("units", "old"))
	m := &model{texts: []string{"<|channel|>commentary to=units.old<|message|>{}<|call|>", final("ok")}}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: func() *toolhost.Set { return set() }})
	const body = `{"input":"x","tools":[{"type":"plugin","name":"units"}]}`
	run := create(t, s, body)
	set = tools(t, newPluginFake("units", "new"))
	if c, ok := finish(t, run.Events()).Output[0].(*api.MCPCall); !ok || c.Status != api.Completed || *c.Output != "units old {}" {
		t.Errorf("got %s", encode(t, c))
	}
	m.write(final("ok"))
	respond(t, s, body)
	if p := m.lastPrompts()[0]; !strings.Contains(p, "type new = ") || strings.Contains(p, "type old = ") {
		t.Errorf("prompt %s", p)
	}
	set = tools(t)
	if _, err := s.Create(t.Context(), request(t, body)); err == nil || !strings.Contains(err.Error(), "This server has no plugins.") {
		t.Errorf("without plugins: %v", err)
	}
}

// TestPluginComesBack sends a call back as it was received, and without its output, which the server has.
func TestPluginComesBack(t *testing.T) {
	t.Parallel()
	m := &model{texts: []string{"<|channel|>commentary to=units.convert <|constrain|>json<|message|>{\"value\": 1}<|call|>", final("ok")}}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, newPluginFake("units", "convert"))})
	call := respond(t, s, `{"input":"x","tools":[{"type":"plugin","name":"units"}]}`).Output[0].(*api.MCPCall)
	want := m.lastPrompts()[1]
	want = want[strings.Index(want, "<|start|>user"):]
	for _, strip := range []bool{false, true} {
		if strip {
			call.Output = nil
		}
		m.write(final("ok"))
		respond(t, s, `{"tools":[{"type":"plugin","name":"units"}],"input":[{"role":"user","content":"x"},`+encode(t, call)+`]}`)
		if got := m.lastPrompts()[0]; !strings.HasSuffix(got, want) {
			t.Errorf("without output %v: prompt %s, want %s", strip, got, want)
		}
	}
}

// TestPluginFiles has files and a result for programs in the item, also when it is fetched later.
func TestPluginFiles(t *testing.T) {
	t.Parallel()
	m := &model{}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, newPluginFake("units", "convert"))})
	for include, want := range map[string]string{
		`[]`:                 `"structured_content":{"n":1},"files":[{"path":"/out/a.png","mime_type":"image/png","bytes":3}]`,
		`["mcp_call.files"]`: `"structured_content":{"n":1},"files":[{"path":"/out/a.png","mime_type":"image/png","bytes":3,"url":"data:image/png;base64,cG5n"}]`,
	} {
		m.write(`<|channel|>commentary to=units.convert <|constrain|>json<|message|>{"files":1}<|call|>`, final("ok"))
		r := respond(t, s, `{"input":"x","include":`+include+`,"tools":[{"type":"plugin","name":"units"}]}`)
		stored, err := s.Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range []api.Item{r.Output[0], stored.Output[0]} {
			if got := encode(t, item); !strings.Contains(got, want) {
				t.Errorf("%s: item %s, want %s", include, got, want)
			}
		}
	}
}
