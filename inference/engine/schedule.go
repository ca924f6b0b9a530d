package engine

import "slices"

// A scheduler decides what runs. It knows lengths and blocks, no device and no tokens' meaning: each step gives
// sequences tokens until what is computed reaches what is known. Prompts in chunks, prefixes found in memory, and
// starting again after a preemption are all the same to it.
//
// Memory cannot run out half-way:
//   - every sequence fits when it is alone (Generate refuses others);
//   - one is admitted, first come first served, only when there are blocks for all it knows, beside those that running
//     sequences lack for what they know, and one more for each of them and itself to grow into;
//   - when growing needs a block and none is left, a sequence takes those of the one admitted last, if that came after
//     it; else it pauses for a step. The preempted one goes back to the head of the queue with its tokens kept.
//
// So the sequence admitted first always proceeds, and every other one becomes the first.
type scheduler struct {
	options Options
	kv      *kv
	running []*sequence // in order of admission
	waiting []*sequence // in order of arrival
	retry   bool        // something changed since the first of waiting last did not fit
	order   []*sequence // scratch of plan
	stats   Stats
}

// admit moves sequences from waiting to running and calls admitted for each.
func (sc *scheduler) admit(admitted func(*sequence)) {
	for sc.retry && len(sc.waiting) > 0 && len(sc.running) < sc.options.MaxSequences {
		s := sc.waiting[0]
		found := sc.kv.open(&s.kv, s.tokens)
		if !sc.fits(s) {
			sc.kv.close(&s.kv)
			sc.retry = false
			return
		}
		s.computed, s.running = found, true
		sc.waiting = slices.Delete(sc.waiting, 0, 1)
		sc.running = append(sc.running, s)
		admitted(s)
	}
}

// fits reports whether s can be admitted; it has its cached prefix already.
func (sc *scheduler) fits(s *sequence) bool {
	if len(sc.running) == 0 {
		return true
	}
	for g := range sc.kv.groups {
		gr := &sc.kv.groups[g]
		if gr.Window > 0 {
			continue // never short: see Options.fitted
		}
		need := gr.blocksFor(len(s.tokens)) - len(s.kv.tables[g]) + len(sc.running) + 1
		for _, r := range sc.running {
			need += max(0, gr.blocksFor(len(r.tokens))-len(r.kv.tables[g]))
		}
		if need > gr.available() {
			return false
		}
	}
	return true
}

// plan sets every running sequence's take, gives it the blocks for it and returns those with any in the order of rows.
func (sc *scheduler) plan() []*sequence {
	sc.order = share(sc.order[:0], sc.running, sc.options.MaxBatchTokens)
	for _, s := range sc.order {
		if s.running {
			sc.provide(s)
		}
	}
	sc.order = slices.DeleteFunc(sc.order, func(s *sequence) bool { return s.take == 0 })
	if len(sc.order) == 0 && len(sc.running) > 0 {
		panic("no sequence can proceed")
	}
	return sc.order
}

// provide gives s blocks for its take, or for as much of it as there is memory.
func (sc *scheduler) provide(s *sequence) {
	for {
		if n := min(s.take, sc.kv.room(&s.kv, s.computed)); n > 0 || s.take == 0 {
			s.take = n
			sc.kv.grow(&s.kv, s.computed+n)
			return
		}
		last := sc.running[len(sc.running)-1]
		if last == s {
			s.take = 0
			return
		}
		sc.preempt(last)
	}
}

// preempt takes back what the sequence admitted last has been given. Its sampled tokens are kept; computing them again
// gives the same keys and values, and a sampled token depends only on these and its index.
func (sc *scheduler) preempt(s *sequence) {
	sc.stats.Preemptions++
	sc.remove(s)
	s.running, s.computed, s.take = false, 0, 0
	sc.waiting = slices.Insert(sc.waiting, 0, s)
}

// remove takes s out of running or waiting and its blocks back.
func (sc *scheduler) remove(s *sequence) {
	sc.kv.close(&s.kv)
	list := &sc.waiting
	if s.running {
		list = &sc.running
	}
	i := slices.Index(*list, s)
	*list = slices.Delete(*list, i, i+1)
	sc.retry = true
}
