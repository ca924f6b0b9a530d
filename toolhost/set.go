package toolhost

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// defaultMaxOpen is how many instances of a tool are open at the same time if its Spec does not say.
const defaultMaxOpen = 256

// names is the pattern for names of tools and functions, which is that of OpenAI's function names.
var names = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// A Set is the tools of a server by name. It is immutable, but counts, and safe for concurrent use.
type Set struct {
	entries map[string]*entry
	guests  *entry // counts for the tools that With adds
}

// Guests is the name under which Stats has the tools that were added by With, all together: their own names may be of clients,
// and as many as these like. No tool can be called so.
const Guests = "(of requests)"

// An entry is a tool with its places and counters.
type entry struct {
	tool   Tool
	spec   Spec
	places chan struct{} // capacity MaxOpen: one element for each open instance

	guests *entry // counts too; may be nil

	mu    sync.Mutex // guards what follows
	stats Stats
	idle  chan struct{} // closed while nothing hangs
}

// Stats are the counters of one tool since the start, except Open and Hung, which are of now.
type Stats struct {
	Tool     string
	Open     int           // instances, those that hang included
	Hung     int           // entries into the tool that were given up and have not come back
	Calls    uint64        // that have ended, one way or the other
	Failed   uint64        // calls whose result says so, whatever the reason
	Errors   uint64        // calls that failed by the host's or the tool's fault: errors, panics, hanging
	GivenUp  uint64        // entries that did not come back in time
	Unusable uint64        // states that could not be resumed whole
	Duration time.Duration // of all calls
	BytesIn  uint64        // of inputs
	BytesOut uint64        // of texts as they came from the tool
	Cut      uint64        // bytes of those that were dropped for length
}

// NewSet returns the set of the tools. The error names the one that is wrong.
func NewSet(tools ...Tool) (*Set, error) {
	s := &Set{entries: map[string]*entry{}, guests: &entry{stats: Stats{Tool: Guests}}}
	for _, t := range tools {
		spec := t.Spec()
		if err := spec.check(); err != nil {
			return nil, fmt.Errorf("tool %q: %w", spec.Name, err)
		}
		if s.entries[spec.Name] != nil {
			return nil, fmt.Errorf("tool %q: there is another tool with this name", spec.Name)
		}
		if spec.MaxOpen == 0 {
			spec.MaxOpen = defaultMaxOpen
		}
		e := &entry{tool: t, spec: spec, places: make(chan struct{}, spec.MaxOpen), idle: make(chan struct{})}
		e.stats.Tool = spec.Name
		close(e.idle)
		s.entries[spec.Name] = e
	}
	return s, nil
}

// Next returns the set that follows s when the tools of a server change. A tool that is in both, as the same value, goes on
// with its places and counters. The error is that of NewSet.
func (s *Set) Next(tools ...Tool) (*Set, error) {
	next, err := NewSet(tools...)
	if err != nil {
		return nil, err
	}
	for name, e := range next.entries {
		if was := s.entries[name]; was != nil && was.tool == e.tool {
			next.entries[name] = was
		}
	}
	next.guests = s.guests
	return next, nil
}

// With returns a set for one response that has tools of its own beside those of s, which go on with their places and
// counters. The tools of its own count as Guests of s. The error is that of NewSet.
func (s *Set) With(tools ...Tool) (*Set, error) {
	own, err := NewSet(tools...)
	if err != nil {
		return nil, err
	}
	for _, e := range own.entries {
		e.guests = s.guests
	}
	own.guests = s.guests
	for name, e := range s.entries {
		if own.entries[name] != nil {
			return nil, fmt.Errorf("tool %q: there is another tool with this name", name)
		}
		own.entries[name] = e
	}
	return own, nil
}

func (s *Spec) check() error {
	if !names.MatchString(s.Name) {
		return fmt.Errorf("the name must match %s", names)
	}
	if s.MaxOpen < 0 {
		return fmt.Errorf("MaxOpen is %d, want 0 or more", s.MaxOpen)
	}
	seen := map[string]bool{}
	for _, f := range s.Functions {
		switch {
		case !names.MatchString(f.Name):
			return fmt.Errorf("the name of function %q must match %s", f.Name, names)
		case seen[f.Name]:
			return fmt.Errorf("function %q is there twice", f.Name)
		case f.Parameters != nil && !isObject(f.Parameters):
			return fmt.Errorf("the parameters of function %q are no JSON object", f.Name)
		case f.Output != nil && !json.Valid(f.Output):
			return fmt.Errorf("the output schema of function %q is no JSON", f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

func isObject(schema json.RawMessage) bool {
	var members map[string]json.RawMessage
	return json.Unmarshal(schema, &members) == nil && members != nil
}

// Spec returns the spec of the tool with the name.
func (s *Set) Spec(name string) (spec Spec, ok bool) {
	e, ok := s.entries[name]
	if !ok {
		return Spec{}, false
	}
	return e.spec, true
}

// Resumes says whether instances of the tool with the name can begin with the State of an earlier one.
func (s *Set) Resumes(name string) bool {
	e := s.entries[name]
	if e == nil {
		return false
	}
	_, ok := e.tool.(Resumer)
	return ok
}

// Specs returns the specs of all tools in the order of their names.
func (s *Set) Specs() []Spec {
	specs := make([]Spec, 0, len(s.entries))
	for _, e := range s.sorted() {
		specs = append(specs, e.spec)
	}
	return specs
}

// Stats returns a copy of the counters of every tool in the order of their names, and behind them those of Guests, if they
// were called. How many of these are open or hang is not among them.
func (s *Set) Stats() []Stats {
	all := make([]Stats, 0, len(s.entries))
	for _, e := range s.sorted() {
		e.mu.Lock()
		stats := e.stats
		e.mu.Unlock()
		stats.Open = len(e.places)
		all = append(all, stats)
	}
	s.guests.mu.Lock()
	defer s.guests.mu.Unlock()
	if s.guests.stats.Calls > 0 {
		all = append(all, s.guests.stats)
	}
	return all
}

// Wait returns when nothing hangs any more, or with the error of ctx. New sessions may begin meanwhile.
func (s *Set) Wait(ctx context.Context) error {
	for _, e := range s.sorted() {
		e.mu.Lock()
		idle := e.idle
		e.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *Set) sorted() []*entry {
	entries := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(a.spec.Name, b.spec.Name) })
	return entries
}

// hang counts an entry into the tool that was given up, and back counts it out. The caller holds mu.
func (e *entry) hang() {
	if e.stats.Hung == 0 {
		e.idle = make(chan struct{})
	}
	e.stats.Hung++
	e.stats.GivenUp++
}

func (e *entry) back() {
	if e.stats.Hung--; e.stats.Hung == 0 {
		close(e.idle)
	}
}

// count adds up a call.
func (e *entry) count(r Record) {
	if e.guests != nil {
		e.guests.count(r)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Calls++
	if r.Failed {
		e.stats.Failed++
	}
	if r.Err != nil {
		e.stats.Errors++
	}
	e.stats.Duration += r.Duration
	e.stats.BytesIn += uint64(r.BytesIn)
	e.stats.BytesOut += uint64(r.BytesOut)
	e.stats.Cut += uint64(r.Cut)
}

func (e *entry) countUnusable() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Unusable++
}

// hasFunction reports whether a call of the function can go to the tool.
func (e *entry) hasFunction(name string) bool {
	if len(e.spec.Functions) == 0 {
		return name == ""
	}
	return slices.ContainsFunc(e.spec.Functions, func(f Function) bool { return f.Name == name })
}
