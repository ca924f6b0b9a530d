package responses

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"chorale/inference/harmony"
	"chorale/server/api"
	"chorale/server/store"
	"chorale/toolhost"
	"chorale/toolhost/mcp"
)

// approvalPrefix begins the ids of requests for approvals, as at OpenAI.
const approvalPrefix = "mcpr"

// An approval is a request for one, found in the context, and what became of it.
type approval struct {
	request  *api.MCPApprovalRequest
	entry    int    // of the call in the conversation
	answered bool   // by the client, or by a call
	param    string // of the answer in the input
}

// asked remembers a request in the context; the call in it is the model's.
func (c *conversation) asked(i *api.MCPApprovalRequest, tokens []int32) {
	m := assistant(harmony.ChannelCommentary, i.Arguments)
	m.Recipient, m.ContentType = pluginNamespace(i.ServerLabel)+"."+functionName(i.Name), jsonArguments
	c.approvals[i.ID] = &approval{request: i, entry: len(c.entries)}
	c.entries = append(c.entries, entry{m, tokens})
}

// decided takes the client's answer to a request. One in the input that approves is a call to be made; one of an earlier
// response was one, whose item has the result.
func (c *conversation) decided(i *api.MCPApprovalResponse, param string) *api.Error {
	a := c.approvals[i.ApprovalRequestID]
	inInput := strings.HasPrefix(param, "input[")
	switch {
	case a == nil:
		return badAnswer(param, "no approval request with id '%s' found. It must be in 'input', or in the response that "+
			"'previous_response_id' names.", i.ApprovalRequestID)
	case a.answered:
		return badAnswer(param, "the approval request '%s' has been answered before.", i.ApprovalRequestID)
	}
	a.answered, a.param = true, param
	if i.Approve {
		if inInput {
			c.approved = append(c.approved, a)
		}
		return nil
	}
	text := "The user has refused this call: it was not made."
	if reason := orDefault(i.Reason, ""); reason != "" {
		text += " The reason: " + reason
	}
	c.entries = append(c.entries, entry{Message: toolMessage(c.entries[a.entry].Recipient, harmony.ChannelCommentary, text)})
	return nil
}

// badAnswer refuses an answer of the input at param.
func badAnswer(param, format string, args ...any) *api.Error {
	param += ".approval_request_id"
	return api.BadRequest("invalid_value", param, "Invalid '%s': "+format, append([]any{param}, args...)...)
}

// undecidedText is what the model reads in the place of a result.
const undecidedText = "The user has not approved this call yet: it was not made."

// made takes a call that was approved and made: the call itself is in the request, if that is in the context.
func (c *conversation) made(i *api.MCPCall, tokens []int32) (known bool) {
	a := c.approvals[orDefault(i.ApprovalRequestID, "")]
	if a == nil {
		return false
	}
	m, result, ok := pluginHistory(i)
	if !ok {
		return true
	}
	a.answered = true
	c.approved = slices.DeleteFunc(c.approved, func(other *approval) bool { return other == a })
	c.entries = append(c.entries, entry{toolMessage(m.Recipient, m.Channel, result), tokens})
	return true
}

// undecided puts a note behind every call that waits for an approval, so that no call is without an answer.
func (c *conversation) undecided() {
	waiting := map[int]bool{}
	for _, a := range c.approvals {
		if !a.answered {
			waiting[a.entry] = true
		}
	}
	if len(waiting) == 0 {
		return
	}
	entries := make([]entry, 0, len(c.entries)+len(waiting))
	for i, e := range c.entries {
		if entries = append(entries, e); waiting[i] {
			entries = append(entries, entry{Message: toolMessage(e.Recipient, harmony.ChannelCommentary, undecidedText)})
		}
	}
	c.entries = entries
}

// attend lets the tools look at the context, and finds those whose calls were approved.
func (p *plan) attend(c *conversation) *api.Error {
	for _, a := range c.approved {
		h := p.labelled(a.request.ServerLabel)
		if h == nil {
			return badAnswer(a.param, "it approves a call of the MCP server '%s', which is not among 'tools' with its 'server_label'.",
				a.request.ServerLabel)
		}
		if !h.approve(a.request) {
			return badAnswer(a.param, "the approval request '%s' is not one that this server has made, or was changed.", a.request.ID)
		}
	}
	for _, h := range p.all {
		if h.attend == nil || !slices.Contains(p.hosted, h) && !c.approves(h.label) { // tool_choice hides it
			continue
		}
		if step := h.attend(c); step != nil {
			p.steps = append(p.steps, step)
		}
	}
	return nil
}

// labelled is the tool with the label whose calls may need approvals, nil if there is none.
func (p *plan) labelled(label string) *hosted {
	if i := slices.IndexFunc(p.all, func(h *hosted) bool { return h.approve != nil && h.label == label }); i >= 0 {
		return p.all[i]
	}
	return nil
}

// approves reports whether a call of the MCP server is to be made first.
func (c *conversation) approves(label string) bool {
	return slices.ContainsFunc(c.approved, func(a *approval) bool { return a.request.ServerLabel == label })
}

// outdate forgets the list of a server's tools if a call has found that it is not right any more. In front of approved calls
// the server has been asked already.
func (c *conversation) outdate(i *api.MCPCall) {
	var e struct{ Code int }
	if i.ApprovalRequestID == nil && json.Unmarshal(i.Error, &e) == nil && e.Code == codeChanged {
		delete(c.listings, i.ServerLabel)
	}
}

// resumeApproved puts the approved calls in front of everything that the model writes: they wait to be answered like its own.
func (r *Run) resumeApproved() {
	for _, a := range r.plan.approved {
		h := r.plan.labelled(a.request.ServerLabel)
		item, function := h.resume(a.request)
		r.out.open(item, []stream{h.input})
		r.out.text(a.request.Arguments, nil)
		c := call{tool: h, function: function, input: r.out.endText(), item: item, turn: len(r.turn)}
		c.place = r.out.suspend()
		r.turn = append(r.turn, store.Message{Tokens: []int32{}})
		r.tools.calls = append(r.tools.calls, c)
	}
}

// ask shows the client a call that it must approve before it is made. The response ends for it, as for a call of a function.
func (r *Run) ask(m *harmony.Message) {
	arguments := r.message.held
	if strings.TrimSpace(arguments) == "" {
		arguments = r.message.tool.empty
	}
	item := r.message.tool.question(r.message.function, arguments)
	r.out.open(item, nil)
	r.out.close(func(api.Item, string, []api.Logprob) api.Item { return item })
	r.turn = append(r.turn, store.Message{Item: item, Tokens: r.exactTokens(m)})
	r.called = true
}

// asks reports whether calls of the function need the client's approval.
func (m *mcpServer) asks(function string) bool {
	t := m.tool(function)
	return m.asked.RequireApproval.Needs(t.Name, readOnly(t))
}

// question is the request for an approval. Its id proves later, even to a server that has stored nothing, that this server has
// asked for this call, and of which definition of the tool: random bytes, a code of the call and one of the definition.
func (m *mcpServer) question(function, arguments string) api.Item {
	t := m.tool(function)
	i := &api.MCPApprovalRequest{Arguments: arguments, Name: t.Name, ServerLabel: m.asked.ServerLabel}
	nonce := make([]byte, codeBytes)
	m.s.o.Random(nonce)
	i.ID = approvalPrefix + "_" + hex.EncodeToString(nonce) + m.s.callCode(nonce, i) + m.s.definitionCode(nonce, definition(t))
	return i
}

// codeBytes is the length of each part of an id.
const codeBytes = 8

func (s *Service) callCode(nonce []byte, i *api.MCPApprovalRequest) string {
	return s.code(nonce, "call", i.ServerLabel, i.Name, i.Arguments)
}

func (s *Service) definitionCode(nonce []byte, t *api.MCPListedTool) string {
	return s.code(nonce, "definition", t.Name, orDefault(t.Description, ""), string(canonical(t.InputSchema)),
		string(canonical(t.Annotations)))
}

// code authenticates the parts with the service's key.
func (s *Service) code(nonce []byte, parts ...string) string {
	mac := hmac.New(sha256.New, s.approvalKey)
	mac.Write(nonce)
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil)[:codeBytes])
}

// newApprovalKey derives the key of approvals from the one that seals reasoning.
func newApprovalKey(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("chorale mcp approvals"))
	return mac.Sum(nil)
}

// codes takes an id apart.
func codes(id string) (nonce []byte, call, definition string, ok bool) {
	text, ours := strings.CutPrefix(id, approvalPrefix+"_")
	if !ours || len(text) != 3*2*codeBytes {
		return nil, "", "", false
	}
	nonce, err := hex.DecodeString(text[:2*codeBytes])
	return nonce, text[2*codeBytes : 4*codeBytes], text[4*codeBytes:], err == nil
}

// approve reports whether this server has asked for the call as it is there now.
func (m *mcpServer) approve(i *api.MCPApprovalRequest) bool {
	nonce, call, _, ok := codes(i.ID)
	return ok && hmac.Equal([]byte(call), []byte(m.s.callCode(nonce, i)))
}

// resume is the item of an approved call.
func (m *mcpServer) resume(request *api.MCPApprovalRequest) (item api.Item, function string) {
	call := &api.MCPCall{ID: m.s.newID("mcp"), Status: api.InProgress, ServerLabel: m.asked.ServerLabel, Name: request.Name,
		ApprovalRequestID: &request.ID}
	m.approved[call.ID] = request
	return call, functionName(request.Name)
}

// codeChanged is the code of the error of calls that were not made because their tool has changed, of those that JSON-RPC leaves
// to implementations.
const codeChanged = -32098

// A changedError says that a tool is not the one any more that the client or the model knows.
type changedError struct{ difference string }

func (e *changedError) Error() string {
	return "the tool has changed since it was shown, so the call was not made. " + e.difference
}

// verify checks before a call that the server's tool is the one that the client has approved, or else that the model was shown,
// and returns its hash.
func (m *mcpServer) verify(ctx context.Context, name string, approved *api.MCPApprovalRequest) (hash [sha256.Size]byte, err error) {
	live, err := m.now(ctx)
	if err != nil {
		return hash, err
	}
	i := slices.IndexFunc(live.Tools, func(t mcp.Tool) bool { return t.Name == name })
	if i < 0 {
		return hash, &changedError{"The server does not have it now, or the request does not allow it."}
	}
	is := definition(&live.Tools[i])
	was := m.shown(name)
	if approved != nil {
		nonce, _, code, _ := codes(approved.ID)
		if hmac.Equal([]byte(code), []byte(m.s.definitionCode(nonce, is))) {
			return live.Tools[i].Hash, nil
		}
		return hash, &changedError{difference(was, is)}
	}
	if was != nil && !sameTool(was, is) {
		return hash, &changedError{difference(was, is)}
	}
	return live.Tools[i].Hash, nil
}

// now is what the server has now, asked once in a response.
func (m *mcpServer) now(ctx context.Context) (*mcp.Listing, error) {
	m.once.Do(func() { // calls at the same time wait for the same list
		if m.current != nil {
			return
		}
		var l *mcp.Listing
		if l, m.lost = m.client.List(ctx); m.lost == nil {
			m.current = m.usable(l)
		}
	})
	return m.current, m.lost
}

// shown is the tool as the client has seen it last, nil if that is not in the context.
func (m *mcpServer) shown(name string) *api.MCPListedTool {
	list := m.known
	if list == nil && m.listing != nil {
		list = toItem(m.listing, m.asked.ServerLabel)
	}
	if list == nil {
		return nil
	}
	if i := slices.IndexFunc(list.Tools, func(t api.MCPListedTool) bool { return t.Name == name }); i >= 0 {
		return &list.Tools[i]
	}
	return nil
}

// definition is a tool as clients see it.
func definition(t *mcp.Tool) *api.MCPListedTool {
	return &toItem(&mcp.Listing{Tools: []mcp.Tool{*t}}, "").Tools[0]
}

// maxDifference is how many lines of a difference are shown.
const maxDifference = 40

// difference says in words and lines what has changed. was may be nil.
func difference(was, is *api.MCPListedTool) string {
	if was == nil || sameTool(was, is) {
		return "What it was is not known any more. It is now:\n" + strings.Join(describe(is), "\n")
	}
	lines := changes(describe(was), describe(is))
	if len(lines) > maxDifference {
		lines = append(lines[:maxDifference], fmt.Sprintf("… and %d more lines", len(lines)-maxDifference))
	}
	text, _ := toolhost.Cut("The difference:\n"+strings.Join(lines, "\n"), 4<<10)
	return text
}

// describe writes a definition in lines.
func describe(t *api.MCPListedTool) []string {
	return strings.Split("description: "+orDefault(t.Description, "")+"\ninput_schema: "+indent(t.InputSchema)+
		"\nannotations: "+indent(t.Annotations), "\n")
}

func indent(raw json.RawMessage) string {
	var out bytes.Buffer
	if json.Indent(&out, canonical(raw), "", "  ") != nil {
		return string(raw)
	}
	return out.String()
}

// changes are the lines that only was has, with a minus, and those that only is has, with a plus, in order (by a longest common
// subsequence).
func changes(was, is []string) (lines []string) {
	if len(was)*len(is) > 1<<20 { // of hostile length
		was, is = was[:min(len(was), 1<<10)], is[:min(len(is), 1<<10)]
	}
	common := make([][]int, len(was)+1) // [i][j]: of was[i:] and is[j:]
	for i := range common {
		common[i] = make([]int, len(is)+1)
	}
	for i := len(was) - 1; i >= 0; i-- {
		for j := len(is) - 1; j >= 0; j-- {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); was[i] == is[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	for i, j := 0, 0; i < len(was) || j < len(is); {
		switch {
		case i < len(was) && j < len(is) && was[i] == is[j]:
			i, j = i+1, j+1
		case j == len(is) || i < len(was) && common[i+1][j] >= common[i][j+1]:
			lines, i = append(lines, "- "+was[i]), i+1
		default:
			lines, j = append(lines, "+ "+is[j]), j+1
		}
	}
	return lines
}
