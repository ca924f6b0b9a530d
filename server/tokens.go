package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/urfave/cli/v3"

	"chorale/inference/tokenizer"
)

func newTokens(std stdio) *cli.Command {
	model := &cli.StringFlag{Name: "model", Usage: "use the tokenizer of the model at `PATH` instead of gpt-oss's o200k_harmony",
		TakesFile: true}
	return &cli.Command{
		Name:  "tokens",
		Usage: "turn text into token ids and back",
		Description: `Text is read from standard input as it is, including a last newline; ids are a JSON array.

   printf 'Hello world' | chorale tokens encode                    [13225,2375]
   printf '<|end|>' | chorale tokens encode --special all          [200007]
   echo '[13225,2375]' | chorale tokens decode                     Hello world`,
		Commands: []*cli.Command{
			{
				Name: "encode", Usage: "text on standard input to a JSON array of ids",
				Flags: []cli.Flag{model, specialFlag("none", "`all|none`: with all, the text of a special token, as <|start|>, is that token; with none it is plain text")},
				Action: func(_ context.Context, c *cli.Command) error {
					return withTokenizer(c, func(t *tokenizer.Tokenizer, special bool) error { return encodeTokens(t, special, std) })
				},
			},
			{
				Name: "decode", Usage: "a JSON array of ids on standard input to text",
				Flags: []cli.Flag{model, specialFlag("all", "`all|none`: with all, special tokens are written as their text; with none they are left out")},
				Action: func(_ context.Context, c *cli.Command) error {
					return withTokenizer(c, func(t *tokenizer.Tokenizer, special bool) error { return decodeTokens(t, special, std) })
				},
			},
		},
	}
}

func specialFlag(value, usage string) cli.Flag {
	return &cli.StringFlag{Name: "special", Value: value, Usage: usage, Validator: func(s string) error {
		if s != "all" && s != "none" {
			return fmt.Errorf("it is %q; it must be all or none", s)
		}
		return nil
	}}
}

func withTokenizer(c *cli.Command, f func(t *tokenizer.Tokenizer, special bool) error) error {
	t, err := openTokenizer(c.String("model"))
	if err != nil {
		return err
	}
	return f(t, c.String("special") == "all")
}

func encodeTokens(t *tokenizer.Tokenizer, special bool, std stdio) error {
	text, err := io.ReadAll(std.in)
	if err != nil {
		return fmt.Errorf("read text: %w", err)
	}
	encode := t.Encode
	if special {
		encode = t.EncodeSpecial
	}
	out := []byte{'['}
	for i, id := range encode(nil, string(text)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, int64(id), 10)
	}
	_, err = std.out.Write(append(out, ']', '\n'))
	return err
}

// decodeTokens writes the tokens' own bytes, so that what encode read comes out again even where it is not UTF-8.
func decodeTokens(t *tokenizer.Tokenizer, special bool, std stdio) error {
	ids, err := readIDs(std.in, func(id int32) bool { return int(id) < t.Vocab() || t.IsSpecial(id) }, t.Vocab())
	if err != nil {
		return err
	}
	w := bufio.NewWriter(std.out)
	var buf []byte
	for _, id := range ids {
		if special || !t.IsSpecial(id) {
			buf = t.AppendToken(buf[:0], id)
			w.Write(buf)
		}
	}
	return w.Flush()
}

// readIDs reads a JSON array of ids from 0 that known accepts; vocab is for the message.
func readIDs(r io.Reader, known func(int32) bool, vocab int) ([]int32, error) {
	var ids []int32
	dec := json.NewDecoder(r)
	if err := dec.Decode(&ids); err != nil {
		return nil, fmt.Errorf("token ids must be a JSON array of integers: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("token ids: there is more after the array, at byte %d", dec.InputOffset())
	}
	for i, id := range ids {
		if id < 0 || !known(id) {
			return nil, fmt.Errorf("token ids: element %d is %d; ids are 0 to %d", i, id, vocab-1)
		}
	}
	return ids, nil
}
