package responses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"chorale/inference/harmony"
	"chorale/server/api"
	"chorale/server/containers"
	"chorale/server/store"
	"chorale/toolhost"
)

const (
	// pythonTool is the trained name of the tool.
	pythonTool = "python"
	// outputsIncluded asks for what code gave. Like OpenAI's, items go without it otherwise.
	outputsIncluded = "code_interpreter_call.outputs"
)

// pythonKind is the code interpreter of requests, which runs what the model writes to python.
var pythonKind = hostedKind{
	tool: "code_interpreter", item: "code_interpreter_call", read: readPython, history: pythonHistory, recall: recallPython,
}

// A python is the code interpreter of one response: the container with what earlier code has left, and what it leaves.
type python struct {
	s        *Service
	plan     *plan
	param    string // of the container
	choice   api.ContainerChoice
	included bool // outputs are
	resumed  bool // state is what the container begins with, and later what was saved last
	loaded   bool // an interpreter has begun with it
	state    store.State
	id       string            // of the container; "" = not made yet
	turn     *containers.Turn  // to get the container that the request names; nil: it has come, or there is none
	lease    *containers.Lease // of the container; nil: it is not made yet, or cannot be
	failure  error             // of the turn, or of saving last
}

func readPython(s *Service, p *plan, t api.Tool, param string) (*hosted, *api.Error) {
	spec, ok := p.tools.Spec(pythonTool)
	if !ok {
		return nil, nil
	}
	namespace := harmony.PythonNamespace()
	if spec.Independent { // the trained text promises that variables stay
		namespace.Description = spec.Description
	}
	py := &python{s: s, plan: p, param: param + ".container", choice: t.(*api.CodeInterpreterTool).Container,
		included: p.includes(outputsIncluded)}
	return &hosted{
		tool:      pythonTool,
		namespace: namespace,
		calls: []harmony.Call{{
			Recipient:    pythonTool,
			Channels:     []string{harmony.ChannelAnalysis, harmony.ChannelCommentary},
			ContentTypes: []string{"code", "python", ""},
		}},
		accepts:  acceptsPython,
		wrapped:  wrappedCode,
		unwrap:   unwrapCode,
		item:     py.item,
		input:    code,
		running:  api.EventCodeInterpreting,
		ended:    endedCode,
		finished: py.finished,
		acquire:  py.acquire,
		ready:    py.ready,
		load:     py.load,
		save:     py.save,
		keep:     py.keep,
		release:  py.release,
	}, nil
}

// acceptsPython reads the names by which models call python beside the right one.
func acceptsPython(recipient string) (function string, ok bool) {
	name := strings.TrimPrefix(recipient, functionsPrefix)
	return "", name == pythonTool || strings.HasPrefix(name, pythonTool+".")
}

// wrappedCode reports whether the text may be code inside of something else, of which the end must be seen.
func wrappedCode(beginning string) bool {
	return strings.HasPrefix(beginning, "{") || strings.HasPrefix(beginning, "`")
}

// unwrapCode takes the code out of what some models write around it: an object with the member code, or a fence.
func unwrapCode(text string) string {
	trimmed := strings.TrimSpace(text)
	for _, candidate := range []string{trimmed, strings.ReplaceAll(trimmed, "\n", `\n`)} { // line breaks are often not escaped
		var object map[string]any
		if json.Unmarshal([]byte(candidate), &object) != nil || len(object) != 1 {
			continue
		}
		if inner, ok := object["code"].(string); ok {
			return inner
		}
	}
	fenced, opens := strings.CutPrefix(trimmed, "```")
	fenced, closes := strings.CutSuffix(fenced, "```")
	if _, inner, lines := strings.Cut(fenced, "\n"); opens && closes && lines {
		return inner
	}
	return text
}

// code is how the code reaches the client.
var code = stream{
	added: func(p place) api.Event {
		return &api.ToolEvent{Head: p.head(api.EventCodeInProgress), Place: p.Place}
	},
	delta: func(p place, text string, _ []api.Logprob) api.Event {
		return &api.CodeDelta{Head: p.head(api.EventCodeDelta), Place: p.Place, Delta: text}
	},
	done: func(p place, text string, _ []api.Logprob) []api.Event {
		return []api.Event{&api.CodeDone{Head: p.head(api.EventCodeDone), Place: p.Place, Code: text}}
	},
}

// acquire queues up for the container that the request names, or looks at what it says about a new one.
func (py *python) acquire(ctx context.Context) (err error) {
	if py.s.o.Containers == nil {
		if py.choice.ID == "" {
			return nil
		}
		return &api.Error{Status: 404, Type: "invalid_request_error", Code: "container_not_found", Param: py.param,
			Message: fmt.Sprintf("Container with id '%s' not found: this server keeps no containers.", py.choice.ID)}
	}
	if py.choice.ID == "" {
		return py.s.o.Containers.Check(py.choice.Auto, py.param+".")
	}
	py.id = py.choice.ID
	py.turn, err = py.s.o.Containers.Queue(ctx, py.id)
	var known *api.Error
	if errors.As(err, &known) {
		located := *known
		located.Param = py.param
		return &located
	}
	return err
}

// ready waits until no other response uses the container that the request names. Its failure is that of the calls.
func (py *python) ready(ctx context.Context) {
	if py.turn == nil {
		return
	}
	py.lease, py.failure = py.turn.Wait(ctx)
	if py.turn = nil; py.failure == nil {
		py.state, py.resumed = *py.lease.State(), true
	}
}

// resume finds out what a new container begins with: a copy of the container of the last call that the client sends back, as
// OpenAI does it for its conversations without a store, else of what the previous response left. Neither changes by that,
// so that every response that goes on from there begins with the same.
func (py *python) resume(ctx context.Context) error {
	if py.resumed {
		return nil
	}
	id, previous := py.lastContainer(), orDefault(py.plan.response.PreviousResponseID, "")
	var state *store.State
	var err error
	var unusable *api.Error
	switch {
	case id != "" && py.s.o.Containers != nil:
		if state, err = py.s.o.Containers.Copy(ctx, id); errors.As(err, &unusable) { // the model has to know, not the client
			state, err = &store.State{Memory: lost}, nil
		}
	case previous != "":
		state, err = py.s.o.Store.State(ctx, previous, pythonTool)
	}
	if err != nil {
		return err
	}
	if py.resumed = true; state != nil {
		py.state = *state
	}
	return nil
}

// lastContainer is the container of the last call in the input, "" if there is none.
func (py *python) lastContainer() string {
	for _, item := range slices.Backward(py.plan.input) {
		if call, ok := item.(*api.CodeInterpreterCall); ok {
			return call.ContainerID
		}
	}
	return ""
}

// lost is a memory from which nothing can be restored.
var lost = []byte{}

// container makes the new container when the first call begins, whose item bears its id. Without the container the code
// runs all the same, and is only not to be found under its id.
func (py *python) container(ctx context.Context) string {
	if py.id != "" {
		return py.id
	}
	err := py.resume(ctx)
	if err == nil && py.s.o.Containers != nil {
		begin := py.state
		if len(begin.Memory) == 0 { // perhaps lost; a container begins with something usable
			begin.Memory = nil
		}
		if py.lease, err = py.s.o.Containers.New(ctx, py.choice.Auto, &begin); err == nil {
			py.id = py.lease.ContainerID()
			return py.id
		}
	}
	if err != nil {
		py.s.o.Logger.Warn("container not made", "tool", pythonTool, "err", err)
	}
	py.id = py.s.newID("cntr")
	return py.id
}

// endedCode says that code has run, with an error of its own or without.
func endedCode(o *toolhost.Outcome) (event string) {
	if o.Err != nil {
		return ""
	}
	return api.EventCodeCompleted
}

func (py *python) item(ctx context.Context, _ string) api.Item {
	return &api.CodeInterpreterCall{ID: py.s.newID("ci"), Status: api.InProgress, ContainerID: py.container(ctx)}
}

func (py *python) load(ctx context.Context) (*toolhost.State, error) {
	if py.choice.ID != "" && py.lease == nil {
		return nil, py.failure
	}
	if err := py.resume(ctx); err != nil {
		return nil, err
	}
	py.loaded = true
	state := toolState(&py.state)
	if py.lease != nil {
		state.MaxMemory = py.lease.MaxMemory()
	}
	if py.state.Memory == nil && py.state.Files == nil && state.MaxMemory == 0 {
		return nil, nil
	}
	return &state, nil
}

// save remembers what is left, and puts it into the container that the request names; a new one is known to nobody yet who
// could miss it after a crash. When variables that the model has seen are lost, their place takes a memory that
// nothing can be restored from: so later calls are told, where they would otherwise go on from older ones.
func (py *python) save(ctx context.Context, left *toolhost.State) {
	state := store.State{Memory: lost, Files: py.state.Files}
	if left != nil {
		state.Memory, state.Files = left.Memory, make([]store.File, len(left.Files))
		for i, f := range left.Files {
			state.Files[i] = store.File{Path: f.Path, MIME: f.MIME, Data: f.Data, Modified: f.Modified}
		}
	}
	if py.state = state; py.choice.ID != "" {
		py.put(ctx)
	}
}

// put makes the container hold the state.
func (py *python) put(ctx context.Context) {
	if py.failure = py.lease.Save(ctx, &py.state); py.failure != nil {
		py.s.o.Logger.Warn("container not saved", "tool", pythonTool, "err", py.failure)
	}
}

// keep puts what was saved last into a new container, and returns as much of it as fits into a response.
func (py *python) keep(ctx context.Context) *store.State {
	if !py.loaded {
		return nil
	}
	if py.choice.ID == "" && py.lease != nil {
		py.put(ctx)
	}
	if py.failure != nil {
		py.plan.warn(py.param, "What the code left last could not be kept in the container: %v", py.failure)
	}
	state := py.state
	state.ContainerID = py.id
	if dropped := fit(&state, py.s.maxState); dropped != "" {
		py.s.o.Logger.Warn("state of a response is too large", "response_id", py.plan.response.ID, "tool", pythonTool, "dropped", dropped)
		py.plan.warn(py.param, "What the code left is larger than the %d bytes that a response keeps. Responses that continue "+
			"this one begin without %s.", py.s.maxState, dropped)
	}
	return &state
}

// fit makes a state no larger than limit: the memory is kept before files, and small ones before large ones. It says in words
// what was dropped.
func fit(state *store.State, limit int64) (dropped string) {
	if limit -= int64(len(state.Memory)); limit < 0 {
		limit += int64(len(state.Memory))
		state.Memory, dropped = lost, "its variables"
	}
	bySize := slices.Clone(state.Files)
	slices.SortStableFunc(bySize, func(a, b store.File) int { return len(a.Data) - len(b.Data) })
	n := 0
	for ; n < len(bySize) && int64(len(bySize[n].Data)) <= limit; n++ {
		limit -= int64(len(bySize[n].Data))
	}
	if n == len(bySize) {
		return dropped
	}
	gone := map[string]bool{}
	for _, f := range bySize[n:] {
		gone[f.Path] = true
	}
	state.Files = slices.DeleteFunc(slices.Clone(state.Files), func(f store.File) bool { return gone[f.Path] })
	if dropped != "" {
		dropped += " and "
	}
	return dropped + fmt.Sprintf("%d of its files, the largest %s", len(gone), bySize[len(bySize)-1].Path)
}

func (py *python) release() {
	if py.turn != nil {
		py.turn.Leave()
	}
	if py.lease != nil {
		py.lease.Release()
	}
}

// toolState is a stored state as the tool has it.
func toolState(s *store.State) toolhost.State {
	state := toolhost.State{Memory: s.Memory, Files: make([]toolhost.File, len(s.Files))}
	for i, f := range s.Files {
		state.Files[i] = toolhost.File{Path: f.Path, MIME: f.MIME, Data: f.Data, Modified: f.Modified}
	}
	return state
}

// finished is the call with its outputs: the text that the model has read, then the pictures, which are data URLs so that
// they can be seen without this server and after the container has gone.
func (py *python) finished(added api.Item, input string, o *toolhost.Outcome) api.Item {
	done := *added.(*api.CodeInterpreterCall)
	done.Code = input
	switch {
	case o == nil:
		done.Status = api.Incomplete
		return &done
	case o.Err != nil:
		done.Status = api.Failed
	default:
		done.Status = api.Completed
	}
	if !py.included {
		return &done
	}
	done.Outputs = []api.CodeOutput{}
	if o.Text != "" {
		done.Outputs = append(done.Outputs, api.CodeLogs{Logs: o.Text})
	}
	for _, f := range o.Files {
		if strings.HasPrefix(f.MIME, "image/") {
			done.Outputs = append(done.Outputs, api.CodeImage{URL: dataURL(f)})
		}
	}
	return &done
}

func pythonHistory(item api.Item) (call harmony.Message, result string, ok bool) {
	i := item.(*api.CodeInterpreterCall)
	if i.Status == api.Incomplete || i.Status == api.InProgress || i.Status == "interpreting" { // it has no result
		return harmony.Message{}, "", false
	}
	call = assistant(harmony.ChannelAnalysis, i.Code)
	call.Recipient, call.ContentType = pythonTool, "code"
	if i.Outputs == nil {
		return call, "[The output of this code is not here any more.]", true
	}
	texts := make([]string, len(i.Outputs))
	for n, output := range i.Outputs {
		switch o := output.(type) {
		case api.CodeLogs:
			texts[n] = o.Logs
		case api.CodeImage:
			texts[n] = "[A picture was shown to the user here.]"
		case api.RawOutput:
			texts[n] = "[An output of type " + o.Type + " was shown to the user here.]"
		default:
			panic("output of code of an unknown Go type")
		}
	}
	return call, strings.Join(texts, "\n"), true
}

func recallPython(sent, stored api.Item, result string) {
	i, same := sent.(*api.CodeInterpreterCall)
	was, ok := stored.(*api.CodeInterpreterCall)
	if same && ok && i.Outputs == nil && i.Code == was.Code {
		i.Outputs = []api.CodeOutput{api.CodeLogs{Logs: result}}
	}
}
