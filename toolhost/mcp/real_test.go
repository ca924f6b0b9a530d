package mcp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	wire "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"chorale/toolhost/mcp"
)

// everything starts server-everything over HTTP and returns its origin.
func everything(t *testing.T, transport string) string {
	t.Helper()
	args := peer(t, "server-everything", transport)
	preload, err := filepath.Abs("testdata/listen.cjs")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], append([]string{"--require", preload}, args[1:]...)...)
	cmd.Dir = t.TempDir()
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if port, ok := strings.CutPrefix(lines.Text(), "LISTENING "); ok {
			go func() {
				for lines.Scan() { // what it says later is not to fill the pipe
				}
			}()
			return "http://127.0.0.1:" + port
		}
	}
	t.Fatalf("server-everything %s did not start", transport)
	return ""
}

func TestRealServersOverHTTP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ transport, path, version string }{
		{"streamableHttp", "/mcp", "2025-11-25"}, {"sse", "/sse", "2025-11-25"},
	} {
		t.Run(tt.transport, func(t *testing.T) {
			t.Parallel()
			asked := make(chan mcp.Elicitation, 1)
			c := open(t, mcp.Config{
				URL: everything(t, tt.transport) + tt.path, Policy: local(t), Legacy: tt.transport == "sse",
			}, mcp.Options{Elicit: func(ctx context.Context, e mcp.Elicitation) (mcp.Answer, error) {
				asked <- e
				return mcp.Answer{Action: "decline"}, nil
			}})
			l, err := c.List(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Tools) < 10 || len(l.Dropped) > 0 || l.Version != tt.version {
				t.Errorf("got %d tools, dropped %v, version %s", len(l.Tools), l.Dropped, l.Version)
			}
			for _, call := range []struct{ tool, arguments, want string }{
				{"echo", `{"message":"hello"}`, "hello"},
				{"get-sum", `{"a":2,"b":3}`, "5"},
				{"get-structured-content", `{"location":"Chicago"}`, "temperature"},
				{"get-tiny-image", `{}`, "[image image/png, "},
				{"get-resource-links", `{"count":2}`, "[link"},
			} {
				r, err := c.Call(within(t), call.tool, json.RawMessage(call.arguments), nil)
				if err != nil || r.Failed || len(r.Notes) > 0 || !strings.Contains(r.Text(), call.want) {
					t.Errorf("%s: got %+v, %v; want %q", call.tool, r, err, call.want)
				}
			}
			steps := 0
			r, err := c.Call(within(t), "trigger-long-running-operation", json.RawMessage(`{"duration":0.2,"steps":4}`),
				func(string, float64) { steps++ })
			if err != nil || r.Failed || steps == 0 {
				t.Errorf("long operation: got %+v, %v after %d steps", r, err, steps)
			}
			if _, ok := l.ByName("trigger-elicitation-request"); ok {
				r, err := c.Call(within(t), "trigger-elicitation-request", json.RawMessage(`{}`), nil)
				if err != nil || len(asked) != 1 || !strings.Contains(r.Text(), "decline") {
					t.Errorf("question: got %+v, %v", r, err)
				}
			}
		})
	}
}

// TestServerOfTheNewerEra is mcp-go's own: the servers above speak the older one.
func TestServerOfTheNewerEra(t *testing.T) {
	t.Parallel()
	theirs := server.NewMCPServer("theirs", "1", server.WithToolCapabilities(true))
	theirs.AddTool(wire.NewTool("add", wire.WithNumber("a", wire.Required()), wire.WithNumber("b", wire.Required())),
		func(ctx context.Context, r wire.CallToolRequest) (*wire.CallToolResult, error) {
			return wire.NewToolResultText(strconv.FormatFloat(r.GetFloat("a", 0)+r.GetFloat("b", 0), 'f', -1, 64)), nil
		})
	s := httptest.NewServer(server.NewStreamableHTTPServer(theirs))
	t.Cleanup(s.Close)
	changed := make(chan bool, 8)
	c := open(t, mcp.Config{URL: s.URL + "/mcp", Policy: local(t), Listen: true}, mcp.Options{Notify: func(n mcp.Notification) {
		if n.Kind == "list_changed" {
			changed <- true
		}
	}})
	l, err := c.List(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if l.Era != "modern" || l.Version != "2026-07-28" || len(l.Tools) != 1 || l.Server.Name != "theirs" {
		t.Errorf("got %+v", l)
	}
	r, err := c.Call(within(t), "add", json.RawMessage(`{"a":2,"b":3}`), nil)
	if err != nil || r.Text() != "5" {
		t.Errorf("got %+v, %v; want 5", r, err)
	}
	// The subscription begins some time after the list.
	for heard, wait := false, within(t); !heard; {
		theirs.AddTool(wire.NewTool("other"), nil)
		select {
		case heard = <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-wait.Done():
			t.Fatal("no change was told")
		}
	}
	if l, err := c.List(within(t)); err != nil || len(l.Tools) != 2 {
		t.Errorf("after the change: got %+v, %v; want two tools", l, err)
	}
}
