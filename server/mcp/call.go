package mcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	protocol "github.com/mark3labs/mcp-go/mcp"
	library "github.com/mark3labs/mcp-go/server"

	"chorale/toolhost"
)

// handler makes the calls of an offer. It never returns an error, whose text clients would see: what went wrong is in the result.
func (s *Server) handler(o offer) library.ToolHandlerFunc {
	return func(ctx context.Context, r protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		c := &call{s: s, o: o, owner: ownerOfHeader(r.Header.Get("Authorization"))}
		result := c.run(ctx, r)
		s.counter.calls.Add(1)
		switch {
		case ctx.Err() != nil:
			s.counter.cancelled.Add(1)
		case result.IsError:
			s.counter.failed.Add(1)
		}
		return result, nil
	}
}

// A call is one call of a tool.
type call struct {
	s     *Server
	o     offer
	owner owner

	input   string // of the tool
	session string // "" = none
}

func (c *call) run(ctx context.Context, r protocol.CallToolRequest) *protocol.CallToolResult {
	arguments, err := argumentsOf(r)
	if err != nil {
		return failure(sentence(err))
	}
	if c.o.sessions {
		return c.runSession(arguments)
	}
	if err := c.read(arguments); err != nil {
		return failure(sentence(err))
	}
	p := &progress{ctx: ctx, s: c.s}
	if r.Params.Meta != nil {
		p.token = r.Params.Meta.ProgressToken
	}
	tc := toolhost.Call{Tool: c.o.tool, ID: "call_" + strings.ToLower(rand.Text()), Function: c.o.function, Input: c.input, Progress: p.report}
	if c.session == "" {
		return c.result(ctx, c.once(ctx, tc), "")
	}
	return c.within(ctx, tc)
}

// once makes a call that leaves nothing behind.
func (c *call) once(ctx context.Context, tc toolhost.Call) toolhost.Outcome {
	session := c.newSession(nil)
	defer session.Close()
	return session.Do(ctx, []toolhost.Call{tc})[0]
}

func (c *call) newSession(load func(context.Context, string) (*toolhost.State, error)) *toolhost.Session {
	return c.s.o.Tools().NewSession(toolhost.SessionOptions{ID: "mcp", Limits: c.s.o.Limits.Call, Load: load, Logger: c.s.o.Logger})
}

// within makes a call in a session. A call that breaks leaves the session as it was.
func (c *call) within(ctx context.Context, tc toolhost.Call) *protocol.CallToolResult {
	st, unknown, ended := c.s.states.acquire(ctx, c.session, c.o.tool, c.owner)
	switch {
	case unknown != nil:
		return failure(sentence(unknown))
	case ended != nil:
		return failure("The call was cancelled while another one used the session.")
	}
	defer c.s.states.release(st)
	session := c.newSession(func(context.Context, string) (*toolhost.State, error) { return st.saved, nil })
	defer session.Close()
	o := session.Do(ctx, []toolhost.Call{tc})[0]
	if o.Err != nil {
		return c.result(ctx, o, "The session is as it was before the call.")
	}
	saved, ok, err := session.Save(ctx, c.o.tool)
	note := ""
	switch {
	case err != nil:
		note = "What the call left in the session could not be kept: it is as it was before."
		c.s.o.Logger.Warn("state of a tool not saved", "tool", c.o.tool, "err", err)
	case ok:
		if err := c.s.states.keep(c.session, st, &saved); err != nil {
			note = "What the call left in the session could not be kept: " + err.Error() + ". It is as it was before."
		}
	}
	return c.result(ctx, o, note)
}

// runSession makes or ends a session.
func (c *call) runSession(arguments map[string]json.RawMessage) *protocol.CallToolResult {
	action, err := text(arguments, "action")
	if err == nil {
		c.session, err = optionalText(arguments, "session")
	}
	if err == nil {
		err = only(arguments, "action", "session")
	}
	answer := map[string]any{"closed": action == "close"}
	switch {
	case err != nil:
	case action == "create" && c.session != "":
		err = errors.New(`the action create takes no "session"`)
	case action == "create":
		c.session, err = c.s.states.create(c.o.tool, c.owner)
		answer["expires_in_seconds"] = int(c.s.o.Limits.StateIdle.Seconds())
	case action == "close" && c.session == "":
		err = errors.New(`the action close needs "session", the id of the one to close`)
	case action == "close":
		err = c.s.states.close(c.session, c.o.tool, c.owner)
	default:
		err = errors.New(`"action" must be create or close`)
	}
	if err != nil {
		return failure(sentence(err))
	}
	answer["session"] = c.session
	return protocol.NewToolResultStructured(answer, string(schemaOf(answer)))
}

// argumentsOf are the arguments as they were written.
func argumentsOf(r protocol.CallToolRequest) (map[string]json.RawMessage, error) {
	raw, ok := r.GetRawArguments().(json.RawMessage)
	if !ok || len(raw) == 0 || string(raw) == "null" {
		return map[string]json.RawMessage{}, nil
	}
	var arguments map[string]json.RawMessage
	if json.Unmarshal(raw, &arguments) != nil {
		return nil, errors.New("the arguments must be an object")
	}
	return arguments, nil
}

// read finds the input of the tool, and the session. The error is for the model.
func (c *call) read(arguments map[string]json.RawMessage) (err error) {
	if c.o.stateful {
		if c.session, err = optionalText(arguments, "session"); err != nil {
			return err
		}
		if _, given := arguments["session"]; given && c.session == "" {
			return errors.New(`"session" is empty; leave it out for a call that begins afresh`)
		}
		delete(arguments, "session")
	}
	if c.o.input == "" {
		c.input = string(schemaOf(arguments))
		return nil
	}
	if c.input, err = text(arguments, c.o.input); err == nil {
		err = only(arguments, c.o.input)
	}
	return err
}

func text(arguments map[string]json.RawMessage, name string) (string, error) {
	if arguments[name] == nil {
		return "", fmt.Errorf("the argument %q is missing", name)
	}
	return optionalText(arguments, name)
}

func optionalText(arguments map[string]json.RawMessage, name string) (s string, err error) {
	raw := arguments[name]
	if raw != nil && (raw[0] != '"' || json.Unmarshal(raw, &s) != nil) {
		return "", fmt.Errorf("the argument %q must be a string", name)
	}
	return s, nil
}

// only is an error when there are other arguments.
func only(arguments map[string]json.RawMessage, known ...string) error {
	var others []string
	for name := range arguments {
		if !slices.Contains(known, name) {
			others = append(others, name)
		}
	}
	if others == nil {
		return nil
	}
	slices.Sort(others)
	return fmt.Errorf("there is no argument %.60q; the arguments are %s", others[0], strings.Join(known, ", "))
}

// sentence makes one of an error.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func failure(text string) *protocol.CallToolResult { return protocol.NewToolResultError(text) }

// result is an outcome as clients see it, with a note at the end.
func (c *call) result(ctx context.Context, o toolhost.Outcome, note string) *protocol.CallToolResult {
	notes := []string{}
	if note != "" {
		notes = append(notes, "["+note+"]")
	}
	var files []protocol.Content
	left := c.s.o.Limits.FileBytes
	for _, f := range o.Files {
		if left -= len(f.Data); left < 0 {
			left += len(f.Data)
			notes = append(notes, fmt.Sprintf("[The file %.200q of %d bytes is left out: it is too large for one result.]", path.Base(f.Path), len(f.Data)))
			continue
		}
		files = append(files, contentOf(c.o.tool, f))
	}
	r := &protocol.CallToolResult{IsError: o.Failed}
	if structured := bytes.TrimSpace(o.Structured); !o.Failed && len(structured) > 0 && (structured[0] == '{' || library.IsModernRequest(ctx)) {
		r.StructuredContent = json.RawMessage(structured)
	}
	if r.StructuredContent == nil && c.o.listed.RawOutputSchema != nil && !o.Failed {
		r.IsError = true // clients reject results without what the schema promises, and with it what the tool did say
		notes = append(notes, "[The tool gave no structured result, though it should have.]")
	}
	if notes = append([]string{o.Text}, notes...); o.Text == "" {
		notes = notes[1:]
	}
	r.Content = append([]protocol.Content{protocol.NewTextContent(strings.Join(notes, "\n"))}, files...)
	return r
}

// contentOf is a file by its kind.
func contentOf(tool string, f toolhost.File) protocol.Content {
	mime := f.MIME
	if mime == "" {
		mime = "application/octet-stream"
	}
	encode := base64.StdEncoding.EncodeToString
	switch group, _, _ := strings.Cut(mime, "/"); {
	case group == "image":
		return protocol.NewImageContent(encode(f.Data), mime)
	case group == "audio":
		return protocol.NewAudioContent(encode(f.Data), mime)
	case (group == "text" || strings.HasSuffix(mime, "json")) && utf8.Valid(f.Data):
		return protocol.NewEmbeddedResource(protocol.TextResourceContents{URI: uriOf(tool, f), MIMEType: mime, Text: string(f.Data)})
	}
	return protocol.NewEmbeddedResource(protocol.BlobResourceContents{URI: uriOf(tool, f), MIMEType: mime, Blob: encode(f.Data)})
}

// uriOf names a file; nothing can be read by it later.
func uriOf(tool string, f toolhost.File) string {
	u := url.URL{Scheme: "chorale", Host: tool, Path: path.Clean("/" + f.Path)}
	return u.String()
}

// A progress is what a client hears of a running call.
type progress struct {
	ctx   context.Context // of the request, whose life this is
	s     *Server
	token any // nil: the client wants to hear nothing

	mu    sync.Mutex // guards what follows, and the order of notifications
	sent  int
	value float64
}

// report is a Call's Progress. The protocol wants numbers that grow; where none is known, steps are counted.
func (p *progress) report(message string, fraction float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token == nil || p.sent >= p.s.o.Limits.Notifications || p.ctx.Err() != nil {
		return
	}
	params := map[string]any{"progressToken": p.token}
	switch {
	case fraction >= 0 && p.value <= 1 && fraction > p.value, fraction == 0 && p.sent == 0:
		p.value = min(fraction, 1)
		params["total"] = 1
	case fraction < 0:
		p.value++
	case message == "":
		return // nothing new
	default:
		p.value += 1e-9
	}
	params["progress"] = p.value
	if message != "" {
		short, _ := toolhost.Cut(message, maxMessage)
		params["message"] = short
	}
	p.sent++
	if notify(p.ctx, string(protocol.MethodNotificationProgress), params) == nil {
		p.s.counter.notifications.Add(1)
	}
}

// maxMessage is how many bytes of a message about progress clients get.
const maxMessage = 1 << 10
