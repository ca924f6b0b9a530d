package tokenizer

import "sync"

// scanBytes is the longest piece that is merged by scanning for the lowest pair. The scan is quadratic and the heap is
// not, so this bound is also what keeps a piece of a million letters cheap; around it the two are equally fast.
const scanBytes = 64

// part is a token of a piece under way: the bytes from start to the next part's start.
type part struct {
	start int32
	id    uint32
	pair  uint32 // rank of this part and the next one as a single token, or none
}

// scan encodes a short piece: from single bytes, it joins the two neighbours whose concatenation has the lowest rank, the
// leftmost on ties, until no two neighbours form a token. buf needs a capacity of len(piece).
func (t *table) scan(buf []part, piece string) []part {
	parts := buf[:len(piece)]
	for i := range parts {
		parts[i] = part{int32(i), t.single[piece[i]], none}
		if i > 0 {
			parts[i-1].pair = t.rank(piece[i-1 : i+1])
		}
	}
	for {
		lowest, at := none, 0
		for i := range parts {
			if parts[i].pair < lowest {
				lowest, at = parts[i].pair, i
			}
		}
		if lowest == none {
			return parts
		}
		parts[at].id = lowest
		parts = append(parts[:at+1], parts[at+2:]...)
		parts[at].pair = t.pair(piece, parts, at)
		if at > 0 {
			parts[at-1].pair = t.pair(piece, parts, at-1)
		}
	}
}

// pair returns the rank of parts[i] and parts[i+1] joined, or none.
func (t *table) pair(piece string, parts []part, i int) uint32 {
	if i+1 == len(parts) {
		return none
	}
	end := len(piece)
	if i+2 < len(parts) {
		end = int(parts[i+2].start)
	}
	return t.rank(piece[parts[i].start:end])
}

// merger encodes long pieces in O(n log n) with the same result as scan.
type merger struct {
	nodes []node   // [len(piece)], by the start of the part
	heap  []uint64 // binary min-heap of rank<<32 | start; entries whose pair has changed since are skipped when popped
}

// node is a part in a doubly linked list.
type node struct {
	prev, next int32 // starts of the neighbours; -1 before the first, len(piece) after the last
	id         uint32
	pair       uint32 // as in part; none once the part has been joined to the one before
}

// maxPooledBytes is the longest piece whose merger is kept for reuse; a longer one's memory (up to 32 bytes for each byte
// of the piece) goes back at once.
const maxPooledBytes = 1 << 16

// mergers is a free list: it holds no state between uses.
var mergers = sync.Pool{New: func() any { return new(merger) }}

// long calls emit with the ids of a piece in order.
func (t *table) long(piece string, emit func(id uint32)) {
	m := mergers.Get().(*merger)
	m.merge(t, piece)
	for i := 0; i < len(piece); i = int(m.nodes[i].next) {
		emit(m.nodes[i].id)
	}
	if len(piece) <= maxPooledBytes {
		mergers.Put(m)
	}
}

func (m *merger) merge(t *table, piece string) {
	if cap(m.nodes) < len(piece) {
		m.nodes = make([]node, len(piece))
		m.heap = make([]uint64, 0, len(piece))
	}
	nodes := m.nodes[:len(piece)]
	m.heap = m.heap[:0]
	for i := range nodes {
		pair := none
		if i+1 < len(piece) {
			pair = t.rank(piece[i : i+2])
		}
		nodes[i] = node{int32(i - 1), int32(i + 1), t.single[piece[i]], pair}
		m.push(pair, int32(i))
	}
	for len(m.heap) > 0 {
		rank, i := m.pop()
		if nodes[i].pair != rank {
			continue
		}
		// The rank stands for its bytes, so an entry that still names the node's pair is valid whenever it was made.
		joined := nodes[i].next
		nodes[joined].pair = none
		next := nodes[joined].next
		nodes[i].id, nodes[i].next = rank, next
		if int(next) < len(piece) {
			nodes[next].prev = i
		}
		m.update(t, piece, i)
		if prev := nodes[i].prev; prev >= 0 {
			m.update(t, piece, prev)
		}
	}
}

// update looks up the pair that begins at node i.
func (m *merger) update(t *table, piece string, i int32) {
	pair := none
	if next := m.nodes[i].next; int(next) < len(piece) {
		pair = t.rank(piece[i:m.nodes[next].next])
	}
	m.nodes[i].pair = pair
	m.push(pair, i)
}

func (m *merger) push(rank uint32, start int32) {
	if rank == none {
		return
	}
	m.heap = append(m.heap, uint64(rank)<<32|uint64(start))
	for i := len(m.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if m.heap[parent] <= m.heap[i] {
			return
		}
		m.heap[parent], m.heap[i] = m.heap[i], m.heap[parent]
		i = parent
	}
}

func (m *merger) pop() (rank uint32, start int32) {
	top := m.heap[0]
	last := len(m.heap) - 1
	m.heap[0] = m.heap[last]
	m.heap = m.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && m.heap[child+1] < m.heap[child] {
			child++
		}
		if m.heap[i] <= m.heap[child] {
			break
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
	return uint32(top >> 32), int32(uint32(top))
}
