package harmony_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
)

// TestRenderGolden renders our own conversations; the reference is not needed.
func TestRenderGolden(t *testing.T) {
	t.Parallel()
	c := codec(t)
	readArchive(t, "render.txtar").run(t, func(line []byte) string {
		out, err := c.RenderCase(line)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		var got struct {
			Text   string  `json:"text"`
			Tokens []int32 `json:"tokens"`
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		return got.Text + "\n" + strings.Trim(fmt.Sprint(got.Tokens), "[]") + "\n"
	})
}

// TestBuiltinDeclarations compares our declarations of the built-in tools with the texts of the reference.
func TestBuiltinDeclarations(t *testing.T) {
	t.Parallel()
	for file, tools := range map[string]map[string]harmony.Namespace{
		"test_browser_tool_only.txt":       {"browser": harmony.BrowserNamespace()},
		"test_browser_and_python_tool.txt": {"browser": harmony.BrowserNamespace(), "python": harmony.PythonNamespace()},
	} {
		c := codec(t)
		tokens, err := c.Render(nil, []harmony.Message{{Role: harmony.RoleSystem, Content: []harmony.Part{&harmony.System{
			ModelIdentity:   "You are ChatGPT, a large language model trained by OpenAI.",
			Effort:          harmony.EffortMedium,
			StartDate:       "2025-06-28",
			KnowledgeCutoff: "2024-06",
			Channels:        []string{harmony.ChannelAnalysis, harmony.ChannelCommentary, harmony.ChannelFinal},
			ChannelRequired: true,
			Tools:           tools,
		}}}}, harmony.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c.Tokenizer().Decode(tokens), vectorText(t, file); got != want {
			t.Errorf("%s\n got %q\nwant %q", file, got, want)
		}
	}
}

// TestCodecNeedsControlTokens makes a codec over a tokenizer without harmony's specials.
func TestCodecNeedsControlTokens(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	tok, err := tokenizer.Truncated(300)
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	tok, err = tokenizer.LoadJSON([]byte(strings.ReplaceAll(b.String(), "<|constrain|>", "<|other|>")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := harmony.NewCodec(tok); err == nil || !strings.Contains(err.Error(), "<|constrain|>") {
		t.Errorf("got error %v, want one that names <|constrain|>", err)
	}
}

// TestTruncatedTokenizer renders with a small model's table: same text, other ids.
func TestTruncatedTokenizer(t *testing.T) {
	t.Parallel()
	tok, err := tokenizer.Truncated(4096)
	if err != nil {
		t.Fatal(err)
	}
	c, err := harmony.NewCodec(tok)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := c.Render(nil, []harmony.Message{{Role: harmony.RoleUser, Content: []harmony.Part{harmony.Text("hi")}}}, harmony.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.Decode(tokens), "<|start|>user<|message|>hi<|end|><|start|>assistant"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, id := range tokens {
		if int(id) >= tok.Vocab() {
			t.Errorf("token %d is outside of the %d rows", id, tok.Vocab())
		}
	}
}

// TestStops wants the three tokens that end sampling.
func TestStops(t *testing.T) {
	t.Parallel()
	if got, want := codec(t).Stops(), []int32{200002, 200012, 199999}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestRenderErrors gives the renderer what it must refuse; each error says where and what.
func TestRenderErrors(t *testing.T) {
	t.Parallel()
	text := []harmony.Part{harmony.Text("x")}
	function := func(parameters string) []harmony.Message {
		return []harmony.Message{{Role: harmony.RoleDeveloper, Content: []harmony.Part{&harmony.Developer{
			Tools: map[string]harmony.Namespace{"functions": {Name: "functions", Tools: []harmony.Function{
				{Name: "get_weather", Parameters: json.RawMessage(parameters)},
			}}},
		}}}}
	}
	deep := func(n int) string { return strings.Repeat(`{"items":`, n) + "{}" + strings.Repeat("}", n) }
	wide := `{"type":"object","properties":{` + strings.Repeat(`"a":{"type":"object","properties":{`, 60)
	var many strings.Builder
	for i := range 6000 {
		fmt.Fprintf(&many, `"p%d":{},`, i)
	}
	wide += many.String() + `"z":{}` + strings.Repeat("}}", 61)
	for _, test := range []struct {
		name string
		conv []harmony.Message
		o    harmony.Options
		want string // part of the error; "" means no error
	}{
		{"tool without a name", []harmony.Message{{Role: harmony.RoleUser, Content: text}, {Role: harmony.RoleTool, Content: text}}, harmony.Options{}, "message 1: a tool message needs the name"},
		{"no role", []harmony.Message{{Content: text}}, harmony.Options{}, `message 0: unknown role ""`},
		{"unknown role", []harmony.Message{{Role: "robot", Content: text}}, harmony.Options{}, `unknown role "robot"`},
		{"unknown next role", nil, harmony.Options{NextRole: "robot"}, `next role: unknown role "robot"`},
		{"unknown mode", nil, harmony.Options{Mode: 9}, "unknown render mode 9"},
		{"message mode without a message", nil, harmony.Options{Mode: harmony.MessageOnly}, "got 0 messages"},
		{"system content from the user", []harmony.Message{{Role: harmony.RoleUser, Content: []harmony.Part{&harmony.System{}}}}, harmony.Options{}, "system content in a message of role user"},
		{"developer content from the system", []harmony.Message{{Role: harmony.RoleSystem, Content: []harmony.Part{harmony.Text("x"), &harmony.Developer{}}}}, harmony.Options{}, "content 1 is developer content in a message of role system"},
		{"nil content", []harmony.Message{{Role: harmony.RoleUser, Content: []harmony.Part{nil}}}, harmony.Options{}, "want Text"},
		{"unknown effort", []harmony.Message{{Role: harmony.RoleSystem, Content: []harmony.Part{&harmony.System{Effort: "extreme"}}}}, harmony.Options{}, `unknown reasoning effort "extreme"`},
		{"parameters cut off", function(`{"type":"object"`), harmony.Options{}, "message 0: tool namespace functions: parameters of function get_weather: malformed JSON"},
		{"parameters end early", function(`{"type":`), harmony.Options{}, "get_weather: malformed JSON"},
		{"parameters with a comma too many", function(`{"type":"object",}`), harmony.Options{}, "get_weather: malformed JSON"},
		{"array with a comma too many", function(`{"type":["string",]}`), harmony.Options{}, "get_weather: malformed JSON"},
		{"two values", function(`{} {}`), harmony.Options{}, "more than one value"},
		{"key without quotes", function(`{type:"object"}`), harmony.Options{}, "get_weather: malformed JSON"},
		{"number beyond float64", function(`{"default":1e999}`), harmony.Options{}, "1e999 does not fit"},
		{"as deep as allowed", function(deep(126)), harmony.Options{}, ""},
		{"one deeper than allowed", function(deep(127)), harmony.Options{}, "nested deeper than 127 levels"},
		{"hostile depth", function(deep(100_000)), harmony.Options{}, "nested deeper than 127 levels"},
		{"indentation swells the prompt", function(wide), harmony.Options{}, "more than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := codec(t).Render(nil, test.conv, test.o)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestRenderKeepsDst appends behind what is there.
func TestRenderKeepsDst(t *testing.T) {
	t.Parallel()
	c := codec(t)
	m := harmony.Message{Role: harmony.RoleUser, Content: []harmony.Part{harmony.Text("hi")}}
	got, err := c.AppendMessage([]int32{7}, m, false)
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]int32{7}, c.Tokenizer().EncodeSpecial(nil, "<|start|>user<|message|>hi<|end|>")...); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
