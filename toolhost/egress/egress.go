// Package egress makes the requests that tools want to make to the outside, and only those that a policy allows.
//
// It owns what is allowed (Rule, Policy), what a URL means, which addresses are public, the connections, the limits,
// and the secrets that requests carry. It does not know who asks: plugins, MCP servers and the browser each have a
// Client of their own policy. A Policy is immutable; a Client and its sessions are safe for concurrent use.
//
// A request is checked before anything is sent, and again at every redirect: its URL is brought into one form, which is
// compared with the rules and is also what is sent. The name is resolved once for a connection, without search domains
// if it has a dot (single labels are names of the local network or of the hosts file); every address of the answer must
// be within reach of the rule, and the connection goes to one of these addresses, so that a second answer has nobody to
// fool. Connections are kept apart by the networks that their rules reach, and never shared between Clients. Proxies of
// the environment are not used.
//
// A redirect never leads from https to http. To another origin it carries no header of the request but Accept,
// Accept-Language and User-Agent, no body and no secret, and must be one that becomes a GET or already is one.
//
// Secrets are put into the header after all checks. The request that a response shows does not have them, records and
// errors name their handles only, and a server that sends a secret back has it masked with asterisks in the header and
// the body, in plain form and as JSON, HTML, URLs and base64 write it. Requests with a secret have no Range, so that
// nobody can fetch an echo in pieces. That is for servers which show requests to people who debug, not against a server
// that wants to tell: an audience is trusted with its secret.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the settings of a Client.
type Options struct {
	Policy  *Policy // nil allows nothing
	Secrets []Secret
	Limits  Limits
	// SameOrigin refuses redirects to another scheme, host or port.
	SameOrigin bool
	RootCAs    *x509.CertPool // nil: the system's

	// Lookup resolves a name, a full one with a dot at the end; nil asks the system.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// Dial connects to an address that was checked; nil uses the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Record, if set, is called once for every request, redirect and tunnel when it has ended, also for what was
	// denied. It may be called from several goroutines and must not block.
	Record func(Record)
}

// A Record is what became of one request, redirect or tunnel.
type Record struct {
	Method   string // "" for a tunnel
	URL      string // without query; the address of a tunnel
	Address  string // that was connected to, if one was
	Status   int    // 0 without a response
	Sent     int64  // bytes of the body
	Received int64  // bytes of the body, decompressed
	Secrets  []string
	Wall     time.Duration
	Err      error
}

// A Client makes requests. New returns one that counts no requests and bytes; Session one that does.
type Client struct {
	*core
	session *session // nil: not counted
}

// A core is what the sessions of a client share.
type core struct {
	policy     *Policy
	secrets    []Secret
	limits     Limits
	sameOrigin bool
	roots      *x509.CertPool
	lookup     func(context.Context, string) ([]netip.Addr, error)
	dialer     func(context.Context, string, string) (net.Conn, error)
	record     func(Record)
	slots      chan struct{} // capacity: Limits.Concurrent

	mu    sync.Mutex // guards pools and closed
	pools map[string]*http.Transport
	done  bool
}

// A session counts what its client has used.
type session struct{ requests, bytes atomic.Int64 }

// ErrClosed is returned by a Client that was closed.
var ErrClosed = errors.New("egress client is closed")

// New returns a client. It fails for a secret that cannot be used.
func New(o Options) (*Client, error) {
	c := &core{
		policy: o.Policy, limits: o.Limits.complete(), sameOrigin: o.SameOrigin, roots: o.RootCAs,
		lookup: o.Lookup, dialer: o.Dial,
		record: o.Record, pools: map[string]*http.Transport{},
	}
	if c.policy == nil {
		c.policy = &Policy{}
	}
	c.slots = make(chan struct{}, c.limits.Concurrent)
	for _, s := range o.Secrets {
		if err := s.check(); err != nil {
			return nil, err
		}
		c.secrets = append(c.secrets, s)
	}
	if c.lookup == nil {
		c.lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	if c.dialer == nil {
		c.dialer = (&net.Dialer{}).DialContext
	}
	if c.record == nil {
		c.record = func(Record) {}
	}
	return &Client{core: c}, nil
}

// Session returns a client that shares everything with this one, and may make Limits.Requests requests and move
// Limits.Bytes bytes.
func (c *Client) Session() *Client { return &Client{core: c.core, session: &session{}} }

// Usage is how many requests and bytes a session has counted.
func (c *Client) Usage() (requests, bytes int64) {
	if c.session == nil {
		return 0, 0
	}
	return c.session.requests.Load(), c.session.bytes.Load()
}

// Close closes connections that are not in use, and ends the client and all its sessions. Responses that are being read
// can be read to their end.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
	for _, t := range c.pools {
		t.CloseIdleConnections()
	}
}

// HTTP returns a standard client that makes its requests here. It keeps no cookies. Set a Timeout only to have less
// than Limits.Total.
func (c *Client) HTTP() *http.Client {
	asIs := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: c, CheckRedirect: asIs}
}

// Check says why a request would be denied, as Policy.Check does.
func (c *Client) Check(method, rawURL string) error { return c.policy.Check(method, rawURL) }

// take counts a request and waits for a place. The caller gives it back.
func (c *Client) take(ctx context.Context) error {
	if err := c.count(); err != nil {
		return err
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Client) give() { <-c.slots }

func (c *Client) count() error {
	if c.session != nil && c.session.requests.Add(1) > c.limits.Requests {
		return &LimitError{"requests", fmt.Sprint(c.limits.Requests)}
	}
	return nil
}

// move counts bytes.
func (c *Client) move(n int) error {
	if c.session != nil && c.session.bytes.Add(int64(n)) > c.limits.Bytes {
		return overBytes("bytes of a session", c.limits.Bytes)
	}
	return nil
}

// pool returns the connections of everything that has the same reach.
func (c *core) pool(reaches []reach) (*http.Transport, error) {
	var key strings.Builder
	for _, r := range reaches {
		key.WriteString(r.networks + ";")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return nil, ErrClosed
	}
	t := c.pools[key.String()]
	if t == nil {
		t = &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				to, err := parseTunnel(address)
				if err != nil {
					return nil, err
				}
				return c.dial(ctx, network, to, reaches)
			},
			TLSClientConfig:        &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    c.limits.Dial,
			ResponseHeaderTimeout:  c.limits.Header,
			ExpectContinueTimeout:  time.Second,
			IdleConnTimeout:        30 * time.Second,
			MaxIdleConns:           c.limits.Concurrent,
			MaxIdleConnsPerHost:    2,
			MaxResponseHeaderBytes: c.limits.ResponseHeader,
			ForceAttemptHTTP2:      true,
		}
		c.pools[key.String()] = t
	}
	return t, nil
}

// An addressError says that an address is out of reach. The request that wanted it makes a DeniedError of it.
type addressError struct {
	addr netip.Addr
	why  string
}

func (e *addressError) Error() string { return e.addr.String() + " is " + e.why }

// maxAddresses are tried of an answer.
const maxAddresses = 8

// dial resolves a host, checks every address, and connects to the first that answers.
func (c *core) dial(ctx context.Context, network string, t target, reaches []reach) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.limits.Dial, overTime("dial time", c.limits.Dial))
	defer cancel()
	list := []netip.Addr{t.addr}
	if !t.addr.IsValid() {
		var err error
		if list, err = c.resolve(ctx, t.host); err != nil {
			return nil, err
		}
	}
	if a, why := firstRefused(reaches, list); why != "" {
		return nil, &addressError{a, why}
	}
	list = list[:min(len(list), maxAddresses)]
	var first error
	for i, a := range list {
		try, stop := ctx, context.CancelFunc(func() {})
		if more := len(list) - i; more > 1 {
			// Each gets a fair part of what is left, so that one that swallows packets does not take all.
			deadline, _ := ctx.Deadline()
			try, stop = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(more))
		}
		conn, err := c.dialer(try, network, netip.AddrPortFrom(a, t.port).String())
		stop()
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, first
}

func (c *core) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	name := host
	if strings.Contains(host, ".") {
		name += "."
	}
	list, err := c.lookup(ctx, name)
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &dns):
		// Without the server, which is nobody's concern, and the dot.
		return nil, &net.DNSError{
			Err: dns.Err, Name: host, IsTimeout: dns.IsTimeout, IsTemporary: dns.IsTemporary, IsNotFound: dns.IsNotFound,
		}
	case err != nil:
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	case len(list) == 0:
		return nil, &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	for i, a := range list {
		// The system's resolver may give IPv4 addresses in their mapped form.
		list[i] = a.Unmap()
	}
	return list, nil
}

// DialContext opens a tunnel to "host:port", for a proxy that was asked to CONNECT. What goes through a tunnel cannot
// be seen, so only rules without methods and paths allow one; their scheme does not matter. The connection counts as a
// request until it is closed, has no deadlines of its own, and ends at Limits.Total and Limits.Bytes.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	start := time.Now()
	rec := Record{URL: address}
	conn, err := c.tunnel(ctx, network, address, &rec)
	if err != nil {
		rec.Err, rec.Wall = err, time.Since(start)
		c.record(rec)
		return nil, err
	}
	t := &tunnel{Conn: conn, c: c, rec: rec, start: start}
	t.timer = time.AfterFunc(c.limits.Total, func() { t.end(overTime("total time", c.limits.Total)) })
	return t, nil
}

func (c *Client) tunnel(ctx context.Context, network, address string, rec *Record) (net.Conn, error) {
	if network != "tcp" {
		return nil, fmt.Errorf("network %q: must be tcp", network)
	}
	to, err := parseTunnel(address)
	if err != nil {
		return nil, err
	}
	rec.URL = net.JoinHostPort(to.host, fmt.Sprint(to.port))
	reaches, denied := c.policy.allow("", to, rec.URL)
	if denied != nil {
		return nil, denied
	}
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx, network, to, reaches)
	if err != nil {
		c.give()
		var bad *addressError
		if errors.As(err, &bad) {
			err = c.policy.refused("", to, rec.URL, bad.addr, bad.why)
		}
		return nil, err
	}
	rec.Address = conn.RemoteAddr().String()
	return conn, nil
}

// A tunnel is a connection that counts.
type tunnel struct {
	net.Conn
	c              *Client
	timer          *time.Timer
	start          time.Time
	sent, received atomic.Int64
	once           sync.Once
	rec            Record
	reason         atomic.Pointer[error] // why it was ended
	closed         error
}

func (t *tunnel) end(reason error) error {
	t.once.Do(func() {
		if reason != nil {
			t.reason.Store(&reason)
		}
		t.closed = t.Conn.Close()
		t.c.give()
		t.rec.Sent, t.rec.Received, t.rec.Wall, t.rec.Err = t.sent.Load(), t.received.Load(), time.Since(t.start), reason
		t.c.record(t.rec)
	})
	return t.closed
}

func (t *tunnel) moved(n int, by *atomic.Int64, err error) (int, error) {
	by.Add(int64(n))
	if over := t.c.move(n); over != nil {
		t.end(over)
	}
	if reason := t.reason.Load(); reason != nil {
		return n, *reason
	}
	return n, err
}

// Read implements net.Conn.
func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	return t.moved(n, &t.received, err)
}

// Write implements net.Conn.
func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	return t.moved(n, &t.sent, err)
}

// Close implements net.Conn. It may be called again.
func (t *tunnel) Close() error {
	t.timer.Stop()
	return t.end(nil)
}
