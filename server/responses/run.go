package responses

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chorale/inference/engine"
	"chorale/inference/harmony"
	"chorale/inference/sample"
	"chorale/server/api"
	"chorale/server/store"
)

const (
	// storeTimeout is how long a finished response waits for the disk, its client gone or not.
	storeTimeout = 30 * time.Second
	// keepTimeout is how long one waits for a tool to hand out what its calls have left.
	keepTimeout = 10 * time.Second
)

// Why a response is ended by the server.
var (
	errTooLong  = errors.New("the response took longer than this server allows")
	errShutdown = errors.New("the server is shutting down")
)

// A Run is one response being generated. Generation begins with Create. Either Events is read or the context of Create
// ends; until then a Run holds its place in the engine. Events is for one goroutine.
type Run struct {
	s          *Service
	plan       *plan
	ctx        context.Context // of this response
	cancel     context.CancelCauseFunc
	taken      atomic.Bool // by the reader of Events, or by the end of the context
	generation *engine.Generation

	tokens []int32 // the sequence, prompt and all that followed: append only, never rendered again
	turn   []store.Message
	usage  api.Usage
	tools  toolUse
	called bool // a function of the client was called

	out     emitter
	parser  *harmony.Parser
	message message // the one being written
	stops   *sample.Stops
	stopped bool // a stop string was found
	ended   bool // the model has ended its turn, or its call
}

// An outcome is how generating ended: a status of the response, and with Failed the reason.
type outcome struct {
	status  string
	failure *api.ResponseError
}

// Events generates the response. It yields response.created, response.in_progress, what happens, and last a terminal
// event, whose response is stored by then if it is to be stored. When the context of Create ends or the loop is left,
// generating stops within one step and the response is stored as cancelled, with what there is of it. Events can be read
// once; a second time yields nothing.
func (r *Run) Events() iter.Seq[api.Event] {
	return func(yield func(api.Event) bool) {
		if r.taken.Swap(true) {
			return
		}
		defer r.s.leave(r)
		r.out.yield = yield
		r.out.begin()
		if r.generation == nil {
			if err := r.prepare(); err != nil {
				r.conclude(r.unprepared(err))
				return
			}
		}
		r.conclude(r.generate())
	}
}

// start renders the prompt and lets the engine begin.
func (r *Run) start() (err error) {
	if r.tokens, err = r.s.prompt(r.plan); err != nil {
		return err
	}
	if len(r.plan.approved) > 0 {
		r.resumeApproved()
		if err := r.answer(); err != nil {
			return err
		}
	}
	if r.plan.must == harmony.MustCall && len(r.plan.gate(0).Calls) == 0 {
		return api.BadRequest("tools_unavailable", "tool_choice", "No tool that 'tool_choice' requires could be reached, or has what it names.")
	}
	r.generation, err = r.s.start(r.ctx, r.plan, r.tokens, 0)
	return err
}

// prepare lets the tools take their steps, which the client sees, and starts.
func (r *Run) prepare() error {
	steps := r.plan.steps
	added, places := make([]api.Item, len(steps)), make([]place, len(steps))
	announce := func(i int) {
		r.out.open(added[i], nil)
		places[i] = r.out.suspend()
		r.out.toolEvent(places[i], steps[i].running)
	}
	var wg sync.WaitGroup
	for i, step := range steps {
		if added[i] = step.item(); !step.quiet {
			announce(i)
		}
		wg.Go(func() { step.work(r.ctx) })
	}
	wg.Wait()
	for i, step := range steps {
		event, item := step.done(added[i])
		if item == nil {
			continue
		}
		if step.quiet {
			announce(i)
		}
		r.out.toolEvent(places[i], event)
		r.out.complete(places[i], item)
		r.turn = append(r.turn, store.Message{Item: item})
	}
	if r.ctx.Err() != nil || r.out.gone {
		return errInterrupted
	}
	return r.start()
}

// unprepared is the outcome of a response that could not begin to generate.
func (r *Run) unprepared(err error) outcome {
	var refused *api.Error
	if r.ctx.Err() == nil && !r.out.gone && !errors.Is(err, errFull) && errors.As(r.s.publicError(err), &refused) {
		return outcome{api.Failed, &api.ResponseError{Code: refused.Code, Message: refused.Message}}
	}
	return r.interrupted(err)
}

// generate is the turn: it runs until the model is done, and on after each round of calls that are answered here.
func (r *Run) generate() outcome {
	for {
		r.parser = r.s.o.Codec.NewParser(harmony.ParserOptions{Role: harmony.RoleAssistant})
		r.message = message{first: len(r.tokens) - len(r.s.assistantStart)}
		r.ended = false
		taken := 0 // of what was generated; the engine may have run ahead
		for result := range r.generation.Tokens() {
			taken++
			if r.push(result); r.stopped || r.ended || r.out.gone {
				break
			}
		}
		f, err := r.generation.End()
		o := r.settle(f, taken, err)
		if o.status != api.Completed || !r.answerable() {
			return o
		}
		err = r.answer()
		if err == nil && r.called { // the rest is for the client to answer
			return o
		}
		if err == nil {
			err = r.resume()
		}
		if err != nil {
			return r.interrupted(err)
		}
	}
}

// resume lets the model go on behind what was appended.
func (r *Run) resume() (err error) {
	if limit := r.plan.maxTokens; limit > 0 && r.usage.OutputTokens >= limit {
		return errFull
	}
	r.generation, err = r.s.start(r.ctx, r.plan, r.tokens, r.usage.OutputTokens)
	return err
}

// interrupted is the outcome of a turn that cannot go on between two generations.
func (r *Run) interrupted(err error) outcome {
	var tooLong *engine.ContextError
	if errors.As(err, &tooLong) || errors.Is(err, errFull) {
		return outcome{status: api.Incomplete}
	}
	r.ended, r.stopped = false, false // the turn of the model is not over
	return r.outcome(err)
}

// push takes one sampled token.
func (r *Run) push(result sample.Result) {
	r.tokens = append(r.tokens, result.Token)
	r.message.written++
	inContent := r.parser.State() == harmony.StateContent
	d, _ := r.parser.Push(result.Token) // the lenient parser has no errors
	if r.plan.logprobs && inContent && d.Close == nil && r.message.visible {
		r.message.unattached = append(r.message.unattached, r.logprob(result))
	}
	// An answer may end like an earlier one in the history; nothing can follow it, unless no gate holds the model back.
	answered := !r.s.o.Ungated && d.Close != nil && d.Close.Channel == harmony.ChannelFinal && d.Close.Recipient == ""
	r.ended = answered || slices.Contains(r.s.stops, result.Token)
	r.apply(d, api.Completed)
}

// settle ends what is open when a generation has ended, and says what that means for the response.
func (r *Run) settle(f engine.Finish, taken int, err error) outcome {
	// Input is what the model was given: the prompt and what was appended to it, each token once.
	if r.usage.OutputTokens == 0 {
		r.usage.InputTokensDetails.CachedTokens = f.CachedTokens
	}
	r.usage.InputTokens = f.PromptTokens - r.usage.OutputTokens
	r.usage.OutputTokens += taken
	r.usage.TotalTokens = r.usage.InputTokens + r.usage.OutputTokens

	o := r.outcome(err)
	switch {
	case o.status == api.Completed:
		d, _ := r.parser.End()
		r.apply(d, api.Completed)
	case r.parser.State() == harmony.StateContent: // half a header, in contrast, is nothing to show
		d, _ := r.parser.End()
		r.apply(d, api.Incomplete)
	}
	return o
}

func (r *Run) outcome(err error) outcome {
	cause := context.Cause(r.ctx)
	switch {
	case r.stopped, r.ended: // even if the client has left in the meantime
		return outcome{status: api.Completed}
	case errors.Is(cause, errTooLong), errors.Is(cause, errShutdown):
		return r.failure(cause)
	case cause != nil || r.out.gone:
		return outcome{status: api.Cancelled}
	case err != nil:
		return r.failure(err)
	default:
		return outcome{status: api.Incomplete}
	}
}

// failure logs the error and tells the client as much of it as is its business.
func (r *Run) failure(err error) outcome {
	message := "The server had an error while it generated the response."
	switch {
	case errors.Is(err, errTooLong):
		message = fmt.Sprintf("The response took longer than the %v that this server allows.", r.s.o.MaxDuration)
	case errors.Is(err, errShutdown), errors.Is(err, engine.ErrClosed):
		message = "The server is shutting down."
	default:
		r.s.o.Logger.Error("response failed", "response_id", r.out.response.ID, "err", err)
	}
	return outcome{api.Failed, &api.ResponseError{Code: "server_error", Message: message}}
}

// conclude completes the response, stores it and sends the terminal event.
func (r *Run) conclude(o outcome) {
	r.abandon()
	a := r.out.response
	a.Status, a.Usage = o.status, &r.usage
	switch o.status {
	case api.Completed:
		now := r.s.o.Now().Unix()
		a.CompletedAt = &now
	case api.Incomplete:
		a.IncompleteDetails = &api.IncompleteDetails{Reason: "max_output_tokens"}
	}
	if o.failure != nil {
		r.out.fail(o.failure)
	}
	if err := r.store(); err != nil {
		r.s.o.Logger.Error("response not stored", "response_id", a.ID, "err", err)
		a.Status, a.CompletedAt, a.IncompleteDetails = api.Failed, nil, nil
		r.out.fail(&api.ResponseError{Code: "server_error", Message: "The response could not be stored."})
	}
	r.s.count(a)
	r.s.o.Logger.LogAttrs(r.ctx, slog.LevelInfo, "response", slog.String("response_id", a.ID),
		slog.String("model", a.Model), slog.String("status", a.Status), slog.Int("input_tokens", r.usage.InputTokens),
		slog.Int("output_tokens", r.usage.OutputTokens), slog.Duration("duration", r.s.o.Now().Sub(r.plan.began)))
	r.out.finish()
}

// store keeps the response, if it is to be stored, and what the tools leave behind with it.
func (r *Run) store() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), storeTimeout)
	defer cancel()
	states := r.kept(ctx)
	if !r.out.response.Store {
		return nil
	}
	return r.s.o.Store.Put(ctx, &store.Record{
		Response: r.out.response, Input: r.plan.input, Turn: r.turn, Tokenizer: r.s.o.Model.ID, States: states})
}
