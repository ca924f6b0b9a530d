package harmony_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"chorale/inference/harmony"
)

// schemaPrompt renders a developer message that declares one function with the schema.
func schemaPrompt(t testing.TB, schema []byte) (string, error) {
	t.Helper()
	c := codec(t)
	tokens, err := c.Render(nil, []harmony.Message{{Role: harmony.RoleDeveloper, Content: []harmony.Part{&harmony.Developer{
		Tools: map[string]harmony.Namespace{"functions": {Name: "functions", Tools: []harmony.Function{{Name: "f", Parameters: schema}}}},
	}}}}, harmony.Options{Mode: harmony.Conversation})
	text := c.Tokenizer().Decode(tokens)
	_, text, _ = strings.Cut(text, "type f = ")
	text, _, _ = strings.Cut(text, "\n\n} // namespace")
	return text, err
}

// TestNormalizeGolden shows what schemas of the kinds that generators write become, and how the prompt reads then.
func TestNormalizeGolden(t *testing.T) {
	t.Parallel()
	readArchive(t, "normalize.txtar").run(t, func(line []byte) string {
		out, err := harmony.NormalizeSchema(line)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		text, err := schemaPrompt(t, out)
		if err != nil {
			t.Errorf("%s cannot be rendered: %v", out, err)
		}
		return string(out) + "\n" + text + "\n"
	})
}

// TestNormalizeLimits gives small documents that mean huge or endless ones.
func TestNormalizeLimits(t *testing.T) {
	t.Parallel()
	var doubling, chain strings.Builder
	doubling.WriteString(`{"$ref":"#/$defs/d0","$defs":{`)
	chain.WriteString(`{"$ref":"#/$defs/d0","$defs":{`)
	for i := range 30 { // 2³⁰ schemas
		fmt.Fprintf(&doubling, `"d%d":{"properties":{"a":{"$ref":"#/$defs/d%d"},"b":{"$ref":"#/$defs/d%d"}}},`, i, i+1, i+1)
	}
	for i := range 200 {
		fmt.Fprintf(&chain, `"d%d":{"items":{"$ref":"#/$defs/d%d"}},`, i, i+1)
	}
	doubling.WriteString(`"d30":{}}}`)
	chain.WriteString(`"d200":{}}}`)
	repeated := `{"oneOf":[` + strings.Repeat(`{"$ref":"#/x"},`, 2000) + `{}],"x":{"description":"` + strings.Repeat("x", 2000) + `"}}`
	for _, test := range []struct{ name, schema, want string }{
		{"each level doubles", doubling.String(), "schema becomes more than 1048576 bytes"},
		{"a chain of references is too deep", chain.String(), "schema nests deeper than 127 levels"},
		{"one long text many times", repeated, "schema becomes more than 1048576 bytes"},
		{"reference to nowhere", `{"$ref":"#/$defs/a"}`, `$ref "#/$defs/a" points nowhere`},
		{"reference behind an array", `{"$ref":"#/a/1","a":[{}]}`, `$ref "#/a/1" points nowhere`},
		{"reference with a broken escape", `{"$ref":"#/%zz"}`, `$ref "#/%zz" is not a JSON pointer`},
		{"malformed", `{`, "malformed JSON"},
		{"nothing", ``, "malformed JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, err := harmony.NormalizeSchema(json.RawMessage(test.schema))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v and %.100q, want an error with %q", err, out, test.want)
			}
		})
	}
}

// FuzzSchema wants the renderer and the normalizer to survive any schema, and the normal form to stay as it is when it
// is normalized again.
func FuzzSchema(f *testing.F) {
	for _, name := range []string{"normalize.txtar", "render.txtar"} {
		for _, s := range readArchive(f, name).sections {
			if strings.HasSuffix(s.name, ".json") {
				f.Add([]byte(s.text))
			}
		}
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		if _, err := schemaPrompt(t, schema); err != nil && !strings.Contains(err.Error(), "function f") {
			t.Errorf("the error does not name the function: %v", err)
		}
		once, err := harmony.NormalizeSchema(schema)
		if err != nil {
			return
		}
		if !json.Valid(once) {
			t.Fatalf("normal form is not JSON: %q", once)
		}
		if _, err := schemaPrompt(t, once); err != nil && !strings.Contains(err.Error(), "bytes of prompt") {
			t.Errorf("normal form cannot be rendered: %v", err)
		}
	})
}
