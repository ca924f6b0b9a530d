package responses_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chorale/inference/engine/enginetest"
	"chorale/server/api"
	"chorale/server/responses"
	"chorale/server/store"
	"chorale/toolhost"
)

// A browserFake is the tool browser without pages: open shows the address that it is given, search a list of results. It
// fails for the address fail. Its state is the number of displays.
type browserFake struct{ settings []string }

type tab struct {
	tool     *browserFake
	displays int
}

func (b *browserFake) Spec() toolhost.Spec {
	return toolhost.Spec{Name: "browser", Functions: []toolhost.Function{{Name: "search"}, {Name: "open"}, {Name: "find"}}}
}

func (b *browserFake) Open(context.Context) (toolhost.Instance, error) { return &tab{tool: b}, nil }
func (t *tab) Close() error                                            { return nil }

func (b *browserFake) Resume(_ context.Context, s toolhost.State) (toolhost.Instance, error) {
	return &tab{tool: b, displays: len(s.Memory)}, nil
}

func (t *tab) Save(context.Context) (toolhost.State, error) {
	return toolhost.State{Memory: make([]byte, t.displays)}, nil
}

func (t *tab) Call(_ context.Context, c toolhost.Call) (toolhost.Result, error) {
	t.tool.settings = append(t.tool.settings, string(c.Settings))
	var a struct{ Query, ID, Pattern string }
	if err := json.Unmarshal([]byte(c.Input), &a); err != nil {
		return toolhost.Result{Text: "no JSON", Failed: true}, nil
	}
	if a.ID == "fail://" {
		return toolhost.Result{Text: "no such page", Failed: true}, nil
	}
	actions := map[string]string{
		"search": fmt.Sprintf(`{"type":"search","query":%q,"sources":[{"type":"url","url":"https://found.example/"}]}`, a.Query),
		"open":   fmt.Sprintf(`{"type":"open_page","url":%q}`, a.ID),
		"find":   fmt.Sprintf(`{"type":"find_in_page","url":%q,"pattern":%q}`, a.ID, a.Pattern),
	}
	t.displays++
	return toolhost.Result{Text: fmt.Sprintf("[%d] %s%s", t.displays-1, a.Query, a.ID), Structured: fmt.Appendf(nil,
		`{"action":%s,"cursor":%d,"url":%q,"title":%q,"lines":1}`, actions[c.Function], t.displays-1, a.ID, "")}, nil
}

// visit is the model's call that opens the address; "" is a search.
func visit(address string) string {
	if address == "" {
		return `<|channel|>analysis to=browser.search code<|message|>{"query":"cats"}<|call|>`
	}
	return fmt.Sprintf(`<|channel|>analysis to=browser.open code<|message|>{"id":%q}<|call|>`, address)
}

const searchTools = `"tools":[{"type":"web_search","filters":{"allowed_domains":["Example.com"]},"user_location":{"type":"approximate","country":"NO"}}]`

// TestCitationVectors compares which citations the reference finds, and where it sends readers. Blanks around links differ on
// purpose, and so do the addresses of displays of found text and of sources.
func TestCitationVectors(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("CHORALE_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	data, err := os.ReadFile(filepath.Join(dir, "harmony", "browser_cases.json"))
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "vectors") {
			t.Fatal(err)
		}
		t.Skip("the test vectors are not here")
	}
	var cases struct {
		Citations []struct {
			Name, Text  string
			Pages       []string `json:"page_stack"`
			Hide        bool     `json:"hide_partial"`
			Result      string   `json:"result_text"`
			Annotations []api.URLCitation
		} `json:"citation_cases"`
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases.Citations) == 0 {
		t.Fatal(len(cases.Citations), err)
	}
	for _, c := range cases.Citations {
		if c.Hide { // a mode that we do not have
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			text, notes := answerWith(t, c.Pages, c.Text)
			if len(notes) != len(c.Annotations) {
				t.Fatalf("%d annotations, want %d: %s", len(notes), len(c.Annotations), text)
			}
			for i, want := range c.Annotations {
				address, _, _ := strings.Cut(strings.TrimPrefix(want.URL, "view-source:"), "/find?pattern=")
				if notes[i].URL != address {
					t.Errorf("annotation %d leads to %s, want %s", i, notes[i].URL, address)
				}
			}
			if got, want := without(text, notes), without(c.Result, c.Annotations); got != want {
				t.Errorf("beside the links: %q, want %q", got, want)
			}
		})
	}
}

// without is the text without what annotations cover, and with its blanks in one form.
func without(text string, notes []api.URLCitation) string {
	runes := []rune(text)
	for _, n := range slices.Backward(notes) {
		runes = slices.Concat(runes[:n.StartIndex], []rune(" "), runes[n.EndIndex:])
	}
	return strings.ReplaceAll(strings.Join(strings.Fields(string(runes)), " "), " .", ".")
}

// answerWith is what a client sees of the model's text, after it has looked at the pages. It checks events against the items.
func answerWith(t *testing.T, pages []string, text string) (string, []api.URLCitation) {
	t.Helper()
	m := &model{}
	for _, p := range pages {
		m.texts = append(m.texts, visit(p))
	}
	m.texts = append(m.texts, final(text))
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, &browserFake{})})
	var streamed strings.Builder
	var streamedNotes []json.RawMessage
	var last *api.Response
	for e := range create(t, s, `{"input":"x",`+searchTools+`}`).Events() {
		switch e := e.(type) {
		case *api.TextDelta:
			streamed.WriteString(e.Delta)
		case *api.AnnotationAdded:
			if e.AnnotationIndex != len(streamedNotes) {
				t.Errorf("annotation %d has the number %d", len(streamedNotes), e.AnnotationIndex)
			}
			var n api.URLCitation
			if err := json.Unmarshal(e.Annotation, &n); err != nil || n.EndIndex != len([]rune(streamed.String())) {
				t.Errorf("annotation %s behind %q: %v", e.Annotation, streamed.String(), err)
			}
			streamedNotes = append(streamedNotes, e.Annotation)
		}
		if r, ok := api.Terminal(e); ok {
			last = r
		}
	}
	part := last.Output[len(last.Output)-1].(*api.Message).Content[0].(api.OutputText)
	if part.Text != streamed.String() || !slices.EqualFunc(part.Annotations, streamedNotes, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
		t.Errorf("streamed %q %s, item %s", streamed.String(), streamedNotes, encode(t, part))
	}
	var notes []api.URLCitation
	for _, a := range part.Annotations {
		var n api.URLCitation
		if err := json.Unmarshal(a, &n); err != nil {
			t.Fatal(err)
		}
		if cited := string([]rune(part.Text)[n.StartIndex:n.EndIndex]); !strings.HasPrefix(cited, "([") || !strings.HasSuffix(cited, "))") {
			t.Errorf("annotation %s covers %q", a, cited)
		}
		notes = append(notes, n)
	}
	return part.Text, notes
}

func TestCitations(t *testing.T) {
	t.Parallel()
	const a, b = "https://a.example/x", "https://b.example/y(z) w"
	for name, tt := range map[string]struct{ text, want string }{
		"sentence":            {"Cats purr【1†L3-L5】. Dogs do not.", "Cats purr ([a.example](https://a.example/x)). Dogs do not."},
		"at the beginning":    {"【1†L3】 says so", "([a.example](https://a.example/x)) says so"},
		"blank is there":      {"so 【1†L3】", "so ([a.example](https://a.example/x))"},
		"two in a row":        {"so【1†L3】【2†L1】", "so ([a.example](https://a.example/x)) ([b.example](https://b.example/y%28z%29%20w))"},
		"results are no page": {"so【0†L3】", "so【0†L3】"},
		"never shown":         {"so【7†L3】 x", "so【7†L3】 x"},
		"number too long":     {"so【99999999999999999999†L3】 x", "so【99999999999999999999†L3】 x"},
		"bracket in bracket":  {"【【1†L3】", "【 ([a.example](https://a.example/x))"},
		"no end":              {"so【1†L3", "so【1†L3"},
		"too long":            {"so【1†" + strings.Repeat("x", 600) + "】", "so【1†" + strings.Repeat("x", 600) + "】"},
		"over a line":         {"so【1†L\n3】", "so【1†L\n3】"},
		"beyond the BMP":      {"😊😊【1†L3】 x", "😊😊 ([a.example](https://a.example/x)) x"},
		"Japanese brackets":   {"【注】【1†L3】", "【注】 ([a.example](https://a.example/x))"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, _ := answerWith(t, []string{"", a, b}, tt.text); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestWebSearchItems has all actions, a failed one among them, with and without sources.
func TestWebSearchItems(t *testing.T) {
	t.Parallel()
	const find = `<|channel|>analysis to=browser.find code<|message|>{"pattern":"p"}<|call|>`
	for include, want := range map[string][]string{
		`[]`: {`{"type":"search","queries":["cats"],"query":"cats"}`, `{"type":"open_page","url":"https://a.example/"}`,
			`{"type":"find_in_page","pattern":"p","url":""}`, `{"type":"open_page","url":"fail://"}`},
		`["web_search_call.action.sources"]`: {`{"type":"search","queries":["cats"],"query":"cats","sources":[{"type":"url","url":"https://found.example/"}]}`},
	} {
		m := &model{texts: []string{visit(""), visit("https://a.example/"), find, visit("fail://"), final("ok")}}
		fake := &browserFake{}
		s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, fake)})
		r := respond(t, s, `{"input":"x","include":`+include+`,`+searchTools+`}`)
		for i, action := range want {
			call := r.Output[i].(*api.WebSearchCall)
			status := api.Completed
			if strings.Contains(action, "fail:") {
				status = api.Failed
			}
			if got := encode(t, call.Action); got != action || call.Status != status {
				t.Errorf("call %d: %s %s, want %s %s", i, call.Status, got, status, action)
			}
		}
		if want := `{"allowed_domains":["example.com"],"country":"NO"}`; fake.settings[0] != want {
			t.Errorf("settings %s, want %s", fake.settings[0], want)
		}
		if p := m.lastPrompts()[0]; !strings.Contains(p, "## browser") {
			t.Errorf("prompt %s", p)
		}
	}
}

// TestPagesStay cites and goes on with displays of an earlier response, also behind one without the tool.
func TestPagesStay(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	m := &model{texts: []string{visit("https://a.example/"), final("ok")}}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, &browserFake{}), Store: db})
	r := respond(t, s, `{"input":"x",`+searchTools+`}`)
	m.write(final("hm【0†L1】"))
	r = respond(t, s, `{"input":"x","previous_response_id":"`+r.ID+`"}`)
	if text := r.Output[0].(*api.Message).Content[0].(api.OutputText); text.Text != "hm【0†L1】" || text.Annotations != nil {
		t.Errorf("without the tool: %s", encode(t, text))
	}
	m.write(final("so【0†L1】"))
	cited := respond(t, s, `{"input":"x","previous_response_id":"`+r.ID+`",`+searchTools+`}`)
	if text := cited.Output[0].(*api.Message).Content[0].(api.OutputText); !strings.HasPrefix(text.Text, "so ([a.example]") || len(text.Annotations) != 1 {
		t.Errorf("cited later: %s", encode(t, text))
	}
	if p := m.lastPrompts()[0]; !strings.Contains(p, "hm【0†L1】") {
		t.Errorf("the model does not see what it wrote: %s", p)
	}
	m.write(visit("https://b.example/"), final("so【1†L1】 and【0†L1】"))
	both := respond(t, s, `{"input":"x","previous_response_id":"`+r.ID+`",`+searchTools+`}`)
	if text := both.Output[1].(*api.Message).Content[0].(api.OutputText); len(text.Annotations) != 2 || !strings.Contains(text.Text, "b.example") {
		t.Errorf("went on: %s", encode(t, text))
	}
}

// TestWebSearchComesBack sends a call back as it was received; the server has what it showed.
func TestWebSearchComesBack(t *testing.T) {
	t.Parallel()
	m := &model{texts: []string{visit("https://a.example/"), final("ok")}}
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{Tools: tools(t, &browserFake{})})
	call := respond(t, s, `{"input":"x",`+searchTools+`}`).Output[0]
	want := m.lastPrompts()[1]
	want = want[strings.Index(want, "<|start|>user"):]
	m.write(final("ok"))
	respond(t, s, `{`+searchTools+`,"input":[{"role":"user","content":"x"},`+encode(t, call)+`]}`)
	if got := m.lastPrompts()[0]; !strings.HasSuffix(got, want) {
		t.Errorf("prompt %s, want %s", got, want)
	}
}
