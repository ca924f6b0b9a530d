package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"chorale/toolhost/egress"
)

// A Kind names a search engine's interface.
type Kind string

// The engines that can be asked.
const (
	SearXNG Kind = "searxng" // GET /search?format=json of an instance that has JSON in search.formats
	Brave   Kind = "brave"   // https://api-dashboard.search.brave.com/app/documentation
	Exa     Kind = "exa"     // https://docs.exa.ai/reference/search
	Tavily  Kind = "tavily"  // https://docs.tavily.com/documentation/api-reference/endpoint/search
	You     Kind = "you"     // https://docs.you.com, search API v1
)

// A Config says how an engine is reached.
type Config struct {
	Kind Kind
	// URL is what the paths of the interface are relative to. It is required for SearXNG; "" is the address of the others'
	// makers.
	URL string
	Key string // required by all but SearXNG; sent to the host of URL only, and in no error
	// Networks are where the host is if its address is not public: addresses or CIDR blocks. localhost needs none.
	Networks []string
	// Egress has the settings of the client beside its policy and secrets, which are made of the above.
	Egress egress.Options
}

// An Engine is a search engine.
type Engine struct {
	kind   Kind
	base   *url.URL
	client *egress.Client
	http   *http.Client
}

// maxAnswer bounds what an engine may answer.
const maxAnswer = 4 << 20

// NewEngine returns an engine. The error names the field that is wrong. Close it.
func NewEngine(c Config) (*Engine, error) {
	api, ok := apis[c.Kind]
	if !ok {
		return nil, fmt.Errorf("search engine kind %q: want searxng, brave, exa, tavily or you", c.Kind)
	}
	if c.URL == "" {
		c.URL = api.url
	}
	if c.URL == "" {
		return nil, fmt.Errorf("search engine %s: URL is required", c.Kind)
	}
	base, err := egress.ParseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("search engine %s: URL: %w", c.Kind, err)
	}
	if c.Key == "" && api.header != "" {
		return nil, fmt.Errorf("search engine %s: Key is required", c.Kind)
	}
	line := base.Scheme + "://" + base.Host
	if base.Hostname() == "localhost" && len(c.Networks) == 0 {
		c.Networks = []string{"127.0.0.1", "::1"}
	}
	if len(c.Networks) > 0 {
		line += " at " + strings.Join(c.Networks, ",")
	}
	rule, err := egress.ParseRule(line)
	if err != nil {
		return nil, fmt.Errorf("search engine %s: URL and Networks: %w", c.Kind, err)
	}
	o := c.Egress
	o.Policy, o.SameOrigin = egress.NewPolicy("search engine "+string(c.Kind), rule), true
	if o.Limits.ResponseBody == 0 {
		o.Limits.ResponseBody = maxAnswer
	}
	if c.Key != "" {
		header, template := api.header, api.template
		if header == "" {
			header, template = "Authorization", "Bearer {}"
		}
		o.Secrets = []egress.Secret{{Name: string(c.Kind) + " key", Value: c.Key, Header: header, Template: template, Audience: rule}}
	}
	client, err := egress.New(o)
	if err != nil {
		return nil, fmt.Errorf("search engine %s: %w", c.Kind, err)
	}
	return &Engine{kind: c.Kind, base: base, client: client, http: client.HTTP()}, nil
}

// Name is the kind of the engine.
func (e *Engine) Name() string { return string(e.kind) }

// Close ends its connections.
func (e *Engine) Close() { e.client.Close() }

// Search asks the engine. The error is an *Error, or the context's.
func (e *Engine) Search(ctx context.Context, q Query) ([]Result, error) {
	if q.Offline {
		return nil, &Error{Backend: e.Name(), Reason: "the request does not allow to reach the web"}
	}
	api := apis[e.kind]
	req, err := api.request(ctx, e.base, q)
	if err != nil {
		return nil, &Error{Backend: e.Name(), Reason: "the query cannot be sent", Err: err}
	}
	req.Header.Set("Accept", "application/json")
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, e.failure(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, e.refusal(resp)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, e.failure(ctx, err)
	}
	results, err := api.results(data)
	if err != nil {
		return nil, &Error{Backend: e.Name(), Status: resp.StatusCode, Reason: "its answer is not the JSON that was expected", Err: err}
	}
	return filter(results, q), nil
}

// failure is an error of the way to the engine.
func (e *Engine) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var outer *url.Error // has the query in it
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return &Error{Backend: e.Name(), Reason: "cannot be reached: " + err.Error(), Err: err}
}

// refusal is an answer other than 200.
func (e *Engine) refusal(resp *http.Response) error {
	reason := "answered " + resp.Status
	switch {
	case e.kind == SearXNG && resp.StatusCode == http.StatusForbidden:
		reason = "refuses to answer in JSON (403): add json to search.formats in its settings.yml"
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		reason += ": is its key right?"
	case resp.StatusCode == http.StatusPaymentRequired:
		reason += ": its plan is used up"
	case resp.StatusCode == http.StatusTooManyRequests:
		reason += ": over its rate limit"
	}
	return &Error{Backend: e.Name(), Status: resp.StatusCode, Reason: reason}
}

// An api is what engines differ in.
type api struct {
	url              string
	header, template string // of the key; "" = it needs none
	request          func(ctx context.Context, base *url.URL, q Query) (*http.Request, error)
	results          func(data []byte) ([]Result, error)
}

var apis = map[Kind]api{ // read only
	SearXNG: {
		request: func(ctx context.Context, base *url.URL, q Query) (*http.Request, error) {
			return get(ctx, base, "search", url.Values{"q": {q.withSites()}, "format": {"json"}, "safesearch": {"1"}})
		},
		results: func(data []byte) ([]Result, error) {
			var a struct {
				Results []struct{ URL, Title, Content string } `json:"results"`
			}
			err := json.Unmarshal(data, &a)
			return collect(a.Results, func(r struct{ URL, Title, Content string }) Result { return Result{r.URL, r.Title, r.Content} }), err
		},
	},
	Brave: {
		url: "https://api.search.brave.com/res/v1", header: "X-Subscription-Token",
		request: func(ctx context.Context, base *url.URL, q Query) (*http.Request, error) {
			v := url.Values{"q": {q.withSites()}, "count": {strconv.Itoa(q.asked())}, "text_decorations": {"false"}}
			if q.Location.Country != "" {
				v.Set("country", strings.ToUpper(q.Location.Country))
			}
			return get(ctx, base, "web/search", v)
		},
		results: func(data []byte) ([]Result, error) {
			var a struct {
				Web struct {
					Results []struct{ URL, Title, Description string } `json:"results"`
				} `json:"web"`
			}
			err := json.Unmarshal(data, &a)
			return collect(a.Web.Results, func(r struct{ URL, Title, Description string }) Result {
				return Result{r.URL, r.Title, r.Description}
			}), err
		},
	},
	Exa: {
		url: "https://api.exa.ai", header: "x-api-key",
		request: func(ctx context.Context, base *url.URL, q Query) (*http.Request, error) {
			return post(ctx, base, "search", struct {
				Query    string   `json:"query"`
				Results  int      `json:"numResults"`
				Include  []string `json:"includeDomains,omitempty"`
				Exclude  []string `json:"excludeDomains,omitempty"`
				Country  string   `json:"userLocation,omitempty"`
				Contents any      `json:"contents"`
			}{q.Text, q.asked(), q.Allowed, q.Blocked, strings.ToUpper(q.Location.Country),
				map[string]any{"highlights": true, "text": map[string]int{"maxCharacters": 600}}})
		},
		results: func(data []byte) ([]Result, error) {
			type result struct {
				URL, Title, Text, Summary string
				Highlights                []string
			}
			var a struct {
				Results []result `json:"results"`
			}
			err := json.Unmarshal(data, &a)
			return collect(a.Results, func(r result) Result {
				return Result{r.URL, r.Title, firstOf(r.Summary, strings.Join(r.Highlights, " ... "), r.Text)}
			}), err
		},
	},
	Tavily: {
		url: "https://api.tavily.com", header: "Authorization", template: "Bearer {}",
		request: func(ctx context.Context, base *url.URL, q Query) (*http.Request, error) {
			return post(ctx, base, "search", struct {
				Query   string   `json:"query"`
				Results int      `json:"max_results"`
				Include []string `json:"include_domains,omitempty"`
				Exclude []string `json:"exclude_domains,omitempty"`
			}{q.Text, q.asked(), q.Allowed, q.Blocked})
		},
		results: func(data []byte) ([]Result, error) {
			var a struct {
				Results []struct{ URL, Title, Content string } `json:"results"`
			}
			err := json.Unmarshal(data, &a)
			return collect(a.Results, func(r struct{ URL, Title, Content string }) Result { return Result{r.URL, r.Title, r.Content} }), err
		},
	},
	You: {
		url: "https://ydc-index.io", header: "X-API-Key",
		request: func(ctx context.Context, base *url.URL, q Query) (*http.Request, error) {
			v := url.Values{"query": {q.withSites()}, "count": {strconv.Itoa(q.asked())}}
			if q.Location.Country != "" {
				v.Set("country", strings.ToUpper(q.Location.Country))
			}
			return get(ctx, base, "v1/search", v)
		},
		results: func(data []byte) ([]Result, error) {
			type result struct {
				URL, Title, Description string
				Snippets                []string
			}
			var a struct {
				Results struct {
					Web  []result `json:"web"`
					News []result `json:"news"`
				} `json:"results"`
			}
			err := json.Unmarshal(data, &a)
			return collect(append(a.Results.Web, a.Results.News...), func(r result) Result {
				return Result{r.URL, r.Title, firstOf(strings.Join(r.Snippets, " ... "), r.Description)}
			}), err
		},
	},
}

func get(ctx context.Context, base *url.URL, path string, v url.Values) (*http.Request, error) {
	u := base.JoinPath(path)
	u.RawQuery = v.Encode()
	return http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
}

func post(ctx context.Context, base *url.URL, path string, body any) (*http.Request, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath(path).String(), bytes.NewReader(data))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

// asked is how many results an engine is asked for: more than are wanted, if some may be filtered. None gives more than 20.
func (q Query) asked() int {
	if len(q.Allowed)+len(q.Blocked) > 0 {
		return 20
	}
	return min(q.top(), 20)
}

// maxSites is how many domains are named in a query; results are filtered in any case.
const maxSites = 8

// withSites is the text with the domains, for engines that have no other way to say them.
func (q Query) withSites() string {
	text := q.Text
	if n := len(q.Allowed); n > 0 && n <= maxSites {
		text += " (site:" + strings.Join(q.Allowed, " OR site:") + ")"
		if n == 1 {
			text = q.Text + " site:" + q.Allowed[0]
		}
	}
	for _, d := range q.Blocked[:min(len(q.Blocked), maxSites)] {
		text += " -site:" + d
	}
	return text
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if strings.TrimSpace(t) != "" {
			return t
		}
	}
	return ""
}

// collect converts the results of an engine.
func collect[T any](from []T, result func(T) Result) []Result {
	all := make([]Result, len(from))
	for i, r := range from {
		all[i] = result(r)
	}
	return all
}
