// Package terminal is a conversation with a model in a terminal, over the wire API of any server.
//
// It owns the prompt, what an answer looks like while it streams, function calls whose results the user types, and the
// chain of responses. It knows the wire as a client does and shares no code with the server, so that every chat is a test
// of the API too. Run is for one goroutine.
package terminal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode"
)

// Options describe a conversation. In, Out, Err and URL are required.
type Options struct {
	In       io.Reader // a line is a message, or the result of a function that was called
	Out, Err io.Writer
	// Interactive says that a person sits at In and Out: there are prompts, reasoning is dim instead of marked, and an
	// error does not end the conversation.
	Interactive   bool
	HideReasoning bool
	// Interrupts stop the answer that is streaming, or end the conversation at the prompt.
	Interrupts <-chan os.Signal

	URL     string         // of the server, without /v1
	APIKey  string         // sent as a bearer token; "" = none
	Request map[string]any // fields of every request, such as instructions and tools
}

// A chat is one conversation.
type chat struct {
	o        Options
	lines    <-chan string
	previous string // id of the last whole answer
	showing  kind   // what the last thing written belongs to
}

// A kind of text is shown in a way of its own.
type kind int

const (
	nothing kind = iota
	reasoning
	answer
	call
)

// Run talks until In ends, an interrupt comes at the prompt, or, unless Interactive, an answer fails.
func Run(ctx context.Context, o Options) error {
	c := &chat{o: o, lines: readLines(o.In)}
	for {
		line, ok := c.prompt("> ")
		if !ok {
			return nil
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		for input := any(line); input != nil; {
			calls, err := c.ask(ctx, input)
			if err != nil && !o.Interactive {
				return err
			}
			if err != nil {
				c.begin(nothing)
				fmt.Fprintln(o.Err, "error:", err)
			}
			if input, ok = c.results(calls); !ok {
				return nil
			}
		}
	}
}

// readLines reads in a goroutine of its own, because a read of a terminal cannot be interrupted; it ends with the input or
// with the process.
func readLines(in io.Reader) <-chan string {
	lines := make(chan string) // unbuffered: nothing is read ahead of the conversation
	go func() {
		defer close(lines)
		for r := bufio.NewReader(in); ; {
			line, err := r.ReadString('\n')
			if line != "" {
				lines <- strings.TrimRight(line, "\r\n")
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

func (c *chat) prompt(text string) (string, bool) {
	if c.o.Interactive {
		fmt.Fprint(c.o.Out, text)
	}
	var line string
	var ok bool
	select {
	case line, ok = <-c.lines:
	case <-c.o.Interrupts:
	}
	if !ok && c.o.Interactive {
		fmt.Fprintln(c.o.Out) // the shell's prompt belongs on a line of its own
	}
	return line, ok
}

// results asks the user what the called functions return. It is nil when nothing was called.
func (c *chat) results(calls []item) (any, bool) {
	var input []any
	for _, call := range calls {
		output, ok := c.prompt(printable(call.Name) + " returns> ")
		if !ok {
			return nil, false
		}
		input = append(input, map[string]any{"type": "function_call_output", "call_id": call.CallID, "output": output})
	}
	if input == nil {
		return nil, true
	}
	return input, true
}

// ask sends input, shows the answer as it streams and returns the functions that it calls. An interrupt stops it; the
// next message then continues from the last whole answer.
func (c *chat) ask(ctx context.Context, input any) ([]item, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.o.Interrupts:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-watched }()
	body, err := c.post(ctx, input)
	if err == nil {
		defer body.Close()
		var calls []item
		if calls, err = c.show(body); err == nil {
			return calls, nil
		}
	}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		c.begin(nothing)
		return nil, nil
	}
	return nil, err
}

var errInterrupted = errors.New("interrupted")

func (c *chat) post(ctx context.Context, input any) (io.ReadCloser, error) {
	fields := map[string]any{"stream": true, "input": input}
	for name, value := range c.o.Request {
		fields[name] = value
	}
	if c.previous != "" {
		fields["previous_response_id"] = c.previous
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.URL+"/v1/responses", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if c.o.APIKey != "" {
		r.Header.Set("Authorization", "Bearer "+c.o.APIKey)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var e struct{ Error failure }
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil || e.Error.Message == "" {
		return nil, fmt.Errorf("%s answered %s", r.URL, res.Status)
	}
	return nil, errors.New(printable(e.Error.Message))
}

// An event is the part of a stream event that a chat needs.
type event struct {
	Type     string `json:"type"`
	Delta    string `json:"delta"`
	Item     item   `json:"item"`
	Message  string `json:"message"`
	Response struct {
		ID         string  `json:"id"`
		Output     []item  `json:"output"`
		Error      failure `json:"error"`
		Incomplete struct {
			Reason string `json:"reason"`
		} `json:"incomplete_details"`
	} `json:"response"`
}

type item struct {
	Type    string     `json:"type"`
	Name    string     `json:"name"`
	CallID  string     `json:"call_id"`
	Outputs []struct { // of a code_interpreter_call
		Type string `json:"type"`
		Logs string `json:"logs"`
	} `json:"outputs"`
}

type failure struct {
	Message string `json:"message"`
}

// show writes the events of a stream until the terminal one.
func (c *chat) show(stream io.Reader) ([]item, error) {
	for r := bufio.NewReader(stream); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("the stream ended before the answer did: %w", err)
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		var e event
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("the server sent a broken event: %w", err)
		}
		switch e.Type {
		case "response.reasoning_text.delta":
			c.write(reasoning, e.Delta)
		case "response.output_text.delta":
			c.write(answer, e.Delta)
		case "response.output_item.added":
			switch e.Item.Type {
			case "function_call":
				c.begin(nothing)
				c.write(call, "calls "+e.Item.Name+" ")
			case "code_interpreter_call":
				c.begin(nothing)
				c.write(call, "runs ")
			}
		case "response.function_call_arguments.delta", "response.code_interpreter_call_code.delta":
			c.write(call, e.Delta)
		case "response.output_item.done":
			c.output(e.Item)
		case "response.completed", "response.incomplete":
			return c.finish(e), nil
		case "response.failed":
			return nil, errors.New(printable(e.Response.Error.Message))
		case "error":
			return nil, errors.New(printable(e.Message))
		}
	}
}

// output shows what code printed, and that it made pictures.
func (c *chat) output(i item) {
	for _, o := range i.Outputs {
		c.begin(nothing)
		if o.Type == "image" {
			c.write(call, "a picture came out")
		} else {
			c.write(call, "prints "+strings.TrimSuffix(o.Logs, "\n"))
		}
	}
}

// finish remembers the answer as the one to continue from, and returns its function calls.
func (c *chat) finish(e event) (calls []item) {
	c.begin(nothing)
	c.previous = e.Response.ID
	if e.Type == "response.incomplete" {
		fmt.Fprintf(c.o.Err, "(incomplete: %s)\n", printable(e.Response.Incomplete.Reason))
		return nil
	}
	for _, item := range e.Response.Output {
		if item.Type == "function_call" {
			calls = append(calls, item)
		}
	}
	return calls
}

// write shows text of a kind; a new kind starts a new line.
func (c *chat) write(k kind, text string) {
	if k == reasoning && c.o.HideReasoning {
		return
	}
	c.begin(k)
	fmt.Fprint(c.o.Out, printable(text))
}

// begin ends what was being shown, if it is of another kind.
func (c *chat) begin(k kind) {
	if k == c.showing {
		return
	}
	if c.showing == reasoning && c.o.Interactive {
		fmt.Fprint(c.o.Out, "\x1b[0m")
	}
	if c.showing != nothing {
		fmt.Fprintln(c.o.Out)
	}
	switch c.showing = k; {
	case k == reasoning && c.o.Interactive:
		fmt.Fprint(c.o.Out, "\x1b[2m")
	case k == reasoning:
		fmt.Fprint(c.o.Out, "[reasoning] ")
	}
}

// printable drops control characters, by which what a model or a server says could take over the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}
