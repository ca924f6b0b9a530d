package engine

import "fmt"

// Check reports broken bookkeeping of blocks. It reads what only the engine's goroutine owns, and so is to be called from
// a Runner's Step: there all is in place for the step at hand. It is internal because no caller could see a wrong
// reference count before it is too late.
func (e *Engine) Check() error {
	for i := range e.kv.groups {
		if err := e.checkGroup(i); err != nil {
			return fmt.Errorf("group %d: %w", i, err)
		}
	}
	for _, s := range e.waiting {
		if s.running || s.computed != 0 || s.take != 0 {
			return fmt.Errorf("waiting sequence runs=%v, computed %d, take %d", s.running, s.computed, s.take)
		}
	}
	if len(e.running) > e.options.MaxSequences || len(e.batch.Tokens) > e.options.MaxBatchTokens {
		return fmt.Errorf("%d sequences and %d tokens, options %+v", len(e.running), len(e.batch.Tokens), e.options)
	}
	return nil
}

func (e *Engine) checkGroup(i int) error {
	g := &e.kv.groups[i]
	refs := make([]int32, g.total())
	for _, s := range e.waiting {
		if len(s.kv.tables[i]) > 0 {
			return fmt.Errorf("a waiting sequence has %d blocks", len(s.kv.tables[i]))
		}
	}
	for _, s := range e.running {
		if need := g.blocksFor(s.computed + s.take); len(s.kv.tables[i]) < need {
			return fmt.Errorf("a sequence has %d blocks, needs %d", len(s.kv.tables[i]), need)
		}
		for j, b := range s.kv.tables[i] {
			if (b < 0) != (j < s.kv.live[i]) {
				return fmt.Errorf("table entry %d is block %d, but %d are given back", j, b, s.kv.live[i])
			}
			if b >= 0 {
				refs[b]++
			}
		}
		if held := len(s.kv.tables[i]) - s.kv.live[i]; g.Window > 0 && held > (g.Window+e.kv.unit+s.take)/g.BlockTokens+3 {
			return fmt.Errorf("a sequence holds %d blocks for a window of %d and %d new tokens", held, g.Window, s.take)
		}
	}
	used, named := 0, 0
	for b := range refs {
		blk := &g.blocks[b]
		if blk.refs != refs[b] {
			return fmt.Errorf("block %d has %d references, counted %d", b, refs[b], blk.refs)
		}
		if blk.refs > 0 {
			used++
		}
		if blk.hashed {
			named++
			if found, ok := g.byHash[blk.hash]; !ok || found != int32(b) {
				return fmt.Errorf("block %d is not found by its hash", b)
			}
		}
	}
	if named != len(g.byHash) {
		return fmt.Errorf("%d blocks have names, %d are found", named, len(g.byHash))
	}
	var inTier [tiers]int
	for t := range int32(tiers) {
		head := int32(g.total()) + t
		for b := g.blocks[head].next; b != head; b = g.blocks[b].next {
			if g.blocks[b].refs != 0 || g.blocks[b].hashed != (tier(t) != free) {
				return fmt.Errorf("block %d with %d references (named: %v) is in tier %d", b, g.blocks[b].refs, g.blocks[b].hashed, t)
			}
			if inTier[t]++; inTier[t] > g.total() {
				return fmt.Errorf("tier %d is no ring", t)
			}
		}
	}
	if cached := inTier[cold] + inTier[warm]; used != g.used || cached != g.cached || used+cached+inTier[free] != g.total() {
		return fmt.Errorf("%d used, %d cached and %d free of %d, counted as %d used and %d cached", used, cached, inTier[free], g.total(), g.used, g.cached)
	}
	return nil
}
