package api_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"chorale/server/api"
)

func TestWebSearchTool(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"} {
		tool := `{"type":"` + name + `","filters":{"allowed_domains":["Example.com."],"blocked_domains":["b.example"]},` +
			`"user_location":{"type":"approximate","country":"NO","city":"Oslo"},"search_context_size":"low","external_web_access":false}`
		r, err := api.DecodeRequest([]byte(`{"input":"x","tools":[` + tool + `],"tool_choice":{"type":"web_search_preview"}}`))
		if err != nil {
			t.Fatal(err)
		}
		got := r.Tools[0].(*api.WebSearchTool)
		if got.Allowed[0] != "example.com" || got.Blocked[0] != "b.example" || got.Location.City != "Oslo" || got.ContextSize != "low" || *got.External {
			t.Errorf("%+v", got)
		}
		if echo, err := json.Marshal(got); err != nil || string(echo) != tool {
			t.Errorf("echo %s, %v", echo, err)
		}
		if r.ToolChoice.Other.Type != api.ToolKind(got) {
			t.Errorf("the choice %q is not the tool %q", r.ToolChoice.Other.Type, api.ToolKind(got))
		}
	}
	for tool, want := range map[string]string{
		`{"filters":{"allowed_domains":["https://a.example"]}}`:       "tools[0].filters.allowed_domains[0]",
		`{"filters":{"allowed_domains":[]}}`:                          "tools[0].filters.allowed_domains",
		`{"filters":{"blocked_domains":[1]}}`:                         "tools[0].filters.blocked_domains[0]",
		`{"filters":[]}`:                                              "tools[0].filters",
		`{"search_context_size":"huge"}`:                              "tools[0].search_context_size",
		`{"user_location":{"type":"exact"}}`:                          "tools[0].user_location.type",
		`{"user_location":{"type":"approximate","country":"Norway"}}`: "tools[0].user_location.country",
		`{"external_web_access":"no"}`:                                "tools[0].external_web_access",
	} {
		_, err := api.DecodeRequest([]byte(`{"input":"x","tools":[` + strings.Replace(tool, "{", `{"type":"web_search",`, 1) + `]}`))
		var bad *api.Error
		if !errors.As(err, &bad) || bad.Param != want {
			t.Errorf("%s: %v, want an error of %s", tool, err, want)
		}
	}
}

// TestWebSearchCall reads and writes the actions of OpenAI, earlier forms and one that is not known.
func TestWebSearchCall(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"type":"search","query":"q","sources":[{"type":"url","url":"u"}]}`: `{"type":"search","queries":["q"],"query":"q","sources":[{"type":"url","url":"u"}]}`,
		`{"type":"search","queries":["q"]}`:                                  `{"type":"search","queries":["q"],"query":"q"}`,
		`{"type":"open_page","url":"u"}`:                                     `{"type":"open_page","url":"u"}`,
		`{"type":"open_page","url":null}`:                                    `{"type":"open_page","url":null}`,
		`{"type":"find","url":"u","pattern":"p"}`:                            `{"type":"find_in_page","pattern":"p","url":"u"}`,
		`{"type":"fly","to":"u"}`:                                            `{"type":"fly","to":"u"}`,
		`null`:                                                               `{"type":"search","queries":[],"query":""}`,
	} {
		r, err := api.DecodeRequest([]byte(`{"input":[{"type":"web_search_call","id":"ws_1","status":"completed","action":` + in + `}]}`))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got, err := json.Marshal(r.Input[0].(*api.WebSearchCall).Action); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v", in, got, err)
		}
	}
}
