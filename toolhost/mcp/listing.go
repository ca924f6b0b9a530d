package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	wire "github.com/mark3labs/mcp-go/mcp"
)

// A Listing is what a server offers. It is immutable.
type Listing struct {
	Server       Info
	Instructions string // for the model, by the server
	Era          string // "modern" or "legacy"
	Version      string // of the protocol, such as "2026-07-28"
	Tools        []Tool // in the server's order, without those that were dropped
	Dropped      []Dropped
	Partial      string // why the list is not whole; "" if it is
}

// Info says who a server is, in its own words.
type Info struct{ Name, Version, Title string }

// A Tool is a tool as its server describes it.
type Tool struct {
	Name, Title, Description string
	Function                 string          // the name for a prompt: [a-zA-Z0-9_-]{1,64}, unique within the Listing
	Input, Output            json.RawMessage // JSON Schemas as sent; Output may be nil
	Annotations              *Annotations    // nil: the server sent none
	Hidden                   bool            // not to be shown in the prompt: annotation include_in_prompt is false
	Hash                     [32]byte        // SHA-256 over all of the above but Function in a canonical form

	input, output *schema // output may be nil
}

// Annotations are what a server says about a tool. They are to be believed from trusted servers only; nil is not said.
type Annotations struct {
	Title                                        string
	ReadOnly, Destructive, Idempotent, OpenWorld *bool
}

// A Dropped is a tool that is not offered, and why.
type Dropped struct{ Name, Reason string }

func (l *Listing) tool(name string) *Tool {
	for i := range l.Tools {
		if l.Tools[i].Name == name {
			return &l.Tools[i]
		}
	}
	return nil
}

// ByFunction returns the tool that has a name in prompts.
func (l *Listing) ByFunction(name string) (Tool, bool) {
	for _, t := range l.Tools {
		if t.Function == name {
			return t, true
		}
	}
	return Tool{}, false
}

// ByName returns the tool that has a name at its server.
func (l *Listing) ByName(name string) (Tool, bool) {
	if t := l.tool(name); t != nil {
		return *t, true
	}
	return Tool{}, false
}

// A page is one answer to tools/list.
type page struct {
	tools []json.RawMessage
	next  string
	hold  time.Duration // negative: not said
}

func readPage(raw json.RawMessage) (page, error) {
	p := page{hold: -1}
	fields, err := object(raw, knownBelow)
	if err != nil {
		return p, &InvalidError{"the list: " + err.Error()}
	}
	if json.Unmarshal(fields["tools"], &p.tools) != nil || p.tools == nil {
		return p, &InvalidError{`the list: "tools" must be an array`}
	}
	if next, ok := fields["nextCursor"]; ok && string(next) != "null" && json.Unmarshal(next, &p.next) != nil {
		return p, &InvalidError{`the list: "nextCursor" must be a string`}
	}
	var ms float64
	if ttl, ok := fields["ttlMs"]; ok && json.Unmarshal(ttl, &ms) == nil && ms >= 0 {
		p.hold = time.Duration(min(ms, float64(24*time.Hour/time.Millisecond)) * float64(time.Millisecond))
	}
	return p, nil
}

// list asks for all pages. It returns how long the list holds.
func (c *Client) list(ctx context.Context, cn *conn) (*Listing, time.Duration, error) {
	ctx, clock, stop := within(ctx, c.conf.Limits.List, "to list")
	defer stop()
	cn.stale(true)
	l := &Listing{Server: cn.info, Instructions: cn.told, Era: cn.era, Version: cn.version}
	if cn.caps.Tools == nil && cn.modern() {
		return l, c.conf.Limits.Cache, nil
	}
	b := &builder{listing: l, conn: cn, limits: c.conf.Limits, names: map[string]bool{}, functions: map[string]bool{}}
	seen := map[string]bool{"": true}
	hold := c.conf.Limits.Cache
	for cursor, n := "", 0; ; n++ {
		var p page
		x := &exchange{clock: clock}
		x.reduce = func(raw json.RawMessage) (json.RawMessage, error) {
			var err error
			if p, err = readPage(raw); err != nil {
				return nil, err
			}
			return b.add(p)
		}
		r := wire.ListToolsRequest{}
		r.Params.Cursor = wire.Cursor(cursor)
		if _, err := cn.theirs.ListToolsByPage(withExchange(ctx, x), r); err != nil {
			var refused *ProtocolError
			err = ended(ctx, clean(err))
			if cn.caps.Tools == nil && errors.As(err, &refused) && refused.Code == wire.METHOD_NOT_FOUND {
				break // it never said that it has tools
			}
			if n == 0 {
				return nil, 0, err
			}
			l.Partial = err.Error()
			hold = 0
			break
		}
		if p.hold >= 0 {
			hold = min(hold, p.hold)
			if n == 0 {
				hold = p.hold
			}
		}
		if p.next == "" || b.full {
			break
		}
		if seen[p.next] {
			l.Partial = "the server repeats a cursor of its pages"
			break
		}
		if n+1 >= c.conf.Limits.Pages {
			l.Partial = fmt.Sprintf("there are more than %d pages", c.conf.Limits.Pages)
			break
		}
		seen[p.next] = true
		cursor = p.next
	}
	return l, hold, nil
}

// A builder makes a Listing of pages.
type builder struct {
	listing          *Listing
	conn             *conn
	limits           Limits
	names, functions map[string]bool
	full             bool
}

// add takes a page, and returns what mcp-go sees of it: tools that are good. It remembers which of their parameters go
// into headers.
func (b *builder) add(p page) (json.RawMessage, error) {
	good := []json.RawMessage{}
	for _, raw := range p.tools {
		if len(b.listing.Tools) >= b.limits.Tools {
			b.listing.Partial = fmt.Sprintf("there are more than %d tools", b.limits.Tools)
			b.full = true
			break
		}
		name, t, err := b.read(raw)
		if err != nil {
			b.listing.Dropped = append(b.listing.Dropped, Dropped{name, err.Error()})
			if b.full = len(b.listing.Dropped) > b.limits.Tools; b.full {
				b.listing.Partial = fmt.Sprintf("more than %d tools cannot be used", b.limits.Tools)
				break
			}
			continue
		}
		b.names[t.Name] = true
		b.listing.Tools = append(b.listing.Tools, *t)
		good = append(good, raw)
	}
	return json.Marshal(map[string]any{"tools": good})
}

var knownTool = []string{
	"name", "title", "description", "inputSchema", "outputSchema", "annotations", "_meta", "icons", "execution",
}

// maxName is the longest name of a tool (specification of 2025-11-25).
const maxName = 128

// read makes a Tool of what a server sent. The name is what can be said of it when there is an error.
func (b *builder) read(raw json.RawMessage) (string, *Tool, error) {
	fields, err := object(raw, knownTool)
	if err != nil {
		return "", nil, fmt.Errorf("the tool %w", err)
	}
	t := &Tool{}
	for _, f := range []struct {
		name string
		to   *string
	}{{"name", &t.Name}, {"title", &t.Title}, {"description", &t.Description}} {
		if v, ok := fields[f.name]; ok && string(v) != "null" && json.Unmarshal(v, f.to) != nil {
			return t.Name, nil, fmt.Errorf("%s: must be a string", f.name)
		}
	}
	switch {
	case t.Name == "" || len(t.Name) > maxName:
		return t.Name[:min(len(t.Name), maxName)], nil, fmt.Errorf("name: must be 1 to %d bytes", maxName)
	case printable(t.Name) != t.Name || strings.ContainsAny(t.Name, "\n\t"):
		return printable(t.Name), nil, fmt.Errorf("name: has control characters")
	case b.names[t.Name]:
		return t.Name, nil, fmt.Errorf("name: another tool has it already")
	}
	t.Input, t.Output = fields["inputSchema"], fields["outputSchema"]
	if string(t.Output) == "null" {
		t.Output = nil
	}
	if t.input, err = compile(t.Input, true, b.limits.Schema); err != nil {
		return t.Name, nil, fmt.Errorf("inputSchema: %w", err)
	}
	if t.Output != nil {
		if t.output, err = compile(t.Output, false, b.limits.Schema); err != nil {
			return t.Name, nil, fmt.Errorf("outputSchema: %w", err)
		}
	}
	if err := t.annotate(fields["annotations"]); err != nil {
		return t.Name, nil, err
	}
	var theirs wire.Tool
	if err := json.Unmarshal(raw, &theirs); err != nil {
		return t.Name, nil, fmt.Errorf("the definition: %w", err)
	}
	if b.conn.http && b.conn.modern() {
		if err := wire.ValidateParamHeaderAnnotations(&theirs); err != nil {
			return t.Name, nil, fmt.Errorf("inputSchema: %w", err)
		}
	}
	if t.Hash, err = t.hash(fields["annotations"]); err != nil {
		return t.Name, nil, err
	}
	t.Function = b.function(t.Name)
	return t.Name, t, nil
}

func (t *Tool) annotate(raw json.RawMessage) error {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	known := []string{"title", "readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint", "include_in_prompt"}
	fields, err := object(raw, known)
	if err != nil {
		return fmt.Errorf("annotations: %w", err)
	}
	a := &Annotations{}
	if v, ok := fields["title"]; ok && json.Unmarshal(v, &a.Title) != nil {
		return fmt.Errorf("annotations.title: must be a string")
	}
	var shown *bool
	for i, to := range []**bool{&a.ReadOnly, &a.Destructive, &a.Idempotent, &a.OpenWorld, &shown} {
		if v, ok := fields[known[i+1]]; ok && json.Unmarshal(v, to) != nil {
			return fmt.Errorf("annotations.%s: must be true or false", known[i+1])
		}
	}
	t.Annotations = a
	t.Hidden = shown != nil && !*shown
	return nil
}

// hash is over everything that a person or a model sees of a tool, with the members of objects in order.
func (t *Tool) hash(annotations json.RawMessage) ([32]byte, error) {
	parts := []json.RawMessage{t.Input, t.Output, annotations}
	canonical := []any{t.Name, t.Title, t.Description}
	for _, p := range parts {
		var v any
		if p != nil {
			var err error
			if v, err = decode(p); err != nil {
				return [32]byte{}, err
			}
		}
		canonical = append(canonical, v)
	}
	text, err := json.Marshal(canonical)
	return sha256.Sum256(text), err
}

// maxFunction is the longest name of a function in a prompt.
const maxFunction = 64

// function makes a name for prompts of a tool's name.
func (b *builder) function(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
	f := safe[:min(len(safe), maxFunction)]
	for n := 2; b.functions[f]; n++ {
		suffix := fmt.Sprintf("_%d", n)
		f = safe[:min(len(safe), maxFunction-len(suffix))] + suffix
	}
	b.functions[f] = true
	return f
}
