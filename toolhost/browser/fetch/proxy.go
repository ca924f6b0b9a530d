package fetch

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A proxy is Chromium's way out. It listens on loopback, serves who knows the name and the password of a session, and
// makes the requests with that session's client, which checks them and counts them.
type proxy struct {
	address string
	server  *http.Server
	done    chan struct{}

	mu       sync.Mutex // guards sessions
	sessions map[string]*Session
}

func listen() (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{address: l.Addr().String(), sessions: map[string]*Session{}, done: make(chan struct{})}
	p.server = &http.Server{
		Handler: p, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 128 << 10, IdleTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0), // would quote what pages send
	}
	go func() {
		p.server.Serve(l)
		close(p.done)
	}()
	return p, nil
}

func (p *proxy) close() {
	p.server.Close()
	<-p.done
}

// enter lets a session in. Its name and password are of this run and random.
func (p *proxy) enter(s *Session) {
	s.user, s.password = rand.Text(), rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[s.user] = s
}

func (p *proxy) leave(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s.user)
}

// session is the one whose name and password a request has, or nil.
func (p *proxy) session(r *http.Request) *Session {
	encoded, ok := strings.CutPrefix(r.Header.Get("Proxy-Authorization"), "Basic ")
	plain, err := base64.StdEncoding.DecodeString(encoded)
	user, password, colon := strings.Cut(string(plain), ":")
	if !ok || err != nil || !colon {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sessions[user]
	if s == nil || subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) != 1 {
		return nil
	}
	return s
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := p.session(r)
	if s == nil {
		w.Header().Set("Proxy-Authenticate", `Basic realm="chorale"`)
		http.Error(w, "this proxy is for the browser of one program", http.StatusProxyAuthRequired)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.ended, func() { cancel(errClosed) })()
	var err error
	if r.Method == http.MethodConnect {
		err = s.tunnel(ctx, w, r.Host)
	} else {
		err = s.forward(ctx, w, r)
	}
	if err == nil {
		return
	}
	err = explain(r.URL.String(), err)
	s.f.log.Debug("a request of a page was refused", "error", err)
	var e *Error
	status := http.StatusBadGateway
	if errors.As(err, &e) && (e.Kind == Denied || e.Kind == BadURL || e.Kind == Budget) {
		s.refuse(e)
		status = http.StatusForbidden
	}
	http.Error(w, err.Error(), status)
}

// forward makes a request for Chromium. Redirects are left to it, and come back as requests of their own.
func (s *Session) forward(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	if r.URL.Scheme != "http" {
		return &Error{Kind: BadURL, Message: "a proxy is asked for http URLs, or for a tunnel"}
	}
	u, err := checkURL(r.URL.String())
	if err != nil {
		return err
	}
	out := (&http.Request{Method: r.Method, URL: u, Header: r.Header, Body: r.Body, ContentLength: r.ContentLength}).WithContext(ctx)
	resp, err := s.client.RoundTrip(out)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		switch name {
		case "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Trailer", "Proxy-Connection", "Proxy-Authenticate",
			"Proxy-Authentication-Info", "Alt-Svc":
		default:
			w.Header()[name] = values
		}
	}
	status := resp.StatusCode
	if status == http.StatusProxyAuthRequired {
		status = http.StatusBadGateway // only we ask for our password
	}
	w.WriteHeader(status)
	flush := http.NewResponseController(w)
	for b := make([]byte, 32<<10); ; {
		n, err := resp.Body.Read(b)
		if n > 0 {
			if _, werr := w.Write(b[:n]); werr != nil {
				return nil
			}
			flush.Flush()
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			panic(http.ErrAbortHandler) // a body that was cut must not look whole
		}
	}
}

// tunnel connects Chromium with a host and port, whatever it says there: TLS, or WebSocket.
func (s *Session) tunnel(ctx context.Context, w http.ResponseWriter, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return &Error{Kind: BadURL, Message: "a tunnel must lead to host:port", Err: err}
	}
	if err := checkPort(port); err != nil {
		return err
	}
	far, err := s.client.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		far.Close()
		return err
	}
	defer context.AfterFunc(s.ended, func() {
		far.Close()
		near.Close()
	})()
	if _, err := near.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		near.Close()
		far.Close()
		return nil
	}
	// Who ends its direction ends the tunnel: neither TLS nor WebSocket goes on with half of one.
	other := make(chan struct{})
	go func() {
		io.Copy(far, buffered)
		far.Close()
		near.Close()
		close(other)
	}()
	io.Copy(near, far)
	far.Close()
	near.Close()
	<-other
	return nil
}

// refuse remembers why a request of a page was refused.
func (s *Session) refuse(e *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = e
}

// lastRefused is the last refusal since the call before.
func (s *Session) lastRefused() *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.refused
	s.refused = nil
	return e
}
