package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mark3labs/mcp-go/client/transport"
	wire "github.com/mark3labs/mcp-go/mcp"
)

// A carrier moves messages of one connection. It is a stream of HTTP requests, or the pipes of a child.
type carrier interface {
	// call sends a request and returns its answer. Other messages that arrive meanwhile go to the link.
	call(ctx context.Context, out outgoing) (*message, error)
	// send sends a message that has no answer.
	send(ctx context.Context, out outgoing) error
	// alive returns nil, or why no call can succeed any more.
	alive() error
	close()
}

// An outgoing message is what a carrier sends.
type outgoing struct {
	id     string // JSON; "" for a notification or an answer
	method string
	body   []byte
	header map[string][]string // of HTTP
}

// An exchange is what one operation of the Client has to do with the messages that it causes. It travels in the
// context, because mcp-go is between the two ends.
type exchange struct {
	clock    *clock // of the whole
	idle     *clock
	progress func(message string, fraction float64)
	token    string // of the progress notifications
	reduce   func(result json.RawMessage) (json.RawMessage, error)

	mu  sync.Mutex // guards raw
	raw json.RawMessage
}

type exchangeKey struct{}

func withExchange(ctx context.Context, x *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	if x == nil {
		x = &exchange{}
	}
	return x
}

// pause lets nobody's time pass while a person is asked; the function ends it.
func (x *exchange) pause() func() {
	x.clock.stop()
	x.idle.stop()
	return func() { x.clock.wind(); x.idle.wind() }
}

// heard is called when anything arrives for the exchange.
func (x *exchange) heard() { x.idle.wind() }

func (x *exchange) keep(raw json.RawMessage) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.raw = raw
}

func (x *exchange) kept() json.RawMessage {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.raw
}

// maxAnswering is how many requests of a server are answered at the same time; the rest is refused.
const maxAnswering = 8

// A link is mcp-go's transport over a carrier.
type link struct {
	carrier carrier
	limits  Limits
	notify  func(method string, params json.RawMessage)
	modern  func(version string) // tells the carrier what is spoken
	life    context.Context      // of the connection: a link lives as long as it
	end     context.CancelFunc
	places  chan struct{} // capacity maxAnswering
	working sync.WaitGroup

	mu     sync.Mutex // guards what follows
	handle transport.RequestHandler
	asked  map[string]*exchange // by progress token
	fatal  error                // why the handshake cannot go on with another era
}

func newLink(l Limits, notify func(string, json.RawMessage)) *link {
	life, end := context.WithCancel(context.Background())
	return &link{
		limits: l, notify: notify, life: life, end: end, asked: map[string]*exchange{},
		places: make(chan struct{}, maxAnswering),
	}
}

// An httpLink is a link that mcp-go knows to be over HTTP.
type httpLink struct{ *link }

// SetProtocolVersion implements transport.HTTPConnection.
func (l httpLink) SetProtocolVersion(version string) { l.modern(version) }

// Start implements transport.Interface. Carriers start before their link.
func (l *link) Start(context.Context) error { return nil }

// SetNotificationHandler implements transport.Interface. Notifications go to the Client directly.
func (l *link) SetNotificationHandler(func(wire.JSONRPCNotification)) {}

// SetRequestHandler implements transport.BidirectionalInterface.
func (l *link) SetRequestHandler(handler transport.RequestHandler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handle = handler
}

// GetSessionId implements transport.Interface. Sessions are the carrier's.
func (l *link) GetSessionId() string { return "" }

// Close implements transport.Interface.
func (l *link) Close() error {
	l.end()
	l.carrier.close()
	l.working.Wait()
	return nil
}

// SendNotification implements transport.Interface.
func (l *link) SendNotification(ctx context.Context, n wire.JSONRPCNotification) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return l.carrier.send(ctx, outgoing{method: n.Method, body: body})
}

const (
	methodDiscover   = "server/discover"
	methodInitialize = "initialize"
	codeVersion      = -32022 // UnsupportedProtocolVersionError of 2026-07-28
)

// SendRequest implements transport.Interface.
func (l *link) SendRequest(ctx context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	x := exchangeOf(ctx)
	if err := l.stopped(r.Method); err != nil {
		return nil, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	id, err := json.Marshal(r.ID)
	if err != nil {
		return nil, err
	}
	out := outgoing{id: string(id), method: r.Method, body: body, header: r.Header}
	if x.token != "" {
		l.expect(x.token, x)
		defer l.expect(x.token, nil)
	}
	m, err := l.ask(ctx, out)
	if err == nil && m.err != nil {
		err = m.err
	}
	if r.Method == methodDiscover && err == nil {
		err = discovered(m.result)
	}
	if r.Method == methodDiscover && err != nil {
		l.judge(err)
	}
	var refused *ProtocolError
	if errors.As(err, &refused) {
		// Through mcp-go, which reacts to some; the Client asks the exchange's error back by its type.
		return nil, l.typed(refused)
	}
	if err != nil {
		return nil, err
	}
	result := m.result
	if x.reduce != nil {
		if result, err = x.reduce(m.result); err != nil {
			return nil, err
		}
	}
	x.keep(m.result)
	return &transport.JSONRPCResponse{JSONRPC: "2.0", ID: r.ID, Result: result}, nil
}

// ask makes the call, and the question for the era twice if the server refused a version that it says it speaks, which
// mcp-go takes for the answer of an old server.
func (l *link) ask(ctx context.Context, out outgoing) (*message, error) {
	if out.method != methodDiscover {
		return l.carrier.call(ctx, out)
	}
	probe, clock, stop := within(ctx, l.limits.Probe, "for the first answer")
	defer stop()
	probe = withExchange(probe, &exchange{clock: exchangeOf(ctx).clock, idle: clock}) // that a person can stop both
	for again := false; ; again = true {
		m, err := l.carrier.call(probe, out)
		if err != nil {
			return nil, err
		}
		if again || m.err == nil || m.err.Code != codeVersion || !slices.Contains(supported(m.err), askedVersion(out.body)) {
			return m, nil
		}
		out.id = `"again"`
		var r map[string]json.RawMessage
		if err := json.Unmarshal(out.body, &r); err != nil {
			return nil, err
		}
		r["id"] = json.RawMessage(out.id)
		if out.body, err = json.Marshal(r); err != nil {
			return nil, err
		}
	}
}

// errOld says that an answer to the question for the era is not one of the newer era: some old servers say yes to all.
var errOld = errors.New("the server does not speak a version of the newer era")

func discovered(result json.RawMessage) error {
	var d struct {
		Versions []string `json:"supportedVersions"`
	}
	if json.Unmarshal(result, &d) != nil || !slices.ContainsFunc(d.Versions, wire.IsModernProtocol) {
		return errOld
	}
	return nil
}

// supported are the versions that an error of the version names.
func supported(e *ProtocolError) []string {
	var data struct {
		Supported []string `json:"supported"`
	}
	if json.Unmarshal(e.Data, &data) != nil {
		return nil
	}
	return data.Supported
}

func askedVersion(body []byte) string {
	var r struct {
		Params struct {
			Meta map[string]json.RawMessage `json:"_meta"`
		} `json:"params"`
	}
	var version string
	if json.Unmarshal(body, &r) != nil || json.Unmarshal(r.Params.Meta[wire.MetaKeyProtocolVersion], &version) != nil {
		return ""
	}
	return version
}

// judge decides whether an error of the question for the era leaves the older handshake to try. mcp-go always tries.
func (l *link) judge(err error) {
	var refused *ProtocolError
	var status *HTTPError
	var late *LimitError
	switch {
	case errors.Is(err, errOld):
		return
	case as[*AuthError](err) != nil: // with whatever is in it
	case errors.As(err, &refused):
		older := func(version string) bool { return !wire.IsModernProtocol(version) }
		if refused.Code != codeVersion || slices.ContainsFunc(supported(refused), older) {
			return
		}
	case errors.As(err, &status):
		if status.Status >= 400 && status.Status < 500 && status.Status != 429 {
			return
		}
	case errors.As(err, &late) && late.Timeout():
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = err
}

func (l *link) stopped(method string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if method == methodInitialize && l.fatal != nil {
		return l.fatal
	}
	return nil
}

// A refusal is a ProtocolError that mcp-go can also read as its own error.
type refusal struct {
	*ProtocolError
	theirs error
}

// Unwrap returns both.
func (r *refusal) Unwrap() []error { return []error{r.ProtocolError, r.theirs} }

func (l *link) typed(e *ProtocolError) error {
	theirs := &wire.JSONRPCErrorDetails{Code: e.Code, Message: e.Message}
	if e.Data != nil && json.Unmarshal(e.Data, &theirs.Data) != nil {
		theirs.Data = nil
	}
	return &refusal{e, theirs.AsError()}
}

func (l *link) expect(token string, x *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x == nil {
		delete(l.asked, token)
		return
	}
	l.asked[token] = x
}

// arrived takes a message that is not the answer to a call.
func (l *link) arrived(m *message) {
	switch {
	case m.method == "":
		// An answer that nobody waits for: to a call that was given up.
	case m.id != nil:
		l.answer(m)
	case m.method == "notifications/progress":
		l.progressed(m.params)
	default:
		l.notify(m.method, m.params)
	}
}

func (l *link) progressed(params json.RawMessage) {
	var p struct {
		Token    json.RawMessage `json:"progressToken"`
		Progress float64         `json:"progress"`
		Total    float64         `json:"total"`
		Message  string          `json:"message"`
	}
	var token string
	if json.Unmarshal(params, &p) != nil || json.Unmarshal(p.Token, &token) != nil {
		return
	}
	l.mu.Lock()
	x := l.asked[token]
	l.mu.Unlock()
	if x == nil {
		return
	}
	x.heard()
	if x.progress == nil {
		return
	}
	fraction := -1.0
	if p.Total > 0 {
		fraction = min(max(p.Progress/p.Total, 0), 1)
	}
	x.progress(p.Message, fraction)
}

// answer answers a request of the server, in a goroutine of its own: the reader goes on reading.
func (l *link) answer(m *message) {
	l.mu.Lock()
	handle := l.handle
	l.mu.Unlock()
	select {
	case l.places <- struct{}{}:
	default:
		return // it asks faster than anybody answers, and may wait for ever
	}
	l.working.Go(func() {
		defer func() { <-l.places }()
		ctx, cancel := context.WithTimeout(l.life, l.limits.Call)
		defer cancel()
		var params any
		if m.params != nil && json.Unmarshal(m.params, &params) != nil {
			params = nil
		}
		result, err := json.RawMessage(nil), fmt.Errorf("%s is not offered", m.method)
		if handle != nil {
			var r *transport.JSONRPCResponse
			r, err = handle(ctx, transport.JSONRPCRequest{JSONRPC: "2.0", Method: m.method, Params: params})
			if err == nil && r != nil {
				result = r.Result
			}
		}
		reply := map[string]any{"jsonrpc": "2.0", "id": m.id, "result": result}
		if err != nil {
			delete(reply, "result")
			reply["error"] = map[string]any{"code": wire.METHOD_NOT_FOUND, "message": err.Error()}
		}
		if body, err := json.Marshal(reply); err == nil {
			// Nobody could be told that this failed but the server.
			_ = l.carrier.send(ctx, outgoing{body: body})
		}
	})
}
