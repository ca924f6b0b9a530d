// Package api is the wire format of /v1/responses and /v1/containers: requests, responses, items, tools, events, files.
//
// It owns the Go type of every variant, the strict reading of JSON that others wrote and the writing of JSON that
// OpenAI's and Open Responses' clients accept. It knows no model, no HTTP and no storage, and it applies no defaults:
// a nil field of a Request means that the client did not set it.
//
// Reading is strict about form and liberal about content. Malformed JSON, a repeated key, a wrong type or a number out
// of range is an *Error whose Param is the path of the value, spelled as OpenAI spells it (input[2].content[0].text);
// null counts as absent. An item, content part or tool of a type that this package does not know is kept as it was
// sent (RawItem, RawPart, RawTool), and unknown members of the request are listed and ignored. Every sum type is a
// sealed interface with one Go type per variant; an optional member that a client's schema does not allow to be null
// is left out instead of written as null.
//
// All functions are safe for concurrent use; values are plain data and are not.
package api

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// An Error is a failure in the form that OpenAI's clients understand. The zero Param or Code is written as null.
type Error struct {
	Status  int    // HTTP status; not part of the body
	Type    string // e.g. invalid_request_error, server_error
	Code    string // what programs branch on, e.g. invalid_type
	Message string // for people
	Param   string // path of the offending value, e.g. input[0].content
}

// Error returns the message, after the name of the parameter if there is one.
func (e *Error) Error() string {
	if e.Param == "" {
		return e.Message
	}
	return e.Param + ": " + e.Message
}

// MarshalJSON writes the body of an error response: {"error":{"message","type","param","code"}}.
func (e *Error) MarshalJSON() ([]byte, error) {
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	return encode(map[string]body{"error": {e.Message, e.Type, optional(e.Param), optional(e.Code)}})
}

// BadRequest is the error for a client's mistake: status 400, type invalid_request_error. The message is formatted
// as in fmt.Sprintf.
func BadRequest(code, param, format string, args ...any) *Error {
	return &Error{
		Status: 400, Type: "invalid_request_error", Code: code, Param: param, Message: fmt.Sprintf(format, args...),
	}
}

// A Page selects a part of a list.
type Page struct {
	After string // id of the entry after which the page starts; "" = at the beginning
	Limit int    // 1..100; 0 = 20
	Order string // "asc" or "desc"; "" = "desc", OpenAI's default
}

// A List is one page of items, containers or files, in the order asked for.
type List[T any] struct {
	Object  string  `json:"object"` // always "list"
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// A Deletion confirms that something was deleted.
type Deletion struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "response", "container.deleted" or "container.file.deleted", as OpenAI has them
	Deleted bool   `json:"deleted"`
}

// Encode returns v as JSON without escaping <, > and &, which are ordinary characters in generated text.
func Encode(v any) ([]byte, error) { return encode(v) }

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// tagged encodes v, which must encode as an object, with "type" as its first member.
func tagged(name string, v any) ([]byte, error) {
	body, err := encode(v)
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(body)+len(name)+12), `{"type":"`...)
	out = append(out, name...)
	if len(body) == len("{}") {
		return append(out, `"}`...), nil
	}
	out = append(out, `",`...)
	return append(out, body[1:]...), nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
