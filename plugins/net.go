package plugins

import (
	"fmt"
	"strings"

	"chorale/toolhost/egress"
)

// net decides which requests a plugin may make: those that manifest and grant both allow.
func (r *rights) net(asked []NetPermission, g Grant) error {
	var wish, granted []egress.Rule
	for i, line := range g.Net {
		rule, err := egress.ParseRule(line)
		if err != nil {
			return fmt.Errorf("net[%d]: %w", i, err)
		}
		granted = append(granted, rule)
	}
	grant := egress.NewPolicy("net of the grant for plugin "+r.effective.Plugin, granted...)
	for _, n := range asked {
		rule, err := n.rule()
		if err != nil {
			return err
		}
		wish = append(wish, rule)
		p := Permission{Kind: "net", Asked: rule.String(), Reason: n.Reason}
		if p.Granted = overlap(rule, granted); !grant.Covers(rule) {
			p.Missing = r.line("net", []string{rule.String()})
		}
		r.add(p)
	}
	r.policy = grant.Narrow(egress.NewPolicy("permissions.net of the manifest of plugin "+r.effective.Plugin, wish...))
	return nil
}

// overlap says in words what of a wish the rules of a grant allow.
func overlap(wish egress.Rule, granted []egress.Rule) string {
	var within []string
	for _, g := range granted {
		switch {
		case g.Covers(wish):
			return wish.String()
		case wish.Covers(g):
			within = append(within, g.String())
		}
	}
	if len(within) == 0 && len(granted) > 0 {
		return "what the rules of the grant allow of it"
	}
	return strings.Join(within, " and ")
}

// bindSecrets makes the headers of the secrets that are granted. Values come from the host.
func (r *rights) bindSecrets(p Permissions, value func(name string) (string, bool)) error {
	for _, s := range p.Secrets {
		name, ok := r.secrets[s.Name]
		if !ok {
			continue
		}
		v, ok := "", false
		if value != nil {
			v, ok = value(name)
		}
		if !ok {
			return fmt.Errorf("secrets.%s: the host has no secret %q", s.Name, name)
		}
		origin, _ := s.origin(p.Net)
		audience, err := r.audience(origin)
		if err != nil {
			return fmt.Errorf("secrets.%s: %w", s.Name, err)
		}
		r.bound = append(r.bound, egress.Secret{
			Name: s.Name, Value: v, Header: s.Header, Template: strings.Replace(s.Format, "{secret}", "{}", 1), Audience: audience,
		})
	}
	return nil
}

// audience is the rule for an origin, with the networks that the operator's own rule for it has: only those say where a
// private host is.
func (r *rights) audience(origin string) (egress.Rule, error) {
	plain, err := egress.ParseRule(origin)
	if err != nil {
		return plain, err
	}
	for _, g := range r.policy.Rules() {
		url, networks, ok := strings.Cut(g.String(), " at ")
		rest, same := strings.CutPrefix(url[strings.LastIndexByte(url, ' ')+1:], plain.String())
		if ok && same && (rest == "" || rest[0] == '/' || rest[0] == ':') {
			return egress.ParseRule(origin + " at " + networks)
		}
	}
	return plain, nil
}
