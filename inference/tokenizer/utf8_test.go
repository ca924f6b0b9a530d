package tokenizer_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"chorale/inference/tokenizer"
)

// invalid are byte strings and their repair; the longer ones are tables 3-8 to 3-11 of the Unicode standard, section 3.9.
var invalid = []struct{ name, in, want string }{
	{"nothing", "", ""},
	{"valid", "aé漢💖", "aé漢💖"},
	{"a real replacement character", "\uFFFD", "\uFFFD"},
	{"lone continuation", "\x80", "\uFFFD"},
	{"impossible bytes", "\xfe\xff", "\uFFFD\uFFFD"},
	{"cut in a letter of two", "a\xc3", "a\uFFFD"},
	{"cut in a letter of four", "\xf0\x9f\x92", "\uFFFD"},
	{"cut, then text", "\xf0\x9f\x92a", "\uFFFDa"},
	{"cut, then a letter", "\xe2\x82\xc3\xa9", "\uFFFDé"},
	{"non-shortest forms", "\xc0\xaf\xe0\x80\xbf\xf0\x81\x82A", strings.Repeat("\uFFFD", 8) + "A"},
	{"surrogates", "\xed\xa0\x80\xed\xbf\xbf\xed\xafA", strings.Repeat("\uFFFD", 8) + "A"},
	{"beyond U+10FFFF", "\xf4\x91\x92\x93\xffA\x80\xbfB", strings.Repeat("\uFFFD", 5) + "A\uFFFD\uFFFDB"},
	{"truncated sequences", "\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA", strings.Repeat("\uFFFD", 4) + "A"},
}

func TestUTF8(t *testing.T) {
	t.Parallel()
	for _, c := range invalid {
		var u tokenizer.UTF8
		if got := u.Push([]byte(c.in)) + u.Flush(); got != c.want {
			t.Errorf("%s: %q gave %q, want %q", c.name, c.in, got, c.want)
		}
		if got := u.Push([]byte("next")) + u.Flush(); got != "next" {
			t.Errorf("%s: %q leaked into the next stream: %q", c.name, c.in, got)
		}
	}
}

// TestUTF8KeepsLittle pins what is held back: an incomplete sequence and nothing else.
func TestUTF8KeepsLittle(t *testing.T) {
	t.Parallel()
	var u tokenizer.UTF8
	for i, want := range []string{"a", "", "", "", "💖", "\uFFFD", "", "\uFFFDb"} {
		if got := u.Push([]byte("a\xf0\x9f\x92\x96\x96\xf0b")[i : i+1]); got != want {
			t.Errorf("byte %d: %q, want %q", i, got, want)
		}
	}
}

func FuzzUTF8(f *testing.F) {
	for i, c := range invalid {
		f.Add([]byte(c.in), uint64(i))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		var whole, cut tokenizer.UTF8
		want := whole.Push(b) + whole.Flush()
		if !utf8.ValidString(want) {
			t.Errorf("%q gave invalid text %q", b, want)
		}
		if utf8.Valid(b) && want != string(b) {
			t.Errorf("%q gave %q", b, want)
		}
		// The repair does not depend on where the stream was cut.
		r := rand.New(rand.NewPCG(seed, 0))
		got, rest := "", b
		for len(rest) > 0 {
			n := 1 + r.IntN(len(rest))
			got += cut.Push(rest[:n])
			rest = rest[n:]
		}
		if got += cut.Flush(); got != want {
			t.Errorf("%q in pieces gave %q, whole %q", b, got, want)
		}
	})
}
