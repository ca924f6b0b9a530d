package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"

	"chorale/server/terminal"
)

func newChat(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name:  "chat",
		Usage: "talk to a model in the terminal",
		Description: `Every line is one message; reasoning and function calls are shown as they stream. Ctrl-C stops an answer, and ends
the chat at the prompt. Without --server a server of its own runs for the time of the chat, and what was said is gone with
it. Functions that you declare can be called by the model; you type what they return.

   chorale chat                                       the built-in model
   chorale chat --server http://127.0.0.1:8000        a running server
   chorale chat --code                                the model may run Python
   chorale chat --function 'get_weather(city, unit)'  a function for the model to call
   echo 'What are you?' | chorale chat                one answer, for scripts`,
		Flags: append(modelFlags(cfg),
			&cli.StringFlag{Name: "server", Usage: "talk to the server at `URL` instead of starting one"},
			&cli.StringFlag{Name: "key", Usage: "the `API-KEY` for the server", Sources: cli.EnvVars("CHORALE_KEY")},
			&cli.StringFlag{Name: "instructions", Usage: "developer `TEXT` for the model"},
			&cli.StringFlag{Name: "effort", Usage: "reasoning effort `low|medium|high`"},
			&cli.BoolFlag{Name: "code", Usage: "let the model run Python in the server's sandbox"},
			&cli.StringSliceFlag{Name: "function", Usage: "declare the function `NAME(PARAMETER, ...)`; may be repeated"},
			&cli.BoolFlag{Name: "hide-reasoning", Usage: "do not show what the model thinks"},
		),
		DisableSliceFlagSeparator: true, // parameters have commas between them
		Action: func(ctx context.Context, c *cli.Command) error {
			request, err := chatRequest(c)
			if err != nil {
				return err
			}
			url := strings.TrimSuffix(strings.TrimSuffix(c.String("server"), "/"), "/v1")
			if url == "" {
				o := newStackOptions(c)
				o.python = pythonOptions{enabled: c.Bool("code"), cacheDir: pythonCache(defaultCacheDir())}
				local, err := serveLocal(ctx, o)
				if err != nil {
					return err
				}
				defer func() { _ = local.stop() }() // nothing of it is kept
				url = local.url
			}
			interrupts := make(chan os.Signal, 1) // as signal.Notify asks for
			signal.Notify(interrupts, os.Interrupt)
			defer signal.Stop(interrupts)
			return terminal.Run(ctx, terminal.Options{
				In: std.in, Out: std.out, Err: std.err, Interactive: isTerminal(std.in) && isTerminal(std.out),
				HideReasoning: c.Bool("hide-reasoning"), Interrupts: interrupts, URL: url, APIKey: c.String("key"), Request: request,
			})
		},
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// chatRequest is what every request of the chat says.
func chatRequest(c *cli.Command) (map[string]any, error) {
	request := map[string]any{}
	if text := c.String("instructions"); text != "" {
		request["instructions"] = text
	}
	if effort := c.String("effort"); effort != "" {
		request["reasoning"] = map[string]any{"effort": effort}
	}
	var tools []any
	for _, form := range c.StringSlice("function") {
		tool, err := parseFunction(form)
		if err != nil {
			return nil, err
		}
		tools = append(tools, tool)
	}
	if c.Bool("code") {
		tools = append(tools, map[string]any{"type": "code_interpreter", "container": map[string]any{"type": "auto"}})
		request["include"] = []string{"code_interpreter_call.outputs"}
	}
	if tools != nil {
		request["tools"] = tools
	}
	return request, nil
}

var functionForm = regexp.MustCompile(`^\s*([A-Za-z0-9_-]{1,64})\s*\(([^()]*)\)\s*$`)

// parseFunction turns "name(a, b)" into a function tool whose parameters are required strings.
func parseFunction(form string) (map[string]any, error) {
	m := functionForm.FindStringSubmatch(form)
	if m == nil {
		return nil, fmt.Errorf("%w: --function %q must look like 'get_weather(city, unit)'", errUsage, form)
	}
	properties, required := map[string]any{}, []string{}
	for name := range strings.SplitSeq(m[2], ",") {
		if name = strings.TrimSpace(name); name != "" {
			properties[name] = map[string]any{"type": "string"}
			required = append(required, name)
		}
	}
	return map[string]any{
		"type": "function", "name": m[1], "description": strings.NewReplacer("_", " ", "-", " ").Replace(m[1]),
		"parameters": map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false},
	}, nil
}
