// Package parity holds what Hugging Face transformers computes in float32 with small gpt-oss checkpoints.
//
// It owns the checkpoints, prompts and expected logits of testdata, which make.py wrote, and the comparison with them. It
// knows no Runner: tests of each ask it. Everything is embedded and immutable; functions are safe for concurrent use.
package parity

import (
	"embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"path"

	"chorale/inference/checkpoint"
	"chorale/inference/gptoss"
)

//go:embed testdata
var files embed.FS

// Tolerance is how far a logit may be from the expected one, as a part of the range (largest less smallest logit) of its
// row. Float32 arithmetic in any order stays a hundred times closer; the smallest mistakes that are known to have been
// made in other implementations are farther off.
const Tolerance = 2e-3

// A Case is one sequence with the logits that are expected after some of its tokens.
type Case struct {
	Name       string // checkpoint/prompt, as in "mxfp4/beyond-4096"
	Checkpoint string // "bf16" (unquantised experts, input first) or "mxfp4" (as published)
	Model      *gptoss.Model
	Tokens     []int32
	// Positions are consecutive, and begin anywhere: no token sees anything before the first one.
	Positions []int32
	Rows      []int       // ascending indices into Tokens
	Logits    [][]float32 // [len(Rows)][Vocab], after each of those tokens
}

// A manifest is testdata/manifest.json.
type manifest struct {
	Vocab int `json:"vocab"`
	Cases []struct {
		Checkpoint string `json:"checkpoint"`
		Name       string `json:"name"`
		First      int32  `json:"first"` // position of the first token
		Rows       []int  `json:"rows"`
	} `json:"cases"`
}

// Cases returns every case. Cases of one checkpoint share its Model.
func Cases() ([]Case, error) {
	var m manifest
	if err := readJSON("testdata/manifest.json", &m); err != nil {
		return nil, err
	}
	models := map[string]*gptoss.Model{}
	var cases []Case
	for _, entry := range m.Cases {
		c := Case{Name: entry.Checkpoint + "/" + entry.Name, Checkpoint: entry.Checkpoint, Rows: entry.Rows}
		stem := path.Join("testdata", entry.Checkpoint, entry.Name)
		if err := readJSON(stem+".tokens.json", &c.Tokens); err != nil {
			return nil, err
		}
		for t := range c.Tokens {
			c.Positions = append(c.Positions, entry.First+int32(t))
		}
		var err error
		if c.Logits, err = readLogits(stem+".logits", len(c.Rows), m.Vocab); err != nil {
			return nil, err
		}
		if models[c.Checkpoint] == nil {
			if models[c.Checkpoint], err = load(c.Checkpoint); err != nil {
				return nil, err
			}
		}
		c.Model = models[c.Checkpoint]
		cases = append(cases, c)
	}
	return cases, nil
}

// Compare returns the largest deviation of got, the logits after the tokens c.Rows, from the expected ones, as a part of
// their row's range. The error says which logit is farther off than Tolerance or not a number, or which row has another
// greatest logit.
func (c *Case) Compare(got [][]float32) (worst float64, err error) {
	if len(got) != len(c.Rows) {
		return 0, fmt.Errorf("%s: %d rows of logits, want %d", c.Name, len(got), len(c.Rows))
	}
	for i, want := range c.Logits {
		if len(got[i]) != len(want) {
			return 0, fmt.Errorf("%s: %d logits after token %d, want %d", c.Name, len(got[i]), c.Rows[i], len(want))
		}
		best, wantBest, lowest := 0, 0, 0
		for id := range want {
			if got[i][id] > got[i][best] {
				best = id
			}
			if want[id] > want[wantBest] {
				wantBest = id
			}
			if want[id] < want[lowest] {
				lowest = id
			}
		}
		span := float64(want[wantBest]) - float64(want[lowest])
		for id := range want {
			off := math.Abs(float64(got[i][id])-float64(want[id])) / span
			if err == nil && !(off <= Tolerance) {
				err = fmt.Errorf("%s: logit of id %d after token %d is %v, want %v, off by %.2g of the range, tolerance %v",
					c.Name, id, c.Rows[i], got[i][id], want[id], off, Tolerance)
			}
			if !(off <= worst) {
				worst = off
			}
		}
		if err == nil && best != wantBest {
			err = fmt.Errorf("%s: greatest logit after token %d is that of id %d, want %d", c.Name, c.Rows[i], best, wantBest)
		}
	}
	return worst, err
}

func load(name string) (*gptoss.Model, error) {
	config, err := files.ReadFile(path.Join("testdata", name, "config.json"))
	if err != nil {
		return nil, err
	}
	weights, err := files.ReadFile(path.Join("testdata", name, "model.safetensors"))
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.FromBytes(name, weights, config)
	if err != nil {
		return nil, err
	}
	return gptoss.Load(c)
}

// readLogits reads little-endian float32 [rows, vocab].
func readLogits(name string, rows, vocab int) ([][]float32, error) {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(data) != rows*vocab*4 {
		return nil, fmt.Errorf("%s: %d bytes, want %d rows of %d float32", name, len(data), rows, vocab)
	}
	out := make([][]float32, rows)
	for r := range out {
		out[r] = make([]float32, vocab)
		for v := range out[r] {
			out[r][v] = math.Float32frombits(binary.LittleEndian.Uint32(data[(r*vocab+v)*4:]))
		}
	}
	return out, nil
}

func readJSON(name string, into any) error {
	data, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
