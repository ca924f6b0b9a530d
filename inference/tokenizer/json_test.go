package tokenizer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"chorale/inference/tokenizer"
)

func writeJSON(t testing.TB, tok *tokenizer.Tokenizer) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tok.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestJSONRoundTrip(t *testing.T) {
	t.Parallel()
	for _, ranks := range []int{256, 257, 2048, 20000} {
		tok := truncated(t, ranks)
		data := writeJSON(t, tok)
		got, err := tokenizer.LoadJSON(data)
		if err != nil {
			t.Errorf("%d ranks: %v", ranks, err)
			continue
		}
		if got.Vocab() != tok.Vocab() || !maps.Equal(maps.Collect(got.Specials()), maps.Collect(tok.Specials())) {
			t.Errorf("%d ranks: Vocab %d, want %d; or other special tokens", ranks, got.Vocab(), tok.Vocab())
		}
		for id := range int32(tok.Vocab()) {
			if g, w := got.AppendToken(nil, id), tok.AppendToken(nil, id); !bytes.Equal(g, w) {
				t.Fatalf("%d ranks: token %d is %q, want %q", ranks, id, g, w)
			}
		}
		text := prose(t, 4000) + strings.Join(edges, "")
		if !slices.Equal(got.Encode(nil, text), tok.Encode(nil, text)) {
			t.Errorf("%d ranks: encodes otherwise", ranks)
		}
		if !bytes.Equal(writeJSON(t, got), data) {
			t.Errorf("%d ranks: written again, the file differs", ranks)
		}
	}
}

// TestForModel: the full table from a file is the embedded one, with all rows of the model; other tables are their own.
func TestForModel(t *testing.T) {
	t.Parallel()
	full := writeJSON(t, harmony(t))
	if tok, err := tokenizer.ForModel(full); err != nil || tok != harmony(t) {
		t.Errorf("the full table: %v, or not the embedded one", err)
	}
	renamed := bytes.Replace(full, []byte("<|reserved_200004|>"), []byte("<|own|>"), 1)
	tok, err := tokenizer.ForModel(renamed)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.Special("<|own|>"); !ok || id != 200004 {
		t.Errorf("a special token of the file's own: %d, %v", id, ok)
	}
	if tok, err := tokenizer.ForModel(writeJSON(t, truncated(t, 300))); err != nil || tok.Vocab() != 321 {
		t.Errorf("300 ranks: %v, or another Vocab", err)
	}
	if _, err := tokenizer.ForModel([]byte("{}")); err == nil {
		t.Error("no tokenizer at all: no error")
	}
}

// TestLoadJSONRefuses changes one thing of a good file.
func TestLoadJSONRefuses(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	model := func(o object) object { return o["model"].(object) }
	added := func(o object, i int) object { return o["added_tokens"].([]any)[i].(object) }
	pre := func(o object, i int) object {
		return o["pre_tokenizer"].(object)["pretokenizers"].([]any)[i].(object)
	}
	for _, c := range []struct {
		name, want string
		change     func(object)
	}{
		{"other model", `model.type is "Unigram"`, func(o object) { model(o)["type"] = "Unigram" }},
		{"no model", "model.type", func(o object) { delete(o, "model") }},
		{"dropout", "dropout", func(o object) { model(o)["dropout"] = 0.1 }},
		{"unknown token", "unk_token", func(o object) { model(o)["unk_token"] = "?" }},
		{"byte fallback", "byte_fallback", func(o object) { model(o)["byte_fallback"] = true }},
		{"merges before whole tokens", "ignore_merges", func(o object) { model(o)["ignore_merges"] = false }},
		{"normalizer", `normalizer is "NFC"`, func(o object) { o["normalizer"] = object{"type": "NFC"} }},
		{"no pre-tokenizer", "pre_tokenizer", func(o object) { o["pre_tokenizer"] = nil }},
		{"other pre-tokenizer", "pre_tokenizer", func(o object) { o["pre_tokenizer"] = object{"type": "Whitespace"} }},
		{"other pattern", "pattern", func(o object) { pre(o, 0)["pattern"] = object{"Regex": `\s+`} }},
		{"other behavior", "Isolated", func(o object) { pre(o, 0)["behavior"] = "Removed" }},
		{"inverted", "inverted", func(o object) { pre(o, 0)["invert"] = true }},
		{"prefix space", "add_prefix_space", func(o object) { pre(o, 1)["add_prefix_space"] = true }},
		{"second pattern", "use_regex", func(o object) { delete(pre(o, 1), "use_regex") }},
		{"no vocabulary", "256 single bytes", func(o object) { model(o)["vocab"] = object{} }},
		{"vocabulary is a list", "model.vocab", func(o object) { model(o)["vocab"] = []any{} }},
		{"negative id", "ids 0 to 299", func(o object) { model(o)["vocab"].(object)["!"] = -1 }},
		{"id twice", "ids 0 to 299", func(o object) { model(o)["vocab"].(object)["!"] = 1 }},
		{"hole", "ids 0 to 299", func(o object) { model(o)["vocab"].(object)["!"] = 300 }},
		{"byte missing", "single byte", func(o object) {
			delete(model(o)["vocab"].(object), "!")
			model(o)["vocab"].(object)["!!!!!"] = 0
		}},
		{"no byte spelling", "byte-level spelling", func(o object) {
			delete(model(o)["vocab"].(object), "!")
			model(o)["vocab"].(object)["漢"] = 0
		}},
		{"longest token", "256 bytes", func(o object) {
			delete(model(o)["vocab"].(object), "!")
			model(o)["vocab"].(object)[strings.Repeat("!", 256)] = 0
		}},
		{"empty token", "0 bytes", func(o object) {
			delete(model(o)["vocab"].(object), "!")
			model(o)["vocab"].(object)[""] = 0
		}},
		{"merges of the old form", "model.merges", func(o object) { model(o)["merges"] = []any{"a b"} }},
		{"merge missing", "every split", func(o object) { model(o)["merges"] = model(o)["merges"].([]any)[1:] }},
		{"merges in another order", "in the order of its id", func(o object) { slices.Reverse(model(o)["merges"].([]any)) }},
		{"merge with nothing", "in the order of its id", func(o object) { model(o)["merges"].([]any)[0] = []any{"!", ""} }},
		{"merge spelt wrong", "byte-level spelling", func(o object) { model(o)["merges"].([]any)[0] = []any{"!", "漢"} }},
		{"special token among the ranks", "added_tokens[0]: id 5", func(o object) { added(o, 0)["id"] = 5 }},
		{"special token far away", "added_tokens[0]", func(o object) { added(o, 0)["id"] = 300 + 1<<16 }},
		{"negative special token", "added_tokens[0]", func(o object) { added(o, 0)["id"] = -1 }},
		{"special id twice", "used twice", func(o object) { added(o, 0)["id"] = 301 }},
		{"special text twice", "used twice", func(o object) { added(o, 0)["content"] = "<|start|>" }},
		{"special text empty", "empty", func(o object) { added(o, 0)["content"] = "" }},
		{"special text too long", "129 bytes", func(o object) { added(o, 0)["content"] = strings.Repeat("x", 129) }},
		{"special token that strips", "lstrip", func(o object) { added(o, 20)["lstrip"] = true }},
	} {
		var o object
		if err := json.Unmarshal(writeJSON(t, truncated(t, 300)), &o); err != nil {
			t.Fatal(err)
		}
		c.change(o)
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokenizer.LoadJSON(data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	if _, err := tokenizer.LoadJSON([]byte("{")); err == nil {
		t.Error("no JSON: no error")
	}
}

func FuzzLoadJSON(f *testing.F) {
	f.Add(writeJSON(f, truncated(f, 260)))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := tokenizer.LoadJSON(data)
		if err != nil {
			return
		}
		var b []byte
		for _, id := range tok.Encode(nil, strings.Join(edges, "")) {
			b = tok.AppendToken(b, id)
		}
		if want := strings.Join(edges, ""); string(b) != want {
			t.Errorf("the text came back as %q, want %q", b, want)
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteJSONReportsErrors(t *testing.T) {
	t.Parallel()
	if err := truncated(t, 300).WriteJSON(fullDisk{}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error %v, want the writer's", err)
	}
}
