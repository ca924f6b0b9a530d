package main

import (
	"testing"

	"chorale/inference/demo/corpus"
)

// The model card promises these rates on prompts that were kept out of training: at least 98 % of what is written is
// well-formed harmony without a Gate, and at least 90 % of the first steps are the right tool with the right arguments
// on function names never seen. Both are sampled at temperature 1, the server's default.
func TestPromisedRates(t *testing.T) {
	if testing.Short() {
		t.Skip("plays 76 conversations")
	}
	p, err := newPlayer("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	p.temperature = 1
	var all, novel tally
	for s, name := range corpus.Skills() {
		n := 3
		if corpus.Skill(s) == corpus.CallNovel {
			n = 40
		}
		outcomes, episodes, err := p.playSkill(corpus.Skill(s), n, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range outcomes {
			all.add(o)
			if corpus.Skill(s) == corpus.CallNovel {
				novel.add(o)
			}
			if o.wellFormed < o.turns || !o.firstRight {
				t.Logf("%s: %s\n%s", name, request(episodes[i]), o.report)
			}
		}
	}
	t.Logf("all: %s", all)
	t.Logf("new functions: %s", novel)
	if 100*all.wellFormed < 98*all.turns {
		t.Errorf("%d of %d turns are well-formed, want 98%%", all.wellFormed, all.turns)
	}
	if 100*novel.firstRight < 90*novel.episodes {
		t.Errorf("%d of %d first steps on new functions are right, want 90%%", novel.firstRight, novel.episodes)
	}
}
