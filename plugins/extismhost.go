package plugins

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"chorale/sandbox"
	"chorale/toolhost/egress"
)

// An extismMemory is the address space that Extism plugins share with their host: blocks that are asked for and given
// back. Address 0 is no block.
type extismMemory struct {
	limit  int64
	b      []byte
	blocks map[uint64]uint64 // length by address
}

// extismBlock is the alignment of blocks, and the room before the first.
const extismBlock = 8

// alloc returns 0 when there is no room.
func (m *extismMemory) alloc(n uint64) uint64 {
	if len(m.b) == 0 {
		m.b = make([]byte, extismBlock)
	}
	at := uint64(len(m.b))
	size := (n + extismBlock - 1) &^ (extismBlock - 1)
	if n == 0 || size < n || size > uint64(m.limit) || at+size > uint64(m.limit) {
		return 0
	}
	m.b = append(m.b, make([]byte, size)...)
	m.blocks[at] = n
	return at
}

// free takes a block away. What is free at the end can be used again.
func (m *extismMemory) free(at uint64) {
	n, ok := m.blocks[at]
	if !ok {
		return
	}
	delete(m.blocks, at)
	if at+(n+extismBlock-1)&^(extismBlock-1) == uint64(len(m.b)) {
		m.b = m.b[:at]
	}
}

func (m *extismMemory) put(p []byte) uint64 {
	at := m.alloc(uint64(len(p)))
	if at != 0 {
		copy(m.b[at:], p)
	}
	return at
}

// block is the content of the block at an address, which the guest may write to; nil without one.
func (m *extismMemory) block(at uint64) []byte {
	n, ok := m.blocks[at]
	if !ok {
		return nil
	}
	return m.b[at : at+n]
}

// bytes is a range of memory, nil if it is not all there.
func (m *extismMemory) bytes(at, n uint64) []byte {
	if at > uint64(len(m.b)) || n > uint64(len(m.b))-at {
		return nil
	}
	return m.b[at : at+n]
}

// An extismCall is what the functions below work on, during one call.
type extismCall struct {
	work    *work
	memory  extismMemory
	input   uint64
	output  []byte
	failure []byte
	vars    map[string][]byte
	varSize int
	client  *egress.Client // made when first needed: it counts the call's requests
	status  int
	headers []byte // JSON
}

// extismKey finds the extismCall in the context of a call, which is all of ours that the sandbox hands to functions.
type extismKey struct{}

// maxVarBytes bounds the variables of a call, which end with it.
const maxVarBytes = 1 << 20

var errExtismMemory = &refusedError{"it read or wrote outside of the blocks of Extism's memory"}

// extismFuncs are what Extism plugins may import: extism:host/env, and of hyper-mcp's extism:host/user what needs no
// client to ask.
func extismFuncs() []sandbox.Func {
	const i32, i64 = sandbox.I32, sandbox.I64
	type call = func(ctx context.Context, c *extismCall, stack []uint64) error
	var funcs []sandbox.Func
	add := func(module, name string, params, results []sandbox.ValueType, f call) {
		funcs = append(funcs, sandbox.Func{Module: module, Name: name, Params: params, Results: results,
			Call: func(ctx context.Context, _ *sandbox.Instance, stack []uint64) error {
				c, ok := ctx.Value(extismKey{}).(*extismCall)
				if !ok {
					return &refusedError{name + " cannot be called while the module is initialised"}
				}
				return f(ctx, c, stack)
			}})
	}
	env := func(name string, params, results []sandbox.ValueType, f call) {
		add(extismModule, name, params, results, f)
	}
	type types = []sandbox.ValueType
	env("alloc", types{i64}, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		s[0] = c.memory.alloc(s[0])
		return nil
	})
	env("free", types{i64}, nil, func(_ context.Context, c *extismCall, s []uint64) error {
		c.memory.free(s[0])
		return nil
	})
	for _, name := range []string{"length", "length_unsafe"} {
		env(name, types{i64}, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
			s[0] = c.memory.blocks[s[0]]
			return nil
		})
	}
	env("load_u8", types{i64}, types{i32}, func(_ context.Context, c *extismCall, s []uint64) error {
		return load(s, c.memory.bytes(s[0], 1))
	})
	env("load_u64", types{i64}, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		return load(s, c.memory.bytes(s[0], 8))
	})
	env("input_load_u8", types{i64}, types{i32}, func(_ context.Context, c *extismCall, s []uint64) error {
		return load(s, within(c.memory.block(c.input), s[0], 1))
	})
	env("input_load_u64", types{i64}, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		return load(s, within(c.memory.block(c.input), s[0], 8))
	})
	env("store_u8", types{i64, i32}, nil, func(_ context.Context, c *extismCall, s []uint64) error {
		return store(c.memory.bytes(s[0], 1), s[1])
	})
	env("store_u64", types{i64, i64}, nil, func(_ context.Context, c *extismCall, s []uint64) error {
		return store(c.memory.bytes(s[0], 8), s[1])
	})
	env("input_offset", nil, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		s[0] = c.input
		return nil
	})
	env("input_length", nil, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		s[0] = c.memory.blocks[c.input]
		return nil
	})
	env("output_set", types{i64, i64}, nil, func(_ context.Context, c *extismCall, s []uint64) error {
		p := c.memory.bytes(s[0], s[1])
		if p == nil {
			return errExtismMemory
		}
		if int64(len(p)) > c.work.s.limits.OutputBytes {
			return errOutput
		}
		c.output = bytes.Clone(p)
		return nil
	})
	env("error_set", types{i64}, nil, func(_ context.Context, c *extismCall, s []uint64) error {
		c.failure = bytes.Clone(c.memory.block(s[0]))
		return nil
	})
	env("config_get", types{i64}, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		value, ok := c.work.s.rights.config[string(c.memory.block(s[0]))]
		s[0] = 0
		if ok {
			s[0] = c.memory.put([]byte(value))
		}
		return nil
	})
	env("var_get", types{i64}, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		s[0] = c.memory.put(c.vars[string(c.memory.block(s[0]))])
		return nil
	})
	env("var_set", types{i64, i64}, nil, func(_ context.Context, c *extismCall, s []uint64) error {
		return c.setVar(string(c.memory.block(s[0])), c.memory.block(s[1]))
	})
	env("http_request", types{i64, i64}, types{i64}, func(ctx context.Context, c *extismCall, s []uint64) error {
		body, err := c.request(ctx, c.memory.block(s[0]), c.memory.block(s[1]))
		if err != nil {
			return err
		}
		s[0] = c.memory.put(body)
		return nil
	})
	env("http_status_code", nil, types{i32}, func(_ context.Context, c *extismCall, s []uint64) error {
		s[0] = uint64(c.status)
		return nil
	})
	env("http_headers", nil, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		s[0] = c.memory.put(c.headers)
		return nil
	})
	for _, level := range []string{"trace", "debug", "info", "warn", "error"} {
		env("log_"+level, types{i64}, nil, func(_ context.Context, c *extismCall, s []uint64) error {
			c.log(level, c.memory.block(s[0]))
			return nil
		})
	}
	env("get_log_level", nil, types{i32}, func(_ context.Context, _ *extismCall, s []uint64) error {
		s[0] = 0 // trace: the host's own limit bounds the log
		return nil
	})
	const user = "extism:host/user"
	for _, name := range []string{"notify_logging_message", "notify_progress", "notify_resource_updated"} {
		add(user, name, types{i64}, nil, func(_ context.Context, c *extismCall, s []uint64) error {
			c.log(name, c.memory.block(s[0]))
			return nil
		})
	}
	for _, name := range []string{"notify_prompt_list_changed", "notify_resource_list_changed", "notify_tool_list_changed"} {
		add(user, name, nil, nil, func(context.Context, *extismCall, []uint64) error { return nil })
	}
	add(user, "list_roots", nil, types{i64}, func(_ context.Context, c *extismCall, s []uint64) error {
		s[0] = c.memory.put([]byte(`{"roots":[]}`))
		return nil
	})
	for _, name := range []string{"create_elicitation", "create_message", "get_access_token", "get_keyring_secret"} {
		add(user, name, types{i64}, types{i64}, func(context.Context, *extismCall, []uint64) error {
			return &refusedError{fmt.Sprintf("%s is not offered here: plugins neither ask people nor models, and never see secrets", name)}
		})
	}
	return funcs
}

// within is a part of b, nil if it is not all there.
func within(b []byte, at, n uint64) []byte {
	if at > uint64(len(b)) || n > uint64(len(b))-at {
		return nil
	}
	return b[at : at+n]
}

func load(stack []uint64, p []byte) error {
	switch len(p) {
	case 1:
		stack[0] = uint64(p[0])
	case 8:
		stack[0] = binary.LittleEndian.Uint64(p)
	default:
		return errExtismMemory
	}
	return nil
}

func store(p []byte, v uint64) error {
	switch len(p) {
	case 1:
		p[0] = byte(v)
	case 8:
		binary.LittleEndian.PutUint64(p, v)
	default:
		return errExtismMemory
	}
	return nil
}

func (c *extismCall) log(level string, text []byte) { fmt.Fprintf(c.work.log, "%s: %s\n", level, text) }

// setVar stores a variable; nil deletes it.
func (c *extismCall) setVar(name string, value []byte) error {
	c.varSize -= len(c.vars[name])
	delete(c.vars, name)
	if value == nil {
		return nil
	}
	if c.varSize+len(value)+len(name) > maxVarBytes {
		return &refusedError{fmt.Sprintf("its variables have more than %d bytes", maxVarBytes)}
	}
	c.varSize += len(value)
	c.vars[name] = bytes.Clone(value)
	return nil
}

// request makes an HTTP request under the egress policy and returns the body of the response.
func (c *extismCall) request(ctx context.Context, spec, body []byte) ([]byte, error) {
	var q struct {
		URL     string            `json:"url"`
		Method  string            `json:"method"`
		Headers map[string]string `json:"headers"`
		Header  map[string]string `json:"header"` // as older plugins write it
	}
	if err := json.Unmarshal(spec, &q); err != nil {
		return nil, &refusedError{"its HTTP request is no JSON object: " + err.Error()}
	}
	s := c.work.s
	if c.client == nil {
		c.client = s.client.Session()
	}
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, strings.ToUpper(q.Method), q.URL, bytes.NewReader(body))
	if err != nil {
		return nil, &refusedError{"its HTTP request is wrong: " + err.Error()}
	}
	for _, h := range []map[string]string{q.Header, q.Headers} {
		for k, v := range h {
			r.Header.Set(k, v)
		}
	}
	response, err := c.client.HTTP().Do(r)
	if err != nil {
		return nil, requestFailed(ctx, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, requestFailed(ctx, err)
	}
	c.status = response.StatusCode
	headers := map[string]string{}
	for k, v := range response.Header {
		headers[strings.ToLower(k)] = strings.Join(v, ", ")
	}
	if c.headers, err = json.Marshal(headers); err != nil {
		return nil, err
	}
	return content, nil
}

// requestFailed is the error that ends the guest: Extism has no other way to tell it.
func requestFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var denied *egress.DeniedError
	if errors.As(err, &denied) {
		return &refusedError{denied.Error()}
	}
	return &refusedError{"its HTTP request failed: " + err.Error()}
}
