package gptoss_test

import (
	"testing"

	"chorale/inference/gptoss"
)

// Whatever is accepted can be computed with: the frequencies are positive and at most 1.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(hf20b))
	f.Add([]byte(original20b))
	f.Add([]byte(tinyConfig))
	f.Add([]byte(`{"model_type":"gpt_oss","rope_parameters":{"rope_type":"default"},"layer_types":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := gptoss.ParseConfig(data)
		if err != nil {
			return
		}
		if len(c.Sliding) != c.Layers || c.Heads%c.KVHeads != 0 {
			t.Errorf("inconsistent: %+v", c)
		}
		inv, concentration := gptoss.RopeTables(c)
		for j, v := range inv {
			if !(v > 0 && v <= 1) {
				t.Fatalf("frequency %d is %v: %+v", j, v, c)
			}
		}
		if !(concentration >= 1 && concentration < 3) {
			t.Errorf("concentration %v: %+v", concentration, c)
		}
	})
}
