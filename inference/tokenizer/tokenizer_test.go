package tokenizer_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chorale/inference/tokenizer"
)

func truncated(t testing.TB, ranks int) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Truncated(ranks)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestGolden compares with ids made by two other implementations; the file's first line says which.
func TestGolden(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/golden.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	full, small := harmony(t), truncated(t, 2048)
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Scan() // the explanation
	n := 0
	for ; lines.Scan(); n++ {
		var c struct {
			Text string  `json:"text"`
			Full []int32 `json:"o200k_base"`
			Two  []int32 `json:"first_2048_special"`
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("line %d: %v", n+2, err)
		}
		if got := full.Encode(nil, c.Text); !slices.Equal(got, c.Full) {
			t.Errorf("line %d: %q\n got %v\nwant %v", n+2, c.Text, got, c.Full)
		}
		if got := small.EncodeSpecial(nil, c.Text); !slices.Equal(got, c.Two) {
			t.Errorf("line %d, first 2048 ranks: %q\n got %v\nwant %v", n+2, c.Text, got, c.Two)
		}
		if got := full.Decode(c.Full); got != c.Text {
			t.Errorf("line %d: decoded %q, want %q", n+2, got, c.Text)
		}
	}
	if n < 300 {
		t.Errorf("%d cases, want at least 300", n)
	}
}

// oracle is the slow, obvious tokenizer: the published pattern on package regexp and a quadratic merge over a map.
type oracle struct {
	pattern *regexp.Regexp
	ranks   map[string]int32
}

func newOracle(t testing.TB, tok *tokenizer.Tokenizer, ranks int32) *oracle {
	// Package regexp has no look-ahead: the alternative \s+(?!\S) is left out, and split takes back what it would not have
	// matched. \s is ASCII there, so white space is spelt out.
	const pattern = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
		`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
		`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|(?P<space>\s+)`
	const space = `\t\n\v\f\r\x{85}\p{Z}`
	p := strings.NewReplacer(`[^\s`, `[^`+space, `\s`, `[`+space+`]`).Replace(pattern)
	o := &oracle{regexp.MustCompile(`^(?:` + p + `)`), map[string]int32{}}
	for id := range ranks {
		o.ranks[string(tok.AppendToken(nil, id))] = id
	}
	return o
}

func (o *oracle) split(text string) []string {
	var pieces []string
	for text != "" {
		m := o.pattern.FindStringSubmatchIndex(text)
		end := m[1]
		if _, last := utf8.DecodeLastRuneInString(text[:end]); m[2] >= 0 && end < len(text) && last < end {
			end -= last
		}
		pieces = append(pieces, text[:end])
		text = text[end:]
	}
	return pieces
}

func (o *oracle) encode(text string) []int32 {
	ids := []int32{}
	for _, piece := range o.split(text) {
		if id, ok := o.ranks[piece]; ok {
			ids = append(ids, id)
			continue
		}
		parts := strings.Split(piece, "")
		if !utf8.ValidString(piece) || len(parts) != len(piece) {
			parts = parts[:0]
			for i := range len(piece) {
				parts = append(parts, piece[i:i+1])
			}
		}
		for {
			lowest, at := int32(math.MaxInt32), -1
			for i := range len(parts) - 1 {
				if id, ok := o.ranks[parts[i]+parts[i+1]]; ok && id < lowest {
					lowest, at = id, i
				}
			}
			if at < 0 {
				break
			}
			parts = slices.Replace(parts, at, at+2, parts[at]+parts[at+1])
		}
		for _, p := range parts {
			ids = append(ids, o.ranks[p])
		}
	}
	return ids
}

// check holds for every string whatever: the ids are the oracle's, Count agrees, nothing special appears, nothing is lost.
func (o *oracle) check(t *testing.T, tok *tokenizer.Tokenizer, text string) {
	t.Helper()
	got := tok.Encode([]int32{-7}, text)[1:]
	if want := o.encode(text); !slices.Equal(got, want) {
		t.Errorf("%q\npieces %q\n got %v\nwant %v", text, o.split(text), got, want)
	}
	if n := tok.Count(text); n != len(got) {
		t.Errorf("%q: counted %d, encoded %d", text, n, len(got))
	}
	var b []byte
	for _, id := range got {
		if tok.IsSpecial(id) {
			t.Errorf("%q: ordinary encoding gave the special token %d", text, id)
		}
		b = tok.AppendToken(b, id)
	}
	if string(b) != text {
		t.Errorf("%q: the tokens' bytes are %q", text, b)
	}
	if got := tok.Decode(got); got != text && utf8.ValidString(text) {
		t.Errorf("%q: decoded %q", text, got)
	}
	special := tok.EncodeSpecial(nil, text)
	if got := tok.Decode(special); got != text && utf8.ValidString(text) {
		t.Errorf("%q: decoded %q with special tokens", text, got)
	}
}

// edges are the turns of the split pattern, each the smallest text that takes it.
var edges = []string{
	"", "a", " a", "  a", "A", "AB", "ABc", "aB", "aBC", "A漢", "A漢B", "漢AB", "AB漢CD", "ǅa", "ʰA", "'s", "a's", "A'S", "a'ſ", "a'ſt",
	"a're", "a'r", "a'Re", "a'vE", "a'LL", "a'l", "a'x", "a'", "a''s", "'", "''", "漢's", "AB's", "A\u0301's", "\u0301", "\u0301's", "\u0301A",
	"\u0301AB", "\u0301ABc", "\u0301\u0301", "!\u0301", "!!\u0301", " \u0301", "\n\u0301", "1\u0301", "1", "12", "123", "1234", "½²٣4", "1a", " 1", "-1", "!", " !", "  !",
	"!!\n", "!/\r\n/x", " !\n\n a", "/", "//a", "\n", "\r\n", "\n\n", " \n", "\n ", "\n a", " \n \n a", " \n \n  a", " ", "  ", "\t", "\ta", "\t\ta", "\u00a0a",
	"\u3000\u3000a", "\u2028a", "\u0085a", "a ", "a  ", "a \n", "\r", "\ra", "\r\r\n\n\r", "\u200b", "\ufeffa", "\x00", "\x7f", "💖", "👩\u200d💻", "\U0010ffff",
	"\xff", "\xffa", "a\xff", " \xff", "\xf0\x9f", "\xf0\x9fa", "\xc2", "é\xe9é", "\xed\xa0\x80", "<|end|>", "<|start|>assistant<|message|>", "<|", "<|end|",
	strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a", 257), strings.Repeat(" ", 127), strings.Repeat(" ", 128),
	strings.Repeat(" ", 129), strings.Repeat(" ", 300) + "a", strings.Repeat("=", 200), strings.Repeat("ab", 100), strings.Repeat("漢字", 50), strings.Repeat("\xff", 100),
}

func TestEncodeAgreesWithPattern(t *testing.T) {
	t.Parallel()
	full, small := harmony(t), truncated(t, 300)
	fullOracle, smallOracle := newOracle(t, full, 199998), newOracle(t, small, 300)
	for _, text := range edges {
		fullOracle.check(t, full, text)
		smallOracle.check(t, small, text)
	}
	const seed = 2
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, seed))
	for range 2000 {
		var text string
		for range 1 + r.IntN(5) {
			text += edges[r.IntN(len(edges))]
		}
		fullOracle.check(t, full, text)
		smallOracle.check(t, small, text)
	}
}

func FuzzEncode(f *testing.F) {
	for _, text := range edges {
		f.Add(text)
	}
	full, small := harmony(f), truncated(f, 1000)
	fullOracle, smallOracle := newOracle(f, full, 199998), newOracle(f, small, 1000)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return // the oracle is cubic
		}
		fullOracle.check(t, full, text)
		smallOracle.check(t, small, text)
	})
}

// TestLongPieces encodes long pieces, a million letters among them, on which a quadratic algorithm would run into the
// test's time limit.
func TestLongPieces(t *testing.T) {
	t.Parallel()
	tok := harmony(t)
	for _, unit := range []string{"a", " ", "=", "ACGT", "漢字仮名交", "\n", "\u0301", "A", "a'", "9", "<", "<|", "\xff"} {
		n := 100_000
		if unit == "a" {
			n = 1_000_000
		}
		text := strings.Repeat(unit, n/len(unit))
		ids := tok.Encode(nil, text)
		if got := tok.Count(text); got != len(ids) {
			t.Errorf("%q repeated: counted %d, encoded %d", unit, got, len(ids))
		}
		if special := tok.EncodeSpecial(nil, text); !slices.Equal(ids, special) {
			t.Errorf("%q repeated: special tokens where there are none", unit)
		}
		var b []byte
		for _, id := range ids {
			b = tok.AppendToken(b, id)
		}
		if string(b) != text {
			t.Errorf("%q repeated: the text does not come back", unit)
		}
	}
}

func TestSpecialTokens(t *testing.T) {
	t.Parallel()
	full, small := harmony(t), truncated(t, 2048)
	if full.Vocab() != 201088 || small.Vocab() != 2069 {
		t.Errorf("Vocab: %d and %d, want 201088 and 2069", full.Vocab(), small.Vocab())
	}
	if full.Ranks() != 199998 || small.Ranks() != 2048 {
		t.Errorf("Ranks: %d and %d, want 199998 and 2048", full.Ranks(), small.Ranks())
	}
	for _, c := range []struct {
		text        string
		full, small int32
	}{
		{"<|startoftext|>", 199998, 2048}, {"<|endoftext|>", 199999, 2049}, {"<|reserved_200001|>", 200001, 2051},
		{"<|return|>", 200002, 2052}, {"<|constrain|>", 200003, 2053}, {"<|channel|>", 200005, 2055},
		{"<|start|>", 200006, 2056}, {"<|end|>", 200007, 2057}, {"<|message|>", 200008, 2058}, {"<|call|>", 200012, 2062},
		{"<|endofprompt|>", -1, 2068}, {"<|reserved_200018|>", 200018, -1}, {"<|reserved_201087|>", 201087, -1},
		{"<|reserved_201088|>", 201088, -1}, {"<|reserved_201089|>", -1, -1}, {"start", -1, -1}, {"", -1, -1},
	} {
		for _, tt := range []struct {
			tok  *tokenizer.Tokenizer
			want int32
		}{{full, c.full}, {small, c.small}} {
			id, ok := tt.tok.Special(c.text)
			if !ok {
				id = -1
			}
			if id != tt.want {
				t.Errorf("Special(%q) = %d, want %d", c.text, id, tt.want)
			}
			if ok && (!tt.tok.IsSpecial(id) || string(tt.tok.AppendToken(nil, id)) != c.text) {
				t.Errorf("%q: id %d is not that special token", c.text, id)
			}
		}
	}
	ids := []int32{}
	for id, text := range small.Specials() {
		if got, ok := small.Special(text); !ok || got != id {
			t.Errorf("Specials yields %d %q, Special gives %d", id, text, got)
		}
		if ids = append(ids, id); id == 2060 {
			break
		}
	}
	if want := []int32{2048, 2049, 2050, 2051, 2052, 2053, 2054, 2055, 2056, 2057, 2058, 2059, 2060}; !slices.Equal(ids, want) {
		t.Errorf("Specials: %v, want %v", ids, want)
	}
}

func TestEncodeSpecial(t *testing.T) {
	t.Parallel()
	tok := harmony(t)
	for _, c := range []struct {
		name, text string
		want       []int32
	}{
		{"nothing", "", nil},
		{"only special", "<|start|><|end|>", []int32{200006, 200007}},
		{"text between", "a<|end|> b", []int32{64, 200007, 287}},
		{"white space before a special token ends its text", "a \n <|end|>", slices.Concat(tok.Encode(nil, "a \n "), []int32{200007})},
		{"broken marker first", "<|<|end|>", slices.Concat(tok.Encode(nil, "<|"), []int32{200007})},
		{"marker cut off", "<|end|", tok.Encode(nil, "<|end|")},
		{"unknown name", "<|system|>", tok.Encode(nil, "<|system|>")},
	} {
		if got := tok.EncodeSpecial(nil, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	tok := harmony(t)
	for _, c := range []struct {
		name string
		ids  []int32
		want string
	}{
		{"nothing", nil, ""},
		{"code point over two tokens", []int32{31446, 244}, "💖"},
		{"code point cut off", []int32{31446}, "\uFFFD"},
		{"special tokens as text", []int32{200006, 173781, 200008}, "<|start|>assistant<|message|>"},
		{"ids without a token", []int32{-1, math.MinInt32, 201089, math.MaxInt32}, "\uFFFD\uFFFD\uFFFD\uFFFD"},
	} {
		if got := tok.Decode(c.ids); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTruncatedBounds(t *testing.T) {
	t.Parallel()
	for _, ranks := range []int{-1, 0, 255, 199999} {
		if _, err := tokenizer.Truncated(ranks); err == nil || !strings.Contains(err.Error(), "want 256 to 199998") {
			t.Errorf("Truncated(%d): error %v, want one that names the bounds", ranks, err)
		}
	}
	tok := truncated(t, 256)
	if got := tok.Encode(nil, "no merges"); len(got) != len("no merges") {
		t.Errorf("256 ranks: %v, want a token for each byte", got)
	}
}

func TestEncodeAllocates(t *testing.T) {
	tok, text := harmony(t), prose(t, 4000)
	ids := tok.Encode(nil, text)
	if n := testing.AllocsPerRun(10, func() { ids = tok.Encode(ids[:0], text) }); n != 0 {
		t.Errorf("Encode into a large enough slice allocates %v times", n)
	}
	if n := testing.AllocsPerRun(10, func() { tok.Count(text) }); n != 0 {
		t.Errorf("Count allocates %v times", n)
	}
}
