package cpu

import (
	"math"

	"chorale/inference/gptoss"
)

// A rope computes the angles of the rotary embedding as the reference implementations do, with float32's rounding of
// every inverse frequency and of every angle. At position 100000 that moves an angle by up to 0.004, enough to send a
// token to other experts now and then, so exact angles would be further from the model that others run, not closer.
type rope struct {
	inverse       []float32 // [headDim/2] angle per position of each pair (j, j+headDim/2)
	concentration float32   // factor of cos and sin
}

func newRope(c *gptoss.Config) rope {
	_, concentration := gptoss.RopeTables(*c)
	return rope{inverse: gptoss.RopeFrequencies(*c), concentration: float32(concentration)}
}

// at stores cos and sin of every pair's angle at a position, times the concentration.
func (r *rope) at(position int32, cos, sin []float32) {
	for j, f := range r.inverse {
		s, c := math.Sincos(float64(float32(position) * f))
		cos[j], sin[j] = float32(c)*r.concentration, float32(s)*r.concentration
	}
}
