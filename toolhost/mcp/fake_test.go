package mcp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"chorale/toolhost/egress"
	"chorale/toolhost/mcp"
)

// key is a secret that must be seen nowhere.
const key = "sk-canary-1234567890"

// A rpc is a message that a fake server got.
type rpc struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// A fake is a server over HTTP whose answers a test can replace by method.
type fake struct {
	*httptest.Server
	old    bool   // speaks the older era
	tools  string // the JSON of the array
	answer map[string]func(w http.ResponseWriter, r *http.Request, m rpc)
	before func(w http.ResponseWriter, r *http.Request) bool // true: it has answered

	mu  sync.Mutex // guards got
	got []string
}

func (f *fake) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.got...)
}

const echo = `{"name":"echo","description":"says it again","inputSchema":{"type":"object","properties":{"text":{"type":"string"},` +
	`"loud":{"type":"boolean"}},"required":["text"]}}`

// serve starts a fake of the newer era with one tool.
func serve(t testing.TB) *fake {
	t.Helper()
	f := &fake{tools: "[" + echo + "]", answer: map[string]func(http.ResponseWriter, *http.Request, rpc){}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.handle))
	t.Cleanup(f.Server.Close)
	return f
}

func (f *fake) handle(w http.ResponseWriter, r *http.Request) {
	if f.before != nil && f.before(w, r) {
		return
	}
	var m rpc
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &m)
	} else {
		m.Method = r.Method
	}
	f.mu.Lock()
	f.got = append(f.got, m.Method)
	f.mu.Unlock()
	if a := f.answer[m.Method]; a != nil {
		a(w, r, m)
		return
	}
	switch m.Method {
	case http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case "server/discover":
		if f.old {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		result(w, m, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},`+
			`"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"fake","version":"1"}}}`)
	case "initialize":
		w.Header().Set("Mcp-Session-Id", "s1")
		result(w, m, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"fake","version":"1"}}`)
	case "tools/list":
		result(w, m, `{"tools":`+f.tools+`}`)
	case "tools/call":
		result(w, m, `{"content":[{"type":"text","text":"done"}]}`)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func result(w http.ResponseWriter, m rpc, result string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

func events(w http.ResponseWriter, data ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, d := range data {
		fmt.Fprintf(w, "data: %s\n\n", d)
	}
	w.(http.Flusher).Flush()
}

// local is a policy that allows this machine.
func local(t testing.TB) *egress.Policy {
	t.Helper()
	p, err := egress.ParsePolicy("the test", "http://127.0.0.1:*")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (f *fake) config(t testing.TB) mcp.Config {
	return mcp.Config{Label: "fake", URL: f.URL + "/mcp", Policy: local(t)}
}

// echoTool is echo with members replaced or added.
func echoTool(t testing.TB, members string) string {
	t.Helper()
	var a, b map[string]json.RawMessage
	if err := json.Unmarshal([]byte(echo), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(members), &b); err != nil {
		t.Fatal(err)
	}
	for k, v := range b {
		a[k] = v
	}
	out, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }
