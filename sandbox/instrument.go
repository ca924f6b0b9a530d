package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const (
	// reserved is the module name of our own imports and the prefix of our own exports; guests may use neither.
	reserved = "chorale."
	// markSection is the custom section that says which rewriter a module went through.
	markSection = reserved + "fuel"
	// RewriterVersion changes whenever Instrument adds different code. It is part of every cache key.
	RewriterVersion = 2

	// maxPath is how much work (see instruction.cost) a path through a function may do between two checks.
	maxPath = 4096
	// maxUncovered is how much a function may do without a check at its entry. Callers count it as their own, so small leaf
	// functions cost nothing. A function with more work or recursion has a check at its entry.
	maxUncovered = 512
	// maxWaysBack is how many jumps to a loop's header have a check of their own. Loops with more have one at the header.
	maxWaysBack = 3
	// callCost and hostCallCost are what a call weighs by itself.
	callCost, hostCallCost = 4, 16

	// fuelBytesShift makes a unit of fuel of 1 KiB moved by a bulk instruction, about what maxPath takes.
	fuelBytesShift = 10
	// chunkBytes is the longest piece that memory.fill and memory.copy move without a check in between.
	chunkBytes = 1 << 20
)

// ErrNotInstrumented is returned for a module without fuel checks: it could stop the whole process.
var ErrNotInstrumented = errors.New("module is not instrumented: a loop in it could not be stopped")

// Instrument returns the module with fuel checks woven in, so that a guest gives control back to the host every now and
// then: in every round of a loop, at the entry of functions that recurse or are long, and within long straight code. A
// check takes one unit of fuel, and the host is asked for more when there is none. Bulk instructions pay for their length,
// and those on memory are cut into pieces. Stale debug sections are dropped.
//
// An instrumented module is checked (a mark alone proves nothing) and returned as it is. A module that is not plain
// WebAssembly 2.0 is refused.
func Instrument(wasm []byte) ([]byte, error) {
	m, err := parse(wasm)
	if err != nil {
		return nil, fmt.Errorf("parse module: %w", err)
	}
	if m.marked() {
		return wasm, verify(m)
	}
	if err := m.weave(); err != nil {
		return nil, fmt.Errorf("instrument module: %w", err)
	}
	out := m.encode()
	if len(out) > maxModuleBytes {
		return nil, fmt.Errorf("instrumented module has %d bytes, more than the limit of %d", len(out), maxModuleBytes)
	}
	return out, nil
}

func (m *module) marked() bool {
	for _, c := range m.customs {
		if c.name == markSection {
			return true
		}
	}
	return false
}

// A layout says at which indices of the instrumented module our additions are.
type layout struct {
	tick          uint32 // import () -> i32: the host's answer is the new fuel
	fuel          uint32 // global
	refuel        uint32 // () -> (): asks the host for fuel
	charge        uint32 // (n i32) -> n: pays for n bytes or entries
	fill, copying uint32 // like memory.fill and memory.copy, in pieces; only where there is a memory
}

func layoutOf(importedFuncs, funcs, globals int) layout {
	n := uint32(importedFuncs + funcs)
	return layout{tick: uint32(importedFuncs) - 1, fuel: uint32(globals) - 1, refuel: n, charge: n + 1,
		fill: n + 2, copying: n + 3}
}

// nHelpers is how many functions weave appends.
func (m *module) nHelpers() int {
	if m.memory == nil {
		return 2
	}
	return 4
}

var (
	tickType   = funcType{results: []byte{typeI32}}
	refuelType = funcType{}
	chargeType = funcType{params: []byte{typeI32}, results: []byte{typeI32}}
	bulkType   = funcType{params: []byte{typeI32, typeI32, typeI32}}
)

// weave instruments the module in place.
func (m *module) weave() error {
	for _, e := range m.imports {
		if e.module == strings.TrimSuffix(reserved, ".") {
			return fmt.Errorf("imports %s.%s, a reserved name", e.module, e.name)
		}
	}
	l := layoutOf(len(m.importedFuncs)+1, len(m.funcs), len(m.globals)+1)
	w := newWeaver(m, l, uint32(len(m.importedFuncs)), modeWeave)
	bodies := make([]code, len(m.code))
	total := 0
	for i := range m.code {
		c, err := w.function(i)
		if err != nil {
			return fmt.Errorf("function %d: %w", len(m.importedFuncs)+i, err)
		}
		if total += len(c.body); total > maxModuleBytes {
			return fmt.Errorf("the result is larger than the limit of %d bytes", maxModuleBytes)
		}
		bodies[i] = c
	}
	if err := m.shift(w.moved); err != nil {
		return err
	}
	m.code = bodies
	types := []funcType{tickType, refuelType, chargeType, bulkType, bulkType}
	first := uint32(len(m.types))
	m.types = append(m.types, types...)
	m.imports = append(m.imports, importEntry{module: strings.TrimSuffix(reserved, "."), name: "tick", typ: first})
	m.importedFuncs = append(m.importedFuncs, first)
	m.globals = append(m.globals, global{typ: typeI32, mutable: 1, init: []byte{opI32Const, 0, opEnd}})
	for i, body := range l.helpers()[:m.nHelpers()] {
		m.funcs = append(m.funcs, first+1+uint32(i))
		m.code = append(m.code, code{body: body})
	}
	m.capTables()
	m.customs = append(m.customs, custom{markSection, []byte{RewriterVersion}})
	return nil
}

// capTables gives every table a maximum: they grow on the host's heap.
func (m *module) capTables() {
	if len(m.tables) == 0 {
		return
	}
	share := uint32(maxTableEntries / len(m.tables))
	for i := range m.tables {
		t := &m.tables[i]
		if limit := max(share, t.min); t.max == nil || *t.max > limit {
			t.max = &limit
		}
	}
}

// shift moves the function indices outside of code, and drops debug sections, whose offsets are wrong now.
func (m *module) shift(moved func(uint32) uint32) error {
	for i := range m.exports {
		if e := &m.exports[i]; e.kind == kindFunc {
			e.index = moved(e.index)
		}
	}
	if m.start != nil {
		f := moved(*m.start)
		m.start = &f
	}
	for i, e := range m.elements {
		r := &reader{b: e}
		if m.elements[i] = m.element(r, moved); r.err != nil {
			return fmt.Errorf("element segment %d: %w", i, r.err)
		}
	}
	for i := range m.globals {
		r := &reader{b: m.globals[i].init}
		if m.globals[i].init = m.constExpr(nil, r, moved); r.err != nil {
			return fmt.Errorf("global %d: %w", i, r.err)
		}
	}
	var kept []custom
	for _, c := range m.customs {
		switch {
		case c.name == "name":
			c.payload = shiftNames(c.payload, moved)
		case strings.HasPrefix(c.name, ".debug_"), strings.HasPrefix(c.name, "reloc."), c.name == "linking",
			c.name == "sourceMappingURL", c.name == "external_debug_info":
			continue
		}
		kept = append(kept, c)
	}
	m.customs = kept
	return nil
}

// shiftNames keeps the names of functions, which appear in traces, of a name section, under their new indices. A malformed
// section is legal and names nothing.
func shiftNames(payload []byte, moved func(uint32) uint32) []byte {
	const functionNames = 1
	for r := (&reader{b: payload}); r.more(); {
		id := r.byte()
		sub := &reader{b: r.bytes(r.u32())}
		if id != functionNames || r.err != nil {
			continue
		}
		n := sub.count()
		body := binary.AppendUvarint(nil, uint64(n))
		for range n {
			body = binary.AppendUvarint(body, uint64(moved(sub.u32())))
			body = appendBytes(body, sub.bytes(sub.u32()))
		}
		if sub.err != nil || sub.pos != len(sub.b) {
			return nil
		}
		return appendBytes([]byte{functionNames}, body)
	}
	return nil
}

// verify checks that an instrumented module would get nothing more from weave: it runs the same pass over it, which
// accepts the checks that are there and fails where one is missing.
func verify(m *module) error {
	if err := m.checkMark(); err != nil {
		return err
	}
	nHelpers := m.nHelpers()
	l := layoutOf(len(m.importedFuncs), len(m.funcs)-nHelpers, len(m.globals))
	for i, want := range l.helpers()[:nHelpers] {
		if c := m.code[len(m.funcs)-nHelpers+i]; len(c.groups) > 0 || !bytes.Equal(c.body, want) {
			return fmt.Errorf("%w: function %d is not the rewriter's", ErrNotInstrumented, l.refuel+uint32(i))
		}
	}
	w := newWeaver(m, l, l.tick, modeVerify)
	for i := range m.code[:len(m.code)-nHelpers] {
		if _, err := w.function(i); err != nil {
			return fmt.Errorf("%w: function %d: %w", ErrNotInstrumented, len(m.importedFuncs)+i, err)
		}
	}
	for _, t := range m.tables {
		if t.max == nil || *t.max > maxTableEntries {
			return fmt.Errorf("%w: a table may grow without limit", ErrNotInstrumented)
		}
	}
	return nil
}

// checkMark checks the mark, the import and the global; after it, the indices of a layout exist.
func (m *module) checkMark() error {
	for _, c := range m.customs {
		if c.name != markSection {
			continue
		}
		if len(c.payload) != 1 || c.payload[0] != RewriterVersion {
			return fmt.Errorf("%w: rewriter version %v, want %d: instrument the original again", ErrNotInstrumented, c.payload, RewriterVersion)
		}
		n, ng := len(m.imports), len(m.globals)
		if n == 0 || ng == 0 || len(m.funcs) < m.nHelpers() || m.imports[n-1].module+"." != reserved || m.imports[n-1].name != "tick" {
			return fmt.Errorf("%w: its mark is there and the import %stick is not the last", ErrNotInstrumented, reserved)
		}
		if g := m.globals[ng-1]; g.typ != typeI32 || g.mutable != 1 || !bytes.Equal(g.init, []byte{opI32Const, 0, opEnd}) {
			return fmt.Errorf("%w: its last global is not a fuel counter", ErrNotInstrumented)
		}
		return nil
	}
	return ErrNotInstrumented
}

// helpers are the bodies of the functions that weave appends, in the order of layout.
func (l layout) helpers() [][]byte {
	call := func(f uint32) []byte { return binary.AppendUvarint([]byte{opCall}, uint64(f)) }
	fuel := func(op byte) []byte { return binary.AppendUvarint([]byte{op}, uint64(l.fuel)) }
	konst := func(v int32) []byte { return appendSigned([]byte{opI32Const}, int64(v)) }
	get := func(i byte) []byte { return []byte{opLocalGet, i} }
	add := func(i, op byte) []byte { // local i += or -= a chunk
		return join(get(i), konst(chunkBytes), []byte{op, opLocalSet, i})
	}
	const d, s, n = 0, 1, 2 // parameters of memory.fill and memory.copy; s is the value for fill
	memFill := []byte{opMisc, miscMemoryFill, 0}
	memCopy := []byte{opMisc, miscMemoryCopy, 0, 0}
	toll := join(konst(chunkBytes), call(l.charge), []byte{opDrop})
	empty := join(fuel(opGlobalGet), konst(0), []byte{opI32LtS, opIf, blockEmpty}, call(l.refuel), []byte{opEnd})
	loop := []byte{opBlock, blockEmpty, opLoop, blockEmpty}
	small := join(get(n), konst(chunkBytes), []byte{opI32LeU, opBrIf, 1}) // leaves the loop
	again := []byte{opBr, 0, opEnd, opEnd}

	refuel := join(call(l.tick), fuel(opGlobalSet), []byte{opEnd})
	charge := join(fuel(opGlobalGet), get(0), konst(fuelBytesShift), []byte{opI32ShrU, opI32Sub}, fuel(opGlobalSet),
		empty, get(0), []byte{opEnd})
	fill := join(loop, small, toll, get(d), get(s), konst(chunkBytes), memFill, add(d, opI32Add), add(n, opI32Sub), again,
		get(d), get(s), get(n), call(l.charge), memFill, []byte{opEnd})
	// Pieces go upwards when the destination is below the source and downwards when it is above, as overlap demands.
	copying := join(get(d), get(s), []byte{opI32LeU, opIf, blockEmpty},
		loop, small, toll, get(d), get(s), konst(chunkBytes), memCopy,
		add(d, opI32Add), add(s, opI32Add), add(n, opI32Sub), again,
		[]byte{opElse},
		loop, small, toll, add(n, opI32Sub),
		get(d), get(n), []byte{opI32Add}, get(s), get(n), []byte{opI32Add}, konst(chunkBytes), memCopy, again,
		[]byte{opEnd},
		get(d), get(s), get(n), call(l.charge), memCopy, []byte{opEnd})
	return [][]byte{refuel, charge, fill, copying}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
