package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"chorale/sandbox"
)

var update = flag.Bool("update", false, "write the golden files")

// A build makes a module out of sections for tests that no assembler would write.
type build []byte

func newBuild() build { return build("\x00asm\x01\x00\x00\x00") }

func (b build) section(id byte, content ...byte) build {
	return append(append(append(b, id), byte(len(content))), content...)
}

// function is a module with one function of no parameters and results, and a memory.
func function(body ...byte) []byte {
	code := append([]byte{0}, body...)
	return newBuild().section(1, 1, 0x60, 0, 0).section(3, 1, 0).section(5, 1, 0, 1).
		section(10, append([]byte{1, byte(len(code))}, code...)...)
}

func TestInstrumentRefuses(t *testing.T) {
	t.Parallel()
	empty := function(0x0b)
	for _, c := range []struct {
		name, want string
		wasm       []byte
	}{
		{"nothing", "must begin with", nil},
		{"text", "must begin with", []byte("(module)  ")},
		{"component", "component", []byte("\x00asm\x0d\x00\x01\x00")},
		{"version 2", "version 2", []byte("\x00asm\x02\x00\x00\x00")},
		{"cut in a section", "unexpected end", empty[:len(empty)-1]},
		{"section of 4 GB", "unexpected end", append(newBuild(), 1, 0xff, 0xff, 0xff, 0xff, 0x0f)},
		{"number of 6 bytes", "does not fit 32 bits", append(newBuild(), 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00)},
		{"sections out of order", "out of order", newBuild().section(3, 0).section(1, 0)},
		{"section twice", "out of order", newBuild().section(1, 0).section(1, 0)},
		{"unknown section", "out of order", newBuild().section(13, 0)},
		{"bytes after the last entry", "too many", newBuild().section(1, 0, 7)},
		{"a vector that is longer than the section", "entries in", newBuild().section(1, 100)},
		{"reference to a type of another proposal", "value type 0x64", newBuild().section(1, 1, 0x60, 1, 0x64, 0)},
		{"structure type", "form 0x5f", newBuild().section(1, 1, 0x5f, 0)},
		{"function of no type", "type 3 of 0", newBuild().section(3, 1, 3)},
		{"imported memory", "not a function", newBuild().section(2, 1, 1, 'e', 1, 'm', 2, 0, 1)},
		{"shared memory", "shared and 64-bit", newBuild().section(5, 1, 3, 1, 1)},
		{"64-bit memory", "shared and 64-bit", newBuild().section(5, 1, 4, 1)},
		{"two memories", "more than one memory", newBuild().section(5, 2, 0, 1, 0, 1)},
		{"huge table", "entries: the limit", newBuild().section(4, 1, 0x70, 0, 0xff, 0xff, 0x7f)},
		{"body without a function", "more bodies", newBuild().section(10, 1, 2, 0, 0x0b)},
		{"function without a body", "have bodies", newBuild().section(1, 1, 0x60, 0, 0).section(3, 1, 0)},
		{"four billion locals", "50000 locals", newBuild().section(1, 1, 0x60, 0, 0).section(3, 1, 0).
			section(10, 1, 8, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b)},
		{"body without an end", "unexpected end", function(0x01)},
		{"code after the end", "after the last end", function(0x0b, 0x01)},
		{"else without if", "else without if", function(0x05, 0x0b)},
		{"label that does not exist", "label 1 of 1", function(0x0c, 1, 0x0b)},
		{"tail call", "opcode 0x12", function(0x12, 0, 0x0b)},
		{"exception handling", "opcode 0x1f", function(0x1f, 0x40, 0, 0x0b, 0x0b)},
		{"atomic", "opcode 0xfe", function(0xfe, 0x03, 0, 0x0b)},
		{"relaxed vector", "opcode 0xfd 256", function(0xfd, 0x80, 0x02, 0x0b)},
		{"unknown bulk instruction", "opcode 0xfc 18", function(0xfc, 18, 0x0b)},
		{"call of a function that would be ours", "calls function 1 of 1", function(0x10, 1, 0x0b)},
		{"reference to a function that would be ours", "function 2 of 1", function(0xd2, 2, 0x1a, 0x0b)},
		{"global that would be ours", "global 0 of 0", function(0x41, 0, 0x24, 0, 0x0b)},
		{"local that would be ours", "local 0 of 0", function(0x20, 0, 0x1a, 0x0b)},
		{"block of a type that would be ours", "type 1 of 1", function(0x02, 1, 0x0b, 0x0b)},
		{"reserved export", "are reserved", newBuild().section(1, 1, 0x60, 0, 0).section(3, 1, 0).
			section(7, append([]byte{1, 12}, "chorale.fuel\x00\x00"...)...).section(10, 1, 2, 0, 0x0b)},
		{"reserved import", "reserved name", newBuild().section(1, 1, 0x60, 0, 0).
			section(2, append([]byte{1, 7}, "chorale\x04tick\x00\x00"...)...)},
		{"data without a memory", "without a memory", newBuild().section(11, 1, 0, 0x41, 0, 0x0b, 0)},
		{"data at a computed offset", "not a constant", newBuild().section(5, 1, 0, 1).section(11, 1, 0, 0x23, 0, 0x0b, 0)},
		{"start function that does not exist", "start function 5", newBuild().section(8, 5)},
		{"export of nothing", "number 9 of 0", newBuild().section(7, 1, 1, 'x', 0, 9)},
	} {
		if _, err := sandbox.Instrument(c.wasm); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := sandbox.Instrument(make([]byte, 64<<20+1)); err == nil || !strings.Contains(err.Error(), "more than the limit") {
		t.Errorf("module of more than 64 MiB: %v", err)
	}
}

func TestForgedModulesAreRefused(t *testing.T) {
	t.Parallel()
	raw := fixture(t, "loops.wasm")
	good := instrument(t, raw)
	mark := append([]byte{0, 14, 12}, "chorale.fuel\x02"...)
	if !bytes.HasSuffix(good, mark) {
		t.Fatalf("the mark is not at the end: %x", good[len(good)-20:])
	}
	// The body of "spin" after instrumentation: loop, check, br 0.
	const checkBytes = 17 // global.get, i32.const 1, i32.sub, global.set, global.get, i32.const 0, i32.lt_s, if, call, end
	loop := bytes.Index(good, []byte{0x03, 0x40, 0x23})
	if loop < 0 || good[loop+2+checkBytes] != 0x0c || good[loop+2+checkBytes-1] != 0x0b {
		t.Fatal("no loop with a check before it goes back")
	}
	// A br_if that goes back became an if with a check and a br in it.
	when := bytes.Index(good, append([]byte{0x04, 0x40}, good[loop+2:loop+2+checkBytes]...))
	if when < 0 || good[when+2+checkBytes] != 0x0c {
		t.Fatal("no jump back on a condition")
	}
	edit := func(at int, b ...byte) []byte {
		out := bytes.Clone(good)
		copy(out[at:], b)
		return out
	}
	nops := func(at, n int) []byte { return edit(at, bytes.Repeat([]byte{0x01}, n)...) }
	for _, c := range []struct {
		name, want string
		wasm       []byte
	}{
		{"mark on a raw module", "import chorale.tick is not the last", append(bytes.Clone(raw), mark...)},
		{"no mark", "", good[:len(good)-len(mark)]},
		{"other version of the rewriter", "rewriter version", edit(len(good)-1, 1)},
		{"check of a loop removed", "a check of a loop is missing", nops(loop+2, checkBytes)},
		{"check of a jump on a condition removed", "a check of a loop is missing", nops(when+2, checkBytes)},
		{"fuel does not count", "global 0 of 0", edit(loop+5, 0x00)},
		{"bulk instruction unpaid", "nobody pays", patch(t, good, []byte{0x10, tableFillHelper(t, good), 0xfc, 17}, []byte{0x01, 0x01})},
	} {
		_, err := sandbox.Compile(t.Context(), c.wasm, sandbox.Options{})
		if !errors.Is(err, sandbox.ErrNotInstrumented) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := sandbox.Instrument(nops(loop+2, checkBytes)); !errors.Is(err, sandbox.ErrNotInstrumented) {
		t.Errorf("Instrument of a forged module: %v", err)
	}
}

// tableFillHelper is the index of the helper that the table.fill of loops.wasm pays.
func tableFillHelper(t *testing.T, wasm []byte) byte {
	t.Helper()
	at := bytes.Index(wasm, []byte{0xfc, 17})
	if at < 2 || wasm[at-2] != 0x10 {
		t.Fatal("no paid table.fill")
	}
	return wasm[at-1]
}

func patch(t *testing.T, wasm, old, with []byte) []byte {
	t.Helper()
	at := bytes.Index(wasm, old)
	if at < 0 {
		t.Fatalf("%x is not in the module", old)
	}
	out := bytes.Clone(wasm)
	copy(out[at:], with)
	return out
}

func TestInstrumentTwiceIsOnce(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/*.wasm")
	for _, f := range files {
		once := instrument(t, fixture(t, filepath.Base(f)))
		if twice := instrument(t, once); !bytes.Equal(once, twice) {
			t.Errorf("%s changes again", f)
		}
	}
	guest, err := goGuest()
	if err != nil {
		t.Fatalf("%v: %s", err, guest)
	}
	once := instrument(t, guest)
	if twice := instrument(t, once); !bytes.Equal(once, twice) {
		t.Error("a Go program changes again")
	}
}

// TestGolden compares a listing of instrumented code, for people to review what the rewriter does.
func TestGolden(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	out.WriteString("# What the rewriter makes of golden.wat: new code is visible as counters, calls of the helpers and checks.\n" +
		"# Refresh with: go test ./sandbox -run TestGolden -update\n")
	list(t, &out, instrument(t, fixture(t, "golden.wasm")))
	name := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(name, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := fixture(t, "golden.txt"); out.String() != string(want) {
		t.Errorf("instrumented code changed; if it should, run with -update and raise RewriterVersion\n%s", out.String())
	}
}

// list prints the sections of a module, and the bytes of each function.
func list(t *testing.T, out *strings.Builder, wasm []byte) {
	t.Helper()
	uleb := func(b []byte) (int, []byte) {
		v, n := binary.Uvarint(b)
		return int(v), b[n:]
	}
	for b := wasm[8:]; len(b) > 0; {
		id := b[0]
		n, rest := uleb(b[1:])
		body := rest[:n]
		b = rest[n:]
		if id != 10 {
			fmt.Fprintf(out, "section %d: %q\n", id, body)
			continue
		}
		count, body := uleb(body)
		for i := range count {
			size, rest := uleb(body)
			fmt.Fprintf(out, "body %d: % x\n", i, rest[:size])
			body = rest[size:]
		}
	}
}

// engine is the bare engine with what the fixtures import.
func engine(t *testing.T) (context.Context, wazero.Runtime) {
	t.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { rt.Close(ctx) })
	i32, i64, f32, f64 := api.ValueTypeI32, api.ValueTypeI64, api.ValueTypeF32, api.ValueTypeF64
	for module, funcs := range map[string]map[string][]api.ValueType{
		"chorale":  {"tick": nil},
		"env":      {"triple": {i32}, "note": {i64}},
		"spectest": {"print": nil, "print_i32": {i32}, "print_i64": {i64}, "print_f32": {f32}, "print_f64": {f64}, "print_i32_f32": {i32, f32}, "print_f64_f64": {f64, f64}},
	} {
		b := rt.NewHostModuleBuilder(module)
		for name, params := range funcs {
			var results []api.ValueType
			f := func(_ context.Context, stack []uint64) {}
			switch name {
			case "tick":
				results = []api.ValueType{i32}
				f = func(_ context.Context, stack []uint64) { stack[0] = 3 }
			case "triple":
				results = []api.ValueType{i32}
				f = func(_ context.Context, stack []uint64) { stack[0] = uint64(uint32(stack[0]) * 3) }
			}
			b.NewFunctionBuilder().WithGoFunction(api.GoFunc(f), params, results).Export(name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return ctx, rt
}

// A twin is a module without and with instrumentation.
type twin struct {
	raw, checked api.Module
}

// newTwin instantiates both; nil if both fail.
func newTwin(t *testing.T, ctx context.Context, rt wazero.Runtime, name string, wasm []byte) *twin {
	t.Helper()
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	raw, err := rt.InstantiateWithConfig(ctx, wasm, config)
	checked, err2 := rt.InstantiateWithConfig(ctx, instrument(t, wasm), config)
	if (err == nil) != (err2 == nil) {
		t.Errorf("%s: %v without instrumentation, %v with it", name, err, err2)
	}
	if err != nil || err2 != nil {
		return nil
	}
	return &twin{raw, checked}
}

// call compares the results, or the first lines of the errors.
func (w *twin) call(t *testing.T, ctx context.Context, where, name string, args []uint64) {
	t.Helper()
	f, g := w.raw.ExportedFunction(name), w.checked.ExportedFunction(name)
	if f == nil || g == nil {
		t.Errorf("%s: no function %s", where, name)
		return
	}
	outcome := func(f api.Function) string {
		results, err := f.Call(ctx, args...)
		if err != nil {
			line, _, _ := strings.Cut(err.Error(), "\n")
			return line
		}
		for i, r := range f.Definition().ResultTypes() {
			if r == api.ValueTypeExternref || r == 0x70 && results[i] != 0 { // references are addresses
				results[i] = 1
			}
		}
		return fmt.Sprint(results)
	}
	if got, want := outcome(g), outcome(f); got != want {
		t.Errorf("%s: %s(%v) is %s with instrumentation and %s without", where, name, args, got, want)
	}
}

func TestInstrumentationChangesNoResult(t *testing.T) {
	t.Parallel()
	ctx, rt := engine(t)
	w := newTwin(t, ctx, rt, "kinds.wasm", fixture(t, "kinds.wasm"))
	if w == nil {
		t.Fatal("kinds.wasm cannot be instantiated")
	}
	f64 := api.EncodeF64
	for _, c := range []struct {
		name string
		args []uint64
	}{
		{"imported", []uint64{14}}, {"indirect", []uint64{1, 5}}, {"indirect", []uint64{2, 5}}, {"indirect", []uint64{3, 5}},
		{"indirect", []uint64{5, 5}}, {"indirect", []uint64{0, 5}}, {"indirect", []uint64{6, 5}}, {"indirect", []uint64{99, 5}},
		{"indirect1", []uint64{9}}, {"through_ref", []uint64{7}}, {"is_null", nil}, {"table_ops", []uint64{6}}, {"table_ops", []uint64{6}},
		{"multi", nil}, {"sum", []uint64{1000}}, {"sum", []uint64{0}}, {"loop_param", []uint64{77}},
		{"switch", []uint64{0}}, {"switch", []uint64{1}}, {"switch", []uint64{2}}, {"switch", []uint64{3}}, {"switch", []uint64{1 << 31}},
		{"bulk", nil}, {"bulk", nil}, {"vector", []uint64{40}}, {"numbers", []uint64{f64(1e300)}}, {"numbers", []uint64{f64(-7.3)}},
		{"select", []uint64{0}}, {"select", []uint64{1}}, {"real", nil}, {"real", nil}, {"count", nil}, {"tail", nil}, {"null_ref", nil},
		{"dead", nil}, {"big_copy", []uint64{100, 0}}, {"big_copy", []uint64{0, 100}}, {"big_copy", []uint64{0, 0}},
		{"big_copy", []uint64{0, 1 << 20}}, {"big_copy", []uint64{1, 1 << 30}}, {"big_copy", []uint64{1 << 31, 1}},
	} {
		w.call(t, ctx, "kinds.wasm", c.name, c.args)
	}
}

// TestInstrumentationPassesTheSpecification runs the engine's copy of the official test suite with and without
// instrumentation. It is there when the module's source is, as in every build from source.
func TestInstrumentationPassesTheSpecification(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest/v2/testdata")
	files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		if strings.Contains(os.Getenv("REQUIRE"), "spectest") {
			t.Fatalf("no test suite in %s: %v", dir, err)
		}
		t.Skipf("no test suite in %s", dir)
	}
	calls := 0
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "simd_") && !strings.HasPrefix(filepath.Base(f), "simd_load") {
			continue // two thirds of the suite, and arithmetic only
		}
		calls += specFile(t, f)
	}
	if calls < 10_000 {
		t.Errorf("%d calls, want more than 10000: has the suite another form?", calls)
	}
}

// A specCommand is one line of a script in the form that wast2json writes.
type specCommand struct {
	Type, Filename string
	Line           int
	Action         struct {
		Type, Field, Module string
		Args                []struct {
			Type  string
			Value json.RawMessage
		}
	}
}

func specFile(t *testing.T, name string) (calls int) {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var script struct{ Commands []specCommand }
	if err := json.Unmarshal(b, &script); err != nil {
		t.Fatal(err)
	}
	ctx, rt := engine(t)
	var w *twin
	for _, c := range script.Commands {
		where := fmt.Sprintf("%s:%d", filepath.Base(name), c.Line)
		switch c.Type {
		case "module":
			w = nil
			wasm, err := os.ReadFile(filepath.Join(filepath.Dir(name), c.Filename))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sandbox.Instrument(wasm); err != nil {
				if !strings.Contains(err.Error(), "not a function") { // imports that we do not offer
					t.Errorf("%s: %v", where, err)
				}
				continue
			}
			w = newTwin(t, ctx, rt, where, wasm)
		case "assert_return", "assert_trap", "action":
			args, ok := specArgs(c)
			if w == nil || !ok || c.Action.Type != "invoke" || c.Action.Module != "" {
				continue
			}
			w.call(t, ctx, where, c.Action.Field, args)
			calls++
		}
	}
	return calls
}

// specArgs reads scalar arguments.
func specArgs(c specCommand) (args []uint64, ok bool) {
	for _, a := range c.Action.Args {
		v, err := strconv.ParseUint(strings.Trim(string(a.Value), `"`), 10, 64)
		if err != nil {
			return nil, false
		}
		args = append(args, v)
	}
	return args, true
}

// FuzzInstrument looks for modules that crash the parser, that change when they are instrumented twice, or that the
// engine accepts without instrumentation and not with it, or the other way round.
func FuzzInstrument(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.wasm")
	for _, name := range files {
		if b := fixture(f, filepath.Base(name)); len(b) < 8192 {
			f.Add(b)
			f.Add(instrument(f, b))
		}
	}
	f.Add(function(0x03, 0x40, 0x0c, 0, 0x0b, 0x0b))
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	compile := func(wasm []byte) error {
		m, err := rt.CompileModule(ctx, wasm)
		if err == nil {
			m.Close(ctx)
		}
		return err
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		once, err := sandbox.Instrument(wasm)
		if err != nil {
			return
		}
		before, after := compile(wasm), compile(once)
		if before != nil && strings.Contains(before.Error(), "custom") {
			return // malformed custom sections are legal, and dropped; the engine refuses some of them
		}
		if (before == nil) != (after == nil) {
			t.Errorf("the engine says %v, and of the instrumented module %v", before, after)
		}
		if after != nil {
			return
		}
		twice, err := sandbox.Instrument(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("instrumenting again: %v", err)
		}
	})
}
