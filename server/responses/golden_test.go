package responses_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chorale/inference/engine/enginetest"
	"chorale/server/api"
	"chorale/server/responses"
	"chorale/toolhost/mcp"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata with what the code does now")

// TestGolden runs the files in testdata. Each begins with why it exists and has one or more exchanges, of these sections:
//
//	request.json    what the client sends
//	model           what the model writes, generations separated by a line "----"; control tokens as text, line breaks at
//	                the end of a line count only if they are written \n
//	results         what python answers, one text for each call, separated like the model's; \n is a line break. It may
//	                begin with a word in brackets: [image] for a picture beside the text, [broken] for a tool that breaks
//	prompt          what the model saw, control tokens as text, one message a line
//	events          what happened
//	outcome.json    the response, without the settings
//	response.json   instead: all of it
//	error.json      instead of all those: how the request was refused
//
// Ids are written short: resp_01 stands for 48 digits. "options ungated" in the comment turns the gate off.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runGolden(t, file)
		})
	}
}

// goldenServers are the operator's MCP server notes, and those that requests find at files.example, and at down.example, which is
// out of order.
func goldenServers(t *testing.T) responses.MCPOptions {
	t.Helper()
	files, down := newMCPFake(t, mcpRead, mcpDelete), newMCPFake(t)
	down.down = 503
	o := mcpOptions(t, map[string]*mcpFake{"files.example": files, "down.example": down})
	notes, err := o.Connect(mcp.Config{Label: "notes", URL: "https://files.example/"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notes.Close() })
	o.Servers = []responses.MCPServer{{Label: "notes", Client: notes, NoApproval: true}}
	return o
}

type section struct{ name, text string }

// readArchive returns the comment and the sections of a file in the txtar layout.
func readArchive(t *testing.T, path string) (comment string, sections []section) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		head := strings.TrimSuffix(line, "\n")
		switch n := len(sections); {
		case strings.HasPrefix(head, "-- ") && strings.HasSuffix(head, " --"):
			sections = append(sections, section{name: head[3 : len(head)-3]})
		case n == 0:
			comment += line
		default:
			sections[n-1].text += line
		}
	}
	if strings.TrimSpace(comment) == "" {
		t.Fatalf("%s does not begin with why it exists", path)
	}
	return comment, sections
}

func runGolden(t *testing.T, path string) {
	comment, sections := readArchive(t, path)
	m := &model{}
	py := &pythonFake{}
	servers := goldenServers(t)
	s := start(t, enginetest.Options{Script: m.script}, responses.Options{MCP: servers, Tools: tools(t, py, newPluginFake("units", "convert", "list"), newPluginFake("functions", "f")),
		Random: counter(), Key: make([]byte, 32), Ungated: strings.Contains(comment, "options ungated")})
	var out bytes.Buffer
	out.WriteString(comment)
	var want string
	for i := 0; i < len(sections); {
		if sections[i].name != "request.json" {
			t.Fatalf("%s: section %s in this place", path, sections[i].name)
		}
		body, whole := sections[i].text, false
		fmt.Fprintf(&out, "-- request.json --\n%s", body)
		var texts []string
		for i++; i < len(sections) && sections[i].name != "request.json"; i++ {
			switch s := sections[i]; s.name {
			case "model":
				fmt.Fprintf(&out, "-- model --\n%s", s.text)
				for _, text := range strings.Split(s.text, "----\n") {
					texts = append(texts, strings.ReplaceAll(strings.ReplaceAll(text, "\n", ""), `\n`, "\n"))
				}
			case "results":
				fmt.Fprintf(&out, "-- results --\n%s", s.text)
				for _, text := range strings.Split(s.text, "----\n") {
					py.answers = append(py.answers, strings.ReplaceAll(strings.ReplaceAll(text, "\n", ""), `\n`, "\n"))
				}
			case "response.json":
				whole = true
			}
		}
		m.write(texts...)
		out.WriteString(exchange(t, s, m, long(body), whole))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want = string(data); out.String() == want {
		return
	}
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s differs; refresh with: go test ./server/responses -run TestGolden -update\n%s", path, firstDifference(out.String(), want))
}

// exchange sends one request and returns the sections that show what became of it.
func exchange(t *testing.T, s *responses.Service, m *model, body string, whole bool) string {
	run, err := s.Create(t.Context(), request(t, body))
	if err != nil {
		return "-- error.json --\n" + short(indented(t, err)) + "\n"
	}
	var events strings.Builder
	var final *api.Response
	check := client{t: t}
	for e := range run.Events() {
		check.event(e)
		final, _ = api.Terminal(e)
		if r, ok := e.(*api.ResponseEvent); ok {
			fmt.Fprintf(&events, "%s (%s, %d items)\n", r.Type, r.Response.Status, len(r.Response.Output))
			continue
		}
		line, err := api.EncodeEvent(nil, e, api.OpenAI)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&events, "%s\n", strings.TrimPrefix(string(line), `{"type":`))
	}
	checkStored(t, s, final)
	var out strings.Builder
	for _, prompt := range m.lastPrompts() {
		lines := strings.ReplaceAll(strings.ReplaceAll(prompt, "\n", `\n`), "<|end|><|start|>", "<|end|>\n<|start|>")
		fmt.Fprintf(&out, "-- prompt --\n%s\n", strings.ReplaceAll(lines, "<|call|><|start|>", "<|call|>\n<|start|>"))
	}
	fmt.Fprintf(&out, "-- events --\n%s", events.String())
	if whole {
		fmt.Fprintf(&out, "-- response.json --\n%s\n", indented(t, final))
	} else {
		fmt.Fprintf(&out, "-- outcome.json --\n%s\n", indented(t, map[string]any{"status": final.Status, "error": final.Error,
			"incomplete_details": final.IncompleteDetails, "output": final.Output, "usage": final.Usage, "warnings": final.Warnings}))
	}
	return short(out.String())
}

// checkStored compares the response with what the store gives back.
func checkStored(t *testing.T, s *responses.Service, r *api.Response) {
	t.Helper()
	stored, err := s.Get(t.Context(), r.ID)
	var missing *api.Error
	switch {
	case !r.Store:
		if !errors.As(err, &missing) || missing.Status != 404 {
			t.Errorf("not to be stored, but got %v, %v", stored, err)
		}
	case err != nil:
		t.Error(err)
	case encode(t, stored) != encode(t, r):
		t.Errorf("stored %s, want %s", encode(t, stored), encode(t, r))
	}
}

func indented(t *testing.T, v any) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(encode(t, v)), "", "  "); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

var (
	longID  = regexp.MustCompile(`_0{46}([0-9a-f]{2})`)
	shortID = regexp.MustCompile(`(resp|msg|rs|fc|call|ci|cntr|mcpl|mcpa|mcp)_([0-9a-f]{2})"`)
)

func short(s string) string { return longID.ReplaceAllString(s, "_$1") }
func long(s string) string {
	return shortID.ReplaceAllString(s, "${1}_"+strings.Repeat("0", 46)+"${2}\"")
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, g[i], strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
	return fmt.Sprintf("it ends at line %d, want %d lines", len(g), len(w))
}
