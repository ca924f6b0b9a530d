package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"chorale/toolhost/egress"
)

// maxManifestBytes bounds a manifest. The largest that we know describe a hundred tools in 200 KB.
const maxManifestBytes = 1 << 20

// A Manifest says what a plugin is and what it asks for. It is the author's word: nothing in it is granted.
type Manifest struct {
	Name        string `json:"name"`                       // what the model calls: letters, digits, _ and -, 64 at most, a letter first
	Version     string `json:"version"`                    // semantic version of the plugin: MAJOR.MINOR.PATCH
	Title       string `json:"title,omitempty"`            // for people
	Description string `json:"description,omitempty"`      // for the model, 4 KiB at most
	Author      string `json:"author,omitempty"`           // for people
	License     string `json:"license,omitempty"`          // SPDX expression
	Homepage    string `json:"homepage,omitempty"`         // https URL
	MinHost     string `json:"min_host_version,omitempty"` // oldest version of the host that runs it

	Tools []ManifestTool `json:"tools,omitempty"` // may be absent for Extism plugins that list them themselves
	// Instance says what a call of a reactor finds, see the package's comment. Only reactors have a choice.
	Instance    InstanceMode `json:"instance,omitempty"` // default: fresh
	Permissions Permissions  `json:"permissions,omitzero"`
	Limits      Limits       `json:"limits,omitzero"` // what it needs; the host's ceilings hold in any case
	// Config is a JSON Schema of an object, whose values the operator gives. Property names are letters, digits, _ - and dots.
	Config json.RawMessage `json:"config_schema,omitempty"`
}

// A ManifestTool is one thing that a plugin can do.
type ManifestTool struct {
	Name        string `json:"name"`                  // letters, digits, _ and -, 64 at most
	Title       string `json:"title,omitempty"`       // for people
	Description string `json:"description,omitempty"` // for the model, 4 KiB at most
	// Input and Output are JSON Schemas (2020-12 unless "$schema" says otherwise) of objects; references must stay within. A
	// tool without Input takes no arguments; Output is for output "json", and for the structured content of "mcp".
	Input       json.RawMessage `json:"input_schema,omitempty"`
	Output      json.RawMessage `json:"output_schema,omitempty"`
	Kind        OutputKind      `json:"output,omitempty"` // default: json if there is an output_schema, else text
	Annotations Annotations     `json:"annotations,omitzero"`
	Examples    []Example       `json:"examples,omitempty"` // they are tests as well
	Export      string          `json:"export,omitempty"`   // of an Extism plugin: the function to call; default: the tool's name
}

// OutputKind is what a tool writes.
type OutputKind string

// The kinds of output.
const (
	OutputText OutputKind = "text" // text for the model
	OutputJSON OutputKind = "json" // one JSON value, checked against output_schema
	OutputMCP  OutputKind = "mcp"  // a CallToolResult of MCP: content of text, images, audio and resources, structuredContent, isError
)

// InstanceMode is what a call of a reactor finds.
type InstanceMode string

// The modes of instances.
const (
	InstanceFresh InstanceMode = "fresh" // a new instance
	InstanceReset InstanceMode = "reset" // the state after _initialize
	InstanceReuse InstanceMode = "reuse" // what an earlier call left: the author says that this does not matter
)

// Annotations are hints of MCP. Absent ones mean what MCP says: not read-only, destructive, not idempotent, open world.
type Annotations struct {
	ReadOnly    *bool `json:"readOnlyHint,omitempty"`
	Destructive *bool `json:"destructiveHint,omitempty"`
	Idempotent  *bool `json:"idempotentHint,omitempty"`
	OpenWorld   *bool `json:"openWorldHint,omitempty"`
}

// An Example is a call with what it must give. Without Output, Text, Contains and Error it must just succeed; at most one
// of them may be there.
type Example struct {
	Name     string          `json:"name,omitempty"`
	Input    json.RawMessage `json:"input"`              // the arguments, an object
	Output   json.RawMessage `json:"output,omitempty"`   // the JSON that the result is equal to
	Text     *string         `json:"text,omitempty"`     // the text that the result is, spaces at the ends aside
	Contains string          `json:"contains,omitempty"` // what the result's text contains
	Error    string          `json:"error,omitempty"`    // the call must fail, and what its text contains
}

// Permissions are what a plugin asks for beyond computing; each says why.
type Permissions struct {
	Net     []NetPermission    `json:"net,omitempty"`     // requests through /host/http
	Secrets []SecretPermission `json:"secrets,omitempty"` // headers that the host adds to such requests
	KV      *KVPermission      `json:"kv,omitempty"`      // files below /host/kv, which outlive the call
	FS      []FSPermission     `json:"fs,omitempty"`      // directories of the operator
	Env     []EnvPermission    `json:"env,omitempty"`     // environment variables
}

// A NetPermission asks for requests to URLs.
type NetPermission struct {
	// URL is SCHEME://HOST[:PORT][/PATH] as in the rules of the package toolhost/egress: the host may be "*.example.com"; in
	// the path a "*" stands for anything within a segment, and "**" at the end for everything below. Without a path all are
	// meant.
	URL     string   `json:"url"`
	Methods []string `json:"methods,omitempty"` // default: GET
	Reason  string   `json:"reason"`
}

// A SecretPermission asks for a header in the requests to one host, whose value the plugin never sees.
type SecretPermission struct {
	Name   string `json:"name"`             // by which requests use it, and the operator gives it
	Host   string `json:"host"`             // HOST[:PORT] that gets it, as a NetPermission's URL spells it
	Header string `json:"header"`           // for example Authorization
	Format string `json:"format,omitempty"` // of the header's value, with {secret} in it; default: {secret}
	Reason string `json:"reason"`
}

// A KVPermission asks for room to keep data in.
type KVPermission struct {
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

// An FSPermission asks for a directory of the operator's choice.
type FSPermission struct {
	Path   string `json:"path"`             // where the plugin sees it, absolute
	Access string `json:"access,omitempty"` // "read" (the default) or "write"
	Reason string `json:"reason"`
}

// An EnvPermission asks for an environment variable with a value of the operator's choice.
type EnvPermission struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Limits bound a plugin. Zero fields are the defaults.
type Limits struct {
	MemoryBytes  int64 `json:"memory_bytes,omitempty"`  // of linear memory of an instance, of a script beside its interpreter; 64 MiB
	TimeoutMS    int64 `json:"timeout_ms,omitempty"`    // of a call, start included, waiting for a place not; 10,000
	OutputBytes  int64 `json:"output_bytes,omitempty"`  // of a result; more is a failure; 1 MiB
	LogBytes     int64 `json:"log_bytes,omitempty"`     // of a call's log; more is dropped; 64 KiB
	FileBytes    int64 `json:"file_bytes,omitempty"`    // of /tmp, of /in and of /out; 16 MiB each
	HTTPRequests int64 `json:"http_requests,omitempty"` // of a call; 16
	HTTPBytes    int64 `json:"http_bytes,omitempty"`    // of the responses of a call; 8 MiB
	Concurrency  int64 `json:"concurrency,omitempty"`   // calls that run at the same time; 8
	Queue        int64 `json:"queue,omitempty"`         // calls that wait for a place; more fail at once; 64
}

// DecodeManifest reads and checks a manifest. Errors name the field.
func DecodeManifest(p []byte) (*Manifest, error) {
	if len(p) > maxManifestBytes {
		return nil, fmt.Errorf("plugin manifest: %d bytes, at most %d are allowed", len(p), maxManifestBytes)
	}
	m := &Manifest{}
	if err := decodeStrict(p, m); err != nil {
		return nil, fmt.Errorf("plugin manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("plugin manifest: %w", err)
	}
	return m, nil
}

// names are the patterns of names that the model writes; plugins begin with a letter.
var (
	pluginName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,63}$`)
	toolName   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	headerName = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]{1,100}$`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
	configName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$`)
	methodName = regexp.MustCompile(`^[A-Z]{1,20}$`)
	version    = regexp.MustCompile(`^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
)

// reservedNames mean something else to the model.
var reservedNames = []string{"functions", "python", "browser", "container", "assistant", "user", "system", "developer", "tool", "all"}

const maxDescriptionBytes = 4 << 10

// check returns an error that names the first field that is wrong.
func (m *Manifest) check() error {
	switch {
	case !pluginName.MatchString(m.Name):
		return fmt.Errorf("name: %q must match %s", m.Name, pluginName)
	case slices.Contains(reservedNames, strings.ToLower(m.Name)):
		return fmt.Errorf("name: %q is reserved", m.Name)
	case !version.MatchString(m.Version):
		return fmt.Errorf("version: %q is no semantic version (MAJOR.MINOR.PATCH)", m.Version)
	case len(m.Description) > maxDescriptionBytes:
		return fmt.Errorf("description: %d bytes, at most %d are allowed", len(m.Description), maxDescriptionBytes)
	case m.MinHost != "" && !version.MatchString(m.MinHost):
		return fmt.Errorf("min_host_version: %q is no semantic version (MAJOR.MINOR.PATCH)", m.MinHost)
	case !slices.Contains([]InstanceMode{"", InstanceFresh, InstanceReset, InstanceReuse}, m.Instance):
		return fmt.Errorf("instance: %q must be fresh, reset or reuse", m.Instance)
	}
	if m.Homepage != "" {
		if u, err := url.Parse(m.Homepage); err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("homepage: %q is no https URL", m.Homepage)
		}
	}
	if m.Config != nil {
		if err := checkConfigSchema(m.Config); err != nil {
			return fmt.Errorf("config_schema: %w", err)
		}
	}
	if err := m.Limits.check(); err != nil {
		return fmt.Errorf("limits.%w", err)
	}
	if err := m.Permissions.check(); err != nil {
		return fmt.Errorf("permissions.%w", err)
	}
	seen := map[string]bool{}
	for i := range m.Tools {
		t := &m.Tools[i]
		if err := t.check(); err != nil {
			return fmt.Errorf("tools[%d].%w", i, err)
		}
		if seen[t.Name] {
			return fmt.Errorf("tools[%d].name: %q is there twice", i, t.Name)
		}
		seen[t.Name] = true
	}
	return nil
}

// check checks a tool and fills the defaults in that depend on other fields.
func (t *ManifestTool) check() error {
	switch {
	case !toolName.MatchString(t.Name):
		return fmt.Errorf("name: %q must match %s", t.Name, toolName)
	case len(t.Description) > maxDescriptionBytes:
		return fmt.Errorf("description: %d bytes, at most %d are allowed", len(t.Description), maxDescriptionBytes)
	}
	if t.Input == nil {
		t.Input = json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)
	}
	input, err := compileSchema(t.Input)
	if err != nil {
		return fmt.Errorf("input_schema: %w", err)
	}
	if t.Output != nil {
		if _, err := compileSchema(t.Output); err != nil {
			return fmt.Errorf("output_schema: %w", err)
		}
	}
	switch {
	case t.Kind == "" && t.Output != nil:
		t.Kind = OutputJSON
	case t.Kind == "":
		t.Kind = OutputText
	case !slices.Contains([]OutputKind{OutputText, OutputJSON, OutputMCP}, t.Kind):
		return fmt.Errorf("output: %q must be text, json or mcp", t.Kind)
	case t.Kind == OutputText && t.Output != nil:
		return errors.New(`output: must be json or mcp, because there is an output_schema`)
	}
	for i, e := range t.Examples {
		if err := e.check(t, input); err != nil {
			return fmt.Errorf("examples[%d].%w", i, err)
		}
	}
	return nil
}

func (e *Example) check(t *ManifestTool, input *schema) error {
	if e.Input == nil {
		return errors.New("input: is missing, want the arguments as an object")
	}
	// An example that must fail may well have arguments that do not fit.
	if err := input.check(e.Input); err != nil && e.Error == "" {
		return fmt.Errorf("input: does not fit the input_schema: %w", err)
	}
	n := 0
	for _, there := range []bool{e.Output != nil, e.Text != nil, e.Contains != "", e.Error != ""} {
		if there {
			n++
		}
	}
	if n > 1 {
		return errors.New("output: at most one of output, text, contains and error may be there")
	}
	if e.Output != nil && t.Kind == OutputText {
		return fmt.Errorf("output: the output of tool %s is text, want text or contains", t.Name)
	}
	return nil
}

func (p *Permissions) check() error {
	for i, n := range p.Net {
		if err := n.check(); err != nil {
			return fmt.Errorf("net[%d].%w", i, err)
		}
	}
	seen := map[string]bool{}
	for i, s := range p.Secrets {
		if err := s.check(p.Net); err != nil {
			return fmt.Errorf("secrets[%d].%w", i, err)
		}
		if seen[s.Name] {
			return fmt.Errorf("secrets[%d].name: %q is there twice", i, s.Name)
		}
		seen[s.Name] = true
	}
	if p.KV != nil && (p.KV.Bytes <= 0 || p.KV.Bytes > maxLimit) {
		return fmt.Errorf("kv.bytes: is %d, want 1 to %d", p.KV.Bytes, int64(maxLimit))
	}
	if p.KV != nil && strings.TrimSpace(p.KV.Reason) == "" {
		return errors.New("kv.reason: is missing")
	}
	for i, f := range p.FS {
		if err := f.check(); err != nil {
			return fmt.Errorf("fs[%d].%w", i, err)
		}
	}
	for i, e := range p.Env {
		switch {
		case !envName.MatchString(e.Name):
			return fmt.Errorf("env[%d].name: %q must match %s", i, e.Name, envName)
		case strings.TrimSpace(e.Reason) == "":
			return fmt.Errorf("env[%d].reason: is missing", i)
		}
	}
	return nil
}

func (n *NetPermission) check() error {
	for _, m := range n.Methods {
		if !methodName.MatchString(m) {
			return fmt.Errorf("methods: %q must match %s", m, methodName)
		}
	}
	if strings.ContainsAny(n.URL, " \t\r\n") || !strings.Contains(n.URL, "://") {
		return fmt.Errorf("url: %q must be SCHEME://HOST[:PORT][/PATH]", n.URL)
	}
	if _, err := n.rule(); err != nil {
		return fmt.Errorf("url: %q: %w", n.URL, err)
	}
	if strings.TrimSpace(n.Reason) == "" {
		return errors.New("reason: is missing")
	}
	return nil
}

// rule is the permission as a rule.
func (n *NetPermission) rule() (egress.Rule, error) {
	methods := n.Methods
	if len(methods) == 0 {
		methods = []string{"GET"}
	}
	return egress.ParseRule(strings.Join(methods, ",") + " " + n.URL)
}

// origin is the scheme, host and port of the permission as they are written.
func (n *NetPermission) origin() (scheme, host string) {
	scheme, rest, _ := strings.Cut(n.URL, "://")
	host, _, _ = strings.Cut(rest, "/")
	return scheme, host
}

func (s *SecretPermission) check(asked []NetPermission) error {
	_, found := s.origin(asked)
	switch {
	case !toolName.MatchString(s.Name):
		return fmt.Errorf("name: %q must match %s", s.Name, toolName)
	case strings.Contains(s.Host, "*"):
		return fmt.Errorf("host: %q must be one host: whoever owns another would get the secret", s.Host)
	case !found:
		return fmt.Errorf("host: %q is in no url of permissions.net", s.Host)
	case !headerName.MatchString(s.Header):
		return fmt.Errorf("header: %q is no name of a header", s.Header)
	case s.Format != "" && strings.Count(s.Format, "{secret}") != 1:
		return fmt.Errorf("format: %q must contain {secret} once", s.Format)
	case strings.ContainsFunc(s.Format, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("format: %q must be printable ASCII", s.Format)
	case strings.TrimSpace(s.Reason) == "":
		return errors.New("reason: is missing")
	}
	return nil
}

// origin is where the secret goes, as a URL without path.
func (s *SecretPermission) origin(asked []NetPermission) (url string, ok bool) {
	for _, n := range asked {
		if scheme, host := n.origin(); host == s.Host {
			return scheme + "://" + host, true
		}
	}
	return "", false
}

// ownMounts are the directories that a plugin has from the host, and those of Python's libraries.
var ownMounts = []string{"/host", "/tmp", "/in", "/out", "/config", "/lib", "/extra"}

func (f *FSPermission) check() error {
	switch {
	case !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/":
		return fmt.Errorf("path: %q must be absolute and clean, and not the root", f.Path)
	case slices.ContainsFunc(ownMounts, func(own string) bool { return f.Path == own || strings.HasPrefix(f.Path, own+"/") }):
		return fmt.Errorf("path: %q is the host's own", f.Path)
	case f.Access != "" && f.Access != "read" && f.Access != "write":
		return fmt.Errorf("access: %q must be read or write", f.Access)
	case strings.TrimSpace(f.Reason) == "":
		return errors.New("reason: is missing")
	}
	return nil
}

// maxLimit is above all that makes sense and keeps sums and conversions from overflowing.
const maxLimit = 1 << 40

func (l *Limits) check() error {
	for _, f := range l.fields() {
		if *f.value < 0 || *f.value > maxLimit {
			return inside(f.name, fmt.Errorf("is %d, want 0 (the default) to %d", *f.value, int64(maxLimit)))
		}
	}
	return nil
}

type limitField struct {
	name  string
	value *int64
}

func (l *Limits) fields() []limitField {
	return []limitField{
		{"memory_bytes", &l.MemoryBytes}, {"timeout_ms", &l.TimeoutMS}, {"output_bytes", &l.OutputBytes}, {"log_bytes", &l.LogBytes},
		{"file_bytes", &l.FileBytes}, {"http_requests", &l.HTTPRequests}, {"http_bytes", &l.HTTPBytes},
		{"concurrency", &l.Concurrency}, {"queue", &l.Queue},
	}
}
