package corpus

import (
	_ "embed"
	"strings"
)

// Copying has to work for names and values that training never showed. The model sees a word as two different rows of
// tokens, behind a space where it reads and behind a dot or a quotation mark where it writes, so it has to know how every
// token is spelled. These two lists turn up all of them, and in the company that English gives them.
var (
	// english are 8,970 words drawn by hash from the small American list of SCOWL (see NOTICE), three to ten letters.
	//go:embed english.txt
	englishText string
	english     = strings.Fields(englishText)

	// pieces are the tokens of the model that are letters, in lower case and without what stands in front of the letters.
	//go:embed pieces.txt
	pieceText string
	pieces    = strings.Fields(pieceText)
)

// pieced is a word of one to four pieces, about as long as words are.
func (g *Source) pieced() string {
	for {
		w := ""
		for range [...]int{1, 2, 2, 2, 3, 3, 4}[g.r.IntN(7)] {
			w += g.pick(pieces)
		}
		if 2 <= len(w) && len(w) <= 13 {
			return w
		}
	}
}

// spliced is the beginning of an English word and the end of another, so that no beginning promises an end.
func (g *Source) spliced() string {
	a, b := g.pick(english), g.pick(english)
	return a[:g.between(1, len(a)-1)] + b[g.between(1, len(b)-1):]
}

// anyWord is a word of letters from one of the vocabularies.
func (g *Source) anyWord() string {
	switch n := g.r.IntN(20); {
	case n < 7:
		return g.pick(english)
	case n < 12:
		return g.spliced()
	case n < 16:
		return g.pieced()
	case n < 18:
		return g.realWord()
	default:
		return g.syllables(g.between(1, 3))
	}
}
