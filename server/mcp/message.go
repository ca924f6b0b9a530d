package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	protocol "github.com/mark3labs/mcp-go/mcp"
)

const (
	maxDepth  = 64      // of nested values
	maxValues = 250_000 // in one message; each is some dozen bytes when decoded
	maxID     = 1 << 53 // of numbers that identify a request: larger ones would come back as others
)

// A message is what the gate must know of a JSON-RPC message.
type message struct {
	method  string // "" for a response
	version string // of the protocol, that the message itself names; "" = none
	id      json.RawMessage
}

// parse reads one JSON-RPC message. What the library and programs between it and the client could understand differently is
// an error: keys that are there twice, or that are a key of the protocol but for their case, which Go's decoder ignores.
func parse(body []byte) (m message, refused *refusal) {
	if err := checkJSON(body); err != nil {
		code := protocol.PARSE_ERROR
		if errors.Is(err, errShape) {
			code = protocol.INVALID_REQUEST
		}
		return m, refuse(400, code, "The request body cannot be accepted: %v.", err)
	}
	var envelope struct {
		Method *string         `json:"method"`
		ID     json.RawMessage `json:"id"`
		Params json.RawMessage `json:"params"`
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &envelope) != nil {
		return m, refuse(400, protocol.INVALID_REQUEST, `"method" must be a string.`)
	}
	m.id = envelope.ID
	if !validID(m.id) {
		m.id = nil
		return m, refuse(400, protocol.INVALID_REQUEST, `"id" must be a string or a whole number of at most 53 bits.`)
	}
	if envelope.Method == nil {
		if envelope.Result == nil && envelope.Error == nil || m.id == nil {
			return m, refuse(400, protocol.INVALID_REQUEST, "The message is neither a request nor a notification nor a response.")
		}
		return m, nil
	}
	if m.method = *envelope.Method; m.method == "" {
		return m, refuse(400, protocol.INVALID_REQUEST, `"method" is empty.`)
	}
	var params struct {
		Meta map[string]json.RawMessage `json:"_meta"`
	}
	if envelope.Params != nil && string(envelope.Params) != "null" && (envelope.Params[0] != '{' || json.Unmarshal(envelope.Params, &params) != nil) {
		return m, refuse(400, protocol.INVALID_PARAMS, `"params" must be an object, and "_meta" in it too.`)
	}
	_ = json.Unmarshal(params.Meta[protocol.MetaKeyProtocolVersion], &m.version) // the library says what is wrong with it
	return m, nil
}

// validID says whether an id is one that can be sent back as it came; none is fine.
func validID(id json.RawMessage) bool {
	if id == nil || id[0] == '"' {
		return true
	}
	var n int64
	return json.Unmarshal(id, &n) == nil && n <= maxID && n >= -maxID && string(id) != "null"
}

// errShape is what JSON that is no message is.
var errShape = errors.New("not accepted here")

// checkJSON says what is wrong with a message as JSON.
func checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return errors.New("it is no UTF-8")
	}
	switch trimmed := bytes.TrimLeft(body, " \t\r\n"); {
	case len(trimmed) == 0:
		return errors.New("it is empty")
	case trimmed[0] == '[':
		return fmt.Errorf("batches are %w", errShape)
	case trimmed[0] != '{':
		return fmt.Errorf("anything but an object is %w", errShape)
	}
	c := &jsonCheck{dec: json.NewDecoder(bytes.NewReader(body))}
	c.dec.UseNumber()
	if err := c.value(0, true); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return errors.New("it is no JSON")
		}
		return err
	}
	if _, err := c.dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the JSON")
	}
	return nil
}

// A jsonCheck reads one value.
type jsonCheck struct {
	dec    *json.Decoder
	values int
}

// names are the keys of the protocol that the library decodes by.
var names = []string{
	"jsonrpc", "id", "method", "params", "result", "error", "code", "message", "data", "_meta", "progressToken", "name", "arguments",
	"uri", "cursor", "protocolVersion", "capabilities", "clientInfo", "version", "title", "level", "ref", "type", "argument", "value",
	"context", "requestId", "reason", "progress", "total", "notifications", "toolsListChanged", "promptsListChanged",
	"resourcesListChanged", "resourceSubscriptions", "inputResponses", "requestState", "task", "taskId", "ttl", "action", "content",
	"text", "role", "model", "stopReason", "roots", "sampling", "elicitation", "experimental", "extensions",
}

// free are the keys below which the names are the caller's own.
var free = map[string]bool{"arguments": true, "content": true, "experimental": true, "extensions": true, "data": true}

// value reads a value; the keys of the protocol count in it when ours is true.
func (c *jsonCheck) value(depth int, ours bool) error {
	if depth > maxDepth {
		return fmt.Errorf("more than %d levels of nesting are %w", maxDepth, errShape)
	}
	if c.values++; c.values > maxValues {
		return fmt.Errorf("more than %d values are %w", maxValues, errShape)
	}
	tok, err := c.dec.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('['):
		for c.dec.More() {
			if err := c.value(depth+1, ours); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		seen := map[string]bool{}
		for c.dec.More() {
			tok, err := c.dec.Token()
			if err != nil {
				return err
			}
			key, _ := tok.(string)
			if err := checkKey(key, seen, ours); err != nil {
				return err
			}
			if err := c.value(depth+1, ours && !free[key]); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = c.dec.Token() // the end of the array or object
	return err
}

func checkKey(key string, seen map[string]bool, ours bool) error {
	if seen[key] {
		return fmt.Errorf("keys that are there twice, such as %.60q, are %w", key, errShape)
	}
	seen[key] = true
	if !ours {
		return nil
	}
	for _, name := range names {
		if key != name && strings.EqualFold(key, name) {
			return fmt.Errorf("the key %.60q in place of %q is %w", key, name, errShape)
		}
	}
	return nil
}
