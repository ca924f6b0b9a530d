package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"chorale/sandbox"
)

// A reactor calls tool_call on initialised instances.
type reactor struct {
	pool *pool
}

func newReactor(ctx context.Context, s *grantee) (*reactor, error) {
	p, err := newPool(ctx, s, s.plugin.manifest.Instance, exportInitialize)
	if err != nil {
		return nil, err
	}
	return &reactor{p}, nil
}

func (r *reactor) close() error { return r.pool.close() }

func (r *reactor) run(ctx context.Context, w *work) (answer, error) {
	config := w.config(w.tool.Name)
	config.Stdout = w.log // the result has another way
	in, err := r.pool.take(ctx, config)
	if err != nil {
		return answer{}, err
	}
	defer r.pool.give(in)
	response, err := r.exchange(ctx, in, w)
	w.usage = in.Usage()
	if err != nil {
		return answer{}, err
	}
	return readResponse(response, w.tool.Kind), nil
}

// exchange hands the request over and takes the response out of the guest's memory.
func (r *reactor) exchange(ctx context.Context, in *sandbox.Instance, w *work) ([]byte, error) {
	request := appendRequest(nil, w.tool.Name, w.input)
	result, err := in.Call(ctx, exportAlloc, uint64(len(request)))
	if err != nil {
		return nil, err
	}
	if len(result) != 1 {
		return nil, &refusedError{exportAlloc + " must return one i32"}
	}
	at := uint32(result[0])
	if at == 0 {
		return nil, &refusedError{fmt.Sprintf("%s found no room for %d bytes of arguments", exportAlloc, len(request))}
	}
	if err := in.WriteMemory(at, request); err != nil {
		return nil, &refusedError{exportAlloc + " returned an address outside of the memory"}
	}
	if result, err = in.Call(ctx, exportCall, uint64(at), uint64(len(request))); err != nil {
		return nil, err
	}
	if len(result) != 1 {
		return nil, &refusedError{exportCall + " must return one i64"}
	}
	at, n := uint32(result[0]>>32), uint32(result[0])
	if int64(n) > w.s.limits.OutputBytes {
		return nil, errOutput
	}
	response := make([]byte, n)
	if err := in.ReadMemory(response, at); err != nil {
		return nil, &refusedError{exportCall + " returned a response outside of the memory"}
	}
	return response, nil
}

// appendRequest appends {"tool": …, "arguments": …}.
func appendRequest(b []byte, tool string, input []byte) []byte {
	b = append(b, `{"tool":"`...)
	b = append(b, tool...) // letters, digits, _ and -
	b = append(b, `","arguments":`...)
	b = append(b, input...)
	return append(b, '}')
}

// A refusedError says that a guest broke the rules of its ABI, or wants what it cannot have.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

func readResponse(p []byte, kind OutputKind) answer {
	var r struct {
		Result       json.RawMessage `json:"result"`
		Error        *string         `json:"error"`
		BadArguments bool            `json:"bad_arguments"`
	}
	wrong := func(err error) answer {
		return answer{status: failed, reason: fmt.Sprintf("The response of %s is wrong: %v", exportCall, err)}
	}
	if err := json.Unmarshal(p, &r); err != nil {
		return wrong(err)
	}
	switch {
	case r.Error != nil && r.BadArguments:
		return answer{status: badArguments, reason: *r.Error}
	case r.Error != nil:
		return answer{status: failed, reason: *r.Error}
	case r.Result == nil:
		return wrong(errors.New("it has neither a result nor an error"))
	case kind != OutputText:
		return answer{output: string(r.Result)}
	}
	if !bytes.HasPrefix(r.Result, []byte(`"`)) {
		return wrong(errors.New("the result must be a string, because the tool's output is text"))
	}
	var text string
	if err := json.Unmarshal(r.Result, &text); err != nil {
		return wrong(err)
	}
	return answer{output: text}
}
