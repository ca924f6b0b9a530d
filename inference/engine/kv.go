package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// A kv decides which block holds which positions of which sequence, in every KV group, and finds prefixes that were
// computed before.
type kv struct {
	groups []group
	sizes  []int // distinct block sizes: sequences have one chain of hashes for each
	unit   int   // prefix hits end at multiples of it
}

type group struct {
	KVGroup
	*pool
	chain int // index in sizes
}

// kvState is a sequence's part of the key/value memory.
type kvState struct {
	root   blockHash     // hash of the cache salt, the parent of every first block
	chains [][]blockHash // [size][block] of full blocks, as far as they were needed
	tables [][]int32     // [group][block]; -1 = behind the window and given back
	live   []int         // [group] number of leading blocks that were given back
	marks  []int         // multiples of unit where a later prompt may leave this sequence: the window before stays warm
}

func newKV(l KVLayout) *kv {
	k := &kv{unit: l.unit()}
	for _, g := range l.Groups {
		chain := slices.Index(k.sizes, g.BlockTokens)
		if chain < 0 {
			chain = len(k.sizes)
			k.sizes = append(k.sizes, g.BlockTokens)
		}
		k.groups = append(k.groups, group{g, newPool(g.Blocks), chain})
	}
	return k
}

// newState returns the state of a sequence that owns nothing yet. It reads only what never changes, so Generate calls it
// in the caller's goroutine, where the hashing of a long prompt delays nobody.
func (k *kv) newState(tokens []int32, salt string) kvState {
	st := kvState{
		root:   sha256.Sum256([]byte(salt)),
		chains: make([][]blockHash, len(k.sizes)),
		tables: make([][]int32, len(k.groups)),
		live:   make([]int, len(k.groups)),
		marks:  []int{k.floor(len(tokens) - 1), k.floor(len(tokens))},
	}
	for c := range k.sizes {
		k.extend(&st, c, tokens, len(tokens)/k.sizes[c])
	}
	return st
}

// extend makes chain c at least blocks long.
func (k *kv) extend(st *kvState, c int, tokens []int32, blocks int) {
	size := k.sizes[c]
	for i := len(st.chains[c]); i < blocks; i++ {
		parent := st.root
		if i > 0 {
			parent = st.chains[c][i-1]
		}
		text := append(make([]byte, 0, 256), parent[:]...)
		for _, t := range tokens[i*size : (i+1)*size] {
			text = binary.LittleEndian.AppendUint32(text, uint32(t))
		}
		st.chains[c] = append(st.chains[c], sha256.Sum256(text))
	}
}

func (k *kv) floor(position int) int { return position / k.unit * k.unit }

// behind is the number of leading blocks that lie wholly behind the window of the token at position.
func (g *group) behind(position int) int {
	if g.Window == 0 {
		return 0
	}
	return max(0, position-g.Window+1) / g.BlockTokens
}

func (g *group) blocksFor(tokens int) int { return (tokens + g.BlockTokens - 1) / g.BlockTokens }

// open gives a sequence that owns nothing the blocks of the longest prefix that is cached, and returns its length. The
// last known token is never part of it, because its logits are wanted.
func (k *kv) open(st *kvState, tokens []int32) (cached int) {
	end := len(tokens) - 1
	for c, size := range k.sizes {
		k.extend(st, c, tokens, end/size)
	}
	for g := range k.groups {
		if k.groups[g].Window == 0 {
			end = min(end, k.groups[g].run(st.chains[k.groups[g].chain], 0, end)*k.groups[g].BlockTokens)
		}
	}
	end = k.floor(end)
	// A windowed group needs only the blocks of the last window. Where one of them is missing, no end after it will do.
	junction := end
	for g := 0; g < len(k.groups); g++ {
		gr := &k.groups[g]
		if first := gr.behind(end); gr.Window > 0 && end > 0 {
			if have := gr.run(st.chains[gr.chain], first, end); have*gr.BlockTokens < end {
				end = k.floor(have * gr.BlockTokens)
				g = -1 // the other groups must agree to the new end
			}
		}
	}
	if end < junction {
		st.marks = append(st.marks, junction) // others share this prefix: keep what was missing this time
	}
	for g := range k.groups {
		gr := &k.groups[g]
		st.live[g] = gr.behind(end)
		for i := range end / gr.BlockTokens {
			b := int32(-1)
			if i >= st.live[g] {
				b = gr.share(st.chains[gr.chain][i])
			}
			st.tables[g] = append(st.tables[g], b)
		}
	}
	return end
}

// run returns the first block from first on that is not cached, or the number of full blocks before position end.
func (g *group) run(chain []blockHash, first, end int) int {
	for i := first; i < end/g.BlockTokens; i++ {
		if _, ok := g.byHash[chain[i]]; !ok {
			return i
		}
	}
	return end / g.BlockTokens
}

// room is how many tokens after computed the sequence could compute with the blocks that are there.
func (k *kv) room(st *kvState, computed int) int {
	room := int(^uint(0) >> 1)
	for g := range k.groups {
		if gr := &k.groups[g]; gr.Window == 0 {
			room = min(room, (len(st.tables[g])+gr.available())*gr.BlockTokens-computed)
		}
	}
	return room
}

// grow gives the sequence the blocks for its first tokens positions.
func (k *kv) grow(st *kvState, tokens int) {
	for g := range k.groups {
		for need := k.groups[g].blocksFor(tokens); len(st.tables[g]) < need; {
			st.tables[g] = append(st.tables[g], k.groups[g].take())
		}
	}
}

// advance records that tokens[from:to] have been computed: full blocks get their names, and blocks behind the window
// are given back. The window is taken from the last multiple of unit, so that a prompt that continues this sequence
// finds all it needs there.
func (k *kv) advance(st *kvState, tokens []int32, from, to int) {
	for g := range k.groups {
		gr := &k.groups[g]
		last := to / gr.BlockTokens
		for i := from / gr.BlockTokens; i < last; i++ {
			k.extend(st, gr.chain, tokens, last)
			gr.name(st.tables[g][i], st.chains[gr.chain][i])
		}
		for n := gr.behind(k.floor(to)); st.live[g] < n; st.live[g]++ {
			i := st.live[g]
			gr.release(st.tables[g][i], gr.worth(st.marks, i))
			st.tables[g][i] = -1
		}
	}
}

// worth is the tier of block i when it falls behind the window: warm where a prompt that leaves the sequence at a mark
// would need it, cold elsewhere.
func (g *group) worth(marks []int, i int) tier {
	for _, m := range marks {
		if g.behind(m) <= i && i < m/g.BlockTokens {
			return warm
		}
	}
	return cold
}

// close gives everything back, the end first: of a chain whose blocks are reused one by one, the front stays useful.
func (k *kv) close(st *kvState) {
	for g := range k.groups {
		for i := len(st.tables[g]) - 1; i >= st.live[g]; i-- {
			k.groups[g].release(st.tables[g][i], warm)
		}
		st.tables[g], st.live[g] = st.tables[g][:0], 0
	}
}
