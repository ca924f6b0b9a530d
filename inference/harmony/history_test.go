package harmony_test

import (
	"fmt"
	"slices"
	"testing"

	"chorale/inference/harmony"
)

// TestDropFinishedReasoning writes a conversation as one letter a message: U user, R reasoning, C call on commentary, B
// built-in call on analysis, T its result, F final, P plain assistant text, S system.
func TestDropFinishedReasoning(t *testing.T) {
	t.Parallel()
	letters := map[rune]harmony.Message{
		'S': {Role: harmony.RoleSystem},
		'U': {Role: harmony.RoleUser},
		'R': {Role: harmony.RoleAssistant, Channel: harmony.ChannelAnalysis},
		'B': {Role: harmony.RoleAssistant, Channel: harmony.ChannelAnalysis, Recipient: "python"},
		'T': {Role: harmony.RoleTool, Name: "python", Channel: harmony.ChannelAnalysis, Recipient: "assistant"},
		'C': {Role: harmony.RoleAssistant, Channel: harmony.ChannelCommentary, Recipient: "functions.f"},
		'F': {Role: harmony.RoleAssistant, Channel: harmony.ChannelFinal},
		'P': {Role: harmony.RoleAssistant},
	}
	build := func(s string) []harmony.Message {
		var conv []harmony.Message
		for _, r := range s {
			conv = append(conv, letters[r])
		}
		return conv
	}
	header := func(m harmony.Message) string { return fmt.Sprint(m.Role, m.Name, m.Recipient, m.Channel) }
	for _, test := range []struct{ name, conv, want string }{
		{"nothing", "", ""},
		{"finished turn", "SURFU", "SUFU"},
		{"calls and results stay", "URBTRF", "UBTF"},
		{"last turn waits for a result", "URFURC", "UFURC"},
		{"last turn has a result", "URCT", "URCT"},
		{"last turn goes on behind an answer", "URFRC", "URFRC"},
		{"an earlier turn that went on behind its answer", "URFRCTU", "UFCTU"},
		{"an earlier turn without an answer keeps its reasoning", "URCTURF", "URCTUF"},
		{"an answer without a channel", "URP", "UP"},
		{"several turns", "URFURFURF", "UFUFUF"},
		{"reasoning in front of the first user", "SRF", "SF"},
	} {
		conv := build(test.conv)
		got := harmony.DropFinishedReasoning(conv)
		equal := func(a, b harmony.Message) bool { return header(a) == header(b) }
		if want := build(test.want); !slices.EqualFunc(got, want, equal) {
			t.Errorf("%s: %s became\n got %v\nwant %s", test.name, test.conv, got, test.want)
		}
		if !slices.EqualFunc(conv, build(test.conv), equal) {
			t.Errorf("%s: the conversation was changed", test.name)
		}
	}
}
