package main

import "testing"

// The model card's rates on the set plain at temperature 1, the server's default, without a Gate: this plays the first of
// the conversations that they come from. Sampling is seeded, but the order of sums differs between machines, so the bound
// of right calls is the measured rate less two standard deviations for this number of conversations.
func TestPromisedRates(t *testing.T) {
	if testing.Short() {
		t.Skip("plays 80 conversations")
	}
	t.Parallel()
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
	calls, talk, err := p.playPlain(80, 1, func(q *prompt, o *outcome) {
		if o.declared < o.turns || !o.firstRight {
			t.Logf("%s: %s\n%s", q.Name, q.User, o.report)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("calls: %s", calls)
	t.Logf("talk: %s", talk)
	all := calls
	all.merge(talk)
	if 100*all.wellFormed < 98*all.turns {
		t.Errorf("%d of %d turns are well-formed, want 98%%", all.wellFormed, all.turns)
	}
	if 100*calls.firstRight < 85*calls.episodes {
		t.Errorf("%d of %d calls are right, want 85%%", calls.firstRight, calls.episodes)
	}
	if 100*talk.firstRight < 90*talk.episodes {
		t.Errorf("%d of %d messages without a call get an answer at once, want 90%%", talk.firstRight, talk.episodes)
	}
}
