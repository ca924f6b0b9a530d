package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A message is one JSON-RPC message that passed the gate.
type message struct {
	id     json.RawMessage // nil: a notification
	method string          // "": an answer
	params json.RawMessage
	result json.RawMessage
	err    *ProtocolError
}

// known are the members of the protocol that are read at the top of a message and below it. A member that differs from
// one of them in case only is a mistake or an attempt to make two readers see different messages: Go's decoder, which
// mcp-go uses, would take it for the member.
var (
	knownTop   = []string{"jsonrpc", "id", "method", "params", "result", "error"}
	knownBelow = []string{
		"_meta", "resultType", "content", "structuredContent", "isError", "inputRequests", "requestState", "tools", "nextCursor",
		"ttlMs", "cacheScope", "protocolVersion", "capabilities", "serverInfo", "instructions", "supportedVersions", "code",
		"message", "data", "progressToken", "progress", "total", "requestedSchema", "mode", "requestId", "level", "logger",
	}
)

// read makes a message of what a server sent.
func read(raw []byte, l Limits) (*message, error) {
	if err := checkJSON(raw, l); err != nil {
		return nil, err
	}
	top, err := object(raw, knownTop)
	if err != nil {
		return nil, &InvalidError{"the message: " + err.Error()}
	}
	if string(top["jsonrpc"]) != `"2.0"` {
		return nil, &InvalidError{`the message: "jsonrpc" is not "2.0"`}
	}
	m := &message{id: top["id"], params: top["params"], result: top["result"]}
	if string(m.id) == "null" {
		m.id = nil
	}
	if raw, ok := top["method"]; ok {
		if json.Unmarshal(raw, &m.method) != nil || m.method == "" {
			return nil, &InvalidError{`the message: "method" is not a name`}
		}
	}
	for name, raw := range map[string]json.RawMessage{"params": m.params, "result": m.result} {
		if raw == nil {
			continue
		}
		if _, err := object(raw, knownBelow); err != nil {
			return nil, &InvalidError{name + ": " + err.Error()}
		}
	}
	if raw, ok := top["error"]; ok && string(raw) != "null" {
		if m.err, err = readError(raw); err != nil {
			return nil, err
		}
	}
	if m.method == "" && (m.result == nil) == (m.err == nil) {
		return nil, &InvalidError{`the message: it has no "method" and not one of "result" and "error"`}
	}
	return m, nil
}

func readError(raw json.RawMessage) (*ProtocolError, error) {
	fields, err := object(raw, knownBelow)
	if err != nil {
		return nil, &InvalidError{"error: " + err.Error()}
	}
	e := &ProtocolError{Data: fields["data"]}
	bad := json.Unmarshal(fields["code"], &e.Code) != nil
	if said, ok := fields["message"]; ok {
		bad = bad || json.Unmarshal(said, &e.Message) != nil
	}
	if bad {
		return nil, &InvalidError{`error: "code" must be a number and "message" a string`}
	}
	return e, nil
}

// object reads the members of an object and refuses those that are like a known one but for their case.
func object(raw json.RawMessage, known []string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if t := bytes.TrimSpace(raw); len(t) == 0 || t[0] != '{' || json.Unmarshal(raw, &fields) != nil {
		return nil, fmt.Errorf("must be an object")
	}
	for name := range fields {
		for _, k := range known {
			if name != k && strings.EqualFold(name, k) {
				return nil, fmt.Errorf("%q is not %q", name, k)
			}
		}
	}
	return fields, nil
}

// checkJSON refuses what is no single JSON value, is deeper than allowed, or has a member twice.
func checkJSON(raw []byte, l Limits) error {
	if int64(len(raw)) > l.Message {
		return overBytes("bytes of a message", l.Message)
	}
	if !utf8.Valid(raw) {
		return &InvalidError{"text that is not UTF-8"}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil: an array
		value bool            // a value comes next, not a name
	}
	var open []level
	for started := false; !started || len(open) > 0; started = true {
		t, err := d.Token()
		if err != nil {
			return &InvalidError{"no JSON: " + trimError(err)}
		}
		top := len(open) - 1
		if name, ok := t.(string); ok && top >= 0 && open[top].names != nil && !open[top].value {
			if open[top].names[name] {
				return &InvalidError{fmt.Sprintf("an object with %q twice", name)}
			}
			open[top].names[name] = true
			open[top].value = true
			continue
		}
		if top >= 0 && t != json.Delim('}') && t != json.Delim(']') {
			open[top].value = false
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
		}
		if len(open) > l.Depth {
			return &LimitError{"depth of a message", fmt.Sprint(l.Depth)}
		}
	}
	if _, err := d.Token(); err != io.EOF {
		return &InvalidError{"more than one value in a message"}
	}
	return nil
}

func trimError(err error) string {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return "it ends too early"
	}
	return err.Error()
}

func overBytes(limit string, most int64) error {
	return &LimitError{limit, fmt.Sprintf("%d bytes", most)}
}
