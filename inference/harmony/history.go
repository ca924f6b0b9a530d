package harmony

// analysisKeptFrom returns the index of the message from which on the reference rule keeps analysis: the conversation's
// first final message if the last assistant message is final, otherwise 0.
func analysisKeptFrom(conv []Message) int {
	for i := len(conv) - 1; i >= 0; i-- {
		if conv[i].Role != RoleAssistant {
			continue
		}
		if conv[i].Channel != ChannelFinal {
			return 0
		}
		break
	}
	for i := range conv {
		if conv[i].Channel == ChannelFinal {
			return i
		}
	}
	return 0
}
