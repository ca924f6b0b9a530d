package responses

import (
	"context"
	"encoding/base64"
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
	resumed  bool // state is what the container begins with
	state    store.State
	id       string            // of the container; "" = not made yet
	lease    *containers.Lease // of the container; nil: it is not made yet, or cannot be
}

func readPython(s *Service, p *plan, t api.Tool, param string) (*hosted, *api.Error) {
	spec, ok := s.o.Tools.Spec(pythonTool)
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
		accepts:   acceptsPython,
		wrapped:   wrappedCode,
		unwrap:    unwrapCode,
		item:      py.item,
		input:     code,
		running:   api.EventCodeInterpreting,
		completed: api.EventCodeCompleted,
		finished:  py.finished,
		acquire:   py.acquire,
		load:      py.load,
		keep:      py.keep,
		release:   py.release,
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

// acquire takes the container that the request names, or looks at what it says about a new one.
func (py *python) acquire(ctx context.Context) error {
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
	lease, err := py.s.o.Containers.Acquire(ctx, py.choice.ID)
	var known *api.Error
	if errors.As(err, &known) {
		located := *known
		located.Param = py.param
		return &located
	}
	if err != nil {
		return err
	}
	py.lease, py.id, py.state, py.resumed = lease, py.choice.ID, *lease.State(), true
	var unusable *toolhost.StateError
	if err := py.s.o.Tools.Check(ctx, pythonTool, toolState(&py.state)); errors.As(err, &unusable) {
		return &api.Error{Status: 404, Type: "invalid_request_error", Code: "container_not_found", Param: py.param,
			Message: fmt.Sprintf("Container with id '%s' cannot be used any more: %s. Create a new one.", py.choice.ID, unusable.Reason)}
	}
	return nil // a tool that fails is the model's to hear of
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
		state, err = py.s.o.Store.State(ctx, previous)
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

func (py *python) item(ctx context.Context) api.Item {
	return &api.CodeInterpreterCall{ID: py.s.newID("ci"), Status: api.InProgress, ContainerID: py.container(ctx)}
}

func (py *python) load(ctx context.Context) (*toolhost.State, error) {
	if err := py.resume(ctx); err != nil {
		return nil, err
	}
	if py.state.Memory == nil && py.state.Files == nil {
		return nil, nil
	}
	state := toolState(&py.state)
	return &state, nil
}

// keep puts what is left into the container and hands it out for the response. When it is lost, the container stays what it
// was, and later responses find the files from the beginning beside a memory that nothing can be restored from: so they are
// told, where they would otherwise go on from an older state.
func (py *python) keep(ctx context.Context, left *toolhost.State) (*store.State, error) {
	if left == nil {
		return &store.State{ContainerID: py.id, Memory: lost, Files: py.state.Files}, nil
	}
	state := &store.State{ContainerID: py.id, Memory: left.Memory, Files: make([]store.File, len(left.Files))}
	for i, f := range left.Files {
		state.Files[i] = store.File{Path: f.Path, MIME: f.MIME, Data: f.Data, Modified: f.Modified}
	}
	if py.lease == nil {
		return state, nil
	}
	if err := py.lease.Save(ctx, state); err != nil {
		py.s.o.Logger.Warn("container not saved", "tool", pythonTool, "err", err)
		py.plan.warn(py.param, "What the code left could not be kept in the container: %v", err)
	}
	return state, nil
}

func (py *python) release() {
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
			url := "data:" + f.MIME + ";base64," + base64.StdEncoding.EncodeToString(f.Data)
			done.Outputs = append(done.Outputs, api.CodeImage{URL: url})
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
