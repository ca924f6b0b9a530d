package sample

import (
	"math"
	"math/bits"
)

// minLogprob stands for the logarithm of a probability of zero, so that a log-probability is always a finite number
// that JSON can carry. The value is the one OpenAI's API documents for very unlikely tokens.
const minLogprob = -9999

// Scratch holds Sample's buffers between calls. The zero value is ready; it is not for concurrent use and keeps about
// 16 bytes per vocabulary id plus 16 KiB.
type Scratch struct {
	logits  []float32   // [vocab] with bias, penalties and mask
	weights []float32   // [vocab] exp((logit-max)/temperature), 0 = cannot be sampled
	near    []int32     // [<=vocab] ids whose weight is near the cutoff, ascending
	counts  []int32     // [vocab] occurrences among the generated tokens; all zero between calls
	roots   [64]float32 // 2^(i/64)
	mass    [buckets]float64
}

// Sample chooses the token that follows a sequence. logits are [vocab], f32, and are not written; mask limits
// the choice: bit t%32 of mask[t/32] set = id t allowed, nil = all allowed, ids past its end not allowed; generated are
// the tokens sampled before, oldest first. p must be valid (see Params.Validate) and vocab at least 1. It never fails.
//
// The order of operations, each on the result of the one before:
//
//  1. NaN becomes -Inf, +Inf the largest finite number. Log-probabilities are taken here: ln softmax of these logits,
//     never below -9999.
//  2. LogitBias is added.
//  3. Penalties over the distinct tokens of generated: repetition (x/r if x > 0, else x·r), then
//     frequency·count + presence is subtracted.
//  4. The mask: what is not allowed becomes -Inf.
//  5. Temperature 0: the largest logit wins, of equals the lowest id. Else weight = exp((x - max) / temperature).
//  6. TopK keeps the k heaviest tokens, TopP the smallest set of the heaviest that has at least that share of the weight
//     left, MinP those of at least MinP times the heaviest weight. Of equals the lowest ids are kept.
//  7. The token is the first, by ascending id, at which the running sum of the weights exceeds
//     Uniform(p.Seed, len(generated)) times their total. Sums are float64.
//
// When every allowed logit is -Inf, the lowest allowed id is the result; when the mask allows nothing it is ignored,
// so that whoever made the mask can refuse the token.
func Sample(logits []float32, p *Params, mask []uint32, generated []int32, s *Scratch) Result {
	s.resize(len(logits))
	rawBest := largest(logits)
	if logits[rawBest] > math.MaxFloat32 {
		logits = clamped(logits)
	}
	x, best := logits, rawBest
	adjusts := mask != nil || len(p.LogitBias) > 0 || p.penalises()
	if adjusts {
		x = s.adjusted(logits, p, generated)
		best = allow(x, mask)
	}

	r := Result{Token: int32(best)}
	rawTotal := 0.0 // sum of exp(logit-largest), once it is known
	if p.Temperature > 0 && x[best] > negInf() {
		total := s.weigh(x, x[best], p.Temperature)
		if p.Temperature == 1 && !adjusts {
			rawTotal = total
		}
		total = s.filter(total, p)
		r.Token = draw(s.weights, total*Uniform(p.Seed, len(generated)))
	}
	if p.Logprobs < 0 {
		return r
	}
	most := logits[rawBest]
	if rawTotal == 0 {
		rawTotal = s.weigh(logits, most, 1)
	}
	logZ := math.Log(rawTotal)
	r.Logprob = logprob(logits[r.Token], most, logZ)
	r.Top = top(logits, p.Logprobs)
	for i := range r.Top {
		r.Top[i].Logprob = logprob(r.Top[i].Logprob, most, logZ)
	}
	return r
}

// Uniform returns the random number in [0, 1) that chooses a sequence's index-th sampled token. It is a pure function,
// so a token does not depend on what else runs, nor on how often its step was repeated. It is the (index+1)-th output of
// SplitMix64 started at the mixed seed (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014),
// its upper 53 bits as a fraction.
func Uniform(seed uint64, index int) float64 {
	const golden = 0x9e3779b97f4a7c15
	z := mix(mix(seed+golden) + (uint64(index)+1)*golden)
	return float64(z>>11) / (1 << 53)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func negInf() float32 { return float32(math.Inf(-1)) }

func (s *Scratch) resize(vocab int) {
	if len(s.weights) == vocab {
		return
	}
	*s = Scratch{logits: make([]float32, vocab), weights: make([]float32, vocab), near: make([]int32, 0, vocab), counts: make([]int32, vocab)}
	// Only roots and products, because these round alike on every machine; math.Exp2 does not promise that.
	var roots [64]float64
	roots[0] = 1
	for i, root := 32, math.Sqrt2; i > 0; i, root = i/2, math.Sqrt(root) {
		roots[i] = root
	}
	for i := range roots {
		roots[i] = roots[i&(i-1)] * roots[i&-i]
		s.roots[i] = float32(roots[i])
	}
}

// largest returns the lowest index of the largest of x; NaN counts as -Inf.
func largest(x []float32) (best int) {
	most := negInf()
	for i, v := range x {
		if v > most {
			most, best = v, i
		}
	}
	return best
}

// clamped returns a copy of x with finite numbers for +Inf. Only a broken model needs it, so it has no buffer.
func clamped(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = finite(v)
	}
	return out
}

// finite is v, with the largest finite number for +Inf and -Inf for NaN.
func finite(v float32) float32 {
	if v != v {
		return negInf()
	}
	return min(v, math.MaxFloat32)
}

func (p *Params) penalises() bool {
	return p.PresencePenalty != 0 || p.FrequencyPenalty != 0 || p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1
}

// adjusted returns a copy of raw with the bias added and the penalties taken. Ids outside the vocabulary are ignored.
func (s *Scratch) adjusted(raw []float32, p *Params, generated []int32) []float32 {
	x, counts := s.logits, s.counts
	copy(x, raw)
	for _, b := range p.LogitBias {
		if uint(b.Token) < uint(len(x)) {
			x[b.Token] = finite(x[b.Token] + b.Value)
		}
	}
	if !p.penalises() {
		return x
	}
	for _, t := range generated {
		if uint(t) < uint(len(x)) {
			counts[t]++
		}
	}
	for _, t := range generated {
		if uint(t) >= uint(len(x)) || counts[t] == 0 {
			continue
		}
		x[t] = p.penalised(x[t], counts[t])
		counts[t] = 0
	}
	return x
}

func (p *Params) penalised(v float32, count int32) float32 {
	switch r := p.RepetitionPenalty; {
	case r == 0:
	case v > 0:
		v /= r
	default:
		v *= r
	}
	// The conversion keeps the compiler from fusing, so that every machine rounds alike.
	return finite(v - (float32(p.FrequencyPenalty*float32(count)) + p.PresencePenalty))
}

// allow sets x to -Inf where mask forbids it and returns the lowest index of the largest that is left, of all -Inf the
// lowest allowed one. A mask that allows nothing, or nil, changes nothing.
func allow(x []float32, mask []uint32) (best int) {
	first := firstAllowed(mask, len(x))
	if first == len(x) {
		return largest(x)
	}
	forbid(x, mask)
	if best = largest(x); x[best] > negInf() {
		return best
	}
	return first
}

func firstAllowed(mask []uint32, vocab int) int {
	for i, word := range mask {
		if word != 0 {
			return min(i*32+bits.TrailingZeros32(word), vocab)
		}
	}
	return vocab
}

func forbid(x []float32, mask []uint32) {
	for first := 0; first < len(x); first += 32 {
		word := uint32(0)
		if first/32 < len(mask) {
			word = mask[first/32]
		}
		if word == math.MaxUint32 {
			continue
		}
		block := x[first:min(first+32, len(x))]
		for i, v := range block {
			// Without a branch, which would be taken at random: the bits of v or those of -Inf.
			keep := -(word >> i & 1)
			block[i] = math.Float32frombits(math.Float32bits(v)&keep | 0xff800000&^keep)
		}
	}
}

// filter applies TopK, TopP and MinP to the weights, whose sum is total, and returns the sum of what is left.
func (s *Scratch) filter(total float64, p *Params) float64 {
	if p.TopK > 0 && p.TopK < len(s.weights) {
		total = s.keep(byCount, float64(p.TopK))
	}
	if p.TopP > 0 && p.TopP < 1 {
		total = s.keep(byWeight, total*float64(p.TopP))
	}
	if p.MinP > 0 {
		total = 0
		for i, w := range s.weights {
			if w < p.MinP {
				s.weights[i] = 0
				continue
			}
			total += float64(w)
		}
	}
	return total
}

// weigh sets weights[i] = exp((x[i]-most)/temperature), 0 below e^-87 and for NaN, and returns their sum.
//
// Each power is 2^(n/64) = 2^(n>>6) · roots[n&63] times a quadratic for the rest, good to 2e-7 relative, three times as
// fast as math.Exp. The conversions forbid fused multiply-add, so that every machine gets the same bits.
func (s *Scratch) weigh(x []float32, most, temperature float32) (total float64) {
	const (
		perRootHi = 0x1.63p-7 // few bits: their products with n are exact
		perRootLo = math.Ln2/64 - perRootHi
		round     = 3 << 22 // adding it leaves the nearest integer in the low bits
	)
	w := s.weights[:len(x)]
	scale := 1 / temperature
	for first := 0; first < len(x); first += 64 {
		x, w := x[first:min(first+64, len(x))], w[first:min(first+64, len(x))]
		sum := float32(0) // in blocks: short enough for float32, and float64 sums only now and then
		for i, v := range x {
			y := (v - most) * scale
			if !(y > -87) {
				w[i] = 0
				continue
			}
			n := float32(y*(64/math.Ln2)) + round
			k := math.Float32bits(n)
			n -= round
			r := (y - float32(n*perRootHi)) - float32(n*perRootLo)
			r += float32(r*r) * 0.5
			root := s.roots[k&63]
			e := math.Float32frombits(math.Float32bits(root+float32(root*r)) + k>>6<<23)
			w[i] = e
			sum += e
		}
		total += float64(sum)
	}
	return total
}

// draw returns the first index at which the running sum of w exceeds target, or the last one with weight when rounding
// let the sum end below it.
func draw(w []float32, target float64) (token int32) {
	sum := 0.0
	for i, v := range w {
		if v == 0 {
			continue
		}
		token = int32(i)
		if sum += float64(v); sum > target {
			break
		}
	}
	return token
}

// logprob is ln softmax of logit v.
func logprob(v, most float32, logZ float64) float32 {
	if l := float64(v) - float64(most) - logZ; l > minLogprob {
		return float32(l)
	}
	return minLogprob
}

// top returns the n largest of x above -Inf with their logits, largest first, of equals the lowest id first.
func top(x []float32, n int) []TokenProb {
	if n == 0 {
		return nil
	}
	best := make([]TokenProb, 0, n+1)
	least := negInf()
	for i, v := range x {
		if !(v > least) {
			continue
		}
		at := len(best)
		for at > 0 && best[at-1].Logprob < v {
			at--
		}
		best = append(best, TokenProb{})
		copy(best[at+1:], best[at:])
		best[at] = TokenProb{int32(i), v}
		if len(best) > n {
			best = best[:n]
		}
		if len(best) == n {
			least = best[n-1].Logprob
		}
	}
	return best
}
