package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/urfave/cli/v3"

	"chorale/inference/gptoss"
	"chorale/inference/gptoss/cpu"
)

func newLogits(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name:  "logits",
		Usage: "write a model's logits for a sequence of tokens, to compare with another implementation",
		Description: `The result is little-endian float32, [n, vocab]: row i holds the logits of the token that follows token N+i.

   echo '[200006,1428,200008,13225,200007]' > tokens.json
   chorale logits --model ./gpt-oss-20b --tokens tokens.json --out logits.bin
   chorale logits --model ./gpt-oss-20b --tokens tokens.json --positions-from 4 --chunk 1 --out last.bin`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "folder of safetensors, or .safetensors or .gguf file, at `PATH`",
				DefaultText: "the built-in demonstration model", TakesFile: true, Sources: cfg.sources("model")},
			&cli.StringFlag{Name: "tokens", Usage: "JSON array of token ids in `FILE`", TakesFile: true, Required: true},
			&cli.IntFlag{Name: "positions-from", Usage: "leave out the logits behind the first `N` tokens", Validator: notNegative},
			&cli.IntFlag{Name: "chunk", Usage: "compute `N` tokens at a time", DefaultText: "many", Validator: notNegative},
			&cli.IntFlag{Name: "threads", Usage: "use `N` threads", DefaultText: "one for each CPU", Sources: cfg.sources("threads"), Validator: notNegative},
			&cli.StringFlag{Name: "out", Usage: "write to `FILE`", TakesFile: true, Required: true},
		},
		Action: func(ctx context.Context, c *cli.Command) (err error) {
			m, err := openModel(c.String("model"))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, m.checkpoint.Close()) }()
			weights, err := gptoss.Load(m.checkpoint)
			if err != nil {
				return fmt.Errorf("load model: %w", err)
			}
			ids, err := readIDFile(c.String("tokens"), weights.Config.Vocab)
			if err != nil {
				return err
			}
			runner, err := cpu.New(weights, cpu.Options{Threads: c.Int("threads"), MaxContext: max(len(ids), 1)})
			if err != nil {
				return fmt.Errorf("start model: %w", err)
			}
			defer func() { err = errors.Join(err, runner.Close()) }()
			n, err := writeLogits(ctx, runner, ids, c)
			if err == nil {
				fmt.Fprintf(std.err, "%s: float32 [%d, %d]\n", c.String("out"), n, weights.Config.Vocab)
			}
			return err
		},
	}
}

// readIDFile reads ids that need not be tokens, only rows of the model.
func readIDFile(path string, vocab int) ([]int32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readIDs(f, func(id int32) bool { return int(id) < vocab }, vocab)
}

// writeLogits writes the rows as they are computed and returns their number.
func writeLogits(ctx context.Context, r *cpu.Runner, ids []int32, c *cli.Command) (n int, err error) {
	f, err := os.Create(c.String("out"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	var row []byte
	err = r.Score(ctx, ids, c.Int("positions-from"), c.Int("chunk"), func(logits []float32) error {
		n++
		row = row[:0]
		for _, v := range logits {
			row = binary.LittleEndian.AppendUint32(row, math.Float32bits(v))
		}
		_, err := w.Write(row)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("compute logits: %w", err)
	}
	return n, w.Flush()
}
