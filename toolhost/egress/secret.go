package egress

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A Secret is a value that requests to one host carry in a header and whoever makes the requests never sees.
type Secret struct {
	Name     string // the handle, for people and records
	Value    string // 8 bytes to 8 KiB that a header can hold
	Header   string // such as "Authorization"; replaces what the request has there
	Template string // of the header's value, with one {} for the secret, such as "Bearer {}"; "" stands for "{}"
	// Audience says which requests get the secret. Its host is one name or address, and its scheme https, or http with
	// networks that say where the host is.
	Audience Rule
}

// String is the name: a secret that is printed by mistake shows nothing.
func (s Secret) String() string { return "secret " + s.Name }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// MarshalJSON makes the name.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// minSecretBytes keeps secrets out that could not be told from other text of a response.
const (
	minSecretBytes = 8
	maxSecretBytes = 8 << 10
)

func (s Secret) check() error {
	fail := func(field, format string, args ...any) error {
		return fmt.Errorf("secret %q: %s: %s", s.Name, field, fmt.Sprintf(format, args...))
	}
	a := s.Audience
	switch {
	case s.Name == "":
		return errors.New("secret: name: missing")
	case len(s.Value) < minSecretBytes || len(s.Value) > maxSecretBytes:
		return fail("value", "%d bytes, must be %d to %d", len(s.Value), minSecretBytes, maxSecretBytes)
	case !validValue(s.Value) || strings.TrimSpace(s.Value) != s.Value:
		return fail("value", "has control characters, or blanks at its ends")
	case !validName(s.Header) || perHop(s.Header) || s.Header != "" && http.CanonicalHeaderKey(s.Header) == "Host":
		return fail("header", "%q cannot be set", s.Header)
	case s.Template != "" && (strings.Count(s.Template, "{}") != 1 || !validValue(s.Template)):
		return fail("template", "%q must have {} once, and no control characters", s.Template)
	case a.scheme == "":
		return fail("audience", "missing")
	case a.host == "*" || strings.HasPrefix(a.host, ".") || a.port == 0:
		return fail("audience", "%s must be one host and port", a)
	case a.scheme == "http" && len(a.at) == 0:
		return fail("audience", "%s would send it readable over the internet: use https, or say behind \"at\" where the host is", a)
	}
	return nil
}

func (s Secret) header() string {
	if s.Template == "" {
		return s.Value
	}
	return strings.Replace(s.Template, "{}", s.Value, 1)
}

// masker replaces secrets in what a server sends back, in their plain form and as JSON, HTML, URLs and base64 have
// them. What replaces them is as long as they are, so that lengths stay true.
type masker struct {
	patterns [][]byte
	longest  int
}

func newMasker(secrets []Secret) *masker {
	if len(secrets) == 0 {
		return nil
	}
	m := &masker{}
	for _, s := range secrets {
		for _, form := range forms(s.Value) {
			if p := []byte(form); !slices.ContainsFunc(m.patterns, func(q []byte) bool { return bytes.Equal(p, q) }) {
				m.patterns = append(m.patterns, p)
			}
		}
	}
	// Longer ones first: one may begin another.
	slices.SortFunc(m.patterns, func(a, b []byte) int { return len(b) - len(a) })
	m.longest = len(m.patterns[0])
	return m
}

// forms are the ways in which servers write a text that they were sent.
func forms(s string) []string {
	quoted, _ := json.Marshal(s) // a string always can
	escaped := string(quoted[1 : len(quoted)-1])
	// Most languages leave these.
	plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(escaped)
	list := []string{
		s, escaped, plain, strings.ReplaceAll(plain, "/", `\/`), html.EscapeString(s), url.QueryEscape(s), url.PathEscape(s),
		base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
	}
	return slices.Concat(list, within(base64.RawStdEncoding, s), within(base64.RawURLEncoding, s))
}

// within are the characters that base64 has of a text behind a template's words or a user's name, which move it by one byte or
// by two. The characters at the ends are left out, since they have bits of what is beside it.
func within(e *base64.Encoding, s string) []string {
	var list []string
	for moved := 1; moved <= 2; moved++ {
		text := e.EncodeToString(append(make([]byte, moved), s...))
		list = append(list, text[(8*moved+5)/6:8*(moved+len(s))/6])
	}
	return append(list, e.EncodeToString([]byte(s))[:8*len(s)/6])
}

// mask replaces in place and returns how many bytes at the end could be the beginning of a secret.
func (m *masker) mask(b []byte) (open int) {
	for _, p := range m.patterns {
		for rest := b; ; {
			i := bytes.Index(rest, p)
			if i < 0 {
				break
			}
			copy(rest[i:], bytes.Repeat([]byte("*"), len(p)))
			rest = rest[i+len(p):]
		}
	}
	for n := min(m.longest-1, len(b)); n > 0; n-- {
		tail := b[len(b)-n:]
		if slices.ContainsFunc(m.patterns, func(p []byte) bool { return len(p) > n && bytes.HasPrefix(p, tail) }) {
			return n
		}
	}
	return 0
}

// finds reports whether there is a secret in a text. A nil masker finds nothing.
func (m *masker) finds(s string) bool {
	if m == nil {
		return false
	}
	b := []byte(s)
	m.mask(b)
	return string(b) != s
}

func (m *masker) header(h http.Header) {
	for name, values := range h {
		var clean []string
		for _, v := range values {
			b := []byte(v)
			m.mask(b)
			clean = append(clean, string(b))
		}
		b := []byte(name)
		if m.mask(b); string(b) != name {
			delete(h, name)
			name = string(b)
		}
		h[name] = clean
	}
}

// A maskReader masks a stream. It holds back no more than what may be the beginning of a secret.
type maskReader struct {
	m     *masker
	r     io.Reader
	buf   []byte // what was read; masked
	ready int    // bytes of buf that may be given out
	err   error
}

func (r *maskReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.ready == 0 && r.err == nil {
		chunk := make([]byte, max(len(p), 512))
		var n int
		n, r.err = r.r.Read(chunk)
		r.buf = append(r.buf, chunk[:n]...)
		r.ready = len(r.buf) - r.m.mask(r.buf)
		if r.err != nil {
			r.ready = len(r.buf)
		}
	}
	n := copy(p, r.buf[:r.ready])
	r.buf, r.ready = r.buf[n:], r.ready-n
	if n == 0 {
		return 0, r.err
	}
	return n, nil
}
