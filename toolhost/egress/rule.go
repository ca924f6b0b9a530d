package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Rule allows requests. Its text is one line:
//
//	[METHOD[,METHOD…]] SCHEME://HOST[:PORT][/PATH] [at NETWORK[,NETWORK…]]
//
//	https://api.example.com
//	GET,HEAD https://*.example.com/v1/**
//	http://localhost:8080 at 127.0.0.1,::1
//
// Without methods all are allowed, except CONNECT and TRACE. The scheme is http or https. The host is a name, an
// address (IPv6 in brackets), "*.example.com" for every name below example.com, or "*" for every host. Without a port
// it is the scheme's; ":*" is every port. A path is compared with the decoded path of the URL, segment by segment: "*"
// within a segment stands for any characters, and a last segment "**" for everything below and the folder itself.
// Without a path every path is allowed.
//
// A rule reaches public addresses only. Networks behind "at" (addresses or CIDR blocks) are the only ones that its
// hosts may have instead; so they are what allows private addresses. A rule whose host is an address lists that
// address. Metadata, multicast and unspecified addresses must be listed alone, not as part of a block.
//
// The zero Rule allows nothing.
type Rule struct {
	methods []string
	scheme  string
	host    string // as of parseHost; ".example.com" for names below it; "*"
	addr    netip.Addr
	port    uint16 // 0: every
	path    string // "": every
	at      []netip.Prefix
}

// ParseRule reads the text of a rule. Errors begin with the part that is wrong.
func ParseRule(line string) (Rule, error) {
	var r Rule
	fields := strings.Fields(line)
	upper := len(fields) > 0 && strings.Trim(fields[0], "ABCDEFGHIJKLMNOPQRSTUVWXYZ,") == ""
	if upper || len(fields) > 1 && strings.Contains(fields[1], "://") {
		for m := range strings.SplitSeq(fields[0], ",") {
			if err := checkMethod(m); err != nil {
				return Rule{}, fmt.Errorf("method: %w", err)
			}
			r.methods = append(r.methods, m)
		}
		slices.Sort(r.methods)
		r.methods = slices.Compact(r.methods)
		fields = fields[1:]
	}
	switch {
	case len(fields) == 0:
		return Rule{}, errors.New("url: missing: a rule is \"[METHODS] scheme://host[:port][/path] [at NETWORKS]\"")
	case len(fields) > 1 && fields[1] != "at":
		return Rule{}, fmt.Errorf("after the url: %q, want \"at\" and networks, or nothing", fields[1])
	case len(fields) == 2:
		return Rule{}, errors.New("at: networks are missing")
	case len(fields) > 3:
		return Rule{}, fmt.Errorf("at: %q: separate networks by commas, without blanks", fields[3])
	}
	if err := r.parseURL(fields[0]); err != nil {
		return Rule{}, err
	}
	if len(fields) == 3 {
		for s := range strings.SplitSeq(fields[2], ",") {
			p, err := parseNetwork(s)
			if err != nil {
				return Rule{}, fmt.Errorf("at: %w", err)
			}
			r.at = append(r.at, p)
		}
	}
	if r.addr.IsValid() && !slices.ContainsFunc(r.at, func(p netip.Prefix) bool { return p.Contains(r.addr) }) {
		if len(r.at) > 0 {
			return Rule{}, fmt.Errorf("at: none of the networks has the host %s", r.addr)
		}
		r.at = []netip.Prefix{netip.PrefixFrom(r.addr, r.addr.BitLen())}
	}
	return r, nil
}

func (r *Rule) parseURL(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	r.scheme = strings.ToLower(scheme)
	if !ok || r.scheme != "http" && r.scheme != "https" {
		return fmt.Errorf("scheme: %q, must be http or https, with :// behind it", scheme)
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.ContainsAny(authority, "@?#\\%") {
		return fmt.Errorf("host: %q must be a name or address and a port, nothing else", authority)
	}
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		host, port = authority[:i], authority[i+1:]
		if port == "" {
			return errors.New("port: missing behind the colon")
		}
	}
	var err error
	switch below, wild := strings.CutPrefix(host, "*."); {
	case host == "*":
		r.host = host
	case wild:
		if r.host, r.addr, err = parseHost(below); err == nil && r.addr.IsValid() {
			err = fmt.Errorf("%q: an address has nothing below it", host)
		}
		r.host = "." + r.host
	case strings.Contains(host, "*"):
		err = fmt.Errorf("%q: a star stands alone or for whole labels at the beginning (*.example.com)", host)
	default:
		r.host, r.addr, err = parseHost(host)
	}
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	if port != "*" {
		if r.port, err = parsePort(port, r.scheme); err != nil {
			return fmt.Errorf("port: %w", err)
		}
	}
	if err := checkPattern(path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	r.path = path
	return nil
}

func checkPattern(p string) error {
	if p == "" {
		return nil
	}
	if i := strings.IndexAny(p, "?#%;\\"); i >= 0 {
		return fmt.Errorf("%q: %q has no place in a pattern, which is compared with the decoded path", p, p[i])
	}
	segments := strings.Split(p[1:], "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "." || s == ".." || s == "" && !last:
			return fmt.Errorf("%q: the segment %q never occurs in a path that is compared", p, s)
		case strings.Contains(s, "**") && (s != "**" || !last):
			return fmt.Errorf("%q: ** must be the whole last segment", p)
		}
	}
	return nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, e := netip.ParseAddr(s)
		if e != nil || a.Zone() != "" {
			return p, fmt.Errorf("%q is no address and no network such as 10.1.0.0/16", s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q: write it as an IPv4 network", s)
	case p.Masked() != p:
		return p, fmt.Errorf("%q has bits behind its length: write %s, or the address alone", s, p.Masked())
	}
	return p, nil
}

// checkMethod allows the methods that rules can name. CONNECT makes tunnels, which have their own check, and TRACE
// echoes headers that a caller must not see.
func checkMethod(m string) error {
	const most = 32
	switch {
	case m == "CONNECT" || m == "TRACE":
		return fmt.Errorf("%s is not possible", m)
	case m == "" || len(m) > most || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "":
		return fmt.Errorf("%.40q, must be a method such as GET, in upper case", m)
	}
	return nil
}

// String is the text of the rule.
func (r Rule) String() string {
	if r.scheme == "" {
		return ""
	}
	var b strings.Builder
	if len(r.methods) > 0 {
		b.WriteString(strings.Join(r.methods, ",") + " ")
	}
	t := target{scheme: r.scheme, host: r.host, addr: r.addr, port: r.port}
	if strings.HasPrefix(r.host, ".") {
		t.host = "*" + r.host
	}
	if r.port == 0 {
		t.port = defaultPort(r.scheme)
		b.WriteString(t.origin() + ":*")
	} else {
		b.WriteString(t.origin())
	}
	b.WriteString(r.path)
	if len(r.at) > 0 && !(r.addr.IsValid() && len(r.at) == 1 && r.at[0].IsSingleIP()) {
		b.WriteString(" at " + networks(r.at))
	}
	return b.String()
}

func networks(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		if texts[i] = p.String(); p.IsSingleIP() {
			texts[i] = p.Addr().String()
		}
	}
	return strings.Join(texts, ",")
}

// MarshalText implements encoding.TextMarshaler: in JSON a rule is its text.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rule) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRule(string(text))
	return err
}

// Covers reports whether the rule allows every request that another one allows. Networks are not compared: they are for
// the rule that grants to say.
func (r Rule) Covers(o Rule) bool {
	other := func(m string) bool { return !slices.Contains(r.methods, m) }
	methods := len(r.methods) == 0 || len(o.methods) > 0 && !slices.ContainsFunc(o.methods, other)
	return o.scheme != "" && r.scheme == o.scheme && methods && (r.port == 0 || r.port == o.port) &&
		r.ownsHost(o.host, o.addr) && patternCovers(r.path, o.path)
}

// ownsHost compares with a host, or with the pattern of another rule.
func (r Rule) ownsHost(host string, addr netip.Addr) bool {
	below := strings.HasPrefix(r.host, ".") && !addr.IsValid() && strings.HasSuffix(host, r.host)
	return r.host == "*" || r.host == host || below
}

// patternCovers compares two patterns; it may say no where a cleverer look would say yes.
func patternCovers(p, o string) bool {
	if p == "" || p == o {
		return true
	}
	if o == "" {
		return p == "/**"
	}
	deep, ok := strings.CutSuffix(p, "/**")
	if !ok {
		return !strings.HasSuffix(o, "/**") && !strings.Contains(o, "*") && matchPath(p, o)
	}
	have, want := strings.Split(o, "/"), strings.Split(deep, "/")
	if len(have) < len(want) {
		return false
	}
	for i, w := range want {
		if w != have[i] && (have[i] == "**" || w != "*" && (strings.Contains(have[i], "*") || !matchSegment(w, have[i]))) {
			return false
		}
	}
	return true
}

// origin reports whether the rule is for the host and port of a target, and its scheme if it has one.
func (r Rule) origin(t target) bool {
	return r.scheme != "" && r.ownsHost(t.host, t.addr) && (r.port == 0 || r.port == t.port) &&
		(t.scheme == "" || r.scheme == t.scheme)
}

func (r Rule) matches(method string, t target) bool {
	return r.origin(t) && (len(r.methods) == 0 || slices.Contains(r.methods, method)) && matchPath(r.path, t.path)
}

func (r Rule) reach() reach { return reach{networks(r.at), r.at} }

// matchPath compares a decoded path, "" if it is doubtful, with a pattern.
func matchPath(pattern, path string) bool {
	if pattern == "" {
		return true
	}
	if path == "" {
		return false
	}
	if deep, ok := strings.CutSuffix(pattern, "/**"); ok {
		want, have := strings.Split(deep, "/"), strings.Split(path, "/")
		return len(have) >= len(want) && slices.EqualFunc(want, have[:len(want)], matchSegment)
	}
	return slices.EqualFunc(strings.Split(pattern, "/"), strings.Split(path, "/"), matchSegment)
}

// matchSegment compares a segment with a pattern in time linear in the product of their lengths.
func matchSegment(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	for _, p := range parts[1 : len(parts)-1] {
		if _, s, ok = strings.Cut(s, p); !ok {
			return false
		}
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}
