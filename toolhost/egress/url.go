package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxURLBytes is far above what servers take (8 KiB is common).
const maxURLBytes = 16 << 10

// A target is what a URL was found to mean. Checks look at nothing else, and requests are sent to nothing else.
type target struct {
	scheme string     // "http" or "https"; "" for a tunnel
	host   string     // lower-case ASCII name without a dot at the end, or an address in its usual form
	addr   netip.Addr // of a host that is an address
	port   uint16
	path   string // decoded; "" when it could be read in more than one way
}

// ParseURL reads an absolute http or https URL and returns it in canonical form: lower-case scheme and host, names in
// Punycode without a dot at the end, no default port, no fragment. It refuses what programs read in different ways:
// user information, control characters, blanks, backslashes, odd spellings of addresses, zones.
func ParseURL(raw string) (*url.URL, error) {
	u, _, err := parseURL(raw)
	return u, err
}

func parseURL(raw string) (*url.URL, target, error) {
	var t target
	fail := func(field, format string, args ...any) (*url.URL, target, error) {
		return nil, target{}, fmt.Errorf("url: %s: %s", field, fmt.Sprintf(format, args...))
	}
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == utf8.RuneError }
	switch i := strings.IndexFunc(raw, odd); {
	case len(raw) > maxURLBytes:
		return fail("length", "%d bytes, at most %d", len(raw), maxURLBytes)
	case i >= 0:
		return fail("character", "%q at byte %d must be percent-encoded or left out", raw[i], i)
	}
	u, err := url.Parse(raw)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // without the URL, which may be long or secret
		}
		return nil, target{}, fmt.Errorf("url: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fail("scheme", "%q, must be http or https", u.Scheme)
	case u.Opaque != "":
		return fail("host", "missing: write %s://host/path", u.Scheme)
	case u.User != nil:
		return fail("user", "user names and passwords do not belong into URLs")
	}
	t.scheme = u.Scheme
	host, port := u.Hostname(), u.Port()
	if strings.HasPrefix(u.Host, "[") {
		host = "[" + host + "]"
	}
	if t.host, t.addr, err = parseHost(host); err != nil {
		return fail("host", "%v", err)
	}
	if t.port, err = parsePort(port, u.Scheme); err != nil {
		return fail("port", "%v", err)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if !strings.HasPrefix(u.Path, "/") {
		return fail("path", "must begin with a slash")
	}
	t.path = plainPath(u)
	u.Host, u.Fragment, u.RawFragment = t.hostPort(), "", ""
	return u, t, nil
}

// hostPort is the authority of the URL, without a default port.
func (t target) hostPort() string {
	host := t.host
	if t.addr.Is6() {
		host = "[" + host + "]"
	}
	if t.port == defaultPort(t.scheme) {
		return host
	}
	return host + ":" + strconv.Itoa(int(t.port))
}

func (t target) origin() string { return t.scheme + "://" + t.hostPort() }

func defaultPort(scheme string) uint16 {
	switch scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}

func parsePort(s, scheme string) (uint16, error) {
	if s == "" {
		return defaultPort(scheme), nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q, must be 1 to 65535", s)
	}
	return uint16(n), nil
}

// parseHost makes the one form of a host that is compared, resolved and sent. Addresses of version 6 are in brackets.
func parseHost(s string) (host string, addr netip.Addr, err error) {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		addr, err = netip.ParseAddr(s[1 : len(s)-1])
		switch {
		case err != nil || !addr.Is6():
			return "", addr, fmt.Errorf("%q is no IPv6 address", s)
		case addr.Zone() != "":
			return "", addr, fmt.Errorf("%q has a zone, which means something on one machine only", s)
		case addr.Is4In6():
			return "", addr, fmt.Errorf("%q is another spelling of %s", s, addr.Unmap())
		}
		return addr.String(), addr, nil
	}
	if host, err = asciiName(s); err != nil {
		return "", addr, err
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if !isNumber(last) {
		return host, addr, nil
	}
	// Programs read hosts that end in a number as IPv4 addresses, in decimal, octal or hexadecimal, with one to four
	// parts.
	if addr, err = netip.ParseAddr(host); err != nil || !addr.Is4() {
		return "", addr, fmt.Errorf("%q ends in a number and is no IPv4 address in its usual form, four decimal numbers", s)
	}
	return addr.String(), addr, nil
}

func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// asciiName maps a name as browsers do (UTS 46) and checks what comes out. Look-alikes of ASCII letters, digits and
// dots become these, all other letters Punycode, so that a name which merely looks like one in a rule is another name.
func asciiName(s string) (string, error) {
	const most = 253
	if len(s) > 4*most { // before Punycode, whose cost is quadratic
		return "", fmt.Errorf("name of %d bytes, at most %d", len(s), most)
	}
	name, err := strings.ToLower(s), error(nil)
	if !isASCII(s) || strings.Contains(name, "xn--") {
		name, err = idna.Lookup.ToASCII(s)
		if again, e := idna.Lookup.ToASCII(name); err == nil && (e != nil || again != name || !utf8.ValidString(s)) {
			err = errors.New("its ASCII form is no name")
		}
		if err != nil {
			return "", fmt.Errorf("%q is no host name: %w", s, err)
		}
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", errors.New("missing")
	}
	if len(name) > most {
		return "", fmt.Errorf("name of %d bytes, at most %d", len(name), most)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("%q is no host name", s)
		}
	}
	return name, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// plainPath is the decoded path, or "" where servers are known to disagree on what it names: encoded slashes and
// backslashes, something encoded twice, dot segments, empty segments, parameters behind dots. No pattern matches those.
func plainPath(u *url.URL) string {
	p := u.Path
	encoded := strings.Count(p, "/") != strings.Count(u.EscapedPath(), "/") || strings.Contains(p, "%")
	if encoded || strings.ContainsAny(p, "\\;") || strings.ContainsFunc(p, unicode.IsControl) || !utf8.ValidString(p) {
		return ""
	}
	segments := strings.Split(p[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return ""
		}
	}
	return p
}

// parseTunnel reads the "host:port" that a tunnel is to lead to.
func parseTunnel(address string) (target, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return target{}, fmt.Errorf("address %q: must be host:port", address)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	var t target
	if t.host, t.addr, err = parseHost(host); err != nil {
		return target{}, fmt.Errorf("address: host: %w", err)
	}
	if t.port, err = parsePort(port, ""); err != nil {
		return target{}, fmt.Errorf("address: port: %w", err)
	}
	return t, nil
}
