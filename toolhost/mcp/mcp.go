// Package mcp uses MCP servers as tools.
//
// It owns connections to servers (streamable HTTP, child processes, HTTP+SSE where the operator allows it), the era and
// version that were agreed on with each, lists of tools and how long they hold, calls and their results, and the
// authorisation at servers that want OAuth. It does not know the Responses API, approvals, or how a tool looks in a
// prompt. A Client is safe for concurrent use.
//
// The protocol is mcp-go's: both handshakes, metadata and headers of the stateless core, round trips for input.
// Everything below its transport interface is ours, because a server is not trusted: a link checks every message before
// mcp-go sees it (JSON without duplicate members and without members that differ from the protocol's in case only,
// depth, size), keeps the JSON as it came, and shows mcp-go only what it needs. Below the link a carrier moves bytes:
// requests of toolhost/egress, which decides about addresses and redirects, or the pipes of a child, which has an empty
// environment and a process group of its own. Each read has a limit, each wait a deadline.
//
// A connection is made when it is needed and again when it broke; children wait longer after each failure. What a
// server said about its era is remembered. A call is repeated only when it cannot have been made, or when a trusted
// server's tool says that repeating does no harm.
//
// Tools that cannot be offered honestly (names, schemas that do not compile or refer to documents elsewhere, which are
// never fetched) are left out with a reason. Arguments are validated before a call and structured results after it.
//
// Tokens live in memory. They are bound to the authorization server that issued them, and are masked in whatever a
// server sends back.
package mcp

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"chorale/toolhost/egress"
)

// A Config says how to reach one server. Exactly one of URL and Command is set.
type Config struct {
	Label         string            // how requests and the model name the server
	URL           string            // http or https
	Legacy        bool              // may fall back to HTTP+SSE of 2024-11-05 at the same URL
	Header        map[string]string // sent with each request to the URL; never stored, logged or echoed
	Authorization string            // a bearer token; the same
	OAuth         *OAuth            // nil: a server that wants authorisation is an *AuthError
	Policy        *egress.Policy    // which addresses may be reached, of the server and of its OAuth endpoints
	Command       []string          // a child process; from an operator's file only, never from a request
	Env           map[string]string // of the child, beside PATH, HOME (a private empty folder) and LANG
	Dir           string            // of the child; "" is its HOME
	Limits        Limits
	Trusted       bool // the operator's: annotations are believed
	Listen        bool // keep a stream open over HTTP on which the server says that its list has changed
}

// Options are what a Client has from the program that it is in.
type Options struct {
	Logger  *slog.Logger       // nil: nobody
	Version string             // of this program, told to servers
	Notify  func(Notification) // may be nil; called from several goroutines and must not block
	// Elicit answers what a server asks the user during a call. nil: servers are told that nobody can be asked.
	Elicit Elicit
	// Trace returns the W3C trace context of a call ("" for none), for servers that join traces. May be nil.
	Trace Trace
}

// A Notification is what a server said beside its answers.
type Notification struct {
	Label   string // of the server
	Kind    string // "log" or "list_changed"
	Level   string // of a log: "debug" to "emergency"
	Message string // of a log: text, or JSON
}

// Limits bound what a server can cost. Zeros stand for the defaults.
type Limits struct {
	Connect  time.Duration // start of the child, connection, handshake; 30 s
	Probe    time.Duration // how long a server may leave the question for its era unanswered, within Connect; 5 s
	List     time.Duration // all pages of a list; what has come by then is a partial list; 30 s
	Call     time.Duration // one call; 10 min
	Idle     time.Duration // a call of which nothing is heard; 2 min
	Cache    time.Duration // how long a list holds when the server does not say; 5 min
	Backoff  time.Duration // wait after a second failure of a child or connection in a row; doubles up to a minute; 1 s
	Close    time.Duration // for a child to end by itself, and again for SIGTERM; 1 s
	Message  int64         // bytes of one JSON message; 8 MiB
	Stream   int64         // bytes of the answer to one request, notifications included; 64 MiB
	Messages int           // messages in the answer to one request; 10000
	Result   int64         // bytes of a result that are kept; 4 MiB
	Depth    int           // of nesting in JSON; 64
	Tools    int           // of a list; 512
	Pages    int           // of a list; 100
	Schema   int           // bytes of one schema; 256 KiB
	Stderr   int           // bytes of a child's last words that are kept; 8 KiB
}

// complete fills in the defaults.
func (l Limits) complete() Limits {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&l.Connect, 30 * time.Second}, {&l.Probe, 5 * time.Second}, {&l.List, 30 * time.Second}, {&l.Call, 10 * time.Minute},
		{&l.Idle, 2 * time.Minute}, {&l.Cache, 5 * time.Minute}, {&l.Backoff, time.Second}, {&l.Close, time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int64
		value int64
	}{{&l.Message, 8 << 20}, {&l.Stream, 64 << 20}, {&l.Result, 4 << 20}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Messages, 10000}, {&l.Depth, 64}, {&l.Tools, 512}, {&l.Pages, 100}, {&l.Schema, 256 << 10}, {&l.Stderr, 8 << 10}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return l
}

// check says which field is wrong.
func (l Limits) check() error {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"Connect", int64(l.Connect)}, {"Probe", int64(l.Probe)}, {"List", int64(l.List)}, {"Call", int64(l.Call)},
		{"Idle", int64(l.Idle)}, {"Cache", int64(l.Cache)}, {"Backoff", int64(l.Backoff)}, {"Close", int64(l.Close)},
		{"Message", l.Message}, {"Stream", l.Stream}, {"Messages", int64(l.Messages)}, {"Result", l.Result},
		{"Depth", int64(l.Depth)}, {"Tools", int64(l.Tools)}, {"Pages", int64(l.Pages)}, {"Schema", int64(l.Schema)},
		{"Stderr", int64(l.Stderr)},
	} {
		if n.value < 0 {
			return fmt.Errorf("MCP Limits.%s: must not be negative", n.name)
		}
	}
	return nil
}

// check says which field is wrong.
func (c *Config) check() error {
	switch {
	case c.Label == "":
		return errors.New("MCP Label: must not be empty")
	case (c.URL == "") == (len(c.Command) == 0):
		return errors.New("URL, Command: exactly one of them must be set")
	case c.URL == "":
		return c.checkCommand()
	}
	u, err := egress.ParseURL(c.URL)
	if err != nil {
		return fmt.Errorf("URL: %w", err)
	}
	if len(c.Env) > 0 || c.Dir != "" {
		return errors.New("MCP Env, Dir: are for a Command")
	}
	for name, value := range c.Header {
		if err := checkHeader(name, value); err != nil {
			return fmt.Errorf("MCP Header: %w", err)
		}
	}
	if c.Authorization != "" {
		if _, twice := findHeader(c.Header, "Authorization"); twice || c.OAuth != nil {
			return errors.New("MCP Authorization: is also in Header or OAuth; only one of them can be sent")
		}
		if err := checkHeader("Authorization", c.Authorization); err != nil {
			return fmt.Errorf("MCP Authorization: %w", err)
		}
	}
	if c.OAuth != nil {
		if err := c.OAuth.check(); err != nil {
			return err
		}
	}
	c.URL = u.String()
	return c.Limits.check()
}

func (c *Config) checkCommand() error {
	if c.Command[0] == "" {
		return errors.New("MCP Command: the program's name is empty")
	}
	if len(c.Header) > 0 || c.Authorization != "" || c.OAuth != nil || c.Legacy || c.Listen {
		return errors.New("MCP Header, Authorization, OAuth, Legacy, Listen: are for a URL")
	}
	for name, value := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return fmt.Errorf("MCP Env: %q cannot be an environment variable", name)
		}
	}
	return c.Limits.check()
}

// checkHeader never shows the value.
func checkHeader(name, value string) error {
	for _, r := range name {
		if !strings.ContainsRune("!#$%&'*+-.^_`|~", r) && !('0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z') {
			return fmt.Errorf("%q is no name of a header field", name)
		}
	}
	for i := range len(value) {
		if b := value[i]; b < ' ' && b != '\t' || b == 0x7f {
			return fmt.Errorf("the value of %s has control characters", name)
		}
	}
	switch strings.ToLower(name) {
	case "":
		return errors.New("a name is empty")
	case "content-type", "accept", "mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id":
		return fmt.Errorf("%s belongs to the protocol", name)
	}
	return nil
}

func findHeader(header map[string]string, name string) (string, bool) {
	for n, v := range header {
		if strings.EqualFold(n, name) {
			return v, true
		}
	}
	return "", false
}
