package tokenizer

import (
	"fmt"
	"math/bits"
)

const (
	// maxTokenBytes is the longest token a table can hold; its length is packed into one byte. The longest of o200k_base
	// is 128 bytes.
	maxTokenBytes = 255
	// none is the rank of byte strings that are no token, behind every real rank.
	none = ^uint32(0)
)

// table maps token bytes to ranks and back. It is immutable.
type table struct {
	packed   string   // each token's length in one byte, then its bytes, in rank order
	starts   []uint32 // [ranks] offset of each token's first byte in packed
	maxBytes int      // length of the longest token
	single   [256]uint32

	// slots is an open-addressing hash table, at most half full. A slot is 0 when empty, else rank+1 in the low rankBits
	// and hash bits above, so that most probes of other tokens end without touching their bytes.
	slots    []uint32
	rankBits int
}

// newTable indexes the first ranks tokens of packed. It refuses a table that lacks a single byte, since then not every
// text could be encoded, or that names a token twice.
func newTable(packed string, ranks int) (*table, error) {
	if ranks < 256 {
		return nil, fmt.Errorf("rank table of %d tokens: at least the 256 single bytes are needed", ranks)
	}
	t := &table{packed: packed, starts: make([]uint32, ranks), rankBits: bits.Len(uint(ranks))}
	t.slots = make([]uint32, 1<<bits.Len(uint(2*ranks-1)))
	for b := range t.single {
		t.single[b] = none
	}
	at := 0
	for rank := range t.starts {
		if at >= len(packed) || packed[at] == 0 || at+1+int(packed[at]) > len(packed) {
			return nil, fmt.Errorf("rank table: token %d of %d is missing or empty", rank, ranks)
		}
		n := int(packed[at])
		t.starts[rank] = uint32(at + 1)
		t.maxBytes = max(t.maxBytes, n)
		at += 1 + n
		token := t.token(rank)
		if n == 1 {
			t.single[token[0]] = uint32(rank)
		}
		if !t.insert(token, uint32(rank)) {
			return nil, fmt.Errorf("rank table: token %d (%q) occurs twice", rank, token)
		}
	}
	for b, rank := range t.single {
		if rank == none {
			return nil, fmt.Errorf("rank table: the single byte 0x%02x is no token", b)
		}
	}
	return t, nil
}

// token returns the bytes of a rank.
func (t *table) token(rank int) string {
	start := t.starts[rank]
	return t.packed[start : start+uint32(t.packed[start-1])]
}

func (t *table) insert(token string, rank uint32) bool {
	if t.rank(token) != none {
		return false
	}
	h := hash(token)
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = t.tag(h) | (rank + 1)
	return true
}

// rank returns the rank of the token with exactly these bytes, or none.
func (t *table) rank(token string) uint32 {
	if len(token) > t.maxBytes || len(token) == 0 {
		return none
	}
	h := hash(token)
	tag := t.tag(h)
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			return none
		}
		if rank := slot ^ tag; rank>>t.rankBits == 0 && t.token(int(rank-1)) == token {
			return rank - 1
		}
	}
}

// tag returns the upper bits of h where a slot keeps them.
func (t *table) tag(h uint64) uint32 {
	return uint32(h>>32) &^ (1<<t.rankBits - 1)
}

// hash mixes the bytes of a non-empty token eight at a time; the last step overlaps the one before. Text cannot choose
// what is in the table, so it need not resist chosen keys.
func hash(s string) uint64 {
	h := uint64(len(s))
	switch n := len(s); {
	case n >= 8:
		for i := 0; i+8 < n; i += 8 {
			h = mix(h ^ load64(s[i:]))
		}
		return mix(h ^ load64(s[n-8:]))
	case n >= 4:
		return mix(h<<56 ^ uint64(load32(s)) ^ uint64(load32(s[n-4:]))<<24)
	default:
		return mix(h<<56 ^ uint64(s[0]) | uint64(s[n>>1])<<8 | uint64(s[n-1])<<16)
	}
}

func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return hi ^ lo
}

func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func load32(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}
