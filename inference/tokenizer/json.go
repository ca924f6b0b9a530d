package tokenizer

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// maxSpecialBytes bounds the text of a special token in a file: looking for one costs that many probes a byte.
	maxSpecialBytes = 128
	// maxSpecialGap bounds how far behind the ranks a special token's id may lie, since masks and embeddings are sized by
	// the largest id.
	maxSpecialGap = 1 << 16
)

// jsonFile is the layout of Hugging Face's tokenizer.json, as far as this family uses it (library tokenizers 0.20 and
// later, which writes merges as pairs).
type jsonFile struct {
	Version       string         `json:"version"`
	Truncation    *struct{}      `json:"truncation"`
	Padding       *struct{}      `json:"padding"`
	AddedTokens   []jsonAdded    `json:"added_tokens"`
	Normalizer    *jsonComponent `json:"normalizer"`
	PreTokenizer  *jsonComponent `json:"pre_tokenizer"`
	PostProcessor *jsonComponent `json:"post_processor"`
	Decoder       *jsonComponent `json:"decoder"`
	Model         jsonModel      `json:"model"`
}

type jsonAdded struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// jsonComponent is a pre-tokenizer, post-processor or decoder; each type uses some of the fields.
type jsonComponent struct {
	Type           string            `json:"type"`
	Pretokenizers  []jsonComponent   `json:"pretokenizers,omitempty"`
	Pattern        map[string]string `json:"pattern,omitempty"`
	Behavior       string            `json:"behavior,omitempty"`
	Invert         *bool             `json:"invert,omitempty"`
	AddPrefixSpace *bool             `json:"add_prefix_space,omitempty"`
	TrimOffsets    *bool             `json:"trim_offsets,omitempty"`
	UseRegex       *bool             `json:"use_regex,omitempty"`
}

type jsonModel struct {
	Type         string          `json:"type"`
	Dropout      *float64        `json:"dropout"`
	Unknown      *string         `json:"unk_token"`
	Prefix       *string         `json:"continuing_subword_prefix"`
	Suffix       *string         `json:"end_of_word_suffix"`
	FuseUnknown  bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Vocab        json.RawMessage `json:"vocab"`
	Merges       json.RawMessage `json:"merges"`
}

// LoadJSON reads a Hugging Face tokenizer.json of this family: byte-level BPE with the o200k split pattern, ids 0..n-1 in
// merge order, and special tokens behind them. Every added token counts as special, and Vocab is the largest id + 1,
// which can be less than a model's rows. Anything that would make this package and the tokenizers library encode
// differently is refused with an error that names the field.
func LoadJSON(data []byte) (*Tokenizer, error) {
	var f jsonFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	packed, ranks, err := packVocab(f.Model.Vocab)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: model.vocab: %w", err)
	}
	vocab := ranks
	specials := make([]special, len(f.AddedTokens))
	for i, a := range f.AddedTokens {
		switch {
		case int(a.ID) < ranks || int(a.ID) >= ranks+maxSpecialGap:
			return nil, fmt.Errorf("tokenizer.json: added_tokens[%d]: id %d, want %d to %d, behind the vocabulary",
				i, a.ID, ranks, ranks+maxSpecialGap-1)
		case len(a.Content) > maxSpecialBytes:
			return nil, fmt.Errorf("tokenizer.json: added_tokens[%d]: content of %d bytes, at most %d are supported",
				i, len(a.Content), maxSpecialBytes)
		case a.LStrip || a.RStrip || a.SingleWord:
			return nil, fmt.Errorf("tokenizer.json: added_tokens[%d]: lstrip, rstrip and single_word are not supported", i)
		}
		specials[i] = special{a.ID, a.Content}
		vocab = max(vocab, int(a.ID)+1)
	}
	t, err := newTokenizer(packed, ranks, vocab, specials)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if err := t.table.checkMerges(f.Model.Merges); err != nil {
		return nil, fmt.Errorf("tokenizer.json: model.merges: %w", err)
	}
	return t, nil
}

// gptOSSFile is the sha256 of tokenizer.json in openai/gpt-oss-20b.
const gptOSSFile = "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3"

// ForModel returns the tokenizer of a model folder from its tokenizer.json: O200kHarmony when the file holds the embedded
// table and no special token that O200kHarmony does not have under the same id, else what LoadJSON returns. OpenAI's own
// file is known by its hash and not parsed.
func ForModel(tokenizerJSON []byte) (*Tokenizer, error) {
	if sum := sha256.Sum256(tokenizerJSON); hex.EncodeToString(sum[:]) == gptOSSFile {
		return O200kHarmony()
	}
	t, err := LoadJSON(tokenizerJSON)
	if err != nil || t.table.packed != packedO200k {
		return t, err
	}
	harmony, err := O200kHarmony()
	if err != nil {
		return nil, err
	}
	for id, text := range t.Specials() {
		if harmony.texts[id] != text && text != endOfPrompt {
			return t, nil
		}
	}
	return harmony, nil
}

// check refuses settings that change how text is encoded.
func (f *jsonFile) check() error {
	empty := func(s *string) bool { return s == nil || *s == "" }
	off := func(b *bool) bool { return b != nil && !*b }
	switch m := &f.Model; {
	case m.Type != "BPE":
		return fmt.Errorf("model.type is %q, want BPE", m.Type)
	case m.Dropout != nil && *m.Dropout != 0, m.Unknown != nil, !empty(m.Prefix), !empty(m.Suffix), m.ByteFallback:
		return errors.New("model: dropout, unk_token, continuing_subword_prefix, end_of_word_suffix and byte_fallback " +
			"are not supported")
	case !m.IgnoreMerges:
		return errors.New("model.ignore_merges is not true; only tables whose whole tokens come first are supported")
	case f.Normalizer != nil:
		return fmt.Errorf("normalizer is %q, want null", f.Normalizer.Type)
	case f.PreTokenizer == nil || f.PreTokenizer.Type != "Sequence" || len(f.PreTokenizer.Pretokenizers) != 2:
		return errors.New("pre_tokenizer: want a Sequence of Split and ByteLevel")
	}
	split, bytes := f.PreTokenizer.Pretokenizers[0], f.PreTokenizer.Pretokenizers[1]
	switch {
	case split.Type != "Split" || split.Behavior != "Isolated" || (split.Invert != nil && *split.Invert):
		return fmt.Errorf("pre_tokenizer[0] is %s %s, want Split Isolated, not inverted", split.Type, split.Behavior)
	case split.Pattern["Regex"] != pattern:
		return errors.New("pre_tokenizer[0].pattern is not the split pattern of o200k; other patterns are not supported")
	case bytes.Type != "ByteLevel" || !off(bytes.AddPrefixSpace) || !off(bytes.UseRegex):
		return errors.New("pre_tokenizer[1]: want ByteLevel with add_prefix_space and use_regex false")
	}
	return nil
}

// packVocab converts the map from byte-level spelling to id into the packed form.
func packVocab(data []byte) (packed string, ranks int, err error) {
	var vocab map[string]int
	if err := json.Unmarshal(data, &vocab); err != nil {
		return "", 0, err
	}
	tokens := make([]string, len(vocab))
	for name, id := range vocab {
		if id < 0 || id >= len(tokens) || tokens[id] != "" {
			return "", 0, fmt.Errorf("id %d of %q: want the ids 0 to %d, each once", id, name, len(tokens)-1)
		}
		tokens[id] = name
	}
	b := make([]byte, 0, 9*len(tokens))
	for id, name := range tokens {
		at := len(b)
		b = append(b, 0)
		if b, err = spelling.appendBytes(b, name); err != nil {
			return "", 0, fmt.Errorf("id %d: %w", id, err)
		}
		n := len(b) - at - 1
		if n < 1 || n > maxTokenBytes {
			return "", 0, fmt.Errorf("id %d: token of %d bytes, want 1 to %d", id, n, maxTokenBytes)
		}
		b[at] = byte(n)
	}
	return string(b), len(tokens), nil
}

// checkMerges verifies that merging by the listed pairs is merging by rank: that they are all splits of all tokens into two
// tokens, in the order of the whole token's rank.
func (t *table) checkMerges(data []byte) error {
	var merges [][2]string
	if err := json.Unmarshal(data, &merges); err != nil {
		return fmt.Errorf("want an array of pairs: %w", err)
	}
	want := 0
	for rank := range t.starts {
		want += len(t.splits(rank))
	}
	if len(merges) != want {
		return fmt.Errorf("%d pairs, want %d: every split of every token", len(merges), want)
	}
	last := uint32(0)
	for i, m := range merges {
		var buf [2 * maxTokenBytes]byte
		left, err := spelling.appendBytes(buf[:0], m[0])
		if err != nil {
			return fmt.Errorf("pair %d: %w", i, err)
		}
		both, err := spelling.appendBytes(left, m[1])
		if err != nil {
			return fmt.Errorf("pair %d: %w", i, err)
		}
		n := len(left)
		rank := t.rank(string(both))
		if rank == none || rank < last || t.rank(string(both[:n])) == none || t.rank(string(both[n:])) == none {
			return fmt.Errorf("pair %d (%q, %q): want two tokens that join to a token, in the order of its id", i, m[0], m[1])
		}
		last = rank
	}
	return nil
}

// splits returns the ranks of all pairs of tokens that join to a token, ascending.
func (t *table) splits(rank int) [][2]uint32 {
	token := t.token(rank)
	var pairs [][2]uint32
	for i := 1; i < len(token); i++ {
		left, right := t.rank(token[:i]), t.rank(token[i:])
		if left != none && right != none {
			pairs = append(pairs, [2]uint32{left, right})
		}
	}
	slices.SortFunc(pairs, func(a, b [2]uint32) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	return pairs
}

// WriteJSON writes a Hugging Face tokenizer.json that the tokenizers library (0.20 and later) loads and that encodes alike
// there. Special tokens without a row (ids from Vocab on) are left out. For o200k_harmony the file has 12 MB.
func (t *Tokenizer) WriteJSON(w io.Writer) error {
	yes, no := true, false
	byteLevel := jsonComponent{Type: "ByteLevel", AddPrefixSpace: &no, TrimOffsets: &yes, UseRegex: &no}
	f := jsonFile{
		Version: "1.0",
		PreTokenizer: &jsonComponent{Type: "Sequence", Pretokenizers: []jsonComponent{
			{Type: "Split", Pattern: map[string]string{"Regex": pattern}, Behavior: "Isolated", Invert: &no}, byteLevel}},
		PostProcessor: &byteLevel,
		Decoder:       &byteLevel,
		Model:         jsonModel{Type: "BPE", IgnoreMerges: true, Vocab: t.table.vocabJSON(), Merges: t.table.mergesJSON()},
	}
	for id, text := range t.Specials() {
		if int(id) < t.vocab {
			f.AddedTokens = append(f.AddedTokens, jsonAdded{ID: id, Content: text, Special: true})
		}
	}
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		return fmt.Errorf("write tokenizer.json: %w", err)
	}
	return out.Flush()
}

// vocabJSON returns {"token": rank, …} in the order of ranks.
func (t *table) vocabJSON() []byte {
	b := []byte{'{'}
	for rank := range t.starts {
		if rank > 0 {
			b = append(b, ',')
		}
		b = spelling.appendQuoted(b, t.token(rank))
		b = fmt.Appendf(b, ":%d", rank)
	}
	return append(b, '}')
}

// mergesJSON returns [["a","b"], …]: every split of every token, in the order of ranks.
func (t *table) mergesJSON() []byte {
	b := []byte{'['}
	for rank := range t.starts {
		for _, pair := range t.splits(rank) {
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(b, '[')
			b = spelling.appendQuoted(b, t.token(int(pair[0])))
			b = append(b, ',')
			b = spelling.appendQuoted(b, t.token(int(pair[1])))
			b = append(b, ']')
		}
	}
	return append(b, ']')
}

// byteSpelling writes bytes as printable characters, as GPT-2 did: printable Latin-1 characters stand for their own code,
// the other 68 bytes for U+0100 and on, in order.
type byteSpelling struct {
	runes [256]rune
	bytes [256 + 68]int16 // by rune; -1: stands for no byte
}

var spelling = newByteSpelling()

func newByteSpelling() *byteSpelling {
	s := &byteSpelling{}
	for i := range s.bytes {
		s.bytes[i] = -1
	}
	next := rune(256)
	for b := range rune(256) {
		r := b
		if !(b >= '!' && b <= '~' || b >= '¡' && b <= '¬' || b >= '®' && b <= 'ÿ') {
			r = next
			next++
		}
		s.runes[b], s.bytes[r] = r, int16(b)
	}
	return s
}

// appendQuoted appends the spelling of token as a JSON string.
func (s *byteSpelling) appendQuoted(dst []byte, token string) []byte {
	dst = append(dst, '"')
	for i := range len(token) {
		if r := s.runes[token[i]]; r == '"' || r == '\\' {
			dst = append(dst, '\\', byte(r))
		} else {
			dst = append(dst, string(r)...)
		}
	}
	return append(dst, '"')
}

// appendBytes appends the bytes that name spells.
func (s *byteSpelling) appendBytes(dst []byte, name string) ([]byte, error) {
	for _, r := range name {
		if int(r) >= len(s.bytes) || s.bytes[r] < 0 {
			return dst, fmt.Errorf("token %q: %q is no character of byte-level spelling", name, r)
		}
		dst = append(dst, byte(s.bytes[r]))
	}
	return dst, nil
}
