package harmony

// A Repair names a rule by which the lenient parser reads what strays from the format. Each rule answers to shapes that
// gpt-oss models were seen to write. Many repairs in a row point to a fault of the engine rather than of the model.
type Repair string

// The rules. "Dropped" text is gone; everything else reaches a message.
const (
	// RepairMissingStart reads <|channel|> or <|message|> between messages as the beginning of an assistant message.
	RepairMissingStart Repair = "missing_start"
	// RepairStrayText is for text between messages. A header's words join the header if it begins without <|start|>; other
	// text is dropped when a proper message follows, when it is only the name of a channel, and behind a call, <|return|> or
	// <|endoftext|>. Otherwise, if the stream ends with it, it is a message without a channel.
	RepairStrayText Repair = "stray_text"
	// RepairStrayStop ignores a stop token between messages.
	RepairStrayStop Repair = "stray_stop"
	// RepairRestartedHeader drops an unfinished header when another <|start|> comes.
	RepairRestartedHeader Repair = "restarted_header"
	// RepairMissingRole takes a header whose first word is no role and no tool's name for the assistant's.
	RepairMissingRole Repair = "missing_role"
	// RepairRepeatedRole drops repetitions of the role, glued together or as words.
	RepairRepeatedRole Repair = "repeated_role"
	// RepairRepeatedChannel takes the last known name where a header has several channel sections.
	RepairRepeatedChannel Repair = "repeated_channel"
	// RepairEmptyChannel ignores a channel marker with no name behind it.
	RepairEmptyChannel Repair = "empty_channel"
	// RepairMisspelledChannel reads a name that merely begins with a known one as that one, e.g. "commentary?".
	RepairMisspelledChannel Repair = "misspelled_channel"
	// RepairUnknownChannel keeps a channel name that is not known.
	RepairUnknownChannel Repair = "unknown_channel"
	// RepairMissingChannelMarker takes a channel name among the words of a header without a channel section for the channel.
	RepairMissingChannelMarker Repair = "missing_channel_marker"
	// RepairNoChannel lets an assistant message pass that has no channel; it counts as final.
	RepairNoChannel Repair = "no_channel"
	// RepairNoRecipient ignores an assistant's recipient that is nobody in particular: assistant, all or nothing.
	RepairNoRecipient Repair = "no_recipient"
	// RepairCutRecipient cuts a recipient at what looks like a control token.
	RepairCutRecipient Repair = "cut_recipient"
	// RepairRecipientWithoutTo takes a lone name for the recipient if it has a dot or stands in front of a content type.
	RepairRecipientWithoutTo Repair = "recipient_without_to"
	// RepairLoneContentType keeps a content type without a recipient what it is; the reference parser makes it the recipient.
	RepairLoneContentType Repair = "lone_content_type"
	// RepairStrayWords drops words of a header that have no meaning there.
	RepairStrayWords Repair = "stray_words"
	// RepairStrandedHeader makes the text of a header that never reaches <|message|> the content of a message.
	RepairStrandedHeader Repair = "stranded_header"
	// RepairEmptyHeader drops a header that ends without <|message|> and without text.
	RepairEmptyHeader Repair = "empty_header"
	// RepairMissingEnd ends a message at <|start|> or <|channel|>.
	RepairMissingEnd Repair = "missing_end"
	// RepairEndOfText ends a message at <|endoftext|>.
	RepairEndOfText Repair = "end_of_text"
	// RepairWrongEnd takes a call for a call although it does not end in <|call|>.
	RepairWrongEnd Repair = "wrong_end"
	// RepairRepeatedMessage drops <|message|> inside of content.
	RepairRepeatedMessage Repair = "repeated_message"
)
