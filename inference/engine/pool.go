package engine

import "fmt"

// A blockHash names the content of a full block: all tokens from the start of the sequence to the block's end, and the
// cache salt.
type blockHash [32]byte

// A tier is the order in which blocks without references are reused.
type tier int32

const (
	free  tier = iota // without content
	cold              // cached, but a prefix hit is unlikely to need it
	warm              // cached
	tiers = 3
)

// A pool is the blocks of one KV group. Each block is used (references > 0), cached (no references, but found by its
// hash) or free. Blocks without references are reused in the order free, cold, warm; within a tier the longest unused
// first.
type pool struct {
	blocks []block // [n+tiers]: block n+t is the head of tier t's ring
	byHash map[blockHash]int32
	used   int
	cached int
}

type block struct {
	prev, next int32 // in its tier's ring, while without references
	refs       int32
	hashed     bool // hash is valid and byHash[hash] is this block
	hash       blockHash
}

func newPool(blocks int) *pool {
	p := &pool{blocks: make([]block, blocks+tiers), byHash: make(map[blockHash]int32)}
	for t := range int32(tiers) {
		head := int32(blocks) + t
		p.blocks[head].prev, p.blocks[head].next = head, head
	}
	for b := range int32(blocks) {
		p.link(b, free)
	}
	return p
}

func (p *pool) total() int     { return len(p.blocks) - tiers }
func (p *pool) available() int { return p.total() - p.used }

// link appends b to the ring of t.
func (p *pool) link(b int32, t tier) {
	head := int32(p.total()) + int32(t)
	last := p.blocks[head].prev
	p.blocks[b].prev, p.blocks[b].next = last, head
	p.blocks[last].next, p.blocks[head].prev = b, b
}

func (p *pool) unlink(b int32) {
	prev, next := p.blocks[b].prev, p.blocks[b].next
	p.blocks[prev].next, p.blocks[next].prev = next, prev
}

// take returns a block without content and with one reference. It forgets a cached block when none is free; the caller
// has made sure that one is available.
func (p *pool) take() int32 {
	for t := range int32(tiers) {
		head := int32(p.total()) + t
		b := p.blocks[head].next
		if b == head {
			continue
		}
		p.unlink(b)
		if p.blocks[b].hashed {
			delete(p.byHash, p.blocks[b].hash)
			p.blocks[b].hashed = false
			p.cached--
		}
		p.blocks[b].refs = 1
		p.used++
		return b
	}
	panic(fmt.Sprintf("all %d blocks of a KV group are in use", p.total()))
}

// share returns the block with content h and one reference more. The caller knows that it is there.
func (p *pool) share(h blockHash) int32 {
	b, ok := p.byHash[h]
	if !ok {
		panic("a shared block is not cached")
	}
	if p.blocks[b].refs == 0 {
		p.unlink(b)
		p.cached--
		p.used++
	}
	p.blocks[b].refs++
	return b
}

// name makes a full block in use findable. When another block has the same content already, that one stays.
func (p *pool) name(b int32, h blockHash) {
	if _, ok := p.byHash[h]; ok {
		return
	}
	p.blocks[b].hash, p.blocks[b].hashed = h, true
	p.byHash[h] = b
}

// release drops one reference; after the last one the block is free, or cached in tier t when it has a name.
func (p *pool) release(b int32, t tier) {
	p.blocks[b].refs--
	if p.blocks[b].refs > 0 {
		return
	}
	p.used--
	if !p.blocks[b].hashed {
		p.link(b, free)
		return
	}
	p.cached++
	p.link(b, t)
}
