package responses

import (
	"context"
	"slices"

	"chorale/inference/harmony"
	"chorale/server/api"
	"chorale/server/store"
	"chorale/toolhost"
)

// A hosted is a tool that this server runs, as one response has it. All that is particular about a kind of tool is in its
// present_<tool>.go, which fills one in; the loop knows nothing else of it.
type hosted struct {
	kind     string   // type of the request's tool
	tool     string   // name in the toolhost.Set
	label    string   // by which tool choices and approvals mean it, among those of its kind
	callable bool     // it may be called now
	only     []string // functions of it that may be called; nil = all
	settings []byte   // what the request says of how it is to work, for the tool; nil = nothing

	// To the model: how it is declared and in which message, what may be written to it, and what else is read as a call of it.
	// function is "" for a tool without functions.
	namespace harmony.Namespace
	declared  declaration
	calls     []harmony.Call
	accepts   func(recipient string) (function string, ok bool)

	// Input that begins as wrapped says is held back until it is complete, and is what unwrap makes of it. Both or none are nil.
	wrapped func(beginning string) bool
	unwrap  func(text string) string

	// To the client: the item of a call as it is added, the events of its input, what input without any is, the types of the
	// events before the tool runs and after that, "" for none, and the item as it is done. Without an outcome the call was
	// not made.
	item     func(ctx context.Context, function string) api.Item
	input    stream
	empty    string
	running  string
	ended    func(o *toolhost.Outcome) (event string)
	finished func(added api.Item, input string, o *toolhost.Outcome) api.Item

	// What depends on the context, of which nothing was generated yet. attend looks at it and returns what must be learnt before
	// the model can be shown the tool, nil for nothing. It may be nil.
	attend func(c *conversation) *preparation

	// Calls that the client must approve. All or none are nil: asks reports whether those of a function are, question makes the
	// item that asks for a call, approve reports whether such an item is one of this tool, and resume makes the item of
	// its call.
	asks     func(function string) bool
	question func(function, arguments string) api.Item
	approve  func(request *api.MCPApprovalRequest) bool
	resume   func(request *api.MCPApprovalRequest) (item api.Item, function string)

	// What outlives a response. All may be nil: acquire is called before anything is generated, does not wait for other
	// responses, and its error is the client's; ready before each round with a call, waits for what acquire asked for; load at
	// the first call; save behind each round with a call, with nil if what the calls left is lost; keep at the end of a
	// response that has called a tool, for what is stored with it; release in any case.
	acquire func(ctx context.Context) error
	ready   func(ctx context.Context)
	load    func(ctx context.Context) (*toolhost.State, error)
	save    func(ctx context.Context, s *toolhost.State)
	keep    func(ctx context.Context) *store.State
	release func()

	// page is what the display of the tool with a number shows, for citations of the model. It may be nil.
	page func(ctx context.Context, cursor int) (webPage, bool)
}

// A preparation is what a tool has to learn elsewhere before the model can be shown it. The steps of all tools are at work at the
// same time.
type preparation struct {
	item    func() api.Item // as it is added
	running string          // type of the event behind that
	quiet   bool            // the item is shown only if done has one
	work    func(ctx context.Context)
	done    func(added api.Item) (event string, item api.Item) // nil: there is nothing to show
}

// A declaration says where the model is told of a tool: those that it was trained with are in the system message, others in
// the developer message beside the functions.
type declaration int

const (
	inSystem declaration = iota
	inDeveloper
)

// A hostedKind is a kind of tool that this server runs.
type hostedKind struct {
	tool string // type of the request's tool
	item string // type of the items of its calls
	// read makes the tool of a request. Without any, the tool is not there on this server.
	read func(s *Service, p *plan, t api.Tool, param string) (*hosted, *api.Error)
	// history is what an item of a call was to the model: the call and the text of its result.
	history func(item api.Item) (call harmony.Message, result string, ok bool)
	// recall puts the result into an item that came without it. stored is the item as it was written.
	recall func(sent, stored api.Item, result string)
}

// hostedKinds is the table of the tools that this server runs.
var hostedKinds = []hostedKind{pythonKind, pluginKind, browserKind, mcpKind}

// readHosted makes the hosted tool of a request's tool at param, nil if it is not there.
func (s *Service) readHosted(p *plan, t api.Tool, param string) (*hosted, *api.Error) {
	t = s.o.MCP.meant(t)
	i := slices.IndexFunc(hostedKinds, func(k hostedKind) bool { return k.tool == api.ToolKind(t) })
	if i < 0 {
		return nil, nil
	}
	h, err := hostedKinds[i].read(s, p, t, param)
	if h != nil {
		h.kind, h.callable = hostedKinds[i].tool, true
	}
	return h, err
}

// hostedItem returns the kind of tool that the item is a call of, nil if it is none.
func hostedItem(item api.Item) *hostedKind {
	i := slices.IndexFunc(hostedKinds, func(k hostedKind) bool { return k.item == api.Kind(item) })
	if i < 0 {
		return nil
	}
	return &hostedKinds[i]
}

// hostedBy returns the hosted tool and its function to which a message with the recipient is a call.
func (p *plan) hostedBy(recipient string) (h *hosted, function string) {
	for _, h := range p.hosted {
		if function, ok := h.accepts(recipient); ok {
			return h, function
		}
	}
	return nil, ""
}

// mayCall reports whether the function may be called now, as far as the request goes.
func (h *hosted) mayCall(function string) bool {
	return h.callable && (h.only == nil || slices.Contains(h.only, function))
}

// callableNow are the calls that may be written now.
func (h *hosted) callableNow() (calls []harmony.Call) {
	for _, c := range h.calls {
		if function, _ := h.accepts(c.Recipient); h.mayCall(function) {
			calls = append(calls, c)
		}
	}
	return calls
}

// has reports whether the tool is the one that a tool choice names, and has what that names of it, as far as that is known.
func (h *hosted) has(t api.OtherTool) bool {
	return h.kind == t.Type && (t.Name == "" || t.Name == h.label) && (t.Tool == "" || h.calls == nil || slices.ContainsFunc(h.calls, func(c harmony.Call) bool {
		function, _ := h.accepts(c.Recipient)
		return function == t.Tool
	}))
}

// narrowHosted leaves only those hosted tools callable, and of them those functions, that the choices name.
func (p *plan) narrowHosted(choices ...api.OtherTool) {
	for _, h := range p.hosted {
		var only []string
		all := false
		for _, c := range choices {
			if h.has(c) {
				only = append(only, c.Tool)
				all = all || c.Tool == ""
			}
		}
		if h.callable = h.callable && len(only) > 0; !all {
			h.only = only
		}
	}
}

// acquire takes what the tools need for themselves while the response runs, and release gives it back.
func (p *plan) acquire(ctx context.Context) error {
	for _, h := range p.hosted {
		if h.acquire == nil {
			continue
		}
		if err := h.acquire(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) release() {
	for _, h := range p.all {
		if h.release != nil {
			h.release()
		}
	}
}

// load is the toolhost.SessionOptions.Load of the response.
func (p *plan) load(ctx context.Context, tool string) (*toolhost.State, error) {
	for _, h := range p.hosted {
		if h.tool == tool && h.load != nil {
			return h.load(ctx)
		}
	}
	return nil, nil
}
