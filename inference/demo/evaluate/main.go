// Command evaluate measures the demo model on conversations that were kept out of its training: it speaks through the
// engine as in service, tools are played, and what it wrote is compared with what the conversation asked for.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"chorale/inference/demo/corpus"
	"chorale/inference/harmony"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "evaluate:", err)
		os.Exit(1)
	}
}

func run() error {
	model := flag.String("model", "", "model folder; the embedded model if empty")
	n := flag.Int("n", 40, "episodes of each skill")
	seed := flag.Uint64("seed", 1000, "seed of the episodes and of sampling")
	temperature := flag.Float64("temperature", 1, "sampling temperature; 0 = greedy")
	gate := flag.Bool("gate", false, "limit sampling to well-formed messages")
	verbose := flag.Bool("v", false, "print what went wrong")
	hand := flag.Bool("prompts", false, "play the hand-written prompts instead")
	plain := flag.Bool("plain", false, "play n prompts of the set plain instead")
	only := flag.String("only", "", "one skill, or hand-written prompts whose name begins so")
	flag.Parse()

	p, err := newPlayer(*model)
	if err != nil {
		return err
	}
	defer p.Close()
	p.temperature, p.gate = float32(*temperature), *gate
	if *plain {
		ways := map[string]tally{}
		calls, talk, err := p.playPlain(*n, *seed, func(q *prompt, o *outcome) {
			way := ways[q.Name]
			way.add(o)
			ways[q.Name] = way
			if *verbose && (o.declared < o.turns || o.callsRight < o.calls || !o.answered) {
				fmt.Printf("--- %s: %s\n%s\n", q.Name, q.User, o.report)
			}
		})
		for _, name := range slices.Sorted(maps.Keys(ways)) {
			fmt.Printf("%-13s %s\n", name, ways[name])
		}
		both := calls
		both.merge(talk)
		fmt.Printf("%-13s %s\n%-13s %s\n", "all calls", calls, "all", both)
		return err
	}
	if *hand {
		return p.playPrompts(*only, *seed, *n, *verbose)
	}
	var all tally
	effort := map[harmony.Effort][2]int{}
	for s, name := range corpus.Skills() {
		if *only != "" && name != *only {
			continue
		}
		outcomes, episodes, err := p.playSkill(corpus.Skill(s), *n, *seed)
		if err != nil {
			return err
		}
		var t tally
		for i, o := range outcomes {
			t.add(o)
			all.add(o)
			e := effort[episodes[i].Effort]
			effort[episodes[i].Effort] = [2]int{e[0] + o.thought, e[1] + 1}
			if *verbose && (o.declared < o.turns || o.callsRight < o.calls || !o.answered) {
				fmt.Printf("--- %s: %s\n%s\n", name, request(episodes[i]), o.report)
			}
		}
		fmt.Printf("%-12s %s\n", name, t)
	}
	fmt.Printf("%-12s %s\n", "all", all)
	for _, e := range []harmony.Effort{harmony.EffortLow, harmony.EffortMedium, harmony.EffortHigh} {
		fmt.Printf("reasoning at effort %-7s %.1f tokens\n", e, float64(effort[e][0])/float64(max(effort[e][1], 1)))
	}
	return nil
}

// request is what the user said last.
func request(e *corpus.Episode) string {
	return content(&e.Conversation[len(e.Conversation)-1])
}

// playSkill plays n held-out episodes of a skill, several at once.
func (p *player) playSkill(s corpus.Skill, n int, seed uint64) ([]*outcome, []*corpus.Episode, error) {
	source := corpus.NewSource(seed, corpus.HeldOut, uint64(s))
	episodes := make([]*corpus.Episode, n)
	for i := range episodes {
		episodes[i] = source.EpisodeOf(s)
		episodes[i].Done = 0 // every call is to be made
	}
	outcomes, err := atOnce(n, func(i int) (*outcome, error) {
		return p.play(context.Background(), episodes[i], seed<<20+uint64(i)<<4)
	})
	return outcomes, episodes, err
}

// atOnce runs work(0) … work(n-1), 24 at a time, so that the engine has a batch.
func atOnce(n int, work func(int) (*outcome, error)) ([]*outcome, error) {
	outcomes, errs := make([]*outcome, n), make([]error, n)
	slots := make(chan struct{}, 24)
	var group sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			outcomes[i], errs[i] = work(i)
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

// A tally adds outcomes up.
type tally struct {
	episodes, turns, wellFormed, declared, calls, callsRight, firstRight, answered int
}

func (t *tally) add(o *outcome) {
	t.episodes++
	t.turns += o.turns
	t.wellFormed += o.wellFormed
	t.declared += o.declared
	t.calls += o.calls
	t.callsRight += o.callsRight
	if o.firstRight {
		t.firstRight++
	}
	if o.answered {
		t.answered++
	}
}

func (t *tally) merge(u tally) {
	t.episodes += u.episodes
	t.turns += u.turns
	t.wellFormed += u.wellFormed
	t.declared += u.declared
	t.calls += u.calls
	t.callsRight += u.callsRight
	t.firstRight += u.firstRight
	t.answered += u.answered
}

func (t tally) String() string {
	rate := func(a, b int) string {
		if b == 0 {
			return "     –"
		}
		return fmt.Sprintf("%5.1f%%", 100*float64(a)/float64(b))
	}
	return fmt.Sprintf("%4d episodes  well-formed %s, and of declared tools %s of %4d turns  first step right %s  calls right %s of %3d  answer right %s",
		t.episodes, rate(t.wellFormed, t.turns), rate(t.declared, t.turns), t.turns, rate(t.firstRight, t.episodes), rate(t.callsRight, t.calls), t.calls, rate(t.answered, t.episodes))
}
