package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"go.yaml.in/yaml/v4"

	"chorale/server/responses"
	"chorale/toolhost"
	"chorale/toolhost/egress"
	"chorale/toolhost/mcp"
)

// mcpServersKey is the key of the configuration file that has the operator's MCP servers.
const mcpServersKey = "mcp-servers"

const (
	// publicHTTPS is the rule for servers that requests name. Without networks, rules reach public addresses only.
	publicHTTPS = "https://*:*"
	// labelsOfVLLM is the variable by which vLLM knows --tool-server-labels.
	labelsOfVLLM = "VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS"
)

// mcpServersFlags say which MCP servers there are, and which ones requests may name.
func mcpServersFlags(cfg *config) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "mcp-allow", Value: []string{publicHTTPS}, DefaultText: "public addresses, by https", Sources: cfg.sources("mcp-allow"),
			Usage: "let requests name MCP servers by `RULE`, such as \"https://*.example.com\" or \"http://localhost:3000 at 127.0.0.1\"; may be repeated; none for no servers"},
		&cli.StringFlag{Name: "tool-server", Usage: "use the MCP servers at `HOST:PORT,…` as vLLM does, or with demo, the tools of this server", Sources: cfg.sources("tool-server")},
		&cli.StringSliceFlag{Name: "tool-server-labels", DefaultText: "all", Sources: cli.NewValueSourceChain(append(cfg.sources("tool-server-labels").Chain, cli.EnvVar(labelsOfVLLM))...),
			Usage: "let requests use only the servers `LABEL,…` of --tool-server as MCP servers"},
	}
}

// mcpServersOptions are what MCP servers are used with.
type mcpServersOptions struct {
	servers     map[string]mcpServer // the operator's by label
	allow       *egress.Policy       // where requests' servers may be; nil: nowhere
	toolServers []string             // HOST:PORT
	labels      []string             // of toolServers that requests may use; nil = all
}

// An mcpServer is an entry of mcp-servers in the configuration file. Values that are secret are named by the environment
// variable that has them.
type mcpServer struct {
	URL         string            `yaml:"url"`
	Command     []string          `yaml:"command"`
	Dir         string            `yaml:"dir"`
	Env         map[string]string `yaml:"env"`
	EnvFrom     []string          `yaml:"env-from"`     // variables of this process that the child gets
	Headers     map[string]string `yaml:"headers"`      // of requests to the URL
	HeadersFrom map[string]string `yaml:"headers-from"` // header → variable that has it
	TokenFrom   string            `yaml:"token-from"`   // variable that has the bearer token
	Legacy      bool              `yaml:"legacy"`
	Allow       []string          `yaml:"allow"` // rules beside that for the URL itself
	Description string            `yaml:"description"`
	Approval    string            `yaml:"require-approval"` // always or never, for requests that do not say; "" = always
	Trusted     bool              `yaml:"trusted"`
	As          string            `yaml:"as"` // built-in tool in whose place it is: python, browser or container
}

// mcpLabels is the pattern for labels, which requests have too.
var mcpLabels = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,55}$`)

// newMCPServersOptions reads the flags and the file.
func newMCPServersOptions(c *cli.Command, cfg *config) (o mcpServersOptions, err error) {
	if rules := wholeRules(c.StringSlice("mcp-allow")); !slices.Equal(rules, []string{"none"}) {
		if o.allow, err = egress.ParsePolicy("--mcp-allow", strings.Join(rules, "\n")); err != nil {
			return o, fmt.Errorf("mcp-allow: %w", err)
		}
	}
	if o.servers, err = readMCPServers(cfg); err != nil {
		return o, err
	}
	for address := range strings.SplitSeq(c.String("tool-server"), ",") {
		if address = strings.TrimSpace(address); address != "" && address != "demo" { // this server's own tools are there already
			o.toolServers = append(o.toolServers, address)
		}
	}
	if c.IsSet("tool-server-labels") {
		o.labels = c.StringSlice("tool-server-labels")
	}
	return o, nil
}

// wholeRules puts rules together again that were taken apart at the commas between their networks.
func wholeRules(pieces []string) (rules []string) {
	for _, piece := range pieces {
		if last := len(rules) - 1; last >= 0 && !strings.Contains(piece, "://") {
			rules[last] += "," + piece
			continue
		}
		rules = append(rules, piece)
	}
	return rules
}

// readMCPServers reads and checks the operator's servers.
func readMCPServers(cfg *config) (map[string]mcpServer, error) {
	cfg.read()
	value, ok := cfg.values[mcpServersKey]
	if cfg.err != nil || !ok {
		return nil, cfg.err
	}
	data, err := yaml.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", cfg.path, mcpServersKey, err)
	}
	servers := map[string]mcpServer{}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&servers); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", cfg.path, mcpServersKey, err)
	}
	for _, label := range slices.Sorted(maps.Keys(servers)) {
		server := servers[label]
		if err := server.check(label); err != nil {
			return nil, fmt.Errorf("%s: %s.%s: %w", cfg.path, mcpServersKey, label, err)
		}
	}
	return servers, nil
}

// check says which key is wrong. What is wrong with the rest, client says.
func (s *mcpServer) check(label string) error {
	switch {
	case !mcpLabels.MatchString(label):
		return fmt.Errorf("the label must match %s", mcpLabels)
	case (s.URL == "") == (len(s.Command) == 0):
		return errors.New("url, command: exactly one of them must be there")
	case s.Approval != "" && s.Approval != "always" && s.Approval != "never":
		return fmt.Errorf("require-approval is %q; it must be always or never", s.Approval)
	case s.As != "" && s.As != "python" && s.As != "browser" && s.As != "container":
		return fmt.Errorf("as is %q; it must be python, browser or container", s.As)
	}
	_, err := s.config(label)
	return err
}

// privateNetworks are where a server that the operator names may be beside public addresses: what stands in the file is meant.
const privateNetworks = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"

// config is the server as the client takes it, its secrets taken from the environment.
func (s *mcpServer) config(label string) (c mcp.Config, err error) {
	c = mcp.Config{Label: label, URL: s.URL, Command: s.Command, Dir: s.Dir, Legacy: s.Legacy, Trusted: s.Trusted, Limits: mcpLimits}
	if s.URL != "" {
		u, err := egress.ParseURL(s.URL)
		if err != nil {
			return c, fmt.Errorf("url: %w", err)
		}
		origin := u.Scheme + "://" + u.Host
		rules := append([]string{origin}, s.Allow...)
		if _, err := egress.ParseRule(origin + " at " + privateNetworks); err == nil { // no address that is neither
			rules = append(rules, origin+" at "+privateNetworks)
		}
		if c.Policy, err = egress.ParsePolicy("allow of "+mcpServersKey+"."+label, strings.Join(rules, "\n")); err != nil {
			return c, fmt.Errorf("allow: %w", err)
		}
	}
	if c.Env, err = withVariables("env-from", s.Env, named(s.EnvFrom)); err != nil {
		return c, err
	}
	if c.Header, err = withVariables("headers-from", s.Headers, s.HeadersFrom); err != nil {
		return c, err
	}
	if s.TokenFrom != "" {
		token, err := withVariables("token-from", nil, map[string]string{"": s.TokenFrom})
		if err != nil {
			return c, err
		}
		c.Authorization = token[""]
	}
	return c, nil
}

// named are variables under their own names.
func named(variables []string) map[string]string {
	from := map[string]string{}
	for _, name := range variables {
		from[name] = name
	}
	return from
}

// withVariables adds what the environment has to values. key is for the message.
func withVariables(key string, values, from map[string]string) (map[string]string, error) {
	all := maps.Clone(values)
	for name, variable := range from {
		value, ok := os.LookupEnv(variable)
		if !ok {
			return nil, fmt.Errorf("%s: the environment has no variable %s", key, variable)
		}
		if all == nil {
			all = map[string]string{}
		}
		all[name] = value
	}
	return all, nil
}

// mcpLimits keep a server that does not answer from holding up what waits for it.
var mcpLimits = mcp.Limits{Connect: 10 * time.Second, Probe: 3 * time.Second, List: 10 * time.Second}

// An mcpServers is the connections to the operator's servers, and what takes the place of built-in tools.
type mcpServers struct {
	options responses.MCPOptions
	tools   []toolhost.Tool
	closers []func() error
}

// open makes the clients. Servers in the place of a tool with functions and those of --tool-server, whose names are not known
// otherwise, must be there.
func (o mcpServersOptions) open(ctx context.Context, log *slog.Logger) (*mcpServers, error) {
	s := &mcpServers{}
	connect := mcp.Options{Logger: log, Version: buildVersion()}
	if o.allow != nil {
		s.options.Connect = func(c mcp.Config) (*mcp.Client, error) {
			c.Policy, c.Limits = o.allow, mcpLimits
			if err := c.Policy.Check("POST", c.URL); err != nil {
				var denied *egress.DeniedError
				if errors.As(err, &denied) {
					return nil, fmt.Errorf("%s. Requests may name servers that this server's operator allows", denied.Reason)
				}
				return nil, err
			}
			return mcp.New(c, connect)
		}
	}
	for _, label := range slices.Sorted(maps.Keys(o.servers)) {
		server := o.servers[label]
		if err := s.add(ctx, label, server, connect); err != nil {
			return nil, errors.Join(fmt.Errorf("MCP server %s: %w", label, err), s.close())
		}
	}
	for _, address := range o.toolServers {
		if err := s.addToolServer(ctx, address, o.labels, connect); err != nil {
			return nil, errors.Join(fmt.Errorf("tool server %s: %w", address, err), s.close())
		}
	}
	return s, nil
}

func (s *mcpServers) add(ctx context.Context, label string, server mcpServer, connect mcp.Options) error {
	c, err := server.config(label)
	if err != nil {
		return err
	}
	client, err := mcp.New(c, connect)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, client.Close)
	entry := responses.MCPServer{Label: label, Client: client, Description: server.Description, NoApproval: server.Approval == "never"}
	switch server.As {
	case "container":
		entry.Namespace = server.As
	case "python", "browser":
		entry.Tool = map[string]string{"python": "code_interpreter", "browser": "web_search"}[server.As]
		l, err := client.List(ctx)
		if err != nil {
			return err
		}
		tool, err := newMCPBuiltin(server.As, l, func(session string) (*mcp.Client, error) {
			own := c
			if own.URL != "" {
				own.Header = maps.Clone(c.Header)
				if own.Header == nil {
					own.Header = map[string]string{}
				}
				own.Header["x-session-id"] = session
			}
			return mcp.New(own, connect)
		})
		if err != nil {
			return err
		}
		s.tools = append(s.tools, tool)
	}
	s.options.Servers = append(s.options.Servers, entry)
	return nil
}

// addToolServer adds a server as vLLM finds it: over HTTP+SSE at /sse, under the name that it gives itself.
func (s *mcpServers) addToolServer(ctx context.Context, address string, labels []string, connect mcp.Options) error {
	server := mcpServer{URL: "http://" + address + "/sse", Legacy: true, Approval: "never"}
	c, err := server.config(address)
	if err != nil {
		return err
	}
	client, err := mcp.New(c, connect)
	if err != nil {
		return err
	}
	l, err := client.List(ctx)
	if err = errors.Join(err, client.Close()); err != nil {
		return err
	}
	label := l.Server.Name
	switch label {
	case "python", "browser", "container":
		server.As = label
	}
	if !mcpLabels.MatchString(label) {
		return fmt.Errorf("it calls itself %q; it must match %s", label, mcpLabels)
	}
	if slices.ContainsFunc(s.options.Servers, func(o responses.MCPServer) bool { return o.Label == label }) {
		connect.Logger.Warn("tool server ignored: there is another one with its name", "server", label, "addr", address)
		return nil
	}
	if err := s.add(ctx, label, server, connect); err != nil {
		return err
	}
	entry := &s.options.Servers[len(s.options.Servers)-1]
	entry.AnyURL = true // clients of vLLM send one, which it ignores
	if labels != nil && !slices.Contains(labels, label) {
		s.options.Servers = s.options.Servers[:len(s.options.Servers)-1]
	}
	connect.Logger.Info("tool server ready", "server", label, "addr", address)
	return nil
}

// has reports whether a server is in the place of the tool.
func (s *mcpServers) has(name string) bool {
	return slices.ContainsFunc(s.tools, func(t toolhost.Tool) bool { return t.Spec().Name == name })
}

// close ends the connections and the children.
func (s *mcpServers) close() error {
	var errs []error
	for _, closer := range s.closers {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}
