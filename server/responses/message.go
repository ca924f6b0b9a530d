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

	item     api.Item // as it is added; nil: it is for nobody outside
	streams  []stream // of the item
	visible  bool     // it is an answer or a preamble: stop strings and log-probabilities apply
	tool     *hosted  // it is a call of a tool of ours
	function string   // of the tool
	asks     bool     // the client must approve the call
	held     string   // input of the call that may turn out to be wrapped in something
	flows    bool     // it is not: input goes out as it comes
	cites    *citer   // of the citations in it; nil: they are text
	// unattached are the log-probabilities of tokens whose text has not come out yet: the rest of a character, or what
	// may become a stop string.
	unattached []api.Logprob
}

// route says where a message goes: a recipient makes it a call, the channel says the rest, and what is on a channel that
// does not exist is shown. Which function a name without its namespace means is clear enough, unless a tool of ours has it.
func (r *Run) route(h *harmony.Header) {
	m := &r.message
	name, prefixed := strings.CutPrefix(h.Recipient, functionsPrefix)
	tool, function := r.plan.hostedBy(h.Recipient)
	switch {
	case slices.Contains(r.plan.callable, name) && (prefixed || tool == nil):
		m.item = &api.FunctionCall{ID: r.s.newID("fc"), CallID: r.s.newID("call"), Name: name, Status: api.InProgress}
		m.streams = []stream{arguments}
	case tool != nil && r.mayHost(tool, function):
		m.tool, m.function = tool, function
		if m.asks = tool.asks != nil && tool.asks(function); !m.asks {
			m.item, m.streams = tool.item(r.ctx, function), []stream{tool.input}
		}
	case h.Recipient != "":
	case h.Channel == harmony.ChannelAnalysis:
		m.item = &api.Reasoning{ID: r.s.newID("rs"), Status: api.InProgress, Summary: []api.Part{}}
		if m.streams = []stream{reasoningText}; r.plan.summarise {
			m.streams = append(m.streams, summaryText)
		}
	default:
		item := &api.Message{ID: r.s.newID("msg"), Status: api.InProgress, Role: "assistant", Content: []api.Part{}}
		if h.Channel == harmony.ChannelCommentary {
			item.Phase = phaseCommentary
		}
		m.item, m.visible, m.streams, m.cites = item, true, []stream{outputText}, r.newCiter()
	}
}

// newCiter returns what turns citations into links, nil without a tool that shows pages.
func (r *Run) newCiter() *citer {
	for _, h := range r.plan.hosted {
		if h.page != nil {
			return &citer{page: func(cursor int) (webPage, bool) { return h.page(r.ctx, cursor) }}
		}
	}
	return nil
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
		switch {
		case r.message.visible:
			text, r.stopped = r.stops.Push(text)
			r.cite(text)
		case r.message.tool != nil:
			r.show(r.message.hold(text))
		default:
			r.show(text)
		}
	}
	if d.Close != nil {
		r.endMessage(d.Close, status)
	}
}

// cite passes text of an answer on, with its citations as links.
func (r *Run) cite(text string) {
	if r.message.cites == nil {
		r.show(text)
		return
	}
	r.showPieces(r.message.cites.push(text))
}

func (r *Run) showPieces(pieces []piece) {
	for _, p := range pieces {
		if r.show(p.text); p.citation != nil {
			r.out.annotate(p.citation)
		}
	}
}

// show passes text on. The item begins with its first text.
func (r *Run) show(text string) {
	if text == "" || r.message.item == nil {
		return
	}
	if r.out.item == nil {
		r.out.open(r.message.item, r.message.streams)
	}
	r.out.text(text, r.message.unattached)
	r.message.unattached = nil
}

// hold returns the input of a call that can go out: nothing while it may be wrapped in something that is not for the tool.
func (m *message) hold(text string) string {
	if m.flows {
		return text
	}
	if m.held += text; m.asks {
		return ""
	}
	beginning := strings.TrimSpace(m.held)
	if m.tool.wrapped != nil && (beginning == "" || m.tool.wrapped(beginning)) {
		return ""
	}
	m.flows = true
	return m.held
}

// endMessage ends the message's item and keeps its tokens for the history.
func (r *Run) endMessage(m *harmony.Message, status string) {
	switch {
	case r.message.visible:
		if r.cite(r.stops.Flush()); r.message.cites != nil {
			r.showPieces(r.message.cites.flush())
		}
	case r.message.held != "" && !r.message.flows && !r.message.asks:
		r.show(r.message.tool.unwrap(r.message.held))
	}
	if r.out.item == nil && status == api.Completed {
		r.showEmpty()
	}
	switch r.message.item.(type) {
	case *api.Reasoning:
		r.usage.OutputTokenDetails.ReasoningTokens += r.message.written
	case *api.FunctionCall:
		r.called = true
	}
	switch {
	case r.message.asks && status == api.Completed:
		r.ask(m)
	case r.out.item == nil && r.message.asks: // it was cut off: nothing to approve
	case r.out.item == nil && m.Recipient != "" && status == api.Completed:
		r.tools.calls = append(r.tools.calls, call{message: *m})
		r.s.countUnknownCall()
		r.turn = append(r.turn, store.Message{Tokens: r.exactTokens(m)})
	case r.out.item == nil:
	case r.message.tool != nil:
		r.endCall(m, status)
	default:
		item := r.out.close(func(added api.Item, text string, logprobs []api.Logprob) api.Item {
			return r.finished(added, text, logprobs, status)
		})
		r.turn = append(r.turn, store.Message{Item: item, Tokens: r.exactTokens(m)})
	}
	r.message = message{first: len(r.tokens)}
}

// endCall ends the input of a call of our tools, whose item stays until the call is answered, and lets the call wait for
// that.
func (r *Run) endCall(m *harmony.Message, status string) {
	c := call{message: *m, tool: r.message.tool, function: r.message.function, item: r.out.item, turn: len(r.turn)}
	c.input = r.out.endText()
	c.place = r.out.suspend()
	r.turn = append(r.turn, store.Message{Tokens: r.callTokens(&c)})
	if status != api.Completed {
		r.finish(&c, nil, nil)
		return
	}
	r.tools.calls = append(r.tools.calls, c)
	r.ended = r.ended || !r.out.response.ParallelToolCalls
	if last := len(r.tokens) - 1; r.ended && (r.tokens[last] == r.s.end || slices.Contains(r.s.stops, r.tokens[last])) {
		r.tokens[last] = r.s.call // the trained end; the engine has not computed this token yet
	}
}

// showEmpty begins the item of a message without text, where that means something: a call without arguments, which
// clients and tools want to read as JSON, one without code, and an empty answer. Reasoning and preambles without text are nothing.
func (r *Run) showEmpty() {
	switch i := r.message.item.(type) {
	case *api.FunctionCall:
		r.show("{}")
	case *api.Reasoning, nil:
	case *api.Message:
		if i.Phase == "" {
			r.out.open(i, r.message.streams)
		}
	default:
		if r.show(r.message.tool.empty); r.out.item == nil {
			r.out.open(i, r.message.streams)
		}
	}
}

// finished makes the complete item of the added one.
func (r *Run) finished(added api.Item, text string, logprobs []api.Logprob, status string) api.Item {
	switch i := added.(type) {
	case *api.Message:
		done := *i
		done.Status, done.Content = status, []api.Part{api.OutputText{Text: text, Annotations: r.out.notes, Logprobs: logprobs}}
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
