package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"chorale/toolhost/egress"
)

// Grants are what the operator gives to plugins, by their names. In a file:
//
//	{
//	  "weather": {
//	    "sha256": "4f0c…",
//	    "net": ["GET https://api.example.com/v1/**"],
//	    "secrets": {"api-key": "weather-account"},
//	    "config": {"units": "metric"}
//	  }
//	}
type Grants map[string]Grant

// A Grant is what the operator gives to one plugin. It holds for one content only: for another one nothing is granted.
type Grant struct {
	SHA256 string `json:"sha256"` // of the content, see Source.Hash
	// Net are rules of the package toolhost/egress. A plugin may do what both these and its manifest allow.
	Net     []string          `json:"net,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"`  // the plugin's name of a secret to the host's
	KVBytes int64             `json:"kv_bytes,omitempty"` // room to keep data in
	FS      map[string]string `json:"fs,omitempty"`       // where the plugin sees a directory to the absolute name of that
	Env     map[string]string `json:"env,omitempty"`      // environment variables
	Config  json.RawMessage   `json:"config,omitempty"`   // an object that fits the manifest's config_schema
	Limits  Limits            `json:"limits,omitzero"`    // replace the host's ceilings; zeros leave them
}

// DecodeGrants reads and checks grants in JSON. Errors name the field: what is wrong with one is a *FieldError.
func DecodeGrants(p []byte) (Grants, error) {
	// The outermost object is a map, which decodeStrict walks as well.
	g := Grants{}
	if err := decodeStrict(p, &g); err != nil {
		return nil, fmt.Errorf("plugin grants: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(g)) {
		if err := g[name].check(); err != nil {
			return nil, fmt.Errorf("plugin grants: %w", inside(name, err))
		}
	}
	return g, nil
}

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (g Grant) check() error {
	switch {
	case !sha256Hex.MatchString(g.SHA256):
		return inside("sha256", fmt.Errorf("%q is no SHA-256 in 64 lower-case hexadecimal digits", g.SHA256))
	case g.KVBytes < 0 || g.KVBytes > maxLimit:
		return inside("kv_bytes", fmt.Errorf("is %d, want 0 to %d", g.KVBytes, int64(maxLimit)))
	}
	for i, line := range g.Net {
		if _, err := egress.ParseRule(line); err != nil {
			return inside(fmt.Sprintf("net[%d]", i), err)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(g.FS)) {
		if dir := g.FS[at]; !filepath.IsAbs(dir) {
			return inside("fs."+at, fmt.Errorf("%q is no absolute name of a directory", dir))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Env)) {
		if strings.ContainsRune(g.Env[name], 0) {
			return inside("env."+name, errors.New("holds a zero byte"))
		}
	}
	if err := g.Limits.check(); err != nil {
		return inside("limits", err)
	}
	return nil
}

// DefaultCeilings bound what manifests may ask for where no Grant says otherwise.
func DefaultCeilings() Limits {
	return Limits{
		MemoryBytes: 256 << 20, TimeoutMS: 60_000, OutputBytes: 16 << 20, LogBytes: 1 << 20, FileBytes: 64 << 20,
		HTTPRequests: 256, HTTPBytes: 64 << 20, Concurrency: 32, Queue: 1024,
	}
}

// defaultLimits are what a plugin gets that does not ask.
func defaultLimits() Limits {
	return Limits{
		MemoryBytes: 64 << 20, TimeoutMS: 10_000, OutputBytes: 1 << 20, LogBytes: 64 << 10, FileBytes: 16 << 20,
		HTTPRequests: 16, HTTPBytes: 8 << 20, Concurrency: 8, Queue: 64,
	}
}

// within returns the limits that are asked for, or the defaults, but not more than the ceilings.
func (l Limits) within(ceilings Limits) Limits {
	defaults := defaultLimits()
	def, most := defaults.fields(), ceilings.fields()
	for i, f := range l.fields() {
		if *f.value == 0 {
			*f.value = *def[i].value
		}
		*f.value = min(*f.value, *most[i].value)
	}
	return l
}

// over returns l with the zeros replaced by what is below.
func (l Limits) over(below Limits) Limits {
	other := below.fields()
	for i, f := range l.fields() {
		if *f.value == 0 {
			*f.value = *other[i].value
		}
	}
	return l
}

// Effective is what a plugin really has: what the manifest asks for and the operator grants, and within the host's ceilings.
type Effective struct {
	Plugin, Version string
	Hash            string // of the content
	Approved        bool   // there is a Grant for this content
	Note            string // why not, with the line that would change it; "" also for one that asks for nothing
	Permissions     []Permission
	Limits          Limits
}

// A Permission is one thing that a manifest asks for, and what came of it.
type Permission struct {
	Kind    string // net, secret, kv, fs, env or config
	Asked   string
	Reason  string // the author's
	Granted string // what the plugin has of it; "" for nothing
	Missing string // the line of the grants that would give all of it; "" if it has all
}

// String says all of it in one line, for the log.
func (p Permission) String() string {
	text := fmt.Sprintf("%s: asks for %s (%s); has ", p.Kind, p.Asked, p.Reason)
	if p.Granted == "" {
		text += "nothing"
	}
	text += p.Granted
	if p.Missing != "" {
		text += "; to grant it, set " + p.Missing
	}
	return text
}

// String shows it with a line for each permission.
func (e Effective) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plugin %s %s, sha256 %s\n", e.Plugin, e.Version, e.Hash)
	if e.Note != "" {
		fmt.Fprintf(&b, "  %s\n", e.Note)
	}
	for _, p := range e.Permissions {
		fmt.Fprintf(&b, "  %s\n", p)
	}
	return b.String()
}

// A rights is what came of a manifest and a grant, in the form that calls use.
type rights struct {
	effective Effective
	env       []string         // "name=value"
	dirs      map[string]fsDir // by where the plugin sees them
	kvBytes   int64
	secrets   map[string]string // the plugin's name of a secret to the host's
	config    map[string]string // by key; strings as they are, anything else as JSON
	policy    *egress.Policy
	bound     []egress.Secret
}

type fsDir struct {
	dir      string
	readOnly bool
}

// intersect decides what a plugin has. A nil grant grants nothing. The error says what of a grant for this content cannot
// be used.
func intersect(m *Manifest, hash string, g *Grant, ceilings Limits) (*rights, error) {
	r := &rights{
		effective: Effective{Plugin: m.Name, Version: m.Version, Hash: hash},
		dirs:      map[string]fsDir{}, secrets: map[string]string{}, config: map[string]string{},
	}
	grant := Grant{}
	switch {
	case g == nil:
		r.effective.Note = fmt.Sprintf("there is no grant for this plugin; it begins with %q: {\"sha256\": %q}", m.Name, hash)
	case g.SHA256 != hash:
		r.effective.Note = fmt.Sprintf("the grant is for other content (sha256 %s): nothing is granted until it says \"sha256\": %q", g.SHA256, hash)
	default:
		grant, r.effective.Approved = *g, true
	}
	r.effective.Limits = m.Limits.within(grant.Limits.over(ceilings))
	if err := r.net(m.Permissions.Net, grant); err != nil {
		return nil, err
	}
	r.secret(m.Permissions.Secrets, grant)
	r.kv(m.Permissions.KV, grant)
	r.fs(m.Permissions.FS, grant)
	r.environment(m.Permissions.Env, grant)
	if err := r.configure(m, grant); err != nil {
		return nil, err
	}
	if g == nil && len(r.effective.Permissions) == 0 {
		r.effective.Note = "" // it needs no grant
	}
	return r, nil
}

func (r *rights) add(p Permission) { r.effective.Permissions = append(r.effective.Permissions, p) }

// line is how a member of the plugin's grant is written.
func (r *rights) line(key string, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings, numbers and maps of them
	}
	return fmt.Sprintf("%q to %s in the plugin grants", fmt.Sprintf("%s.%s", r.effective.Plugin, key), text)
}

func (r *rights) secret(asked []SecretPermission, g Grant) {
	for _, s := range asked {
		p := Permission{Kind: "secret", Asked: fmt.Sprintf("%s as %s for %s", s.Name, s.Header, s.Host), Reason: s.Reason}
		if handle, ok := g.Secrets[s.Name]; ok {
			p.Granted = "the host's " + handle
			r.secrets[s.Name] = handle
		} else {
			p.Missing = r.line("secrets", map[string]string{s.Name: "NAME OF THE HOST'S SECRET"})
		}
		r.add(p)
	}
}

func (r *rights) kv(asked *KVPermission, g Grant) {
	if asked == nil {
		return
	}
	r.kvBytes = min(asked.Bytes, g.KVBytes)
	p := Permission{Kind: "kv", Asked: fmt.Sprintf("%d bytes", asked.Bytes), Reason: asked.Reason}
	if r.kvBytes > 0 {
		p.Granted = fmt.Sprintf("%d bytes", r.kvBytes)
	}
	if r.kvBytes < asked.Bytes {
		p.Missing = r.line("kv_bytes", asked.Bytes)
	}
	r.add(p)
}

func (r *rights) fs(asked []FSPermission, g Grant) {
	for _, f := range asked {
		access := f.Access
		if access == "" {
			access = "read"
		}
		p := Permission{Kind: "fs", Asked: f.Path + " to " + access, Reason: f.Reason}
		if dir, ok := g.FS[f.Path]; ok {
			p.Granted = dir + " to " + access
			r.dirs[f.Path] = fsDir{dir: dir, readOnly: access == "read"}
		} else {
			p.Missing = r.line("fs", map[string]string{f.Path: "NAME OF A DIRECTORY"})
		}
		r.add(p)
	}
}

func (r *rights) environment(asked []EnvPermission, g Grant) {
	for _, e := range asked {
		p := Permission{Kind: "env", Asked: e.Name, Reason: e.Reason}
		if value, ok := g.Env[e.Name]; ok {
			p.Granted = e.Name
			r.env = append(r.env, e.Name+"="+value)
		} else {
			p.Missing = r.line("env", map[string]string{e.Name: "VALUE"})
		}
		r.add(p)
	}
}

func (r *rights) configure(m *Manifest, g Grant) error {
	if m.Config == nil {
		if g.Config != nil {
			return errors.New("config: is granted, and the manifest has no config_schema")
		}
		return nil
	}
	s, err := compileSchema(m.Config)
	if err != nil {
		return fmt.Errorf("config_schema: %w", err)
	}
	p := Permission{Kind: "config", Asked: "values", Reason: "config_schema"}
	if g.Config == nil {
		p.Missing = r.line("config", map[string]string{"KEY": "VALUE"})
		r.add(p)
		return nil
	}
	if err := s.check(g.Config); err != nil {
		return fmt.Errorf("config: does not fit the plugin's config_schema: %w", err)
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(g.Config, &values); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	keys := slices.Sorted(maps.Keys(values))
	for _, k := range keys {
		if !configName.MatchString(k) {
			return fmt.Errorf("config: the key %q must match %s", k, configName)
		}
		var text string
		if json.Unmarshal(values[k], &text) != nil {
			text = string(values[k])
		}
		r.config[k] = text
	}
	p.Granted = strings.Join(keys, ", ")
	r.add(p)
	return nil
}
