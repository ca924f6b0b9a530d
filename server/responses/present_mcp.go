package responses

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"chorale/inference/harmony"
	"chorale/server/api"
	"chorale/toolhost"
	"chorale/toolhost/mcp"
)

const (
	// defaultListTimeout is how long an MCP server may take to say what tools it has: slow ones must not hold up the response.
	defaultListTimeout = 25 * time.Second
	// maxServers is how many MCP servers a request may have: all of them are asked for their tools at the same time.
	maxServers = 32
	// maxServerText is how much of a server's description the model is shown, in bytes.
	maxServerText = 4 << 10
)

// MCPOptions say which MCP servers requests can use.
type MCPOptions struct {
	Servers []MCPServer // the operator's, each label once
	// Connect returns a client for a server that a request names, for that response alone; the response closes it. It does no
	// I/O, and its error is the client's mistake. Nil: requests cannot name servers.
	Connect func(c mcp.Config) (*mcp.Client, error)
	// ListTimeout is how long a server may take to list its tools, the connection included; 0 = 25 s.
	ListTimeout time.Duration
}

// An MCPServer is one of the operator's. All responses share its client.
type MCPServer struct {
	Label       string
	Client      *mcp.Client
	Description string // for the model; "" = what the server says of itself
	// Tool is the type of the requests' tools that mean this server too, code_interpreter or web_search: requests by the label
	// are then read as those. "" = none.
	Tool string
	// Namespace is the model's name for the server, where that is trained; "" = by the label.
	Namespace string
	// NoApproval is what is right when a request does not say which calls need an approval: none does. Otherwise all do.
	NoApproval bool
	// AnyURL ignores a server_url in requests, as vLLM does; otherwise a URL means another server.
	AnyURL bool
}

// mcpKind are the MCP servers of requests, each a namespace of functions with JSON arguments. The items of calls are those of
// pluginKind, which reads them too.
var mcpKind = hostedKind{tool: "mcp", read: readMCP}

// mcpNames is the pattern for names of tools that can be in an item.
var mcpNames = regexp.MustCompile(`^[a-zA-Z0-9_./:-]{1,128}$`)

// An mcpServer is one of a response.
type mcpServer struct {
	s        *Service
	plan     *plan
	asked    *api.MCPTool
	param    string
	space    string // the namespace
	entry    string // name in the toolhost.Set
	operator *MCPServer
	client   *mcp.Client
	secrets  []string // of the request, and no longer so in what the server says

	host    *hosted
	known   *api.MCPListTools // in the context; nil: none
	listing *mcp.Listing      // what the model is shown
	failure error             // why there is none

	approved map[string]*api.MCPApprovalRequest // by the id of the call that is made for it
	admitted []string                           // names of the tools of those, which may not be in the listing any more

	once    sync.Once    // before the first call, unless the server was asked already
	current *mcp.Listing // what the server has now
	lost    error        // why that is not known
}

func readMCP(s *Service, p *plan, t api.Tool, param string) (*hosted, *api.Error) {
	asked := t.(*api.MCPTool)
	m := &mcpServer{s: s, plan: p, asked: asked, param: param, space: pluginNamespace(asked.ServerLabel),
		approved: map[string]*api.MCPApprovalRequest{}}
	if p.servers++; p.servers > maxServers {
		return nil, api.BadRequest("array_above_max_length", "tools", "Invalid 'tools': there are more than %d MCP servers.",
			maxServers)
	}
	if asked.AllowedCallers != nil && !slices.Contains(asked.AllowedCallers, "direct") {
		return nil, api.BadRequest("invalid_value", param+".allowed_callers",
			"Invalid '%s.allowed_callers': only the model itself calls tools on this server, so 'direct' must be among them.", param)
	}
	if asked.DeferLoading {
		p.warn(param+".defer_loading",
			"Tools are not deferred by this server: the model sees all of them at once. 'allowed_tools' makes them fewer.")
	}
	if err := m.find(); err != nil {
		return nil, err
	}
	if m.operator != nil && m.operator.Namespace != "" {
		m.space = m.operator.Namespace
	}
	if m.operator != nil && m.operator.NoApproval && !asked.RequireApproval.Sent() {
		asked.RequireApproval = api.MCPApproval{Mode: "never"} // which the response says
	}
	m.entry = asked.ServerLabel
	if _, taken := p.tools.Spec(m.entry); taken {
		m.entry = "mcp_" + m.entry
	}
	m.host = &hosted{tool: m.entry, label: asked.ServerLabel, declared: inDeveloper, namespace: harmony.Namespace{Name: m.space},
		accepts: m.accepts, empty: "{}", item: m.item, input: mcpArguments,
		ended: pluginEnded, finished: finishedCall(p.includes(filesIncluded)),
		attend: m.attend, asks: m.asks, question: m.question, approve: m.approve, resume: m.resume}
	if m.operator == nil {
		m.host.release = func() { _ = m.client.Close() }
	}
	return m.host, nil
}

// find finds the operator's server or makes a client for the request's.
func (m *mcpServer) find() *api.Error {
	var labels []string
	for i := range m.s.o.MCP.Servers {
		o := &m.s.o.MCP.Servers[i]
		if labels = append(labels, o.Label); o.Label == m.asked.ServerLabel && (m.asked.ServerURL == "" || o.AnyURL) {
			m.operator, m.client = o, o.Client
		}
	}
	switch {
	case m.operator != nil && (m.asked.Authorization != "" || len(m.asked.Headers) > 0):
		m.plan.warn(m.param, "'authorization' and 'headers' are not sent to servers of this server's operator.")
		return nil
	case m.operator != nil:
		return nil
	case m.asked.ServerURL == "":
		return api.BadRequest("missing_required_parameter", m.param+".server_url",
			"Missing required parameter: '%s.server_url'. Without it, 'server_label' must be that of a server of this server's operator. %s",
			m.param, theyAre("labels", labels))
	case m.s.o.MCP.Connect == nil:
		return api.BadRequest("unsupported_parameter", m.param+".server_url",
			"This server does not use MCP servers that requests name. %s", theyAre("labels of its own", labels))
	}
	m.secrets = secretsOf(m.asked)
	var err error
	m.client, err = m.s.o.MCP.Connect(mcp.Config{Label: m.asked.ServerLabel, URL: m.asked.ServerURL,
		Header: m.asked.Headers, Authorization: m.asked.Authorization})
	if err != nil {
		return api.BadRequest("invalid_value", m.param+".server_url", "Invalid '%s.server_url': %s", m.param, m.scrub(err.Error()))
	}
	return nil
}

// meant is the tool that a request means by an MCP server that the operator has put in its place, else what it says.
func (o *MCPOptions) meant(t api.Tool) api.Tool {
	asked, ok := t.(*api.MCPTool)
	if !ok {
		return t
	}
	for _, server := range o.Servers {
		switch {
		case server.Tool == "" || server.Label != asked.ServerLabel || asked.ServerURL != "" && !server.AnyURL:
		case server.Tool == "code_interpreter":
			return &api.CodeInterpreterTool{JSON: json.RawMessage(`{"type":"code_interpreter"}`)}
		case server.Tool == "web_search":
			return &api.WebSearchTool{JSON: json.RawMessage(`{"type":"web_search"}`)}
		}
	}
	return t
}

// secretsOf is what of a request must be neither stored nor logged, longest first.
func secretsOf(t *api.MCPTool) (secrets []string) {
	add := func(s string) {
		if len(s) >= 8 { // what is shorter keeps no secret, and masking it would mask much else
			secrets = append(secrets, s)
		}
	}
	add(t.Authorization)
	for _, value := range t.Headers {
		add(value)
		add(value[strings.LastIndexByte(value, ' ')+1:]) // behind a scheme
	}
	if _, rest, ok := strings.Cut(t.ServerURL, "://"); ok {
		if path := strings.IndexAny(rest, "/?#"); path >= 0 {
			add(rest[path+1:])
			if before, query, ok := strings.Cut(rest[path+1:], "?"); ok {
				add(query)
				add(before)
			}
		}
		if user, _, ok := strings.Cut(rest, "@"); ok {
			add(user)
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return secrets
}

// scrub masks the request's secrets in what a server says, or an error about it.
func (m *mcpServer) scrub(text string) string {
	for _, secret := range m.secrets {
		text = strings.ReplaceAll(text, secret, "<redacted>")
	}
	return text
}

// attend looks at what the context has of the server: a list of its tools, and approvals of calls. Without either, or where it
// must be known what the server has now, it is asked before anything is generated.
func (m *mcpServer) attend(c *conversation) *preparation {
	m.known = c.listings[m.asked.ServerLabel]
	if m.known != nil && m.lacks(m.known) {
		m.known = nil
	}
	for _, a := range c.approved {
		if a.request.ServerLabel == m.asked.ServerLabel {
			m.admitted = append(m.admitted, a.request.Name)
		}
	}
	if m.known != nil && m.operator == nil && m.admitted == nil {
		m.show(m.usable(fromItem(m.known)))
		return nil
	}
	return &preparation{work: m.ask, item: m.listed, quiet: m.known != nil, running: api.EventMCPListing, done: m.prepared}
}

// lacks reports whether a list that was made for another request does not have a tool that this one allows.
func (m *mcpServer) lacks(list *api.MCPListTools) bool {
	f := m.asked.AllowedTools
	if f == nil {
		return false
	}
	return slices.ContainsFunc(f.ToolNames, func(name string) bool {
		return !slices.ContainsFunc(list.Tools, func(t api.MCPListedTool) bool { return t.Name == name })
	})
}

// ask asks the server for its tools.
func (m *mcpServer) ask(ctx context.Context) {
	timeout := m.s.o.MCP.ListTimeout
	if timeout == 0 {
		timeout = defaultListTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it did not answer within %v", timeout))
	defer cancel()
	l, err := m.client.List(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		m.failure = err
		return
	}
	m.listing = m.usable(l)
	m.current = m.listing
}

// usable is a listing without what the request does not allow and what cannot be in an item, and without its secrets.
func (m *mcpServer) usable(l *mcp.Listing) *mcp.Listing {
	out := *l
	out.Tools = nil
	taken := map[string]bool{}
	for _, t := range l.Tools {
		if m.asked.AllowedTools != nil && !m.asked.AllowedTools.Matches(t.Name, readOnly(&t)) {
			continue
		}
		if t.Function = functionName(t.Name); taken[t.Function] || !mcpNames.MatchString(t.Name) {
			out.Dropped = append(slices.Clip(out.Dropped),
				mcp.Dropped{Name: t.Name, Reason: "the model could not tell it from others by its name."})
			continue
		}
		taken[t.Function] = true
		if t.Description = m.scrub(t.Description); len(m.secrets) > 0 {
			t.Input = json.RawMessage(m.scrub(string(t.Input)))
		}
		out.Tools = append(out.Tools, t)
	}
	return &out
}

// readOnly reports whether the server says so. What that is worth is for the request to decide.
func readOnly(t *mcp.Tool) bool {
	return t.Annotations != nil && t.Annotations.ReadOnly != nil && *t.Annotations.ReadOnly
}

// listed is the item as it is added.
func (m *mcpServer) listed() api.Item {
	return &api.MCPListTools{ID: m.s.newID("mcpl"), ServerLabel: m.asked.ServerLabel, Tools: []api.MCPListedTool{}}
}

// prepared is how listing has ended: the model is shown the tools, and the client the list, unless it is the one in the context.
func (m *mcpServer) prepared(added api.Item) (event string, item api.Item) {
	if m.failure != nil {
		message := m.scrub(fmt.Sprintf("Error retrieving tool list from MCP server: '%s'. %s", m.asked.ServerLabel, reason(m.failure)))
		m.s.o.Logger.Warn("mcp server has no list", "response_id", m.plan.response.ID, "server", m.asked.ServerLabel, "err", message)
		if m.known != nil {
			m.show(m.usable(fromItem(m.known)))
			return "", nil
		}
		m.plan.warn(m.param, "%s", message)
		m.register(nil)
		m.plan.notes = append(m.plan.notes,
			fmt.Sprintf("The tools of the server %q cannot be used at the moment.", m.asked.ServerLabel))
		failed := *added.(*api.MCPListTools)
		failed.Error = &message
		return api.EventMCPListFailed, &failed
	}
	m.show(m.listing)
	for _, d := range m.listing.Dropped {
		m.plan.warn(m.param, "The tool '%s' of the server '%s' is left out: %s", abbreviated(d.Name), m.asked.ServerLabel, d.Reason)
	}
	if m.listing.Partial != "" {
		m.plan.warn(m.param, "The list of tools of the server '%s' is not whole: %s", m.asked.ServerLabel, m.listing.Partial)
	}
	list := toItem(m.listing, m.asked.ServerLabel)
	if m.known != nil && sameTools(m.known, list) { // as the client knows
		return "", nil
	}
	list.ID = api.ID(added)
	return api.EventMCPListed, list
}

// reason is an error without what it is wrapped in.
func reason(err error) string {
	var http *mcp.HTTPError
	if errors.As(err, &http) {
		return fmt.Sprintf("Http status code: %d. %s", http.Status, http.Message)
	}
	text := []rune(err.Error() + ".")
	text[0] = []rune(strings.ToUpper(string(text[:1])))[0]
	return strings.TrimSuffix(string(text), ".") + "."
}

func abbreviated(name string) string {
	short, _ := toolhost.Cut(name, 64)
	return short
}

// show shows the model the tools, and lets it call them.
func (m *mcpServer) show(l *mcp.Listing) {
	m.listing = l
	h := m.host
	h.namespace.Description = orDefault(m.asked.ServerDescription, "")
	if m.operator != nil && h.namespace.Description == "" {
		if h.namespace.Description = m.operator.Description; h.namespace.Description == "" {
			h.namespace.Description = l.Instructions
		}
	}
	h.namespace.Description, _ = toolhost.Cut(h.namespace.Description, maxServerText)
	var only []string
	var functions []toolhost.Function
	h.namespace.Tools, h.calls = nil, nil
	for i := range l.Tools {
		t := &l.Tools[i]
		f := harmony.Function{Name: t.Function, Description: t.Description}
		var err error
		if f.Parameters, err = harmony.NormalizeSchema(t.Input); err != nil {
			m.plan.warn(m.param, "The tool '%s' of the server '%s' is left out: its schema cannot be shown to the model: %v.",
				t.Name, m.asked.ServerLabel, err)
			continue
		}
		if !t.Hidden {
			h.namespace.Tools = append(h.namespace.Tools, f)
		}
		functions = append(functions, toolhost.Function{Name: t.Function})
		if h.only == nil || slices.Contains(h.only, t.Name) {
			only = append(only, t.Function)
		}
		h.calls = append(h.calls, harmony.Call{Recipient: m.space + "." + t.Function, Channels: []string{harmony.ChannelCommentary},
			ContentTypes: []string{jsonArguments, "json", "code", ""}})
	}
	if h.only != nil {
		h.only = append([]string{}, only...)
	}
	m.register(functions)
}

// register lets calls reach the server: those of the functions, and those that were approved.
func (m *mcpServer) register(functions []toolhost.Function) {
	for _, name := range m.admitted {
		f := toolhost.Function{Name: functionName(name)}
		if !slices.ContainsFunc(functions, func(other toolhost.Function) bool { return other.Name == f.Name }) {
			functions = append(functions, f)
		}
	}
	if len(functions) == 0 {
		return
	}
	set, err := m.plan.tools.With(&mcpTool{m, toolhost.Spec{Name: m.entry, Functions: functions, Independent: true}})
	if err != nil {
		panic(err) // names are checked
	}
	m.plan.tools = set
}

// tool returns the tool by its function.
func (m *mcpServer) tool(function string) *mcp.Tool {
	if m.listing == nil {
		return nil
	}
	if i := slices.IndexFunc(m.listing.Tools, func(t mcp.Tool) bool { return t.Function == function }); i >= 0 {
		return &m.listing.Tools[i]
	}
	return nil
}

func (m *mcpServer) accepts(recipient string) (function string, ok bool) {
	function, ok = strings.CutPrefix(strings.TrimPrefix(recipient, functionsPrefix), m.space+".")
	return function, ok && m.tool(function) != nil
}

func (m *mcpServer) item(_ context.Context, function string) api.Item {
	return &api.MCPCall{ID: m.s.newID("mcp"), Status: api.InProgress, ServerLabel: m.asked.ServerLabel, Name: m.tool(function).Name}
}

// An mcpTool is the tools of a server in the response's toolhost.Set. Its instances are itself.
type mcpTool struct {
	m    *mcpServer
	spec toolhost.Spec
}

func (t *mcpTool) Spec() toolhost.Spec                             { return t.spec }
func (t *mcpTool) Open(context.Context) (toolhost.Instance, error) { return t, nil }
func (t *mcpTool) Close() error                                    { return nil }

// Call makes a call, unless the tool is not the one any more that the model was shown or the client has approved.
func (t *mcpTool) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	var name string
	request := t.m.approved[c.ID]
	if request != nil {
		name = request.Name
	} else {
		name = t.m.tool(c.Function).Name
	}
	hash, err := t.m.verify(ctx, name, request)
	if err != nil {
		return t.m.failed(err), nil
	}
	input := json.RawMessage(strings.TrimSpace(c.Input))
	if !json.Valid(input) || input[0] != '{' {
		return toolhost.Result{Text: "The arguments are no JSON object: the call was not made.", Failed: true}, nil
	}
	r, err := t.m.client.CallAs(ctx, name, hash, input, c.Progress)
	if err != nil {
		if ctx.Err() != nil {
			return toolhost.Result{}, err
		}
		return t.m.failed(err), nil
	}
	out := toolhost.Result{Text: t.m.scrub(r.Text()), Failed: r.Failed}
	if r.Structured != nil {
		out.Structured = json.RawMessage(t.m.scrub(string(r.Structured)))
	}
	for i, part := range r.Content {
		if part.Data != nil {
			out.Files = append(out.Files, toolhost.File{Path: fmt.Sprintf("/%s-%d", part.Type, i+1), MIME: part.MIME, Data: part.Data})
		}
	}
	return out, nil
}

// failed is a call that the server did not answer.
func (m *mcpServer) failed(err error) toolhost.Result {
	return toolhost.Result{Text: "The call failed: " + m.scrub(err.Error()), Failed: true, Failure: err}
}

// callError is the error of a failed call in OpenAI's form.
func callError(o *toolhost.Outcome) json.RawMessage {
	var changed *changedError
	if o.Failure == nil {
		return api.MCPExecutionError(o.Text)
	}
	if errors.As(o.Failure, &changed) {
		return api.MCPProtocolError(codeChanged, o.Text)
	}
	switch kind, code := mcp.KindOf(o.Failure); kind {
	case mcp.KindHTTP:
		return api.MCPHTTPError(code, o.Text)
	case mcp.KindArguments:
		return api.MCPExecutionError(o.Text)
	default:
		return api.MCPProtocolError(code, o.Text)
	}
}

// toItem is a listing as clients see it, and fromItem what can be known of one from what they send back.
func toItem(l *mcp.Listing, label string) *api.MCPListTools {
	item := &api.MCPListTools{ServerLabel: label, Tools: []api.MCPListedTool{}}
	for i := range l.Tools {
		t := &l.Tools[i]
		listed := api.MCPListedTool{Name: t.Name, InputSchema: t.Input, Annotations: annotations(t)}
		if t.Description != "" {
			listed.Description = &t.Description
		}
		if listed.InputSchema == nil {
			listed.InputSchema = anyObject
		}
		item.Tools = append(item.Tools, listed)
	}
	return item
}

// annotations are those of the protocol that the server has sent, nil if there are none.
func annotations(t *mcp.Tool) json.RawMessage {
	if t.Annotations == nil && !t.Hidden {
		return nil
	}
	out := map[string]any{}
	if a := t.Annotations; a != nil {
		for name, v := range map[string]*bool{"readOnlyHint": a.ReadOnly, "destructiveHint": a.Destructive,
			"idempotentHint": a.Idempotent, "openWorldHint": a.OpenWorld} {
			if v != nil {
				out[name] = *v
			}
		}
		if a.Title != "" {
			out["title"] = a.Title
		}
	}
	if t.Hidden {
		out["include_in_prompt"] = false
	}
	raw, _ := api.Encode(out) // booleans and strings always can be
	return raw
}

func fromItem(item *api.MCPListTools) *mcp.Listing {
	l := &mcp.Listing{}
	taken := map[string]bool{}
	for _, t := range item.Tools {
		tool := mcp.Tool{Name: t.Name, Description: orDefault(t.Description, ""), Input: t.InputSchema}
		var a struct {
			ReadOnly *bool `json:"readOnlyHint"`
			Shown    *bool `json:"include_in_prompt"`
		}
		if json.Unmarshal(t.Annotations, &a) == nil {
			tool.Annotations, tool.Hidden = &mcp.Annotations{ReadOnly: a.ReadOnly}, a.Shown != nil && !*a.Shown
		}
		if tool.Function = functionName(t.Name); taken[tool.Function] {
			l.Dropped = append(l.Dropped, mcp.Dropped{Name: t.Name, Reason: "another tool has its name."})
			continue
		}
		taken[tool.Function] = true
		l.Tools = append(l.Tools, tool)
	}
	return l
}

// sameTools reports whether two lists describe the same tools in the same order.
func sameTools(a, b *api.MCPListTools) bool {
	return slices.EqualFunc(a.Tools, b.Tools, func(a, b api.MCPListedTool) bool { return sameTool(&a, &b) })
}

func sameTool(a, b *api.MCPListedTool) bool {
	return a.Name == b.Name && orDefault(a.Description, "") == orDefault(b.Description, "") &&
		bytes.Equal(canonical(a.InputSchema), canonical(b.InputSchema)) && bytes.Equal(canonical(a.Annotations), canonical(b.Annotations))
}

// canonical is JSON in one spelling; numbers keep theirs.
func canonical(raw json.RawMessage) []byte {
	if raw == nil {
		return nil
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return raw
	}
	out, err := api.Encode(v)
	if err != nil {
		return raw
	}
	return out
}
