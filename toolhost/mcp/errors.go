package mcp

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// A ProtocolError is the JSON-RPC error that a server answered with.
type ProtocolError struct {
	Code    int
	Message string
	Data    []byte // JSON, or nil
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("the server answered with error %d: %s", e.Code, e.Message)
}

// An HTTPError is an answer of HTTP that has no message of the protocol.
type HTTPError struct {
	Status  int
	Message string // the head of the body, or the name of the status
}

func (e *HTTPError) Error() string {
	return fmt.Sprintf("the server answered with HTTP %d: %s", e.Status, e.Message)
}

// An AuthError says that a server wants an authorisation that it was not given.
type AuthError struct {
	Status    int    // 401 or 403; 0 when it is no answer of the server
	Challenge string // the WWW-Authenticate of the answer, or ""
	Scope     string // that the challenge asks for, or ""
	Reason    string // what went wrong on the way to an authorisation, or ""
	Err       error  // why, or nil
}

func (e *AuthError) Error() string {
	s := "the server wants authorisation"
	if e.Status == 403 {
		s = "the server wants more authorisation"
	}
	if e.Scope != "" {
		s += " with scope " + fmt.Sprintf("%q", e.Scope)
	} else if e.Challenge != "" {
		s += " (" + e.Challenge + ")"
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns why.
func (e *AuthError) Unwrap() error { return e.Err }

// A LimitError says which of the Limits a server exceeded.
type LimitError struct {
	Limit string // such as "bytes of a message"
	Most  string // with its unit
}

func (e *LimitError) Error() string { return fmt.Sprintf("%s: more than %s", e.Limit, e.Most) }

// Timeout reports whether the limit is a time.
func (e *LimitError) Timeout() bool { return strings.HasPrefix(e.Limit, "time") }

// An InvalidError says that what a server sent is no message, or not one of the protocol.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return "the server sent what is not valid: " + e.Reason }

// An ArgumentsError says what is wrong with the arguments of a call, in words that a model can correct itself by. The
// call was not made.
type ArgumentsError struct{ Reason string }

func (e *ArgumentsError) Error() string { return e.Reason }

// A ChangedError says that a tool's definition is not the one that was agreed to. The call was not made.
type ChangedError struct{ Tool string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("the definition of %q has changed since it was listed", e.Tool)
}

// A ProcessError says that a child process ended, or could not be started.
type ProcessError struct {
	Reason string
	Stderr string // its last words, masked; "" if there were none

	started bool
}

func (e *ProcessError) Error() string {
	if e.Stderr == "" {
		return e.Reason
	}
	return e.Reason + "; its last words: " + e.Stderr
}

var (
	// ErrUnknown says that a server has no such tool, or that it was left out.
	ErrUnknown = errors.New("the server has no such tool")
	// ErrClosed says that a Client was closed.
	ErrClosed = errors.New("the MCP client is closed")
	// errSession says that the server has forgotten the session. The request was not looked at.
	errSession = errors.New("the server has forgotten the session")
	// errBroken says that an answer ended before it was there.
	errBroken = errors.New("the connection ended before the answer")
)

// unsent reports whether the request that failed cannot have reached the tool.
func unsent(err error) bool {
	var op *net.OpError
	return errors.Is(err, errSession) || errors.As(err, &op) && op.Op == "dial"
}
