package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	protocol "github.com/mark3labs/mcp-go/mcp"
	library "github.com/mark3labs/mcp-go/server"
)

// An owner is whose sessions something is: the digest of a bearer token, that of the empty one where there are no keys.
type owner [sha256.Size]byte

func ownerOf(r *http.Request) owner { return ownerOfHeader(r.Header.Get("Authorization")) }

func ownerOfHeader(authorization string) owner {
	_, key, _ := strings.Cut(authorization, " ")
	return sha256.Sum256([]byte(strings.TrimSpace(key)))
}

// A refusal is why a request does not get to the protocol.
type refusal struct {
	status, code int
	message      string
	header       http.Header
}

func refuse(status, code int, format string, args ...any) *refusal {
	return &refusal{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func (r *refusal) with(name, value string) *refusal {
	r.header = http.Header{name: {value}}
	return r
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var id json.RawMessage
	refused := s.checkCaller(r)
	if refused == nil {
		switch r.Method {
		case http.MethodPost:
			id, refused = s.post(ctx, w, r, cancel)
		case http.MethodGet:
			refused = s.get(ctx, w, r, cancel)
		case http.MethodDelete:
			refused = s.delete(w, r)
		default:
			refused = refuse(405, protocol.INVALID_REQUEST, "The method %.20q is not allowed; use POST.", r.Method).with("Allow", "POST, GET, DELETE")
		}
	}
	if refused == nil {
		s.counter.requests.Add(1)
		return
	}
	s.counter.refused.Add(1)
	s.answerRefusal(w, id, refused)
}

func (s *Server) answerRefusal(w http.ResponseWriter, id json.RawMessage, r *refusal) {
	type failure struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	if id == nil {
		id = json.RawMessage("null")
	}
	body, err := json.Marshal(struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   failure         `json:"error"`
	}{protocol.JSONRPC_VERSION, id, failure{r.code, r.message}})
	if err != nil {
		panic(err) // of strings and numbers
	}
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.o.Limits.WriteTimeout))
	w.WriteHeader(r.status)
	_, _ = w.Write(body) // nobody is left to tell
}

// checkCaller refuses what a web page sends that should not: one of another origin, or one whose name was made to lead here.
func (s *Server) checkCaller(r *http.Request) *refusal {
	host := hostname(r.Host)
	named := slices.ContainsFunc(s.o.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
	loopback := isLoopback(host)
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && isLoopback(hostname(local.String())) && !loopback && !named {
		return refuse(403, protocol.INVALID_REQUEST, "This server does not answer to the host name %.100q on a loopback address; its operator can allow it.", host)
	}
	if len(s.o.Hosts) > 0 && !named && !loopback {
		return refuse(403, protocol.INVALID_REQUEST, "This server does not answer to the host name %.100q.", host)
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 || slices.Contains(s.o.Origins, "*") || len(origins) == 1 && slices.Contains(s.o.Origins, origins[0]) {
		return nil
	}
	// The same origin as the server's, by a name that nobody else can make lead here.
	_, ip := netip.ParseAddr(host)
	if origin, ok := parseOrigin(origins[0]); len(origins) == 1 && ok && strings.EqualFold(origin, r.Host) && strings.HasPrefix(origins[0], "http") && (named || loopback || ip == nil) {
		return nil
	}
	return refuse(403, protocol.INVALID_REQUEST, "Pages of the origin %.100q may not call this server; its operator can allow it.", origins[0])
}

// parseOrigin returns host and port of an origin of any scheme.
func parseOrigin(origin string) (host string, ok bool) {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return u.Host, true
}

// hostname is a host without its port and without the brackets of an address.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// post answers a message. The id is that of the message, for a refusal.
func (s *Server) post(ctx context.Context, w http.ResponseWriter, r *http.Request, cancel context.CancelFunc) (json.RawMessage, *refusal) {
	events, refused := checkHeader(r.Header)
	if refused != nil {
		return nil, refused
	}
	release, ok := take(s.requests)
	if !ok {
		return nil, refuse(429, protocol.INTERNAL_ERROR, "The server answers too many requests already; try again.").with("Retry-After", "1")
	}
	defer func() { release() }()
	body, refused := s.readBody(w, r)
	if refused != nil {
		return nil, refused
	}
	m, refused := parse(body)
	if refused != nil {
		return m.id, refused
	}
	modern := protocol.IsModernProtocol(m.version) || protocol.IsModernProtocol(r.Header.Get(protocol.HeaderProtocolVersion))
	switch {
	case modern && m.method == string(protocol.MethodNotificationCancelled):
		// Not part of this revision over HTTP, and the library would look for the id among everybody's requests.
		w.WriteHeader(http.StatusAccepted)
		return nil, nil
	case modern && m.method == string(protocol.MethodSubscriptionsListen):
		over, ok := take(s.streams)
		if !ok {
			return m.id, tooManyStreams()
		}
		release()
		release = over
		defer context.AfterFunc(s.ended, cancel)()
	case modern:
	case m.method == string(protocol.MethodInitialize):
		if !s.sessions.makeRoom(ownerOf(r)) {
			return m.id, refuse(503, protocol.INTERNAL_ERROR, "All sessions are in use; try again.").with("Retry-After", "1")
		}
	default:
		session, refused := s.session(r)
		if refused != nil {
			return m.id, refused
		}
		defer s.sessions.release(session)
		defer context.AfterFunc(session.ctx, cancel)()
	}
	if m.method == string(protocol.MethodToolsList) || m.method == string(protocol.MethodToolsCall) {
		s.refresh()
	}
	st := newStream(w, cancel, events, &s.o.Limits)
	defer st.close()
	s.handle(context.WithValue(ctx, streamKey{}, st), st, r, body)
	if !modern && m.method == string(protocol.MethodInitialize) {
		// The library would put notifications for everybody into a queue that every answer of the session takes from, and
		// loses. Sessions that listen get ours.
		s.core.UnregisterSession(ctx, st.pending.Get(protocol.HeaderSessionID))
	}
	return nil, nil
}

// handle gives a request to the library, which finds its owner again in the header.
func (s *Server) handle(ctx context.Context, st *stream, r *http.Request, body []byte) {
	s.transport.Handle(st, &library.HTTPRequest{Method: r.Method, URL: r.URL, Header: r.Header, Body: body, Context: ctx})
}

// get is the stream of notifications of a session.
func (s *Server) get(ctx context.Context, w http.ResponseWriter, r *http.Request, cancel context.CancelFunc) *refusal {
	if protocol.IsModernProtocol(r.Header.Get(protocol.HeaderProtocolVersion)) {
		return refuse(405, protocol.INVALID_REQUEST, "GET is not part of this revision; use subscriptions/listen.").with("Allow", "POST")
	}
	if !accepts(r.Header, "text/event-stream") {
		return refuse(406, protocol.INVALID_REQUEST, "Accept must have text/event-stream.")
	}
	session, refused := s.session(r)
	if refused != nil {
		return refused
	}
	defer s.sessions.release(session)
	release, ok := take(s.streams)
	if !ok {
		return tooManyStreams()
	}
	defer release()
	defer context.AfterFunc(session.ctx, cancel)()
	defer context.AfterFunc(s.ended, cancel)()
	st := newStream(w, cancel, true, &s.o.Limits)
	defer st.close()
	s.sessions.listen(session, st)
	defer s.sessions.unlisten(session, st)
	s.handle(ctx, st, r, nil)
	return nil
}

// delete ends a session.
func (s *Server) delete(w http.ResponseWriter, r *http.Request) *refusal {
	if protocol.IsModernProtocol(r.Header.Get(protocol.HeaderProtocolVersion)) {
		return refuse(405, protocol.INVALID_REQUEST, "DELETE is not part of this revision, which has no sessions.").with("Allow", "POST")
	}
	session, refused := s.session(r)
	if refused != nil {
		return refused
	}
	s.sessions.release(session)
	s.sessions.remove(r.Header.Get(protocol.HeaderSessionID))
	w.WriteHeader(http.StatusOK)
	return nil
}

// session is the one that a request of an older revision names. Release it.
func (s *Server) session(r *http.Request) (*session, *refusal) {
	id := r.Header.Get(protocol.HeaderSessionID)
	if id == "" {
		return nil, refuse(400, protocol.INVALID_REQUEST,
			"The header Mcp-Session-Id is missing: begin with initialize, or name protocol version %s in header and _meta.", protocol.ProtocolVersion20260728)
	}
	found, ok := s.sessions.acquire(id, ownerOf(r))
	if !ok {
		return nil, refuse(404, protocol.INVALID_REQUEST, "There is no such session, or it has expired: begin again with initialize.")
	}
	return found, nil
}

func tooManyStreams() *refusal {
	return refuse(429, protocol.INTERNAL_ERROR, "Too many streams are open; try again.").with("Retry-After", "10")
}

// take takes one of the places, if there is one.
func take(places chan struct{}) (release func(), ok bool) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, true
	default:
		return func() {}, false
	}
}

// checkHeader says whether the client takes events.
func checkHeader(h http.Header) (events bool, refused *refusal) {
	mediaType, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || mediaType != "application/json" || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return false, refuse(415, protocol.INVALID_REQUEST, "Content-Type is %.100q; it must be application/json.", h.Get("Content-Type"))
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false, refuse(415, protocol.INVALID_REQUEST, "Content-Encoding %.100q is not supported; send the body as it is.", encoding)
	}
	if !accepts(h, "application/json") {
		return false, refuse(406, protocol.INVALID_REQUEST, "Accept must have application/json and text/event-stream.")
	}
	return accepts(h, "text/event-stream"), nil
}

// accepts says whether Accept has the type; none has all.
func accepts(h http.Header, mediaType string) bool {
	accept := strings.Join(h.Values("Accept"), ",")
	if accept == "" {
		return true
	}
	group, _, _ := strings.Cut(mediaType, "/")
	for entry := range strings.SplitSeq(accept, ",") {
		name, _, _ := strings.Cut(entry, ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case mediaType, group + "/*", "*/*":
			return true
		}
	}
	return false
}

// readBody reads no more than the limit, and not for longer than the deadline.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	limit := s.o.Limits.BodyBytes
	tooLarge := refuse(413, protocol.INVALID_REQUEST, "The request body is larger than %d bytes.", limit)
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(s.o.Limits.BodyTimeout)) // a test's recorder has none
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refuse(408, protocol.INVALID_REQUEST, "The request body did not arrive within %v.", s.o.Limits.BodyTimeout)
	case err != nil:
		return nil, refuse(400, protocol.PARSE_ERROR, "The request body ended early.")
	case int64(len(body)) > limit:
		return nil, tooLarge
	}
	_ = conn.SetReadDeadline(time.Time{})
	return body, nil
}
