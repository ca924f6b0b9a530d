package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A RequestError says what is wrong with a request that was not even looked at by a policy.
type RequestError struct{ Err error }

func (e *RequestError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *RequestError) Unwrap() error { return e.Err }

// RoundTrip implements http.RoundTripper. It follows redirects: the request of the response is the last one. Errors are
// a *RequestError, a *DeniedError, a *LimitError, the context's, or those of the network. The header's hop-by-hop
// fields, Accept-Encoding and Host are not the caller's to set and are left out: bodies arrive decompressed. The body
// of the response must be closed.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	x := &exchange{
		c: c, method: req.Method, header: req.Header, body: req.Body, length: req.ContentLength, getBody: req.GetBody,
	}
	if x.method == "" {
		x.method = http.MethodGet
	}
	if x.body == nil || x.body == http.NoBody {
		x.body, x.getBody, x.length = nil, nil, 0
	}
	resp, err := x.begin(req)
	if err != nil && x.body != nil {
		x.body.Close() // a second time perhaps, which bodies of requests must bear
	}
	return resp, err
}

// An exchange is one call of RoundTrip, with what the next request of a chain of redirects is to be.
type exchange struct {
	c       *Client
	method  string
	header  http.Header
	body    io.ReadCloser // nil: none
	length  int64
	getBody func() (io.ReadCloser, error)
	from    string   // the URL that redirected
	foreign bool     // a redirect has left the first origin
	secrets []Secret // that were sent, perhaps more than once

	ctx    context.Context // of the call: an exchange lives as long as it
	cancel context.CancelCauseFunc
	stop   context.CancelFunc
}

func (x *exchange) begin(req *http.Request) (*http.Response, error) {
	u, t, err := parseURL(req.URL.String())
	if err == nil {
		err = x.checkHeader(req)
	}
	if err != nil {
		var limit *LimitError
		if !errors.As(err, &limit) {
			err = &RequestError{err}
		}
		x.c.record(Record{Method: x.method, Err: err})
		return nil, err
	}
	// What is denied costs nobody a place.
	if _, denied := x.c.policy.allow(x.method, t, shown(u)); denied != nil {
		x.c.record(Record{Method: x.method, URL: denied.URL, Err: denied})
		return nil, denied
	}
	limited, stop := context.WithTimeoutCause(req.Context(), x.c.limits.Total, overTime("total time", x.c.limits.Total))
	x.stop = stop
	x.ctx, x.cancel = context.WithCancelCause(limited)
	if err := x.c.take(x.ctx); err != nil {
		x.end()
		x.c.record(Record{Method: x.method, URL: shown(u), Err: err})
		return nil, err
	}
	for hop := 0; ; hop++ {
		resp, h, err := x.send(u, t)
		if err != nil {
			x.end()
			x.c.give()
			return nil, err
		}
		next := ""
		if x.c.limits.Redirects > 0 && isRedirect(resp.StatusCode) {
			next = resp.Header.Get("Location")
		}
		if next == "" {
			return x.finish(req, u, resp, h)
		}
		h.close(nil)
		switch {
		case hop == x.c.limits.Redirects:
			err = &LimitError{"redirects", fmt.Sprint(x.c.limits.Redirects)}
		case newMasker(x.secrets).finds(next):
			// Masked it would lead nowhere, and unmasked the caller could read it in the URL of the response's request.
			err = fmt.Errorf("redirect by %s: the location has a secret in it", shown(u))
		default:
			u, t, err = x.redirect(u, t, resp.StatusCode, next)
		}
		if err == nil {
			err = x.c.count()
		}
		if err != nil {
			x.end()
			x.c.give()
			return nil, err
		}
	}
}

// end lets the context go.
func (x *exchange) end() {
	x.cancel(nil)
	x.stop()
}

// checkHeader is for what cannot become a request.
func (x *exchange) checkHeader(req *http.Request) error {
	if err := checkMethod(x.method); err != nil {
		return fmt.Errorf("method: %w", err)
	}
	bytes := int64(len(req.URL.String()))
	for name, values := range x.header {
		if !validName(name) {
			return fmt.Errorf("header: %q is no name of a header field", name)
		}
		for _, v := range values {
			if !validValue(v) {
				return fmt.Errorf("header %s: the value has control characters", name)
			}
			bytes += int64(len(name) + len(v) + 4)
		}
	}
	if bytes > x.c.limits.RequestHeader {
		return overBytes("request header", x.c.limits.RequestHeader)
	}
	if x.length > x.c.limits.RequestBody {
		return overBytes("request body", x.c.limits.RequestBody)
	}
	return nil
}

func validName(s string) bool  { return httpguts.ValidHeaderFieldName(s) }
func validValue(s string) bool { return httpguts.ValidHeaderFieldValue(s) }

// perHop reports header fields that belong to a connection, or that the transport writes by itself.
func perHop(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Http2-Settings", "Content-Length", "Expect", "Host", "Accept-Encoding":
		return true
	}
	return false
}

// send makes one request. The hop is closed when there is an error.
func (x *exchange) send(u *url.URL, t target) (*http.Response, *hop, error) {
	h := &hop{x: x, start: time.Now(), rec: Record{Method: x.method, URL: shown(u)}}
	resp, err := x.try(u, t, h)
	if err != nil {
		err = x.explain(err, u, t)
		h.close(err)
		return nil, nil, err
	}
	h.rec.Status = resp.StatusCode
	return resp, h, nil
}

func (x *exchange) try(u *url.URL, t target, h *hop) (*http.Response, error) {
	c := x.c
	reaches, denied := c.policy.allow(x.method, t, h.rec.URL)
	if denied != nil {
		denied.From = x.from
		return nil, denied
	}
	pool, err := c.pool(reaches)
	if err != nil {
		return nil, err
	}
	out := &http.Request{
		Method: x.method, URL: u, Host: u.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	out = out.WithContext(httptrace.WithClientTrace(x.ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { h.rec.Address = i.Conn.RemoteAddr().String() },
	}))
	for name, values := range x.header {
		if name = http.CanonicalHeaderKey(name); !perHop(name) && (!x.foreign || kept(name)) {
			out.Header[name] = append(out.Header[name], values...)
		}
	}
	if out.Header["User-Agent"] == nil {
		out.Header.Set("User-Agent", "chorale")
	}
	if x.body != nil {
		out.ContentLength = x.length
		out.Body = &sentBody{h: h, r: x.body}
		if x.getBody != nil {
			out.GetBody = func() (io.ReadCloser, error) {
				b, err := x.getBody()
				if err != nil {
					return nil, err
				}
				h.sent.Store(0)
				return &sentBody{h: h, r: b}, nil
			}
		}
	}
	if !x.foreign {
		for _, s := range c.secrets {
			if s.Audience.matches(x.method, t) {
				out.Header[http.CanonicalHeaderKey(s.Header)] = []string{s.header()}
				h.rec.Secrets = append(h.rec.Secrets, s.Name)
				x.secrets = append(x.secrets, s)
			}
		}
	}
	if len(h.rec.Secrets) > 0 {
		out.Header.Del("Range")
	}
	resp, err := pool.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	h.body = resp.Body
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return nil, errors.New("the server switched to another protocol without being asked")
	case x.method != http.MethodHead && resp.ContentLength > c.limits.ResponseBody:
		return nil, overBytes("response body", c.limits.ResponseBody)
	}
	return resp, nil
}

// kept are the header fields that go to other origins.
func kept(name string) bool {
	return name == "Accept" || name == "Accept-Language" || name == "User-Agent"
}

// explain makes the error that a caller gets.
func (x *exchange) explain(err error, u *url.URL, t target) error {
	var bad *addressError
	if errors.As(err, &bad) {
		d := x.c.policy.refused(x.method, t, shown(u), bad.addr, bad.why)
		d.From = x.from
		return d
	}
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx) // a limit of ours, or the caller's own end
	}
	var limit *LimitError
	var denied *DeniedError
	var slow net.Error
	switch {
	case errors.As(err, &limit):
		return limit
	case errors.As(err, &denied):
		return denied
	case strings.Contains(err.Error(), "response headers exceeded"), // there are no types for these
		strings.Contains(err.Error(), "response header list larger"):
		return overBytes("response header", x.c.limits.ResponseHeader)
	case errors.As(err, &slow) && slow.Timeout() && strings.Contains(err.Error(), "awaiting response headers"):
		return overTime("response header time", x.c.limits.Header)
	}
	return fmt.Errorf("%s %s: %w", x.method, shown(u), err)
}

func isRedirect(status int) bool {
	switch status {
	case 301, 302, 303, 307, 308:
		return true
	}
	return false
}

// redirect prepares the next request of the chain, with the method that the Fetch standard gives it.
func (x *exchange) redirect(from *url.URL, old target, status int, location string) (*url.URL, target, error) {
	fail := func(format string, args ...any) (*url.URL, target, error) {
		return nil, target{}, fmt.Errorf("redirect by %s: %s", shown(from), fmt.Sprintf(format, args...))
	}
	ref, err := url.Parse(location)
	if err != nil || strings.ContainsAny(location, "\\\t\r\n") {
		return fail("the location is no URL")
	}
	u, t, err := parseURL(from.ResolveReference(ref).String())
	if err != nil {
		return fail("%v", err)
	}
	if status == 303 && x.method != "HEAD" || (status == 301 || status == 302) && x.method == "POST" {
		x.method, x.body, x.getBody, x.length = "GET", nil, nil, 0
		header := x.header.Clone()
		for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Language", "Content-Location"} {
			header.Del(name)
		}
		x.header = header
	}
	deny := func(reason string) (*url.URL, target, error) {
		return nil, target{}, &DeniedError{Method: x.method, URL: shown(u), From: shown(from), Reason: reason}
	}
	if old.scheme == "https" && t.scheme == "http" {
		return deny("a redirect from https to http")
	}
	if t.origin() != old.origin() {
		if x.c.sameOrigin {
			return deny("a redirect to another origin")
		}
		if x.method != "GET" && x.method != "HEAD" {
			return deny("a redirect to another origin that is no GET or HEAD")
		}
		x.foreign = true
		x.body, x.getBody, x.length = nil, nil, 0
	}
	if x.body != nil {
		if x.getBody == nil {
			return fail("the body cannot be sent again")
		}
		if x.body, err = x.getBody(); err != nil {
			return fail("%v", err)
		}
	}
	x.from = shown(from)
	return u, t, nil
}

// finish makes the response that the caller gets.
func (x *exchange) finish(req *http.Request, u *url.URL, resp *http.Response, h *hop) (*http.Response, error) {
	clean := *req
	clean.URL, clean.Host, clean.Method, clean.Body, clean.GetBody = u, u.Host, x.method, nil, nil
	clean.Header = http.Header{}
	for name, values := range x.header {
		if !x.foreign || kept(http.CanonicalHeaderKey(name)) {
			clean.Header[name] = values
		}
	}
	out := &http.Response{
		Status: resp.Status, StatusCode: resp.StatusCode,
		Proto: resp.Proto, ProtoMajor: resp.ProtoMajor, ProtoMinor: resp.ProtoMinor,
		Header: resp.Header, ContentLength: resp.ContentLength, TransferEncoding: resp.TransferEncoding,
		Uncompressed: resp.Uncompressed, Request: &clean, TLS: resp.TLS,
	}
	body := io.Reader(&receivedBody{h: h})
	if m := newMasker(x.secrets); m != nil {
		m.header(out.Header)
		status := []byte(out.Status)
		m.mask(status)
		out.Status = string(status)
		body = &maskReader{m: m, r: body}
	}
	// A body that nobody closes must not keep the place for ever.
	h.last = func() { x.end(); x.c.give() }
	context.AfterFunc(x.ctx, func() { h.end(context.Cause(x.ctx)) })
	out.Body = &responseBody{body, h}
	return out, nil
}

// A hop is one request of an exchange.
type hop struct {
	x              *exchange
	start          time.Time
	body           io.ReadCloser // of the response, nil until there is one
	sent, received atomic.Int64
	last           func() // of the hop whose response the caller gets
	once           sync.Once
	rec            Record
}

// close ends a hop whose response nobody reads.
func (h *hop) close(err error) {
	if h.body != nil {
		h.body.Close()
	}
	h.end(err)
}

func (h *hop) end(err error) {
	h.once.Do(func() {
		h.rec.Sent, h.rec.Received, h.rec.Wall, h.rec.Err = h.sent.Load(), h.received.Load(), time.Since(h.start), err
		h.x.c.record(h.rec)
		if h.last != nil {
			h.last()
		}
	})
}

// A sentBody counts what is sent. It ends the exchange at a limit, since transports wrap the errors of bodies.
type sentBody struct {
	h *hop
	r io.ReadCloser
}

func (b *sentBody) Read(p []byte) (int, error) {
	c := b.h.x.c
	n, err := b.r.Read(p)
	over := c.move(n)
	if b.h.sent.Add(int64(n)) > c.limits.RequestBody {
		over = overBytes("request body", c.limits.RequestBody)
	}
	if over != nil {
		b.h.x.cancel(over)
		return 0, over
	}
	return n, err
}

func (b *sentBody) Close() error { return b.r.Close() }

// A receivedBody counts what comes, decompressed.
type receivedBody struct {
	h    *hop
	over error
}

func (b *receivedBody) Read(p []byte) (int, error) {
	if b.over != nil || len(p) == 0 {
		return 0, b.over
	}
	x := b.h.x
	left := x.c.limits.ResponseBody - b.h.received.Load()
	if int64(len(p)) > left {
		p = p[:left+1] // one more tells the end from the limit
	}
	n, err := b.h.body.Read(p)
	if err != nil && err != io.EOF && x.ctx.Err() != nil {
		err = context.Cause(x.ctx)
	}
	if int64(n) > left {
		n, b.over = int(left), overBytes("response body", x.c.limits.ResponseBody)
	}
	b.h.received.Add(int64(n))
	if e := x.c.move(n); e != nil && b.over == nil {
		b.over = e
	}
	if b.over != nil {
		x.cancel(b.over)
		return n, b.over
	}
	return n, err
}

// A responseBody is what the caller reads and closes.
type responseBody struct {
	io.Reader
	h *hop
}

func (b *responseBody) Close() error {
	err := b.h.body.Close()
	b.h.end(nil)
	return err
}
