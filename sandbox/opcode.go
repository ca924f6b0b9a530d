package sandbox

// The opcodes that the rewriter looks at (WebAssembly core 2.0, §5.4).
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableSet     = 0x26
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LtS       = 0x48
	opI32LeU       = 0x4d
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32ShrU      = 0x76
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd

	// After opMisc.
	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableFill  = 17

	blockEmpty = 0x40 // block type without parameters and results
)

// An instruction is one decoded opcode with its first immediates.
type instruction struct {
	op      byte
	sub     uint32   // the opcode after opMisc and opVector
	index   uint32   // first index immediate: label, local, global, function, type, table or segment
	targets []uint32 // labels of br_table, the default last
	from    int      // where it begins; it ends at the reader's position
}

// next decodes one instruction of core 2.0. Anything else is an error, so that nothing is rewritten by guessing.
func (r *reader) next() instruction {
	in := instruction{from: r.pos}
	in.op = r.byte()
	switch op := in.op; {
	case op == opBlock || op == opLoop || op == opIf:
		in.index = r.blockType()
	case op == opBr, op == opBrIf, op == opCall, op >= opLocalGet && op <= 0x26, op == opRefFunc:
		in.index = r.u32()
	case op == opBrTable:
		n := r.count()
		for range n + 1 {
			in.targets = append(in.targets, r.u32())
		}
	case op == opCallIndirect:
		in.index = r.u32()
		r.u32() // table
	case op == opSelectTyped:
		r.valueTypes()
	case op >= 0x28 && op <= 0x3e:
		r.u32() // alignment
		r.u32() // offset
	case op == 0x3f || op == 0x40: // memory.size, memory.grow
		r.zero()
	case op == opI32Const:
		r.signed(5)
	case op == opI64Const:
		r.signed(10)
	case op == opF32Const:
		r.bytes(4)
	case op == opF64Const:
		r.bytes(8)
	case op == opRefNull:
		r.byte()
	case op == opMisc:
		in.sub = r.u32()
		in.index = r.misc(in.sub)
	case op == opVector:
		in.sub = r.u32()
		r.vector(in.sub)
	case op <= 0x01, op == opElse, op == opEnd, op == opReturn, op == opDrop, op == 0x1b, op >= 0x45 && op <= 0xc4, op == 0xd1:
	default:
		r.fail("opcode %#x is not part of WebAssembly 2.0", op)
	}
	return in
}

// noType is what blockType answers for a block without a type index.
const noType = 1<<32 - 1

func (r *reader) blockType() uint32 {
	t := r.signed(5)
	if t >= 0 {
		return uint32(t)
	}
	if b := byte(t & 0x7f); t < -64 || b != blockEmpty && !isValueType(b) {
		r.fail("block type %d is not part of WebAssembly 2.0", t)
	}
	return noType
}

func (r *reader) misc(sub uint32) (index uint32) {
	switch sub {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case miscMemoryInit:
		index = r.u32()
		r.zero()
	case miscDataDrop, miscElemDrop, miscTableGrow, 16, miscTableFill:
		index = r.u32()
	case miscMemoryCopy:
		r.zero()
		r.zero()
	case miscMemoryFill:
		r.zero()
	case miscTableInit, miscTableCopy:
		index = r.u32()
		r.u32()
	default:
		r.fail("opcode 0xfc %d is not part of WebAssembly 2.0", sub)
	}
	return index
}

// zero reads the index of a memory, of which there is one.
func (r *reader) zero() {
	if r.byte() != 0 {
		r.fail("more than one memory")
	}
}

func (r *reader) vector(sub uint32) {
	memory := func() { r.u32(); r.u32() }
	switch {
	case sub <= 11, sub == 92, sub == 93: // loads and stores
		memory()
	case sub == 12, sub == 13: // v128.const, i8x16.shuffle
		r.bytes(16)
	case sub >= 21 && sub <= 34: // lanes
		r.byte()
	case sub >= 84 && sub <= 91: // loads and stores of a lane
		memory()
		r.byte()
	case sub > 255:
		r.fail("opcode 0xfd %d is not part of WebAssembly 2.0", sub)
	}
}

// cost is what an instruction weighs on a path, calls aside: one for simple ones, eight for divisions and square roots,
// whose latency is tens of cycles.
func (in instruction) cost() int {
	switch op := in.op; {
	case op == opBlock, op == opLoop, op == opElse, op == opEnd, op == 0x01:
		return 0
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82, op == 0x91, op == 0x95, op == 0x9f, op == 0xa3:
		return 8
	}
	return 1
}

// changesTables names the instruction if it changes state that is neither in memory nor in globals.
func (in instruction) changesTables() string {
	if in.op == opTableSet {
		return "table.set"
	}
	if in.op != opMisc {
		return ""
	}
	switch in.sub {
	case miscDataDrop:
		return "data.drop"
	case miscTableInit:
		return "table.init"
	case miscElemDrop:
		return "elem.drop"
	case miscTableCopy:
		return "table.copy"
	case miscTableGrow:
		return "table.grow"
	case miscTableFill:
		return "table.fill"
	}
	return ""
}
