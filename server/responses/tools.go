package responses

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"chorale/inference/harmony"
	"chorale/server/api"
	"chorale/server/store"
	"chorale/toolhost"
)

// maxUnknownRounds is how often in one response the model is told that a tool does not exist before its turn is over.
const maxUnknownRounds = 2

// Why a turn does not go on behind calls.
var (
	errFull        = errors.New("no more tokens may follow")
	errInterrupted = errors.New("the response has ended during a call")
)

// A call is a finished message to a tool that is answered here: one of ours, or one that does not exist.
type call struct {
	message  harmony.Message
	tool     *hosted // nil: there is no such tool, or not now
	function string
	input    string
	item     api.Item // as it was added
	place    place    // of the item
	turn     int      // index of the message in the turn
}

// A toolUse is what a response does with tools.
type toolUse struct {
	calls   []call            // finished and not answered yet
	session *toolhost.Session // nil: no tool of ours was called
	made    int               // calls of our tools
	spent   time.Duration     // on them
	unknown int               // rounds that answered only calls of tools that do not exist
}

// answerable reports whether the model goes on behind the calls that it has written.
func (r *Run) answerable() bool {
	for _, c := range r.tools.calls {
		if c.tool != nil {
			return true
		}
	}
	return len(r.tools.calls) > 0 && !r.called && r.tools.unknown < maxUnknownRounds
}

// answer makes the calls of the round, shows them to the client, and appends their results to the sequence, as far as they
// fit. The calls of our tools are made at the same time where they can be.
func (r *Run) answer() error {
	outcomes := r.do()
	r.save(outcomes)
	if r.ctx.Err() != nil || r.out.gone {
		return errInterrupted
	}
	room := (r.s.o.Model.MaxContext-len(r.tokens))/2 - len(r.s.assistantStart) // the other half is for what the model says to it
	unknown, full := true, false
	for ; len(r.tools.calls) > 0; r.tools.calls, outcomes = r.tools.calls[1:], outcomes[1:] {
		c, o := &r.tools.calls[0], &outcomes[0]
		if c.tool == nil {
			o.Text = r.unknownTool(c)
		}
		tokens, shown, err := r.resultTokens(c, o.Text, room)
		if err != nil {
			return err
		}
		full = full || tokens == nil
		room -= len(tokens)
		r.tokens = append(r.tokens, tokens...)
		if c.tool == nil {
			r.turn = append(r.turn, store.Message{Tokens: tokens})
			continue
		}
		unknown, o.Text = false, shown
		r.finish(c, o, tokens)
	}
	if unknown {
		r.tools.unknown++
	}
	if full {
		return errFull
	}
	r.tokens = append(r.tokens, r.s.assistantStart...)
	return nil
}

// mayHost reports whether one more call of a tool of ours may be made.
func (r *Run) mayHost(h *hosted, function string) bool {
	waiting := 0
	for _, c := range r.tools.calls {
		if c.tool != nil {
			waiting++
		}
	}
	return h.mayCall(function) && r.tools.made+waiting < r.plan.maxToolCalls
}

// do makes the calls of our tools and returns the outcomes at the calls' places.
func (r *Run) do() []toolhost.Outcome {
	outcomes := make([]toolhost.Outcome, len(r.tools.calls))
	var calls []toolhost.Call
	var at []int
	for i, c := range r.tools.calls {
		if c.tool == nil {
			continue
		}
		if c.tool.ready != nil {
			c.tool.ready(r.ctx)
		}
		if c.tool.running != "" {
			r.out.toolEvent(c.place, c.tool.running)
		}
		calls = append(calls, toolhost.Call{Tool: c.tool.tool, ID: api.ID(c.item), Function: c.function, Input: c.input, Settings: c.tool.settings})
		at = append(at, i)
	}
	if len(calls) == 0 {
		return outcomes
	}
	if r.tools.session == nil {
		r.tools.session = r.plan.tools.NewSession(toolhost.SessionOptions{ID: r.out.response.ID, Limits: r.s.o.ToolLimits,
			Load: r.plan.load, Logger: r.s.o.Logger})
	}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(r.ctx, r.s.o.MaxToolTime-r.tools.spent, toolhost.ErrDeadline)
	defer cancel()
	for i, o := range r.tools.session.Do(ctx, calls) {
		outcomes[at[i]] = o
	}
	r.tools.spent += time.Since(began)
	r.tools.made += len(calls)
	r.plan.must = harmony.MayCall // what had to be called has been
	if r.tools.made >= r.plan.maxToolCalls || r.tools.spent >= r.s.o.MaxToolTime {
		r.plan.narrowHosted()
	}
	return outcomes
}

// resultTokens renders what the call's tool says in at most room tokens, and returns as much of the text as is in them.
// The tokens are nil if not even a note fits.
func (r *Run) resultTokens(c *call, text string, room int) (tokens []int32, shown string, err error) {
	for limit := len(text); ; limit /= 2 {
		shown, _ = toolhost.Cut(text, limit)
		tokens, err = r.s.o.Codec.AppendMessage(nil, toolMessage(c.author(), c.channel(), shown), false)
		switch {
		case err != nil:
			return nil, "", fmt.Errorf("render tool message: %w", err)
		case len(tokens) <= room:
			return tokens, shown, nil
		case limit == 0:
			return nil, text, nil
		}
	}
}

// channel is the call's, on which the result comes too.
func (c *call) channel() string {
	if c.message.Channel == "" {
		return harmony.ChannelCommentary
	}
	return c.message.Channel
}

// author is the full name of the tool, as results bear it.
func (c *call) author() string {
	switch {
	case c.tool == nil:
		return c.message.Recipient
	case c.function == "":
		return c.tool.namespace.Name
	default:
		return c.tool.namespace.Name + "." + c.function
	}
}

// finish shows the client how a call of our tools ended, and keeps call and result as one message of the history. nil for
// an outcome: it was not made.
func (r *Run) finish(c *call, o *toolhost.Outcome, result []int32) {
	item := c.tool.finished(c.item, c.input, o)
	if o != nil {
		if event := c.tool.ended(o); event != "" {
			r.out.toolEvent(c.place, event)
		}
	}
	r.out.complete(c.place, item)
	m := &r.turn[c.turn]
	if m.Item = item; result == nil {
		m.Tokens = nil
		return
	}
	if m.Tokens != nil {
		m.Tokens = append(m.Tokens, result...)
	}
}

// callTokens are the tokens of the call as they are in the history: those that were sampled, or if the model strayed from
// the format, those of the right form.
func (r *Run) callTokens(c *call) []int32 {
	if tokens := r.exactTokens(&c.message); tokens != nil {
		return tokens
	}
	m := assistant(c.channel(), c.input)
	m.Recipient, m.ContentType = c.author(), c.tool.calls[0].ContentTypes[0]
	tokens, err := r.s.render(entry{Message: m})
	if err != nil {
		return nil // the history has the item
	}
	return tokens
}

// abandon ends the items of calls that were never made.
func (r *Run) abandon() {
	for i := range r.tools.calls {
		if c := &r.tools.calls[i]; c.tool != nil {
			r.finish(c, nil, nil)
		}
	}
	r.tools.calls = nil
}

// unknownTool tells the model that what it called cannot be called, and what can.
func (r *Run) unknownTool(c *call) string {
	var names []string
	for _, name := range r.plan.callable {
		names = append(names, functionsPrefix+name)
	}
	for _, h := range r.plan.hosted {
		for _, c := range h.callableNow() {
			names = append(names, c.Recipient)
		}
	}
	exist := "There are no tools."
	if len(names) > 0 {
		exist = "The tools are: " + strings.Join(names, ", ") + "."
	}
	if h, _ := r.plan.hostedBy(c.message.Recipient); h != nil {
		return fmt.Sprintf("The tool %q cannot be called now. %s", c.message.Recipient, exist)
	}
	return fmt.Sprintf("There is no tool %q. %s", c.message.Recipient, exist)
}

// save hands what the calls of the round have left to those who keep it, so that nothing that happens later costs it: another
// call that breaks the tool, a client that leaves, a server that is killed. What a call that broke the tool has done is lost,
// and what was saved before the round stays; but that would not be right if other calls of the round have ended well.
func (r *Run) save(outcomes []toolhost.Outcome) {
	ctx := context.WithoutCancel(r.ctx)
	for _, h := range r.plan.hosted {
		called, answered := false, false
		for i, c := range r.tools.calls {
			called = called || c.tool == h
			answered = answered || c.tool == h && outcomes[i].Err == nil
		}
		if !called || h.save == nil {
			continue
		}
		saving, cancel := context.WithTimeout(ctx, keepTimeout)
		state, ok, err := r.tools.session.Save(saving, h.tool)
		cancel()
		left := &state
		switch {
		case err == nil && !ok, errors.Is(err, toolhost.ErrLost) && (!answered || r.ctx.Err() != nil):
			continue
		case err != nil:
			r.s.o.Logger.Warn("state of a tool is lost", "response_id", r.out.response.ID, "tool", h.tool, "err", err)
			left = nil
		}
		saving, cancel = context.WithTimeout(ctx, storeTimeout)
		h.save(saving, left)
		cancel()
	}
}

// kept returns what the tools leave behind for later responses, by their names.
func (r *Run) kept(ctx context.Context) map[string]*store.State {
	states := map[string]*store.State{}
	for _, h := range r.plan.hosted {
		if r.tools.session == nil || h.keep == nil {
			continue
		}
		if state := h.keep(ctx); state != nil {
			states[h.tool] = state
		}
	}
	return states
}
