package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// TestOfficialClients runs the checks of clients/python and clients/node against the binary; each is a subtest.
func TestOfficialClients(t *testing.T) {
	t.Parallel()
	cache, err := filepath.Abs("../.cache/clients")
	if err != nil {
		t.Fatal(err)
	}
	python, modules := filepath.Join(cache, "venv", "bin", "python"), filepath.Join(cache, "node", "node_modules")
	clients := []struct {
		name, needs string
		command     []string // the base URL and the model's name follow
	}{
		{"python", python, []string{python, "clients/python/sdk.py"}},
		{"node", modules, []string{"node", "clients/node/sdk.mjs", modules}},
	}
	for _, client := range clients {
		t.Run(client.name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(client.needs); err != nil {
				skipUnlessRequired(t, "clients", "the SDK is not installed (server/clients/install.sh): "+err.Error())
			}
			folder := t.TempDir()
			putPlugin(t, folder, "units")
			peer, pages := echoServer(t), site(t)
			p := start(t, "--python", "--plugins", folder, "--keepalive", "20ms", "--mcp-allow", peer.URL,
				"--chromium", "-", "--browser-allow", pages) // the SDKs must not mind the events
			eventually(t, "the plugin", func() bool {
				status, _ := p.request("POST", "/v1/responses", body(map[string]any{"input": "x", "max_output_tokens": 1, "tools": []any{map[string]any{"type": "plugin", "name": "units"}}}))
				return status == 200
			})
			args := append(client.command[1:], p.url+"/v1", p.create(map[string]any{"input": "Hello!"}).Model, peer.URL+"/mcp", pages)
			out, err := exec.Command(client.command[0], args...).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			checks := 0
			for line := range strings.Lines(string(out)) {
				verdict, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
				name, why, _ := strings.Cut(rest, ": ")
				if verdict != "ok" && verdict != "FAIL" {
					continue
				}
				checks++
				t.Run(name, func(t *testing.T) {
					if verdict == "FAIL" {
						t.Error(why)
					}
				})
			}
			if checks == 0 {
				t.Errorf("no check has run:\n%s", out)
			}
		})
	}
}

// echoServer is an MCP server that repeats texts, and one tool of which refuses to.
func echoServer(t *testing.T) *httptest.Server {
	s := server.NewMCPServer("peer", "1")
	for name, answer := range map[string]func(text string) *mcp.CallToolResult{
		"echo":   func(text string) *mcp.CallToolResult { return mcp.NewToolResultText("Echo: " + text) },
		"refuse": func(string) *mcp.CallToolResult { return mcp.NewToolResultError("No.") },
	} {
		s.AddTool(mcp.NewTool(name, mcp.WithDescription("Repeats a text."), mcp.WithString("message", mcp.Required(), mcp.Description("Message to repeat"))),
			func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return answer(r.GetString("message", "")), nil
			})
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", server.NewStreamableHTTPServer(s))
	peer := httptest.NewServer(mux)
	t.Cleanup(peer.Close)
	return peer
}

// skipUnlessRequired skips for a missing thing, unless REQUIRE names it.
func skipUnlessRequired(t *testing.T, thing, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), thing) {
		t.Fatal(why)
	}
	t.Skip(why)
}
