package responses_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"chorale/server/api"
)

// A client rebuilds a response from its events as the strictest client does (openai-node's responses.stream()), and
// reports what that one would throw for.
type client struct {
	t      testing.TB
	n      int // events so far
	output []map[string]any
	texts  map[string]string // text of each open part, by its place
	hosted map[string]string // how far each call of a tool of the server is, by item id
	done   bool
}

func (c *client) failf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("event %d: %s", c.n-1, fmt.Sprintf(format, args...))
}

func (c *client) event(e api.Event) {
	c.t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(encode(c.t, e)), &m); err != nil {
		c.t.Fatal(err)
	}
	c.n++
	name := m["type"].(string)
	if c.done {
		c.failf("%s follows the terminal event", name)
	}
	if int(m["sequence_number"].(float64)) != c.n-1 {
		c.failf("sequence number %v", m["sequence_number"])
	}
	if (c.n == 1) != (name == api.EventCreated) || (c.n == 2) != (name == api.EventInProgress) {
		c.failf("%s in this place", name)
	}
	switch name {
	case api.EventCreated, api.EventInProgress:
		c.texts, c.hosted = map[string]string{}, map[string]string{}
		if n := len(m["response"].(map[string]any)["output"].([]any)); n != 0 {
			c.failf("%d items before they happen", n)
		}
	case api.EventCompleted, api.EventIncomplete, api.EventFailed:
		c.done = true
		if got, want := encode(c.t, m["response"].(map[string]any)["output"]), encode(c.t, c.output); got != want && len(c.output) > 0 {
			c.failf("the final output differs from the stream:\n got %s\nwant %s", got, want)
		}
	case api.EventItemAdded:
		c.added(m)
	case api.EventItemDone:
		c.itemDone(m)
	case api.EventError:
	default:
		c.inside(name, m)
	}
}

func (c *client) added(m map[string]any) {
	item := m["item"].(map[string]any)
	if int(m["output_index"].(float64)) != len(c.output) {
		c.failf("output_index %v, want %d", m["output_index"], len(c.output))
	}
	for _, other := range c.output {
		if other["id"] == item["id"] || item["id"] == "" {
			c.failf("id %q is empty or not unique", item["id"])
		}
		if other["status"] == api.InProgress && c.hosted[other["id"].(string)] == "" {
			c.failf("item %v is still open", other["id"])
		}
	}
	if _, whole := statusless[item["type"].(string)]; item["status"] != api.InProgress && !whole {
		c.failf("an item begins with status %v", item["status"])
	}
	if item["type"] == "function_call" && (item["arguments"] != "" || item["call_id"] == "") {
		c.failf("a call begins with arguments %q and call_id %q", item["arguments"], item["call_id"])
	}
	if item["type"] == "code_interpreter_call" && (item["code"] != "" || item["container_id"] == "" || item["outputs"] != nil) {
		c.failf("a call of the code interpreter begins as %v", item)
	}
	if item["type"] == "mcp_call" && (item["arguments"] != "" || item["server_label"] == "" || item["name"] == "" || item["output"] != nil || item["error"] != nil) {
		c.failf("a call of a plugin begins as %v", item)
	}
	if item["type"] == "mcp_list_tools" && (len(item["tools"].([]any)) != 0 || item["error"] != nil) {
		c.failf("a list of tools begins as %v", item)
	}
	c.output = append(c.output, item)
}

// statusless are the types of items that have no status.
var statusless = map[string]bool{"mcp_list_tools": true, "mcp_approval_request": true}

// place returns the open item that the event is about, and the key of its part.
func (c *client) place(m map[string]any) (map[string]any, string) {
	i := int(m["output_index"].(float64))
	if i != len(c.output)-1 && c.hosted[m["item_id"].(string)] != "coded" && c.hosted[m["item_id"].(string)] != "running" && c.output[i]["type"] != "mcp_list_tools" || c.output[i]["id"] != m["item_id"] {
		c.failf("output_index %d and item_id %v, but the open item is the last of %d", i, m["item_id"], len(c.output))
	}
	if s, ok := m["summary_index"]; ok {
		return c.output[i], fmt.Sprintf("%d.summary.%v", i, s)
	}
	return c.output[i], fmt.Sprintf("%d.content.%v", i, m["content_index"])
}

// inside follows what happens in an item.
func (c *client) inside(name string, m map[string]any) {
	item, key := c.place(m)
	if m["content_index"] != nil && m["content_index"] != 0.0 || m["summary_index"] != nil && m["summary_index"] != 0.0 {
		c.failf("index of a part: %v, %v", m["content_index"], m["summary_index"])
	}
	text, open := c.texts[key]
	kind := map[string]string{
		api.EventTextDelta: "message", api.EventTextDone: "message", api.EventReasoningDelta: "reasoning",
		api.EventReasoningDone: "reasoning", api.EventSummaryPartAdded: "reasoning", api.EventSummaryPartDone: "reasoning",
		api.EventSummaryDelta: "reasoning", api.EventSummaryDone: "reasoning", api.EventArgumentsDelta: "function_call",
		api.EventArgumentsDone: "function_call", api.EventCodeInProgress: "code_interpreter_call", api.EventCodeDelta: "code_interpreter_call",
		api.EventCodeDone: "code_interpreter_call", api.EventCodeInterpreting: "code_interpreter_call",
		api.EventMCPInProgress: "mcp_call", api.EventMCPArgsDelta: "mcp_call", api.EventMCPArgsDone: "mcp_call", api.EventMCPCompleted: "mcp_call", api.EventMCPFailed: "mcp_call",
		api.EventMCPListing: "mcp_list_tools", api.EventMCPListed: "mcp_list_tools", api.EventMCPListFailed: "mcp_list_tools",
		api.EventCodeCompleted: "code_interpreter_call", api.EventPartAdded: item["type"].(string), api.EventPartDone: item["type"].(string),
	}[name]
	if kind != item["type"] {
		c.failf("%s inside of a %v", name, item["type"])
	}
	switch name {
	case api.EventPartAdded, api.EventSummaryPartAdded:
		if open || m["part"].(map[string]any)["text"] != "" {
			c.failf("a part begins twice or with text")
		}
		c.texts[key] = ""
	case api.EventArgumentsDelta:
		item["arguments"] = item["arguments"].(string) + m["delta"].(string)
	case api.EventArgumentsDone:
		if m["arguments"] != item["arguments"] || m["name"] != item["name"] {
			c.failf("arguments are %v, the deltas gave %v", m["arguments"], item["arguments"])
		}
	case api.EventMCPListing:
		c.step(item, "", "listing")
	case api.EventMCPListed:
		c.step(item, "listing", "listed")
	case api.EventMCPListFailed:
		c.step(item, "listing", "failed")
	case api.EventMCPInProgress:
		c.step(item, "", "begun")
	case api.EventMCPArgsDelta:
		c.step(item, "begun", "begun")
		if m["delta"] == "" {
			c.failf("an empty delta")
		}
		item["arguments"] = item["arguments"].(string) + m["delta"].(string)
	case api.EventMCPArgsDone:
		if c.step(item, "begun", "coded"); m["arguments"] != item["arguments"] {
			c.failf("arguments are %v, the deltas gave %v", m["arguments"], item["arguments"])
		}
	case api.EventMCPCompleted:
		c.step(item, "coded", "completed")
	case api.EventMCPFailed:
		c.step(item, "coded", "failed")
	case api.EventCodeInProgress:
		c.step(item, "", "begun")
	case api.EventCodeDelta:
		c.step(item, "begun", "begun")
		if m["delta"] == "" {
			c.failf("an empty delta")
		}
		item["code"] = item["code"].(string) + m["delta"].(string)
	case api.EventCodeDone:
		if c.step(item, "begun", "coded"); m["code"] != item["code"] {
			c.failf("code is %v, the deltas gave %v", m["code"], item["code"])
		}
	case api.EventCodeInterpreting:
		c.step(item, "coded", "running")
	case api.EventCodeCompleted:
		c.step(item, "running", "completed")
	case api.EventTextDelta, api.EventReasoningDelta, api.EventSummaryDelta:
		if !open || m["delta"] == "" {
			c.failf("a delta that is empty or before its part")
		}
		c.texts[key] = text + m["delta"].(string)
	case api.EventTextDone, api.EventReasoningDone, api.EventSummaryDone:
		if !open || m["text"] != text {
			c.failf("text is %q, the deltas gave %q", m["text"], text)
		}
	case api.EventPartDone, api.EventSummaryPartDone:
		part := m["part"].(map[string]any)
		if !open || part["text"] != text {
			c.failf("the part has %q, the deltas gave %q", part["text"], text)
		}
		list := "content"
		if name == api.EventSummaryPartDone {
			list = "summary"
		}
		parts, _ := item[list].([]any)
		item[list] = append(parts, part)
	default:
		c.failf("unknown event %s", name)
	}
}

// step follows how far a call of a tool of the server is.
func (c *client) step(item map[string]any, from, to string) {
	id := item["id"].(string)
	if c.hosted[id] != from {
		c.failf("call %s is %q now, but was %q and not %q", id, to, c.hosted[id], from)
	}
	c.hosted[id] = to
}

func (c *client) itemDone(m map[string]any) {
	item := m["item"].(map[string]any)
	i := int(m["output_index"].(float64))
	if id, _ := item["id"].(string); i != len(c.output)-1 && c.hosted[id] == "" {
		c.failf("output_index %d, want %d", i, len(c.output)-1)
		return
	}
	if item["type"] == "code_interpreter_call" {
		was := map[string]string{"completed": api.Completed, "running": api.Failed, "coded": api.Incomplete}[c.hosted[item["id"].(string)]]
		if was != item["status"] && item["status"] != api.Incomplete {
			c.failf("a call that is %s is done as %v", c.hosted[item["id"].(string)], item["status"])
		}
		c.output[i]["outputs"] = item["outputs"]
	}
	if item["type"] == "mcp_call" {
		was := map[string]string{"completed": api.Completed, "failed": api.Failed, "coded": api.Incomplete}[c.hosted[item["id"].(string)]]
		if was != item["status"] || (item["error"] != nil) != (was == api.Failed) || (item["output"] != nil) != (was != api.Incomplete) {
			c.failf("a call that is %s is done as %v", c.hosted[item["id"].(string)], item)
		}
		c.output[i]["output"], c.output[i]["error"] = item["output"], item["error"]
	}
	if item["type"] == "mcp_list_tools" {
		if was := c.hosted[item["id"].(string)]; was != "listed" && was != "failed" || (item["error"] != nil) != (was == "failed") {
			c.failf("a list that is %s is done as %v", was, item)
		}
		c.output[i]["tools"], c.output[i]["error"] = item["tools"], item["error"]
	}
	for _, member := range []string{"structured_content", "files"} { // of calls; OpenAI's do not have them
		if v, ok := item[member]; ok {
			c.output[i][member] = v
		}
	}
	// What is only known at the end is new; everything else must be what the events before said.
	if !statusless[item["type"].(string)] {
		c.output[i]["status"] = item["status"]
	}
	if sealed, ok := item["encrypted_content"]; ok {
		c.output[i]["encrypted_content"] = sealed
	}
	if got, want := encode(c.t, item), encode(c.t, c.output[i]); got != want {
		c.failf("the finished item differs from the stream:\n got %s\nwant %s", got, want)
	}
	if !statusless[item["type"].(string)] && item["status"] != api.Completed && item["status"] != api.Incomplete && (item["status"] != api.Failed || item["type"] != "code_interpreter_call" && item["type"] != "mcp_call") {
		c.failf("an item ends with status %v", item["status"])
	}
	// Every item that goes out can come back in.
	raw := encode(c.t, item)
	if again, err := api.DecodeItem([]byte(raw)); err != nil {
		c.failf("the item is not accepted as input: %v", err)
	} else if twice := mapOf(c.t, encode(c.t, again)); encode(c.t, twice) != raw {
		c.failf("as input the item becomes %s", encode(c.t, twice))
	}
}

func mapOf(t testing.TB, data string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), &m); err != nil {
		t.Fatal(err)
	}
	return m
}
