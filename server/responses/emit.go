package responses

import (
	"encoding/json"
	"strings"

	"chorale/server/api"
)

// phaseCommentary marks a message in front of the answer, e.g. one that says what the model is about to do.
const phaseCommentary = "commentary"

// An emitter turns what the model writes into numbered events, and grows the response from the same calls, so that the
// stream and the final object cannot differ. Its verbs are open, text, close and finish, between begin and the end. One item
// is open at a time; one whose text has ended can be suspended until it is complete, while others follow.
type emitter struct {
	response *api.Response // grows; handed out by finish only
	yield    func(api.Event) bool
	gone     bool // the reader has stopped reading; the response still grows
	sequence int

	item     api.Item // the open one, as it was added; nil: none
	streams  []stream // of it
	content  strings.Builder
	logprobs []api.Logprob     // of content
	notes    []json.RawMessage // annotations of content
}

// A stream is one way in which an item's text reaches the client: the events that begin it, carry a piece of it and end
// it.
type stream struct {
	added func(place) api.Event // nil: nothing, the text is a member of the item and not a part
	// nil for text that is not for clients; then done is nil too
	delta func(p place, text string, logprobs []api.Logprob) api.Event
	done  func(p place, text string, logprobs []api.Logprob) []api.Event
}

var outputText = stream{
	added: func(p place) api.Event {
		return &api.PartEvent{Head: p.head(api.EventPartAdded), Place: p.Place, Part: api.OutputText{}}
	},
	delta: func(p place, text string, logprobs []api.Logprob) api.Event {
		return &api.TextDelta{Head: p.head(api.EventTextDelta), Place: p.Place, Delta: text, Logprobs: logprobs}
	},
	done: func(p place, text string, logprobs []api.Logprob) []api.Event {
		return []api.Event{
			&api.TextDone{Head: p.head(api.EventTextDone), Place: p.Place, Text: text, Logprobs: logprobs},
			&api.PartEvent{Head: p.head(api.EventPartDone), Place: p.Place,
				Part: api.OutputText{Text: text, Annotations: p.e.notes, Logprobs: logprobs}},
		}
	},
}

var reasoningText = stream{
	added: func(p place) api.Event {
		return &api.PartEvent{Head: p.head(api.EventPartAdded), Place: p.Place, Part: api.ReasoningText{}}
	},
	delta: func(p place, text string, _ []api.Logprob) api.Event {
		return &api.ReasoningDelta{Head: p.head(api.EventReasoningDelta), Place: p.Place, Delta: text}
	},
	done: func(p place, text string, _ []api.Logprob) []api.Event {
		return []api.Event{
			&api.ReasoningDone{Head: p.head(api.EventReasoningDone), Place: p.Place, Text: text},
			&api.PartEvent{Head: p.head(api.EventPartDone), Place: p.Place, Part: api.ReasoningText{Text: text}},
		}
	},
}

var summaryText = stream{
	added: func(p place) api.Event {
		return &api.SummaryPartEvent{Head: p.head(api.EventSummaryPartAdded), Place: p.Place, Part: api.SummaryText{}}
	},
	delta: func(p place, text string, _ []api.Logprob) api.Event {
		return &api.SummaryDelta{Head: p.head(api.EventSummaryDelta), Place: p.Place, Delta: text}
	},
	done: func(p place, text string, _ []api.Logprob) []api.Event {
		return []api.Event{
			&api.SummaryDone{Head: p.head(api.EventSummaryDone), Place: p.Place, Text: text},
			&api.SummaryPartEvent{Head: p.head(api.EventSummaryPartDone), Place: p.Place,
				Part: api.SummaryText{Text: text}},
		}
	},
}

var arguments = stream{
	delta: func(p place, text string, _ []api.Logprob) api.Event {
		return &api.ArgumentsDelta{Head: p.head(api.EventArgumentsDelta), Place: p.Place, Delta: text}
	},
	done: func(p place, text string, _ []api.Logprob) []api.Event {
		return []api.Event{&api.ArgumentsDone{Head: p.head(api.EventArgumentsDone), Place: p.Place,
			Name: p.e.item.(*api.FunctionCall).Name, Arguments: text}}
	},
}

// A place is the open item's place in the response, from which events take their numbers.
type place struct {
	api.Place
	e *emitter
}

func (e *emitter) place() place {
	return place{api.Place{ItemID: api.ID(e.item), OutputIndex: len(e.response.Output)}, e}
}

func (p place) head(name string) api.Head { return p.e.head(name) }

// head gives an event the next number.
func (e *emitter) head(name string) api.Head {
	e.sequence++
	return api.Head{Type: name, SequenceNumber: e.sequence - 1}
}

func (e *emitter) send(event api.Event) { e.gone = e.gone || !e.yield(event) }

// begin announces the response.
func (e *emitter) begin() {
	for _, name := range []string{api.EventCreated, api.EventInProgress} {
		snapshot := *e.response
		e.send(&api.ResponseEvent{Head: e.head(name), Response: &snapshot})
	}
}

// open begins an item, which has no text yet, and its streams.
func (e *emitter) open(item api.Item, streams []stream) {
	e.item, e.streams, e.logprobs, e.notes = item, streams, []api.Logprob{}, nil
	e.content.Reset()
	e.send(&api.ItemEvent{Head: e.head(api.EventItemAdded), OutputIndex: len(e.response.Output), Item: item})
	for _, s := range e.streams {
		if s.added != nil {
			e.send(s.added(e.place()))
		}
	}
}

// text adds to the open item. logprobs are those of the tokens that completed the text.
func (e *emitter) text(delta string, logprobs []api.Logprob) {
	e.content.WriteString(delta)
	e.logprobs = append(e.logprobs, logprobs...)
	for _, s := range e.streams {
		if s.delta != nil {
			e.send(s.delta(e.place(), delta, append([]api.Logprob{}, logprobs...)))
		}
	}
}

// annotate adds an annotation to the text of the open item, which is there already.
func (e *emitter) annotate(c *api.URLCitation) {
	note, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and numbers always can be written
	}
	p := e.place()
	e.send(&api.AnnotationAdded{Head: e.head(api.EventAnnotationAdded), Place: p.Place, AnnotationIndex: len(e.notes), Annotation: note})
	e.notes = append(e.notes, note)
}

// endText ends the streams of the open item and returns its text.
func (e *emitter) endText() string {
	text := e.content.String()
	for _, s := range e.streams {
		if s.done == nil {
			continue
		}
		for _, event := range s.done(e.place(), text, e.logprobs) {
			e.send(event)
		}
	}
	return text
}

// close ends the open item. finished makes the complete item, which close returns, of the added one and its text.
func (e *emitter) close(finished func(added api.Item, text string, logprobs []api.Logprob) api.Item) api.Item {
	text := e.endText()
	item := finished(e.item, text, e.logprobs)
	e.complete(e.suspend(), item)
	return item
}

// suspend leaves the open item, whose text has ended, for complete.
func (e *emitter) suspend() place {
	p := e.place()
	e.response.Output = append(e.response.Output, e.item)
	e.item = nil
	return p
}

// toolEvent sends an event about the tool that a suspended item is a call of.
func (e *emitter) toolEvent(p place, name string) {
	e.send(&api.ToolEvent{Head: e.head(name), Place: p.Place})
}

// complete ends a suspended item, of which done is the complete one.
func (e *emitter) complete(p place, done api.Item) {
	e.send(&api.ItemEvent{Head: e.head(api.EventItemDone), OutputIndex: p.OutputIndex, Item: done})
	e.response.Output[p.OutputIndex] = done
}

// fail says why the response is about to fail.
func (e *emitter) fail(failure *api.ResponseError) {
	e.response.Error = failure
	e.send(&api.ErrorEvent{Head: e.head(api.EventError), Code: &failure.Code, Message: failure.Message})
}

// finish sends the terminal event that belongs to the response's status.
func (e *emitter) finish() {
	name := api.EventIncomplete // also of a cancelled one: the set of events has no name for that
	switch e.response.Status {
	case api.Completed:
		name = api.EventCompleted
	case api.Failed:
		name = api.EventFailed
	}
	e.send(&api.ResponseEvent{Head: e.head(name), Response: e.response})
}
