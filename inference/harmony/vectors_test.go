package harmony_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
)

// codec returns the codec over the tokenizer of gpt-oss.
func codec(t testing.TB) *harmony.Codec {
	t.Helper()
	tok, err := tokenizer.O200kHarmony()
	if err != nil {
		t.Fatal(err)
	}
	c, err := harmony.NewCodec(tok)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// vector reads a file of the reference's test vectors, or skips the test when they are not beside the repository.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("CHORALE_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	data, err := os.ReadFile(filepath.Join(dir, "harmony", name))
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "vectors") {
			t.Fatalf("vectors are required: %v", err)
		}
		t.Skipf("no vectors: %v", err)
	}
	return data
}

// vectorText is a vector file as text, with line feeds only and nothing blank at its end.
func vectorText(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimRight(strings.ReplaceAll(string(vector(t, name)), "\r\n", "\n"), " \t\n")
}

// TestRenderVectors compares with the reference renderer's tokens and text.
func TestRenderVectors(t *testing.T) {
	t.Parallel()
	var file struct {
		Cases []json.RawMessage `json:"render_cases"`
	}
	if err := json.Unmarshal(vector(t, "cases.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("no render_cases")
	}
	c := codec(t)
	for _, line := range file.Cases {
		var want struct {
			Name   string  `json:"name"`
			Text   *string `json:"expected_text"`
			File   string  `json:"expected_file"`
			Tokens []int32 `json:"expected_tokens"`
		}
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		t.Run(want.Name, func(t *testing.T) {
			if want.Text == nil {
				text := vectorText(t, want.File)
				want.Text = &text
			}
			out, err := c.RenderCase(line)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Text   string  `json:"text"`
				Tokens []int32 `json:"tokens"`
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if want.File != "" {
				got.Text = strings.TrimRight(got.Text, " \t\n")
			}
			if got.Text != *want.Text {
				t.Errorf("text\n got %q\nwant %q", got.Text, *want.Text)
			}
			if !slices.Equal(got.Tokens, want.Tokens) {
				t.Errorf("tokens\n got %v\nwant %v", got.Tokens, want.Tokens)
			}
		})
	}
}

// A parsed message as the vectors write it.
type parsed struct {
	Role        string `json:"role"`
	Name        string `json:"name"`
	Recipient   string `json:"recipient"`
	Channel     string `json:"channel"`
	ContentType string `json:"content_type"`
	Content     string `json:"content"`
}

// A parseVector is a parse case with its expectations.
type parseVector struct {
	Name     string    `json:"name"`
	Strict   *bool     `json:"strict"`
	File     string    `json:"tokens_file"`
	TextFile string    `json:"text_file"`
	Messages []parsed  `json:"expected_messages"`
	State    string    `json:"expected_state"`
	Error    *string   `json:"expected_error"`
	ErrorAt  *int      `json:"expected_error_at"`
	Content  string    `json:"expected_current_content"`
	Deltas   []*string `json:"reference_deltas"`
	Lenient  []parsed  `json:"proposed_lenient_messages"`
}

// parseVectors returns the parse cases, as data and as case lines with the files put in.
func parseVectors(t *testing.T) (vectors []parseVector, lines []map[string]any) {
	t.Helper()
	var file struct {
		Cases []json.RawMessage `json:"parse_cases"`
	}
	if err := json.Unmarshal(vector(t, "cases.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("no parse_cases")
	}
	for _, line := range file.Cases {
		var v parseVector
		var m map[string]any
		if err := errors.Join(json.Unmarshal(line, &v), json.Unmarshal(line, &m)); err != nil {
			t.Fatal(err)
		}
		if v.File != "" {
			tokens := "[" + strings.Join(strings.Fields(string(vector(t, v.File))), ",") + "]"
			m["tokens"] = json.RawMessage(tokens)
		}
		if v.TextFile != "" {
			m["text"] = vectorText(t, v.TextFile)
		}
		vectors, lines = append(vectors, v), append(lines, m)
	}
	return vectors, lines
}

// A parseOutcome is what ParseCase prints.
type parseOutcome struct {
	Messages []parsed       `json:"messages"`
	State    string         `json:"state"`
	Error    *string        `json:"error"`
	ErrorAt  *int           `json:"error_at"`
	Content  string         `json:"current_content"`
	Repairs  map[string]int `json:"repairs"`
}

func parse(t *testing.T, c *harmony.Codec, m map[string]any) parseOutcome {
	t.Helper()
	line, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.ParseCase(line)
	if err != nil {
		t.Fatal(err)
	}
	var got parseOutcome
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestParseVectors compares the reference modes with the reference parser.
func TestParseVectors(t *testing.T) {
	t.Parallel()
	c := codec(t)
	vectors, lines := parseVectors(t)
	for i, want := range vectors {
		t.Run(want.Name, func(t *testing.T) {
			if want.Strict == nil {
				t.Fatal("the case names no mode")
			}
			got := parse(t, c, lines[i])
			if !slices.Equal(got.Messages, want.Messages) {
				t.Errorf("messages\n got %+v\nwant %+v", got.Messages, want.Messages)
			}
			if got.State != want.State {
				t.Errorf("state %s, want %s", got.State, want.State)
			}
			if got.Content != want.Content {
				t.Errorf("open content %q, want %q", got.Content, want.Content)
			}
			switch {
			case want.Error == nil && got.Error != nil:
				t.Errorf("error %q, want none", *got.Error)
			case want.Error != nil && got.Error == nil:
				t.Errorf("no error, want %q", *want.Error)
			case want.Error != nil:
				plain := strings.NewReplacer("Some(", "", `")`, `"`).Replace(*want.Error)
				if !strings.EqualFold(*got.Error, plain) {
					t.Errorf("error %q, want %q", *got.Error, plain)
				}
				if *got.ErrorAt != *want.ErrorAt {
					t.Errorf("error at token %d, want %d", *got.ErrorAt, *want.ErrorAt)
				}
			}
		})
	}
}

// TestDeltaVectors compares all text that the reference streamed with ours. The reference does not stream what it flushes
// at the end of a message, so the cases have none.
func TestDeltaVectors(t *testing.T) {
	t.Parallel()
	c := codec(t)
	vectors, lines := parseVectors(t)
	seen := 0
	for i, want := range vectors {
		if want.Deltas == nil {
			continue
		}
		seen++
		var wantText, gotText string
		for _, d := range want.Deltas {
			if d != nil {
				wantText += *d
			}
		}
		var in struct {
			Role   string
			Text   string
			Tokens []int32
		}
		line, err := json.Marshal(lines[i])
		if err := errors.Join(err, json.Unmarshal(line, &in)); err != nil {
			t.Fatal(err)
		}
		if in.Tokens == nil {
			in.Tokens = c.Tokenizer().EncodeSpecial(nil, in.Text)
		}
		if len(in.Tokens) != len(want.Deltas) {
			t.Errorf("%s: %d tokens but %d deltas", want.Name, len(in.Tokens), len(want.Deltas))
		}
		p := c.NewParser(harmony.ParserOptions{Role: harmony.Role(in.Role), Strictness: harmony.Strict})
		for _, token := range in.Tokens {
			d, err := p.Push(token)
			if err != nil {
				t.Fatalf("%s: %v", want.Name, err)
			}
			gotText += d.Text
		}
		if gotText != wantText {
			t.Errorf("%s\n got %q\nwant %q", want.Name, gotText, wantText)
		}
	}
	if seen == 0 {
		t.Error("no case has reference_deltas")
	}
}

// TestLenientVectors compares the lenient mode with the proposals for damaged streams, and with the reference where that
// had nothing to complain about and no proposal says otherwise.
func TestLenientVectors(t *testing.T) {
	t.Parallel()
	c := codec(t)
	vectors, lines := parseVectors(t)
	for i, v := range vectors {
		want := v.Lenient
		if want == nil && (v.Error != nil || !*v.Strict || v.Name == "specials_inside_content") {
			continue
		}
		if want == nil {
			want = v.Messages
		}
		t.Run(v.Name, func(t *testing.T) {
			lines[i]["lenient"] = true
			got := parse(t, c, lines[i])
			if !slices.Equal(got.Messages, want) {
				t.Errorf("messages\n got %+v\nwant %+v", got.Messages, want)
			}
			if got.Error != nil {
				t.Errorf("error %q; lenient never fails", *got.Error)
			}
			if v.Lenient != nil && len(got.Repairs) == 0 {
				t.Error("no repair counted for a damaged stream")
			}
		})
	}
}
