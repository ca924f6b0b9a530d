package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"chorale/inference/checkpoint"
	"chorale/inference/demo"
	"chorale/inference/demo/corpus"
	"chorale/inference/engine"
	"chorale/inference/gptoss"
	"chorale/inference/gptoss/cpu"
	"chorale/inference/harmony"
	"chorale/inference/sample"
)

// maxTokens of a generation; the corpus has none as long, so what reaches it has lost its way.
const maxTokens = 700

// A player lets the model speak and plays the tools. It is safe for concurrent use.
type player struct {
	codec       *harmony.Codec
	writer      *corpus.Writer
	runner      *cpu.Runner
	engine      *engine.Engine
	temperature float32
	gate        bool // limit sampling by a harmony.Gate
}

// newPlayer opens the model of a folder, or the embedded one if folder is empty.
func newPlayer(folder string) (*player, error) {
	open := demo.Open
	if folder != "" {
		open = func() (*checkpoint.Checkpoint, error) { return checkpoint.Open(folder) }
	}
	c, err := open()
	if err != nil {
		return nil, err
	}
	m, err := gptoss.Load(c)
	if err != nil {
		return nil, err
	}
	p := &player{}
	t, err := demo.Tokenizer()
	if err != nil {
		return nil, err
	}
	if p.codec, err = harmony.NewCodec(t); err != nil {
		return nil, err
	}
	if p.writer, err = corpus.NewWriter(p.codec); err != nil {
		return nil, err
	}
	if p.runner, err = cpu.New(m, cpu.Options{MaxContext: 8192, KVBytes: 1 << 30}); err != nil {
		return nil, err
	}
	p.engine, err = engine.New(p.runner, engine.Options{})
	return p, err
}

// Close ends the engine, which closes the runner.
func (p *player) Close() error { return p.engine.Close() }

// A turn is what the model wrote after one "<|start|>assistant".
type turn struct {
	tokens   []int32
	messages []*harmony.Message
	damage   string // what is not well-formed; "" = nothing
	unknown  string // a recipient that is not declared; "" = none
}

// last is the message that ends the turn: a call or the answer.
func (t *turn) last() *harmony.Message {
	if len(t.messages) == 0 {
		return &harmony.Message{}
	}
	return t.messages[len(t.messages)-1]
}

func content(m *harmony.Message) string {
	var b strings.Builder
	for _, part := range m.Content {
		if s, ok := part.(harmony.Text); ok {
			b.WriteString(string(s))
		}
	}
	return b.String()
}

// speak generates a turn. recipients are the tools that may be called, as in Message.Recipient.
func (p *player) speak(ctx context.Context, prompt []int32, recipients []string, seed uint64) (*turn, error) {
	r := engine.Request{Prompt: prompt, MaxTokens: maxTokens, Stop: p.codec.Stops(), Sampling: sample.Params{Temperature: p.temperature, Seed: seed, Logprobs: -1}}
	if p.gate {
		r.Constraint = p.newGate(recipients)
	}
	g, err := p.engine.Generate(ctx, r)
	if err != nil {
		return nil, err
	}
	t := &turn{}
	parser := p.codec.NewParser(harmony.ParserOptions{Role: harmony.RoleAssistant, Strictness: harmony.Strict})
	for token := range g.Tokens() {
		t.tokens = append(t.tokens, token.Token)
		if t.damage != "" {
			continue
		}
		d, err := parser.Push(token.Token)
		if err != nil {
			t.damage = err.Error()
		}
		if d.Close != nil {
			t.messages = append(t.messages, d.Close)
			t.damage = p.misplaced(d.Close, token.Token)
			if to := d.Close.Recipient; to != "" && !slices.Contains(recipients, to) {
				t.unknown = to
			}
		}
	}
	end, err := g.End()
	if err != nil {
		return nil, err
	}
	switch {
	case t.damage != "":
	case end.Reason != engine.StopToken:
		t.damage = fmt.Sprintf("no end after %d tokens", len(t.tokens))
	case parser.State() != harmony.StateExpectStart || len(t.messages) == 0:
		t.damage = "it stopped within a message"
	case t.last().Recipient == "" && t.last().Channel != harmony.ChannelFinal:
		t.damage = "it stopped without a call or an answer"
	}
	return t, nil
}

func (p *player) newGate(recipients []string) *harmony.Gate {
	o := harmony.GateOptions{}
	for _, r := range recipients {
		c := harmony.Call{Recipient: r, Channels: []string{harmony.ChannelCommentary}, ContentTypes: []string{"<|constrain|>json", "json", "code", ""}}
		if !strings.HasPrefix(r, "functions.") {
			c.Channels, c.ContentTypes = []string{harmony.ChannelAnalysis, harmony.ChannelCommentary}, []string{"code", ""}
		}
		o.Calls = append(o.Calls, c)
	}
	return p.codec.NewGate(o)
}

// misplaced says what about a message that parses is still not as the format wants it, given the token that ended it.
func (p *player) misplaced(m *harmony.Message, end int32) string {
	ended := string(p.codec.Tokenizer().AppendToken(nil, end))
	want := "<|end|>"
	switch {
	case m.Role != harmony.RoleAssistant:
		return fmt.Sprintf("a message of role %q", m.Role)
	case m.Recipient != "":
		want = "<|call|>"
		if m.Recipient != "python" && !json.Valid([]byte(content(m))) {
			return "arguments are not JSON: " + content(m)
		}
	case m.Channel == harmony.ChannelFinal:
		want = "<|return|>"
	case m.Channel != harmony.ChannelAnalysis && m.Channel != harmony.ChannelCommentary:
		return fmt.Sprintf("a message on channel %q", m.Channel)
	}
	if ended != want {
		return fmt.Sprintf("a message on channel %q to %q ends in %s, not %s", m.Channel, m.Recipient, ended, want)
	}
	return ""
}

// An outcome is how an episode went.
type outcome struct {
	turns, wellFormed int
	declared          int  // turns that are well-formed and call nothing that is not declared
	calls, callsRight int  // of the calls that should have been made
	firstRight        bool // the first turn's: the right call, or none where none was due
	answered          bool // the answer was reached and says what it should
	thought           int  // tokens of reasoning in the first turn
	report            string
}

// play lets the model act an episode out.
func (p *player) play(ctx context.Context, e *corpus.Episode, seed uint64) (*outcome, error) {
	tokens, err := p.writer.Prompt(e, e.Done)
	if err != nil {
		return nil, err
	}
	o := &outcome{}
	recipients := recipients(e.Conversation)
	for i, s := range e.Steps[e.Done:] {
		t, err := p.speak(ctx, tokens, recipients, seed+uint64(i))
		if err != nil {
			return nil, err
		}
		o.turns++
		o.report += p.codec.Tokenizer().Decode(t.tokens) + "\n"
		if s.Call != nil {
			o.calls++
		}
		if t.damage != "" {
			o.report += "DAMAGED: " + t.damage + "\n"
			return o, nil
		}
		o.wellFormed++
		if t.unknown != "" {
			o.report += "UNKNOWN: " + t.unknown + " is not declared\n"
			return o, nil
		}
		o.declared++
		last := t.last()
		if i == 0 && t.messages[0].Channel == harmony.ChannelAnalysis && t.messages[0].Recipient == "" {
			o.thought = p.codec.Tokenizer().Count(content(t.messages[0]))
		}
		if s.Call == nil {
			o.firstRight = o.firstRight || i == 0 && last.Recipient == ""
			o.answered = last.Recipient == "" && says(content(last), e.Want)
			if !o.answered {
				o.report += fmt.Sprintf("WANTED the answer %q\n", s.Final)
			}
			return o, nil
		}
		if !sameCall(last, s.Call) {
			o.report += fmt.Sprintf("WANTED the call %s %s\n", s.Call.Recipient, s.Call.Arguments)
			return o, nil
		}
		o.callsRight++
		o.firstRight = o.firstRight || i == 0
		tokens = append(tokens, t.tokens...)
		if tokens, err = p.codec.AppendMessage(tokens, s.Call.Answer(s.Call.Result), false); err != nil {
			return nil, err
		}
		if tokens, err = p.codec.Render(tokens, nil, harmony.Options{NextRole: harmony.RoleAssistant}); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// says reports whether an answer contains what it has to.
func says(answer string, want []string) bool {
	answer = strings.ToLower(answer)
	for _, w := range want {
		found := false
		for _, either := range strings.Split(strings.ToLower(w), "|") {
			found = found || strings.Contains(answer, either)
		}
		if !found {
			return false
		}
	}
	return answer != ""
}

// sameCall compares recipient and arguments: JSON by value, code by its text.
func sameCall(m *harmony.Message, c *corpus.Call) bool {
	if m.Recipient != c.Recipient {
		return false
	}
	return sameArguments(content(m), c.Arguments)
}

func sameArguments(got, want string) bool {
	var a, b any
	if json.Unmarshal([]byte(got), &a) == nil && json.Unmarshal([]byte(want), &b) == nil {
		return reflect.DeepEqual(a, b)
	}
	return strings.ReplaceAll(got, " ", "") == strings.ReplaceAll(want, " ", "")
}

// recipients lists the tools that a conversation declares.
func recipients(conversation []harmony.Message) []string {
	var out []string
	for _, m := range conversation {
		for _, part := range m.Content {
			var tools map[string]harmony.Namespace
			switch part := part.(type) {
			case *harmony.System:
				tools = part.Tools
			case *harmony.Developer:
				tools = part.Tools
			}
			for name, n := range tools {
				if name == "python" {
					out = append(out, name)
				}
				for _, f := range n.Tools {
					out = append(out, name+"."+f.Name)
				}
			}
		}
	}
	return out
}
