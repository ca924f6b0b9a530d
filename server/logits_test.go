package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chorale/inference/gptoss/gptosstest/parity"
)

const parityData = "../inference/gptoss/gptosstest/parity/testdata"

func logits(t *testing.T, args ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "logits")
	if code, _, stderr := execute("", append([]string{"logits", "--out", out}, args...)...); code != 0 {
		t.Fatalf("logits %q: exit %d, %s", args, code, stderr)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLogitsAreThoseOfTheReference(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, checkpoint, prompt, from string }{
		{"from position 0", "mxfp4", "prompt", "0"},
		{"beyond the original context", "bf16", "beyond-4096", "4000"},
		{"far beyond", "mxfp4", "beyond-100000", "100003"},
	}
	cases, err := parity.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(parityData, test.checkpoint)
			args := []string{"--model", dir, "--tokens", filepath.Join(dir, test.prompt+".tokens.json"), "--positions-from", test.from}
			whole := logits(t, args...)
			i := slices.IndexFunc(cases, func(c parity.Case) bool { return c.Name == test.checkpoint+"/"+test.prompt })
			c, vocab := cases[i], cases[i].Model.Config.Vocab
			if len(whole) != len(c.Tokens)*vocab*4 {
				t.Fatalf("%d bytes, want [%d, %d] float32", len(whole), len(c.Tokens), vocab)
			}
			for i, row := range c.Rows {
				span := slices.Max(c.Logits[i]) - slices.Min(c.Logits[i])
				for id, want := range c.Logits[i] {
					got := math.Float32frombits(binary.LittleEndian.Uint32(whole[(row*vocab+id)*4:]))
					if diff := math.Abs(float64(got - want)); !(diff <= parity.Tolerance*float64(span)) {
						t.Fatalf("row %d, id %d: %v, want %v", row, id, got, want)
					}
				}
			}
			if !bytes.Equal(logits(t, append(args, "--chunk", "7")...), whole) {
				t.Error("chunks of 7 give other bits")
			}
		})
	}
}

func TestLogitsFromAPositionOn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(parityData, "bf16")
	args := []string{"--model", dir, "--tokens", filepath.Join(dir, "prompt.tokens.json")}
	whole, tail := logits(t, args...), logits(t, append(args, "--positions-from", "290")...)
	if !bytes.HasSuffix(whole, tail) || len(tail) != len(whole)/300*10 {
		t.Errorf("%d bytes from position 290 on are not the last of %d", len(tail), len(whole))
	}
}

func TestLogitsRefuse(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(parityData, "bf16")
	tests := []struct{ name, ids, from, want string }{
		{"an id beyond the vocabulary", "[1,300]", "0", "element 1 is 300; ids are 0 to 299"},
		{"no array", "{}", "0", "JSON array"},
		{"a position beyond int32", "[1]", "2147483647", "position 2147483647"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := execute("", "logits", "--model", dir, "--tokens", writeFile(t, "ids", test.ids),
				"--positions-from", test.from, "--out", filepath.Join(t.TempDir(), "out"))
			if code != exitFailure || !strings.Contains(stderr, test.want) {
				t.Errorf("exit %d, %s; want %q", code, stderr, test.want)
			}
		})
	}
}
