package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"chorale/toolhost"
)

// A ToolBackend searches by calling a function of a tool: a plugin, or an MCP server.
type ToolBackend struct {
	set      *toolhost.Set
	tool     string
	function string
	query    string // the argument for the text
	top      string // the argument for how many, "" if there is none
	wait     time.Duration
}

// Names under which functions take what is searched for, and how many results are wanted.
var (
	queryNames = []string{"query", "q", "text", "search", "search_query", "keywords", "term", "question", "input"}                   // read only
	topNames   = []string{"topn", "top_n", "top_k", "max_results", "num_results", "numResults", "maxResults", "count", "limit", "n"} // read only
)

// NewToolBackend returns a backend that calls a function of a tool; "" is its only one, or the one named search. The function
// takes what is searched for as an argument of one of the usual names, and gives results as JSON, or text with addresses in it.
func NewToolBackend(tool toolhost.Tool, function string) (*ToolBackend, error) {
	spec := tool.Spec()
	i := slices.IndexFunc(spec.Functions, func(f toolhost.Function) bool {
		return f.Name == function || function == "" && (len(spec.Functions) == 1 || f.Name == "search")
	})
	if i < 0 {
		return nil, fmt.Errorf("search with tool %s: it has no function %q", spec.Name, firstOf(function, "search"))
	}
	f := spec.Functions[i]
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
	}
	if err := json.Unmarshal(f.Parameters, &schema); err != nil {
		return nil, fmt.Errorf("search with tool %s: parameters of %s: %w", spec.Name, f.Name, err)
	}
	b := &ToolBackend{tool: spec.Name, function: f.Name, wait: 30 * time.Second}
	has := func(name string) bool { return schema.Properties[name] != nil }
	if i := slices.IndexFunc(queryNames, has); i >= 0 {
		b.query = queryNames[i]
	} else if len(schema.Required) == 1 {
		b.query = schema.Required[0]
	} else {
		return nil, fmt.Errorf("search with tool %s: %s has no parameter named %s", spec.Name, f.Name, strings.Join(queryNames, ", "))
	}
	if i := slices.IndexFunc(topNames, has); i >= 0 {
		b.top = topNames[i]
	}
	set, err := toolhost.NewSet(tool)
	if err != nil {
		return nil, fmt.Errorf("search with tool %s: %w", spec.Name, err)
	}
	b.set = set
	return b, nil
}

// Name is the name of the tool and its function.
func (b *ToolBackend) Name() string { return b.tool + "." + b.function }

// Search calls the function.
func (b *ToolBackend) Search(ctx context.Context, q Query) ([]Result, error) {
	if q.Offline {
		return nil, &Error{Backend: b.Name(), Reason: "the request does not allow to reach the web"}
	}
	arguments := map[string]any{b.query: q.withSites()}
	if b.top != "" {
		arguments[b.top] = q.asked()
	}
	input, err := json.Marshal(arguments)
	if err != nil {
		return nil, &Error{Backend: b.Name(), Reason: "the query cannot be sent", Err: err}
	}
	session := b.set.NewSession(toolhost.SessionOptions{Limits: toolhost.Limits{Deadline: b.wait, TextBytes: 256 << 10}})
	defer session.Close()
	o := session.Do(ctx, []toolhost.Call{{Tool: b.tool, Function: b.function, Input: string(input)}})[0]
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if o.Err != nil || o.Failed {
		reason, _ := toolhost.Cut(strings.Join(strings.Fields(o.Text), " "), 300)
		return nil, &Error{Backend: b.Name(), Reason: reason, Err: o.Err}
	}
	results, err := parseResults(o.Structured, o.Text)
	if err != nil {
		return nil, &Error{Backend: b.Name(), Reason: err.Error()}
	}
	return filter(results, q), nil
}

// parseResults reads what a tool found: structured results, JSON as text, or text.
func parseResults(structured json.RawMessage, text string) ([]Result, error) {
	for _, data := range [][]byte{structured, []byte(strings.TrimSpace(text))} {
		var v any
		if len(data) == 0 || json.Unmarshal(data, &v) != nil {
			continue
		}
		if results, ok := resultsIn(v, 0); ok {
			return results, nil
		}
	}
	results := resultsInText(text)
	if len(results) == 0 && strings.Contains(text, "://") {
		return nil, errors.New("its results have a form that is not known")
	}
	return results, nil
}

// resultsIn finds the first list of objects with addresses in a value.
func resultsIn(v any, depth int) (results []Result, ok bool) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			o, isObject := e.(map[string]any)
			if !isObject {
				return nil, false
			}
			if address := member(o, "url", "link", "href", "uri"); address != "" {
				results = append(results, Result{URL: address, Title: member(o, "title", "name", "headline"),
					Snippet: member(o, "snippet", "summary", "description", "content", "text", "body", "excerpt")})
			}
		}
		return results, len(results) > 0 || len(v) == 0
	case map[string]any:
		for _, name := range []string{"results", "items", "organic", "data", "web", "hits", "documents", "result"} {
			if inner, has := v[name]; has && depth < 3 {
				if results, ok := resultsIn(inner, depth+1); ok {
					return results, true
				}
			}
		}
	}
	return nil, false
}

func member(o map[string]any, names ...string) string {
	for _, n := range names {
		if s, ok := o[n].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

var (
	markdownLink = regexp.MustCompile(`\[([^\]\n]{1,500})\]\((https?://[^\s)]+)\)`)                                            // read only
	bareAddress  = regexp.MustCompile(`https?://[^\s<>"'\])]+`)                                                                // read only
	label        = regexp.MustCompile(`(?i)^[\s\d.*#-]*(title|name|url|link|snippet|summary|description|content|text)\s*:\s*`) // read only
)

// resultsInText reads text in which each result has its address on a line: as a link of Markdown, or behind its title.
func resultsInText(text string) []Result {
	var results []Result
	title, last := "", (*Result)(nil)
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if m := markdownLink.FindStringSubmatchIndex(line); m != nil {
			results = append(results, Result{URL: line[m[4]:m[5]], Title: line[m[2]:m[3]], Snippet: strings.Trim(line[m[1]:], " :-–—")})
			last, title = &results[len(results)-1], ""
			continue
		}
		plain := label.ReplaceAllString(line, "")
		if m := bareAddress.FindStringIndex(line); m != nil {
			before := strings.Trim(label.ReplaceAllString(line[:m[0]], ""), " :-–—*.0123456789")
			results = append(results, Result{URL: strings.TrimRight(line[m[0]:m[1]], ".,;"), Title: firstOf(title, before)})
			last, title = &results[len(results)-1], ""
			continue
		}
		switch {
		case line == "":
			last = nil
		case last != nil && !strings.HasPrefix(strings.ToLower(line), "title"):
			last.Snippet = strings.TrimSpace(last.Snippet + " " + plain)
		default:
			title, last = plain, nil
		}
	}
	return results
}
