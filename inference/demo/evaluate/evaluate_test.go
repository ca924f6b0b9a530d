package main

import "testing"

// The model card's rates on the set plain at temperature 1, the server's default, without a Gate: this plays the first of
// the conversations that they come from. The bounds are the measured rates less two standard deviations for this number
// of conversations, since sampling is seeded but the order of sums differs between machines. The goals, 98 % well-formed
// and 90 % right, are higher; see the card.
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
		if o.wellFormed < o.turns || !o.firstRight {
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
	if 100*all.wellFormed < 90*all.turns {
		t.Errorf("%d of %d turns are well-formed, want 90%%", all.wellFormed, all.turns)
	}
	if 100*calls.firstRight < 45*calls.episodes {
		t.Errorf("%d of %d calls are right, want 45%%", calls.firstRight, calls.episodes)
	}
	if 100*talk.firstRight < 85*talk.episodes {
		t.Errorf("%d of %d messages without a call get an answer at once, want 85%%", talk.firstRight, talk.episodes)
	}
}
