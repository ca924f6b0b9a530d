package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	theirs "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	wire "github.com/mark3labs/mcp-go/mcp"

	"chorale/toolhost/egress"
)

// A Client uses one server. Its methods may be called from several goroutines; calls run at the same time, connecting
// and listing one after the other.
type Client struct {
	conf    Config
	opts    Options
	mask    *masker
	auth    *authorizer     // nil without OAuth
	turn    chan struct{}   // capacity 1: a place for who connects or lists
	life    context.Context // ends with Close, and with it whoever connects
	end     context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex // guards what follows
	conn     *conn
	listing  *Listing
	of       *conn // of which the listing is
	until    time.Time
	calls    uint64
	era      string // what the server turned out to be
	failures int    // of children in a row
	next     time.Time
	last     error
	closed   bool
}

// A conn is one connection, after the handshake.
type conn struct {
	theirs  *theirs.Client
	link    *link
	http    bool
	opened  time.Time
	info    Info
	caps    wire.ServerCapabilities
	told    string // instructions
	era     string
	version string
	mu      sync.Mutex // guards changed
	changed bool
}

func (c *conn) modern() bool { return c.era == "modern" }

// stale reports whether the server has said that its list changed, and forgets that it did.
func (c *conn) stale(forget bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.changed
	c.changed = c.changed && !forget
	return was
}

// New returns a client that connects when it is needed. The error names the field that is wrong.
func New(c Config, o Options) (*Client, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Limits = c.Limits.complete()
	c.Command = slices.Clone(c.Command)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c.Header, c.Env = maps.Clone(c.Header), maps.Clone(c.Env)
	life, end := context.WithCancel(context.Background())
	m := &Client{conf: c, opts: o, mask: &masker{}, turn: make(chan struct{}, 1), life: life, end: end}
	m.mask.add(c.Authorization)
	for _, v := range c.Header {
		m.mask.add(v)
	}
	for _, v := range c.Env {
		m.mask.add(v)
	}
	if c.OAuth != nil {
		a, err := newAuthorizer(c, m.mask)
		if err != nil {
			end()
			return nil, err
		}
		m.auth = a
	}
	return m, nil
}

// Close ends the connection, and the child with everything that it started. It is idempotent; calls that run end with
// ErrClosed or an error of their connection.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	conn := c.conn
	c.conn = nil
	c.mu.Unlock()
	c.end()
	if conn != nil {
		conn.theirs.Close()
	}
	c.turn <- struct{}{} // nobody connects any more
	<-c.turn
	c.running.Wait()
	if c.auth != nil {
		c.auth.close()
	}
	return nil
}

// connected returns a connection that lives. The caller has the turn.
func (c *Client) connected(ctx context.Context) (*conn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	old := c.conn
	if old != nil && old.link.carrier.alive() == nil {
		c.mu.Unlock()
		return old, nil
	}
	c.conn = nil
	if old != nil {
		c.failed(old.link.carrier.alive(), time.Since(old.opened))
	}
	wait, last, n, era := time.Until(c.next), c.last, c.failures, c.era
	c.mu.Unlock()
	if old != nil {
		old.theirs.Close()
	}
	if len(c.conf.Command) > 0 && wait > 0 {
		wait = wait.Round(time.Millisecond)
		return nil, fmt.Errorf("the server failed %d times in a row and is started again in %s: %w", n, wait, last)
	}
	conn, err := c.dial(ctx, era)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		if ctx.Err() == nil {
			c.failed(err, 0)
		}
		c.era = ""
		return nil, err
	case c.closed:
		conn.theirs.Close() // which waits for nobody who needs the lock
		return nil, ErrClosed
	}
	c.conn, c.era = conn, conn.era
	changes := c.conf.Listen && conn.caps.Tools != nil && conn.caps.Tools.ListChanged
	s, http := conn.link.carrier.(*streamable)
	switch {
	case http && !conn.modern() && (changes || c.opts.Elicit != nil):
		// Servers of the older era ask on a stream of its own, and forget the question when there is none.
		open := make(chan struct{})
		c.running.Go(func() { s.listen(conn.link.life, sync.OnceFunc(func() { close(open) })) })
		select {
		case <-open:
		case <-time.After(c.conf.Limits.Probe):
		case <-ctx.Done():
		}
	case changes && conn.modern():
		c.running.Go(func() { c.subscribe(conn) })
	}
	return conn, nil
}

// lived is how long a connection lasts that did not fail at once, in units of Limits.Backoff.
const lived = 10

// failed counts a failure. The caller has the lock.
func (c *Client) failed(err error, after time.Duration) {
	if c.failures++; after > lived*c.conf.Limits.Backoff {
		c.failures = 1
	}
	c.last, c.next = err, time.Time{}
	if c.failures > 1 {
		c.next = time.Now().Add(min(c.conf.Limits.Backoff<<min(c.failures-2, 6), time.Minute))
	}
}

// dial connects and agrees on an era. A child that did not survive the question for its era is asked the old way.
func (c *Client) dial(ctx context.Context, era string) (*conn, error) {
	ctx, clock, stop := within(ctx, c.conf.Limits.Connect, "to connect")
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(ErrClosed) })()
	ctx = withExchange(ctx, &exchange{clock: clock})
	conn, err := c.handshake(ctx, era == "legacy", false)
	var died *ProcessError
	var status *HTTPError
	switch {
	case err == nil || ctx.Err() != nil:
	case era == "" && errors.As(err, &died) && died.started:
		conn, err = c.handshake(ctx, true, false)
	case c.conf.Legacy && as[*AuthError](err) == nil && errors.As(err, &status) && status.Status/100 == 4:
		conn, err = c.handshake(ctx, true, true)
	}
	return conn, ended(ctx, err)
}

func (c *Client) handshake(ctx context.Context, legacy, sse bool) (*conn, error) {
	cn := &conn{http: c.conf.URL != "", opened: time.Now()}
	cn.link = newLink(c.conf.Limits, func(method string, params json.RawMessage) { c.heard(cn, method, params) })
	if err := c.carry(ctx, cn, sse); err != nil {
		return nil, err
	}
	options := []theirs.ClientOption{theirs.WithDiscoverTimeout(-1)}
	if legacy {
		//lint:ignore SA1019 servers of the older era will be there for years
		options = append(options, theirs.WithLegacyProtocolOnly())
	}
	if c.opts.Elicit != nil {
		options = append(options, theirs.WithElicitationHandler(elicitor{c}))
	}
	if cn.http && !sse {
		cn.theirs = theirs.NewClient(httpLink{cn.link}, options...)
	} else {
		cn.theirs = theirs.NewClient(cn.link, options...)
	}
	r := wire.InitializeRequest{}
	r.Params.ClientInfo = wire.Implementation{Name: "chorale", Version: c.opts.Version}
	err := cn.theirs.Start(ctx)
	var result *wire.InitializeResult
	if err == nil {
		result, err = cn.theirs.Initialize(ctx, r)
	}
	if err != nil {
		cn.theirs.Close()
		return nil, clean(err)
	}
	cn.info = Info{Name: result.ServerInfo.Name, Version: result.ServerInfo.Version, Title: result.ServerInfo.Title}
	cn.caps, cn.told, cn.version, cn.era = result.Capabilities, result.Instructions, cn.theirs.ProtocolVersion(), "legacy"
	if wire.IsModernProtocol(cn.version) {
		cn.era = "modern"
	}
	if c.opts.Notify != nil && cn.caps.Logging != nil {
		// A server that refuses to be told a level still works.
		//lint:ignore SA1019 servers of the older era log only when they are told to
		_ = cn.theirs.SetLevel(ctx, wire.SetLevelRequest{Params: wire.SetLevelParams{Level: wire.LoggingLevelInfo}})
	}
	return cn, nil
}

// carry gives the link its carrier.
func (c *Client) carry(ctx context.Context, cn *conn, sse bool) error {
	if !cn.http {
		p, err := start(c.conf, c.mask, cn.link.arrived)
		if err != nil {
			return err
		}
		cn.link.carrier = p
		return nil
	}
	e, err := egress.New(egress.Options{
		Policy: c.conf.Policy, SameOrigin: true,
		Limits: egress.Limits{
			Total: -1, Header: -1, ResponseBody: -1, RequestBody: c.conf.Limits.Message, Dial: c.conf.Limits.Connect,
			Concurrent: maxRequests,
		},
	})
	if err != nil {
		return err
	}
	header := map[string]string{}
	for name, value := range c.conf.Header {
		header[name] = value
	}
	if c.conf.Authorization != "" {
		header["Authorization"] = "Bearer " + c.conf.Authorization
	}
	var rt http.RoundTripper = e
	if c.auth != nil {
		rt = &bearer{c.auth, e}
	}
	s := &streamable{
		url: c.conf.URL, header: header, http: rt, egress: e, limits: c.conf.Limits, mask: c.mask, got: cn.link.arrived,
		life: cn.link.life,
	}
	cn.link.modern = s.speak
	if !sse {
		cn.link.carrier = s
		return nil
	}
	old, err := openSSE(ctx, s)
	if err != nil {
		s.close()
		return err
	}
	cn.link.carrier = old
	return nil
}

// maxRequests is how many requests of HTTP a client makes at the same time; further calls wait.
const maxRequests = 64

// subscribe keeps the stream open on which a server of the newer era says that its list has changed. When it ends, the
// list holds for its time.
func (c *Client) subscribe(cn *conn) {
	err := cn.theirs.Listen(cn.link.life, wire.SubscriptionFilter{ToolsListChanged: true})
	if err != nil && cn.link.life.Err() == nil {
		c.opts.Logger.Debug("mcp subscription ended", "server", c.conf.Label, "error", clean(err))
	}
}

// heard takes a notification.
func (c *Client) heard(cn *conn, method string, params json.RawMessage) {
	n := Notification{Label: c.conf.Label}
	switch method {
	case "notifications/tools/list_changed":
		cn.mu.Lock()
		cn.changed = true
		cn.mu.Unlock()
		n.Kind = "list_changed"
	case "notifications/message":
		var p struct {
			Level string          `json:"level"`
			Data  json.RawMessage `json:"data"`
		}
		if json.Unmarshal(params, &p) != nil {
			return
		}
		n.Kind, n.Level, n.Message = "log", p.Level, string(p.Data)
		var text string
		if json.Unmarshal(p.Data, &text) == nil {
			n.Message = text
		}
		n.Message = printable(n.Message)
	default:
		return
	}
	if c.opts.Notify != nil {
		c.opts.Notify(n)
	}
}

// clean takes mcp-go's wrapping off an error.
func clean(err error) error {
	if errors.Is(err, errSession) || errors.Is(err, errBroken) || errors.Is(err, ErrClosed) {
		return unwrapped(err)
	}
	for _, e := range []error{
		as[*AuthError](err), as[*ProtocolError](err), as[*HTTPError](err), as[*LimitError](err), as[*InvalidError](err),
		as[*ProcessError](err), as[*egress.DeniedError](err), as[*egress.LimitError](err),
	} {
		if e != nil {
			return e
		}
	}
	return unwrapped(err)
}

func unwrapped(err error) error {
	var theirs *transport.Error
	if errors.As(err, &theirs) {
		return theirs.Err
	}
	return err
}

func as[E error](err error) error {
	var e E
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// take waits for the turn.
func (c *Client) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(ctx, ctx.Err())
	}
}

// List returns the tools of the server. It connects when it has to, and asks when it has no list that still holds. When
// there is an error after some pages, the list is partial.
func (c *Client) List(ctx context.Context) (*Listing, error) {
	_, l, err := c.ready(ctx, true)
	return l, err
}

// ready returns a connection and its list. A list that is too old is good enough for a call.
func (c *Client) ready(ctx context.Context, fresh bool) (*conn, *Listing, error) {
	if cn, l := c.cached(fresh); l != nil {
		return cn, l, nil
	}
	if err := c.take(ctx); err != nil {
		return nil, nil, err
	}
	defer func() { <-c.turn }()
	if cn, l := c.cached(fresh); l != nil { // somebody else was as curious
		return cn, l, nil
	}
	for again := false; ; again = true {
		cn, err := c.connected(ctx)
		if err != nil {
			return nil, nil, err
		}
		l, hold, err := c.list(ctx, cn)
		if err != nil && !again && ctx.Err() == nil && (unsent(err) || errors.Is(err, errBroken)) {
			continue // asking for a list twice does no harm
		}
		if err != nil {
			return nil, nil, err
		}
		c.mu.Lock()
		c.listing, c.of, c.until = l, cn, time.Now().Add(hold)
		c.mu.Unlock()
		return cn, l, nil
	}
}

func (c *Client) cached(fresh bool) (*conn, *Listing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.conn == nil || c.of != c.conn || c.conn.link.carrier.alive() != nil {
		return nil, nil
	}
	if fresh && (time.Now().After(c.until) || c.conn.stale(false)) {
		return nil, nil
	}
	return c.conn, c.listing
}

// Call makes a call. The arguments are a JSON object; none is an empty one. progress may be nil; it is called while the
// call runs, from another goroutine, with a fraction of 0 to 1 or a negative one when it is not known. A tool that
// failed is a Result; errors are an *ArgumentsError, ErrUnknown, and what List has.
func (c *Client) Call(
	ctx context.Context, tool string, arguments json.RawMessage, progress func(message string, fraction float64),
) (*Result, error) {
	return c.callAs(ctx, tool, nil, arguments, progress)
}

// CallAs is Call of a tool whose definition must be the one with a Hash, which somebody has seen. A *ChangedError says
// that it is another one by now.
func (c *Client) CallAs(
	ctx context.Context, tool string, hash [32]byte, arguments json.RawMessage,
	progress func(message string, fraction float64),
) (*Result, error) {
	return c.callAs(ctx, tool, &hash, arguments, progress)
}

func (c *Client) callAs(
	ctx context.Context, tool string, hash *[32]byte, arguments json.RawMessage, progress func(string, float64),
) (*Result, error) {
	for again := false; ; again = true {
		cn, l, err := c.ready(ctx, false)
		if err != nil {
			return nil, err
		}
		t := l.tool(tool)
		if t == nil {
			return nil, fmt.Errorf("%w: %q", ErrUnknown, tool)
		}
		if hash != nil && t.Hash != *hash {
			return nil, &ChangedError{Tool: tool}
		}
		if arguments, err = t.check(arguments, c.conf.Limits); err != nil {
			return nil, err
		}
		r, err := c.call(ctx, cn, t, arguments, progress)
		if err == nil || again || ctx.Err() != nil || !c.repeatable(t, err) {
			return r, err
		}
		c.opts.Logger.Debug("mcp call repeated", "server", c.conf.Label, "tool", tool, "error", err)
	}
}

// repeatable reports whether a call that failed can be made again: it was not made, or a server that is believed says
// that it does not matter.
func (c *Client) repeatable(t *Tool, err error) bool {
	if unsent(err) {
		return true
	}
	var died *ProcessError
	if !errors.Is(err, errBroken) && !errors.As(err, &died) || !c.conf.Trusted || t.Annotations == nil {
		return false
	}
	a := t.Annotations
	return a.ReadOnly != nil && *a.ReadOnly || a.Idempotent != nil && *a.Idempotent
}

func (c *Client) call(
	ctx context.Context, cn *conn, t *Tool, arguments json.RawMessage, progress func(string, float64),
) (*Result, error) {
	ctx, whole, stop := within(ctx, c.conf.Limits.Call, "of a call")
	defer stop()
	ctx, idle, stopIdle := within(ctx, c.conf.Limits.Idle, "without a sign of the server")
	defer stopIdle()
	c.mu.Lock()
	c.calls++
	x := &exchange{clock: whole, idle: idle, progress: progress, reduce: reduceCall, token: fmt.Sprintf("call-%d", c.calls)}
	c.mu.Unlock()
	r := wire.CallToolRequest{}
	r.Params.Name, r.Params.Arguments = t.Name, arguments
	r.Params.Meta = &wire.Meta{ProgressToken: x.token, AdditionalFields: map[string]any{}}
	if c.opts.Trace != nil {
		parent, state := c.opts.Trace(ctx)
		if parent != "" {
			r.Params.Meta.AdditionalFields["traceparent"] = parent
		}
		if state != "" {
			r.Params.Meta.AdditionalFields["tracestate"] = state
		}
	}
	if _, err := cn.theirs.CallTool(withExchange(ctx, x), r); err != nil {
		if err = ended(ctx, clean(err)); errors.Is(err, ErrClosed) && c.life.Err() == nil {
			err = errBroken // of this connection, which was replaced
		}
		return nil, err
	}
	return readResult(x.kept(), t, c.conf.Limits)
}

// Trace returns the W3C traceparent and tracestate of a call, "" for none.
type Trace func(ctx context.Context) (parent, state string)
