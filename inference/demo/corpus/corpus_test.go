package corpus_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"chorale/inference/demo/corpus"
	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
)

func newCodec(t *testing.T) *harmony.Codec {
	t.Helper()
	tok, err := tokenizer.Truncated(2048)
	if err != nil {
		t.Fatal(err)
	}
	c, err := harmony.NewCodec(tok)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newWriter(t *testing.T, c *harmony.Codec) *corpus.Writer {
	t.Helper()
	w, err := corpus.NewWriter(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// eachEpisode draws n episodes of every skill and split.
func eachEpisode(n int, do func(split corpus.Split, e *corpus.Episode)) {
	for _, split := range []corpus.Split{corpus.Train, corpus.HeldOut} {
		for s := range corpus.Skills() {
			source := corpus.NewSource(7, split, uint64(s))
			for range n {
				do(split, source.EpisodeOf(corpus.Skill(s)))
			}
		}
	}
}

// What the model should write must be what the server reads: the strict parser accepts it, finds the messages that the
// episode asks for, and each ends in the token that fits.
func TestDocumentsAreWellFormed(t *testing.T) {
	t.Parallel()
	codec := newCodec(t)
	w := newWriter(t, codec)
	eachEpisode(60, func(_ corpus.Split, e *corpus.Episode) {
		d, err := w.Document(e)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Kinds) != len(d.Tokens) {
			t.Fatalf("%d kinds for %d tokens", len(d.Kinds), len(d.Tokens))
		}
		turns := ownTurns(d)
		steps := e.Steps[e.Done:]
		if len(turns) != len(steps) {
			t.Fatalf("%v: %d turns are the model's, want %d", e.Skill, len(turns), len(steps))
		}
		for i, tokens := range turns {
			checkTurn(t, codec, tokens, steps[i])
		}
	})
}

// ownTurns are the runs of tokens that the model has to write.
func ownTurns(d *corpus.Document) [][]int32 {
	var turns [][]int32
	own := false
	for i, k := range d.Kinds {
		if k > corpus.Prompt {
			if !own {
				turns = append(turns, nil)
			}
			turns[len(turns)-1] = append(turns[len(turns)-1], d.Tokens[i])
		}
		own = k > corpus.Prompt
	}
	return turns
}

func checkTurn(t *testing.T, codec *harmony.Codec, tokens []int32, want corpus.Step) {
	t.Helper()
	p := codec.NewParser(harmony.ParserOptions{Role: harmony.RoleAssistant, Strictness: harmony.Strict})
	var messages []*harmony.Message
	for _, token := range tokens {
		d, err := p.Push(token)
		if err != nil {
			t.Fatalf("%s: %v", codec.Tokenizer().Decode(tokens), err)
		}
		if d.Close != nil {
			messages = append(messages, d.Close)
		}
	}
	if p.State() != harmony.StateExpectStart || len(messages) == 0 {
		t.Fatalf("%s: ends within a message", codec.Tokenizer().Decode(tokens))
	}
	if want.Analysis != "" {
		m := messages[0]
		messages = messages[1:]
		if m.Channel != harmony.ChannelAnalysis || m.Recipient != "" || said(m) != want.Analysis {
			t.Fatalf("reasoning is %+v, want %q", m, want.Analysis)
		}
	}
	if len(messages) != 1 {
		t.Fatalf("%d messages behind the reasoning, want 1: %s", len(messages), codec.Tokenizer().Decode(tokens))
	}
	m, end := messages[0], codec.Tokenizer().Decode(tokens[len(tokens)-1:])
	if want.Call == nil {
		if m.Channel != harmony.ChannelFinal || m.Recipient != "" || said(m) != want.Final || end != "<|return|>" {
			t.Fatalf("answer is %+v and ends in %s, want %q", m, end, want.Final)
		}
		return
	}
	if m.Recipient != want.Call.Recipient || m.Channel != want.Call.Channel || said(m) != want.Call.Arguments || end != "<|call|>" {
		t.Fatalf("call is %+v and ends in %s, want %+v", m, end, want.Call)
	}
}

func said(m *harmony.Message) string {
	var b strings.Builder
	for _, p := range m.Content {
		if s, ok := p.(harmony.Text); ok {
			b.WriteString(string(s))
		}
	}
	return b.String()
}

// The whole document must be what the codec renders for the conversation with the steps in it, so that training sees
// the prompts of service, token by token.
func TestDocumentsAreRenderedConversations(t *testing.T) {
	t.Parallel()
	codec := newCodec(t)
	w := newWriter(t, codec)
	eachEpisode(25, func(_ corpus.Split, e *corpus.Episode) {
		d, err := w.Document(e)
		if err != nil {
			t.Fatal(err)
		}
		conversation := slices.Clone(e.Conversation)
		for i, s := range e.Steps {
			if s.Analysis != "" {
				conversation = append(conversation, harmony.Message{Role: harmony.RoleAssistant, Channel: harmony.ChannelAnalysis, Content: []harmony.Part{harmony.Text(s.Analysis)}})
			}
			if i == len(e.Steps)-1 {
				conversation = append(conversation, harmony.Message{Role: harmony.RoleAssistant, Channel: harmony.ChannelFinal, Content: []harmony.Part{harmony.Text(s.Final)}})
				break
			}
			conversation = append(conversation, s.Call.Message(), s.Call.Answer(s.Call.Result))
		}
		want, err := codec.Render(nil, conversation, harmony.Options{Mode: harmony.Training, RecipientInChannel: true})
		if err != nil {
			t.Fatal(err)
		}
		if !e.RecipientInChannel { // calls in the prompt are spelt the other way
			return
		}
		if !slices.Equal(d.Tokens, want) {
			t.Fatalf("%v: document\n%s\nwant\n%s", e.Skill, codec.Tokenizer().Decode(d.Tokens), codec.Tokenizer().Decode(want))
		}
	})
}

// A final message of an earlier turn ends in <|end|>. The model has to end its own in <|return|>, so it must not learn
// from the earlier ones.
func TestEarlierMessagesAreNotLearned(t *testing.T) {
	t.Parallel()
	codec := newCodec(t)
	w := newWriter(t, codec)
	start, _ := codec.Tokenizer().Special("<|start|>")
	end, _ := codec.Tokenizer().Special("<|end|>")
	channel, _ := codec.Tokenizer().Special("<|channel|>")
	found := 0
	eachEpisode(25, func(_ corpus.Split, e *corpus.Episode) {
		d, err := w.Document(e)
		if err != nil {
			t.Fatal(err)
		}
		conversation, err := w.Prompt(e, e.Done)
		if err != nil {
			t.Fatal(err)
		}
		assistant := false
		for i := range conversation {
			if conversation[i] == start {
				assistant = strings.HasPrefix(codec.Tokenizer().Decode(conversation[i:min(i+6, len(conversation))]), "<|start|>assistant")
			}
			if assistant && (conversation[i] == end || conversation[i] == channel) {
				found++
				if d.Kinds[i] != corpus.Padding {
					t.Fatalf("token %d of %s has kind %d, want padding", i, codec.Tokenizer().Decode(conversation), d.Kinds[i])
				}
			}
		}
	})
	if found == 0 {
		t.Error("no earlier assistant messages were found")
	}
}

// Names of functions in the held-out split must be new, or their rates would measure memory.
func TestHeldOutNamesAreNew(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	checked := 0
	eachEpisode(400, func(split corpus.Split, e *corpus.Episode) {
		if e.Skill != corpus.CallNovel {
			return
		}
		for _, s := range e.Steps {
			if s.Call == nil {
				continue
			}
			if split == corpus.Train {
				seen[s.Call.Recipient] = true
				continue
			}
			checked++
			if seen[s.Call.Recipient] {
				t.Errorf("held-out call of %s, which occurs in training", s.Call.Recipient)
			}
		}
	})
	if len(seen) < 300 || checked < 300 {
		t.Errorf("only %d names and %d held-out calls were compared", len(seen), checked)
	}
}

// The same seed must give the same bytes on any machine, however many processors make them.
func TestWriteIsDeterministic(t *testing.T) {
	codec := newCodec(t)
	folders := [2]string{t.TempDir(), t.TempDir()}
	for i, dir := range folders {
		processors := runtime.GOMAXPROCS(1 + 3*i)
		m, err := corpus.Write(dir, corpus.Options{Codec: codec, Seed: 3, Documents: 1500, RowTokens: 1024})
		runtime.GOMAXPROCS(processors)
		if err != nil {
			t.Fatal(err)
		}
		if m.Documents+m.Dropped != 1500 || m.Dropped == 0 || m.Dropped > 300 {
			t.Errorf("%d documents and %d dropped of 1500 with rows of 1024", m.Documents, m.Dropped)
		}
	}
	for _, name := range []string{"tokens.u16", "kinds.u8", "skills.u8", "meta.json"} {
		a, err := os.ReadFile(filepath.Join(folders[0], name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(folders[1], name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs between two runs", name)
		}
	}
}

// Every document lies in its row whole, begins with a start mark, and nothing is lost.
func TestRowsHoldWholeDocuments(t *testing.T) {
	t.Parallel()
	codec := newCodec(t)
	dir := t.TempDir()
	const row = 2048
	m, err := corpus.Write(dir, corpus.Options{Codec: codec, Seed: 4, Split: corpus.HeldOut, Documents: 300, RowTokens: row})
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := os.ReadFile(filepath.Join(dir, "kinds.u8"))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := os.ReadFile(filepath.Join(dir, "tokens.u16"))
	if err != nil {
		t.Fatal(err)
	}
	if len(kinds) != m.Rows*row || len(tokens) != 2*len(kinds) {
		t.Fatalf("%d kinds and %d bytes of tokens in %d rows of %d", len(kinds), len(tokens), m.Rows, row)
	}
	start, _ := codec.Tokenizer().Special("<|start|>")
	documents := 0
	for i, k := range kinds {
		if i%row == 0 && k&0x80 == 0 {
			t.Fatalf("row %d begins within a document", i/row)
		}
		first := int32(tokens[2*i]) | int32(tokens[2*i+1])<<8
		if k&0x80 != 0 && k&0x7f == uint8(corpus.Prompt) {
			documents++
			if first != start {
				t.Fatalf("a document begins with token %d, want <|start|> = %d", first, start)
			}
		}
	}
	if documents != m.Documents {
		t.Errorf("%d documents begin in the rows, the meta data says %d", documents, m.Documents)
	}
}
