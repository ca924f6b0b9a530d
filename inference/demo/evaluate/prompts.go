package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"chorale/inference/demo/corpus"
	"chorale/inference/harmony"
)

//go:embed prompts.json
var promptsJSON []byte

// A prompt is a request as a stranger would type it, and what a right reaction is. Its names and sentences are not in
// the corpus, but everyday functions such as get_weather have relatives there.
type prompt struct {
	Name         string
	Instructions string
	Tools        []string // of promptFile.Tools
	Builtin      []string // "python", "browser"
	Effort       harmony.Effort
	History      []string // user and assistant in turns
	User         string
	Calls        []promptCall // due, in order; none = an answer at once
	Want         []string     // in the answer; "a|b" = either
}

// A promptCall is a call that is due, with the tool's answer.
type promptCall struct {
	To        string
	Arguments json.RawMessage // compared by value; a string is code, whose spaces do not count
	Result    string
}

type promptFile struct {
	Tools   map[string]json.RawMessage // {"name", "description", "parameters"} as in a request
	Prompts []prompt
}

// conversation is the prompt as the server would render it.
func (f *promptFile) conversation(p *prompt) ([]harmony.Message, error) {
	effort := p.Effort
	if effort == "" {
		effort = harmony.EffortMedium
	}
	system := &harmony.System{ModelIdentity: "You are ChatGPT, a large language model trained by OpenAI.", KnowledgeCutoff: "2024-06", StartDate: "2026-11-23",
		Effort: effort, Channels: []string{harmony.ChannelAnalysis, harmony.ChannelCommentary, harmony.ChannelFinal}, ChannelRequired: true}
	for _, b := range p.Builtin {
		if system.Tools == nil {
			system.Tools = map[string]harmony.Namespace{}
		}
		system.Tools[b] = map[string]harmony.Namespace{"python": harmony.PythonNamespace(), "browser": harmony.BrowserNamespace()}[b]
	}
	conversation := []harmony.Message{{Role: harmony.RoleSystem, Content: []harmony.Part{system}}}
	d := &harmony.Developer{}
	if p.Instructions != "" {
		d.Instructions = &p.Instructions
	}
	for _, name := range p.Tools {
		var t struct {
			Name, Description string
			Parameters        json.RawMessage
		}
		if err := json.Unmarshal(f.Tools[name], &t); err != nil {
			return nil, fmt.Errorf("tool %s: %w", name, err)
		}
		schema, err := harmony.NormalizeSchema(t.Parameters)
		if err != nil {
			return nil, fmt.Errorf("tool %s: %w", name, err)
		}
		n := d.Tools["functions"]
		n.Name = "functions"
		n.Tools = append(n.Tools, harmony.Function{Name: t.Name, Description: t.Description, Parameters: schema})
		d.Tools = map[string]harmony.Namespace{"functions": n}
	}
	if d.Instructions != nil || d.Tools != nil {
		conversation = append(conversation, harmony.Message{Role: harmony.RoleDeveloper, Content: []harmony.Part{d}})
	}
	for i, s := range append(append([]string(nil), p.History...), p.User) {
		m := harmony.Message{Role: harmony.RoleUser, Content: []harmony.Part{harmony.Text(s)}}
		if i%2 == 1 {
			m.Role, m.Channel = harmony.RoleAssistant, harmony.ChannelFinal
		}
		conversation = append(conversation, m)
	}
	return conversation, nil
}

// steps are what the model should do, as far as the prompt knows.
func (p *prompt) steps() []corpus.Step {
	var steps []corpus.Step
	for _, c := range p.Calls {
		channel, arguments := harmony.ChannelAnalysis, string(c.Arguments)
		if strings.HasPrefix(c.To, "functions.") {
			channel = harmony.ChannelCommentary
		}
		if c.To == "python" {
			if err := json.Unmarshal(c.Arguments, &arguments); err != nil {
				arguments = string(c.Arguments)
			}
		}
		steps = append(steps, corpus.Step{Call: &corpus.Call{Recipient: c.To, Channel: channel, Arguments: arguments, Result: c.Result}})
	}
	return append(steps, corpus.Step{Final: strings.Join(p.Want, " … ")})
}

// playPrompts plays those whose names begin with only, each times times.
func (p *player) playPrompts(only string, seed uint64, times int, verbose bool) error {
	var f promptFile
	d := json.NewDecoder(bytes.NewReader(promptsJSON))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return fmt.Errorf("prompts.json: %w", err)
	}
	var chosen []*prompt
	var episodes []*corpus.Episode
	for i := range f.Prompts {
		q := &f.Prompts[i]
		if !strings.HasPrefix(q.Name, only) {
			continue
		}
		conversation, err := f.conversation(q)
		if err != nil {
			return fmt.Errorf("prompts.json: %s: %w", q.Name, err)
		}
		for range times {
			chosen = append(chosen, q)
			episodes = append(episodes, &corpus.Episode{Conversation: conversation, Steps: q.steps(), Want: q.Want, RecipientInChannel: true})
		}
	}
	outcomes, err := atOnce(len(episodes), func(i int) (*outcome, error) {
		return p.play(context.Background(), episodes[i], seed<<20+uint64(i)<<4)
	})
	if err != nil {
		return err
	}
	var all tally
	for i, o := range outcomes {
		all.add(o)
		good := o.declared == o.turns && o.callsRight == len(chosen[i].Calls) && o.answered
		mark := map[bool]string{true: "ok  ", false: "FAIL"}[good]
		fmt.Printf("%s %s: %s\n", mark, chosen[i].Name, chosen[i].User)
		if verbose || !good {
			fmt.Println(o.report)
		}
	}
	fmt.Println(all)
	return nil
}
