package mcp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"chorale/server/mcp"
	"chorale/toolhost"
)

// TestWrongRequests never end in a 5xx, whatever they are, and say what is wrong as JSON.
func TestWrongRequests(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, python()), func(o *mcp.Options) { o.Limits.BodyBytes = 4096 })
	session := h.legacy("sesame").session
	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	modern := map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
	legacy := map[string]string{"Mcp-Session-Id": session}
	for name, c := range map[string]struct {
		method, body string
		header       map[string]string
		status       int
		want         string // in the answer
	}{
		"no session":                    {"POST", list, nil, 400, "Mcp-Session-Id"},
		"an unknown session":            {"POST", list, map[string]string{"Mcp-Session-Id": "mcp_x"}, 404, "no such session"},
		"a session of another key":      {"POST", list, map[string]string{"Mcp-Session-Id": session, "Authorization": "Bearer other"}, 404, "no such session"},
		"a session with control bytes":  {"POST", list, map[string]string{"Mcp-Session-Id": session + "\t"}, 200, "python"}, // spaces around a header do not count
		"an empty body":                 {"POST", "", legacy, 400, "empty"},
		"no JSON":                       {"POST", "{", legacy, 400, "no JSON"},
		"no UTF-8":                      {"POST", "{\"jsonrpc\":\"\xff\"}", legacy, 400, "UTF-8"},
		"text behind the JSON":          {"POST", list + "x", legacy, 400, "something after"},
		"two messages":                  {"POST", list + list, legacy, 400, "something after"},
		"a batch":                       {"POST", "[" + list + "]", legacy, 400, "batches"},
		"a number":                      {"POST", "1", legacy, 400, "object"},
		"nested too deep":               {"POST", `{"params":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", legacy, 400, "nesting"},
		"a key twice":                   {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}`, legacy, 400, "twice"},
		"an argument twice":             {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"python","arguments":{"code":"1","code":"2"}}}`, legacy, 400, "twice"},
		"a key in another case":         {"POST", `{"jsonrpc":"2.0","id":1,"Method":"tools/list"}`, legacy, 400, `"Method"`},
		"a parameter in another case":   {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"python","Name":"x"}}`, legacy, 400, `"Name"`},
		"a key with a Kelvin sign":      {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"progressTo\u212aen":1}}`, legacy, 400, "progressToken"},
		"an escaped key in a case":      {"POST", `{"jsonrpc":"2.0","id":1,"\u004dethod":"tools/list"}`, legacy, 400, `"Method"`},
		"arguments in any case":         {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"python","arguments":{"Name":1,"name":2}}}`, legacy, 200, "isError"},
		"an id that is an object":       {"POST", `{"jsonrpc":"2.0","id":{},"method":"tools/list"}`, legacy, 400, `"id"`},
		"an id that is null":            {"POST", `{"jsonrpc":"2.0","id":null,"method":"tools/list"}`, legacy, 400, `"id"`},
		"an id with a fraction":         {"POST", `{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}`, legacy, 400, `"id"`},
		"an id that would change":       {"POST", `{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/list"}`, legacy, 400, `"id"`},
		"the largest id":                {"POST", `{"jsonrpc":"2.0","id":9007199254740991,"method":"ping"}`, legacy, 200, "9007199254740991"},
		"a method that is a number":     {"POST", `{"jsonrpc":"2.0","id":1,"method":1}`, legacy, 400, `"method"`},
		"an empty method":               {"POST", `{"jsonrpc":"2.0","id":1,"method":""}`, legacy, 400, `"method"`},
		"neither of the three":          {"POST", `{"jsonrpc":"2.0"}`, legacy, 400, "neither"},
		"parameters as a list":          {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}`, legacy, 400, `"params"`},
		"_meta as a list":               {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":[]}}`, legacy, 400, `"_meta"`},
		"no parameters said":            {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}`, legacy, 200, "python"},
		"a cursor that is a number":     {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":7}}`, legacy, 200, "params.cursor is of the wrong type: number\"}}"},
		"another JSON-RPC":              {"POST", `{"jsonrpc":"1.0","id":1,"method":"tools/list"}`, legacy, 200, "-32600"},
		"an unknown method":             {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/explode"}`, legacy, 200, "-32601"},
		"a tool that is not there":      {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"}}`, legacy, 200, "-32602"},
		"a response to nothing":         {"POST", `{"jsonrpc":"2.0","id":77,"result":{"roots":[]}}`, legacy, 400, ""},
		"an unknown revision":           {"POST", list, map[string]string{"Mcp-Session-Id": session, "Mcp-Protocol-Version": "1999-01-01"}, 400, "1999-01-01"},
		"a future revision":             {"POST", list, map[string]string{"Mcp-Protocol-Version": "2999-01-01"}, 400, ""},
		"a revision of noise":           {"POST", list, map[string]string{"Mcp-Session-Id": session, "Mcp-Protocol-Version": "\"><"}, 400, ""},
		"newest without _meta":          {"POST", list, modern, 400, "-32602"},
		"newest, another in the header": {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + meta + `}}`, map[string]string{"Mcp-Method": "tools/list"}, 400, "-32020"},
		"newest, another method there":  {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"python",` + meta + `}}`, modern, 400, "-32020"},
		"newest, unknown method":        {"POST", `{"jsonrpc":"2.0","id":1,"method":"x","params":{` + meta + `}}`, map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "x"}, 404, "-32601"},
		"newest, with Last-Event-ID":    {"POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + meta + `}}`, map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list", "Last-Event-ID": "1"}, 400, ""},
		"newest, a GET":                 {"GET", "", map[string]string{"Mcp-Protocol-Version": "2026-07-28"}, 405, "subscriptions/listen"},
		"newest, a DELETE":              {"DELETE", "", map[string]string{"Mcp-Protocol-Version": "2026-07-28"}, 405, "DELETE"},
		"a GET without a session":       {"GET", "", nil, 400, "Mcp-Session-Id"},
		"a GET of an unknown session":   {"GET", "", map[string]string{"Mcp-Session-Id": "x"}, 404, "no such session"},
		"a GET of JSON":                 {"GET", "", map[string]string{"Mcp-Session-Id": session, "Accept": "application/json"}, 406, "event-stream"},
		"a DELETE without a session":    {"DELETE", "", nil, 400, "Mcp-Session-Id"},
		"a DELETE of another key's":     {"DELETE", "", map[string]string{"Mcp-Session-Id": session, "Authorization": "Bearer other"}, 404, "no such session"},
		"PUT":                           {"PUT", list, legacy, 405, "POST"},
		"PATCH":                         {"PATCH", list, legacy, 405, "POST"},
		"OPTIONS":                       {"OPTIONS", "", nil, 405, "POST"},
		"an invented verb":              {"BREW", "", nil, 405, "BREW"},
		"a form":                        {"POST", list, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"},
		"text, as pages may send":       {"POST", list, map[string]string{"Content-Type": "text/plain"}, 415, "application/json"},
		"no type":                       {"POST", list, map[string]string{"Content-Type": ""}, 415, "application/json"},
		"a type of noise":               {"POST", list, map[string]string{"Content-Type": ";;;"}, 415, "application/json"},
		"a charset":                     {"POST", list, map[string]string{"Content-Type": "application/json; charset=utf-16"}, 415, "application/json"},
		"compressed":                    {"POST", list, map[string]string{"Content-Encoding": "gzip"}, 415, "gzip"},
		"wants a picture":               {"POST", list, map[string]string{"Accept": "image/png"}, 406, "application/json"},
		"wants anything":                {"POST", list, map[string]string{"Mcp-Session-Id": session, "Accept": "*/*;q=0.1"}, 200, "python"},
		"just below the limit":          {"POST", list + strings.Repeat(" ", 4096-len(list)), legacy, 200, "python"},
		"just above the limit":          {"POST", list + strings.Repeat(" ", 4097-len(list)), legacy, 413, "4096"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := h.raw(t.Context(), c.method, c.body)
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			res := h.do(r)
			defer res.Body.Close()
			answer, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != c.status || !strings.Contains(strings.ReplaceAll(string(answer), `\"`, `"`), c.want) || strings.Contains(string(answer), "Go ") {
				t.Errorf("status %d, want %d with %q: %s, %v", res.StatusCode, c.status, c.want, answer, err)
			}
		})
	}
}

// TestCallers are refused by Host and Origin, before anything is read.
func TestCallers(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, python()), func(o *mcp.Options) {
		o.Hosts, o.Origins = []string{"tools.example"}, []string{"https://app.example", "browser-extension://abc"}
	})
	port := h.url[strings.LastIndex(h.url, ":"):]
	for name, c := range map[string]struct {
		host, origin string
		allowed      bool
	}{
		"a program":                         {"", "", true},
		"by its name":                       {"localhost" + port, "", true},
		"by the name of a proxy":            {"tools.example", "", true},
		"by a name in another case":         {"Tools.Example:443", "", true},
		"by an unknown name":                {"evil.example", "", false},
		"a name that is made to lead here":  {"evil.example" + port, "http://evil.example" + port, false},
		"by an address of another network":  {"192.168.1.7", "", false},
		"a page of the same origin":         {"localhost" + port, "http://localhost" + port, true},
		"a page of another port":            {"localhost" + port, "http://localhost:1", false},
		"a page of a listed origin":         {"", "https://app.example", true},
		"a listed origin over http":         {"", "http://app.example", false},
		"a listed origin, longer":           {"", "https://app.example.evil.example", false},
		"a foreign page":                    {"", "https://evil.example", false},
		"a page in a sandbox":               {"", "null", false},
		"an extension of a browser, listed": {"", "browser-extension://abc", true},
		"another extension":                 {"", "browser-extension://abd", false},
		"a page of another scheme":          {"localhost" + port, "app://localhost" + port, false},
		"an origin of noise":                {"", "%%%", false},
		"an origin with a user":             {"localhost" + port, "http://a@localhost" + port, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := h.request(t.Context(), "tools/list", nil)
			if r.Host = c.host; c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			res := h.do(r)
			res.Body.Close()
			if want := map[bool]int{true: 200, false: 403}[c.allowed]; res.StatusCode != want {
				t.Errorf("status %d, want %d", res.StatusCode, want)
			}
		})
	}
}

// TestCallersFromAfar come by an address of the network, where names need not be listed for programs, but for pages.
func TestCallersFromAfar(t *testing.T) {
	t.Parallel()
	b := newBox(t, python())
	s, err := mcp.New(mcp.Options{Tools: b.tools})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, c := range []struct {
		host, origin string
		status       int
	}{
		{"tools.example", "", 200}, {"10.0.0.1:8000", "http://10.0.0.1:8000", 200}, {"evil.example", "http://evil.example", 403},
	} {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8000})
		r := httptest.NewRequestWithContext(ctx, "POST", "http://"+c.host+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`))
		r.Header.Set("Content-Type", "application/json")
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != c.status {
			t.Errorf("host %s, origin %q: status %d, want %d", c.host, c.origin, w.Code, c.status)
		}
	}
}

// TestBodies that are too large or too slow cost no memory.
func TestBodies(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, python()), func(o *mcp.Options) { o.Limits.BodyTimeout = 20 * time.Millisecond })
	l := h.legacy("sesame")
	r := l.raw(t.Context(), "POST", "")
	r.Body, r.ContentLength = io.NopCloser(endless{}), -1
	if res, err := http.DefaultClient.Do(r); err == nil { // or the connection is closed while the client still sends
		if res.Body.Close(); res.StatusCode != 413 && res.StatusCode != 408 {
			t.Errorf("an endless body: status %d, want 413", res.StatusCode)
		}
	}
	r = l.raw(t.Context(), "POST", "")
	r.Body, r.ContentLength = io.NopCloser(endless{}), 300<<20
	if res, err := http.DefaultClient.Do(r); err == nil {
		if res.Body.Close(); res.StatusCode != 413 {
			t.Errorf("a body of 300 MiB: status %d, want 413", res.StatusCode)
		}
	}
	reader, writer := io.Pipe()
	defer writer.Close()
	go func() { _, _ = writer.Write([]byte("{")) }()
	r = l.raw(t.Context(), "POST", "")
	r.Body, r.ContentLength = reader, 100
	res := h.do(r)
	if res.Body.Close(); res.StatusCode != 408 {
		t.Errorf("a body that stays away: status %d, want 408", res.StatusCode)
	}
}

// An endless body is made of spaces.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte(" "), len(p))), nil }

// TestPlaces are limited for requests and for streams, and given back.
func TestPlaces(t *testing.T) {
	t.Parallel()
	tool, began, _ := hanging()
	h := serve(t, newBox(t, tool), func(o *mcp.Options) { o.Limits.Requests, o.Limits.Streams = 1, 1 })
	l := h.legacy("sesame")
	open := func(r *http.Request) (status int, end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		res := h.do(r.WithContext(ctx))
		return res.StatusCode, func() { cancel(); res.Body.Close() }
	}
	gone := func(what string, left func(mcp.Stats) int) {
		poll := time.NewTicker(time.Millisecond)
		defer poll.Stop()
		for deadline := time.After(patience); left(h.s.Stats()) > 0; {
			select {
			case <-poll.C:
			case <-deadline:
				t.Fatalf("%s is not given back: %+v", what, h.s.Stats())
			}
		}
	}
	listen := func() *http.Request {
		return h.request(t.Context(), "subscriptions/listen", map[string]any{"notifications": map[string]any{"toolsListChanged": true}})
	}
	for _, r := range []*http.Request{listen(), l.raw(t.Context(), "GET", "")} {
		status, end := open(r)
		if status != 200 {
			t.Fatalf("a stream: status %d", status)
		}
		for _, r := range []*http.Request{listen(), l.raw(t.Context(), "GET", "")} {
			if status, end := open(r); status != 429 {
				t.Errorf("a second stream: status %d, want 429", status)
				end()
			}
		}
		end()
		gone("the stream", func(s mcp.Stats) int { return s.Streams })
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := h.request(ctx, "tools/call", map[string]any{"name": "p_f"})
	go func() {
		if res, err := http.DefaultClient.Do(r); err == nil {
			res.Body.Close()
		}
	}()
	soon(t, "the call", began)
	res := h.post(t.Context(), "tools/list", nil)
	if res.Body.Close(); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("a second request: status %d, want 429", res.StatusCode)
	}
	cancel()
	gone("the place", func(s mcp.Stats) int { return s.InFlight })
	if len(h.list()) != 1 {
		t.Error("the place was not given back")
	}
}

// TestEndOfSession ends what the session does, and nothing else.
func TestEndOfSession(t *testing.T) {
	t.Parallel()
	tool, began, ended := hanging()
	h := serve(t, newBox(t, tool), nil)
	l, other := h.legacy("sesame"), h.legacy("sesame")
	stream := h.do(l.raw(t.Context(), "GET", ""))
	defer stream.Body.Close()
	r := l.request(t.Context(), "tools/call", map[string]any{"name": "p_f"})
	go func() {
		if res, err := http.DefaultClient.Do(r); err == nil {
			res.Body.Close()
		}
	}()
	soon(t, "the call", began)
	res := h.do(l.raw(t.Context(), "DELETE", ""))
	if res.Body.Close(); res.StatusCode != 200 {
		t.Errorf("status %d, want 200", res.StatusCode)
	}
	soon(t, "the end of the call", ended)
	_, _ = io.Copy(io.Discard, stream.Body) // ends
	for _, r := range []*http.Request{l.raw(t.Context(), "DELETE", ""), l.raw(t.Context(), "GET", ""), l.request(t.Context(), "tools/list", nil)} {
		res := h.do(r)
		if res.Body.Close(); res.StatusCode != 404 {
			t.Errorf("%s behind the end: status %d, want 404", r.Method, res.StatusCode)
		}
	}
	if len(other.list()) != 1 {
		t.Error("another session has ended too")
	}
}

// TestManySessions makes twice as many as there may be, by two keys: the ones that one of them leaves behind make place.
func TestManySessions(t *testing.T) {
	t.Parallel()
	const limit = 10_000
	b := newBox(t, python())
	s, err := mcp.New(mcp.Options{Tools: b.tools, Limits: mcp.Limits{Sessions: limit}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	begin := func(key string) string {
		r := httptest.NewRequest("POST", "http://localhost/mcp", strings.NewReader(
			`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != 200 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		return w.Header().Get("Mcp-Session-Id")
	}
	quiet := begin("quiet")
	for range limit {
		begin("loud")
	}
	before := heap()
	for range limit / 4 {
		begin("loud")
	}
	if after := heap(); after > before+before/4+8<<20 {
		t.Errorf("%d MiB in use behind %d more sessions than there may be, %d MiB before", after>>20, limit/4, before>>20)
	}
	t.Logf("%d sessions take %d MiB", limit, before>>20)
	if got := s.Stats(); got.Sessions != limit || got.Expired != limit/4+1 {
		t.Errorf("stats %+v, want %d sessions", got, limit)
	}
	r := httptest.NewRequest("POST", "http://localhost/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer quiet")
	r.Header.Set("Mcp-Session-Id", quiet)
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("the session of another key made place: status %d", w.Code)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestOptions(t *testing.T) {
	t.Parallel()
	tools := func() *toolhost.Set { return nil }
	for name, o := range map[string]mcp.Options{
		"Tools":   {},
		"Origins": {Tools: tools, Origins: []string{"app.example"}},
	} {
		if s, err := mcp.New(o); s != nil || err == nil || !strings.Contains(err.Error(), "Options."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRequests never make the server fail, and every answer that is JSON is one message.
func FuzzRequests(f *testing.F) {
	f.Add("POST", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, "", "", "application/json")
	f.Add("POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"python","arguments":{"code":"1"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, "2026-07-28", "tools/call", "application/json")
	f.Add("POST", `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, "2026-07-28", "server/discover", "*/*")
	f.Add("POST", `{"jsonrpc":"2.0","id":"\ud800","result":null}`, "", "", "")
	f.Add("DELETE", "", "", "", "")
	set, err := toolhost.NewSet(python())
	if err != nil {
		f.Fatal(err)
	}
	s, err := mcp.New(mcp.Options{Tools: func() *toolhost.Set { return set }, Limits: mcp.Limits{Sessions: 10}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, method, body, version, rpc, accept string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // subscriptions/listen goes on
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://localhost/mcp", strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {accept}, "Mcp-Protocol-Version": {version}, "Mcp-Method": {rpc}, "Mcp-Name": {"python"}}
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code >= 500 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	set, err := toolhost.NewSet(plugin("p", says("hello"), toolhost.Function{Name: "f"}))
	if err != nil {
		b.Fatal(err)
	}
	s, err := mcp.New(mcp.Options{Tools: func() *toolhost.Set { return set }})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"p_f","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	for b.Loop() {
		r := httptest.NewRequest("POST", "http://localhost/mcp", strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {"application/json"}, "Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"p_f"}}
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != 200 {
			b.Fatal(fmt.Sprint(w.Code, w.Body))
		}
	}
}
