package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"chorale/inference/harmony"
)

func newHarmony(std stdio) *cli.Command {
	model := &cli.StringFlag{Name: "model", Usage: "use the tokenizer of the model at `PATH` instead of gpt-oss's o200k_harmony",
		TakesFile: true}
	command := func(name, usage string, convert func(*harmony.Codec) func([]byte) ([]byte, error)) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, Flags: []cli.Flag{model}, Action: func(_ context.Context, c *cli.Command) error {
			t, err := openTokenizer(c.String("model"))
			if err != nil {
				return err
			}
			codec, err := harmony.NewCodec(t)
			if err != nil {
				return err
			}
			return convertCases(std, convert(codec))
		}}
	}
	return &cli.Command{
		Name:  "harmony",
		Usage: "turn conversations into harmony tokens and back",
		Description: `Harmony is the format that gpt-oss was trained on. Every JSON object on standard input gives one line of JSON on
standard output; an object that cannot be converted gives {"error":"..."} and, in the end, exit status 1.

   echo '{"conversation":{"messages":[{"role":"user","content":"Hi"}]}}' | chorale harmony render
   echo '{"role":"assistant","text":"<|channel|>final<|message|>Hi<|return|>"}' | chorale harmony parse`,
		Commands: []*cli.Command{
			command("render", `{"conversation":{"messages":[...]},"mode":...} to {"text":...,"tokens":[...]}`,
				func(c *harmony.Codec) func([]byte) ([]byte, error) { return c.RenderCase }),
			command("parse", `{"tokens":[...],"role":...} to {"messages":[...],"state":...,"error":...}`,
				func(c *harmony.Codec) func([]byte) ([]byte, error) { return c.ParseCase }),
		},
	}
}

// convertCases converts the JSON values of the input one by one.
func convertCases(std stdio, convert func([]byte) ([]byte, error)) error {
	w := bufio.NewWriter(std.out)
	defer w.Flush()
	failed := 0
	for n, dec := 1, json.NewDecoder(std.in); ; n++ {
		var in json.RawMessage
		if err := dec.Decode(&in); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("case %d is not JSON: %w", n, err)
		}
		out, err := convert(in)
		if err != nil {
			failed++
			if out, err = json.Marshal(map[string]string{"error": err.Error()}); err != nil {
				return err
			}
		}
		w.Write(append(out, '\n'))
	}
	if failed > 0 {
		return fmt.Errorf("%d cases could not be converted", failed)
	}
	return nil
}
