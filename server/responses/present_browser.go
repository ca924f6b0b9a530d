package responses

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"chorale/inference/harmony"
	"chorale/server/api"
	"chorale/server/store"
	"chorale/toolhost"
)

const (
	// browserTool is the trained name of the tool.
	browserTool = "browser"
	// sourcesIncluded asks for what searches found. Like OpenAI's, items go without it otherwise.
	sourcesIncluded = "web_search_call.action.sources"
	// maxBrowserState is how many bytes the pages of a response may have to be there in those that continue it.
	maxBrowserState = 8 << 20
)

// browserKind is the web search of requests, which searches, opens pages and finds text in them.
var browserKind = hostedKind{tool: "web_search", item: "web_search_call", read: readBrowser, history: browserHistory, recall: recallBrowser}

// A browser is the web search of one response.
type browser struct {
	s         *Service
	plan      *plan
	functions []string
	included  bool            // sources are
	resumed   bool            // what earlier responses left was asked for
	pages     map[int]webPage // by the number of their display
	state     *toolhost.State // what they left to the tool; nil = nothing
	left      *toolhost.State // what the calls of this response left; nil = nothing
}

// A browserCall is what the tool says about a call beside the text for the model.
type browserCall struct {
	Action struct {
		Type    string          `json:"type"`
		Query   string          `json:"query"`
		Sources []api.WebSource `json:"sources"`
		URL     string          `json:"url"`
		Pattern string          `json:"pattern"`
	} `json:"action"`
	Cursor *int   `json:"cursor"` // of the display; nil: there is none
	URL    string `json:"url"`
	Title  string `json:"title"`
}

// browserSettings are what a request says about its web search, for the tool.
type browserSettings struct {
	AllowedDomains []string `json:"allowed_domains,omitempty"`
	BlockedDomains []string `json:"blocked_domains,omitempty"`
	City           string   `json:"city,omitempty"`
	Region         string   `json:"region,omitempty"`
	Country        string   `json:"country,omitempty"`
	Timezone       string   `json:"timezone,omitempty"`
	ContextSize    string   `json:"context_size,omitempty"`
	Offline        bool     `json:"offline,omitempty"`
}

func readBrowser(s *Service, p *plan, t api.Tool, _ string) (*hosted, *api.Error) {
	spec, ok := p.tools.Spec(browserTool)
	if !ok {
		return nil, nil
	}
	asked := t.(*api.WebSearchTool)
	b := &browser{s: s, plan: p, included: p.includes(sourcesIncluded), pages: map[int]webPage{}}
	namespace := harmony.BrowserNamespace()
	namespace.Tools = slices.DeleteFunc(slices.Clone(namespace.Tools), func(f harmony.Function) bool {
		return !slices.ContainsFunc(spec.Functions, func(has toolhost.Function) bool { return has.Name == f.Name })
	})
	settings, err := json.Marshal(browserSettings{asked.Allowed, asked.Blocked, asked.Location.City, asked.Location.Region,
		asked.Location.Country, asked.Location.Timezone, asked.ContextSize, !orDefault(asked.External, true)})
	if err != nil {
		panic(err) // strings and lists of them always can be written
	}
	h := &hosted{tool: browserTool, namespace: namespace, settings: settings, accepts: b.accepts, empty: "{}", item: b.item,
		input: webInput, running: api.EventWebSearching, ended: webEnded, finished: b.finished, load: b.load, save: b.save,
		keep: b.keep, page: b.page}
	for _, f := range namespace.Tools {
		b.functions = append(b.functions, f.Name)
		h.calls = append(h.calls, harmony.Call{
			Recipient:    browserTool + "." + f.Name,
			Channels:     []string{harmony.ChannelAnalysis, harmony.ChannelCommentary},
			ContentTypes: []string{"code", jsonArguments, "json", ""},
		})
	}
	return h, nil
}

// accepts reads the recipients of the tool, also with the prefix of the client's functions.
func (b *browser) accepts(recipient string) (function string, ok bool) {
	function, ok = strings.CutPrefix(strings.TrimPrefix(recipient, functionsPrefix), browserTool+".")
	return function, ok && slices.Contains(b.functions, function)
}

// item has the action that the function leads to; what is searched or opened is known when the call is complete.
func (b *browser) item(_ context.Context, function string) api.Item {
	return &api.WebSearchCall{ID: b.s.newID("ws"), Status: api.InProgress, Action: api.WebAction{Type: actionOf(function)}}
}

func actionOf(function string) string {
	switch function {
	case "open":
		return api.WebOpenPage
	case "find":
		return api.WebFindInPage
	default:
		return api.WebSearch
	}
}

// webInput is how the arguments reach the client: not at all, the action has what matters of them.
var webInput = stream{
	added: func(p place) api.Event {
		return &api.ToolEvent{Head: p.head(api.EventWebInProgress), Place: p.Place}
	},
}

// webEnded has no event for failure, as OpenAI has none: the item says it.
func webEnded(o *toolhost.Outcome) (event string) {
	if o.Failed || o.Err != nil {
		return ""
	}
	return api.EventWebCompleted
}

// finished is the call with what it did, and learns of the page that it showed.
func (b *browser) finished(added api.Item, input string, o *toolhost.Outcome) api.Item {
	done := *added.(*api.WebSearchCall)
	done.Action = actionFrom(done.Action, input)
	if o == nil {
		done.Status = api.Incomplete
		return &done
	}
	if done.Status = api.Completed; o.Failed || o.Err != nil {
		done.Status = api.Failed
	}
	var did browserCall
	if o.Structured == nil || json.Unmarshal(o.Structured, &did) != nil {
		return &done
	}
	if did.Cursor != nil {
		b.pages[*did.Cursor] = webPage{did.URL, did.Title}
	}
	if a := did.Action; a.Type != "" {
		done.Action = api.WebAction{Type: a.Type, Query: a.Query, URL: a.URL, Pattern: a.Pattern}
		if b.included {
			done.Action.Sources = a.Sources
		}
	}
	return &done
}

// actionFrom fills in what the arguments say.
func actionFrom(a api.WebAction, input string) api.WebAction {
	var arguments map[string]any
	if json.Unmarshal([]byte(input), &arguments) != nil {
		return a
	}
	a.Query, _ = arguments["query"].(string)
	a.Pattern, _ = arguments["pattern"].(string)
	if a.URL, _ = arguments["id"].(string); !strings.Contains(a.URL, "://") { // it is the number of a link
		a.URL = ""
	}
	return a
}

// page is what the display with the number shows, of this response or an earlier one.
func (b *browser) page(ctx context.Context, cursor int) (webPage, bool) {
	if _, known := b.pages[cursor]; !known {
		b.resume(ctx)
	}
	p, ok := b.pages[cursor]
	return p, ok
}

// resume asks for what the responses that this one continues have left, which a browser without it can do without: it says
// which displays there are.
func (b *browser) resume(ctx context.Context) {
	previous := orDefault(b.plan.response.PreviousResponseID, "")
	if b.resumed || previous == "" {
		return
	}
	b.resumed = true
	state, err := b.s.o.Store.State(ctx, previous, browserTool)
	if err != nil {
		b.s.o.Logger.Warn("pages of earlier responses are lost", "response_id", b.plan.response.ID, "err", err)
	}
	if err != nil || state == nil {
		return
	}
	pages, memory, _ := bytes.Cut(state.Memory, []byte{'\n'})
	known := map[int]webPage{}
	if json.Unmarshal(pages, &known) != nil {
		return
	}
	maps.Copy(known, b.pages)
	b.pages, b.state = known, &toolhost.State{Memory: memory}
}

func (b *browser) load(ctx context.Context) (*toolhost.State, error) {
	b.resume(ctx)
	if b.left != nil { // an instance that broke is followed by one with what was left last
		return b.left, nil
	}
	return b.state, nil
}

func (b *browser) save(_ context.Context, left *toolhost.State) { b.left = left }

// keep is what is stored: which page is in which display, on a line of its own, and what the tool left.
func (b *browser) keep(context.Context) *store.State {
	if b.left == nil {
		return nil
	}
	memory, err := json.Marshal(b.pages)
	if err != nil {
		panic(err) // numbers and strings always can be written
	}
	if memory = append(memory, '\n'); int64(len(memory)+len(b.left.Memory)) <= min(maxBrowserState, b.s.maxState) {
		memory = append(memory, b.left.Memory...)
	}
	return &store.State{Memory: memory}
}

// browserHistory writes the call as the models do.
func browserHistory(item api.Item) (call harmony.Message, result string, ok bool) {
	i := item.(*api.WebSearchCall)
	function, arguments := "search", map[string]any{"query": i.Action.Query}
	switch i.Action.Type {
	case api.WebSearch:
	case api.WebOpenPage:
		function, arguments = "open", map[string]any{"id": i.Action.URL}
	case api.WebFindInPage:
		function, arguments = "find", map[string]any{"pattern": i.Action.Pattern}
	default:
		return harmony.Message{}, "", false
	}
	unknown := i.Action.Query == "" && i.Action.URL == "" && i.Action.Pattern == ""                     // a call that says nothing
	if unknown || i.Status == api.Incomplete || i.Status == api.InProgress || i.Status == "searching" { // or has no result
		return harmony.Message{}, "", false
	}
	input, err := json.Marshal(arguments)
	if err != nil {
		panic(err) // strings always can be written
	}
	call = assistant(harmony.ChannelAnalysis, string(input))
	call.Recipient, call.ContentType = browserTool+"."+function, "code"
	return call, orDefault(i.Result, "[What this call has shown is not here any more.]"), true
}

func recallBrowser(sent, stored api.Item, result string) {
	i, same := sent.(*api.WebSearchCall)
	was, ok := stored.(*api.WebSearchCall)
	if same && ok && i.Action.Type == was.Action.Type && i.Action.Query == was.Action.Query && i.Action.URL == was.Action.URL &&
		i.Action.Pattern == was.Action.Pattern {
		i.Result = &result
	}
}
