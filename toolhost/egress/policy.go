package egress

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// A Policy says which requests are allowed: those that a rule allows. It is immutable; nil allows nothing.
type Policy struct {
	name  string
	rules []Rule
	asked *Policy // what was asked for, if that narrows this policy
}

// NewPolicy returns a policy. Its name tells people where a rule is to be added, such as "grants of plugin weather".
func NewPolicy(name string, rules ...Rule) *Policy {
	return &Policy{name: name, rules: slices.Clone(rules)}
}

// ParsePolicy reads a rule from each line. Empty lines and those that begin with # are left out.
func ParsePolicy(name, text string) (*Policy, error) {
	p := &Policy{name: name}
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		r, err := ParseRule(line)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, n, err)
		}
		p.rules = append(p.rules, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// ParsePolicyJSON reads an array of rules, each the text of ParseRule.
func ParsePolicyJSON(name string, data []byte) (*Policy, error) {
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		return nil, fmt.Errorf("%s: must be an array of strings, a rule in each: %w", name, err)
	}
	p := &Policy{name: name}
	for i, text := range texts {
		r, err := ParseRule(text)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
		}
		p.rules = append(p.rules, r)
	}
	return p, nil
}

// Narrow returns a policy that allows what both this one, the grant, and another one, the wish, allow. Addresses are
// checked by the rules of the grant alone, since only the operator knows the networks.
func (p *Policy) Narrow(asked *Policy) *Policy {
	narrow := &Policy{asked: asked}
	if p != nil {
		if p.asked != nil {
			narrow.asked = p.asked.Narrow(asked)
		}
		narrow.name, narrow.rules = p.name, p.rules
	}
	if asked == nil {
		narrow.asked = &Policy{}
	}
	return narrow
}

// Rules are the rules of the policy, without those that narrow it.
func (p *Policy) Rules() []Rule {
	if p == nil {
		return nil
	}
	return slices.Clone(p.rules)
}

// Covers reports whether one rule of the policy allows everything that a rule asks for.
func (p *Policy) Covers(asked Rule) bool {
	if p == nil || p.asked != nil && !p.asked.Covers(asked) {
		return false
	}
	return slices.ContainsFunc(p.rules, func(r Rule) bool { return r.Covers(asked) })
}

// Check says with a *DeniedError or another error why no rule allows a request, without looking at addresses that a
// name has. A Client checks by itself.
func (p *Policy) Check(method, rawURL string) error {
	if err := checkMethod(method); err != nil {
		return fmt.Errorf("method: %w", err)
	}
	u, t, err := parseURL(rawURL)
	if err != nil {
		return err
	}
	reaches, denied := p.allow(method, t, shown(u))
	if denied != nil {
		return denied
	}
	if t.addr.IsValid() {
		if _, why := firstRefused(reaches, []netip.Addr{t.addr}); why != "" {
			return p.refused(method, t, shown(u), t.addr, why)
		}
	}
	return nil
}

// shown is a URL as errors and records have it: queries may hold what is not for logs.
func shown(u *url.URL) string {
	v := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return v.String()
}

// firstRefused looks for a rule that takes all addresses, and says what the last one refuses and why.
func firstRefused(reaches []reach, list []netip.Addr) (a netip.Addr, why string) {
	for _, r := range reaches {
		i := slices.IndexFunc(list, func(a netip.Addr) bool { return r.refuse(a) != "" })
		if i < 0 {
			return netip.Addr{}, ""
		}
		a, why = list[i], r.refuse(list[i])
	}
	return a, why
}

// refused makes the error for an address of a host that a rule allows.
func (p *Policy) refused(method string, t target, url string, a netip.Addr, why string) *DeniedError {
	d := &DeniedError{Method: method, URL: url, Policy: p.name, Reason: fmt.Sprintf("%s is %s", a, why)}
	if strings.HasPrefix(why, "not in ") {
		d.Reason = fmt.Sprintf("%s is %s, where the rule says that the host must be", a, why)
	}
	d.Rule = suggestion(method, t)
	if !t.addr.IsValid() {
		d.Reason = t.host + " has the address " + d.Reason
		d.Rule += " at " + a.String()
	}
	if a.Zone() != "" {
		d.Rule = "" // rules have no zones
	}
	return d
}

// suggestion is a rule for the method and host of a target.
func suggestion(method string, t target) string {
	if t.scheme == "" {
		t.scheme = "https"
		if t.port == 80 {
			t.scheme = "http"
		}
	}
	if method == "" {
		return t.origin()
	}
	return method + " " + t.origin()
}

// allow returns the address rules of all rules that allow a request; one of them must hold for what is dialled. A
// tunnel has no method.
func (p *Policy) allow(method string, t target, url string) ([]reach, *DeniedError) {
	if p == nil {
		p = &Policy{}
	}
	if p.asked != nil {
		if _, denied := p.asked.allow(method, t, url); denied != nil {
			return nil, denied
		}
	}
	var list []reach
	known := false
	for _, r := range p.rules {
		switch {
		case t.scheme != "" && r.matches(method, t), t.scheme == "" && r.origin(t) && len(r.methods) == 0 && r.path == "":
			if x := r.reach(); !slices.ContainsFunc(list, func(y reach) bool { return x.networks == y.networks }) {
				list = append(list, x)
			}
		case r.origin(t):
			known = true
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	d := &DeniedError{Method: method, URL: url, Policy: p.name, Reason: "no rule allows the host"}
	d.Rule = suggestion(method, t)
	switch {
	case known && t.scheme == "":
		d.Reason = "rules for the host have methods or paths, which cannot be checked inside of a tunnel"
	case known && t.path == "":
		d.Reason = "no rule allows the method, or the path, which can be read in several ways, so that no pattern matches it"
	case known:
		d.Reason = "rules for the host do not allow the method or the path"
		if t.path != "/" && checkPattern(t.path) == nil && !strings.ContainsAny(t.path, "* \t") {
			d.Rule += t.path
		}
	}
	return nil, d
}

// A DeniedError says that a policy does not allow a request.
type DeniedError struct {
	Method string // "" for a tunnel
	URL    string // without query; the address of a tunnel
	From   string // the URL that redirected to it, or ""
	Reason string
	Policy string // the name of the policy
	Rule   string // the line that would allow it, or "" if none can
}

func (e *DeniedError) Error() string {
	var b strings.Builder
	if e.Method == "" {
		b.WriteString("tunnel to ")
	} else {
		b.WriteString(e.Method + " ")
	}
	b.WriteString(e.URL)
	if e.From != "" {
		b.WriteString(" (redirected by " + e.From + ")")
	}
	b.WriteString(" is denied: " + e.Reason)
	if e.Rule != "" {
		fmt.Fprintf(&b, "; to allow it, add the rule %q", e.Rule)
		if e.Policy != "" {
			b.WriteString(" to " + e.Policy)
		}
	}
	return b.String()
}
