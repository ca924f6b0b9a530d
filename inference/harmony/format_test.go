package harmony_test

import (
	"encoding/json"
	"strings"
	"testing"

	"chorale/inference/harmony"
)

// TestAppendResponseFormats wants the layout of the format guide.
func TestAppendResponseFormats(t *testing.T) {
	t.Parallel()
	list := harmony.ResponseFormat{Name: "shopping_list", Description: "What to buy.\nNo prices.",
		Schema: json.RawMessage(`{"type": "object", "properties": {"z": {"type": "number", "minimum": 1.0}, "a": {}}}`)}
	plain := harmony.ResponseFormat{Name: "plain", Schema: json.RawMessage(`{}`)}
	const listText = "# Response Formats\n\n## shopping_list\n\n// What to buy.\n// No prices.\n" +
		`{"type":"object","properties":{"z":{"type":"number","minimum":1.0},"a":{}}}`
	for _, test := range []struct {
		name, instructions string
		formats            []harmony.ResponseFormat
		want               string
	}{
		{"no format", "Be kind.", nil, "Be kind."},
		{"behind instructions", "Be kind.", []harmony.ResponseFormat{list}, "Be kind.\n\n" + listText},
		{"no instructions", "", []harmony.ResponseFormat{list}, listText},
		{"two formats, one without description", "", []harmony.ResponseFormat{list, plain}, listText + "\n\n## plain\n\n{}"},
	} {
		got, err := harmony.AppendResponseFormats(test.instructions, test.formats...)
		if err != nil || got != test.want {
			t.Errorf("%s\n got %q, %v\nwant %q", test.name, got, err, test.want)
		}
	}
	for _, bad := range []harmony.ResponseFormat{{Schema: json.RawMessage(`{}`)}, {Name: "broken", Schema: json.RawMessage(`{`)}} {
		if got, err := harmony.AppendResponseFormats("", bad); err == nil || !strings.Contains(err.Error(), "response format "+bad.Name) && bad.Name != "" {
			t.Errorf("%+v: got %q, %v; want an error that names it", bad, got, err)
		}
	}
}
