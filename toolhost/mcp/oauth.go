package mcp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"chorale/toolhost/egress"
)

// OAuth says how a Client gets tokens when a server wants them. It is the authorization code grant with PKCE, as MCP's
// specification of 2026-07-28 has it. Tokens and registrations are kept in memory as long as the Client lives, each for
// the authorization server that gave it.
type OAuth struct {
	// Authorize sends a person to a URL and returns the URL that the authorization server sent them back to, with its
	// query. The time of calls does not pass meanwhile.
	Authorize func(ctx context.Context, url string) (redirect string, err error)
	// Redirect is the redirection URI, such as "http://127.0.0.1:33418/callback".
	Redirect string
	// ClientID and ClientSecret are of a client that the authorization server Issuer knows; "" registers one. With an
	// Issuer of "" they are for the first that the server names, and no other after it.
	ClientID, ClientSecret, Issuer string
	// Document is the https URL of a client metadata document, which is the client's name at authorization servers that
	// fetch it; "" for none.
	Document string
	// Name is shown to people; "" is "chorale".
	Name string
}

func (o *OAuth) check() error {
	if o.Authorize == nil {
		return errors.New("OAuth.Authorize: must be set")
	}
	if u, err := url.Parse(o.Redirect); err != nil || u.Scheme == "" || u.Fragment != "" {
		return errors.New("OAuth.Redirect: must be an absolute URI without a fragment")
	}
	if o.ClientSecret != "" && o.ClientID == "" {
		return errors.New("OAuth.ClientSecret: needs a ClientID")
	}
	if u, err := url.Parse(o.Document); o.Document != "" && (err != nil || u.Scheme != "https" || len(u.Path) < 2) {
		return errors.New("OAuth.Document: must be an https URL with a path")
	}
	return nil
}

// An authorizer gets and keeps the token of one server.
type authorizer struct {
	conf     OAuth
	resource string // the server's URL
	http     *egress.Client
	mask     *masker
	turn     chan struct{} // capacity 1: a place for who authorises

	mu      sync.Mutex // guards what follows
	token   grant
	clients map[string]registration // by issuer
	issuer  string                  // that the configured client is bound to
}

// A grant is what an authorization server gave.
type grant struct {
	access, refresh string
	expires         time.Time // zero: not said
	scope           []string  // that was asked for
	server          *authServer
	client          registration
	resource        string
}

// limits of requests to authorization servers, which are small and quick.
const (
	authTimeout = 30 * time.Second
	authBody    = 256 << 10
)

func newAuthorizer(c Config, m *masker) (*authorizer, error) {
	e, err := egress.New(egress.Options{
		Policy: c.Policy, SameOrigin: true, Limits: egress.Limits{Total: authTimeout, ResponseBody: authBody},
	})
	if err != nil {
		return nil, err
	}
	conf := *c.OAuth
	if conf.Name == "" {
		conf.Name = "chorale"
	}
	m.add(conf.ClientSecret)
	return &authorizer{
		conf: conf, resource: c.URL, http: e, mask: m, turn: make(chan struct{}, 1), clients: map[string]registration{},
		issuer: conf.Issuer,
	}, nil
}

func (a *authorizer) close() { a.http.Close() }

// A bearer sends requests with the token, and gets a token or a better one when the server wants that.
type bearer struct {
	auth *authorizer
	http http.RoundTripper
}

// maxChallenges is how often one request is challenged before its answer is final.
const maxChallenges = 3

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := b.auth.renew(ctx); err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		token := b.auth.access()
		again := r.Clone(ctx)
		if r.GetBody != nil {
			body, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			again.Body = body
		}
		if token != "" {
			again.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := b.http.RoundTrip(again)
		if err != nil || n == maxChallenges || !challenged(resp) {
			return resp, err
		}
		failed := authError(resp, b.auth.mask)
		c := challenges(resp.Header)
		resp.Body.Close()
		if err := b.auth.authorize(ctx, resp.StatusCode, c, token); err != nil {
			failed.Err = err
			return nil, failed
		}
	}
}

// challenged reports whether a token, or one with more scope, would help.
func challenged(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized ||
		resp.StatusCode == http.StatusForbidden && challenges(resp.Header)["error"] == "insufficient_scope"
}

func (a *authorizer) access() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token.access
}

func (a *authorizer) current() grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token
}

func (a *authorizer) keep(g grant) {
	a.mask.add(g.access)
	a.mask.add(g.refresh)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = g
}

func (a *authorizer) take(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// early is how long before its end a token is renewed.
const early = 10 * time.Second

// renew refreshes a token that is about to end. A refresh that is refused leaves the old one for the server to judge.
func (a *authorizer) renew(ctx context.Context) error {
	old := func(g grant) bool {
		return g.refresh != "" && !g.expires.IsZero() && time.Until(g.expires) < early
	}
	if !old(a.current()) {
		return nil
	}
	if err := a.take(ctx); err != nil {
		return err
	}
	defer func() { <-a.turn }()
	if g := a.current(); old(g) {
		if a.refresh(ctx, g) != nil {
			g.refresh = ""
			a.keep(g)
		}
	}
	return nil
}

// authorize gets a token after a challenge to the one that was used.
func (a *authorizer) authorize(ctx context.Context, status int, challenge map[string]string, used string) error {
	if err := a.take(ctx); err != nil {
		return err
	}
	defer func() { <-a.turn }()
	old := a.current()
	if old.access != used {
		return nil // somebody else has got one meanwhile
	}
	res, err := a.protectedResource(ctx, challenge["resource_metadata"])
	if err != nil {
		return err
	}
	server, err := a.discover(ctx, res)
	if err != nil {
		return err
	}
	same := old.server != nil && old.server.Issuer == server.Issuer
	if status == http.StatusUnauthorized && same && old.refresh != "" && a.refresh(ctx, old) == nil {
		return nil
	}
	scope := strings.Fields(challenge["scope"])
	if len(scope) == 0 {
		scope = slices.Clone(res.Scopes)
	}
	if same {
		for _, s := range old.scope {
			if !slices.Contains(scope, s) {
				scope = append(scope, s)
			}
		}
	}
	if slices.Contains(server.Scopes, "offline_access") && !slices.Contains(scope, "offline_access") {
		scope = append(scope, "offline_access")
	}
	client, err := a.client(ctx, server, scope)
	if err != nil {
		return err
	}
	return a.code(ctx, grant{scope: scope, server: server, client: client, resource: res.Resource})
}

// code is the authorization code grant (RFC 6749, 4.1) with PKCE (RFC 7636), resource indicators (RFC 8707) and the
// check of the issuer (RFC 9207).
func (a *authorizer) code(ctx context.Context, g grant) error {
	state, verifier := rand.Text(), rand.Text()+rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	u, err := url.Parse(g.server.Authorization)
	if err != nil {
		return err
	}
	q := u.Query()
	for name, v := range map[string]string{
		"response_type": "code", "client_id": g.client.ID, "redirect_uri": a.conf.Redirect, "state": state,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256", "resource": g.resource,
		"scope": strings.Join(g.scope, " "),
	} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if slices.Contains(g.scope, "offline_access") {
		q.Set("prompt", "consent") // without which OpenID Connect gives no refresh token
	}
	u.RawQuery = q.Encode()
	resume := exchangeOf(ctx).pause()
	back, err := a.conf.Authorize(ctx, u.String())
	resume()
	if err != nil {
		return fmt.Errorf("authorize at %s: %w", g.server.Issuer, err)
	}
	code, err := a.redirected(back, state, g.server)
	if err != nil {
		return err
	}
	a.mask.add(code)
	return a.fetch(ctx, g, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {a.conf.Redirect}, "code_verifier": {verifier},
	})
}

// redirected returns the code of the URL that somebody was sent back to. Who sent them is checked before anything else
// is looked at: a code must never go to another server than its own.
func (a *authorizer) redirected(back, state string, s *authServer) (string, error) {
	u, err := url.Parse(back)
	want, _ := url.Parse(a.conf.Redirect)
	if err != nil || u.Scheme != want.Scheme || u.Host != want.Host || u.Path != want.Path {
		return "", errors.New("the redirection went to another URI than the one that was registered")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", errors.New("the query of the redirection cannot be read")
	}
	for name, values := range q {
		if len(values) > 1 {
			return "", fmt.Errorf("the redirection has %q twice", printable(name))
		}
	}
	if q.Get("state") != state {
		return "", errors.New("the redirection has another state than the request")
	}
	if iss, sent := q.Get("iss"), q.Has("iss"); sent && iss != s.Issuer {
		return "", fmt.Errorf("the redirection is by issuer %q, not by %q", printable(iss), s.Issuer)
	} else if !sent && s.IssSupported {
		return "", fmt.Errorf("the redirection has no iss, which %q promises to send", s.Issuer)
	}
	if e := q.Get("error"); e != "" {
		return "", fmt.Errorf("the authorization server refused: %s", printable(e+" "+q.Get("error_description")))
	}
	if q.Get("code") == "" {
		return "", errors.New("the redirection has no code")
	}
	return q.Get("code"), nil
}

func (a *authorizer) refresh(ctx context.Context, g grant) error {
	return a.fetch(ctx, g, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.refresh}})
}

// fetch asks the token endpoint, and keeps what it gives.
func (a *authorizer) fetch(ctx context.Context, g grant, form url.Values) error {
	if g.resource != "" {
		form.Set("resource", g.resource)
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	switch g.client.Method {
	case "client_secret_basic":
		basic := url.QueryEscape(g.client.ID) + ":" + url.QueryEscape(g.client.Secret)
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(basic)))
	case "client_secret_post":
		form.Set("client_secret", g.client.Secret)
		form.Set("client_id", g.client.ID)
	default:
		form.Set("client_id", g.client.ID)
	}
	var t struct {
		Access  string  `json:"access_token"`
		Type    string  `json:"token_type"`
		Refresh string  `json:"refresh_token"`
		Expires float64 `json:"expires_in"`
	}
	if _, err := a.ask(ctx, http.MethodPost, g.server.Token, header, form.Encode(), &t); err != nil {
		return fmt.Errorf("token endpoint: %w", err)
	}
	if t.Access == "" || !strings.EqualFold(t.Type, "Bearer") {
		return fmt.Errorf("token endpoint: no token of type Bearer, but %q", printable(t.Type))
	}
	if checkHeader("Authorization", t.Access) != nil {
		return errors.New("token endpoint: the token has control characters")
	}
	g.access = t.Access
	if t.Refresh != "" {
		g.refresh = t.Refresh
	}
	g.expires = time.Time{}
	if t.Expires > 0 {
		g.expires = time.Now().Add(time.Duration(min(t.Expires, 1e8)) * time.Second)
	}
	a.keep(g)
	return nil
}
