package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"chorale/inference/harmony"
	"chorale/toolhost/mcp"
)

func newMCP(cfg *config, std stdio) *cli.Command {
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "server", Usage: "use the server `LABEL` of the configuration file; may be repeated"},
		&cli.StringFlag{Name: "url", Usage: "use the server at `URL`"},
		&cli.StringFlag{Name: "token-from", Usage: "send the bearer token in the environment variable `NAME` to the URL"},
		&cli.StringSliceFlag{Name: "env-from", Usage: "let the command have the environment variable `NAME`; may be repeated"},
		&cli.BoolFlag{Name: "legacy", Usage: "let the URL be one of HTTP+SSE of 2024-11-05"},
	}
	model := &cli.StringFlag{Name: "model", Usage: "count tokens of the model at `PATH`", DefaultText: "gpt-oss", TakesFile: true}
	return &cli.Command{
		Name:  "mcp",
		Usage: "look at MCP servers as models get them, and call their tools",
		Description: `A server is one of mcp-servers in the configuration file, one at a URL, or a command, which stands behind --.

   chorale --config chorale.yaml mcp list
   chorale mcp explain --url https://mcp.example.com/mcp
   chorale mcp call echo '{"message":"Hi"}' -- npx -y @modelcontextprotocol/server-everything`,
		Commands: []*cli.Command{
			{
				Name: "list", Usage: "show servers and their tools", ArgsUsage: "[-- COMMAND…]", Flags: flags, ArgValidator: anyArguments,
				Action: func(ctx context.Context, c *cli.Command) error {
					return eachMCP(ctx, c, cfg, std.out, listMCP)
				},
			},
			{
				Name: "explain", Usage: "show what models see of servers, what that costs, and what they do not see",
				ArgsUsage: "[-- COMMAND…]", Flags: append(slices.Clone(flags), model), ArgValidator: anyArguments,
				Action: func(ctx context.Context, c *cli.Command) error {
					t, err := openTokenizer(c.String("model"))
					if err != nil {
						return err
					}
					codec, err := harmony.NewCodec(t)
					if err != nil {
						return err
					}
					return eachMCP(ctx, c, cfg, std.out, func(w io.Writer, l *mcp.Listing) error { return explainMCP(w, l, codec) })
				},
			},
			{
				Name: "call", Usage: "call a tool", ArgsUsage: "TOOL [JSON] [-- COMMAND…]", Flags: flags, ArgValidator: anyArguments,
				Action: func(ctx context.Context, c *cli.Command) error { return callMCP(ctx, c, cfg, std) },
			},
		},
	}
}

// anyArguments leaves the arguments to the command, which may be those of another program.
func anyArguments(context.Context, *cli.Command) error { return nil }

// mcpTargets are the servers that a command line means, by label.
func mcpTargets(c *cli.Command, cfg *config, command []string) (map[string]mcpServer, error) {
	labels, url := c.StringSlice("server"), c.String("url")
	given := 0
	for _, there := range []bool{len(labels) > 0, url != "", len(command) > 0} {
		if there {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, fmt.Errorf("%w: --server, --url and a command exclude each other", errUsage)
	case url != "":
		return map[string]mcpServer{"url": {URL: url, TokenFrom: c.String("token-from"), Legacy: c.Bool("legacy")}}, nil
	case len(command) > 0:
		return map[string]mcpServer{"command": {Command: command, EnvFrom: c.StringSlice("env-from")}}, nil
	}
	servers, err := readMCPServers(cfg)
	switch {
	case err != nil:
		return nil, err
	case len(servers) == 0:
		return nil, fmt.Errorf("%w: there are no servers: give --url, a command behind --, or a configuration file with %s",
			errUsage, mcpServersKey)
	case len(labels) == 0:
		return servers, nil
	}
	chosen := map[string]mcpServer{}
	for _, label := range labels {
		server, ok := servers[label]
		if !ok {
			return nil, fmt.Errorf("%w: %s has no server %q; it has %s", errUsage, mcpServersKey, label,
				strings.Join(slices.Sorted(maps.Keys(servers)), ", "))
		}
		chosen[label] = server
	}
	return chosen, nil
}

// connect returns a client of the server for this command.
func (s *mcpServer) connect(label string) (*mcp.Client, error) {
	c, err := s.config(label)
	if err != nil {
		return nil, err
	}
	return mcp.New(c, mcp.Options{Version: buildVersion(), Logger: slog.New(slog.DiscardHandler)})
}

// eachMCP shows the listing of each server, all of which are asked at the same time.
func eachMCP(ctx context.Context, c *cli.Command, cfg *config, out io.Writer, show func(io.Writer, *mcp.Listing) error) error {
	servers, err := mcpTargets(c, cfg, c.Args().Slice())
	if err != nil {
		return err
	}
	labels := slices.Sorted(maps.Keys(servers))
	listings, errs := make([]*mcp.Listing, len(labels)), make([]error, len(labels))
	var wg sync.WaitGroup
	for i, label := range labels {
		wg.Go(func() {
			server := servers[label]
			client, err := server.connect(label)
			if err != nil {
				errs[i] = err
				return
			}
			listings[i], errs[i] = client.List(ctx)
			errs[i] = errors.Join(errs[i], client.Close())
		})
	}
	wg.Wait()
	failed := 0
	for i, label := range labels {
		server, l := servers[label], listings[i]
		where := server.URL
		if where == "" {
			where = strings.Join(server.Command, " ")
		}
		fmt.Fprintf(out, "%s  %s\n", label, where)
		if errs[i] != nil {
			failed++
			fmt.Fprintf(out, "  failed: %v\n", errs[i])
			continue
		}
		fmt.Fprintf(out, "  %s %s, %s era, protocol %s, %d tools\n", l.Server.Name, l.Server.Version, l.Era, l.Version, len(l.Tools))
		if l.Partial != "" {
			fmt.Fprintf(out, "  the list is not whole: %s\n", l.Partial)
		}
		if err := show(out, l); err != nil {
			return err
		}
		for _, d := range l.Dropped {
			fmt.Fprintf(out, "  left out: %q: %s\n", d.Name, d.Reason)
		}
	}
	if failed > 0 {
		return exitWith(exitFailure)
	}
	return nil
}

func listMCP(out io.Writer, l *mcp.Listing) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, t := range l.Tools {
		line, _, _ := strings.Cut(t.Description, "\n")
		if r := []rune(line); len(r) > 80 {
			line = string(r[:79]) + "…"
		}
		fmt.Fprintf(w, "    %s\t%s\t%s\n", t.Name, behaviour(&t), line)
	}
	return w.Flush()
}

// behaviour is what a server says about what its tool does.
func behaviour(t *mcp.Tool) string {
	a := t.Annotations
	switch {
	case a == nil:
		return "-"
	case a.ReadOnly != nil && *a.ReadOnly:
		return "read-only"
	case a.Destructive != nil && !*a.Destructive:
		return "adds"
	default:
		return "changes"
	}
}

// explainMCP shows the tools as the model gets them: each with its tokens in the prompt and with what of its schema is not shown.
func explainMCP(out io.Writer, l *mcp.Listing, codec *harmony.Codec) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	namespace := harmony.Namespace{Name: "server"}
	for i := range l.Tools {
		t := &l.Tools[i]
		name := t.Name
		if t.Function != t.Name {
			name += " as " + t.Function
		}
		schema, err := harmony.NormalizeSchema(t.Input)
		if err != nil {
			fmt.Fprintf(w, "    -\t%s\tleft out: %v\n", name, err)
			continue
		}
		if t.Hidden {
			fmt.Fprintf(w, "    0\t%s\tcallable, but not in the prompt\n", name)
			continue
		}
		f := harmony.Function{Name: t.Function, Description: t.Description, Parameters: schema}
		once, err := promptTokens(codec, harmony.Namespace{Name: "server", Tools: []harmony.Function{f}})
		if err != nil {
			return err
		}
		twice, err := promptTokens(codec, harmony.Namespace{Name: "server", Tools: []harmony.Function{f, f}})
		if err != nil {
			return err
		}
		lost := "whole"
		if losses := schemaLosses(t.Input); len(losses) > 0 {
			lost = "not shown: " + strings.Join(losses, ", ")
		}
		fmt.Fprintf(w, "    %d\t%s\t%s\n", twice-once, name, lost)
		namespace.Tools = append(namespace.Tools, f)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	total, err := promptTokens(codec, namespace)
	if err != nil {
		return err
	}
	none, err := promptTokens(codec)
	if err != nil {
		return err
	}
	if len(namespace.Tools) > 0 {
		fmt.Fprintf(out, "  %d tokens in the prompt\n", total-none)
	}
	return nil
}

// promptTokens counts the tokens of a developer message with the namespaces.
func promptTokens(codec *harmony.Codec, namespaces ...harmony.Namespace) (int, error) {
	d := &harmony.Developer{Tools: map[string]harmony.Namespace{}}
	for _, n := range namespaces {
		d.Tools[n.Name] = n
	}
	m := harmony.Message{Role: harmony.RoleDeveloper, Content: []harmony.Part{d}}
	tokens, err := codec.Render(nil, []harmony.Message{m}, harmony.Options{Mode: harmony.MessageOnly})
	return len(tokens), err
}

// shownKeywords are those of JSON Schema that the prompt shows, or that say nothing about values. harmony.NormalizeSchema
// brings some of them into another form.
var shownKeywords = map[string]bool{"type": true, "properties": true, "required": true, "description": true, "enum": true, "default": true,
	"items": true, "oneOf": true, "anyOf": true, "const": true, "nullable": true, "$ref": true, "$defs": true, "definitions": true,
	"title": true, "$schema": true, "$id": true, "$comment": true, "examples": true, "deprecated": true, "readOnly": true, "writeOnly": true}

// schemaLosses are the keywords of a schema that the model does not see, with the places where they are.
func schemaLosses(schema json.RawMessage) []string {
	var root any
	if json.Unmarshal(schema, &root) != nil {
		return nil
	}
	places := map[string][]string{}
	var walk func(v any, path string)
	walk = func(v any, path string) {
		object, ok := v.(map[string]any)
		if !ok {
			return
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			inner := object[key]
			switch key {
			case "properties", "$defs", "definitions":
				members, _ := inner.(map[string]any)
				for _, name := range slices.Sorted(maps.Keys(members)) {
					walk(members[name], strings.TrimPrefix(path+"."+name, "."))
				}
			case "items":
				walk(inner, path+"[]")
			case "oneOf", "anyOf", "allOf":
				variants, _ := inner.([]any)
				for _, variant := range variants {
					walk(variant, path)
				}
				if key != "allOf" || len(variants) == 1 {
					continue
				}
			}
			if !shownKeywords[key] {
				if path == "" {
					path = "the object"
				}
				places[key] = append(places[key], path)
			}
		}
	}
	walk(root, "")
	var losses []string
	for _, key := range slices.Sorted(maps.Keys(places)) {
		at := slices.Compact(places[key])
		if len(at) > 3 {
			at = append(at[:3:3], fmt.Sprintf("%d more", len(at)-3))
		}
		losses = append(losses, key+" of "+strings.Join(at, " and "))
	}
	return losses
}

// callMCP calls a tool and prints what a model would read.
func callMCP(ctx context.Context, c *cli.Command, cfg *config, std stdio) error {
	args := c.Args().Slice()
	if len(args) == 0 {
		return fmt.Errorf("%w: %s: TOOL is missing", errUsage, c.FullName())
	}
	tool, arguments, command := args[0], json.RawMessage(nil), args[1:]
	if len(command) > 0 && strings.HasPrefix(strings.TrimSpace(command[0]), "{") {
		arguments, command = json.RawMessage(command[0]), command[1:]
	}
	servers, err := mcpTargets(c, cfg, command)
	if err != nil {
		return err
	}
	if len(servers) > 1 {
		return fmt.Errorf("%w: --server LABEL says which server is meant: %s", errUsage, strings.Join(slices.Sorted(maps.Keys(servers)), ", "))
	}
	for label, server := range servers {
		client, err := server.connect(label)
		if err != nil {
			return err
		}
		r, err := client.Call(ctx, tool, arguments, func(message string, fraction float64) {
			fmt.Fprintf(std.err, "%s %.0f%%\n", message, 100*max(fraction, 0))
		})
		if err = errors.Join(err, client.Close()); err != nil {
			return err
		}
		fmt.Fprintln(std.out, strings.TrimSuffix(r.Text(), "\n"))
		if r.Failed {
			return exitWith(exitFailure)
		}
	}
	return nil
}
