package mcp

import (
	"net/http"
	"strings"
)

// challenges are the parameters of the Bearer challenges of a response (RFC 9110, 11.6.1; RFC 6750, 3), nil for none.
// What comes first counts.
func challenges(h http.Header) map[string]string {
	var found map[string]string
	for _, field := range h.Values("WWW-Authenticate") {
		for rest := strings.TrimSpace(field); rest != ""; {
			var scheme string
			scheme, rest = token(rest)
			if scheme == "" {
				break
			}
			var params map[string]string
			params, rest = parameters(strings.TrimLeft(rest, " \t"))
			if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP") {
				continue
			}
			if found == nil {
				found = map[string]string{}
			}
			for name, value := range params {
				if _, ok := found[name]; !ok {
					found[name] = value
				}
			}
		}
	}
	return found
}

// token takes a token off a string.
func token(s string) (t, rest string) {
	n := strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("!#$%&'*+-.^_`|~", r) && !('0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z')
	})
	if n < 0 {
		n = len(s)
	}
	return s[:n], s[n:]
}

// parameters takes name=value pairs with commas between them off a string, until the name of the next scheme.
func parameters(s string) (map[string]string, string) {
	params := map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t,")
		name, rest := token(s)
		rest = strings.TrimLeft(rest, " \t")
		if name == "" || !strings.HasPrefix(rest, "=") {
			return params, s
		}
		value, rest := value(strings.TrimLeft(rest[1:], " \t"))
		params[strings.ToLower(name)] = value
		s = strings.TrimLeft(rest, " \t")
		if !strings.HasPrefix(s, ",") {
			return params, s
		}
	}
}

// value takes a token or a quoted string off a string.
func value(s string) (v, rest string) {
	if !strings.HasPrefix(s, `"`) {
		n := strings.IndexAny(s, ", \t")
		if n < 0 {
			n = len(s)
		}
		return s[:n], s[n:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// maxChallenge is how much of a challenge is quoted.
const maxChallenge = 500

func authError(resp *http.Response, m *masker) *AuthError {
	text := printable(m.text(strings.Join(resp.Header.Values("WWW-Authenticate"), ", ")))
	return &AuthError{
		Status: resp.StatusCode, Challenge: text[:min(len(text), maxChallenge)],
		Scope: printable(m.text(challenges(resp.Header)["scope"])),
	}
}
