package responses

import (
	"fmt"
	"strings"

	"chorale/inference/harmony"
	"chorale/server/api"
)

// functionsPrefix begins the recipient of a call to a function of the client.
const functionsPrefix = "functions."

// jsonArguments is the content type that the models write in front of JSON arguments.
const jsonArguments = "<|constrain|>json"

// An entry is a message of the conversation, perhaps with the tokens that it has had in the sequence before. An entry
// without a role is a message of which only the tokens are known.
type entry struct {
	harmony.Message
	tokens []int32 // nil: to be rendered
}

// A conversation grows item by item into the messages that the model sees. It is pure: what comes out depends on what
// was added alone.
type conversation struct {
	entries []entry
	calls   map[string]string // call id → recipient, of all calls so far
	unseal  func(string) (string, bool)

	listings  map[string]*api.MCPListTools // the last list of each MCP server's tools, by its label
	approvals map[string]*approval         // requests for approvals, by their ids
	approved  []*approval                  // by the input, and not made yet
}

// add appends what the item is to the model, which is nothing for an item of an unknown type. tokens are the item's
// tokens in an earlier sequence, or nil. param names the item in errors.
func (c *conversation) add(item api.Item, tokens []int32, param string) *api.Error {
	switch i := item.(type) {
	case *api.Message:
		if m, ok := messageOf(i); ok {
			c.entries = append(c.entries, entry{m, tokens})
		}
	case *api.Reasoning:
		if text := c.reasoningText(i); text != "" {
			c.entries = append(c.entries, entry{assistant(harmony.ChannelAnalysis, text), tokens})
		}
	case *api.FunctionCall:
		if i.Status != api.Incomplete { // a call that was cut off cannot be answered
			c.call(i.CallID, i.Name, jsonArguments, i.Arguments, tokens)
		}
	case *api.CustomToolCall:
		c.call(i.CallID, i.Name, "", i.Input, tokens)
	case *api.FunctionCallOutput:
		return c.answer(i.CallID, i.Output, param)
	case *api.CustomToolCallOutput:
		return c.answer(i.CallID, i.Output, param)
	case *api.RawItem:
	case *api.MCPListTools:
		if i.Error == nil {
			c.listings[i.ServerLabel] = i
		}
	case *api.MCPApprovalRequest:
		c.asked(i, tokens)
	case *api.MCPApprovalResponse:
		return c.decided(i, param)
	case *api.ItemReference:
		return api.BadRequest("item_not_found", param+".id", "Item with id '%s' not found.", i.ID)
	default:
		if call, ok := item.(*api.MCPCall); ok {
			c.outdate(call)
			if c.made(call, tokens) {
				return nil
			}
		}
		kind := hostedItem(item)
		if kind == nil {
			panic(fmt.Sprintf("item of type %T", item))
		}
		c.hosted(kind, item, tokens)
	}
	return nil
}

// hosted appends a call of a tool of ours and its result, which tokens are of both.
func (c *conversation) hosted(kind *hostedKind, item api.Item, tokens []int32) {
	m, result, ok := kind.history(item)
	if !ok {
		return
	}
	c.entries = append(c.entries, entry{m, tokens})
	if tokens == nil {
		c.entries = append(c.entries, entry{Message: toolMessage(m.Recipient, m.Channel, result)})
	}
}

func (c *conversation) call(id, name, contentType, input string, tokens []int32) {
	m := assistant(harmony.ChannelCommentary, input)
	m.Recipient, m.ContentType = functionsPrefix+name, contentType
	c.entries = append(c.entries, entry{m, tokens})
	c.calls[id] = m.Recipient
}

func (c *conversation) answer(callID string, output api.ToolOutput, param string) *api.Error {
	tool, ok := c.calls[callID]
	if !ok {
		return api.BadRequest("invalid_value", param+".call_id",
			"No tool call found for function call output with call_id %s.", callID)
	}
	text := output.Text
	if output.Parts != nil {
		text = partsText(output.Parts, "\n")
	}
	c.entries = append(c.entries, entry{Message: toolMessage(tool, harmony.ChannelCommentary, text)})
	return nil
}

// reasoningText is what of a reasoning item the model can read: its content, else what this server has sealed, else the
// summary.
func (c *conversation) reasoningText(i *api.Reasoning) string {
	if text := partsText(i.Content, "\n"); text != "" {
		return text
	}
	if text, ok := c.unseal(i.EncryptedContent); ok {
		return text
	}
	return partsText(i.Summary, "\n")
}

// messageOf returns false for an assistant message without text, which some clients put beside a call.
func messageOf(i *api.Message) (m harmony.Message, ok bool) {
	switch i.Role {
	case "user":
		text := partsText(i.Content, "\n")
		return harmony.Message{Role: harmony.RoleUser, Content: []harmony.Part{harmony.Text(text)}}, true
	case "system", "developer":
		text := partsText(i.Content, "\n")
		return developer(&harmony.Developer{Instructions: &text}), true
	}
	text := partsText(i.Content, "")
	if i.Phase == phaseCommentary {
		return assistant(harmony.ChannelCommentary, text), text != ""
	}
	return assistant(harmony.ChannelFinal, text), text != ""
}

func assistant(channel, text string) harmony.Message {
	return harmony.Message{Role: harmony.RoleAssistant, Channel: channel, Content: []harmony.Part{harmony.Text(text)}}
}

func developer(d *harmony.Developer) harmony.Message {
	return harmony.Message{Role: harmony.RoleDeveloper, Content: []harmony.Part{d}}
}

// toolMessage is a tool's answer to a call on the channel.
func toolMessage(tool, channel, text string) harmony.Message {
	return harmony.Message{Role: harmony.RoleTool, Name: tool, Recipient: string(harmony.RoleAssistant), Channel: channel,
		Content: []harmony.Part{harmony.Text(text)}}
}

// partsText joins what the parts are to a model that reads text only. What it cannot see is said to be there.
func partsText(parts []api.Part, separator string) string {
	texts := make([]string, len(parts))
	for i, part := range parts {
		texts[i] = partText(part)
	}
	return strings.Join(texts, separator)
}

func partText(part api.Part) string {
	switch p := part.(type) {
	case api.InputText:
		return p.Text
	case api.OutputText:
		return p.Text
	case api.ReasoningText:
		return p.Text
	case api.SummaryText:
		return p.Text
	case api.Refusal:
		return p.Refusal
	case api.InputImage:
		return "[An image is attached here. It cannot be viewed: this model reads text only.]"
	case api.InputFile:
		name := ""
		if p.Filename != "" {
			name = fmt.Sprintf(" named %q", p.Filename)
		}
		return "[A file" + name + " is attached here. It cannot be opened: this model reads text only.]"
	case api.RawPart:
		return fmt.Sprintf("[Content of type %q is attached here. It cannot be viewed: this model reads text only.]", p.Type)
	default:
		panic(fmt.Sprintf("content part of type %T", part))
	}
}
