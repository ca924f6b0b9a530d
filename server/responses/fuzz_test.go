package responses_test

import (
	"errors"
	"testing"

	"chorale/inference/engine/enginetest"
	"chorale/server/api"
	"chorale/server/responses"
)

// FuzzModelOutput lets the model write anything, ungated. Whatever it writes, the strictest client can follow, the
// response is stored as it was sent, and it can be continued.
func FuzzModelOutput(f *testing.F) {
	for _, text := range []string{
		"<|channel|>analysis<|message|>Hm<|end|><|start|>assistant" + final("Hello"),
		"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\":1}<|call|>",
		"<|channel|>commentary to=container.exec<|message|>ls<|call|>",
		"<|channel|>final<|message|>a STO b STOP c<|return|>",
		"<|start|><|channel|><|message|><|end|><|call|>x",
		"<|channel|>analysis to=python code<|message|>1<|end|><|start|>assistant<|channel|>analysis to=functions.python<|message|>{\"code\":2}<|call|>",
		"<|channel|>analysis to=python<|message|>```\nx",
		"💖<|channel|>analysis<|message|>\xf0\x9f<|start|>assistant to=f<|message|>",
	} {
		f.Add(text, byte(0))
		f.Add(text, byte(7))
	}
	m := &model{}
	py := &pythonFake{}
	s := start(f, enginetest.Options{Script: m.script}, responses.Options{Ungated: true, Tools: tools(f, py)})
	f.Fuzz(func(t *testing.T, text string, limit byte) {
		body := `"input":"Hi","stop":"STOP","tools":[{"type":"function","name":"f"},{"type":"code_interpreter"}],"reasoning":{"summary":"auto"},` +
			`"include":["reasoning.encrypted_content","message.output_text.logprobs"]`
		if limit > 0 {
			body += `,"max_output_tokens":` + string('0'+limit%9+1)
		} else {
			body += `,"max_output_tokens":300`
		}
		m.write(text, text, text)
		check := client{t: t}
		var r *api.Response
		for e := range create(t, s, `{`+body+`}`).Events() {
			check.event(e)
			r, _ = api.Terminal(e)
		}
		if r.Status != api.Completed && r.Status != api.Incomplete {
			t.Errorf("status %s", r.Status)
		}
		checkStored(t, s, r)
		if py.open != 0 {
			t.Errorf("%d instances are open", py.open)
		}
		m.write()
		if again := respond(t, s, `{"input":"On.","previous_response_id":"`+r.ID+`"}`); text != "" && again.Status != api.Completed {
			t.Errorf("continued: %s", encode(t, again))
		}
	})
}

// FuzzRequest sends anything. What is not refused as the client's mistake is answered.
func FuzzRequest(f *testing.F) {
	for _, body := range []string{
		`{"input":"Hi","max_output_tokens":5}`,
		`{"input":[{"role":"user","content":"a"},{"type":"function_call","call_id":"c","name":"f","arguments":""},{"type":"function_call_output","call_id":"c","output":[]}]}`,
		`{"input":[{"type":"odd"}],"tools":[{"type":"function","name":"f","parameters":{"$ref":"#/a","a":{"anyOf":[]}}}],"tool_choice":"required","max_output_tokens":9}`,
		`{"input":[{"role":"system","content":""},{"type":"reasoning","encrypted_content":"chorale1.A"}],"text":{"format":{"type":"json_schema","name":"n"}},"truncation":"auto"}`,
		`{"input":[{"type":"code_interpreter_call","id":"c","code":"1","outputs":[{"type":"logs","logs":"2"}]},{"type":"code_interpreter_call"}],"tools":[{"type":"code_interpreter","container":{"type":"auto"}}],"tool_choice":{"type":"code_interpreter"},"max_tool_calls":1}`,
		`{"input":[{"id":"x"}],"logit_bias":{"1":5},"temperature":0,"seed":-1,"stop":["a"],"reasoning":{"effort":""}}`,
	} {
		f.Add([]byte(body))
	}
	m := &model{}
	s := start(f, enginetest.Options{Script: m.script}, responses.Options{MaxOutputTokens: 50, Tools: tools(f, &pythonFake{})})
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := api.DecodeRequest(body)
		if err != nil {
			return
		}
		run, err := s.Create(t.Context(), r)
		if err != nil {
			var e *api.Error
			if !errors.As(err, &e) || e.Status != 400 && e.Status != 404 {
				t.Fatalf("got %v, want an *api.Error with status 400 or 404", err)
			}
			return
		}
		check := client{t: t}
		for e := range run.Events() {
			check.event(e)
		}
	})
}
