// Package tokenizer converts text to token ids and back, byte-level BPE with the o200k split pattern: o200k_harmony and
// any other rank table of that family.
//
// It owns the embedded rank table, the splitter, the merge and incremental UTF-8 decoding. It does not know what special
// tokens mean, what a message is, or which ids a model has weights for beyond their number. A Tokenizer is immutable and
// safe for concurrent use.
//
// Design: a hand-written splitter with one byte of character class for each code point, an open-addressing hash over the
// packed table, and two mergers with equal results, a scan for short pieces and a heap for long ones, so that no input
// costs more than O(n log n). Ordinary encoding cannot produce a special id, because special tokens are not in the table
// that it looks up.
package tokenizer

import (
	"cmp"
	"crypto/sha256"
	_ "embed" // for the rank table
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// A Tokenizer converts text to token ids and back.
type Tokenizer struct {
	table *table
	split *splitter
	vocab int // rows of the embedding

	specials []special        // ascending ids
	texts    map[int32]string // special id -> text
	ids      map[string]int32 // special text -> id
	starts   [256]bool        // bytes that begin a special token's text
	minText  int              // shortest and longest special text, in bytes
	maxText  int
}

type special struct {
	id   int32
	text string
}

//go:embed o200k_base.bin
var packedO200k string

//go:embed o200k_base.json
var manifestO200k []byte

// harmonySpecials are the special tokens of openai/gpt-oss that follow the ranks, in the order of their ids 199998 to
// 200018. The numbers in the reserved names are part of the text and stay when the ids move.
var harmonySpecials = [...]string{
	"<|startoftext|>", "<|endoftext|>", "<|reserved_200000|>", "<|reserved_200001|>", "<|return|>", "<|constrain|>",
	"<|reserved_200004|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|reserved_200009|>",
	"<|reserved_200010|>", "<|reserved_200011|>", "<|call|>", "<|reserved_200013|>", "<|reserved_200014|>",
	"<|reserved_200015|>", "<|reserved_200016|>", "<|reserved_200017|>", endOfPrompt,
}

// endOfPrompt is the name of id 200018 in o200k_base and in the model's files; openai/harmony has no name for it but the
// reserved one.
const endOfPrompt = "<|endofprompt|>"

const (
	harmonyVocab  = 201088 // vocab_size of openai/gpt-oss-20b and -120b
	firstReserved = 200014 // from here on openai/harmony names every id <|reserved_N|>
	lastReserved  = 201088 // the library defines it, although the model has no row for it
)

var o200kHarmony = sync.OnceValues(func() (*Tokenizer, error) {
	ranks, err := checkManifest()
	if err != nil {
		return nil, err
	}
	var specials []special
	for id := int32(ranks); id <= lastReserved; id++ {
		if id < firstReserved {
			specials = append(specials, special{id, harmonySpecials[int(id)-ranks]})
			continue
		}
		specials = append(specials, special{id, fmt.Sprintf("<|reserved_%d|>", id)})
	}
	return newTokenizer(packedO200k, ranks, harmonyVocab, specials)
})

// O200kHarmony returns the tokenizer of gpt-oss from the embedded table. All callers share one. Its special tokens are
// those of openai/harmony, 199998 to 201088. The last one has no row in the model, so of all methods only EncodeSpecial
// can return an id that is not below Vocab. An error means that the binary's copy of the table is damaged.
func O200kHarmony() (*Tokenizer, error) { return o200kHarmony() }

// Truncated returns a tokenizer with the first ranks (256 to 199998) tokens of the same table, for small models. The 21
// special tokens of gpt-oss, <|startoftext|> to <|endofprompt|>, follow directly: ids ranks to ranks+20.
func Truncated(ranks int) (*Tokenizer, error) {
	all, err := checkManifest()
	if err != nil {
		return nil, err
	}
	if ranks < 256 || ranks > all {
		return nil, fmt.Errorf("truncated rank table: %d ranks, want 256 to %d", ranks, all)
	}
	specials := make([]special, len(harmonySpecials))
	for i, text := range harmonySpecials {
		specials[i] = special{int32(ranks + i), text}
	}
	return newTokenizer(packedO200k, ranks, ranks+len(specials), specials)
}

// checkManifest verifies the embedded table and returns the number of its ranks.
func checkManifest() (ranks int, err error) {
	var manifest struct {
		PackedSHA256 string `json:"packed_sha256"`
		Ranks        int    `json:"ranks"`
	}
	if err := json.Unmarshal(manifestO200k, &manifest); err != nil {
		return 0, fmt.Errorf("embedded rank table: manifest: %w", err)
	}
	sum := sha256.Sum256([]byte(packedO200k))
	if got := hex.EncodeToString(sum[:]); got != manifest.PackedSHA256 {
		return 0, fmt.Errorf("embedded rank table: sha256 is %s, want %s", got, manifest.PackedSHA256)
	}
	return manifest.Ranks, nil
}

func newTokenizer(packed string, ranks, vocab int, specials []special) (*Tokenizer, error) {
	table, err := newTable(packed, ranks)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{
		table:    table,
		split:    sharedSplitter(),
		vocab:    vocab,
		specials: specials,
		texts:    make(map[int32]string, len(specials)),
		ids:      make(map[string]int32, len(specials)),
	}
	slices.SortFunc(t.specials, func(a, b special) int { return cmp.Compare(a.id, b.id) })
	for i, s := range t.specials {
		if _, twice := t.ids[s.text]; twice || s.text == "" || (i > 0 && t.specials[i-1].id == s.id) {
			return nil, fmt.Errorf("special token %d (%q): empty, or text or id used twice", s.id, s.text)
		}
		t.texts[s.id], t.ids[s.text] = s.text, s.id
		t.starts[s.text[0]] = true
		if i == 0 || len(s.text) < t.minText {
			t.minText = len(s.text)
		}
		t.maxText = max(t.maxText, len(s.text))
	}
	return t, nil
}

// Vocab returns the number of ids, which is the number of rows of the model's embedding.
func (t *Tokenizer) Vocab() int { return t.vocab }

// Ranks returns the number of ordinary tokens: their ids are 0 to Ranks-1, and every special id lies behind them.
func (t *Tokenizer) Ranks() int { return len(t.table.starts) }

// Encode appends the ids of text to dst. Text that looks like a special token is encoded as the plain text it is: the
// result never holds a special id. Bytes that are not valid UTF-8 are kept, so AppendToken over the ids gives back text
// exactly, whatever it is.
func (t *Tokenizer) Encode(dst []int32, text string) []int32 {
	var buf [scanBytes]part
	for i := 0; i < len(text); {
		end := t.split.next(text, i)
		piece := text[i:end]
		i = end
		if rank := t.table.rank(piece); rank != none {
			dst = append(dst, int32(rank))
			continue
		}
		if len(piece) > scanBytes {
			t.table.long(piece, func(id uint32) { dst = append(dst, int32(id)) })
			continue
		}
		for _, p := range t.table.scan(buf[:], piece) {
			dst = append(dst, int32(p.id))
		}
	}
	return dst
}

// Count returns the number of ids that Encode would append, without storing them.
func (t *Tokenizer) Count(text string) int {
	var buf [scanBytes]part
	n := 0
	for i := 0; i < len(text); {
		end := t.split.next(text, i)
		piece := text[i:end]
		i = end
		switch {
		case t.table.rank(piece) != none:
			n++
		case len(piece) > scanBytes:
			t.table.long(piece, func(uint32) { n++ })
		default:
			n += len(t.table.scan(buf[:], piece))
		}
	}
	return n
}

// EncodeSpecial is Encode, except that the text of a special token becomes its id; where several begin at the same byte
// the longest counts. It is for trusted text only: never pass it what a user or a tool wrote.
func (t *Tokenizer) EncodeSpecial(dst []int32, text string) []int32 {
	start := 0
	for i := 0; i < len(text); {
		n := t.specialAt(text[i:])
		if n == 0 {
			i++
			continue
		}
		dst = t.Encode(dst, text[start:i])
		dst = append(dst, t.ids[text[i:i+n]])
		i += n
		start = i
	}
	return t.Encode(dst, text[start:])
}

// specialAt returns the length of the special token's text that text begins with, or 0.
func (t *Tokenizer) specialAt(text string) int {
	if !t.starts[text[0]] {
		return 0
	}
	for n := min(t.maxText, len(text)); n >= t.minText; n-- {
		if _, ok := t.ids[text[:n]]; ok {
			return n
		}
	}
	return 0
}

// AppendToken appends the bytes of one token, which need not be whole code points; a special token's text; or U+FFFD for
// an id that has no token.
func (t *Tokenizer) AppendToken(dst []byte, id int32) []byte {
	if id >= 0 && int(id) < len(t.table.starts) {
		return append(dst, t.table.token(int(id))...)
	}
	if text, ok := t.texts[id]; ok {
		return append(dst, text...)
	}
	return append(dst, replacement...)
}

// Decode returns the text of ids, special tokens as their text. Bytes that are not valid UTF-8 are replaced as UTF8 does.
func (t *Tokenizer) Decode(ids []int32) string {
	var b []byte
	for _, id := range ids {
		b = t.AppendToken(b, id)
	}
	var u UTF8
	return u.Push(b) + u.Flush()
}

// Special returns the id of a special token by its text, such as "<|start|>".
func (t *Tokenizer) Special(text string) (id int32, ok bool) {
	id, ok = t.ids[text]
	return id, ok
}

// IsSpecial reports whether id is a special token.
func (t *Tokenizer) IsSpecial(id int32) bool {
	_, ok := t.texts[id]
	return ok
}

// Specials iterates over the special tokens, ids ascending, with their texts.
func (t *Tokenizer) Specials() iter.Seq2[int32, string] {
	return func(yield func(int32, string) bool) {
		for _, s := range t.specials {
			if !yield(s.id, s.text) {
				return
			}
		}
	}
}
