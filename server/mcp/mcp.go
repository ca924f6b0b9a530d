// Package mcp offers the tools of this server to other programs, over the Model Context Protocol.
//
// It owns the endpoint: what is read of a request and what is refused before that, the sessions of the older revisions, the
// bytes of an answer and their order, which tools are listed under which names, and what calls leave behind for later calls
// of the same caller. It does not know keys (whoever mounts it has checked them), models, or what a tool does. The messages
// and both handshakes are mcp-go's, of which no type is exported. A Server is safe for concurrent use.
//
// Requests pass a gate first: methods, Host and Origin, a bounded body within a deadline, JSON that every reader understands
// alike, and for the older revisions a session that is the caller's. Only then the library sees them. It writes to a stream of
// ours, which makes events of the answer once there was a notification, so that nothing can overtake or lose a notification
// of a call, and which gives up clients that do not read. Clients that go away end their calls.
//
// State is never tied to a connection: a caller makes a session of a tool explicitly and names it in its calls. Between calls
// such a session is bytes, not an open tool.
package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	protocol "github.com/mark3labs/mcp-go/mcp"
	library "github.com/mark3labs/mcp-go/server"

	"chorale/toolhost"
)

// Options configure a Server.
type Options struct {
	Tools   func() *toolhost.Set   // the tools that there are now; required, cheap, and safe for concurrent use
	Changed func() <-chan struct{} // a channel that is closed when Tools may return others; nil: clients learn of it when they ask
	Version string                 // of the program, for clients
	Hosts   []string               // names, without ports, by which clients may reach it besides those of loopback and IP addresses
	Origins []string               // origins whose pages may call, as https://app.example, besides the server's own; "*" is all
	Limits  Limits
	Logger  *slog.Logger // nil: nothing is logged
}

// Limits bound what callers take. Zero fields are the defaults.
type Limits struct {
	BodyBytes     int64           // of a request; 0 = 4 MiB
	BodyTimeout   time.Duration   // a body must have arrived within it; 0 = 30 s
	Requests      int             // being answered at the same time, without streams; 0 = 128
	Streams       int             // open for notifications; 0 = 1,024
	Sessions      int             // of the older revisions; above, the one unused for longest makes place; 0 = 10,000
	SessionIdle   time.Duration   // a session that is unused for so long ends; 0 = 1 h
	States        int             // sessions of tools; 0 = 1,024
	StatesOfKey   int             // of them, for one key; 0 = 64
	StateBytes    int64           // that they hold together; 0 = 1 GiB
	StateIdle     time.Duration   // a session of a tool that is unused for so long ends; 0 = 20 min, as containers
	Call          toolhost.Limits // of every call
	FileBytes     int             // of the files in one result; the others are named only; 0 = 8 MiB
	Notifications int             // about the progress of one call; 0 = 1,000
	KeepAlive     time.Duration   // a client that waits gets a sign of life after so long; 0 = 15 s
	WriteTimeout  time.Duration   // a client that takes no bytes for so long is given up; 0 = 30 s
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.BodyBytes, 4<<20)
	setDefault(&l.BodyTimeout, 30*time.Second)
	setDefault(&l.Requests, 128)
	setDefault(&l.Streams, 1024)
	setDefault(&l.Sessions, 10_000)
	setDefault(&l.SessionIdle, time.Hour)
	setDefault(&l.States, 1024)
	setDefault(&l.StatesOfKey, 64)
	setDefault(&l.StateBytes, 1<<30)
	setDefault(&l.StateIdle, 20*time.Minute)
	setDefault(&l.FileBytes, 8<<20)
	setDefault(&l.Notifications, 1000)
	setDefault(&l.KeepAlive, 15*time.Second)
	setDefault(&l.WriteTimeout, 30*time.Second)
	return l
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// A Server answers MCP requests at whatever path it is mounted.
type Server struct {
	o         Options
	core      *library.MCPServer
	transport *library.StreamableHTTPServer
	requests  chan struct{} // one for each being answered; its capacity is Limits.Requests
	streams   chan struct{} // the same for Limits.Streams
	sessions  sessions
	states    states
	counter   counter

	listing listing

	ended context.Context // ends with Drain
	end   context.CancelFunc
	loops sync.WaitGroup // goroutines of the server's own
}

// tidyEvery is how often what has expired is removed.
const tidyEvery = 30 * time.Second

// listTTL is how long clients of the newest revision may keep the list of tools when they do not listen for changes.
const listTTL = 30 * time.Second

// New returns a Server, or an error that names the wrong option. Close it.
func New(o Options) (*Server, error) { return open(o) }

// open is New with more of the protocol than the tools need, for the tests.
func open(o Options, more ...library.ServerOption) (*Server, error) {
	if o.Tools == nil {
		return nil, errors.New("mcp server: Options.Tools is required")
	}
	for _, origin := range o.Origins {
		if _, ok := parseOrigin(origin); origin != "*" && origin != "null" && !ok {
			return nil, fmt.Errorf("mcp server: Options.Origins has %q, which is no origin like https://app.example", origin)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.withDefaults()
	s := &Server{o: o, requests: make(chan struct{}, o.Limits.Requests), streams: make(chan struct{}, o.Limits.Streams)}
	s.sessions = sessions{max: o.Limits.Sessions, idle: o.Limits.SessionIdle, byID: map[string]*session{}, forget: s.forget}
	s.states = states{l: o.Limits, byID: map[string]*state{}}
	s.ended, s.end = context.WithCancel(context.Background())
	// What the library logs is about messages of clients and has session ids in it.
	quiet := slog.New(slog.DiscardHandler)
	s.core = library.NewMCPServer("chorale", o.Version, append([]library.ServerOption{
		library.WithTitle("Chorale"), library.WithInstructions(instructions), library.WithToolCapabilities(true), library.WithRecovery(),
		library.WithCacheHints(listTTL.Milliseconds(), protocol.CacheScopePrivate),
	}, more...)...)
	s.transport = library.NewStreamableHTTPServer(s.core, library.WithStreamableHTTPLogger(quiet),
		library.WithSessionIdManagerResolver(resolver{s}))
	s.refresh()
	s.loops.Go(s.tidy)
	s.loops.Go(s.watch)
	return s, nil
}

// Drain ends the streams that would never end by themselves; calls go on. It is the first half of Close.
func (s *Server) Drain() { s.end() }

// Close ends what goes on by itself. Requests that are still being answered end with their connections.
func (s *Server) Close() {
	s.Drain()
	s.loops.Wait()
	for _, id := range s.sessions.expired(time.Time{}) {
		s.sessions.remove(id)
	}
}

// tidy removes what has expired.
func (s *Server) tidy() {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ended.Done():
			return
		case now := <-tick.C:
			for _, id := range s.sessions.expired(now) {
				s.sessions.remove(id)
			}
			s.states.expire(now)
		}
	}
}

// watch tells clients when the tools have changed.
func (s *Server) watch() {
	if s.o.Changed == nil {
		return
	}
	for {
		changed := s.o.Changed()
		s.refresh()
		select {
		case <-s.ended.Done():
			return
		case <-changed:
		}
	}
}

// Stats is a snapshot of a Server's counters.
type Stats struct {
	InFlight int // requests being answered, without streams
	Streams  int // open for notifications
	Sessions int // of the older revisions
	States   int // sessions of tools
	Bytes    int64

	Requests      uint64 // that reached the protocol
	Refused       uint64 // by a check or a limit, before that
	Calls         uint64 // of tools, that have ended
	Failed        uint64 // of them, that the tool or its host says failed
	Cancelled     uint64 // of them, whose client went away or took it back
	Notifications uint64
	Expired       uint64 // sessions, of both kinds, that were unused for too long or made place
}

type counter struct {
	requests, refused, calls, failed, cancelled, notifications atomic.Uint64
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	out := Stats{InFlight: len(s.requests), Streams: len(s.streams), Requests: s.counter.requests.Load(), Refused: s.counter.refused.Load(),
		Calls: s.counter.calls.Load(), Failed: s.counter.failed.Load(), Cancelled: s.counter.cancelled.Load(),
		Notifications: s.counter.notifications.Load()}
	var ended uint64
	out.Sessions, out.Expired = s.sessions.count()
	out.States, out.Bytes, ended = s.states.count()
	out.Expired += ended
	return out
}

// Handler returns the Server as what is mounted. It must be behind whatever checks keys: two requests with the same bearer
// token are the same caller's.
func (s *Server) Handler() http.Handler { return s }
