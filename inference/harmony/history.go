package harmony

import "slices"

// DropFinishedReasoning returns conv without the reasoning of its finished turns: the assistant's messages on the analysis
// channel that have no recipient. Calls and results on that channel stay, because answers refer to them. A turn begins
// with a user message; it is finished if it holds an answer, and the last turn only if the answer is what the assistant
// wrote last. Unfinished turns keep everything: a model needs its reasoning to go on behind a call. conv is not changed.
func DropFinishedReasoning(conv []Message) []Message {
	out := make([]Message, 0, len(conv))
	for from := 0; from < len(conv); {
		to := from + 1
		for to < len(conv) && conv[to].Role != RoleUser {
			to++
		}
		finished := isFinished(conv[from:to], to == len(conv))
		for _, m := range conv[from:to] {
			reasoning := m.Role == RoleAssistant && m.Channel == ChannelAnalysis && m.Recipient == ""
			if !finished || !reasoning {
				out = append(out, m)
			}
		}
		from = to
	}
	return out
}

// isFinished reports whether a turn holds an answer; in the last turn of a conversation nothing of the assistant's may
// follow it.
func isFinished(turn []Message, last bool) bool {
	for i := len(turn) - 1; i >= 0; i-- {
		m := &turn[i]
		if m.Role != RoleAssistant {
			continue
		}
		if m.Recipient == "" && (m.Channel == ChannelFinal || m.Channel == "") {
			return true
		}
		if last {
			return false
		}
	}
	return false
}

// analysisKeptFrom returns the index of the message from which on the reference rule keeps analysis: the conversation's
// first final message if the last assistant message is final, otherwise 0.
func analysisKeptFrom(conv []Message) int {
	last := len(conv) - 1
	for last >= 0 && conv[last].Role != RoleAssistant {
		last--
	}
	if last < 0 || conv[last].Channel != ChannelFinal {
		return 0
	}
	return slices.IndexFunc(conv, func(m Message) bool { return m.Channel == ChannelFinal })
}
