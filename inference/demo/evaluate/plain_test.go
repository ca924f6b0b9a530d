package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chorale/inference/demo/corpus"
)

// What the set plain calls unseen must not be in the corpus, not even as a word of its sources.
func TestPlainNamesAreNotInTheCorpus(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob(filepath.Join("..", "corpus", "*.*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("the corpus' sources: %v, %v", names, err)
	}
	known := map[string]bool{}
	words := regexp.MustCompile(`[a-zA-Z_]+`)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range words.FindAllString(string(text), -1) {
			known[w] = true
		}
	}
	if !known["get_weather"] || !known["invoice"] {
		t.Fatal("the corpus' words were not found")
	}
	unseen := append(append([]string(nil), plainVerbs...), plainNouns...)
	for _, p := range plainParameters {
		unseen = append(unseen, p.name)
	}
	for _, w := range unseen {
		if known[w] {
			t.Errorf("%q is a word of the corpus", w)
		}
	}
}

func TestPlainPrompts(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 1))
	for i := range 500 {
		file, q, err := newPlain(r, i%4 == 3)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.conversation(q); err != nil {
			t.Fatal(err)
		}
		for _, name := range q.Tools {
			if !corpus.Reserved(name) {
				t.Errorf("training may invent the function %s", name)
			}
		}
		if strings.ContainsAny(q.User, "{}") {
			t.Errorf("a placeholder is left in %q", q.User)
		}
		if want := 1 - i%4/3; len(q.Calls) != want {
			t.Errorf("%q asks for %d calls, want %d", q.User, len(q.Calls), want)
		}
	}
}
