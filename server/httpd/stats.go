package httpd

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Stats is a snapshot of a Server's counters.
type Stats struct {
	InFlight int // requests being answered now, streams included
	Routes   []RouteStats
}

// RouteStats counts the answered requests of one route and status; Stats orders them by both.
type RouteStats struct {
	Route    string // the pattern, as /v1/responses/:id; "unmatched" for paths that have none
	Status   int
	Requests uint64
	Duration time.Duration // of all together, from the end of the request's header to the end of the answer
}

type routeStatus struct {
	route  string
	status int
}

// A counter is the Server's own account.
type counter struct {
	mu       sync.Mutex // guards all below
	inFlight int
	routes   map[routeStatus]*RouteStats
}

func (c *counter) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight++
}

func (c *counter) end(route string, status int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	key := routeStatus{route, status}
	if c.routes == nil {
		c.routes = map[routeStatus]*RouteStats{}
	}
	if c.routes[key] == nil {
		c.routes[key] = &RouteStats{Route: route, Status: status}
	}
	c.routes[key].Requests++
	c.routes[key].Duration += took
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	c := &s.counter
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Stats{InFlight: c.inFlight}
	for _, r := range c.routes {
		out.Routes = append(out.Routes, *r)
	}
	slices.SortFunc(out.Routes, func(a, b RouteStats) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Status, b.Status))
	})
	return out
}
