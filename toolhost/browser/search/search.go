// Package search asks search engines, or a folder of documents, what there is about something.
//
// It owns what a query and a result are (Query, Result, Backend), the engines that can be asked, which one is asked when
// several are configured (Chain), how often, and what is remembered of their answers. It does not know how results are
// shown or opened. Backends are safe for concurrent use.
//
// Each engine is reached through an egress client of its own, whose policy is the engine's host alone and which adds the key to
// requests there. Every error says in one line what an operator would want to know, and has neither key nor query in it.
package search

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A Query is what is searched for.
type Query struct {
	Text     string
	Top      int      // results that are wanted; 0 = 10
	Allowed  []string // domains, with those below them, that results may be of; none: all
	Blocked  []string // domains, with those below them, that results are not of
	Location Location
	Offline  bool // only of backends that need no network
}

// A Location is where the asker is, as far as it is known.
type Location struct {
	Country  string // two letters, ISO 3166-1
	Region   string
	City     string
	Timezone string // IANA
}

// top is how many results are wanted.
func (q Query) top() int {
	if q.Top <= 0 {
		return 10
	}
	return q.Top
}

// A Result is a page that may be about it.
type Result struct {
	URL     string `json:"url"`
	Title   string `json:"title"`
	Snippet string `json:"snippet"` // text of the page, or about it; may be ""
}

// A Backend is something that can be asked.
type Backend interface {
	// Name is a short name for people: "brave".
	Name() string
	// Search returns results, best first; none is not an error. It returns when ctx ends.
	Search(ctx context.Context, q Query) ([]Result, error)
}

// ErrNoBackend says that there is nothing to ask.
var ErrNoBackend = errors.New("no search backend is configured")

// An Error says why a backend gave no results.
type Error struct {
	Backend string
	Status  int    // of HTTP, or 0
	Reason  string // one line without secrets
	Err     error  // what is behind it, or nil
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Backend, e.Reason) }

// Unwrap returns what is behind the error.
func (e *Error) Unwrap() error { return e.Err }

// filter returns the results that the query allows, at most as many as it wants, each address once.
func filter(results []Result, q Query) []Result {
	kept := results[:0:0]
	seen := map[string]bool{}
	for _, r := range results {
		if len(kept) == q.top() {
			break
		}
		if r.URL = strings.TrimSpace(r.URL); r.URL == "" || seen[r.URL] || !q.Allows(r.URL) {
			continue
		}
		seen[r.URL] = true
		kept = append(kept, r)
	}
	return kept
}

// Allows reports whether an address is of an allowed domain and not of a blocked one.
func (q Query) Allows(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	for _, d := range q.Blocked {
		if within(host, d) {
			return false
		}
	}
	for _, d := range q.Allowed {
		if within(host, d) {
			return true
		}
	}
	return len(q.Allowed) == 0
}

// within reports whether a host is a domain or below it.
func within(host, domain string) bool {
	domain = strings.ToLower(strings.Trim(domain, ". "))
	return domain != "" && (host == domain || strings.HasSuffix(host, "."+domain))
}
