package harmony_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"chorale/inference/harmony"
)

// TestCaseErrors gives the case functions what is no case; each error names the key.
func TestCaseErrors(t *testing.T) {
	t.Parallel()
	c := codec(t)
	messages := func(m string) string { return `{"conversation":{"messages":[` + m + `]}}` }
	for _, test := range []struct {
		name string
		run  func([]byte) ([]byte, error)
		line string
		want string
	}{
		{"not JSON", c.RenderCase, `hello`, "render case: invalid character"},
		{"nothing", c.RenderCase, ``, "render case: unexpected end"},
		{"another type", c.RenderCase, `[]`, "render case: json: cannot unmarshal array"},
		{"no conversation", c.RenderCase, `{"mode":"message"}`, "key conversation is missing"},
		{"unknown mode", c.RenderCase, `{"mode":"all","conversation":{}}`, `unknown mode "all"`},
		{"unknown next role", c.RenderCase, `{"next_role":"robot","conversation":{}}`, `next role: unknown role "robot"`},
		{"role missing", c.RenderCase, messages(`{"content":"x"}`), `role: unknown role ""`},
		{"content of another type", c.RenderCase, messages(`{"role":"user","content":5}`), "content: want a string or a list of parts"},
		{"unknown part", c.RenderCase, messages(`{"role":"user","content":[{"type":"image"}]}`), `content[0]: unknown part type "image"`},
		{"text part without text", c.RenderCase, messages(`{"role":"user","content":[{"type":"text"}]}`), "content[0]: a part of type text needs the key text"},
		{"unknown effort", c.RenderCase, messages(`{"role":"system","content":[{"type":"system_content","reasoning_effort":"max"}]}`), `unknown reasoning_effort "max"`},
		{"tool without a name", c.RenderCase, messages(`{"role":"tool","content":"x"}`), "message 0: a tool message needs the name"},
		{"not JSON", c.ParseCase, `hello`, "parse case: invalid character"},
		{"nothing to parse", c.ParseCase, `{"strict":true}`, "key tokens or text is missing"},
		{"a file", c.ParseCase, `{"tokens_file":"x.txt"}`, "key tokens or text is missing; files are not read"},
		{"unknown role", c.ParseCase, `{"role":"robot","tokens":[]}`, `role: unknown role "robot"`},
		{"fractional token", c.ParseCase, `{"tokens":[1.5]}`, "tokens"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, err := test.run([]byte(test.line))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s, error %v; want an error with %q", out, err, test.want)
			}
		})
	}
}

// TestParseCaseModes reads the same damaged stream in each mode, and checks the whole line.
func TestParseCaseModes(t *testing.T) {
	t.Parallel()
	c := codec(t)
	for _, test := range []struct{ name, keys, want string }{
		{"strict", `"strict":true`, `{"messages":[],"state":"Header","error":"unexpected EOS while waiting for message header to complete","error_at":2}`},
		{"non-strict", `"strict":false`, `{"messages":[{"role":"assistant","content":"hi"}],"state":"ExpectStart","error":null}`},
		{"lenient by default", `"strict":null`, `{"messages":[{"role":"assistant","content":"hi"}],"state":"ExpectStart","error":null,"repairs":{"no_channel":1,"stranded_header":1}}`},
		{"lenient by name", `"strict":true,"lenient":true`, `{"messages":[{"role":"assistant","content":"hi"}],"state":"ExpectStart","error":null,"repairs":{"no_channel":1,"stranded_header":1}}`},
	} {
		got, err := c.ParseCase([]byte(`{"role":"assistant","text":"hi<|end|>",` + test.keys + `}`))
		if err != nil || string(got) != test.want {
			t.Errorf("%s\n got %s, %v\nwant %s", test.name, got, err, test.want)
		}
	}
	got, err := c.ParseCase([]byte(`{"role":null,"tokens":[200006,173781,200008,9552],"eos":false}`))
	if want := `{"messages":[],"state":"Content","error":null,"current_content":" ","repairs":{"no_channel":1}}`; err != nil || string(got) != want {
		t.Errorf("open message\n got %s, %v\nwant %s", got, err, want)
	}
}

// TestMessageJSON reads messages and writes them back; texts keep their markup readable.
func TestMessageJSON(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`{"role":"user","content":"<b>&"}`,
		`{"role":"user","name":"alice","content":""}`,
		`{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":""}]}`,
		`{"role":"user","content":[]}`,
		`{"role":"assistant","recipient":"functions.f","channel":"commentary","content_type":"<|constrain|>json","content":"{}"}`,
		`{"role":"system","content":[{"type":"system_content"}]}`,
		`{"role":"system","content":[{"type":"system_content","model_identity":"m","reasoning_effort":"Low","conversation_start_date":"2026-11-23","knowledge_cutoff":"2024-06","channel_config":{"valid_channels":["final"],"channel_required":true},"tools":{"python":{"name":"python","description":"d"}}}]}`,
		`{"role":"developer","content":[{"type":"developer_content","instructions":"","tools":{"functions":{"name":"functions","tools":[{"name":"f","description":"d","parameters":{"b":1.0,"a":1e2}}]}}}]}`,
		`{"role":"developer","content":[{"type":"developer_content"}]}`,
	} {
		var m harmony.Message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(m); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if got := strings.TrimSpace(b.String()); got != line {
			t.Errorf("\n got %s\nwant %s", got, line)
		}
	}
	for _, bad := range []harmony.Message{
		{Role: harmony.RoleUser, Content: []harmony.Part{nil, nil}},
		{Role: harmony.RoleSystem, Content: []harmony.Part{&harmony.System{Effort: "max"}}},
		{Role: harmony.RoleDeveloper, Content: []harmony.Part{&harmony.Developer{Tools: map[string]harmony.Namespace{"n": {Tools: []harmony.Function{{Parameters: json.RawMessage("{")}}}}}}},
	} {
		if out, err := json.Marshal(bad); err == nil {
			t.Errorf("%+v was written as %s", bad, out)
		}
	}
}
