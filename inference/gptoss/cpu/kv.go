package cpu

import (
	"fmt"

	"chorale/inference/engine"
	"chorale/inference/gptoss"
	kernels "chorale/kernels/cpu"
)

// A cache is the memory of keys and values.
type cache struct {
	blockTokens int
	heads, dim  int // key/value heads and their width
	stride      int // of a key
	groups      []kvGroup
}

// A kvGroup is the memory of the layers that share block tables: [layers, blocks, heads] regions, each of a block's keys
// [blockTokens, stride] and then its values, turned over to [dim, blockTokens] so that both products of attention sum
// along rows.
type kvGroup struct {
	window int
	layers int
	blocks int
	memory *kernels.Memory
}

// Bounds of the key/value memory.
const (
	memoryShare   = 4              // of the machine's memory, one part in so many by default
	enoughKVBytes = int64(1) << 30 // by default, unless the weights are larger
	assumedMemory = int64(8) << 30 // of a machine that does not tell
	windowShare   = 4              // of the key/value memory, the most that the sliding layers get
	maxBlocks     = 1<<31 - 1      // a block id is an int32
	maxKVBytes    = int64(1) << 46 // far above any machine's, and no product overflows
	defaultBlock  = 16             // positions
)

// defaultKVBytes returns the key/value memory for weights of a size. All of it may be in use after a while, since finished
// sequences are kept for their prefixes, so a small model must not take what only a large one needs.
func defaultKVBytes(weightBytes int64) int64 {
	return min(machineMemory()/memoryShare, max(weightBytes, enoughKVBytes))
}

// newCache reserves memory for both groups and returns with it the longest sequence it can hold.
func newCache(c *gptoss.Config, o Options) (*cache, int, error) {
	if o.BlockTokens == 0 {
		o.BlockTokens = defaultBlock
	}
	if o.BlockTokens < 16 || o.BlockTokens > 4096 || o.BlockTokens%16 != 0 {
		return nil, 0, fmt.Errorf("block tokens is %d, want a multiple of 16 up to 4096", o.BlockTokens)
	}
	if o.MaxContext == 0 {
		o.MaxContext = c.MaxContext
	}
	if o.MaxContext < 1 || o.MaxContext > c.MaxContext {
		return nil, 0, fmt.Errorf("max context is %d, want 1 to the model's %d", o.MaxContext, c.MaxContext)
	}
	if o.KVBytes < 1 || o.KVBytes > maxKVBytes {
		return nil, 0, fmt.Errorf("kv bytes is %d, want 1 to %d", o.KVBytes, maxKVBytes)
	}
	kv := &cache{blockTokens: o.BlockTokens, heads: c.KVHeads, dim: c.HeadDim, stride: kernels.Stride(c.HeadDim)}
	full, sliding := kvGroup{}, kvGroup{window: c.Window}
	for _, s := range c.Sliding {
		if s {
			sliding.layers++
		} else {
			full.layers++
		}
	}
	if full.layers > 0 {
		kv.groups = append(kv.groups, full)
	}
	if sliding.layers > 0 {
		kv.groups = append(kv.groups, sliding)
	}
	if err := kv.divide(o.KVBytes); err != nil {
		return nil, 0, err
	}
	for i := range kv.groups {
		g := &kv.groups[i]
		var err error
		if g.memory, err = kernels.NewMemory(g.layers * g.blocks * kv.blockFloats()); err != nil {
			kv.free()
			return nil, 0, fmt.Errorf("key/value memory: %w", err)
		}
	}
	if full.layers > 0 {
		o.MaxContext = min(o.MaxContext, kv.groups[0].blocks*kv.blockTokens)
	}
	return kv, o.MaxContext, nil
}

// blockFloats is the size of one layer's block.
func (kv *cache) blockFloats() int { return kv.heads * kv.blockTokens * (kv.stride + kv.dim) }

// divide sets the number of blocks of every group. The sliding layers get a quarter of the memory, which serves a
// sequence at any length, but no more blocks than the full ones have: a sequence never uses more.
func (kv *cache) divide(total int64) error {
	size := int64(kv.blockTokens)
	var bytes, need [2]int64 // of each group: a block's bytes, the blocks that one sequence needs
	least := int64(0)
	for i, g := range kv.groups {
		bytes[i], need[i] = 4*int64(g.layers)*int64(kv.blockFloats()), 1
		if g.window > 0 { // with the blocks at both ends, a step's and a spare one, which an Engine asks for
			need[i] = (int64(g.window)+size-2)/size + 4
		}
		least += need[i] * bytes[i]
	}
	if total < least {
		return fmt.Errorf("kv bytes is %d, want at least the %d of one short sequence", total, least)
	}
	if len(kv.groups) == 2 {
		even := total / (bytes[0] + bytes[1])
		blocks := min(max(min(even, total/windowShare/bytes[1]), need[1]), maxBlocks)
		kv.groups[1].blocks = int(blocks)
		total -= blocks * bytes[1]
	}
	kv.groups[0].blocks = int(min(total/bytes[0], maxBlocks))
	return nil
}

// check reports a block table in which a position that the row reads or writes has no block.
func (g *kvGroup) check(table []int32, row *engine.Row, blockTokens int) error {
	first := 0
	if g.window > 0 {
		first = max(0, row.Context-row.Length-g.window+1) / blockTokens
	}
	last := (row.Context - 1) / blockTokens
	if last >= len(table) {
		return fmt.Errorf("block table of window %d has %d entries, want %d", g.window, len(table), last+1)
	}
	for i, id := range table[first : last+1] {
		if id < 0 || int(id) >= g.blocks {
			return fmt.Errorf("block table of window %d: entry %d is %d, want 0 to %d", g.window, first+i, id, g.blocks-1)
		}
	}
	return nil
}

// keys returns one head's keys of a block: [blockTokens, dim].
func (kv *cache) keys(l *layer, block int32, head int) kernels.Rows {
	at := kv.region(l, block, head)
	n := kv.blockTokens * kv.stride
	return kernels.Rows{Data: kv.groups[l.group].memory.Floats[at : at+n], N: kv.blockTokens, Stride: kv.stride}
}

// values returns one head's values of a block: [dim, blockTokens].
func (kv *cache) values(l *layer, block int32, head int) kernels.Rows {
	at := kv.region(l, block, head) + kv.blockTokens*kv.stride
	n := kv.dim * kv.blockTokens
	return kernels.Rows{Data: kv.groups[l.group].memory.Floats[at : at+n], N: kv.dim, Stride: kv.blockTokens}
}

func (kv *cache) region(l *layer, block int32, head int) int {
	g := &kv.groups[l.group]
	return ((l.index*g.blocks+int(block))*kv.heads + head) * kv.blockTokens * (kv.stride + kv.dim)
}

func (kv *cache) free() error {
	var first error
	for i := range kv.groups {
		if m := kv.groups[i].memory; m != nil {
			if err := m.Free(); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}
