package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Section ids, in the order in which a module must carry them (WebAssembly core 2.0, §5.5.2). The data count section
// (12) stands between elements and code.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

// Kinds of imports and exports.
const (
	kindFunc   = 0
	kindTable  = 1
	kindMemory = 2
	kindGlobal = 3
)

const typeI32 = 0x7f

const (
	// maxModuleBytes bounds a module before and after instrumentation. CPython with its C libraries has 9 MB.
	maxModuleBytes = 64 << 20
	// maxTableEntries bounds all tables of a module together: entries live on the host's heap, 8 bytes each.
	maxTableEntries = 1 << 20
	pageBytes       = 1 << 16 // WebAssembly's unit of memory
)

// A module is a parsed binary: what the rewriter reads or changes is taken apart, the rest is kept as bytes.
type module struct {
	types     []funcType
	imports   []importEntry
	funcs     []uint32 // type index of each defined function
	tables    []table
	memory    *limits
	globals   []global
	exports   []export
	start     *uint32
	elements  [][]byte // one encoded segment each
	dataCount *uint32
	code      []code
	data      []dataSegment
	customs   []custom

	importedFuncs []uint32 // type index of each imported function
	changesTables string   // the instruction that changes tables or drops segments, if one was seen
}

type funcType struct {
	params, results []byte // value types
}

type importEntry struct {
	module, name string
	kind         byte
	typ          uint32 // of a function
}

type limits struct {
	min uint32
	max *uint32
}

type table struct {
	elem byte
	limits
}

type global struct {
	typ     byte
	mutable byte
	init    []byte // constant expression with its end
}

type export struct {
	name  string
	kind  byte
	index uint32
}

type code struct {
	groups []localGroup
	locals int // parameters included
	body   []byte
}

type localGroup struct {
	n   uint32
	typ byte
}

type dataSegment struct {
	active bool
	offset uint32 // into the memory, of an active segment
	init   []byte
}

type custom struct {
	name    string
	payload []byte
}

// A reader walks a binary. The first error sticks, and everything read after it is zero.
type reader struct {
	b   []byte
	pos int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.pos = len(r.b)
}

func (r *reader) more() bool { return r.err == nil && r.pos < len(r.b) }

func (r *reader) byte() byte {
	if !r.more() {
		r.fail("unexpected end")
		return 0
	}
	r.pos++
	return r.b[r.pos-1]
}

func (r *reader) bytes(n uint32) []byte {
	if r.err != nil || uint64(n) > uint64(len(r.b)-r.pos) {
		r.fail("unexpected end")
		return nil
	}
	r.pos += int(n)
	return r.b[r.pos-int(n) : r.pos : r.pos]
}

func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v)
		}
	}
	r.fail("number does not fit 32 bits")
	return 0
}

// signed reads a signed LEB128 number of at most maxBytes bytes.
func (r *reader) signed(maxBytes int) int64 {
	var v int64
	for i := range maxBytes {
		c := r.byte()
		v |= int64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			if shift := 7 * (i + 1); shift < 64 && c&0x40 != 0 {
				v |= -1 << shift
			}
			return v
		}
	}
	r.fail("number is too long")
	return 0
}

func (r *reader) name() string { return string(r.bytes(r.u32())) }

// count reads the length of a vector whose entries take at least one byte each.
func (r *reader) count() int {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)-r.pos) {
		r.fail("vector of %d entries in %d bytes", n, len(r.b)-r.pos)
		return 0
	}
	return int(n)
}

// valueType reads a type of WebAssembly 2.0.
func (r *reader) valueType() byte {
	t := r.byte()
	if !isValueType(t) {
		r.fail("value type %#x is not part of WebAssembly 2.0", t)
	}
	return t
}

func isValueType(t byte) bool { return t >= 0x7b && t <= typeI32 || t == 0x70 || t == 0x6f }

func (r *reader) valueTypes() []byte {
	types := r.bytes(r.u32())
	for _, t := range types {
		if !isValueType(t) {
			r.fail("value type %#x is not part of WebAssembly 2.0", t)
		}
	}
	return types
}

func (r *reader) limits() limits {
	flag := r.byte()
	l := limits{min: r.u32()}
	switch flag {
	case 0:
	case 1:
		m := r.u32()
		l.max = &m
	default:
		r.fail("limits of kind %d: shared and 64-bit memories are not supported", flag)
	}
	return l
}

// parse takes a module apart. It checks what the rewriter relies on; the engine validates the rest afterwards.
func parse(wasm []byte) (*module, error) {
	if err := sniff(wasm); err != nil {
		return nil, err
	}
	m := &module{}
	r := &reader{b: wasm, pos: 8}
	last := 0
	for r.more() {
		at := r.pos
		id := r.byte()
		s := &reader{b: r.bytes(r.u32())}
		if r.err != nil {
			return nil, fmt.Errorf("section at offset %d: %w", at, r.err)
		}
		if id != secCustom {
			if order(id) <= last {
				return nil, fmt.Errorf("section %d at offset %d is out of order", id, at)
			}
			last = order(id)
		}
		m.section(id, s)
		if s.err == nil && s.pos != len(s.b) {
			s.fail("%d bytes too many", len(s.b)-s.pos)
		}
		if s.err != nil {
			return nil, fmt.Errorf("section %d at offset %d: %w", id, at, s.err)
		}
	}
	return m, m.check()
}

func sniff(wasm []byte) error {
	switch {
	case len(wasm) > maxModuleBytes:
		return fmt.Errorf("module has %d bytes, more than the limit of %d", len(wasm), maxModuleBytes)
	case len(wasm) < 8 || string(wasm[:4]) != "\x00asm":
		return errors.New("not a WebAssembly module: it must begin with \"\\0asm\"")
	case binary.LittleEndian.Uint16(wasm[6:]) == 1:
		return errors.New("a WebAssembly component, which cannot run here: build a core module for wasip1 (preview 1)")
	case binary.LittleEndian.Uint32(wasm[4:]) != 1:
		return fmt.Errorf("WebAssembly version %d: only version 1 is supported", binary.LittleEndian.Uint32(wasm[4:]))
	}
	return nil
}

func order(id byte) int {
	switch {
	case id == secDataCount:
		return 2*secElement + 1
	case id > secDataCount:
		return 0 // unknown: never in order
	}
	return 2 * int(id)
}

func (m *module) section(id byte, r *reader) {
	if id == secCustom {
		m.customs = append(m.customs, custom{r.name(), r.bytes(uint32(len(r.b) - r.pos))})
		return
	}
	if id == secStart {
		f := r.u32()
		m.start = &f
		return
	}
	if id == secDataCount {
		n := r.u32()
		m.dataCount = &n
		return
	}
	n := r.count()
	for i := 0; i < n && r.err == nil; i++ {
		m.entry(id, i, r)
	}
}

func (m *module) entry(id byte, i int, r *reader) {
	switch id {
	case secType:
		if form := r.byte(); form != 0x60 {
			r.fail("type %d has form %#x, want a function type", i, form)
		}
		m.types = append(m.types, funcType{r.valueTypes(), r.valueTypes()})
	case secImport:
		m.importEntry(r)
	case secFunction:
		m.funcs = append(m.funcs, m.typeIndex(r))
	case secTable:
		m.tables = append(m.tables, table{r.valueType(), r.limits()})
	case secMemory:
		if m.memory != nil {
			r.fail("more than one memory")
		}
		l := r.limits()
		m.memory = &l
	case secGlobal:
		g := global{typ: r.valueType(), mutable: r.byte()}
		g.init = m.constExpr(nil, r, nil)
		m.globals = append(m.globals, g)
	case secExport:
		m.exports = append(m.exports, export{r.name(), r.byte(), r.u32()})
	case secElement:
		m.elements = append(m.elements, m.element(r, nil))
	case secCode:
		m.codeEntry(i, &reader{b: r.bytes(r.u32())}, r)
	case secData:
		m.dataEntry(i, r)
	}
}

func (m *module) importEntry(r *reader) {
	e := importEntry{module: r.name(), name: r.name(), kind: r.byte()}
	if e.kind != kindFunc {
		r.fail("imports %s.%s, which is not a function: the sandbox offers functions only", e.module, e.name)
		return
	}
	e.typ = m.typeIndex(r)
	m.imports = append(m.imports, e)
	m.importedFuncs = append(m.importedFuncs, e.typ)
}

func (m *module) typeIndex(r *reader) uint32 {
	t := r.u32()
	if int64(t) >= int64(len(m.types)) {
		r.fail("type %d of %d", t, len(m.types))
		return 0
	}
	return t
}

func (m *module) codeEntry(i int, r, outer *reader) {
	if i >= len(m.funcs) {
		outer.fail("more bodies than functions")
		return
	}
	c := code{locals: len(m.types[m.funcs[i]].params)}
	for range r.count() {
		g := localGroup{r.u32(), r.valueType()}
		if c.locals += int(g.n); c.locals > 50_000 { // the engine's limit
			r.fail("more than 50000 locals")
		}
		if r.err != nil {
			break
		}
		c.groups = append(c.groups, g)
	}
	c.body = r.bytes(uint32(len(r.b) - r.pos))
	if r.err != nil {
		outer.fail("body %d: %w", i, r.err)
	}
	m.code = append(m.code, c)
}

func (m *module) dataEntry(i int, r *reader) {
	var d dataSegment
	switch kind := r.u32(); kind {
	case 2:
		if r.u32() != 0 {
			r.fail("data segment %d: more than one memory", i)
		}
		fallthrough
	case 0:
		d.active = true
		if op := r.byte(); op != opI32Const {
			r.fail("data segment %d: its offset is not a constant (opcode %#x)", i, op)
		}
		d.offset = uint32(r.signed(5))
		if r.byte() != opEnd {
			r.fail("data segment %d: its offset is not a single constant", i)
		}
	case 1:
	default:
		r.fail("data segment %d has kind %d", i, kind)
	}
	d.init = r.bytes(r.u32())
	m.data = append(m.data, d)
}

// constExpr copies a constant expression to dst, with function indices mapped by fn, or checked when fn is nil.
func (m *module) constExpr(dst []byte, r *reader, fn func(uint32) uint32) []byte {
	for r.err == nil {
		from := r.pos
		switch op := r.byte(); op {
		case opI32Const:
			r.signed(5)
		case opI64Const:
			r.signed(10)
		case opF32Const:
			r.bytes(4)
		case opF64Const:
			r.bytes(8)
		case opGlobalGet:
			r.u32()
		case opRefNull:
			r.byte()
		case opRefFunc:
			f := r.u32()
			if int64(f) >= int64(m.nFuncs()) {
				r.fail("function %d of %d", f, m.nFuncs())
			}
			if fn != nil {
				dst = binary.AppendUvarint(append(dst, opRefFunc), uint64(fn(f)))
				continue
			}
		case opVector:
			if r.u32() != 12 {
				r.fail("instruction in a constant expression")
			}
			r.bytes(16)
		case opEnd:
			return append(dst, opEnd)
		default:
			r.fail("opcode %#x in a constant expression", op)
		}
		dst = append(dst, r.b[from:r.pos]...)
	}
	return dst
}

// element copies one element segment, with function indices mapped by fn unless it is nil.
func (m *module) element(r *reader, fn func(uint32) uint32) []byte {
	flags := r.u32()
	if flags > 7 {
		r.fail("element segment of kind %d", flags)
	}
	dst := binary.AppendUvarint(nil, uint64(flags))
	passive, explicit, exprs := flags&1 != 0, flags&2 != 0, flags&4 != 0
	if !passive {
		if explicit {
			dst = binary.AppendUvarint(dst, uint64(r.u32()))
		}
		dst = m.constExpr(dst, r, fn)
	}
	if passive || explicit {
		dst = append(dst, r.byte()) // element kind or reference type
	}
	n := r.count()
	dst = binary.AppendUvarint(dst, uint64(n))
	for i := 0; i < n && r.err == nil; i++ {
		if exprs {
			dst = m.constExpr(dst, r, fn)
			continue
		}
		f := r.u32()
		if int64(f) >= int64(m.nFuncs()) {
			r.fail("element segment: function %d of %d", f, m.nFuncs())
		}
		if fn != nil {
			f = fn(f)
		}
		dst = binary.AppendUvarint(dst, uint64(f))
	}
	return dst
}

func (m *module) nFuncs() int { return len(m.importedFuncs) + len(m.funcs) }

// check compares the sections with each other, as far as later passes index from one into the next.
func (m *module) check() error {
	if len(m.code) != len(m.funcs) {
		return fmt.Errorf("%d functions are declared and %d have bodies", len(m.funcs), len(m.code))
	}
	if m.start != nil && int64(*m.start) >= int64(m.nFuncs()) {
		return fmt.Errorf("start function %d of %d", *m.start, m.nFuncs())
	}
	for _, e := range m.exports {
		n := map[byte]int{kindFunc: m.nFuncs(), kindTable: len(m.tables), kindGlobal: len(m.globals)}[e.kind]
		if e.kind == kindMemory && m.memory != nil {
			n = 1
		}
		if int64(e.index) >= int64(n) {
			return fmt.Errorf("export %q is number %d of %d of kind %d", e.name, e.index, n, e.kind)
		}
		if strings.HasPrefix(e.name, reserved) {
			return fmt.Errorf("export %q: names that begin with %q are reserved", e.name, reserved)
		}
	}
	var entries uint64
	for _, t := range m.tables {
		entries += uint64(t.min)
	}
	if entries > maxTableEntries || len(m.tables) > 64 {
		return fmt.Errorf("%d tables with %d entries: the limit is 64 tables with %d", len(m.tables), entries, maxTableEntries)
	}
	for _, d := range m.data {
		if d.active && m.memory == nil {
			return errors.New("a data segment without a memory")
		}
	}
	return nil
}

// encode writes the module. Custom sections come last, where the name section has to be.
func (m *module) encode() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	put := func(id byte, n int, entries []byte) {
		if n == 0 {
			return
		}
		count := binary.AppendUvarint(nil, uint64(n))
		out = slices.Grow(out, len(entries)+32)
		out = append(binary.AppendUvarint(append(out, id), uint64(len(count)+len(entries))), count...)
		out = append(out, entries...)
	}
	put(secType, len(m.types), concat(m.types, func(b []byte, t funcType) []byte {
		return appendBytes(appendBytes(append(b, 0x60), t.params), t.results)
	}))
	put(secImport, len(m.imports), concat(m.imports, func(b []byte, e importEntry) []byte {
		b = append(appendBytes(appendBytes(b, []byte(e.module)), []byte(e.name)), e.kind)
		return binary.AppendUvarint(b, uint64(e.typ))
	}))
	put(secFunction, len(m.funcs), concat(m.funcs, func(b []byte, t uint32) []byte {
		return binary.AppendUvarint(b, uint64(t))
	}))
	put(secTable, len(m.tables), concat(m.tables, func(b []byte, t table) []byte {
		return t.append(append(b, t.elem))
	}))
	if m.memory != nil {
		put(secMemory, 1, m.memory.append(nil))
	}
	put(secGlobal, len(m.globals), concat(m.globals, func(b []byte, g global) []byte {
		return append(append(b, g.typ, g.mutable), g.init...)
	}))
	put(secExport, len(m.exports), concat(m.exports, func(b []byte, e export) []byte {
		return binary.AppendUvarint(append(appendBytes(b, []byte(e.name)), e.kind), uint64(e.index))
	}))
	if m.start != nil {
		body := binary.AppendUvarint(nil, uint64(*m.start))
		out = append(append(out, secStart, byte(len(body))), body...)
	}
	put(secElement, len(m.elements), concat(m.elements, func(b, e []byte) []byte { return append(b, e...) }))
	if m.dataCount != nil {
		body := binary.AppendUvarint(nil, uint64(*m.dataCount))
		out = append(append(out, secDataCount, byte(len(body))), body...)
	}
	put(secCode, len(m.code), m.encodeCode())
	put(secData, len(m.data), concat(m.data, func(b []byte, d dataSegment) []byte { return d.append(b) }))
	for _, c := range m.customs {
		body := append(appendBytes(nil, []byte(c.name)), c.payload...)
		out = appendBytes(append(out, secCustom), body)
	}
	return out
}

func concat[T any](entries []T, add func([]byte, T) []byte) []byte {
	var b []byte
	for _, e := range entries {
		b = add(b, e)
	}
	return b
}

// appendBytes appends b with its length before it.
func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// appendSigned appends a signed LEB128 number.
func appendSigned(dst []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(dst, c)
		}
		dst = append(dst, c|0x80)
	}
}

func (l limits) append(dst []byte) []byte {
	if l.max == nil {
		return binary.AppendUvarint(append(dst, 0), uint64(l.min))
	}
	return binary.AppendUvarint(binary.AppendUvarint(append(dst, 1), uint64(l.min)), uint64(*l.max))
}

// encodeCode makes the entries of the code section, nearly all of the module, without copying them twice.
func (m *module) encodeCode() []byte {
	size := 0
	for _, c := range m.code {
		size += len(c.body) + 8*len(c.groups) + 16
	}
	out := make([]byte, 0, size)
	var head []byte
	for _, c := range m.code {
		head = binary.AppendUvarint(head[:0], uint64(len(c.groups)))
		for _, g := range c.groups {
			head = append(binary.AppendUvarint(head, uint64(g.n)), g.typ)
		}
		out = binary.AppendUvarint(out, uint64(len(head)+len(c.body)))
		out = append(append(out, head...), c.body...)
	}
	return out
}

func (d dataSegment) append(dst []byte) []byte {
	if !d.active {
		return appendBytes(append(dst, 1), d.init)
	}
	dst = append(appendSigned(append(dst, 0, opI32Const), int64(int32(d.offset))), opEnd)
	return appendBytes(dst, d.init)
}
