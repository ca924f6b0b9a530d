package harmony_test

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
)

// someCalls has recipients that begin alike, that share no token with others, and one that takes many tokens.
var someCalls = []harmony.Call{
	{Recipient: "functions.get", ContentTypes: []string{"<|constrain|>json", "json", "code", ""}},
	{Recipient: "functions.get_weather", ContentTypes: []string{"<|constrain|>json", "json"}},
	{Recipient: "functions.Ünïcode-名前.v2", Channels: []string{"commentary", "analysis"}},
	{Recipient: "python", Channels: []string{"analysis"}, ContentTypes: []string{"code", ""}},
}

func smallCodec(t testing.TB, ranks int) *harmony.Codec {
	t.Helper()
	tok, err := tokenizer.Truncated(ranks)
	if err != nil {
		t.Fatal(err)
	}
	c, err := harmony.NewCodec(tok)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGateRefuses passes a good beginning to the gate, then something whose first token must be refused.
func TestGateRefuses(t *testing.T) {
	t.Parallel()
	const thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
	for _, c := range []struct {
		name, good, bad string
		must            harmony.CallMode
	}{
		{name: "text instead of a header", bad: "Hello"},
		{name: "no channel", bad: "<|message|>"},
		{name: "end of nothing", bad: "<|end|>"},
		{name: "role again", bad: "assistant"},
		{name: "start again", bad: "<|start|>"},
		{name: "unknown channel", good: "<|channel|>", bad: "thoughts"},
		{name: "channel with a tail", good: "<|channel|>final", bad: "x<|message|>"},
		{name: "channel cut off", good: "<|channel|>comment"[:11], bad: "<|message|>"},
		{name: "second channel", good: "<|channel|>commentary", bad: "<|channel|>"},
		{name: "unknown recipient", good: "<|channel|>commentary to=functions.", bad: "delete"},
		{name: "unknown namespace", good: "<|channel|>commentary to=", bad: "container.exec"},
		{name: "only the beginning of a recipient", good: "<|channel|>commentary to=functions", bad: "<|message|>"},
		{name: "recipient with a tail", good: "<|channel|>commentary to=functions.get_weather", bad: "_now"},
		{name: "function on a channel that is not its own", good: "<|channel|>analysis to=functions", bad: ".get_weather"},
		{name: "python on a channel that is not its own", good: "<|channel|>commentary to=", bad: "python"},
		{name: "call on final", good: "<|channel|>final", bad: " to=python"},
		{name: "recipient on both sides", good: " to=python<|channel|>analysis", bad: " to=python"},
		{name: "content type without a recipient", good: "<|channel|>final", bad: " json"},
		{name: "content type that is not offered", good: "<|channel|>commentary to=functions.get_weather", bad: " code"},
		{name: "second content type", good: "<|channel|>commentary to=functions.get json", bad: " json"},
		{name: "no content type where one is wanted", good: "<|channel|>commentary to=functions.get_weather", bad: "<|message|>"},
		{name: "constrain glued to the recipient", good: "<|channel|>commentary to=functions.get", bad: "<|constrain|>"},
		{name: "reasoning that ends the turn", good: "<|channel|>analysis<|message|>Hm.", bad: "<|return|>"},
		{name: "reasoning that ends like a call", good: "<|channel|>analysis<|message|>Hm.", bad: "<|call|>"},
		{name: "preamble that ends the turn", good: "<|channel|>commentary<|message|>Hm.", bad: "<|return|>"},
		{name: "answer that goes on", good: "<|channel|>final<|message|>Hi<|end|>", bad: "<|start|>"},
		{name: "answer that ends twice", good: "<|channel|>final<|message|>Hi<|end|>", bad: "<|return|>"},
		{name: "call that goes on", good: "<|channel|>analysis to=python code<|message|>1", bad: "<|end|>"},
		{name: "call that ends the turn", good: "<|channel|>analysis to=python code<|message|>1", bad: "<|return|>"},
		{name: "start in a message", good: "<|channel|>final<|message|>Hi", bad: "<|start|>"},
		{name: "channel in a message", good: "<|channel|>final<|message|>Hi", bad: "<|channel|>"},
		{name: "message in a message", good: "<|channel|>final<|message|>", bad: "<|message|>"},
		{name: "constrain in a message", good: "<|channel|>final<|message|>", bad: "<|constrain|>"},
		{name: "end of text in a message", good: "<|channel|>final<|message|>Hi", bad: "<|endoftext|>"},
		{name: "reserved token in a message", good: "<|channel|>final<|message|>Hi", bad: "<|reserved_200013|>"},
		{name: "token without a row", good: "<|channel|>final<|message|>Hi", bad: "<|reserved_201088|>"},
		{name: "no start after a message", good: strings.TrimSuffix(thought, "<|start|>assistant"), bad: "assistant"},
		{name: "channel after a message", good: strings.TrimSuffix(thought, "<|start|>assistant"), bad: "<|channel|>"},
		{name: "other role", good: strings.TrimSuffix(thought, "assistant"), bad: "user"},
		{name: "text in the second header", good: thought, bad: " Hm"},
		{name: "text behind the answer", good: thought + "<|channel|>final<|message|>Hi<|return|>", bad: "Hi"},
		{name: "second message behind the answer", good: "<|channel|>final<|message|>Hi<|return|>", bad: "<|start|>"},
		{name: "second call", good: " to=python<|channel|>analysis<|message|>1<|call|>", bad: "<|start|>"},
		{name: "commentary behind a call", good: " to=python<|channel|>analysis<|message|>1<|call|>", bad: "commentary"},
		{name: "answer where a call is demanded", must: harmony.MustCall, good: thought + "<|channel|>", bad: "final"},
		{name: "recipient where calls are forbidden", must: harmony.MustNotCall, bad: " to=python"},
		{name: "late recipient where calls are forbidden", must: harmony.MustNotCall, good: "<|channel|>analysis", bad: " to=python"},
	} {
		codec := codec(t)
		gate := codec.NewGate(harmony.GateOptions{Calls: someCalls, Must: c.must})
		accept(t, c.name, gate, codec.Tokenizer().EncodeSpecial(nil, c.good))
		bad := codec.Tokenizer().EncodeSpecial(nil, c.bad)[0]
		before := *gate
		if err := gate.Accept(bad); err == nil {
			t.Errorf("%s: %q was accepted behind %q", c.name, c.bad, c.good)
		}
		if allowed(gate, codec).has(bad) {
			t.Errorf("%s: the mask allows %q behind %q", c.name, c.bad, c.good)
		}
		if got, want := allowed(gate, codec), allowed(&before, codec); want.count() == 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %d tokens allowed after the refusal, %d before", c.name, got.count(), want.count())
		}
	}
}

// TestGateRefusesOtherSpellings: the same header text in other tokens than the Codec's.
func TestGateRefusesOtherSpellings(t *testing.T) {
	t.Parallel()
	codec := codec(t)
	tok := codec.Tokenizer()
	for _, pieces := range [][]string{
		{"<|channel|>", "f", "inal", "<|message|>"},
		{"<|channel|>", "anal", "ysis", "<|message|>"},
		{" to=functions", ".", "get", "<|channel|>"},
		{" ", "to", "=python", "<|channel|>"},
	} {
		gate := codec.NewGate(harmony.GateOptions{Calls: someCalls})
		var err error
		for _, piece := range pieces {
			for _, id := range tok.EncodeSpecial(nil, piece) {
				if err == nil {
					err = gate.Accept(id)
				}
			}
		}
		if err == nil {
			t.Errorf("%q was accepted", pieces)
		}
	}
}

func TestGateRefusesIdsThatDoNotExist(t *testing.T) {
	t.Parallel()
	codec := codec(t)
	gate := codec.NewGate(harmony.GateOptions{})
	for _, text := range []string{"", "<|channel|>final<|message|>", "<|return|>"} {
		accept(t, text, gate, codec.Tokenizer().EncodeSpecial(nil, text))
		for _, id := range []int32{-1, math.MinInt32, 199998, 200019, 201087, 201088, 250000, math.MaxInt32} {
			if gate.Accept(id) == nil {
				t.Errorf("behind %q: %d was accepted", text, id)
			}
		}
	}
}

// TestGateAllowsWhatTheCodecRenders feeds rendered assistant messages of every kind to the gate.
func TestGateAllowsWhatTheCodecRenders(t *testing.T) {
	t.Parallel()
	text := []harmony.Part{harmony.Text("Some text: <|end|> {\"a\":1}")}
	messages := []harmony.Message{
		{Channel: "analysis", Content: text},
		{Channel: "commentary", Content: text},
		{Channel: "analysis"},
		{Channel: "final", Content: text},
	}
	for _, call := range someCalls {
		for _, channel := range append(call.Channels, "commentary")[:max(1, len(call.Channels))] {
			for _, contentType := range append(call.ContentTypes, "")[:max(1, len(call.ContentTypes))] {
				messages = append(messages, harmony.Message{
					Channel: channel, Recipient: call.Recipient, ContentType: contentType, Content: text})
			}
		}
	}
	for _, codec := range []*harmony.Codec{codec(t), smallCodec(t, 2048), smallCodec(t, 256)} {
		for _, m := range messages {
			for _, late := range []bool{false, true} {
				m.Role = harmony.RoleAssistant
				tokens, err := codec.Render(nil, []harmony.Message{m}, harmony.Options{Mode: harmony.Training, RecipientInChannel: late})
				if err != nil {
					t.Fatal(err)
				}
				prompt, err := codec.Render(nil, nil, harmony.Options{})
				if err != nil {
					t.Fatal(err)
				}
				gate := codec.NewGate(harmony.GateOptions{Calls: someCalls})
				accept(t, codec.Tokenizer().Decode(tokens), gate, tokens[len(prompt):])
			}
		}
	}
}

// TestGateWalks samples with random preferences behind the gate: whatever a model would rather say, the strict parser
// reads it without an error, the lenient one has nothing to repair, and only what was offered is called. Mask and Accept
// agree on every step.
func TestGateWalks(t *testing.T) {
	t.Parallel()
	const seed, walks = 7, 400
	t.Logf("seed %d", seed)
	for name, codec := range map[string]*harmony.Codec{
		"o200k_harmony": codec(t), "2048 ranks": smallCodec(t, 2048), "bytes": smallCodec(t, 256),
	} {
		for _, o := range []harmony.GateOptions{
			{},
			{Calls: someCalls},
			{Calls: someCalls, Must: harmony.MustCall},
			{Calls: someCalls, Must: harmony.MustNotCall},
			{Calls: someCalls[1:2], Must: harmony.MustCall},
			{Must: harmony.MustCall},
		} {
			t.Run(fmt.Sprintf("%s, %d calls, mode %d", name, len(o.Calls), o.Must), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, uint64(o.Must)))
				finished := 0
				for range walks {
					if walk(t, codec, o, r) {
						finished++
					}
				}
				if finished < walks/2 {
					t.Errorf("%d of %d walks came to an end; the test proves too little", finished, walks)
				}
			})
		}
	}
}

// walk samples one generation and reports whether it ended within the token limit.
func walk(t *testing.T, codec *harmony.Codec, o harmony.GateOptions, r *rand.Rand) (ended bool) {
	t.Helper()
	tok := codec.Tokenizer()
	gate := codec.NewGate(o)
	parser := codec.NewParser(harmony.ParserOptions{Role: harmony.RoleAssistant, Strictness: harmony.Strict})
	lenient := codec.NewParser(harmony.ParserOptions{Role: harmony.RoleAssistant})
	var tokens []int32
	var messages []*harmony.Message
	for len(tokens) < 1000 && !ended {
		mask := allowed(gate, codec)
		if mask.count() == 0 {
			t.Fatalf("nothing is allowed behind %q", tok.Decode(tokens))
		}
		token := chooseToken(mask, tok, r)
		for range 3 { // any token at all: the mask and Accept say the same
			other, copied := int32(r.IntN(tok.Vocab())), *gate
			if err := copied.Accept(other); (err == nil) != mask.has(other) {
				t.Fatalf("token %d behind %q: the mask says %v, Accept %v", other, tok.Decode(tokens), mask.has(other), err)
			}
		}
		if err := gate.Accept(token); err != nil {
			t.Fatalf("a token that the mask allows: %v, behind %q", err, tok.Decode(tokens))
		}
		tokens = append(tokens, token)
		delta, err := parser.Push(token)
		if err != nil {
			t.Fatalf("strict parser: %v, in %q", err, tok.Decode(tokens))
		}
		if delta, err := lenient.Push(token); err != nil || len(delta.Repairs) > 0 {
			t.Fatalf("lenient parser: %v %v, in %q", delta.Repairs, err, tok.Decode(tokens))
		}
		if delta.Close != nil {
			messages = append(messages, delta.Close)
		}
		answered := delta.Close != nil && delta.Close.Channel == harmony.ChannelFinal && delta.Close.Recipient == ""
		ended = answered || slices.Contains(codec.Stops(), token)
	}
	for i, m := range messages {
		last := ended && i == len(messages)-1
		if err := checkMessage(m, o, last); err != nil {
			t.Fatalf("%v, in %q", err, tok.Decode(tokens))
		}
	}
	return ended
}

// chooseToken returns one of the allowed tokens, in a message often the one that ends it.
func chooseToken(mask mask, tok *tokenizer.Tokenizer, r *rand.Rand) int32 {
	if mask.count() < 200 {
		few := mask.from(0)
		return few[r.IntN(len(few))]
	}
	if few := mask.from(int32(tok.Ranks())); r.IntN(4) == 0 {
		return few[r.IntN(len(few))]
	}
	for {
		if id := int32(r.IntN(tok.Ranks())); mask.has(id) {
			return id
		}
	}
}

func checkMessage(m *harmony.Message, o harmony.GateOptions, last bool) error {
	if m.Role != harmony.RoleAssistant || m.Name != "" {
		return fmt.Errorf("message of %s %q", m.Role, m.Name)
	}
	if m.Recipient != "" {
		for _, call := range o.Calls {
			channels, types := call.Channels, call.ContentTypes
			if channels == nil {
				channels = []string{"commentary"}
			}
			if types == nil {
				types = []string{""}
			}
			if call.Recipient == m.Recipient && slices.Contains(channels, m.Channel) &&
				slices.Contains(types, m.ContentType) && o.Must != harmony.MustNotCall && last {
				return nil
			}
		}
		return fmt.Errorf("call that was not offered, or not the last message: to %q on %q as %q", m.Recipient, m.Channel, m.ContentType)
	}
	switch {
	case m.ContentType != "":
		return fmt.Errorf("content type %q without a recipient", m.ContentType)
	case last != (m.Channel == harmony.ChannelFinal):
		return fmt.Errorf("message on %q; last of the generation: %v", m.Channel, last)
	case last && o.Must == harmony.MustCall && len(o.Calls) > 0:
		return fmt.Errorf("answer on %q where a call was demanded", m.Channel)
	case m.Channel != harmony.ChannelFinal && m.Channel != harmony.ChannelAnalysis && m.Channel != harmony.ChannelCommentary:
		return fmt.Errorf("message on %q", m.Channel)
	}
	return nil
}

// TestGateWithoutUsableCalls: recipients that no header can hold are not offered, and a call that cannot be made is not
// demanded.
func TestGateWithoutUsableCalls(t *testing.T) {
	t.Parallel()
	codec := codec(t)
	for _, call := range []harmony.Call{
		{}, {Recipient: "two words"}, {Recipient: "line\n"}, {Recipient: "f<|end|>"}, {Recipient: "\xff"},
		{Recipient: "f", Channels: []string{}}, {Recipient: "f", Channels: []string{"thoughts"}},
		{Recipient: "f", ContentTypes: []string{"two words", "<|constrain|>", "<|message|>"}},
	} {
		gate := codec.NewGate(harmony.GateOptions{Calls: []harmony.Call{call}, Must: harmony.MustCall})
		plain := codec.NewGate(harmony.GateOptions{})
		if got, want := allowed(gate, codec), allowed(plain, codec); !slices.Equal(got, want) {
			t.Errorf("%+v: %d tokens allowed at the start, without calls %d", call, got.count(), want.count())
		}
		accept(t, fmt.Sprintf("%+v", call), gate, codec.Tokenizer().EncodeSpecial(nil, "<|channel|>final<|message|>Hi<|return|>"))
	}
}

func TestGateForced(t *testing.T) {
	t.Parallel()
	codec := codec(t)
	tok := codec.Tokenizer()
	one := harmony.GateOptions{Calls: someCalls[1:2], Must: harmony.MustCall}
	for _, c := range []struct {
		name, given, want string
		options           harmony.GateOptions
	}{
		{"a channel must come first", "", "<|channel|>", harmony.GateOptions{}},
		{"a choice", "", "", one},
		{"the recipient is decided", " to", "=functions.get_weather<|channel|>commentary", one},
		{"the content type is decided", " to=functions.get_weather<|channel|>commentary json", "<|message|>", one},
		{"in a message", "<|channel|>analysis<|message|>", "", one},
		{"behind a message", "<|channel|>analysis<|message|><|end|>", "<|start|>assistant", one},
		{"behind a message, without calls", "<|channel|>analysis<|message|><|end|>", "<|start|>assistant<|channel|>", harmony.GateOptions{}},
		{"behind the end", "<|channel|>final<|message|><|return|>", "", harmony.GateOptions{}},
	} {
		gate := codec.NewGate(c.options)
		accept(t, c.name, gate, tok.EncodeSpecial(nil, c.given))
		forced := gate.Forced([]int32{-7})[1:]
		if got := tok.Decode(forced); got != c.want {
			t.Errorf("%s: forced %q, want %q", c.name, got, c.want)
		}
		for _, id := range forced {
			if a := allowed(gate, codec); a.count() != 1 || !a.has(id) {
				t.Errorf("%s: %d is forced, but %d tokens are allowed", c.name, id, a.count())
			}
			accept(t, c.name, gate, []int32{id})
		}
	}
}

// TestGateMaskSizes: bits beyond the model's ids stay clear, whatever the length of the mask.
func TestGateMaskSizes(t *testing.T) {
	t.Parallel()
	codec := smallCodec(t, 300) // <|end|> is 309
	for _, c := range []struct {
		name               string
		vocab, words, want int
	}{
		{"as the tokenizer", 0, 11, 301},
		{"model with padding rows", 352, 11, 301},
		{"mask longer than the vocabulary", 0, 40, 301},
		{"model that lacks the last special tokens", 310, 10, 301},
		{"mask too short", 0, 9, 288},
		{"no mask", 0, 0, 0},
	} {
		gate := codec.NewGate(harmony.GateOptions{Vocab: c.vocab})
		accept(t, c.name, gate, codec.Tokenizer().EncodeSpecial(nil, "<|channel|>analysis<|message|>"))
		mask := make(mask, c.words)
		for i := range mask {
			mask[i] = 0xdeadbeef // what is there from before must not shine through
		}
		gate.Mask(mask)
		if n := mask.count(); n != c.want {
			t.Errorf("%s: %d bits, want %d", c.name, n, c.want)
		}
	}
}

func accept(t *testing.T, name string, gate *harmony.Gate, tokens []int32) {
	t.Helper()
	for i, id := range tokens {
		if err := gate.Accept(id); err != nil {
			t.Fatalf("%s: token %d: %v", name, i, err)
		}
	}
}

// mask has a bit for each id.
type mask []uint32

func (m mask) has(id int32) bool { return int(id/32) < len(m) && m[id/32]>>(id%32)&1 == 1 }

func (m mask) count() (n int) {
	for _, w := range m {
		n += bits.OnesCount32(w)
	}
	return n
}

// from returns the ids that are set, beginning with first.
func (m mask) from(first int32) (ids []int32) {
	for i := int(first / 32); i < len(m); i++ {
		for w := m[i]; w != 0; w &= w - 1 {
			if id := int32(32*i + bits.TrailingZeros32(w)); id >= first {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// allowed returns the gate's mask.
func allowed(gate *harmony.Gate, codec *harmony.Codec) mask {
	m := make(mask, (codec.Tokenizer().Vocab()+31)/32)
	if !gate.Mask(m) {
		panic("a gate always limits")
	}
	return m
}

// manyCalls is what a client with n functions offers.
func manyCalls(n int) []harmony.Call {
	calls := make([]harmony.Call, n)
	for i := range calls {
		calls[i] = harmony.Call{
			Recipient:    fmt.Sprintf("functions.tool_%d_of_the_client", i*7919%n),
			ContentTypes: []string{"<|constrain|>json", "json", "code", ""},
		}
	}
	return calls
}

// BenchmarkGate measures what the gate costs a sampled token, Mask and Accept together, with 128 functions on offer.
func BenchmarkGate(b *testing.B) {
	codec := codec(b)
	gate := codec.NewGate(harmony.GateOptions{Calls: manyCalls(128)})
	mask := make([]uint32, (codec.Tokenizer().Vocab()+31)/32)
	for _, bb := range []struct{ name, before, tokens string }{
		{"header", "", "<|channel|>commentary to=functions.tool_77_of_the_client <|constrain|>json<|message|>"},
		{"content", "<|channel|>final<|message|>", "What the model says when nobody stops it."},
	} {
		b.Run(bb.name, func(b *testing.B) {
			start := *gate
			for _, id := range codec.Tokenizer().EncodeSpecial(nil, bb.before) {
				if err := start.Accept(id); err != nil {
					b.Fatal(err)
				}
			}
			tokens := codec.Tokenizer().EncodeSpecial(nil, bb.tokens)
			g, i := start, 0
			for b.Loop() {
				if i == len(tokens) {
					g, i = start, 0
				}
				g.Mask(mask)
				if err := g.Accept(tokens[i]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkNewGate measures what a request with 128 functions pays once.
func BenchmarkNewGate(b *testing.B) {
	codec, calls := codec(b), manyCalls(128)
	for b.Loop() {
		codec.NewGate(harmony.GateOptions{Calls: calls})
	}
}
