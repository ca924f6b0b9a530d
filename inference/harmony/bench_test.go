package harmony_test

import (
	"strings"
	"testing"

	"chorale/inference/harmony"
)

// benchConversation is a conversation of about 100 KB with tools, reasoning, calls and results.
func benchConversation() []harmony.Message {
	prose := strings.Repeat("The quick brown fox jumps over the lazy dog, and nobody minds. ", 16)
	text := func(s string) []harmony.Part { return []harmony.Part{harmony.Text(s)} }
	conv := []harmony.Message{
		{Role: harmony.RoleSystem, Content: []harmony.Part{&harmony.System{Effort: harmony.EffortMedium,
			Channels: []string{harmony.ChannelAnalysis, harmony.ChannelCommentary, harmony.ChannelFinal},
			Tools:    map[string]harmony.Namespace{"browser": harmony.BrowserNamespace(), "python": harmony.PythonNamespace()}}}},
	}
	for range 20 {
		conv = append(conv,
			harmony.Message{Role: harmony.RoleUser, Content: text(prose)},
			harmony.Message{Role: harmony.RoleAssistant, Channel: harmony.ChannelAnalysis, Content: text(prose)},
			harmony.Message{Role: harmony.RoleAssistant, Channel: harmony.ChannelCommentary, Recipient: "functions.look_up", ContentType: "<|constrain|>json", Content: text(`{"word":"fox"}`)},
			harmony.Message{Role: harmony.RoleTool, Name: "functions.look_up", Recipient: "assistant", Channel: harmony.ChannelCommentary, Content: text(prose + prose)},
			harmony.Message{Role: harmony.RoleAssistant, Channel: harmony.ChannelFinal, Content: text(prose)})
	}
	return conv
}

func BenchmarkRender(b *testing.B) {
	c := codec(b)
	conv := benchConversation()
	dst, err := c.Render(nil, conv, harmony.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(c.Tokenizer().Decode(dst))))
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = c.Render(dst[:0], conv, harmony.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(dst)), "ns/token")
}

func BenchmarkParserPush(b *testing.B) {
	c := codec(b)
	ids, err := c.Render(nil, benchConversation(), harmony.Options{Mode: harmony.Conversation})
	if err != nil {
		b.Fatal(err)
	}
	for _, mode := range []struct {
		name string
		s    harmony.Strictness
	}{{"lenient", harmony.Lenient}, {"strict", harmony.Strict}} {
		b.Run(mode.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := c.NewParser(harmony.ParserOptions{Strictness: mode.s})
				for _, id := range ids {
					if _, err := p.Push(id); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ids)), "ns/token")
		})
	}
}
