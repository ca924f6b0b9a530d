package main

import (
	"github.com/urfave/cli/v3"

	mcpserver "chorale/server/mcp"
)

// mcpServeFlags say whether and to whom the tools are offered.
func mcpServeFlags(cfg *config) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "mcp", Value: true, Usage: "offer the tools to MCP clients at /mcp, to the same keys", Sources: cfg.sources("mcp")},
		&cli.StringSliceFlag{Name: "mcp-host", Usage: "let MCP clients reach this server by the host `NAME` too, as behind a proxy; may be repeated", Sources: cfg.sources("mcp-host")},
	}
}

// mcpOptions are with whom the tools are shared.
type mcpOptions struct {
	enabled bool
	hosts   []string
}

func newMCPOptions(c *cli.Command) mcpOptions {
	return mcpOptions{enabled: c.Bool("mcp"), hosts: c.StringSlice("mcp-host")}
}

// openMCP begins to offer the tools.
func (s *stack) openMCP(o *stackOptions, tools *toolbox) (err error) {
	if !o.mcp.enabled {
		return nil
	}
	s.mcp, err = mcpserver.New(mcpserver.Options{Tools: tools.tools, Changed: tools.changed, Version: buildVersion(), Hosts: o.mcp.hosts,
		Origins: o.http.AllowOrigins, Logger: o.log})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { s.mcp.Close(); return nil })
	o.http.MCP, o.http.OnDrain = s.mcp.Handler(), s.mcp.Drain
	return nil
}

// mcpStats are its counters; nil when it is off.
func (s *stack) mcpStats() func() mcpserver.Stats {
	if s.mcp == nil {
		return nil
	}
	return s.mcp.Stats
}

// changed returns a channel that is closed when tools returns others; nil when it never does.
func (b *toolbox) changed() <-chan struct{} {
	if b.registry == nil {
		return nil
	}
	_, next := b.registry.Changes()
	return next
}
