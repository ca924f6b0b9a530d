package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"chorale/toolhost/egress"
)

// A resource is the metadata of a protected resource (RFC 9728).
type resource struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
}

// An authServer is the metadata of an authorization server (RFC 8414, OpenID Connect Discovery).
type authServer struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Registration  string   `json:"registration_endpoint"`
	Scopes        []string `json:"scopes_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	IssSupported  bool     `json:"authorization_response_iss_parameter_supported"`
	Documents     bool     `json:"client_id_metadata_document_supported"`
}

// A registration is what the client is called at an authorization server.
type registration struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
	Method string `json:"token_endpoint_auth_method"`
}

// errNone says that there is no document at any of the places.
var errNone = errors.New("there is no metadata at the places where it should be")

// ask makes a request for a JSON document. The document of a status that is no success is not read.
func (a *authorizer) ask(ctx context.Context, method, to string, header http.Header, body string, into any) (int, error) {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, to, r)
	if err != nil {
		return 0, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	resp, err := a.http.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		var e struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(raw, &e) // a reason is welcome and not needed
		why := orElse(printable(a.mask.text(e.Error)), http.StatusText(resp.StatusCode))
		return resp.StatusCode, &HTTPError{Status: resp.StatusCode, Message: why}
	}
	if err := checkJSON(raw, Limits{}.complete()); err != nil {
		return resp.StatusCode, err
	}
	// An object with exactly these names: Go's decoder would take others that differ in case.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return resp.StatusCode, &InvalidError{"no JSON object"}
	}
	exact := map[string]json.RawMessage{}
	for name, value := range fields {
		if strings.ToLower(name) == name && string(value) != "null" {
			exact[name] = value
		}
	}
	if raw, err = json.Marshal(exact); err != nil {
		return resp.StatusCode, err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return resp.StatusCode, &InvalidError{"a JSON document of another kind: " + err.Error()}
	}
	return resp.StatusCode, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// first asks one place after the other. A place that does not have the document answers with a status of 400 to 499;
// that is how errNone comes about. Everything else that goes wrong is final, so that nobody can be led to a worse
// place.
func (a *authorizer) first(ctx context.Context, places []string, into any) error {
	for _, p := range places {
		status, err := a.ask(ctx, http.MethodGet, p, nil, "", into)
		if err == nil || status < 400 || status >= 500 {
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			return nil
		}
	}
	return errNone
}

// protectedResource finds the metadata of the server. A server without any is its own authorization server, as in the
// specification of 2025-03-26.
func (a *authorizer) protectedResource(ctx context.Context, named string) (resource, error) {
	u, err := url.Parse(a.resource)
	if err != nil {
		return resource{}, err
	}
	origin := u.Scheme + "://" + u.Host
	places := []string{origin + "/.well-known/oauth-protected-resource" + strings.TrimSuffix(u.EscapedPath(), "/")}
	if root := origin + "/.well-known/oauth-protected-resource"; root != places[0] {
		places = append(places, root)
	}
	if named != "" {
		places = []string{named}
	}
	var res resource
	err = a.first(ctx, places, &res)
	switch {
	case errors.Is(err, errNone) && named == "":
		return resource{Servers: []string{origin}}, nil
	case err != nil:
		return res, fmt.Errorf("metadata of the server: %w", err)
	case !covers(res.Resource, u):
		return res, fmt.Errorf("metadata of the server: it is about %q, not about %s", printable(res.Resource), a.resource)
	case len(res.Servers) == 0:
		return res, errors.New("metadata of the server: it names no authorization server")
	}
	return res, nil
}

// covers reports whether the resource is the server: its URL, or one above it at the same origin.
func covers(res string, server *url.URL) bool {
	u, err := url.Parse(res)
	if err != nil || u.Scheme != server.Scheme || !strings.EqualFold(u.Host, server.Host) {
		return false
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	return strings.HasPrefix(server.EscapedPath()+"/", path+"/")
}

// discover finds the metadata of the authorization server: that which the configured client is for, or the first.
func (a *authorizer) discover(ctx context.Context, res resource) (*authServer, error) {
	issuer := res.Servers[0]
	if a.conf.Issuer != "" && slices.Contains(res.Servers, a.conf.Issuer) {
		issuer = a.conf.Issuer
	}
	u, err := egress.ParseURL(issuer)
	if err != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("authorization server %q: is no issuer", printable(issuer))
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	places := []string{origin + "/.well-known/oauth-authorization-server" + path}
	if path != "" {
		places = append(places, origin+"/.well-known/openid-configuration"+path)
	}
	places = append(places, origin+path+"/.well-known/openid-configuration")
	s := &authServer{}
	if err := a.first(ctx, places, s); err != nil {
		return nil, fmt.Errorf("metadata of authorization server %s: %w", issuer, err)
	}
	switch {
	case s.Issuer != issuer:
		return nil, fmt.Errorf("metadata of authorization server %s: it is of issuer %q", issuer, printable(s.Issuer))
	case !slices.Contains(s.Challenges, "S256"):
		return nil, fmt.Errorf("authorization server %s: does not say that it checks PKCE with S256", issuer)
	}
	for name, endpoint := range map[string]string{
		"authorization_endpoint": s.Authorization, "token_endpoint": s.Token, "registration_endpoint": s.Registration,
	} {
		if endpoint == "" && name == "registration_endpoint" {
			continue
		}
		e, err := egress.ParseURL(endpoint)
		if err != nil || e.Scheme == "http" && !local(u) {
			return nil, fmt.Errorf("authorization server %s: %s must be an https URL", issuer, name)
		}
	}
	return s, nil
}

// local reports whether a URL is of this machine by its address, where http is as good as https.
func local(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// client returns what the client is called at a server: configured for it, its document, or registered there.
func (a *authorizer) client(ctx context.Context, s *authServer, scope []string) (registration, error) {
	a.mu.Lock()
	known, ok := a.clients[s.Issuer]
	if !ok && a.conf.ClientID != "" && (a.issuer == "" || a.issuer == s.Issuer) {
		a.issuer = s.Issuer
		known, ok = registration{ID: a.conf.ClientID, Secret: a.conf.ClientSecret}, true
	}
	a.mu.Unlock()
	if !ok {
		var err error
		if known, err = a.register(ctx, s, scope); err != nil {
			return known, err
		}
	}
	if known.Method == "" {
		known.Method = method(s.Methods, known.Secret != "")
	}
	a.mask.add(known.Secret)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clients[s.Issuer] = known
	return known, nil
}

// method chooses how the client shows at the token endpoint who it is. RFC 8414 says that nothing said is basic.
func method(supported []string, secret bool) string {
	switch {
	case !secret:
		return "none"
	case len(supported) == 0 || slices.Contains(supported, "client_secret_basic"):
		return "client_secret_basic"
	case slices.Contains(supported, "client_secret_post"):
		return "client_secret_post"
	}
	return "none"
}

func (a *authorizer) register(ctx context.Context, s *authServer, scope []string) (registration, error) {
	if s.Documents && a.conf.Document != "" {
		return registration{ID: a.conf.Document, Method: "none"}, nil
	}
	if s.Registration == "" {
		return registration{}, fmt.Errorf("authorization server %s: knows no client of ours and registers none", s.Issuer)
	}
	kind := "web"
	if u, err := url.Parse(a.conf.Redirect); err == nil && (local(u) || u.Scheme != "https" && u.Scheme != "http") {
		kind = "native"
	}
	how := "none"
	if len(s.Methods) > 0 && !slices.Contains(s.Methods, "none") {
		how = method(s.Methods, true)
	}
	body, err := json.Marshal(map[string]any{
		"client_name": a.conf.Name, "redirect_uris": []string{a.conf.Redirect}, "response_types": []string{"code"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "application_type": kind,
		"token_endpoint_auth_method": how, "scope": strings.Join(scope, " "),
	})
	if err != nil {
		return registration{}, err
	}
	var r registration
	header := http.Header{"Content-Type": {"application/json"}}
	if _, err := a.ask(ctx, http.MethodPost, s.Registration, header, string(body), &r); err != nil {
		return r, fmt.Errorf("registration at %s: %w", s.Issuer, err)
	}
	if r.ID == "" {
		return r, fmt.Errorf("registration at %s: there is no client_id", s.Issuer)
	}
	return r, nil
}
