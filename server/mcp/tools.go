package mcp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	protocol "github.com/mark3labs/mcp-go/mcp"
	library "github.com/mark3labs/mcp-go/server"

	"chorale/toolhost"
)

// What clients are told.
const (
	instructions = "Tools that run on this server. State never depends on the connection: a tool with a companion NAME_session " +
		"keeps something from call to call only in a session made with that, whose id is given as the argument session."
	aboutPython = "Runs Python code in a sandbox without internet access and returns what it printed, the value of its last " +
		"expression, and pictures that it drew. Without session, nothing of earlier calls is there; with one, variables, imports and files are."
	aboutOther   = "Runs Python code and returns what it printed."
	aboutSession = "Begins or ends a session of the tool %[1]s. The action create returns its id, to be given as the argument " +
		"session in calls of %[1]s; what they leave behind is there for later ones. A session ends %[2]v after its last use, or with the action close."
	aboutArgument = "The session to go on in, from %s. Without it the call begins afresh."
)

// aboutBrowser describes the functions of the browser, which models know without.
func aboutBrowser(function string) string {
	switch function {
	case "search":
		return "Searches the web. The result is a numbered page of links with snippets."
	case "open":
		return "Opens a link of an earlier page of the session by its number, any page by its URL, or an earlier page again by its " +
			"cursor, and shows its text from line loc on, num_lines of it. Pages are cited as 【cursor†Lx-Ly】."
	case "find":
		return "Finds text in the page that is open in the session, or in that with the cursor."
	}
	return ""
}

// An offer is one tool as clients see it.
type offer struct {
	listed   protocol.Tool
	tool     string // toolhost's
	function string
	input    string // the argument that is the input of a tool without functions; "" = all arguments are
	stateful bool   // it takes a session
	sessions bool   // it makes and ends sessions of the tool
}

// A listing is what clients were told of last.
type listing struct {
	mu     sync.Mutex // guards what follows, and telling
	set    *toolhost.Set
	digest [sha256.Size]byte
}

// refresh lists the tools that there are now, and tells clients if that is something new.
func (s *Server) refresh() {
	s.listing.mu.Lock()
	defer s.listing.mu.Unlock()
	set := s.o.Tools()
	if set == s.listing.set {
		return
	}
	s.listing.set = set
	offers := s.offers(set)
	listed := make([]library.ServerTool, len(offers))
	h := sha256.New()
	for i, o := range offers {
		listed[i] = library.ServerTool{Tool: o.listed, Handler: s.handler(o)}
		text, err := json.Marshal(o.listed)
		fmt.Fprintf(h, "%s %v\n", text, err)
	}
	digest := [sha256.Size]byte(h.Sum(nil))
	if digest == s.listing.digest {
		return // handlers know names only, so the ones of before are good
	}
	first := s.listing.digest == [sha256.Size]byte{}
	s.listing.digest = digest
	s.core.SetTools(listed...) // tells those who listen by the newest revision
	if first {
		return
	}
	for _, st := range s.sessions.listeners() {
		go func() { // not under the lock: some may be slow to read. It ends with the stream, if not before
			if st.notify(protocol.MethodNotificationToolsListChanged, nil) == nil {
				s.counter.notifications.Add(1)
			}
		}()
	}
}

// offers are the tools by the names that clients call them by: NAME, NAME_FUNCTION and NAME_session. The library lists them
// in the order of their names.
func (s *Server) offers(set *toolhost.Set) []offer {
	var all []offer
	for _, spec := range set.Specs() {
		stateful := !spec.Independent && set.Resumes(spec.Name)
		if len(spec.Functions) == 0 {
			all = append(all, rawOffer(spec, stateful))
		}
		for _, f := range spec.Functions {
			o, err := functionOffer(spec, f, stateful)
			if err != nil {
				s.o.Logger.Warn("tool is not offered over mcp", "tool", spec.Name, "function", f.Name, "err", err)
				continue
			}
			all = append(all, o)
		}
		if stateful {
			all = append(all, s.sessionOffer(spec))
		}
	}
	name(all)
	return all
}

// maxName is what widely used hosts take; the protocol itself allows 128.
const maxName = 64

// name gives the offers names of [a-zA-Z0-9_-]{1,64}. Joining two names with a line is not unique, and may be too long:
// then a digest of both stands at the end, so that a name depends on nothing else that there is.
func name(all []offer) {
	same := map[string]int{}
	for _, o := range all {
		same[o.joined()]++
	}
	for i := range all {
		o := &all[i]
		o.listed.Name = o.joined()
		if same[o.listed.Name] == 1 && len(o.listed.Name) <= maxName {
			continue
		}
		sum := sha256.Sum256([]byte(o.tool + "\x00" + o.function + fmt.Sprint(o.sessions)))
		end := "_" + hex.EncodeToString(sum[:])[:10]
		o.listed.Name = o.listed.Name[:min(len(o.listed.Name), maxName-len(end))] + end
	}
}

func (o *offer) joined() string {
	switch {
	case o.sessions:
		return sessionTool(o.tool)
	case o.function != "":
		return o.tool + "_" + o.function
	}
	return o.tool
}

func sessionTool(tool string) string { return tool + "_session" }

// rawOffer is a tool without functions, whose input is text.
func rawOffer(spec toolhost.Spec, stateful bool) offer {
	o := offer{tool: spec.Name, stateful: stateful, input: "input"}
	o.listed.Description = spec.Description
	about := "The input of the tool, as it is."
	if spec.Name == "python" {
		o.input, about = "code", "Python code, as in a cell of a notebook."
		o.listed.Title = "Python"
		switch {
		case stateful: // ours; another server's in its place keeps its state itself
			o.listed.Description = aboutPython
			o.listed.Annotations = protocol.ToolAnnotation{ReadOnlyHint: is(false), DestructiveHint: is(false), OpenWorldHint: is(false)}
		case spec.Description == "":
			o.listed.Description = aboutOther
		}
	}
	properties := map[string]any{o.input: map[string]string{"type": "string", "description": about}}
	if o.stateful {
		properties["session"] = sessionArgument(spec.Name)
	}
	o.listed.RawInputSchema = schemaOf(map[string]any{"type": "object", "properties": properties, "required": []string{o.input}, "additionalProperties": false})
	return o
}

// sessionOffer is the companion of a tool whose calls share state.
func (s *Server) sessionOffer(spec toolhost.Spec) offer {
	o := offer{tool: spec.Name, sessions: true}
	o.listed.Description = fmt.Sprintf(aboutSession, spec.Name, s.o.Limits.StateIdle.Round(time.Second))
	o.listed.Annotations = protocol.ToolAnnotation{ReadOnlyHint: is(false), DestructiveHint: is(true), OpenWorldHint: is(false)}
	o.listed.RawInputSchema = schemaOf(map[string]any{
		"type": "object",
		"properties": map[string]any{
			"action":  map[string]any{"type": "string", "enum": []string{"create", "close"}},
			"session": map[string]any{"type": "string", "description": "The session to close."},
		},
		"required": []string{"action"}, "additionalProperties": false,
	})
	o.listed.RawOutputSchema = schemaOf(map[string]any{
		"type": "object",
		"properties": map[string]any{
			"session":            map[string]any{"type": "string"},
			"closed":             map[string]any{"type": "boolean"},
			"expires_in_seconds": map[string]any{"type": "integer", "description": "After the last use."},
		},
		"required": []string{"session", "closed"}, "additionalProperties": false,
	})
	return o
}

// functionOffer is one function of a tool. The error says why it cannot be offered.
func functionOffer(spec toolhost.Spec, f toolhost.Function, stateful bool) (offer, error) {
	o := offer{tool: spec.Name, function: f.Name}
	o.listed.Title, o.listed.Description = f.Title, f.Description
	a := f.Annotations
	o.listed.Annotations = protocol.ToolAnnotation{ReadOnlyHint: a.ReadOnly, DestructiveHint: a.Destructive, IdempotentHint: a.Idempotent, OpenWorldHint: a.OpenWorld}
	if spec.Name == "browser" && f.Description == "" {
		o.listed.Description = aboutBrowser(f.Name)
		o.listed.Annotations = protocol.ToolAnnotation{ReadOnlyHint: is(true), OpenWorldHint: is(true)}
	}
	schema := map[string]json.RawMessage{"type": json.RawMessage(`"object"`)}
	if f.Parameters != nil {
		if err := json.Unmarshal(f.Parameters, &schema); err != nil {
			return o, fmt.Errorf("the schema of its input is no object: %w", err)
		}
	}
	if bytes.Contains(f.Parameters, []byte(`"x-mcp-header"`)) {
		return o, fmt.Errorf("the schema of its input has x-mcp-header, which would put arguments into headers")
	}
	if string(schema["type"]) != `"object"` {
		schema["type"] = json.RawMessage(`"object"`) // as toolhost says; the protocol wants it said
	}
	o.stateful = stateful && addSession(schema, spec.Name)
	o.listed.RawInputSchema = schemaOf(schema)
	var output struct {
		Type string `json:"type"`
	}
	// The older revisions know results that are objects only.
	if f.Output != nil && json.Unmarshal(f.Output, &output) == nil && output.Type == "object" {
		o.listed.RawOutputSchema = f.Output
	}
	return o, nil
}

// addSession adds the argument session, unless there is one of that name.
func addSession(schema map[string]json.RawMessage, tool string) bool {
	properties := map[string]json.RawMessage{}
	if schema["properties"] != nil && json.Unmarshal(schema["properties"], &properties) != nil {
		return false
	}
	if _, taken := properties["session"]; taken {
		return false
	}
	properties["session"] = schemaOf(sessionArgument(tool))
	schema["properties"] = schemaOf(properties)
	return true
}

func sessionArgument(tool string) map[string]string {
	return map[string]string{"type": "string", "description": fmt.Sprintf(aboutArgument, sessionTool(tool))}
}

func schemaOf(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // of maps, strings and what was JSON before
	}
	return text
}

func is(v bool) *bool { return &v }
