package gptoss

import "math"

// RopeTables returns the rotary embedding's inverse frequencies, one for each pair of dimensions (j, j+HeadDim/2), and
// the factor that multiplies both cos and sin, exactly. The angle of pair j at position p is p*invFreq[j]. A Runner that is
// to agree with the reference implementations far out takes RopeFrequencies instead, and rounds its angles to float32 too.
//
// The formula is YaRN's (arXiv 2309.00071, section 3.2 and 3.4) as gpt-oss uses it: with freq = theta^(2j/d), pairs that
// turn more than BetaFast times over the original context keep 1/freq, pairs that turn less than BetaSlow times get
// 1/(factor*freq), and between lies a linear ramp whose ends are not rounded to whole pairs unless RopeTruncate. Rounding
// changes single frequencies by up to 76 %.
func RopeTables(c Config) (invFreq []float64, concentrationFactor float64) {
	dim := float64(c.HeadDim)
	low, high := rampEnds(&c)
	invFreq = make([]float64, c.HeadDim/2)
	for j := range invFreq {
		kept := math.Pow(c.RopeTheta, -2*float64(j)/dim)
		ramp := min(max((float64(j)-low)/(high-low), 0), 1)
		invFreq[j] = ramp*kept/c.RopeFactor + (1-ramp)*kept
	}
	return invFreq, concentration(c.RopeFactor)
}

// RopeFrequencies returns the frequencies of RopeTables with every operation rounded to float32, as the reference
// implementations compute them. The last bits matter far out: at position 100000 they move an angle by up to 0.004.
func RopeFrequencies(c Config) []float32 {
	low, high := rampEnds(&c)
	out := make([]float32, c.HeadDim/2)
	for j := range out {
		frequency := float32(math.Pow(c.RopeTheta, float64(float32(2*j)/float32(c.HeadDim))))
		kept, stretched := 1/frequency, 1/float32(float32(c.RopeFactor)*frequency)
		keep := 1 - min(max((float32(j)-float32(low))/float32(high-low), 0), 1)
		// The conversions keep the compiler from fusing a product with the sum.
		out[j] = float32(stretched*(1-keep)) + float32(kept*keep)
	}
	return out
}

// rampEnds returns between which pairs the frequencies go over from kept to stretched: those that turn BetaFast and
// BetaSlow times over the original context.
func rampEnds(c *Config) (low, high float64) {
	dim := float64(c.HeadDim)
	pair := func(turns float64) float64 {
		return dim * math.Log(float64(c.RopeOriginalContext)/(turns*2*math.Pi)) / (2 * math.Log(c.RopeTheta))
	}
	low, high = pair(c.BetaFast), pair(c.BetaSlow)
	if c.RopeTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dim-1)
	if low == high {
		high += 0.001 // a step instead of a ramp, without dividing by zero
	}
	return low, high
}

// concentration is YaRN's factor on cos and sin, so its square sharpens the attention scores.
func concentration(factor float64) float64 {
	if factor <= 1 {
		return 1
	}
	return 0.1*math.Log(factor) + 1
}
