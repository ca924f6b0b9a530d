package responses

import (
	"slices"
	"strings"

	"chorale/inference/harmony"
	"chorale/inference/sample"
	"chorale/server/api"
	"chorale/server/store"
)

// A message is what the model is writing at the moment and where it goes.
type message struct {
	first    int  // index in the sequence of its start token
	written  int  // tokens that were sampled for it
	repaired bool // it strays from the format

	item    api.Item // as it is added; nil: it is for nobody outside
	visible bool     // it is an answer or a preamble: stop strings and log-probabilities apply
	// unattached are the log-probabilities of tokens whose text has not come out yet: the rest of a character, or what
	// may become a stop string.
	unattached []api.Logprob
}

// route says where a message goes: a recipient makes it a call, the channel says the rest, and what is on a channel that
// does not exist is shown. Which function a name without its namespace means is clear enough.
func (r *Run) route(h *harmony.Header) {
	m := &r.message
	name := strings.TrimPrefix(h.Recipient, functionsPrefix)
	switch {
	case slices.Contains(r.plan.callable, name):
		m.item = &api.FunctionCall{ID: r.s.newID("fc"), CallID: r.s.newID("call"), Name: name, Status: api.InProgress}
	case h.Recipient != "":
		m.item = nil
	case h.Channel == harmony.ChannelAnalysis:
		m.item = &api.Reasoning{ID: r.s.newID("rs"), Status: api.InProgress, Summary: []api.Part{}}
	default:
		item := &api.Message{ID: r.s.newID("msg"), Status: api.InProgress, Role: "assistant", Content: []api.Part{}}
		if h.Channel == harmony.ChannelCommentary {
			item.Phase = phaseCommentary
		}
		m.item, m.visible = item, true
	}
}

// apply follows what a token changed; an item that ends has the status.
func (r *Run) apply(d harmony.Delta, status string) {
	for _, rule := range d.Repairs {
		r.s.countRepair(string(rule))
		r.message.repaired = true
	}
	if d.Open != nil {
		r.route(d.Open)
	}
	if d.Text != "" {
		text := d.Text
		if r.message.visible {
			text, r.stopped = r.stops.Push(text)
		}
		r.show(text)
	}
	if d.Close != nil {
		r.endMessage(d.Close, status)
	}
}

// show passes text on. The item begins with its first text.
func (r *Run) show(text string) {
	if text == "" || r.message.item == nil {
		return
	}
	if r.out.item == nil {
		r.out.open(r.message.item)
	}
	r.out.text(text, r.message.unattached)
	r.message.unattached = nil
}

// endMessage ends the message's item and keeps its tokens for the history.
func (r *Run) endMessage(m *harmony.Message, status string) {
	if r.message.visible {
		r.show(r.stops.Flush())
	}
	switch r.message.item.(type) {
	case *api.Reasoning:
		r.usage.OutputTokenDetails.ReasoningTokens += r.message.written
	case *api.FunctionCall:
		r.called = true
	}
	if r.out.item == nil && status == api.Completed {
		r.showEmpty()
	}
	switch {
	case r.out.item != nil:
		item := r.out.close(func(added api.Item, text string, logprobs []api.Logprob) api.Item {
			return r.finished(added, text, logprobs, status)
		})
		r.turn = append(r.turn, store.Message{Item: item, Tokens: r.exactTokens(m)})
	case m.Recipient != "" && status == api.Completed:
		r.unknown = append(r.unknown, *m)
		r.s.countUnknownCall()
		r.turn = append(r.turn, store.Message{Tokens: r.exactTokens(m)})
	}
	r.message = message{first: len(r.tokens)}
}

// showEmpty begins the item of a message without text, where that means something: a call without arguments, which
// clients want to read as JSON, and an empty answer. Reasoning and preambles without text are nothing.
func (r *Run) showEmpty() {
	switch i := r.message.item.(type) {
	case *api.FunctionCall:
		r.show("{}")
	case *api.Message:
		if i.Phase == "" {
			r.out.open(i)
		}
	}
}

// finished makes the complete item of the added one.
func (r *Run) finished(added api.Item, text string, logprobs []api.Logprob, status string) api.Item {
	switch i := added.(type) {
	case *api.Message:
		done := *i
		done.Status, done.Content = status, []api.Part{api.OutputText{Text: text, Logprobs: logprobs}}
		return &done
	case *api.Reasoning:
		done := *i
		done.Status, done.Content = status, []api.Part{api.ReasoningText{Text: text}}
		if r.plan.summarise {
			done.Summary = []api.Part{api.SummaryText{Text: text}}
		}
		if r.plan.sealed {
			done.EncryptedContent = r.s.seal.close(text)
		}
		return &done
	case *api.FunctionCall:
		done := *i
		done.Status, done.Arguments = status, text
		return &done
	default:
		panic("no streams for items of type " + api.Kind(added))
	}
}

// exactTokens returns the message's tokens with the end that they have in the history, or nil when the history must not
// have them: the model strayed from the format, or a stop string cut the text.
func (r *Run) exactTokens(m *harmony.Message) []int32 {
	if r.message.repaired || r.stopped {
		return nil
	}
	tokens := slices.Clone(r.tokens[r.message.first:])
	if tokens[0] != r.s.assistantStart[0] { // it began by cutting off the one before
		return nil
	}
	if last := tokens[len(tokens)-1]; last == r.s.end || slices.Contains(r.s.stops, last) {
		tokens = tokens[:len(tokens)-1]
	}
	if m.Recipient != "" {
		return append(tokens, r.s.call)
	}
	return append(tokens, r.s.end)
}

// logprob is a sampled token as the API shows it.
func (r *Run) logprob(result sample.Result) api.Logprob {
	text, numbers := r.tokenText(result.Token)
	l := api.Logprob{Token: text, Bytes: numbers, Logprob: float64(result.Logprob), TopLogprobs: []api.TopLogprob{}}
	for _, t := range result.Top {
		text, numbers := r.tokenText(t.Token)
		l.TopLogprobs = append(l.TopLogprobs, api.TopLogprob{Token: text, Bytes: numbers, Logprob: float64(t.Logprob)})
	}
	return l
}

func (r *Run) tokenText(token int32) (text string, numbers []int) {
	data := r.s.o.Codec.Tokenizer().AppendToken(nil, token)
	numbers = make([]int, len(data))
	for i, b := range data {
		numbers[i] = int(b)
	}
	return strings.ToValidUTF8(string(data), "\uFFFD"), numbers
}
