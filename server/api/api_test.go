package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"chorale/server/api"
)

// nested returns n arrays around nothing.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestDecodeRequestRefuses(t *testing.T) {
	t.Parallel()
	user := func(content string) string { return `{"input":[{"role":"user","content":` + content + `}]}` }
	var b strings.Builder
	for i := range 1<<18 + 1 {
		fmt.Fprintf(&b, `,"%x":0`, i)
	}
	manyKeys := b.String()[1:]
	pairs := make([]string, 17)
	for i := range pairs {
		pairs[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	tests := []struct{ name, body, param, code, message string }{
		{"nothing", ``, "", "invalid_json", "unexpected end of JSON input"},
		{"cut off", `{"input":`, "", "invalid_json", "unexpected end of JSON input at byte 9"},
		{"text", `hello`, "", "invalid_json", "invalid character"},
		{"comma at the end", `{"input":"a",}`, "", "invalid_json", "at byte"},
		{"two values", `{"input":"a"} {}`, "", "invalid_json", "after top-level value"},
		{"garbage after the value", `{"input":"a"}]`, "", "invalid_json", "after top-level value"},
		{"repeated key", `{"input":"a","input":"b"}`, "", "invalid_json", `the key "input" is repeated`},
		{"repeated key far inside", `{"tools":[{"type":"x","a":{"b":1,"b":2}}]}`, "", "invalid_json", `the key "b" is repeated`},
		{"keys repeated by an escape", `{"a":1,"\u0061":2}`, "", "invalid_json", `the key "a" is repeated`},
		{"too deep", `{"x":` + nested(128) + `}`, "", "invalid_json", "deeper than 128"},
		{"extremely deep", strings.Repeat("[", 1_000_000), "", "invalid_json", "depth"},
		{"too many keys", `{"x":{` + manyKeys + `}}`, "", "invalid_json", "more than 262144 keys"},
		{"too many items", `{"input":[` + strings.Repeat("0,", 100_000) + `0]}`, "input", "array_above_max_length", "length 100001"},
		{"invalid UTF-8", "{\"input\":\"\xff\"}", "", "invalid_json", "UTF-8"},
		{"an array", `[]`, "", "invalid_type", "the request body: expected an object, but got an array"},
		{"null", `null`, "", "invalid_type", "got null"},

		{"model is a number", `{"model":3}`, "model", "invalid_type", "expected a string, but got an integer instead"},
		{"input is a number", `{"input":1.5}`, "input", "invalid_type",
			"expected one of a string or an array of input items, but got a decimal number instead"},
		{"input is an object", `{"input":{}}`, "input", "invalid_type", "got an object"},
		{"input is too long", `{"input":"` + strings.Repeat("é", api.MaxTextLength+1) + `"}`, "input", "string_above_max_length",
			"maximum length 10485760, but got a string with length 10485761"},
		{"item is a string", `{"input":["a"]}`, "input[0]", "invalid_type", "expected an input item, but got a string"},
		{"item without role", `{"input":[{"content":"a"}]}`, "input[0].role", "missing_required_parameter",
			"Missing required parameter: 'input[0].role'."},
		{"role is not known", `{"input":[{"role":"tool","content":"a"}]}`, "input[0].role", "invalid_value",
			"Supported values are: 'user', 'assistant', 'system', 'developer'."},
		{"item type is a boolean", `{"input":[{"type":true}]}`, "input[0].type", "invalid_type", "got a boolean"},
		{"no content", `{"input":[{"role":"user"}]}`, "input[0].content", "missing_required_parameter", "input[0].content"},
		{"content is null", user(`null`), "input[0].content", "missing_required_parameter", "input[0].content"},
		{"content is a number", user(`7`), "input[0].content", "invalid_type", "a string or an array of content parts"},
		{"part is a string", user(`["a"]`), "input[0].content[0]", "invalid_type", "a content part"},
		{"part without type", user(`[{"text":"a"}]`), "input[0].content[0].type", "missing_required_parameter", "type"},
		{"third part's text is a number", user(`[{"type":"input_text","text":"a"},{"type":"x"},{"type":"input_text","text":5}]`),
			"input[0].content[2].text", "invalid_type", "expected a string, but got an integer instead"},
		{"text is missing", user(`[{"type":"input_text"}]`), "input[0].content[0].text", "missing_required_parameter", "text"},
		{"content is too long", user(`"` + strings.Repeat("a", api.MaxTextLength+1) + `"`), "input[0].content",
			"string_above_max_length", "10485760"},
		{"call without call_id", `{"input":[{"type":"function_call","name":"f","arguments":"{}"}]}`, "input[0].call_id",
			"missing_required_parameter", "input[0].call_id"},
		{"output without call_id", `{"input":[{"type":"function_call_output","output":"x"}]}`, "input[0].call_id",
			"missing_required_parameter", "input[0].call_id"},
		{"output with an empty call_id", `{"input":[{"type":"function_call_output","call_id":"","output":"x"}]}`,
			"input[0].call_id", "invalid_value", "must not be empty"},
		{"output is an object", `{"input":[{"type":"function_call_output","call_id":"c","output":{}}]}`, "input[0].output",
			"invalid_type", "a string or an array"},
		{"arguments are an object", `{"input":[{"type":"function_call","call_id":"c","name":"f","arguments":{}}]}`,
			"input[0].arguments", "invalid_type", "expected a string, but got an object"},
		{"call to a name with a blank", `{"input":[{"type":"function_call","call_id":"c","name":"f g","arguments":""}]}`,
			"input[0].name", "invalid_value", "pattern"},
		{"reference without id", `{"input":[{"type":"item_reference"}]}`, "input[0].id", "missing_required_parameter", "id"},
		{"code is a number", `{"input":[{"type":"code_interpreter_call","code":1}]}`, "input[0].code", "invalid_type", "a string"},
		{"logs of code are missing", `{"input":[{"type":"code_interpreter_call","outputs":[{"type":"logs"}]}]}`, "input[0].outputs[0].logs", "missing_required_parameter", "logs"},
		{"summary is a string", `{"input":[{"type":"reasoning","summary":"x"}]}`, "input[0].summary", "invalid_type", "an array"},

		{"temperature is a string", `{"temperature":"1"}`, "temperature", "invalid_type", "expected a decimal number, but got a string"},
		{"temperature too high", `{"temperature":2.1}`, "temperature", "decimal_above_max_value", "<= 2, but got 2.1"},
		{"temperature negative", `{"temperature":-1}`, "temperature", "decimal_below_min_value", ">= 0, but got -1"},
		{"temperature beyond floats", `{"temperature":1e999}`, "temperature", "decimal_above_max_value", "1e999"},
		{"top_p", `{"top_p":1.5}`, "top_p", "decimal_above_max_value", "<= 1"},
		{"min_p", `{"min_p":-0.1}`, "min_p", "decimal_below_min_value", ">= 0"},
		{"penalty", `{"presence_penalty":3}`, "presence_penalty", "decimal_above_max_value", "<= 2"},
		{"repetition penalty", `{"repetition_penalty":0}`, "repetition_penalty", "decimal_below_min_value", ">= 0.01"},
		{"top_logprobs", `{"top_logprobs":21}`, "top_logprobs", "integer_above_max_value", "<= 20"},
		{"no tokens", `{"max_output_tokens":0}`, "max_output_tokens", "integer_below_min_value", ">= 1, but got 0"},
		{"half a token", `{"max_output_tokens":1.5}`, "max_output_tokens", "invalid_type",
			"expected an integer, but got a decimal number"},
		{"tokens beyond integers", `{"max_output_tokens":99999999999999999999}`, "max_output_tokens", "integer_above_max_value",
			"got 99999999999999999999"},
		{"seed beyond integers", `{"seed":9223372036854775808}`, "seed", "integer_above_max_value", "9223372036854775808"},
		{"negative seed beyond integers", `{"seed":-1e30}`, "seed", "integer_below_min_value", "-1e30"},
		{"top_k", `{"top_k":-1}`, "top_k", "integer_below_min_value", ">= 0"},
		{"stop is a number", `{"stop":1}`, "stop", "invalid_type", "an array"},
		{"stop is empty", `{"stop":["a",""]}`, "stop", "invalid_value", "empty"},
		{"too many stops", `{"stop":[` + strings.Repeat(`"a",`, 16) + `"a"]}`, "stop", "array_above_max_length", "maximum length 16"},
		{"bias", `{"logit_bias":{"5":101}}`, "logit_bias.5", "decimal_above_max_value", "<= 100"},
		{"store", `{"store":"yes"}`, "store", "invalid_type", "a boolean"},
		{"truncation", `{"truncation":"middle"}`, "truncation", "invalid_value", "'auto', 'disabled'"},
		{"include", `{"include":"x"}`, "include", "invalid_type", "an array"},
		{"include's second", `{"include":["x",1]}`, "include[1]", "invalid_type", "a string"},
		{"effort", `{"reasoning":{"effort":1}}`, "reasoning.effort", "invalid_type", "a string"},
		{"reasoning", `{"reasoning":"low"}`, "reasoning", "invalid_type", "an object"},
		{"summary", `{"reasoning":{"summary":"long"}}`, "reasoning.summary", "invalid_value", "'auto', 'concise', 'detailed'"},
		{"format without type", `{"text":{"format":{}}}`, "text.format.type", "missing_required_parameter", "type"},
		{"format", `{"text":{"format":{"type":"yaml"}}}`, "text.format.type", "invalid_value", "'json_schema'"},
		{"schema without name", `{"text":{"format":{"type":"json_schema","schema":{}}}}`, "text.format.name",
			"missing_required_parameter", "name"},
		{"schema", `{"text":{"format":{"type":"json_schema","name":"n","schema":[]}}}`, "text.format.schema", "invalid_type", "an object"},
		{"too much metadata", `{"metadata":{` + strings.Join(pairs, ",") + `}}`, "metadata", "object_above_max_properties", "at most 16"},
		{"metadata key", `{"metadata":{"` + strings.Repeat("k", 65) + `":"v"}}`, "metadata", "string_above_max_length", "64"},
		{"metadata value", `{"metadata":{"k":"` + strings.Repeat("v", 513) + `"}}`, "metadata.k", "string_above_max_length", "512"},
		{"metadata number", `{"metadata":{"k":1}}`, "metadata.k", "invalid_type", "a string"},
		{"stream options", `{"stream_options":{"include_obfuscation":1}}`, "stream_options.include_obfuscation", "invalid_type", "a boolean"},

		{"tools", `{"tools":{}}`, "tools", "invalid_type", "an array"},
		{"tool without type", `{"tools":[{"name":"f"}]}`, "tools[0].type", "missing_required_parameter", "tools[0].type"},
		{"function in the style of chat completions", `{"tools":[{"type":"function","function":{"name":"f"}}]}`, "tools[0].name",
			"missing_required_parameter", "Missing required parameter: 'tools[0].name'."},
		{"function name", `{"tools":[{"type":"function","name":"f g"}]}`, "tools[0].name", "invalid_value", "pattern"},
		{"empty function name", `{"tools":[{"type":"function","name":""}]}`, "tools[0].name", "invalid_value", "pattern"},
		{"parameters", `{"tools":[{"type":"function","name":"f","parameters":"{}"}]}`, "tools[0].parameters", "invalid_type", "an object"},
		{"container is a number", `{"tools":[{"type":"code_interpreter","container":1}]}`, "tools[0].container", "invalid_type", "a string or an object"},
		{"container of a new kind", `{"tools":[{"type":"code_interpreter","container":{"type":"old"}}]}`, "tools[0].container.type", "invalid_value", "'auto'"},
		{"plugin without name", `{"tools":[{"type":"plugin"}]}`, "tools[0].name", "missing_required_parameter", "name"},
		{"plugin's name", `{"tools":[{"type":"plugin","name":"../x"}]}`, "tools[0].name", "invalid_value", "pattern"},
		{"misspelt limit of a plugin", `{"tools":[{"type":"plugin","name":"p","allowed_tool":["t"]}]}`, "tools[0].allowed_tool", "unknown_parameter", "'allowed_tools'"},
		{"allowed tools of a plugin", `{"tools":[{"type":"plugin","name":"p","allowed_tools":"t"}]}`, "tools[0].allowed_tools", "invalid_type", "an array"},
		{"no allowed tools of a plugin", `{"tools":[{"type":"plugin","name":"p","allowed_tools":[]}]}`, "tools[0].allowed_tools", "empty_array", "Leave it out"},
		{"allowed tool of a plugin twice", `{"tools":[{"type":"plugin","name":"p","allowed_tools":["t","t"]}]}`, "tools[0].allowed_tools[1]", "invalid_value", "twice"},
		{"allowed tool of a plugin is a number", `{"tools":[{"type":"plugin","name":"p","allowed_tools":[1]}]}`, "tools[0].allowed_tools[0]", "invalid_type", "a string"},
		{"too many allowed tools of a plugin", `{"tools":[{"type":"plugin","name":"p","allowed_tools":[` + strings.Repeat(`"t",`, 256) + `"t"]}]}`, "tools[0].allowed_tools", "array_above_max_length", "256"},
		{"choice of a plugin without name", `{"tool_choice":{"type":"plugin"}}`, "tool_choice.name", "missing_required_parameter", "name"},
		{"choice of a plugin with a list", `{"tool_choice":{"type":"plugin","name":"p","tools":["t"]}}`, "tool_choice.tools", "unknown_parameter", "'tool'"},
		{"allowed plugin without name", `{"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"plugin"}]}}`, "tool_choice.tools[0].name", "missing_required_parameter", "name"},
		{"plugin's call without name", `{"input":[{"type":"mcp_call","arguments":"","server_label":"p"}]}`, "input[0].name", "missing_required_parameter", "name"},
		{"plugin's call with a header in its name", `{"input":[{"type":"mcp_call","arguments":"","name":"t<|end|>","server_label":"p"}]}`, "input[0].name", "invalid_value", "pattern"},
		{"plugin's call with white space in the label", `{"input":[{"type":"mcp_call","arguments":"","name":"t","server_label":"p q"}]}`, "input[0].server_label", "invalid_value", "pattern"},
		{"mcp without label", `{"tools":[{"type":"mcp","server_url":"https://a.example"}]}`, "tools[0].server_label", "missing_required_parameter", "server_label"},
		{"mcp label with a blank", `{"tools":[{"type":"mcp","server_label":"a b"}]}`, "tools[0].server_label", "invalid_value", "pattern"},
		{"mcp connector", `{"tools":[{"type":"mcp","server_label":"a","connector_id":"connector_gmail"}]}`, "tools[0].connector_id", "unsupported_parameter", "use 'server_url'"},
		{"mcp tunnel", `{"tools":[{"type":"mcp","server_label":"a","tunnel_id":"t"}]}`, "tools[0].tunnel_id", "unsupported_parameter", "'server_label' alone"},
		{"misspelt limit of mcp", `{"tools":[{"type":"mcp","server_label":"a","allowed_tool":["t"]}]}`, "tools[0].allowed_tool", "unknown_parameter", "'allowed_tools'"},
		{"misspelt filter of mcp", `{"tools":[{"type":"mcp","server_label":"a","allowed_tools":{"readonly":true}}]}`, "tools[0].allowed_tools.readonly", "unknown_parameter", "'read_only'"},
		{"approval of mcp", `{"tools":[{"type":"mcp","server_label":"a","require_approval":"sometimes"}]}`, "tools[0].require_approval", "invalid_value", "'always', 'never'"},
		{"misspelt approval of mcp", `{"tools":[{"type":"mcp","server_label":"a","require_approval":{"nevr":{}}}]}`, "tools[0].require_approval.nevr", "unknown_parameter", "'never'"},
		{"header of mcp is a number", `{"tools":[{"type":"mcp","server_label":"a","headers":{"X-A":1}}]}`, "tools[0].headers.X-A", "invalid_type", "a string"},
		{"header name of mcp", `{"tools":[{"type":"mcp","server_label":"a","headers":{"X A":"v"}}]}`, "tools[0].headers.X A", "invalid_value", "name"},
		{"line break in a header of mcp", `{"tools":[{"type":"mcp","server_label":"a","headers":{"X-A":"v\r\nX-B: w"}}]}`, "tools[0].headers.X-A", "invalid_value", "control characters"},
		{"line break in the token of mcp", `{"tools":[{"type":"mcp","server_label":"a","authorization":"v\n"}]}`, "tools[0].authorization", "invalid_value", "control characters"},
		{"two tokens of mcp", `{"tools":[{"type":"mcp","server_label":"a","authorization":"v","headers":{"authorization":"w"}}]}`, "tools[0].headers.authorization", "invalid_value", "one of the two"},
		{"too many headers of mcp", `{"tools":[{"type":"mcp","server_label":"a","headers":{` + manyHeaders + `}}]}`, "tools[0].headers", "object_above_max_properties", "64"},
		{"choice of mcp without label", `{"tool_choice":{"type":"mcp"}}`, "tool_choice.server_label", "missing_required_parameter", "server_label"},
		{"list of tools without a schema", `{"input":[{"type":"mcp_list_tools","server_label":"a","tools":[{"name":"t"}]}]}`, "input[0].tools[0].input_schema", "missing_required_parameter", "input_schema"},
		{"list of tools with a header in a name", `{"input":[{"type":"mcp_list_tools","server_label":"a","tools":[{"name":"t<|end|>","input_schema":{}}]}]}`, "input[0].tools[0].name", "invalid_value", "pattern"},
		{"approval without a request", `{"input":[{"type":"mcp_approval_response","approve":true}]}`, "input[0].approval_request_id", "missing_required_parameter", "approval_request_id"},
		{"approval as a string", `{"input":[{"type":"mcp_approval_response","approve":"yes","approval_request_id":"a"}]}`, "input[0].approve", "invalid_type", "a boolean"},
		{"output of a plugin's call", `{"input":[{"type":"mcp_call","arguments":"","name":"t","server_label":"p","output":[]}]}`, "input[0].output", "invalid_type", "a string"},
		{"tool choice", `{"tool_choice":"maybe"}`, "tool_choice", "invalid_value", "'none', 'auto', 'required'"},
		{"tool choice is a number", `{"tool_choice":1}`, "tool_choice", "invalid_type", "a string or an object"},
		{"tool choice without name", `{"tool_choice":{"type":"function"}}`, "tool_choice.name", "missing_required_parameter", "name"},
		{"allowed tools without mode", `{"tool_choice":{"type":"allowed_tools","tools":[]}}`, "tool_choice.mode",
			"missing_required_parameter", "mode"},
		{"allowed tool without name", `{"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function"}]}}`,
			"tool_choice.tools[0].name", "missing_required_parameter", "name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := api.DecodeRequest([]byte(tt.body))
			var e *api.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *api.Error", err)
			}
			if e.Status != 400 || e.Type != "invalid_request_error" || e.Param != tt.param || e.Code != tt.code ||
				!strings.Contains(e.Message, tt.message) {
				t.Errorf("got %d %s, param %q, code %q, %q;\nwant param %q, code %q, with %q",
					e.Status, e.Type, e.Param, e.Code, e.Message, tt.param, tt.code, tt.message)
			}
			if len(e.Message) > 1000 {
				t.Errorf("the message has %d bytes", len(e.Message))
			}
		})
	}
}

func TestDecodeRequest(t *testing.T) {
	t.Parallel()
	body := `{
		"model": "m", "instructions": "be nice", "previous_response_id": "resp_1", "store": false, "stream": true,
		"background": null, "include": ["reasoning.encrypted_content"], "metadata": {"a": "b"},
		"tools": [{"type": "function", "name": "f", "parameters": {"z": 1.0, "a": {}}, "strict": true}, {"type": "x_search", "x": [1.0]}],
		"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}, {"type": "x_search"}, {"type": "plugin", "name": "p", "tool": "t"}, {"type": "mcp", "server_label": "s", "name": "t"}]},
		"parallel_tool_calls": false, "max_tool_calls": 3, "max_output_tokens": 16.0,
		"reasoning": {"effort": "xxl", "summary": "auto"},
		"text": {"format": {"type": "json_schema", "name": "n", "schema": {"b": 1, "a": 2}, "strict": true}, "verbosity": "low"},
		"truncation": "auto", "temperature": 0, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": -2, "top_logprobs": 20,
		"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "seed": -9223372036854775808, "stop": "END", "logit_bias": {"7": -100},
		"service_tier": "flex", "safety_identifier": "s", "prompt_cache_key": "k", "user": "u",
		"stream_options": {"include_obfuscation": false}, "zebra": 1, "client_metadata": {}
	}`
	r, err := api.DecodeRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	checks := []struct {
		name      string
		got, want any
	}{
		{"model", r.Model, "m"},
		{"instructions", *r.Instructions, "be nice"},
		{"previous", r.PreviousResponseID, "resp_1"},
		{"store", *r.Store, false},
		{"stream", *r.Stream, true},
		{"null is absent", r.Background == nil, true},
		{"input is absent", r.Input == nil, true},
		{"conversation", r.Conversation, false},
		{"include", r.Include, []string{"reasoning.encrypted_content"}},
		{"metadata", r.Metadata, map[string]string{"a": "b"}},
		{"parameters keep order and numbers", string(r.Tools[0].(*api.FunctionTool).Parameters), `{"z": 1.0, "a": {}}`},
		{"unknown tool", r.Tools[1].(*api.RawTool).Type, "x_search"},
		{"allowed tools", r.ToolChoice.Allowed, []string{"f"}},
		{"allowed others", r.ToolChoice.AllowedOther, []api.OtherTool{{Type: "x_search"}, {Type: "plugin", Name: "p", Tool: "t"}, {Type: "mcp", Name: "s", Tool: "t"}}},
		{"mode", r.ToolChoice.Mode, "required"},
		{"parallel", *r.ParallelToolCalls, false},
		{"tool calls", *r.MaxToolCalls, int64(3)},
		{"whole number with a point", *r.MaxOutputTokens, int64(16)},
		{"effort is any word", *r.Reasoning.Effort, "xxl"},
		{"schema keeps order", string(r.Text.Format.Schema), `{"b": 1, "a": 2}`},
		{"verbosity", *r.Text.Verbosity, "low"},
		{"zero is not absent", *r.Temperature, 0.0},
		{"seed", *r.Seed, int64(-9223372036854775808)},
		{"one stop string", r.Stop, []string{"END"}},
		{"bias", r.LogitBias, map[string]float64{"7": -100}},
		{"ignored names", r.Unknown, []string{"client_metadata", "zebra"}},
	}
	for _, c := range checks {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestDecodeRequestUnsupportedIsSeen(t *testing.T) {
	t.Parallel()
	r, err := api.DecodeRequest([]byte(`{"conversation":{"id":"c"},"prompt":{"id":"p"},"background":true}`))
	if err != nil || !r.Conversation || !r.Prompt || r.Background == nil || !*r.Background {
		t.Errorf("got %+v, %v; want all three seen", r, err)
	}
}

func TestLongestInputIsAccepted(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("é", api.MaxTextLength)
	r, err := api.DecodeRequest([]byte(`{"input":"` + text + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Input[0].(*api.Message).Content[0].(api.InputText).Text; got != text {
		t.Errorf("got %d bytes, want %d", len(got), len(text))
	}
}

// items are the forms of every kind of item, as they are sent and as they are written.
var items = []struct{ name, sent, written string }{
	{"string content", `{"role":"user","content":"hi"}`,
		`{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}`},
	{"assistant's string content", `{"type":"message","role":"assistant","content":"hi","phase":"commentary"}`,
		`{"type":"message","role":"assistant","phase":"commentary","content":[{"type":"output_text","text":"hi","annotations":[],"logprobs":[]}]}`},
	{"null members", `{"type":"message","id":null,"status":null,"role":"user","content":[]}`,
		`{"type":"message","role":"user","content":[]}`},
	{"output text", `{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"<b>&","annotations":[{"type":"url_citation","z":1.0,"a":2}],"logprobs":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1,"bytes":null}]}]},{"type":"refusal","refusal":"no"}]}`,
		`{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"<b>&","annotations":[{"type":"url_citation","z":1.0,"a":2}],"logprobs":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1,"bytes":null}]}]},{"type":"refusal","refusal":"no"}]}`},
	{"output text with null lists", `{"role":"assistant","content":[{"type":"output_text","text":"a","annotations":null,"logprobs":null}]}`,
		`{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a","annotations":[],"logprobs":[]}]}`},
	{"text of chat completions", `{"role":"user","content":[{"type":"text","text":"a"}]}`,
		`{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]}`},
	{"assistant's text of chat completions", `{"role":"assistant","content":[{"type":"text","text":"a"}]}`,
		`{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a","annotations":[],"logprobs":[]}]}`},
	{"image and file", `{"role":"user","content":[{"type":"input_image","image_url":"data:x","detail":"low"},{"type":"input_file","filename":"f","file_data":"d"}]}`,
		`{"type":"message","role":"user","content":[{"type":"input_image","image_url":"data:x","detail":"low"},{"type":"input_file","filename":"f","file_data":"d"}]}`},
	{"unknown part", `{"role":"user","content":[{"b":1.0,"type":"input_video","a":{}}]}`,
		`{"type":"message","role":"user","content":[{"b":1.0,"type":"input_video","a":{}}]}`},
	{"reasoning", `{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"}],"content":[{"type":"reasoning_text","text":"t"}],"encrypted_content":"e","status":"completed"}`,
		`{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"}],"content":[{"type":"reasoning_text","text":"t"}],"encrypted_content":"e","status":"completed"}`},
	{"bare reasoning", `{"type":"reasoning","summary":null,"content":null,"encrypted_content":null}`, `{"type":"reasoning","summary":[]}`},
	{"call", `{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","namespace":"n","arguments":"{}","status":"completed"}`,
		`{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","namespace":"n","arguments":"{}","status":"completed"}`},
	{"text result", `{"type":"function_call_output","call_id":"call_1","output":""}`,
		`{"type":"function_call_output","call_id":"call_1","output":""}`},
	{"array result", `{"type":"function_call_output","call_id":"call_1","output":[{"type":"input_text","text":"a"}]}`,
		`{"type":"function_call_output","call_id":"call_1","output":[{"type":"input_text","text":"a"}]}`},
	{"empty array result", `{"type":"function_call_output","call_id":"call_1","output":[]}`,
		`{"type":"function_call_output","call_id":"call_1","output":[]}`},
	{"custom call", `{"type":"custom_tool_call","call_id":"c","name":"apply_patch","input":"*** Begin"}`,
		`{"type":"custom_tool_call","call_id":"c","name":"apply_patch","input":"*** Begin"}`},
	{"custom result", `{"type":"custom_tool_call_output","call_id":"c","output":"ok"}`,
		`{"type":"custom_tool_call_output","call_id":"c","output":"ok"}`},
	{"code", `{"type":"code_interpreter_call","id":"ci_1","status":"completed","code":"1+1","container_id":"cntr_1","outputs":[{"type":"logs","logs":""},{"type":"image","url":"data:x"},{"b":1.0,"type":"odd"}]}`,
		`{"type":"code_interpreter_call","id":"ci_1","status":"completed","code":"1+1","container_id":"cntr_1","outputs":[{"type":"logs","logs":""},{"type":"image","url":"data:x"},{"b":1.0,"type":"odd"}]}`},
	{"code without outputs", `{"type":"code_interpreter_call","outputs":[]}`, `{"type":"code_interpreter_call","code":"","container_id":"","outputs":[]}`},
	{"code with null members", `{"type":"code_interpreter_call","code":null,"container_id":null,"outputs":null}`,
		`{"type":"code_interpreter_call","code":"","container_id":"","outputs":null}`},
	{"plugin's call", `{"type":"mcp_call","id":"mcp_1","approval_request_id":"a","arguments":"{}","error":{"type":"http_error","code":1.0},"name":"t","output":"","server_label":"p","status":"failed"}`,
		`{"type":"mcp_call","id":"mcp_1","approval_request_id":"a","arguments":"{}","error":{"type":"http_error","code":1.0},"name":"t","output":"","server_label":"p","status":"failed"}`},
	{"bare plugin's call", `{"type":"mcp_call","arguments":"","name":"t.u/v","server_label":"p","error":null,"output":null}`,
		`{"type":"mcp_call","approval_request_id":null,"arguments":"","error":null,"name":"t.u/v","output":null,"server_label":"p"}`},
	{"plugin's call with the error of an early SDK", `{"type":"mcp_call","arguments":"","name":"t","server_label":"p","error":"no"}`,
		`{"type":"mcp_call","approval_request_id":null,"arguments":"","error":"no","name":"t","output":null,"server_label":"p"}`},
	{"list of tools", `{"type":"mcp_list_tools","id":"mcpl_1","error":null,"server_label":"a","tools":[{"annotations":{"readOnlyHint":true},"description":"d","input_schema":{"z":1.0},"name":"t"},{"annotations":null,"description":null,"input_schema":{},"name":"u"}]}`,
		`{"type":"mcp_list_tools","id":"mcpl_1","error":null,"server_label":"a","tools":[{"annotations":{"readOnlyHint":true},"description":"d","input_schema":{"z":1.0},"name":"t"},{"annotations":null,"description":null,"input_schema":{},"name":"u"}]}`},
	{"failed list of tools", `{"type":"mcp_list_tools","server_label":"a","error":"no"}`, `{"type":"mcp_list_tools","error":"no","server_label":"a","tools":[]}`},
	{"request for an approval", `{"type":"mcp_approval_request","id":"mcpr_1","arguments":"{}","name":"t","server_label":"a"}`,
		`{"type":"mcp_approval_request","id":"mcpr_1","arguments":"{}","name":"t","server_label":"a"}`},
	{"approval", `{"type":"mcp_approval_response","id":"mcpa_1","approval_request_id":"mcpr_1","approve":true}`,
		`{"type":"mcp_approval_response","id":"mcpa_1","approval_request_id":"mcpr_1","approve":true}`},
	{"refused approval", `{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":false,"reason":"too late"}`,
		`{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":false,"reason":"too late"}`},
	{"reference", `{"type":"item_reference","id":"msg_1"}`, `{"type":"item_reference","id":"msg_1"}`},
	{"reference without type", `{"id":"msg_1"}`, `{"type":"item_reference","id":"msg_1"}`},
	{"unknown type", `{"type":"local_shell_call","z":1.0,"id":"x","a":[null]}`, `{"type":"local_shell_call","z":1.0,"id":"x","a":[null]}`},
	{"unknown type whose id needs escapes", `{"type":"weird","id":"a\"\u0041"}`, `{"type":"weird","id":"a\"A"}`},
}

func TestItems(t *testing.T) {
	t.Parallel()
	for _, tt := range items {
		r, err := api.DecodeRequest([]byte(`{"input":[` + tt.sent + `]}`))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, err := api.Encode(r.Input[0])
		if err != nil || string(got) != tt.written {
			t.Errorf("%s:\n got %s, %v\nwant %s", tt.name, got, err, tt.written)
		}
		again, err := api.DecodeItem(got)
		if err != nil {
			t.Errorf("%s: what was written is not accepted: %v", tt.name, err)
			continue
		}
		if twice, _ := api.Encode(again); string(twice) != tt.written {
			t.Errorf("%s: written a second time it is %s", tt.name, twice)
		}
	}
}

func TestSetID(t *testing.T) {
	t.Parallel()
	for _, tt := range items {
		r, err := api.DecodeRequest([]byte(`{"input":[` + tt.sent + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		api.SetID(r.Input[0], "new_1")
		data, err := api.Encode(r.Input[0])
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ ID, Type string }
		if err := json.Unmarshal(data, &got); err != nil || got.ID != "new_1" || got.Type != api.Kind(r.Input[0]) {
			t.Errorf("%s: got %s, %v", tt.name, data, err)
		}
		if api.ID(r.Input[0]) != "new_1" {
			t.Errorf("%s: ID is %q", tt.name, api.ID(r.Input[0]))
		}
	}
}

// manyHeaders are 65.
var manyHeaders = func() string {
	var headers []string
	for i := range 65 {
		headers = append(headers, fmt.Sprintf(`"X-%d":"v"`, i))
	}
	return strings.Join(headers, ",")
}()

func TestToolsRoundTrip(t *testing.T) {
	t.Parallel()
	const tools = `[{"type":"function","name":"f","description":"d","parameters":{"z":1.0,"a":[]},"strict":false},` +
		`{"type":"function","name":"g","description":null,"parameters":null,"strict":null},` +
		`{"container":"cntr_1","type":"code_interpreter"},{"type":"code_interpreter","container":{"type":"auto","memory_limit":"1g","x":1}},` +
		`{"type":"plugin","name":"p","allowed_tools":["t"]},{"type":"plugin","name":"p","allowed_tools":null},` +
		`{"server_label":"s","type":"other","headers":{"b":"1","a":"2"}}]`
	r, err := api.DecodeRequest([]byte(`{"tools":` + tools + `}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := api.Encode(r.Tools); err != nil || string(got) != tools {
		t.Errorf("got %s, %v;\nwant %s", got, err, tools)
	}
	for i, kind := range []string{"function", "function", "code_interpreter", "code_interpreter", "plugin", "plugin", "other"} {
		if got := api.ToolKind(r.Tools[i]); got != kind {
			t.Errorf("tool %d is a %s, want %s", i, got, kind)
		}
	}
	if c := r.Tools[2].(*api.CodeInterpreterTool).Container; c.ID != "cntr_1" {
		t.Errorf("container %+v", c)
	}
}

// TestMCPToolKeepsSecrets holds that what an MCP tool proves its rights with is read and never written.
func TestMCPToolKeepsSecrets(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, sent, want string }{
		{"all members", `"server_url":"https://a.example/mcp/canary?k=canary","server_description":"d","authorization":"canary","headers":{"X-Canary":"canary"},` +
			`"allowed_tools":{"tool_names":["t"],"read_only":true},"require_approval":{"never":{"read_only":true}},"defer_loading":true,"allowed_callers":["direct"]`,
			`{"type":"mcp","allowed_callers":["direct"],"allowed_tools":{"tool_names":["t"],"read_only":true},"defer_loading":true,"headers":null,` +
				`"require_approval":{"never":{"read_only":true}},"server_description":"d","server_label":"l","server_url":"https://a.example/<redacted>"}`},
		{"none", `"server_url":null`, `{"type":"mcp","allowed_tools":null,"headers":null,"require_approval":"always","server_description":null,"server_label":"l"}`},
		{"an origin", `"server_url":"https://a.example:8443/","require_approval":"never","allowed_tools":["t"]`,
			`{"type":"mcp","allowed_tools":["t"],"headers":null,"require_approval":"never","server_description":null,"server_label":"l","server_url":"https://a.example:8443"}`},
		{"a user in the URL", `"server_url":"https://canary:canary@a.example"`,
			`{"type":"mcp","allowed_tools":null,"headers":null,"require_approval":"always","server_description":null,"server_label":"l","server_url":"https://a.example"}`},
		{"no URL", `"server_url":"canary"`,
			`{"type":"mcp","allowed_tools":null,"headers":null,"require_approval":"always","server_description":null,"server_label":"l","server_url":"<redacted>"}`},
	}
	for _, tt := range tests {
		r, err := api.DecodeRequest([]byte(`{"tools":[{"type":"mcp","server_label":"l",` + tt.sent + `}]}`))
		if err != nil {
			t.Fatal(tt.name, err)
		}
		got, err := api.Encode(r.Tools[0])
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s, %v;\nwant %s", tt.name, got, err, tt.want)
		}
		again, err := api.DecodeRequest([]byte(`{"tools":[` + string(got) + `]}`))
		if err != nil {
			t.Errorf("%s: read again: %v", tt.name, err)
		} else if twice, _ := api.Encode(again.Tools[0]); string(twice) != string(got) {
			t.Errorf("%s: written again: %s", tt.name, twice)
		}
		if all := r.Tools[0].(*api.MCPTool); tt.name == "all members" && (all.Authorization != "canary" || all.Headers["X-Canary"] != "canary" || all.ServerURL != "https://a.example/mcp/canary?k=canary") {
			t.Errorf("read %+v", all)
		}
	}
}

func TestMCPFilters(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, approval  string
		tool            string
		readOnly, needs bool
	}{
		{"not sent", `null`, "t", true, true},
		{"always", `"always"`, "t", true, true},
		{"never", `"never"`, "t", false, false},
		{"never by name", `{"never":{"tool_names":["t"]}}`, "t", false, false},
		{"another name", `{"never":{"tool_names":["t"]}}`, "u", true, true},
		{"never if read only", `{"never":{"read_only":true}}`, "t", true, false},
		{"not read only", `{"never":{"read_only":true}}`, "t", false, true},
		{"name of a tool that is not read only", `{"never":{"tool_names":["t"],"read_only":true}}`, "t", false, true},
		{"in both", `{"never":{"tool_names":["t"]},"always":{"tool_names":["t"]}}`, "t", false, true},
		{"in none", `{"always":{"tool_names":["u"]}}`, "t", false, true},
		{"empty filter chooses all", `{"never":{}}`, "t", false, false},
		{"a list", `{"never":["t"]}`, "t", false, false},
	}
	for _, tt := range tests {
		r, err := api.DecodeRequest([]byte(`{"tools":[{"type":"mcp","server_label":"l","require_approval":` + tt.approval + `}]}`))
		if err != nil {
			t.Fatal(tt.name, err)
		}
		a := r.Tools[0].(*api.MCPTool).RequireApproval
		if got := a.Needs(tt.tool, tt.readOnly); got != tt.needs || a.Sent() != (tt.approval != "null") {
			t.Errorf("%s: needs an approval: %v", tt.name, got)
		}
	}
}

// TestContainerIsWritten holds that a code interpreter without a container, which the SDKs' schemas do not allow, gets one.
func TestContainerIsWritten(t *testing.T) {
	t.Parallel()
	for _, sent := range []string{`{"type":"code_interpreter"}`, `{"container":null,"type":"code_interpreter"}`} {
		r, err := api.DecodeRequest([]byte(`{"tools":[` + sent + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := api.Encode(r.Tools[0]); err != nil || string(got) != `{"type":"code_interpreter","container":{"type":"auto"}}` {
			t.Errorf("%s: got %s, %v", sent, got, err)
		}
	}
}

func TestToolChoiceRoundTrip(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		`null`:                           `"auto"`,
		`"none"`:                         `"none"`,
		`"required"`:                     `"required"`,
		`{"name":"f","type":"function"}`: `{"name":"f","type":"function"}`,
		`{"type":"web_search_preview"}`:  `{"type":"web_search_preview"}`,
		`{"type":"allowed_tools","tools":[],"mode":"auto","x":[]}`: `{"type":"allowed_tools","tools":[],"mode":"auto","x":[]}`,
	} {
		r, err := api.DecodeRequest([]byte(`{"tool_choice":` + sent + `}`))
		if err != nil {
			t.Errorf("%s: %v", sent, err)
			continue
		}
		if got, err := api.Encode(r.ToolChoice); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v", sent, got, err)
		}
	}
}

func TestResponseRoundTrip(t *testing.T) {
	t.Parallel()
	var r api.Response
	if err := json.Unmarshal([]byte(`{"output":[`+items[3].sent+`,`+items[9].sent+`],"tools":[{"type":"x","b":1.0}],
		"tool_choice":{"type":"function","name":"f"},"metadata":{"a":"b"},"id":"resp_1","usage":{"input_tokens":3}}`), &r); err != nil {
		t.Fatal(err)
	}
	first, err := api.Encode(&r)
	if err != nil {
		t.Fatal(err)
	}
	var again api.Response
	if err := json.Unmarshal(first, &again); err != nil {
		t.Fatal(err)
	}
	if second, err := api.Encode(&again); err != nil || string(first) != string(second) {
		t.Errorf("got %s, %v;\nwant %s", second, err, first)
	}
	if r.ToolChoice.Name != "f" || len(r.Output) != 2 || r.Usage.InputTokens != 3 {
		t.Errorf("got %s", first)
	}
}

// TestResponseSchema holds the members that OpenAI's SDKs and the schemas of Open Responses require, and which of them
// may be null.
func TestResponseSchema(t *testing.T) {
	t.Parallel()
	data, err := api.Encode(&api.Response{Output: []api.Item{}, Tools: []api.Tool{}, Metadata: map[string]string{},
		Text: api.TextOptions{Format: api.Format{Type: "text"}}, Usage: &api.Usage{}})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	zero := 0.0
	want := map[string]any{ // nil: must be there and may be null
		"id": "", "object": "", "created_at": zero, "completed_at": nil, "status": "", "background": false, "error": nil,
		"incomplete_details": nil, "instructions": nil, "max_output_tokens": nil, "max_tool_calls": nil, "model": "",
		"output": []any{}, "parallel_tool_calls": false, "previous_response_id": nil,
		"reasoning":    map[string]any{"effort": nil, "summary": nil},
		"service_tier": "", "store": false, "text": map[string]any{"format": map[string]any{"type": "text"}},
		"tool_choice": "auto", "tools": []any{}, "truncation": "", "metadata": map[string]any{},
		"usage": map[string]any{"input_tokens": zero, "input_tokens_details": map[string]any{"cached_tokens": zero, "cache_write_tokens": zero},
			"output_tokens": zero, "output_tokens_details": map[string]any{"reasoning_tokens": zero}, "total_tokens": zero},
		"temperature": zero, "top_p": zero, "presence_penalty": zero, "frequency_penalty": zero, "top_logprobs": zero,
		"top_k": zero, "min_p": zero, "repetition_penalty": zero, "seed": zero,
		"safety_identifier": nil, "prompt_cache_key": nil, "user": nil,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", data)
		for name := range want {
			if !reflect.DeepEqual(got[name], want[name]) {
				t.Errorf("%s: got %v, want %v", name, got[name], want[name])
			}
		}
	}
}

func TestErrorBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		e    *api.Error
		want string
	}{
		{api.BadRequest("c", "p", "%d < 2", 1), `{"error":{"message":"1 < 2","type":"invalid_request_error","param":"p","code":"c"}}`},
		{&api.Error{Type: "server_error", Message: "m"}, `{"error":{"message":"m","type":"server_error","param":null,"code":null}}`},
	} {
		if got, err := api.Encode(tt.e); err != nil || string(got) != tt.want {
			t.Errorf("got %s, %v; want %s", got, err, tt.want)
		}
	}
}

func TestEncodeEvent(t *testing.T) {
	t.Parallel()
	at := api.Place{ItemID: "i", OutputIndex: 1}
	code := "server_error"
	tests := []struct {
		event                 api.Event
		openAI, openResponses string
	}{
		{&api.ReasoningDelta{Head: api.Head{Type: api.EventReasoningDelta, SequenceNumber: 4}, Place: at, Delta: "<"},
			`{"type":"response.reasoning_text.delta","sequence_number":4,"item_id":"i","output_index":1,"content_index":0,"delta":"<"}`,
			`{"type":"response.reasoning.delta","sequence_number":4,"item_id":"i","output_index":1,"content_index":0,"delta":"<"}`},
		{&api.ReasoningDone{Head: api.Head{Type: api.EventReasoningDone}, Place: at, Text: "t"},
			`{"type":"response.reasoning_text.done","sequence_number":0,"item_id":"i","output_index":1,"content_index":0,"text":"t"}`,
			`{"type":"response.reasoning.done","sequence_number":0,"item_id":"i","output_index":1,"content_index":0,"text":"t"}`},
		{&api.ErrorEvent{Head: api.Head{Type: api.EventError, SequenceNumber: 2}, Code: &code, Message: "m"},
			`{"type":"error","sequence_number":2,"code":"server_error","message":"m","param":null}`,
			`{"type":"error","sequence_number":2,"error":{"type":"server_error","code":"server_error","message":"m","param":null}}`},
		{&api.TextDelta{Head: api.Head{Type: api.EventTextDelta}, Place: at, Delta: "d", Logprobs: []api.Logprob{}},
			`{"type":"response.output_text.delta","sequence_number":0,"item_id":"i","output_index":1,"content_index":0,"delta":"d","logprobs":[]}`, ""},
		{&api.PartEvent{Head: api.Head{Type: api.EventPartAdded}, Place: at, Part: api.ReasoningText{}},
			`{"type":"response.content_part.added","sequence_number":0,"item_id":"i","output_index":1,"content_index":0,"part":{"type":"reasoning_text","text":""}}`, ""},
		{&api.SummaryPartEvent{Head: api.Head{Type: api.EventSummaryPartDone}, Place: at, Part: api.SummaryText{Text: "s"}},
			`{"type":"response.reasoning_summary_part.done","sequence_number":0,"item_id":"i","output_index":1,"summary_index":0,"part":{"type":"summary_text","text":"s"}}`, ""},
		{&api.ItemEvent{Head: api.Head{Type: api.EventItemAdded}, OutputIndex: 2, Item: &api.FunctionCall{ID: "fc", CallID: "c", Name: "f", Status: "in_progress"}},
			`{"type":"response.output_item.added","sequence_number":0,"output_index":2,"item":{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":"","status":"in_progress"}}`, ""},
		{&api.ArgumentsDone{Head: api.Head{Type: api.EventArgumentsDone}, Place: at, Name: "f", Arguments: "{}"},
			`{"type":"response.function_call_arguments.done","sequence_number":0,"item_id":"i","output_index":1,"name":"f","arguments":"{}"}`, ""},
		{&api.CodeDelta{Head: api.Head{Type: api.EventCodeDelta}, Place: at, Delta: "1"},
			`{"type":"response.code_interpreter_call_code.delta","sequence_number":0,"item_id":"i","output_index":1,"delta":"1"}`, ""},
		{&api.CodeDone{Head: api.Head{Type: api.EventCodeDone}, Place: at, Code: "1"},
			`{"type":"response.code_interpreter_call_code.done","sequence_number":0,"item_id":"i","output_index":1,"code":"1"}`, ""},
		{&api.ToolEvent{Head: api.Head{Type: api.EventCodeInterpreting}, Place: at},
			`{"type":"response.code_interpreter_call.interpreting","sequence_number":0,"item_id":"i","output_index":1}`, ""},
		{&api.MCPArgumentsDelta{Head: api.Head{Type: api.EventMCPArgsDelta}, Place: at, Delta: "{"},
			`{"type":"response.mcp_call_arguments.delta","sequence_number":0,"item_id":"i","output_index":1,"delta":"{"}`, ""},
		{&api.MCPArgumentsDone{Head: api.Head{Type: api.EventMCPArgsDone}, Place: at, Arguments: "{}"},
			`{"type":"response.mcp_call_arguments.done","sequence_number":0,"item_id":"i","output_index":1,"arguments":"{}"}`, ""},
		{&api.KeepAlive{Head: api.Head{Type: api.EventKeepAlive, SequenceNumber: 9}}, `{"type":"keepalive","sequence_number":9}`, ""},
	}
	for _, tt := range tests {
		if tt.openResponses == "" {
			tt.openResponses = tt.openAI
		}
		for dialect, want := range map[api.Dialect]string{api.OpenAI: tt.openAI, api.OpenResponses: tt.openResponses} {
			got, err := api.EncodeEvent([]byte("x"), tt.event, dialect)
			if err != nil || string(got) != "x"+want {
				t.Errorf("got %s, %v;\nwant x%s", got, err, want)
			}
			if name := api.EventName(tt.event, dialect); !strings.HasPrefix(want, `{"type":"`+name+`"`) {
				t.Errorf("name %q of %s", name, want)
			}
		}
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	r := &api.Response{ID: "resp_1"}
	for name, want := range map[string]bool{
		api.EventCreated: false, api.EventInProgress: false, api.EventCompleted: true, api.EventIncomplete: true, api.EventFailed: true,
	} {
		got, ok := api.Terminal(&api.ResponseEvent{Head: api.Head{Type: name}, Response: r})
		if ok != want || ok && got != r {
			t.Errorf("%s: got %v %v, want %v", name, got, ok, want)
		}
	}
	if _, ok := api.Terminal(&api.ErrorEvent{Head: api.Head{Type: api.EventError}}); ok {
		t.Error("an error event ended the stream before response.failed")
	}
}

// FuzzDecodeRequest looks for requests that are accepted and whose items then cannot be written or read again.
func FuzzDecodeRequest(f *testing.F) {
	for _, item := range items {
		f.Add([]byte(`{"input":[` + item.sent + `]}`))
	}
	f.Add([]byte(`{"input":"a","tools":[{"type":"function","name":"f"}],"tool_choice":"auto","metadata":{"a":"b"},"logit_bias":{"1":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := api.DecodeRequest(data)
		if err != nil {
			var e *api.Error
			if !errors.As(err, &e) || e.Status != 400 {
				t.Fatalf("got %v, want an *api.Error with status 400", err)
			}
			return
		}
		for _, item := range r.Input {
			written, err := api.Encode(item)
			if err != nil {
				t.Fatal(err)
			}
			again, err := api.DecodeItem(written)
			if err != nil {
				t.Fatalf("%s is not accepted: %v", written, err)
			}
			if twice, err := api.Encode(again); err != nil || string(twice) != string(written) {
				t.Fatalf("%s became %s, %v", written, twice, err)
			}
		}
		for _, v := range []any{r.Tools, r.ToolChoice} {
			if _, err := api.Encode(v); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeRequest(b *testing.B) {
	body := []byte(`{"input":[` + strings.Repeat(items[3].sent+",", 200) + items[3].sent + `]}`)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := api.DecodeRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeEvent(b *testing.B) {
	e := &api.TextDelta{Head: api.Head{Type: api.EventTextDelta}, Delta: " word", Logprobs: []api.Logprob{}}
	var buf []byte
	for b.Loop() {
		buf, _ = api.EncodeEvent(buf[:0], e, api.OpenAI)
	}
}
