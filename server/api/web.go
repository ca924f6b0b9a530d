package api

import (
	"encoding/json"
	"slices"
	"strings"
)

// webSearchTypes are the types under which OpenAI has the tool: its name, its earlier one, and both with dates.
var webSearchTypes = []string{"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"}

// maxWebDomains is how many domains a filter may name, as at OpenAI.
const maxWebDomains = 100

// A WebSearchTool lets the model search the web and read pages.
type WebSearchTool struct {
	Allowed     []string // domains that results may be of, with those below them; nil = all
	Blocked     []string // domains that they may not be of
	Location    WebLocation
	ContextSize string          // low, medium or high; "" = not said
	External    *bool           // false: nothing is fetched from the network
	JSON        json.RawMessage // the whole tool as it was sent
}

// A WebLocation is about where the user is. Empty members were not sent.
type WebLocation struct {
	City, Country, Region, Timezone string // Country is of two letters, Timezone of the IANA database
}

func (*WebSearchTool) tool() string { return "web_search" }

// MarshalJSON writes the tool as it was sent.
func (t *WebSearchTool) MarshalJSON() ([]byte, error) { return t.JSON, nil }

// webSearchTool reads the tool.
func (o object) webSearchTool(raw json.RawMessage) *WebSearchTool {
	t := &WebSearchTool{JSON: raw, External: o.optionalBoolean("external_web_access")}
	if filters := o.get("filters"); filters.ok() {
		f := filters.object("an object")
		allowed := f.get("allowed_domains")
		t.Allowed, t.Blocked = allowed.webDomains(), f.get("blocked_domains").webDomains()
		if allowed.ok() && len(t.Allowed) == 0 {
			allowed.invalid("empty_array", "it has no domains. Leave it out to allow all.")
		}
	}
	if size := o.get("search_context_size"); size.ok() {
		t.ContextSize = size.oneOf("low", "medium", "high")
	}
	if location := o.get("user_location"); location.ok() {
		l := location.object("an object")
		l.need("type").oneOf("approximate")
		t.Location = WebLocation{City: l.textOr("city", ""), Region: l.textOr("region", ""), Timezone: l.textOr("timezone", "")}
		if country := l.get("country"); country.ok() {
			if t.Location.Country = country.text(); len(t.Location.Country) != 2 {
				country.invalid("invalid_value", "it must be the two letters of a country, like 'DE'.")
			}
		}
	}
	return t
}

// webDomains reads domains, which have no scheme and no path.
func (v value) webDomains() []string {
	if !v.ok() {
		return nil
	}
	out := []string{}
	for _, e := range v.array(maxWebDomains) {
		domain := strings.ToLower(strings.TrimSuffix(e.text(), "."))
		if *e.err == nil && (domain == "" || strings.ContainsAny(domain, "/:@?#* \t\r\n")) {
			e.invalid("invalid_value", "it must be a domain without scheme and path, like 'example.com'.")
		}
		out = append(out, domain)
	}
	return out
}

// A WebSearchCall is a search of the model, or its look at a page.
type WebSearchCall struct {
	ID     string    `json:"id,omitempty"`
	Status string    `json:"status,omitempty"` // in_progress, searching, completed, incomplete, failed
	Action WebAction `json:"action"`
	// Result is what the model read, for those who have it. It is not on the wire.
	Result *string `json:"-"`
}

func (i *WebSearchCall) item() (string, *string) { return "web_search_call", &i.ID }

// MarshalJSON writes the item with its type.
func (i *WebSearchCall) MarshalJSON() ([]byte, error) {
	type plain WebSearchCall
	return tagged("web_search_call", (*plain)(i))
}

// Types of WebActions.
const (
	WebSearch     = "search"
	WebOpenPage   = "open_page"
	WebFindInPage = "find_in_page"
)

// A WebAction is what a WebSearchCall did. Which members it has depends on its type.
type WebAction struct {
	Type    string
	Query   string          // of a search
	Sources []WebSource     // of a search: what it found; nil = not included
	URL     string          // of a page; "" = not known
	Pattern string          // of a find_in_page
	JSON    json.RawMessage // the whole action, of a type that this package does not know; nil otherwise
}

// A WebSource is a page that a search found.
type WebSource struct {
	URL string `json:"url"`
}

// MarshalJSON writes the source with its type.
func (s WebSource) MarshalJSON() ([]byte, error) {
	type plain WebSource
	return tagged("url", plain(s))
}

// MarshalJSON writes the members that actions of the type have. The URL of a page that is not known is null where OpenAI's may be.
func (a WebAction) MarshalJSON() ([]byte, error) {
	switch {
	case a.JSON != nil:
		return a.JSON, nil
	case a.Type == WebOpenPage && a.URL == "":
		return []byte(`{"type":"open_page","url":null}`), nil
	case a.Type == WebOpenPage:
		return tagged(a.Type, struct {
			URL string `json:"url"`
		}{a.URL})
	case a.Type == WebFindInPage:
		return tagged(a.Type, struct {
			Pattern string `json:"pattern"`
			URL     string `json:"url"`
		}{a.Pattern, a.URL})
	}
	queries := []string{}
	if a.Query != "" {
		queries = append(queries, a.Query)
	}
	return tagged(WebSearch, struct {
		Queries []string    `json:"queries"`
		Query   string      `json:"query"`
		Sources []WebSource `json:"sources,omitempty"`
	}{queries, a.Query, a.Sources})
}

// webAction reads an action. Clients send back items of other servers, so little is needed of it.
func (v value) webAction() WebAction {
	if !v.ok() {
		return WebAction{Type: WebSearch}
	}
	o := v.object("an object")
	a := WebAction{Type: o.need("type").text()}
	switch a.Type {
	case WebSearch:
		if a.Query = o.textOr("query", ""); a.Query == "" {
			if queries := o.get("queries"); queries.ok() {
				a.Query = strings.Join(queries.texts(64), "\n")
			}
		}
		if sources := o.get("sources"); sources.ok() {
			for _, e := range sources.array(maxItems) {
				a.Sources = append(a.Sources, WebSource{e.object("an object").textOr("url", "")})
			}
		}
	case WebOpenPage:
		a.URL = o.textOr("url", "")
	case WebFindInPage, "find":
		a.Type, a.URL, a.Pattern = WebFindInPage, o.textOr("url", ""), o.textOr("pattern", "")
	default:
		a.JSON = v.raw
	}
	return a
}

// A URLCitation is an annotation of an OutputText: text between two places comes from a page.
type URLCitation struct {
	URL        string `json:"url"`
	Title      string `json:"title"`
	StartIndex int    `json:"start_index"` // in code points
	EndIndex   int    `json:"end_index"`   // behind the last one
}

// MarshalJSON writes the annotation with its type.
func (c URLCitation) MarshalJSON() ([]byte, error) {
	type plain URLCitation
	return tagged("url_citation", plain(c))
}

// An AnnotationAdded adds an annotation to visible text that has come already.
type AnnotationAdded struct {
	Head
	Place
	ContentIndex    int             `json:"content_index"`
	AnnotationIndex int             `json:"annotation_index"`
	Annotation      json.RawMessage `json:"annotation"`
}

// isWebSearch reports whether the type of a tool is one of OpenAI's names of web search.
func isWebSearch(kind string) bool { return slices.Contains(webSearchTypes, kind) }
