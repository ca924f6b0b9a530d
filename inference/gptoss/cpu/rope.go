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
	exact, concentration := gptoss.RopeTables(*c)
	r := rope{inverse: make([]float32, len(exact)), concentration: float32(concentration)}
	dim := float64(c.HeadDim)
	// The pair that turns n times over the original context, and the ramp between two of them: see gptoss.RopeTables,
	// whose float64 values round to other float32s than the reference's step by step.
	pair := func(n float64) float64 {
		return dim * math.Log(float64(c.RopeOriginalContext)/(n*2*math.Pi)) / (2 * math.Log(c.RopeTheta))
	}
	low, high := pair(c.BetaFast), pair(c.BetaSlow)
	if c.RopeTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dim-1)
	if low == high {
		high += 0.001
	}
	for j := range r.inverse {
		frequency := float32(math.Pow(c.RopeTheta, float64(float32(2*j)/float32(c.HeadDim))))
		kept, stretched := 1/frequency, 1/float32(float32(c.RopeFactor)*frequency)
		keep := 1 - min(max((float32(j)-float32(low))/float32(high-low), 0), 1)
		r.inverse[j] = float32(stretched*(1-keep)) + float32(kept*keep)
	}
	return r
}

// at stores cos and sin of every pair's angle at a position, times the concentration.
func (r *rope) at(position int32, cos, sin []float32) {
	for j, f := range r.inverse {
		s, c := math.Sincos(float64(float32(position) * f))
		cos[j], sin[j] = float32(c)*r.concentration, float32(s)*r.concentration
	}
}
