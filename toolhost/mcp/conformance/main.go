// Command conformance is the client that the public MCP conformance suite drives: it does with a server what the
// scenario needs, through toolhost/mcp and nothing else. It is for tests only.
//
// The suite appends the server's URL to the command line and names the scenario in MCP_CONFORMANCE_SCENARIO, with what
// it needs to know in MCP_CONFORMANCE_CONTEXT.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"chorale/toolhost/egress"
	"chorale/toolhost/mcp"
)

func main() {
	scenario, about := os.Getenv("MCP_CONFORMANCE_SCENARIO"), os.Getenv("MCP_CONFORMANCE_CONTEXT")
	if err := run(os.Args[len(os.Args)-1], scenario, about); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// document is the client metadata document of the suite.
const document = "https://conformance-test.local/client-metadata.json"

func run(server, scenario, about string) error {
	var known struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if about != "" {
		if err := json.Unmarshal([]byte(about), &known); err != nil {
			return err
		}
	}
	policy, err := egress.ParsePolicy("the conformance suite", "http://localhost:* at 127.0.0.1,::1\nhttp://127.0.0.1:*")
	if err != nil {
		return err
	}
	c, err := mcp.New(mcp.Config{
		Label: "suite", URL: server, Policy: policy, Trusted: true,
		Limits: mcp.Limits{Connect: 20 * time.Second, List: 20 * time.Second, Call: 20 * time.Second},
		OAuth: &mcp.OAuth{
			Authorize: follow, Redirect: "http://127.0.0.1:33418/callback", ClientID: known.ID, ClientSecret: known.Secret,
			Document: document,
		},
	}, mcp.Options{
		Version: "0",
		Elicit: func(context.Context, mcp.Elicitation) (mcp.Answer, error) {
			return mcp.Answer{Action: "accept", Content: answers(scenario)}, nil
		},
	})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	l, err := c.List(ctx)
	if err != nil {
		return err
	}
	for _, d := range l.Dropped {
		fmt.Fprintln(os.Stderr, "dropped:", d.Name, d.Reason)
	}
	calls, err := plan(l, scenario, about)
	if err != nil {
		return err
	}
	var failed []error
	for _, call := range calls {
		_, err := c.Call(ctx, call.Name, call.Arguments, nil)
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

type call struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// plan says which calls to make: those that the context of the scenario lists, or every tool once with arguments that
// fit.
func plan(l *mcp.Listing, scenario, about string) ([]call, error) {
	var given struct {
		Calls []call `json:"toolCalls"`
	}
	if about != "" {
		if err := json.Unmarshal([]byte(about), &given); err != nil {
			return nil, err
		}
	}
	if len(given.Calls) > 0 {
		return given.Calls, nil
	}
	var calls []call
	if _, ok := l.ByName("json_schema_echo"); ok {
		// It is given the schema of the other tool, as it came.
		arguments, err := json.Marshal(map[string]any{"schema": l.Tools[0].Input})
		return []call{{"json_schema_echo", arguments}}, err
	}
	for _, t := range l.Tools {
		arguments, err := sample(t.Input)
		if err != nil {
			return nil, err
		}
		calls = append(calls, call{t.Name, arguments})
	}
	return calls, nil
}

// sample makes arguments that have every property of a schema.
func sample(schema json.RawMessage) (json.RawMessage, error) {
	var s struct {
		Properties map[string]struct {
			Type string `json:"type"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, err
	}
	arguments := map[string]any{}
	for name, p := range s.Properties {
		switch p.Type {
		case "number", "integer":
			arguments[name] = 5
		case "boolean":
			arguments[name] = true
		case "string":
			arguments[name] = "text"
		}
	}
	return json.Marshal(arguments)
}

// answers are what the user says. Where the scenario is about defaults, nothing.
func answers(scenario string) map[string]any {
	if strings.Contains(scenario, "defaults") {
		return nil
	}
	return map[string]any{"confirmed": true, "name": "somebody"}
}

// follow is a person who agrees: the suite's authorization servers redirect at once.
func follow(ctx context.Context, to string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return "", err
	}
	once := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := once.Do(r)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	if to := resp.Header.Get("Location"); to != "" {
		return to, nil
	}
	return "", fmt.Errorf("the authorization server answered with %s and no redirection", resp.Status)
}
