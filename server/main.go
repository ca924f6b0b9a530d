// Command chorale serves OpenAI's gpt-oss models behind POST /v1/responses, with its own inference engine.
//
// It owns the command line: commands, flags, environment, configuration file, wiring, signals and exit codes. What the
// commands do lives in the packages below; nothing below reads flags or the environment. Each command builds what it
// needs and closes it again, so there is no state between commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"
)

// Exit codes, as shells expect them.
const (
	exitFailure = 1 // the command ran and failed
	exitUsage   = 2 // the command line, the environment or the configuration file is wrong
)

func main() {
	os.Exit(run(context.Background(), os.Args, stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// stdio is what a process is born with.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// A failure is the error of a command that ran. Every other error that comes out of the command line is a usage error.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// exitWith is the error of a command that has said all there is to say.
type exitWith int

func (e exitWith) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// errUsage marks an error of the command line that only the command itself can see.
var errUsage = errors.New("usage")

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, std stdio) int {
	err := newRoot(std).Run(ctx, args)
	var failed failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed) && !errors.Is(err, errUsage):
		if code, ok := failed.error.(exitWith); ok {
			return int(code)
		}
		fmt.Fprintf(std.err, "chorale: %v\n", err)
		return exitFailure
	default:
		fmt.Fprintf(std.err, "chorale: %v\nTry 'chorale help' or 'chorale COMMAND --help'.\n", err)
		return exitUsage
	}
}

func newRoot(std stdio) *cli.Command {
	cfg := newConfig()
	root := &cli.Command{
		Name:  "chorale",
		Usage: "serve gpt-oss behind POST /v1/responses",
		Description: `Chorale answers the OpenAI Responses API with its own inference engine. Without --model it serves a small
built-in demonstration model, so that everything can be tried before weights are downloaded.

   chorale serve                          the built-in model at http://127.0.0.1:8000/v1
   chorale serve --model ./gpt-oss-20b    a folder of safetensors, or a .gguf file
   chorale chat                           talk to a model in the terminal

Settings of serve also come from the environment (--max-queue is CHORALE_MAX_QUEUE) and from a YAML file
(--config FILE, with the line "max-queue: 64"). The command line wins over the environment, and that over the file.`,
		Version:               buildVersion(),
		Flags:                 []cli.Flag{cfg.flag()},
		Before:                cfg.check,
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(c *cli.Command) {
			c.Hidden = false
			c.Usage = "print a completion script for bash, zsh, fish or pwsh"
		},
		ArgValidator:   rejectArguments,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run reports errors
		Reader:         std.in, Writer: std.out, ErrWriter: std.err,
		Commands: []*cli.Command{
			newServe(cfg, std), newChat(cfg, std), newTokens(std), newHarmony(std), newLogits(cfg, std), newPython(cfg, std), newPlugin(cfg, std),
			newBrowse(cfg, std), newMCP(cfg, std),
			newDoctor(cfg, std), newVersion(std),
		},
	}
	// The library prints usage errors by itself unless every command says that it will not.
	_ = root.Walk(func(c *cli.Command) error {
		c.OnUsageError = func(_ context.Context, _ *cli.Command, err error, _ bool) error { return err }
		if action := c.Action; action != nil {
			c.Action = func(ctx context.Context, c *cli.Command) error {
				if err := action(ctx, c); err != nil {
					return failure{err}
				}
				return nil
			}
		}
		return nil
	})
	return root
}

// rejectArguments refuses words that no command takes; without it they would be ignored.
func rejectArguments(_ context.Context, c *cli.Command) error {
	word := c.Args().First()
	switch {
	case word == "" || c.Name == "help":
		return nil
	case len(c.VisibleCommands()) == 0:
		return fmt.Errorf("%s: unexpected argument %q", c.FullName(), word)
	case cli.SuggestCommand(c.Commands, word) != "":
		return fmt.Errorf("unknown command %q; did you mean %q?", word, cli.SuggestCommand(c.Commands, word))
	default:
		return fmt.Errorf("unknown command %q", word)
	}
}
