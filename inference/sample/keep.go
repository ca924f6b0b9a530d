package sample

import "math"

// A measure says what keep adds up.
type measure int

const (
	byCount  measure = iota // every token counts 1: TopK
	byWeight                // every token counts its weight: TopP
)

func (m measure) of(w float32) float64 {
	if m == byCount {
		return 1
	}
	return float64(w)
}

const buckets = 1 << 11

// keep zeroes all weights but the heaviest whose measure reaches goal, and returns the total weight left. Of equal
// weights the lowest ids are kept. Tokens of weight 0 count nothing.
//
// It is a radix selection over the bits of the weights, which order as the weights do because none is negative. None is
// above 1.0 either, which is 0x3f800000, so 30 bits matter: 11 decide for nearly all tokens, 10 and 9 for those in the
// bucket in which the goal is reached. The time is linear whatever the distribution, and nothing is sorted.
func (s *Scratch) keep(m measure, goal float64) (total float64) {
	clear(s.mass[:])
	for _, w := range s.weights {
		if w > 0 {
			s.mass[math.Float32bits(w)>>19&(buckets-1)] += m.of(w)
		}
	}
	bucket, above := s.reach(buckets, goal, 0)
	s.near = s.near[:0]
	for i, w := range s.weights {
		switch b := int(math.Float32bits(w) >> 19); {
		case b < bucket:
			s.weights[i] = 0
		case b > bucket:
			total += float64(w)
		default:
			s.near = append(s.near, int32(i))
		}
	}

	prefix := uint32(bucket) // the bits so far of the lightest weight that is kept
	for _, low := range []struct{ shift, width uint }{{9, 10}, {0, 9}} {
		clear(s.mass[:])
		for _, i := range s.near {
			w := s.weights[i]
			if b := math.Float32bits(w) >> low.shift; b>>low.width == prefix {
				s.mass[b&(1<<low.width-1)] += m.of(w)
			}
		}
		bucket, above = s.reach(1<<low.width, goal, above)
		prefix = prefix<<low.width | uint32(bucket)
	}
	for _, i := range s.near {
		w := s.weights[i]
		b := math.Float32bits(w)
		if b < prefix || b == prefix && above >= goal {
			s.weights[i] = 0
			continue
		}
		if b == prefix {
			above += m.of(w)
		}
		total += float64(w)
	}
	return total
}

// reach returns the highest of the first n buckets at which above and the sum of the buckets down to it reach goal, or
// 0 when none does, and the sum above that bucket.
func (s *Scratch) reach(n int, goal, above float64) (bucket int, _ float64) {
	for bucket = n - 1; bucket > 0 && above+s.mass[bucket] < goal; bucket-- {
		above += s.mass[bucket]
	}
	return bucket, above
}
