// Package fetch brings web pages to the browser tool, over HTTP or out of Chromium, and reaches no address that is not
// public.
//
// It owns which URLs and kinds of pages are fetched, when a page needs a browser, the budgets of a response, and the
// proxy through which the browser makes its requests. It does not know what a page says: charset, text and links are
// for the page package. Fetcher and Session are safe for concurrent use.
//
// Most pages need no scripts, so every page is first fetched by an HTTP client of toolhost/egress. A page whose text is
// thin and which has scripts is then opened in Chromium, if there is one (see needsBrowser for the rule). Chromium has
// no way out but the proxy, and the proxy is the same egress client: names are resolved once, each address is checked,
// and the connection goes to a checked one, at every redirect, frame, script, WebSocket and tunnel. Proxy and HTTP
// client of a session also share its budget.
package fetch

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"chorale/toolhost/browser/chrome"
	"chorale/toolhost/egress"
)

// A Mode says when pages are opened in Chromium.
type Mode string

// The modes.
const (
	Auto   Mode = "auto"   // when a page fetched without it looks as if it needs scripts
	Never  Mode = "never"  // plain HTTP only
	Always Mode = "always" // every HTML page
)

// Options are the settings of a Fetcher.
type Options struct {
	// Policy adds rules to what is always allowed, http and https to public addresses. It is where an operator lists
	// private networks. Rules with methods or paths do not hold inside of Chromium's tunnels for https.
	Policy *egress.Policy
	Render Mode // "" is Auto
	// Chrome is the path of Chromium; "" looks for one, "-" is none. Without one, no page is rendered.
	Chrome string
	// NoSandbox switches Chromium's own sandbox off, see chrome.Options.
	NoSandbox    bool
	ChromeLimits chrome.Limits
	Limits       Limits
	UserAgent    string // of the HTTP client; "" is DefaultUserAgent
	Language     string // Accept-Language; "" is DefaultLanguage
	Logger       *slog.Logger

	RootCAs *x509.CertPool // of the HTTP client; nil: the system's
	// Lookup and Dial are those of egress.Options.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// The header fields that the HTTP client sends.
const (
	DefaultUserAgent = "Mozilla/5.0 (compatible; Chorale)"
	DefaultLanguage  = "en;q=0.9, *;q=0.5"
	accept           = "text/html, application/xhtml+xml, application/pdf, text/*;q=0.9, application/json;q=0.9, */*;q=0.5"
)

// Limits bound what a Session does. Zeros stand for the defaults.
type Limits struct {
	Body      int64         // bytes of one page, decompressed; what is longer is cut
	Page      time.Duration // for one page, redirects included
	Redirects int           // of one page, those by <meta> included
	Requests  int64         // of a session, those that pages make included
	Bytes     int64         // of a session, both directions, those of pages included
	Time      time.Duration // of a session, the sum of what its pages took
}

// The defaults of Limits.
const (
	DefaultBody      = 4 << 20
	DefaultPage      = 20 * time.Second
	DefaultRedirects = 10 // browsers follow 20
	DefaultRequests  = 1000
	DefaultBytes     = 96 << 20
	DefaultTime      = 5 * time.Minute
)

func (l Limits) complete() Limits {
	bound(&l.Body, DefaultBody)
	bound(&l.Page, DefaultPage)
	bound(&l.Redirects, DefaultRedirects)
	bound(&l.Requests, DefaultRequests)
	bound(&l.Bytes, DefaultBytes)
	bound(&l.Time, DefaultTime)
	return l
}

func bound[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// A Document is a page as it arrived.
type Document struct {
	URL       string // after redirects, without fragment
	Requested string
	Status    int
	MIME      string // "text/html", without parameters, from the header or from what the body looks like
	Charset   string // of the header, "" without one; rendered pages are "utf-8"
	Title     string // of a rendered page, else ""
	Body      []byte // what the server sent, decompressed, or the HTML of the rendered page
	Rendered  bool   // by Chromium
	Truncated bool   // a limit cut the body
	Notice    string // what a reader should know: the page needs scripts, and was not rendered; else ""
}

// An Error says why there is no page, in words that a model can act upon.
type Error struct {
	Kind    Kind
	URL     string // as asked
	Message string
	Err     error // what is behind it, or nil
}

// A Kind tells errors apart.
type Kind string

// The kinds of errors.
const (
	BadURL  Kind = "url"     // not one that is fetched: another scheme, an odd spelling
	Denied  Kind = "denied"  // the policy: an address that is not public, a port that is not the web's
	Network Kind = "network" // no such host, no connection, broken off
	HTTP    Kind = "status"  // the server answered with an error
	Type    Kind = "type"    // nothing that can be read as a page
	Timeout Kind = "timeout"
	Budget  Kind = "budget"  // what a session may use is used up
	Browser Kind = "browser" // Chromium is missing or failed
	Closed  Kind = "closed"
)

func (e *Error) Error() string { return e.Message }

// Unwrap returns what is behind the error.
func (e *Error) Unwrap() error { return e.Err }

// A Fetcher fetches pages for any number of sessions.
type Fetcher struct {
	options Options
	limits  Limits
	client  *egress.Client
	log     *slog.Logger
	proxy   *proxy          // nil without a browser
	browser *chrome.Browser // nil with Never
}

// New returns a Fetcher, which listens on a port of loopback if there is a browser, whose proxy that is. The browser is
// started when it is first needed. Errors name the option.
func New(o Options) (*Fetcher, error) {
	switch o.Render {
	case "":
		o.Render = Auto
	case Auto, Never, Always:
	default:
		return nil, fmt.Errorf("render: %q, must be auto, never or always", o.Render)
	}
	if o.UserAgent == "" {
		o.UserAgent = DefaultUserAgent
	}
	if o.Language == "" {
		o.Language = DefaultLanguage
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Fetcher{options: o, limits: o.Limits.complete(), log: o.Logger}
	rules := o.Policy.Rules()
	for _, line := range []string{"http://*:*", "https://*:*"} {
		r, err := egress.ParseRule(line)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	var err error
	f.client, err = egress.New(egress.Options{
		Policy: egress.NewPolicy("the browser's networks", rules...), RootCAs: o.RootCAs, Lookup: o.Lookup, Dial: o.Dial,
		Limits: egress.Limits{
			Redirects: -1, // a hop at a time, so that the proxy can leave them to Chromium
			// Bodies are cut and not refused, so the limit is ours; this one is for what pages load.
			ResponseBody: f.limits.Bytes, Header: f.limits.Page, Total: tunnelTime, Concurrent: maxConcurrent,
			Requests: f.limits.Requests, Bytes: f.limits.Bytes,
		},
	})
	if err != nil || o.Render == Never {
		return f, err
	}
	address := ""
	_, missing := chrome.Find(o.Chrome)
	if missing != nil {
		o.Logger.Warn("pages that need scripts are not rendered", "reason", missing)
	} else {
		if f.proxy, err = listen(); err != nil {
			return nil, fmt.Errorf("the browser's proxy: %w", err)
		}
		address = f.proxy.address
	}
	f.browser = chrome.New(chrome.Options{
		Path: o.Chrome, Proxy: address, NoSandbox: o.NoSandbox, Limits: o.ChromeLimits, Logger: o.Logger,
	})
	return f, nil
}

const (
	// tunnelTime ends connections of Chromium that a page has left open.
	tunnelTime = time.Minute
	// maxConcurrent is for all sessions; Chromium keeps up to 6 connections a host open.
	maxConcurrent = 512
)

// Session returns a session with budgets of its own, for the pages of one response. It shares no cookies with others.
func (f *Fetcher) Session() *Session {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Session{f: f, client: f.client.Session(), ended: ctx, end: cancel}
}

// Close ends the browser, the proxy and all sessions' requests. Sessions are closed before.
func (f *Fetcher) Close() error {
	f.client.Close()
	var err error
	if f.browser != nil {
		err = f.browser.Close()
	}
	if f.proxy != nil {
		f.proxy.close()
	}
	return err
}

// Warm starts the browser, if there is one, and returns when it runs.
func (f *Fetcher) Warm(ctx context.Context) error {
	if f.browser == nil {
		return chrome.ErrAbsent
	}
	return f.browser.Start(ctx)
}

// Status says what the Fetcher can do.
func (f *Fetcher) Status() Status {
	s := Status{Mode: f.options.Render}
	if f.browser == nil {
		s.Chrome.Reason = "pages are never rendered, by the configuration"
		return s
	}
	s.Chrome = f.browser.Status()
	return s
}

// A Session fetches the pages of one response.
type Session struct {
	f      *Fetcher
	client *egress.Client // counts requests and bytes

	ended context.Context // the life of the session, which is what it is
	end   context.CancelCauseFunc

	mu             sync.Mutex // guards what follows
	spent          time.Duration
	warmed         bool
	context        *chrome.Context // nil before the first page that is rendered
	user, password string          // at the proxy, with context
	refused        *Error          // the last request of a page that the proxy has refused
}

var errClosed = errors.New("the session is closed")

// Close ends what the session is doing and gives up what it holds.
func (s *Session) Close() error {
	s.end(errClosed)
	s.mu.Lock()
	c := s.context
	s.context = nil
	s.mu.Unlock()
	if c != nil {
		s.f.proxy.leave(s)
		c.Close()
	}
	return nil
}

// Get fetches a page, in Chromium if the mode says so. Errors are an *Error.
func (s *Session) Get(ctx context.Context, url string) (*Document, error) {
	return s.timed(ctx, url, func(ctx context.Context) (*Document, error) { return s.get(ctx, url) })
}

// Source fetches what a server sends for a URL, without Chromium and without following <meta> refreshes. Errors are an
// *Error.
func (s *Session) Source(ctx context.Context, url string) (*Document, error) {
	return s.timed(ctx, url, func(ctx context.Context) (*Document, error) { return s.plain(ctx, url) })
}

// timed runs something within the time of a page and of the session.
func (s *Session) timed(ctx context.Context, url string, run func(context.Context) (*Document, error)) (*Document, error) {
	s.mu.Lock()
	left := s.f.limits.Time - s.spent
	s.mu.Unlock()
	if left <= 0 {
		return nil, explain(url, &egress.LimitError{Limit: "time of a session", Most: s.f.limits.Time.String()})
	}
	limit := min(left, s.f.limits.Page)
	ctx, stop := context.WithTimeoutCause(ctx, limit, &timeError{limit})
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ended, func() { cancel(context.Cause(s.ended)) })()
	start := time.Now()
	d, err := run(ctx)
	s.mu.Lock()
	s.spent += time.Since(start)
	s.mu.Unlock()
	if err != nil {
		var known *Error
		if cause := context.Cause(ctx); cause != nil && !errors.As(err, &known) {
			err = cause
		}
		return nil, explain(url, err)
	}
	d.Requested = url
	return d, nil
}

// A timeError says that a page took too long.
type timeError struct{ limit time.Duration }

func (e *timeError) Error() string { return fmt.Sprintf("no answer within %s", e.limit) }

func (s *Session) get(ctx context.Context, url string) (*Document, error) {
	s.warm()
	d, err := s.plain(ctx, url)
	for hops := 0; err == nil && isHTML(d.MIME) && hops < s.f.limits.Redirects; hops++ {
		next := refresh(d)
		if next == "" {
			break
		}
		d, err = s.plain(ctx, next)
	}
	if err != nil || !isHTML(d.MIME) || s.f.options.Render == Never {
		return d, err
	}
	if s.f.options.Render == Always {
		return s.render(ctx, d)
	}
	needs, why := look(d.Body).needsBrowser()
	switch {
	case !needs:
		return d, nil
	case !s.f.browser.Available():
		d.Notice = "This page is made by scripts, which were not run: " + s.f.browser.Status().Reason
		return d, nil
	}
	rendered, err := s.render(ctx, d)
	var refused *Error
	switch {
	case err == nil:
		return rendered, nil
	case errors.As(err, &refused) && (refused.Kind == Denied || refused.Kind == Budget), s.ended.Err() != nil:
		return nil, err
	}
	// What came over HTTP is better than nothing.
	s.f.log.Warn("a page was not rendered", "needed_for", why, "error", err)
	d.Notice = "This page is made by scripts, which were not run: " + err.Error()
	return d, nil
}

// warm starts the browser while the first page of a session is on its way.
func (s *Session) warm() {
	s.mu.Lock()
	first := !s.warmed
	s.warmed = true
	s.mu.Unlock()
	if first && s.f.browser != nil && s.f.browser.Available() {
		s.f.browser.StartSoon()
	}
}

// plain fetches over HTTP.
func (s *Session) plain(ctx context.Context, raw string) (*Document, error) {
	for hop := 0; ; hop++ {
		u, err := checkURL(raw)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, &Error{Kind: BadURL, Message: "the URL cannot be requested", Err: err}
		}
		req.Header.Set("Accept", accept)
		req.Header.Set("Accept-Language", s.f.options.Language)
		req.Header.Set("User-Agent", s.f.options.UserAgent)
		resp, err := s.client.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		next := ""
		if isRedirect(resp.StatusCode) {
			next = resp.Header.Get("Location")
		}
		if next == "" {
			return s.read(ctx, u, resp)
		}
		resp.Body.Close()
		if hop == s.f.limits.Redirects {
			return nil, &Error{Kind: Network, Message: fmt.Sprintf("more than %d redirects", s.f.limits.Redirects)}
		}
		if raw, err = resolve(u, next); err != nil {
			return nil, &Error{Kind: BadURL, Message: fmt.Sprintf("%s redirects to something that is no URL", u), Err: err}
		}
	}
}

func isRedirect(status int) bool {
	switch status {
	case 301, 302, 303, 307, 308:
		return true
	}
	return false
}

func resolve(base *url.URL, ref string) (string, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return "", err
	}
	return base.ResolveReference(u).String(), nil
}

// read makes a document of a response.
func (s *Session) read(ctx context.Context, u *url.URL, resp *http.Response) (*Document, error) {
	defer resp.Body.Close()
	if resp.StatusCode >= 400 || resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return nil, &Error{Kind: HTTP, Message: fmt.Sprintf("%s answered with status %d%s", u, resp.StatusCode,
			statusText(resp.StatusCode))}
	}
	body, err := decode(resp)
	if err != nil {
		return nil, err
	}
	// The beginning tells what it is, before megabytes of a video are loaded. An error comes again below.
	buffered := bufio.NewReader(body)
	head, _ := buffered.Peek(sniffBytes)
	d := &Document{URL: u.String(), Status: resp.StatusCode}
	d.MIME, d.Charset = contentType(resp.Header.Get("Content-Type"), head)
	if !readable(d.MIME) {
		return nil, &Error{Kind: Type, Message: fmt.Sprintf("%s is %s, which is no page that can be read as text",
			u, describe(d.MIME, resp.ContentLength))}
	}
	if d.Body, d.Truncated, err = readSome(ctx, buffered, s.f.limits.Body); err != nil {
		return nil, err
	}
	return d, nil
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return " (" + text + ")"
	}
	return ""
}

// readSome reads up to a number of bytes, and reports whether there is or may be more. What has arrived before the time
// is over or the connection breaks is better than nothing, and comes as if there were more.
func readSome(ctx context.Context, r io.Reader, most int64) (data []byte, more bool, err error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, most+1))
	var limit *egress.LimitError
	slow := context.Cause(ctx)
	var late *timeError
	switch {
	case n > most:
		return b.Bytes()[:most:most], true, nil
	case err != nil && n > 0 && (errors.As(slow, &late) || slow == nil && !errors.As(err, &limit)):
		return b.Bytes(), true, nil
	}
	return b.Bytes(), false, err
}

// explain makes the error that a caller gets.
func explain(url string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{Kind: e.Kind, URL: url, Message: e.Message, Err: e.Err}
	}
	e = &Error{Kind: Network, URL: url, Message: err.Error(), Err: err}
	var denied *egress.DeniedError
	var limit *egress.LimitError
	var request *egress.RequestError
	var late *timeError
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &denied):
		e.Kind, e.Message = Denied, fmt.Sprintf("%s cannot be opened: %s", denied.URL, denied.Reason)
		if denied.Rule != "" {
			e.Message += fmt.Sprintf("; an operator could allow it by the rule %q", denied.Rule)
		}
	case errors.As(err, &request):
		e.Kind = BadURL
	case errors.As(err, &limit) && limit.Limit == "dial time":
		e.Kind, e.Message = Timeout, "no connection within "+limit.Most
	case errors.As(err, &limit) && strings.HasSuffix(limit.Limit, " time"):
		e.Kind, e.Message = Timeout, "no answer within "+limit.Most
	case errors.As(err, &limit):
		e.Kind = Budget
		e.Message = fmt.Sprintf("no more pages can be loaded in this response: the limit of %s (%s) is reached",
			limit.Limit, limit.Most)
	case errors.As(err, &late):
		e.Kind = Timeout
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind, e.Message = Timeout, "no answer in time"
	case errors.Is(err, errClosed), errors.Is(err, egress.ErrClosed):
		e.Kind = Closed
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Message = fmt.Sprintf("there is no host %s", dns.Name)
	case errors.As(err, &dns):
		e.Message = fmt.Sprintf("the host %s could not be looked up", dns.Name)
	case errors.As(err, &op) && op.Op == "dial":
		e.Message = "the server does not accept connections"
	}
	return e
}
