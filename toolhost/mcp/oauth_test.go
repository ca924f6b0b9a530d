package mcp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/toolhost/egress"
	"chorale/toolhost/mcp"
)

// An issuer is an authorization server whose metadata and redirections a test can bend.
type issuer struct {
	*httptest.Server
	metadata func(m map[string]any)
	redirect func(q url.Values)
	token    func(w http.ResponseWriter, form url.Values) bool // true: it has answered
	lives    int                                               // seconds of a token

	mu    sync.Mutex // guards what follows
	got   []string   // grant types and registrations
	count int
	good  string // the token that counts
}

func (i *issuer) seen() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return strings.Join(i.got, " ")
}

func (i *issuer) accepts(r *http.Request) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.good != "" && r.Header.Get("Authorization") == "Bearer "+i.good
}

func authority(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{lives: 3600}
	i.Server = httptest.NewServer(http.HandlerFunc(i.handle))
	t.Cleanup(i.Server.Close)
	return i
}

func (i *issuer) note(s string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.got = append(i.got, s)
	i.count++
	return i.count
}

func (i *issuer) handle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		m := map[string]any{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"registration_endpoint": i.URL + "/register", "code_challenge_methods_supported": []string{"S256"},
			"authorization_response_iss_parameter_supported": true, "token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
		}
		if i.metadata != nil {
			i.metadata(m)
		}
		json.NewEncoder(w).Encode(m)
	case "/register":
		i.note("register")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"client_id":"client","client_secret":"secret-canary-1"}`)
	case "/authorize":
		q := url.Values{"code": {"code-canary-12345"}, "state": {r.FormValue("state")}, "iss": {i.URL}}
		if i.redirect != nil {
			i.redirect(q)
		}
		http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+q.Encode(), http.StatusFound)
	case "/token":
		r.ParseForm()
		n := i.note(r.PostForm.Get("grant_type"))
		if i.token != nil && i.token(w, r.PostForm) {
			return
		}
		i.mu.Lock()
		i.good = fmt.Sprintf("token-canary-%d", n)
		i.mu.Unlock()
		fmt.Fprintf(w, `{"access_token":"token-canary-%d","token_type":"bearer","refresh_token":"refresh-canary-%d","expires_in":%d}`, n, n, i.lives)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// protect makes a fake want tokens of an issuer.
func protect(f *fake, i *issuer) {
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/.well-known/oauth-protected-resource") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"resource":%q,"authorization_servers":[%q],"scopes_supported":["tools"]}`, f.URL+"/mcp", i.URL)
			return true
		}
		if i.accepts(r) {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

// agree is a person who says yes, and the code that the browser is sent back with.
func agree(ctx context.Context, to string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return "", err
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return resp.Header.Get("Location"), nil
}

func withOAuth(t testing.TB, f *fake) mcp.Config {
	conf := f.config(t)
	conf.OAuth = &mcp.OAuth{Authorize: agree, Redirect: "http://127.0.0.1:33418/callback"}
	return conf
}

func TestOAuth(t *testing.T) {
	t.Parallel()
	f, i := serve(t), authority(t)
	protect(f, i)
	i.token = func(w http.ResponseWriter, form url.Values) bool {
		if form.Get("resource") != f.URL+"/mcp" || form.Get("code_verifier") == "" {
			t.Errorf("got form %v, want the resource and a verifier", form)
		}
		return false
	}
	c := open(t, withOAuth(t, f), mcp.Options{})
	for range 2 {
		if _, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := i.seen(); got != "register authorization_code" {
		t.Errorf("got %s", got)
	}
}

// TestPersonTakesTime: nothing runs out while somebody thinks.
func TestPersonTakesTime(t *testing.T) {
	t.Parallel()
	f, i := serve(t), authority(t)
	protect(f, i)
	conf := withOAuth(t, f)
	conf.Limits.Probe, conf.Limits.Connect = time.Second, time.Second
	conf.OAuth.Authorize = func(ctx context.Context, to string) (string, error) {
		select {
		case <-time.After(1500 * time.Millisecond):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		return agree(ctx, to)
	}
	if _, err := open(t, conf, mcp.Options{}).List(within(t)); err != nil {
		t.Error(err)
	}
}

// TestRefresh: a token that ended is renewed without asking anybody, also when the server is the first to know.
func TestRefresh(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lives int
	}{{"ended", 1}, {"revoked", 3600}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, i := serve(t), authority(t)
			protect(f, i)
			i.lives = tt.lives
			c := open(t, withOAuth(t, f), mcp.Options{})
			if _, err := c.List(within(t)); err != nil {
				t.Fatal(err)
			}
			i.mu.Lock()
			i.good, i.lives = "", 3600
			i.mu.Unlock()
			if _, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); err != nil {
				t.Fatal(err)
			}
			if got := i.seen(); !strings.HasPrefix(got, "register authorization_code refresh_token") || strings.Count(got, "authorization_code") != 1 {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestMovedServer: when the server changes its authorization server, the new one gets nothing that the old one gave.
func TestMovedServer(t *testing.T) {
	t.Parallel()
	f, first, second := serve(t), authority(t), authority(t)
	protect(f, first)
	var sent []string
	second.token = func(w http.ResponseWriter, form url.Values) bool {
		sent = append(sent, form.Encode())
		return false
	}
	c := open(t, withOAuth(t, f), mcp.Options{})
	if _, err := c.List(within(t)); err != nil {
		t.Fatal(err)
	}
	protect(f, second)
	if _, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); err != nil {
		t.Fatal(err)
	}
	if got := second.seen(); got != "register authorization_code" || strings.Contains(strings.Join(sent, " "), "refresh-canary") {
		t.Errorf("the second got %s with %v", got, sent)
	}
}

func TestOAuthRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		bend func(f *fake, i *issuer, c *mcp.Config)
		want string
		code bool // the code was sent somewhere
	}{
		{"issuer mix-up", func(f *fake, i *issuer, c *mcp.Config) {
			i.redirect = func(q url.Values) { q.Set("iss", "https://attacker.example") }
		}, `by issuer "https://attacker.example"`, false},
		{"no issuer", func(f *fake, i *issuer, c *mcp.Config) { i.redirect = func(q url.Values) { q.Del("iss") } }, "has no iss", false},
		{"issuer twice", func(f *fake, i *issuer, c *mcp.Config) {
			i.redirect = func(q url.Values) { q.Add("iss", "https://attacker.example") }
		}, `"iss" twice`, false},
		{"another state", func(f *fake, i *issuer, c *mcp.Config) {
			i.redirect = func(q url.Values) { q.Set("state", "guessed") }
		}, "another state", false},
		{"refused", func(f *fake, i *issuer, c *mcp.Config) {
			i.redirect = func(q url.Values) { q.Set("error", "access_denied") }
		}, "access_denied", false},
		{"redirected elsewhere", func(f *fake, i *issuer, c *mcp.Config) {
			c.OAuth.Authorize = func(ctx context.Context, to string) (string, error) {
				back, err := agree(ctx, to)
				return strings.Replace(back, "33418", "33419", 1), err
			}
		}, "another URI", false},
		{"metadata of another issuer", func(f *fake, i *issuer, c *mcp.Config) {
			i.metadata = func(m map[string]any) { m["issuer"] = "https://attacker.example" }
		}, `it is of issuer "https://attacker.example"`, false},
		{"no PKCE", func(f *fake, i *issuer, c *mcp.Config) {
			i.metadata = func(m map[string]any) { delete(m, "code_challenge_methods_supported") }
		}, "PKCE", false},
		{"command for an endpoint", func(f *fake, i *issuer, c *mcp.Config) {
			i.metadata = func(m map[string]any) { m["authorization_endpoint"] = "file:///bin/sh" }
		}, "authorization_endpoint must be an https URL", false},
		{"metadata address for an endpoint", func(f *fake, i *issuer, c *mcp.Config) {
			i.metadata = func(m map[string]any) { m["token_endpoint"] = "http://169.254.169.254/token" }
		}, "169.254.169.254", false},
		{"another resource", func(f *fake, i *issuer, c *mcp.Config) { c.URL = f.URL + "/other" }, "it is about", false},
		{"token of another type", func(f *fake, i *issuer, c *mcp.Config) {
			i.token = func(w http.ResponseWriter, form url.Values) bool {
				fmt.Fprint(w, `{"access_token":"a","token_type":"mac"}`)
				return true
			}
		}, `of type Bearer, but "mac"`, true},
		{"token that is a header", func(f *fake, i *issuer, c *mcp.Config) {
			i.token = func(w http.ResponseWriter, form url.Values) bool {
				fmt.Fprint(w, `{"access_token":"a\r\nHost: x","token_type":"bearer"}`)
				return true
			}
		}, "control characters", true},
		{"token endpoint says no", func(f *fake, i *issuer, c *mcp.Config) {
			i.token = func(w http.ResponseWriter, form url.Values) bool {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"error":"invalid_grant %s"}`, form.Get("code"))
				return true
			}
		}, "invalid_grant *", true},
		{"client of another issuer", func(f *fake, i *issuer, c *mcp.Config) {
			c.OAuth.ClientID, c.OAuth.ClientSecret, c.OAuth.Issuer = "known", key, "https://known.example"
			i.metadata = func(m map[string]any) { delete(m, "registration_endpoint") }
		}, "knows no client of ours", false},
		{"nobody there", func(f *fake, i *issuer, c *mcp.Config) {
			c.OAuth.Authorize = func(context.Context, string) (string, error) { return "", errors.New("nobody there") }
		}, "nobody there", false},
		{"never satisfied", func(f *fake, i *issuer, c *mcp.Config) {
			i.token = func(w http.ResponseWriter, form url.Values) bool {
				fmt.Fprint(w, `{"access_token":"wrong-canary-token","token_type":"bearer"}`)
				return true
			}
		}, "wants authorisation", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, i := serve(t), authority(t)
			protect(f, i)
			conf := withOAuth(t, f)
			tt.bend(f, i, &conf)
			var logs bytes.Buffer
			_, err := open(t, conf, mcp.Options{Logger: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}).List(within(t))
			var auth *mcp.AuthError
			var denied *egress.DeniedError
			if !errors.As(err, &auth) && !errors.As(err, &denied) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want an *AuthError with %q", err, tt.want)
			}
			if sent := strings.Contains(i.seen(), "authorization_code"); sent != tt.code {
				t.Errorf("the code was sent: %v, want %v", sent, tt.code)
			}
			if all := fmt.Sprintf("%v %+v %s", err, auth, logs.String()); strings.Contains(all, "canary") {
				t.Errorf("a secret is in %s", all)
			}
		})
	}
}

// TestTokenEcho: a server that sends the token back tells nobody.
func TestTokenEcho(t *testing.T) {
	t.Parallel()
	f, i := serve(t), authority(t)
	protect(f, i)
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		result(w, m, `{"content":[{"type":"text","text":"`+r.Header.Get("Authorization")+`"}]}`)
	}
	r, err := open(t, withOAuth(t, f), mcp.Options{}).Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
	if err != nil || !strings.HasPrefix(r.Text(), "Bearer **") {
		t.Errorf("got %v, %v", r, err)
	}
}
