package responses

import (
	"fmt"
	"slices"
	"strings"

	"chorale/inference/harmony"
	"chorale/inference/sample"
	"chorale/server/api"
)

// truncationReserve is how many tokens truncation leaves for an answer whose length the request does not bound.
const truncationReserve = 4096

// prompt renders the conversation and the beginning of the model's message, which does not come yet if approved calls are to be
// answered first.
func (s *Service) prompt(p *plan) ([]int32, error) {
	preamble, entries := p.preamble(withoutFinishedReasoning(p.talk.entries))
	prompt, err := s.o.Codec.Render(nil, preamble, harmony.Options{Mode: harmony.Conversation})
	if err != nil {
		return nil, fmt.Errorf("render system and developer message: %w", err)
	}
	bodies := make([][]int32, len(entries))
	total := len(prompt) + len(s.assistantStart)
	for i, e := range entries {
		if bodies[i], err = s.render(e); err != nil {
			return nil, err
		}
		total += len(bodies[i])
	}
	first := 0
	if p.truncate {
		first = s.truncation(p, entries, bodies, total)
	}
	for _, body := range bodies[first:] {
		prompt = append(prompt, body...)
	}
	if len(p.approved) > 0 {
		return prompt, nil
	}
	return append(prompt, s.assistantStart...), nil
}

// converse turns the history and the input into messages, and lets the tools look at them. A response of the history is
// replayed from its tokens, if they are this model's, and from its items otherwise.
func (s *Service) converse(p *plan) error {
	c := &conversation{calls: map[string]string{}, unseal: s.seal.open, listings: map[string]*api.MCPListTools{}, approvals: map[string]*approval{}}
	for _, record := range p.history {
		for _, item := range record.Input {
			if err := c.add(item, nil, "previous_response_id"); err != nil {
				return err
			}
		}
		for _, m := range record.Turn {
			tokens := m.Tokens
			if record.Tokenizer != s.o.Model.ID {
				tokens = nil
			}
			switch {
			case m.Item != nil:
				if err := c.add(m.Item, tokens, "previous_response_id"); err != nil {
					return err
				}
			case tokens != nil:
				c.entries = append(c.entries, entry{tokens: tokens})
			}
		}
	}
	for i, item := range p.input {
		if err := c.add(item, nil, fmt.Sprintf("input[%d]", i)); err != nil {
			return err
		}
	}
	c.undecided()
	p.talk, p.approved = c, c.approved
	if err := p.attend(c); err != nil {
		return err
	}
	return nil
}

// render returns the tokens of a message: the ones that it had when it was written, if they are known. A call is
// rendered as the models write it, its recipient behind the channel; seeing it otherwise would teach the model to drift.
func (s *Service) render(e entry) ([]int32, error) {
	if e.tokens != nil {
		return e.tokens, nil
	}
	tokens, err := s.o.Codec.Render(nil, []harmony.Message{e.Message},
		harmony.Options{Mode: harmony.MessageOnly, RecipientInChannel: true})
	if err != nil {
		return nil, fmt.Errorf("render %s message: %w", e.Role, err)
	}
	return tokens, nil
}

// truncation returns the first entry to keep so that the prompt and an answer fit. Only whole turns are dropped, oldest
// first, so that no result loses its call; the last turn stays.
func (s *Service) truncation(p *plan, entries []entry, bodies [][]int32, total int) (first int) {
	reserve := min(truncationReserve, s.o.Model.MaxContext/4)
	if p.maxTokens > 0 {
		reserve = min(reserve, p.maxTokens)
	}
	for i := range entries {
		if i > 0 && entries[i].Role == harmony.RoleUser {
			if total+reserve <= s.o.Model.MaxContext {
				return first
			}
			for _, body := range bodies[first:i] {
				total -= len(body)
			}
			first = i
		}
	}
	return first
}

// withoutFinishedReasoning drops the reasoning of finished turns, which is the form that the models were trained on. It
// costs the cached keys and values behind the first dropped message, which is most of one turn; keeping the reasoning
// for the cache's sake would show the model what it has never seen.
func withoutFinishedReasoning(entries []entry) []entry {
	messages := make([]harmony.Message, len(entries))
	for i, e := range entries {
		messages[i] = e.Message
	}
	kept := harmony.DropFinishedReasoning(messages)
	out := make([]entry, 0, len(kept))
	for _, e := range entries {
		// Turns lose all of their reasoning or none, so what stays is clear from the kind of the next message that does.
		if isReasoning(&e.Message) && (len(kept) == 0 || !isReasoning(&kept[0])) {
			continue
		}
		out, kept = append(out, e), kept[1:]
	}
	return out
}

func isReasoning(m *harmony.Message) bool {
	return m.Role == harmony.RoleAssistant && m.Channel == harmony.ChannelAnalysis && m.Recipient == ""
}

// preamble returns the messages in front of the conversation: the system message, and one developer message of the
// instructions, the conversation's leading developer messages, the answer's format and the functions. It returns the
// entries behind those too.
func (p *plan) preamble(entries []entry) ([]harmony.Message, []entry) {
	var texts []string
	if p.instructions != nil {
		texts = append(texts, *p.instructions)
	}
	for len(entries) > 0 && entries[0].Role == harmony.RoleDeveloper {
		texts = append(texts, *entries[0].Content[0].(*harmony.Developer).Instructions)
		entries = entries[1:]
	}
	texts = append(texts, p.notes...)
	if p.formatSection != "" {
		texts = append(texts, p.formatSection)
	}
	messages := []harmony.Message{{Role: harmony.RoleSystem, Content: []harmony.Part{&harmony.System{
		ModelIdentity:   "You are ChatGPT, a large language model trained by OpenAI.", // the trained sentence
		KnowledgeCutoff: "2024-06",
		StartDate:       p.began.Format("2006-01-02"),
		Effort:          p.effort,
		Channels:        []string{harmony.ChannelAnalysis, harmony.ChannelCommentary, harmony.ChannelFinal},
		ChannelRequired: true,
		Tools:           p.namespaces(inSystem),
	}}}}
	var d harmony.Developer
	if len(texts) > 0 {
		instructions := strings.Join(texts, "\n\n")
		d.Instructions = &instructions
	}
	d.Tools = p.namespaces(inDeveloper)
	if len(p.functions) > 0 {
		d.Tools["functions"] = harmony.Namespace{Name: "functions", Tools: p.functions}
	}
	if d.Instructions != nil || len(d.Tools) > 0 {
		messages = append(messages, developer(&d))
	}
	return messages, entries
}

// namespaces are the tools of ours that the message declares. Those that cannot be called for the moment are among them, so
// that the prompt stays the same.
func (p *plan) namespaces(in declaration) map[string]harmony.Namespace {
	namespaces := map[string]harmony.Namespace{}
	for _, h := range p.hosted {
		if h.declared == in && (in == inSystem || len(h.namespace.Tools) > 0) {
			namespaces[h.namespace.Name] = h.namespace
		}
	}
	return namespaces
}

// gate limits the headers that the model can write to those that lead somewhere.
func (p *plan) gate(vocab int) harmony.GateOptions {
	o := harmony.GateOptions{Vocab: vocab, Must: p.must}
	for _, name := range p.callable {
		o.Calls = append(o.Calls, harmony.Call{
			Recipient:    functionsPrefix + name,
			Channels:     []string{harmony.ChannelCommentary},
			ContentTypes: []string{jsonArguments, "json", "code", ""},
		})
	}
	for _, h := range p.hosted {
		o.Calls = append(o.Calls, h.callableNow()...)
	}
	return o
}

func newStops(stop []string) *sample.Stops { return sample.NewStops(slices.Clone(stop)) }
