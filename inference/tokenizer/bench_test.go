package tokenizer_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chorale/inference/tokenizer"
)

// prose repeats the English text in testdata to n bytes.
func prose(tb testing.TB, n int) string {
	tb.Helper()
	text, err := os.ReadFile("testdata/prose.txt")
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Repeat(string(text), n/len(text)+1)[:n]
}

// goSource reads n bytes of the standard library's source.
func goSource(tb testing.TB, n int) string {
	tb.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		tb.Skipf("go env GOROOT: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", "net", "http", "*.go"))
	if err != nil {
		tb.Fatal(err)
	}
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		if b.Write(text); b.Len() >= n {
			return b.String()[:n]
		}
	}
	tb.Skipf("only %d bytes of source under %s", b.Len(), root)
	return ""
}

func BenchmarkEncode(b *testing.B) {
	tok := harmony(b)
	for _, bb := range []struct{ name, text string }{
		{"prose", prose(b, 1<<20)},
		{"go source", goSource(b, 1<<20)},
		{"one letter", strings.Repeat("a", 1_000_000)},
		{"one letter, a tenth", strings.Repeat("a", 100_000)},
		{"blanks", strings.Repeat(" ", 1_000_000)},
		{"DNA", strings.Repeat("ACGT", 250_000)},
		{"CJK", strings.Repeat("漢字仮名交", 1<<16)},
		{"short words", strings.Repeat("ab ", 1<<18)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var ids []int32
			b.SetBytes(int64(len(bb.text)))
			b.ReportAllocs()
			for b.Loop() {
				ids = tok.Encode(ids[:0], bb.text)
			}
		})
	}
}

func BenchmarkCount(b *testing.B) {
	tok, text := harmony(b), prose(b, 1<<20)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		tok.Count(text)
	}
}

func BenchmarkDecode(b *testing.B) {
	tok, text := harmony(b), prose(b, 1<<20)
	ids := tok.Encode(nil, text)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.Decode(ids)
	}
}

// BenchmarkLoad measures what a process pays once; Truncated to all ranks does the same work as O200kHarmony, uncached.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := tokenizer.Truncated(199998); err != nil {
			b.Fatal(err)
		}
	}
}
