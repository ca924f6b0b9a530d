package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	wire "github.com/mark3labs/mcp-go/mcp"

	"chorale/toolhost/egress"
)

// A streamable is the carrier of streamable HTTP, in both eras.
type streamable struct {
	url    string
	header map[string]string
	http   http.RoundTripper
	egress *egress.Client
	limits Limits
	mask   *masker
	got    func(*message)
	life   context.Context // of the connection; requests end with it

	mu      sync.Mutex // guards what follows
	version string
	session string
	lost    error // the session
	closed  bool
}

// speak says which version the next requests are of.
func (s *streamable) speak(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = version
}

func (s *streamable) alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return s.lost
}

// request makes a request of HTTP with the header of the protocol.
func (s *streamable) request(ctx context.Context, method string, out outgoing) (*http.Response, error) {
	var body io.Reader
	if out.body != nil {
		body = bytes.NewReader(out.body)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.url, body)
	if err != nil {
		return nil, err
	}
	for name, value := range s.header {
		r.Header.Set(name, value)
	}
	for name, values := range out.header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	} else {
		r.Header.Set("Accept", "text/event-stream")
	}
	s.mu.Lock()
	if s.version != "" && out.method != methodInitialize {
		r.Header.Set("MCP-Protocol-Version", s.version)
	}
	if s.session != "" {
		r.Header.Set("Mcp-Session-Id", s.session)
	}
	s.mu.Unlock()
	return s.http.RoundTrip(r)
}

func (s *streamable) call(ctx context.Context, out outgoing) (*message, error) {
	m, err := s.exchange(ctx, out)
	switch {
	case err == nil:
		return m, nil
	case s.life.Err() != nil:
		return nil, ErrClosed
	case ctx.Err() != nil:
		s.cancelled(ctx, out)
	}
	return nil, ended(ctx, err)
}

// cancelled tells a server of the older era that nobody waits any more; in the newer one the end of the stream says so.
func (s *streamable) cancelled(ctx context.Context, out outgoing) {
	s.mu.Lock()
	old := s.version != "" && !wire.IsModernProtocol(s.version) && !s.closed
	s.mu.Unlock()
	if !old || out.method == methodInitialize || out.method == methodDiscover {
		return
	}
	body := fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, out.id)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Close)
	defer cancel()
	// The best that can be done is done.
	_ = s.send(ctx, outgoing{method: "notifications/cancelled", body: body})
}

func (s *streamable) exchange(ctx context.Context, out outgoing) (*message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the body is closed: what is left of it is not read
	defer context.AfterFunc(s.life, cancel)()
	resp, err := s.request(ctx, http.MethodPost, out)
	if err != nil {
		return nil, err
	}
	defer func() { cancel(); resp.Body.Close() }()
	exchangeOf(ctx).heard()
	if err := s.status(resp, out); err != nil {
		return nil, err
	}
	if out.method == methodInitialize {
		s.mu.Lock()
		s.session = visible(resp.Header.Get("Mcp-Session-Id"))
		s.mu.Unlock()
	}
	switch kind(resp) {
	case "application/json":
		return s.body(resp, out)
	case "text/event-stream":
		return s.stream(ctx, resp, out)
	}
	if resp.StatusCode == http.StatusAccepted {
		return nil, &InvalidError{"202 Accepted instead of an answer"}
	}
	return nil, s.failure(resp)
}

// visible returns the session's name if it is one that the protocol allows.
func visible(id string) string {
	for i := range len(id) {
		if id[i] < 0x21 || id[i] > 0x7e {
			return ""
		}
	}
	return id
}

func kind(resp *http.Response) string {
	k, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return k
}

// status is the error of a status that says there is no answer. Statuses of errors may come with an answer in JSON.
func (s *streamable) status(resp *http.Response, out outgoing) error {
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return nil
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		if c := challenges(resp.Header); resp.StatusCode == http.StatusUnauthorized || len(c) > 0 {
			return authError(resp, s.mask)
		}
	case resp.StatusCode == http.StatusNotFound && s.forget():
		return errSession
	}
	if out.id != "" && kind(resp) == "application/json" && resp.StatusCode < 500 {
		return nil
	}
	return s.failure(resp)
}

// forget reports whether there was a session, which is over.
func (s *streamable) forget() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != "" {
		s.lost = errSession
	}
	return s.session != ""
}

// maxErrorText is how much of an answer that is no message is quoted.
const maxErrorText = 1 << 10

func (s *streamable) failure(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
	message := printable(s.mask.text(strings.TrimSpace(string(text))))
	if message == "" || strings.HasPrefix(message, "<") {
		message = http.StatusText(resp.StatusCode)
	}
	if resp.StatusCode < 300 {
		message = fmt.Sprintf("a body of type %q, which is neither JSON nor a stream of events", resp.Header.Get("Content-Type"))
	}
	return &HTTPError{Status: resp.StatusCode, Message: message}
}

// body reads an answer that is one message.
func (s *streamable) body(resp *http.Response, out outgoing) (*message, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, s.limits.Message+1))
	if err != nil {
		return nil, broken(err)
	}
	m, err := read(s.mask.bytes(raw), s.limits)
	switch {
	case err != nil && resp.StatusCode >= 400:
		text := s.mask.text(string(raw))
		return nil, &HTTPError{Status: resp.StatusCode, Message: printable(text[:min(len(text), maxErrorText)])}
	case err != nil:
		return nil, err
	case m.err == nil && resp.StatusCode >= 400:
		return nil, &HTTPError{Status: resp.StatusCode, Message: http.StatusText(resp.StatusCode)}
	case m.method != "" || m.id != nil && !sameID(m.id, out.id) || m.id == nil && m.err == nil:
		return nil, &InvalidError{"an answer to another request"}
	}
	return m, nil
}

func sameID(a json.RawMessage, b string) bool { return string(bytes.TrimSpace(a)) == b }

// broken is the error of an answer that could not be read to its end.
func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBroken
	}
	return err
}

// maxResumes is how often in a row a stream is resumed without anything new in it.
const maxResumes = 5

// stream reads events until the answer is there. A server of the older era may end the stream before, and be asked for
// the rest of it.
func (s *streamable) stream(ctx context.Context, resp *http.Response, out outgoing) (*message, error) {
	last, retry, idle := "", time.Second, 0
	budget := s.limits
	for {
		r := newEventReader(resp.Body, budget, exchangeOf(ctx).heard)
		m, err := s.events(r, &budget, out, func(ev event) {
			if ev.hasID {
				last, idle = ev.id, 0
			}
			if ev.retry > 0 {
				retry = ev.retry
			}
		})
		resp.Body.Close()
		if m != nil || err != nil && !errors.Is(err, errBroken) || ctx.Err() != nil {
			return m, err
		}
		s.mu.Lock()
		modern := wire.IsModernProtocol(s.version)
		s.mu.Unlock()
		if idle++; last == "" || modern || idle > maxResumes {
			return nil, errBroken
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		next, err := s.request(ctx, http.MethodGet, outgoing{header: map[string][]string{"Last-Event-ID": {last}}})
		if err != nil {
			return nil, err
		}
		defer next.Body.Close()
		if next.StatusCode != http.StatusOK || kind(next) != "text/event-stream" {
			return nil, errBroken
		}
		resp = next
	}
}

// events reads one stream. It takes what it read off the budget.
func (s *streamable) events(r *eventReader, budget *Limits, out outgoing, meta func(event)) (*message, error) {
	defer func() { budget.Stream -= r.read }()
	for {
		ev, err := r.next()
		if err != nil {
			return nil, broken(err)
		}
		meta(ev)
		if len(ev.data) == 0 || ev.name != "" && ev.name != "message" {
			continue
		}
		if budget.Messages--; budget.Messages < 0 {
			return nil, &LimitError{"messages of a stream", fmt.Sprint(s.limits.Messages)}
		}
		m, err := read(s.mask.bytes(ev.data), s.limits)
		if err != nil {
			return nil, err
		}
		if m.method == "" && out.id != "" && sameID(m.id, out.id) {
			return m, nil
		}
		s.got(m)
	}
}

func (s *streamable) send(ctx context.Context, out outgoing) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := s.request(ctx, http.MethodPost, out)
	if err != nil {
		return ended(ctx, err)
	}
	defer func() { cancel(); resp.Body.Close() }()
	return s.status(resp, outgoing{})
}

// listen reads what a server of the older era says without being asked, until ctx ends or it does not want to. opened
// is called when it has answered, perhaps more than once.
func (s *streamable) listen(ctx context.Context, opened func()) {
	defer opened()
	last, retry := "", time.Second
	for ctx.Err() == nil {
		out := outgoing{}
		if last != "" {
			out.header = map[string][]string{"Last-Event-ID": {last}}
		}
		resp, err := s.request(ctx, http.MethodGet, out)
		if err == nil && (resp.StatusCode != http.StatusOK || kind(resp) != "text/event-stream") {
			resp.Body.Close()
			return
		}
		if err == nil {
			opened()
			budget := s.limits
			_, _ = s.events(newEventReader(resp.Body, budget, nil), &budget, outgoing{}, func(ev event) {
				if ev.hasID {
					last = ev.id
				}
				if ev.retry > 0 {
					retry = ev.retry
				}
			})
			resp.Body.Close()
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
		retry = min(2*retry, maxRetry) // until the server says otherwise
	}
}

// close ends the session.
func (s *streamable) close() {
	s.mu.Lock()
	told, before := s.session == "" || s.lost != nil, s.closed
	s.closed = true
	s.mu.Unlock()
	if before {
		return
	}
	if !told {
		ctx, cancel := context.WithTimeout(context.Background(), s.limits.Close)
		defer cancel()
		if resp, err := s.request(ctx, http.MethodDelete, outgoing{}); err == nil {
			resp.Body.Close()
		}
	}
	s.egress.Close()
}

// printable leaves out what could play tricks with a terminal or a log.
func printable(s string) string {
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		control := r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0
		direction := r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		if control || direction {
			return -1
		}
		return r
	}, s), "")
}
