package plugins

import (
	"bytes"
	"context"
	"fmt"

	"chorale/sandbox"
)

// A command starts a program for every call.
type command struct {
	module *sandbox.Module
}

// exitBadArguments is the code of a program that does not like its arguments, as of many programs since getopt.
const exitBadArguments = 2

// newCommand makes an instance, without running the program, to see that it can be done.
func newCommand(ctx context.Context, s *grantee) (*command, error) {
	in, err := s.plugin.module.Instantiate(ctx, s.work(func(error) {}, Call{}).config(""))
	if err != nil {
		return nil, err
	}
	return &command{s.plugin.module}, in.Close()
}

func (c *command) run(ctx context.Context, w *work) (answer, error) {
	config := w.config(w.tool.Name)
	config.Stdin = bytes.NewReader(w.input)
	in, err := c.module.Instantiate(ctx, config)
	if err != nil {
		return answer{}, err
	}
	defer in.Close()
	code, err := in.Run(ctx)
	w.usage = in.Usage()
	return w.exited(code, err)
}

// exited makes an answer of a program's exit code.
func (w *work) exited(code uint32, err error) (answer, error) {
	switch {
	case err != nil:
		return answer{}, err
	case code == 0:
		return answer{output: w.stdout.b.String()}, nil
	case code == exitBadArguments:
		return answer{status: badArguments, reason: "The arguments are wrong."}, nil
	}
	return answer{status: failed, reason: fmt.Sprintf("It failed with exit code %d.", code)}, nil
}

func (c *command) close() error { return nil }
