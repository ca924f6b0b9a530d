package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"chorale/sandbox"
)

// extismModule is what Extism plugins import from.
const extismModule = "extism:host/env"

// The exports by which hyper-mcp's plugins list and call their tools: the first of a pair lists, the second calls. The
// older ones are mcp.run's as well.
var (
	hyperOld = [2]string{"describe", "call"}
	hyperNew = [2]string{"list_tools", "call_tool"}
)

func (l *layout) has(pair [2]string) bool { return l.exports[pair[0]] && l.exports[pair[1]] }

// listsTools reports whether the module says itself which tools it has.
func listsTools(l *layout) bool { return l.has(hyperOld) || l.has(hyperNew) }

// An extism calls exports of an Extism plugin. Each call has the state that the module has after its initialisation.
type extism struct {
	pool *pool
}

func newExtism(ctx context.Context, s *grantee) (*extism, error) {
	p, err := newPool(ctx, s, InstanceReset, exportInitialize, "__wasm_call_ctors")
	if err != nil { // some state is not in memory, then every call has a new instance
		p, err = newPool(ctx, s, InstanceFresh, exportInitialize, "__wasm_call_ctors")
	}
	if err != nil {
		return nil, err
	}
	return &extism{p}, nil
}

func (x *extism) close() error { return x.pool.close() }

func (x *extism) run(ctx context.Context, w *work) (answer, error) {
	m := w.s.plugin.module
	switch {
	case !w.s.plugin.listed:
		return x.invoke(ctx, w, w.tool.Export, w.input)
	case m.Exports(hyperNew[1]):
		return x.invoke(ctx, w, hyperNew[1], hyperRequest(`{"request":`, w, `,"context":{"id":1,"_meta":{}}}`))
	default:
		return x.invoke(ctx, w, hyperOld[1], hyperRequest(`{"params":`, w, `}`))
	}
}

func hyperRequest(before string, w *work, after string) []byte {
	b := append([]byte(before), `{"name":"`...)
	b = append(b, w.tool.Name...)
	b = append(b, `","arguments":`...)
	b = append(b, w.input...)
	return append(append(b, '}'), after...)
}

// invoke calls an export with an input.
func (x *extism) invoke(ctx context.Context, w *work, export string, input []byte) (answer, error) {
	config := w.config(export)
	config.Stdout = w.log // Extism plugins have another way for their output
	c := &extismCall{work: w, memory: extismMemory{limit: w.s.limits.MemoryBytes, blocks: map[uint64]uint64{}}, vars: map[string][]byte{}}
	c.input = c.memory.put(input)
	ctx = context.WithValue(ctx, extismKey{}, c)
	in, err := x.pool.take(ctx, config)
	if err != nil {
		return answer{}, err
	}
	defer x.pool.give(in)
	result, err := in.Call(ctx, export)
	w.usage = in.Usage()
	var exit *sandbox.ExitError
	if errors.As(err, &exit) { // an export that is a program's entry point
		result, err = []uint64{uint64(exit.Code)}, nil
	}
	if err != nil {
		return answer{}, err
	}
	if len(result) > 0 && uint32(result[0]) != 0 {
		reason := string(c.failure)
		if reason == "" {
			reason = fmt.Sprintf("It failed with code %d.", uint32(result[0]))
		}
		return answer{status: failed, reason: strings.ToValidUTF8(reason, "\uFFFD")}, nil
	}
	if int64(len(c.output)) > w.s.limits.OutputBytes {
		return answer{}, errOutput
	}
	return answer{output: string(c.output)}, nil
}

// askTools fills the manifest with the tools that the plugin lists. It has no permissions meanwhile.
func (p *Plugin) askTools(ctx context.Context, l *layout) error {
	s, err := p.grant(ctx, nil)
	if err != nil {
		return err
	}
	defer s.close()
	export, input := hyperOld[0], []byte(nil)
	if l.has(hyperNew) {
		export, input = hyperNew[0], []byte(`{"context":{"id":1,"_meta":{}}}`)
	}
	w := s.work(func(error) {}, Call{})
	a, err := s.runner.(*extism).invoke(ctx, w, export, input)
	if err != nil {
		if a, err = w.end(err); err != nil {
			return err
		}
	}
	if a.status != succeeded {
		return fmt.Errorf("%s: %s", export, a.reason)
	}
	return p.listTools([]byte(a.output))
}

// listTools takes over what MCP calls a ListToolsResult.
func (p *Plugin) listTools(list []byte) error {
	var l struct {
		Tools []struct {
			Name        string          `json:"name"`
			Title       string          `json:"title"`
			Description string          `json:"description"`
			Input       json.RawMessage `json:"inputSchema"`
			Output      json.RawMessage `json:"outputSchema"`
			Annotations Annotations     `json:"annotations"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(list, &l); err != nil {
		return fmt.Errorf("the list is no ListToolsResult: %w", err)
	}
	m := *p.manifest
	for _, t := range l.Tools {
		if string(t.Output) == "null" {
			t.Output = nil
		}
		m.Tools = append(m.Tools, ManifestTool{
			Name: t.Name, Title: t.Title, Description: t.Description, Input: t.Input, Output: t.Output, Kind: OutputMCP,
			Annotations: t.Annotations,
		})
	}
	p.listed = true
	p.manifest = &m
	return m.check()
}
