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

	"chorale/inference/engine"
	"chorale/inference/gptoss"
	"chorale/inference/gptoss/cpu"
)

func newLogits(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name:  "logits",
		Usage: "write a model's logits for a sequence of tokens, to compare with another implementation",
		Description: `The result is little-endian float32, [n, vocab]: a row holds the logits of the token that follows a position, and there
is one for every position from N on. When FILE has no more than N tokens, they stand at positions N, N+1 and so on
themselves, with nothing before them, which tests far positions without a long sequence.

   echo '[200006,1428,200008,13225,200007]' > tokens.json
   chorale logits --model ./gpt-oss-20b --tokens tokens.json --out logits.bin
   chorale logits --model ./gpt-oss-20b --tokens tokens.json --positions-from 4 --chunk 1 --out last.bin
   chorale logits --model ./gpt-oss-20b --tokens tokens.json --positions-from 100000 --out far.bin`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "folder of safetensors, or .safetensors or .gguf file, at `PATH`",
				DefaultText: "the built-in demonstration model", TakesFile: true, Sources: cfg.sources("model")},
			&cli.StringFlag{Name: "tokens", Usage: "JSON array of token ids in `FILE`", TakesFile: true, Required: true},
			&cli.IntFlag{Name: "positions-from", Usage: "write the logits from position `N` on", Validator: notNegative},
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
	emit := func(logits []float32) error {
		n++
		row = row[:0]
		for _, v := range logits {
			row = binary.LittleEndian.AppendUint32(row, math.Float32bits(v))
		}
		_, err := w.Write(row)
		return err
	}
	if from, chunk := c.Int("positions-from"), c.Int("chunk"); from < len(ids) {
		err = r.Score(ctx, ids, from, chunk, emit)
	} else {
		err = scoreAt(ctx, r, scoring{ids, from, chunk}, emit)
	}
	if err != nil {
		return n, fmt.Errorf("compute logits: %w", err)
	}
	return n, w.Flush()
}

// A scoring is a sequence that does not begin at position 0.
type scoring struct {
	ids   []int32
	start int // position of the first
	chunk int // tokens a step; 0 = all
}

// scoreAt calls emit with the logits after each of the ids. It uses the key/value memory from its first block.
func scoreAt(ctx context.Context, r *cpu.Runner, s scoring, emit func(logits []float32) error) error {
	if s.start > math.MaxInt32-len(s.ids) {
		return fmt.Errorf("position %d is larger than any model's", s.start)
	}
	kv := r.KV()
	for first := 0; first < len(s.ids); {
		n := len(s.ids) - first
		if s.chunk > 0 {
			n = min(n, s.chunk)
		}
		row := engine.Row{Length: n, Context: first + n}
		for i, g := range kv.Groups {
			blocks := (row.Context + g.BlockTokens - 1) / g.BlockTokens
			if blocks > g.Blocks {
				return fmt.Errorf("KV group %d has memory for %d tokens, not for %d", i, g.Blocks*g.BlockTokens, row.Context)
			}
			row.Blocks = append(row.Blocks, inOrder(blocks))
		}
		b := &engine.Batch{Tokens: s.ids[first : first+n], Rows: []engine.Row{row}}
		for i := range n {
			b.Positions = append(b.Positions, int32(s.start+first+i))
		}
		logits := make([]float32, n*kv.Vocab)
		if err := r.Logits(ctx, b, 0, logits); err != nil {
			return err
		}
		for ; len(logits) > 0; logits = logits[kv.Vocab:] {
			if err := emit(logits[:kv.Vocab]); err != nil {
				return err
			}
		}
		first += n
	}
	return nil
}

// inOrder is a block table: the first n blocks.
func inOrder(n int) []int32 {
	table := make([]int32, n)
	for i := range table {
		table[i] = int32(i)
	}
	return table
}
