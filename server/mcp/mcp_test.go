package mcp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"chorale/server/mcp"
	"chorale/toolhost"
)

// A tool is whatever its functions say. Its calls share state when it is not independent: notes that calls add and list.
type tool struct {
	spec toolhost.Spec
	call func(ctx context.Context, in *instance, c toolhost.Call) (toolhost.Result, error)
}

func (t *tool) Spec() toolhost.Spec                             { return t.spec }
func (t *tool) Open(context.Context) (toolhost.Instance, error) { return &instance{tool: t}, nil }
func (in *instance) Close() error                               { return nil }
func (in *instance) Save(context.Context) (toolhost.State, error) {
	return toolhost.State{Memory: []byte(in.notes)}, nil
}
func (in *instance) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	return in.tool.call(ctx, in, c)
}

func (t *tool) Resume(_ context.Context, s toolhost.State) (toolhost.Instance, error) {
	return &instance{tool: t, notes: string(s.Memory)}, nil
}

type instance struct {
	tool  *tool
	notes string
}

// python is a notebook that adds the code to what it was told before and prints all of it.
func python() *tool {
	return &tool{toolhost.Spec{Name: "python"}, func(_ context.Context, in *instance, c toolhost.Call) (toolhost.Result, error) {
		if c.Input == "break" {
			return toolhost.Result{}, errors.New("open /home/operator/secret: token=hunter2")
		}
		in.notes += c.Input
		return toolhost.Result{Text: in.notes}, nil
	}}
}

// plugin is an independent tool with the functions.
func plugin(name string, call func(ctx context.Context, c toolhost.Call) (toolhost.Result, error), functions ...toolhost.Function) *tool {
	return &tool{toolhost.Spec{Name: name, Independent: true, Functions: functions},
		func(ctx context.Context, _ *instance, c toolhost.Call) (toolhost.Result, error) { return call(ctx, c) }}
}

func says(text string) func(context.Context, toolhost.Call) (toolhost.Result, error) {
	return func(context.Context, toolhost.Call) (toolhost.Result, error) { return toolhost.Result{Text: text}, nil }
}

// A box is the tools of a server, which may change.
type box struct {
	mu      sync.Mutex
	set     *toolhost.Set
	changed chan struct{}
}

func newBox(t *testing.T, tools ...toolhost.Tool) *box {
	t.Helper()
	b := &box{changed: make(chan struct{})}
	b.put(t, tools...)
	return b
}

func (b *box) put(t *testing.T, tools ...toolhost.Tool) {
	t.Helper()
	set, err := toolhost.NewSet(tools...)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set = set
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *box) tools() *toolhost.Set {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set
}

func (b *box) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// A host is a program that uses a server.
type host struct {
	t       *testing.T
	s       *mcp.Server
	url     string
	key     string
	modern  bool
	session string // of the older revisions
	id      int
}

// serve opens a server with the tools; change may change its options.
func serve(t *testing.T, b *box, change func(*mcp.Options)) *host {
	t.Helper()
	o := mcp.Options{Tools: b.tools, Changed: b.next, Version: "test"}
	if change != nil {
		change(&o)
	}
	s, err := mcp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		s.Drain()
		hs.CloseClientConnections()
		hs.Close()
		s.Close()
	})
	return &host{t: t, s: s, url: hs.URL, key: "sesame", modern: true}
}

// legacy is a client of an older revision of the same server, that has introduced itself.
func (h *host) legacy(key string) *host {
	h.t.Helper()
	l := &host{t: h.t, s: h.s, url: h.url, key: key}
	res := l.post(h.t.Context(), "initialize", map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{},
		"clientInfo": map[string]any{"name": "test", "version": "1"}})
	defer res.Body.Close()
	if l.session = res.Header.Get("Mcp-Session-Id"); res.StatusCode != 200 || l.session == "" {
		h.t.Fatalf("initialize: status %d, session %q", res.StatusCode, l.session)
	}
	return l
}

// as is the same client with another key.
func (h *host) as(key string) *host {
	other := *h
	other.key = key
	return &other
}

// request makes a request for a method of the protocol.
func (h *host) request(ctx context.Context, method string, params map[string]any) *http.Request {
	h.t.Helper()
	h.id++
	all := map[string]any{}
	for k, v := range params {
		all[k] = v
	}
	meta := map[string]any{"progressToken": "p"}
	if h.modern {
		meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28"
		meta["io.modelcontextprotocol/clientCapabilities"] = map[string]any{}
	}
	all["_meta"] = meta
	message := map[string]any{"jsonrpc": "2.0", "method": method, "params": all}
	if !strings.HasPrefix(method, "notifications/") {
		message["id"] = h.id
	}
	body, err := json.Marshal(message)
	if err != nil {
		h.t.Fatal(err)
	}
	r := h.raw(ctx, "POST", string(body))
	if h.modern {
		r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
		r.Header.Set("Mcp-Method", method)
		if name, ok := params["name"].(string); ok {
			r.Header.Set("Mcp-Name", name)
		}
	}
	return r
}

// raw makes a request with the headers that all have.
func (h *host) raw(ctx context.Context, method, body string) *http.Request {
	h.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, h.url+"/mcp", strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Authorization", "Bearer "+h.key)
	if h.session != "" {
		r.Header.Set("Mcp-Session-Id", h.session)
	}
	return r
}

func (h *host) do(r *http.Request) *http.Response {
	h.t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	return res
}

func (h *host) post(ctx context.Context, method string, params map[string]any) *http.Response {
	h.t.Helper()
	return h.do(h.request(ctx, method, params))
}

// A message is one that the server sent.
type message struct {
	ID     json.RawMessage
	Method string
	Params map[string]any
	Result json.RawMessage
	Error  *struct {
		Code    int
		Message string
	}
}

// messages are those of an answer, which is JSON or a stream of events.
func messages(t *testing.T, res *http.Response) (all []message) {
	t.Helper()
	defer res.Body.Close()
	for m := range stream(t, res) {
		all = append(all, m)
	}
	return all
}

// stream yields the messages of an answer as they come.
func stream(t *testing.T, res *http.Response) func(func(message) bool) {
	t.Helper()
	return func(yield func(message) bool) {
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			line := bytes.TrimPrefix(lines.Bytes(), []byte("data: "))
			if len(line) == 0 || line[0] != '{' {
				continue
			}
			var m message
			if err := json.Unmarshal(line, &m); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if !yield(m) {
				return
			}
		}
	}
}

// A result is that of a call.
type result struct {
	Content []struct {
		Type, Text, Data, MIMEType string
		Resource                   struct{ URI, MIMEType, Text, Blob string }
	}
	StructuredContent json.RawMessage
	IsError           bool
}

func (r *result) text() string {
	var b strings.Builder
	for _, c := range r.Content {
		b.WriteString(c.Text)
	}
	return b.String()
}

// call calls a tool.
func (h *host) call(name string, arguments any) *result {
	h.t.Helper()
	all := messages(h.t, h.post(h.t.Context(), "tools/call", map[string]any{"name": name, "arguments": arguments}))
	if len(all) == 0 || all[len(all)-1].Result == nil {
		h.t.Fatalf("call %s: %+v", name, all)
	}
	r := &result{}
	if err := json.Unmarshal(all[len(all)-1].Result, r); err != nil {
		h.t.Fatal(err)
	}
	return r
}

// A listed is a tool in a listing.
type listed struct {
	Name, Title, Description  string
	InputSchema, OutputSchema json.RawMessage
	Annotations               map[string]any
}

func (h *host) list() (tools []listed) {
	h.t.Helper()
	all := messages(h.t, h.post(h.t.Context(), "tools/list", nil))
	var r struct{ Tools []listed }
	if len(all) != 1 || json.Unmarshal(all[0].Result, &r) != nil {
		h.t.Fatalf("tools/list: %+v", all)
	}
	return r.Tools
}

func (h *host) names() (names []string) {
	h.t.Helper()
	for _, l := range h.list() {
		names = append(names, l.Name)
	}
	return names
}

// open makes a session of a tool.
func (h *host) open(tool string) (id string) {
	h.t.Helper()
	r := h.call(tool+"_session", map[string]any{"action": "create"})
	var s struct{ Session string }
	if r.IsError || json.Unmarshal(r.StructuredContent, &s) != nil || s.Session == "" {
		h.t.Fatalf("no session: %s", r.text())
	}
	return s.Session
}

// eras runs a test for a client of each.
func eras(t *testing.T, h *host, run func(t *testing.T, h *host)) {
	t.Helper()
	for era, c := range map[string]*host{"modern": h, "legacy": h.legacy(h.key)} {
		c.t = t
		t.Run(era, func(t *testing.T) {
			c := *c
			c.t = t
			run(t, &c)
		})
	}
}

func TestNamesOfTools(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 64)
	f := func(names ...string) (all []toolhost.Function) {
		for _, n := range names {
			all = append(all, toolhost.Function{Name: n})
		}
		return all
	}
	all := []toolhost.Tool{python(), plugin("a_b", says("first"), f("c")...), plugin("a", says("second"), f("b_c", "plain")...),
		plugin(long, says("third"), f(long, "x")...)}
	h := serve(t, newBox(t, all...), nil)
	names := h.names()
	if !slices.IsSorted(names) || len(names) != 7 {
		t.Fatalf("names %v, want 7 in order", names)
	}
	for _, want := range []string{"python", "python_session", "a_plain"} {
		if !slices.Contains(names, want) {
			t.Errorf("names %v, want %s among them", names, want)
		}
	}
	said := map[string]int{}
	for _, name := range names {
		if len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			t.Errorf("the name %s is not of [a-z0-9_-]{1,64}", name)
		}
		if !strings.HasPrefix(name, "python") {
			said[h.call(name, map[string]any{}).text()]++
		}
	}
	if said["first"] != 1 || said["second"] != 2 || said["third"] != 2 {
		t.Errorf("calls reached %v", said)
	}
	slices.Reverse(all)
	if again := serve(t, newBox(t, all[:3]...), nil).names(); !slices.Contains(names, again[0]) {
		t.Errorf("other tools change names: %v, before %v", again, names)
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	yes := true
	browser := &tool{toolhost.Spec{Name: "browser", Functions: []toolhost.Function{{Name: "open", Parameters: json.RawMessage(
		`{"type":"object","properties":{"url":{"type":"string"}},"required":["url"]}`)}}}, nil}
	remote := struct{ toolhost.Tool }{&tool{toolhost.Spec{Name: "remote", Description: "elsewhere"}, nil}} // no Resumer
	h := serve(t, newBox(t, python(), browser, remote, plugin("p", says(""), toolhost.Function{Name: "f", Title: "Eff", Description: "does it",
		Parameters: json.RawMessage(`{"properties":{"n":{"type":"integer"}}}`), Output: json.RawMessage(`{"type":"object"}`),
		Annotations: toolhost.Annotations{ReadOnly: &yes}}, toolhost.Function{Name: "list", Output: json.RawMessage(`{"type":"array"}`)})), nil)
	eras(t, h, func(t *testing.T, h *host) {
		tools := map[string]listed{}
		for _, l := range h.list() {
			tools[l.Name] = l
			var schema struct {
				Type       string
				Properties map[string]any
			}
			if json.Unmarshal(l.InputSchema, &schema) != nil || schema.Type != "object" {
				t.Errorf("%s: input schema %s", l.Name, l.InputSchema)
			}
			if _, has := schema.Properties["session"]; has != (l.Name == "python" || strings.HasSuffix(l.Name, "_session") || l.Name == "browser_open") {
				t.Errorf("%s: takes a session: %v", l.Name, has)
			}
		}
		f := tools["p_f"]
		if f.Title != "Eff" || f.Description != "does it" || string(f.OutputSchema) != `{"type":"object"}` || f.Annotations["readOnlyHint"] != true {
			t.Errorf("p_f is %+v", f)
		}
		if tools["p_list"].OutputSchema != nil {
			t.Error("p_list promises an array, which older clients refuse")
		}
		if _, there := tools["remote_session"]; there || tools["remote"].Description != "elsewhere" {
			t.Errorf("a tool that keeps its state itself takes sessions: %+v", tools["remote"])
		}
		if tools["browser_open"].Description == "" || tools["browser_open"].Annotations["openWorldHint"] != true {
			t.Errorf("browser_open is %+v", tools["browser_open"])
		}
	})
}

func TestResults(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("x"), 2000)
	answers := map[string]toolhost.Result{
		"text":    {Text: "hello"},
		"failed":  {Text: "no such city", Failed: true, Structured: json.RawMessage(`{"a":1}`)},
		"object":  {Text: "one", Structured: json.RawMessage(` {"a":1}`)},
		"array":   {Text: "many", Structured: json.RawMessage(`[1,2]`)},
		"promise": {Text: "no object came"},
		"files": {Text: "drawn", Files: []toolhost.File{{Path: "/out/a.png", MIME: "image/png", Data: []byte("P")}, {Path: "b.wav", MIME: "audio/wav", Data: []byte("W")},
			{Path: "/out/c d.csv", MIME: "text/csv", Data: []byte("1,2")}, {Path: "/out/../../e.bin", Data: []byte{0xff}}, {Path: "/out/big.txt", MIME: "text/plain", Data: long}}},
	}
	var functions []toolhost.Function
	for name := range answers {
		f := toolhost.Function{Name: name}
		if name == "promise" || name == "object" || name == "failed" {
			f.Output = json.RawMessage(`{"type":"object"}`)
		}
		functions = append(functions, f)
	}
	h := serve(t, newBox(t, plugin("p", func(_ context.Context, c toolhost.Call) (toolhost.Result, error) {
		if c.Function == "text" && c.Input != `{"n":9007199254740993}` {
			return toolhost.Result{Text: c.Input}, nil
		}
		return answers[c.Function], nil
	}, functions...)), func(o *mcp.Options) { o.Limits.FileBytes = 1000 })
	eras(t, h, func(t *testing.T, h *host) {
		if got := h.call("p_text", json.RawMessage(`{"n":9007199254740993}`)); got.IsError || got.text() != "hello" {
			t.Errorf("a large number does not arrive as it was written: %q", got.text())
		}
		if got := h.call("p_failed", map[string]any{}); !got.IsError || got.text() != "no such city" || got.StructuredContent != nil {
			t.Errorf("failure: %+v", got)
		}
		if got := h.call("p_object", nil); got.IsError || string(got.StructuredContent) != `{"a":1}` {
			t.Errorf("object: %+v", got)
		}
		if got := h.call("p_array", nil); got.IsError || (got.StructuredContent != nil) != h.modern {
			t.Errorf("array: structured %s, modern %v", got.StructuredContent, h.modern)
		}
		if got := h.call("p_promise", nil); !got.IsError || !strings.Contains(got.text(), "no object came") {
			t.Errorf("broken promise: %+v", got)
		}
		got := h.call("p_files", nil)
		kinds, uris := "", ""
		for _, c := range got.Content {
			kinds += c.Type + " "
			uris += c.Resource.URI + " "
		}
		if kinds != "text image audio resource resource " || strings.TrimSpace(uris) != "chorale://p/out/c%20d.csv chorale://p/e.bin" {
			t.Errorf("files: %s, %s", kinds, uris)
		}
		if !strings.Contains(got.text(), "big.txt") || got.Content[3].Resource.Text != "1,2" || got.Content[4].Resource.Blob != "/w==" {
			t.Errorf("files: %+v", got)
		}
	})
}

// TestHostFailure keeps what broke for the log of the operator.
func TestHostFailure(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, python()), nil)
	eras(t, h, func(t *testing.T, h *host) {
		got := h.call("python", map[string]any{"code": "break"})
		if !got.IsError || strings.Contains(got.text(), "hunter2") || strings.Contains(got.text(), "/home") || got.text() == "" {
			t.Errorf("the client reads %q", got.text())
		}
	})
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, python()), nil)
	id := h.open("python")
	for name, c := range map[string]struct {
		tool, arguments, want string
	}{
		"no code":                   {"python", `{}`, `"code" is missing`},
		"no arguments at all":       {"python", `null`, `"code" is missing`},
		"code is a number":          {"python", `{"code":1}`, `"code" must be a string`},
		"code is null":              {"python", `{"code":null}`, `"code" must be a string`},
		"an unknown argument":       {"python", `{"code":"1","cod":"2"}`, `no argument "cod"`},
		"a session that is none":    {"python", `{"code":"1","session":"python_x"}`, "no such session"},
		"an empty session":          {"python", `{"code":"1","session":""}`, "is empty"},
		"a session that is a list":  {"python", `{"code":"1","session":[]}`, `"session" must be a string`},
		"no action":                 {"python_session", `{}`, `"action" is missing`},
		"an unknown action":         {"python_session", `{"action":"fork"}`, "create or close"},
		"create with a session":     {"python_session", `{"action":"create","session":"` + id + `"}`, `takes no "session"`},
		"close without a session":   {"python_session", `{"action":"close"}`, `needs "session"`},
		"close one that is none":    {"python_session", `{"action":"close","session":"x"}`, "no such session"},
		"an unknown word to action": {"python_session", `{"action":"create","x":1}`, `no argument "x"`},
	} {
		eras(t, h, func(t *testing.T, h *host) {
			if got := h.call(c.tool, json.RawMessage(c.arguments)); !got.IsError || !strings.Contains(got.text(), c.want) {
				t.Errorf("%s: %q, failed %v; want a failure with %q", name, got.text(), got.IsError, c.want)
			}
		})
	}
}

func ExampleServer() {
	set, _ := toolhost.NewSet(plugin("greeter", says("hello"), toolhost.Function{Name: "greet"}))
	s, err := mcp.New(mcp.Options{Tools: func() *toolhost.Set { return set }})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	r := httptest.NewRequest("POST", "http://localhost/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	_, err = io.Copy(io.Discard, w.Result().Body)
	fmt.Println(w.Code, err)
	// Output: 200 <nil>
}
