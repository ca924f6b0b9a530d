package corpus

import (
	"slices"
	"strings"
	"testing"

	"chorale/inference/tokenizer"
)

// pieces.txt is derived from the demo model's tokens.
func TestPiecesAreTheTokensOfLetters(t *testing.T) {
	t.Parallel()
	const ranks = 2048 // demo.Ranks
	tok, err := tokenizer.Truncated(ranks)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for id := range int32(ranks) {
		s := strings.ToLower(strings.TrimLeft(string(tok.AppendToken(nil, id)), " _.\"/-({'[:"))
		if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" {
			want = append(want, s)
		}
	}
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(pieces, want) {
		t.Errorf("%d pieces, want %d", len(pieces), len(want))
	}
	if !slices.IsSorted(english) || len(slices.Compact(slices.Clone(english))) != len(english) {
		t.Error("english.txt is not sorted, or a word is there twice")
	}
}
