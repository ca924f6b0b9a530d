package engine

// share says how many tokens each sequence gets in a step of budget tokens: sequences are in the order in which they
// were admitted, and at most budget many.
//
// First, everyone that lacks only one token gets it: decoding never waits for prefill, which can only make the step
// longer, up to the budget. The rest is for prefill, oldest first: each may take half of what is left, the last one all.
// So the oldest is served best, and yet a short prompt need not wait for a long one. What is left over after that goes
// to the oldest that can use it.
//
// The order appended to dst is that in which they get memory: those that lack one token first.
func share(dst, sequences []*sequence, budget int) []*sequence {
	prefills := 0
	for _, s := range sequences {
		s.take = 0
		if s.pending() > 1 {
			prefills++
			continue
		}
		s.take = 1
		budget--
		dst = append(dst, s)
	}
	for _, s := range sequences {
		if s.pending() == 1 {
			continue
		}
		part := budget
		if prefills > 1 {
			part = (budget + 1) / 2
		}
		s.take = min(s.pending(), part)
		budget -= s.take
		prefills--
		dst = append(dst, s)
	}
	for _, s := range sequences {
		more := min(s.pending()-s.take, budget)
		s.take += more
		budget -= more
	}
	return dst
}
