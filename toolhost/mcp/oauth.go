package mcp

import (
	"context"
	"errors"
	"net/http"
)

// OAuth says how a Client gets tokens when a server wants them. It is the authorization code grant with PKCE, as MCP's
// specification of 2026-07-28 has it.
type OAuth struct {
	// Authorize sends a person to a URL and returns the URL that the authorization server sent them back to, with its
	// query. The time of calls does not pass meanwhile.
	Authorize func(ctx context.Context, url string) (redirect string, err error)
	// Redirect is the redirection URI, such as "http://127.0.0.1:33418/callback".
	Redirect string
	// ClientID and ClientSecret are of a client that the authorization server Issuer knows; "" registers one. An Issuer of
	// "" is the first that the server names, and no other after it.
	ClientID, ClientSecret, Issuer string
	// Document is the https URL of a client metadata document, which is the client's name at servers that fetch it; "" for none.
	Document string
	// Name is shown to people; "" is "chorale".
	Name string
}

func (o *OAuth) check() error {
	if o.Authorize == nil {
		return errors.New("Authorize: must be set")
	}
	return nil
}

type authorizer struct{}
type bearer struct {
	a    *authorizer
	http interface{}
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) { return nil, nil }
func newAuthorizer(c Config, m *masker) (*authorizer, error)        { return nil, nil }
func (a *authorizer) close()                                        {}
