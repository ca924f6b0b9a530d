package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

type weaveMode int

const (
	modeWeave  weaveMode = iota // put checks where they are needed
	modeVerify                  // fail where one is needed and missing
)

// maxCallDepth bounds the recursion over the call graph; deeper callees get a check at their entry.
const maxCallDepth = 500

// A weaver decides where the checks of a module go and writes the new bodies. The rule is that every path through a
// function does at most maxPath of work between two checks. Work of small functions without a check at their entry
// counts for the caller, so the amount of code that runs for one unit of fuel is bounded, through calls and recursion.
type weaver struct {
	m      *module
	l      layout
	mode   weaveMode
	pivot  uint32    // index of the tick import: functions from here on move up by one when it is added
	facts  []summary // per defined function
	bodies []code
}

// A summary is what callers must know about a function.
type summary struct {
	state summaryState
	entry bool // has a check at its entry, as do all functions that have any
	work  int  // most work on any path, of a function without checks
}

type summaryState byte

const (
	unknown summaryState = iota
	visiting
	known
)

func newWeaver(m *module, l layout, pivot uint32, mode weaveMode) *weaver {
	n := len(m.code)
	if mode == modeVerify {
		n -= m.nHelpers()
	}
	return &weaver{m: m, l: l, mode: mode, pivot: pivot, facts: make([]summary, n), bodies: m.code[:n]}
}

// moved maps a function index of the input to the output.
func (w *weaver) moved(f uint32) uint32 {
	if w.mode == modeWeave && f >= w.pivot {
		return f + 1
	}
	return f
}

// defined is how many functions the index space has before the helpers, imports included.
func (w *weaver) defined() uint32 { return uint32(len(w.m.importedFuncs) + len(w.bodies)) }

// function returns the instrumented body of defined function i.
func (w *weaver) function(i int) (code, error) {
	s, err := w.summarize(i, 0)
	if err != nil {
		return code{}, err
	}
	p := w.newPass(i)
	p.emit = true
	if s.entry && w.mode == modeVerify && !p.checked {
		return code{}, errors.New("the check at its entry is missing")
	}
	c := code{groups: p.c.groups, locals: p.c.locals}
	if s.entry && w.mode == modeWeave {
		p.out = append(p.out, w.l.entry(p.counter)...)
		c.groups = append(c.groups[:len(c.groups):len(c.groups)], localGroup{1, typeI32})
	}
	err = p.run()
	c.body = p.out
	return c, err
}

// summarize finds out, callees first, whether a function needs a check at its entry. A function that is reached again
// while its callees are looked at is part of a cycle and gets one, so every cycle of direct calls has one.
func (w *weaver) summarize(i, depth int) (summary, error) {
	s := &w.facts[i]
	if s.state == known {
		return *s, nil
	}
	s.state = visiting
	p := w.newPass(i)
	p.depth = depth
	if err := p.run(); err != nil {
		return summary{}, err
	}
	s.state = known
	s.entry = s.entry || p.checked || p.needed || p.worst > maxUncovered
	s.work = p.worst
	return *s, nil
}

// callee is the work that a direct call adds to the caller's path.
func (w *weaver) callee(f uint32, depth int) (int, error) {
	n := uint32(len(w.m.importedFuncs))
	if f < n {
		return hostCallCost, nil
	}
	if f >= w.defined() {
		return 0, fmt.Errorf("calls function %d of %d", f, w.defined())
	}
	s := &w.facts[f-n]
	if s.state == visiting || s.state == unknown && depth > maxCallDepth {
		s.entry = true
	}
	if s.entry {
		return callCost, nil
	}
	sum, err := w.summarize(int(f-n), depth+1)
	if err != nil {
		return 0, fmt.Errorf("function %d: %w", f, err)
	}
	if sum.entry {
		return callCost, nil
	}
	return callCost + sum.work, nil
}

// A pass walks one body. It tracks the most work since the last check over all paths to the current instruction.
type pass struct {
	w       *weaver
	c       code
	r       *reader
	emit    bool
	depth   int
	out     []byte
	counter uint32 // the extra local of functions with checks
	code    []byte // of one check
	checked bool   // verifying: there is a check at the entry, and hence a counter
	needed  bool   // there is a loop
	paid    bool   // the instruction before called the helper charge

	labels []label
	live   bool
	work   int
	worst  int // largest work
}

// A label is an open block. Its work is that of the paths that jump to its end.
type label struct {
	op       byte
	work     int  // over jumps to the end so far
	reached  bool // by a jump
	workAtIf int
	liveAtIf bool
}

func (w *weaver) newPass(i int) *pass {
	c := w.bodies[i]
	p := &pass{w: w, c: c, r: &reader{b: c.body}, counter: uint32(c.locals), live: true, labels: []label{{op: opBlock}}}
	if w.mode == modeVerify {
		p.counter--
		entry := w.l.entry(p.counter)
		if p.checked = bytes.HasPrefix(c.body, entry); p.checked {
			p.r.pos = len(entry)
			p.c.locals-- // the counter is not the guest's
		}
	}
	p.code = w.l.check(p.counter)
	return p
}

func (p *pass) run() error {
	for len(p.labels) > 0 {
		if p.r.err != nil {
			return p.r.err
		}
		if p.checked && p.existing() {
			p.work = 0
			continue
		}
		if err := p.instruction(p.r.next()); err != nil {
			return err
		}
	}
	if p.r.err == nil && p.r.pos != len(p.r.b) {
		return errors.New("code after the last end")
	}
	return p.r.err
}

func (p *pass) instruction(in instruction) error {
	if p.r.err != nil {
		return p.r.err
	}
	if p.live && p.emit && p.work > maxPath {
		if p.w.mode == modeVerify {
			return fmt.Errorf("offset %d: %d instructions on a path without a check", in.from, p.work)
		}
		p.check()
	}
	if err := p.checkIndex(in); err != nil {
		return fmt.Errorf("offset %d: %w", in.from, err)
	}
	work, err := p.weight(in)
	if err != nil {
		return err
	}
	if name := in.changesTables(); name != "" {
		p.w.m.changesTables = "uses " + name
	}
	if p.live {
		p.work += work
		p.worst = max(p.worst, p.work)
	}
	p.write(in)
	p.flow(in)
	return p.r.err
}

// weight is the work of an instruction with what it calls. A helper weighs what the instruction that it stands for does.
func (p *pass) weight(in instruction) (int, error) {
	paid := p.paid
	p.paid = false
	switch {
	case p.w.mode == modeVerify && in.op == opCall && in.index >= p.w.defined():
		l := p.w.l
		p.paid = in.index == l.charge
		if in.index == l.fill || in.index == l.copying {
			return in.cost(), nil
		}
		if !p.paid {
			return 0, fmt.Errorf("offset %d: calls function %d outside of a check", in.from, in.index)
		}
		return 0, nil
	case p.w.mode == modeVerify && (in.bulk() && !paid || in.op == opMisc && (in.sub == miscMemoryFill || in.sub == miscMemoryCopy)):
		return 0, fmt.Errorf("offset %d: a bulk instruction that nobody pays for", in.from)
	case in.op == opCall:
		n, err := p.w.callee(in.index, p.depth)
		return in.cost() + n, err
	case in.op == opCallIndirect:
		return in.cost() + callCost + maxUncovered, nil
	}
	return in.cost(), nil
}

// write copies the instruction with function indices moved and bulk instructions paid for.
func (p *pass) write(in instruction) {
	if !p.emit || p.w.mode == modeVerify {
		return
	}
	switch {
	case in.op == opCall || in.op == opRefFunc:
		p.out = binary.AppendUvarint(append(p.out, in.op), uint64(p.w.moved(in.index)))
		return
	case in.op == opMisc && in.sub == miscMemoryFill:
		p.out = binary.AppendUvarint(append(p.out, opCall), uint64(p.w.l.fill))
		return
	case in.op == opMisc && in.sub == miscMemoryCopy:
		p.out = binary.AppendUvarint(append(p.out, opCall), uint64(p.w.l.copying))
		return
	case in.bulk():
		p.out = binary.AppendUvarint(append(p.out, opCall), uint64(p.w.l.charge))
	}
	p.out = append(p.out, p.r.b[in.from:p.r.pos]...)
}

// bulk reports whether an instruction does as much work as the number on top of the stack says.
func (in instruction) bulk() bool {
	if in.op != opMisc {
		return false
	}
	switch in.sub {
	case miscMemoryInit, miscTableInit, miscTableCopy, miscTableGrow, miscTableFill:
		return true
	}
	return false
}

// flow follows control: where paths meet, the larger work counts.
func (p *pass) flow(in instruction) {
	switch in.op {
	case opBlock, opLoop, opIf:
		p.labels = append(p.labels, label{op: in.op, workAtIf: p.work, liveAtIf: p.live})
		if in.op == opLoop {
			p.check()
		}
	case opElse:
		l := &p.labels[len(p.labels)-1]
		if l.op != opIf {
			p.r.fail("else without if")
			return
		}
		p.jump(0)
		l.op = opElse
		p.work, p.live = l.workAtIf, l.liveAtIf
	case opEnd:
		l := p.labels[len(p.labels)-1]
		if l.op == opIf && l.liveAtIf { // the way around a missing else
			l.work, l.reached = max(l.work, l.workAtIf), true
		}
		if !p.live {
			p.work = 0
		}
		p.labels = p.labels[:len(p.labels)-1]
		p.work, p.live = max(p.work, l.work), p.live || l.reached
	case opBr, opBrIf:
		p.jump(in.index)
	case opBrTable:
		for _, t := range in.targets {
			p.jump(t)
		}
	}
	switch in.op {
	case opBr, opBrTable, opReturn, opUnreachable:
		p.live = false
	}
}

// jump takes the current paths to the end of an open block. The header of a loop has its own check.
func (p *pass) jump(depth uint32) {
	if int64(depth) >= int64(len(p.labels)) {
		p.r.fail("label %d of %d", depth, len(p.labels))
		return
	}
	l := &p.labels[len(p.labels)-1-int(depth)]
	if p.live && l.op != opLoop {
		l.work, l.reached = max(l.work, p.work), true
	}
}

// check puts a check here, or makes sure that there is one.
func (p *pass) check() {
	p.needed = true
	if p.w.mode == modeVerify {
		if !p.checked || !p.existing() {
			p.r.fail("offset %d: a check is missing", p.r.pos)
		}
	} else if p.emit {
		p.out = append(p.out, p.code...)
	}
	p.work = 0
}

// existing skips a check that is in the code already.
func (p *pass) existing() bool {
	if !bytes.HasPrefix(p.r.b[p.r.pos:], p.code) {
		return false
	}
	p.r.pos += len(p.code)
	return true
}

// entry is the code of a check at the entry of a function: fuel--, refuel when it is below zero, counter = stride-1.
func (l layout) entry(counter uint32) []byte {
	b := binary.AppendUvarint(make([]byte, 0, 32), opGlobalGet)
	b = binary.AppendUvarint(b, uint64(l.fuel))
	b = append(b, opI32Const, 1, opI32Sub, opLocalTee)
	b = binary.AppendUvarint(b, uint64(counter))
	b = binary.AppendUvarint(append(b, opGlobalSet), uint64(l.fuel))
	b = binary.AppendUvarint(append(b, opLocalGet), uint64(counter))
	b = append(b, opI32Const, 0, opI32LtS, opIf, blockEmpty, opCall)
	b = append(binary.AppendUvarint(b, uint64(l.refuel)), opEnd, opI32Const, stride-1, opLocalSet)
	return binary.AppendUvarint(b, uint64(counter))
}

// check is the code of every other check: counter--, and when it is below zero, pay for the stride.
func (l layout) check(counter uint32) []byte {
	b := binary.AppendUvarint(append(make([]byte, 0, 32), opLocalGet), uint64(counter))
	b = append(b, opI32Const, 1, opI32Sub, opLocalTee)
	b = binary.AppendUvarint(b, uint64(counter))
	b = append(b, opI32Const, 0, opI32LtS, opIf, blockEmpty, opCall)
	b = append(binary.AppendUvarint(b, uint64(l.pay)), opLocalSet)
	return append(binary.AppendUvarint(b, uint64(counter)), opEnd)
}

// checkIndex refuses indices that exist only because of what the rewriter adds: a guest that could name the fuel counter
// could refill it.
func (p *pass) checkIndex(in instruction) error {
	globals := uint32(len(p.w.m.globals))
	if p.w.mode == modeVerify {
		globals-- // the fuel counter
	}
	tick := p.w.mode == modeVerify && in.index == p.w.l.tick
	switch {
	case in.op == opGlobalGet || in.op == opGlobalSet:
		if in.index >= globals {
			return fmt.Errorf("global %d of %d", in.index, globals)
		}
	case in.op == opRefFunc && (in.index >= p.w.defined() || tick), in.op == opCall && tick:
		return fmt.Errorf("function %d of %d", in.index, p.w.defined())
	case in.op == opLocalGet || in.op == opLocalSet || in.op == opLocalTee:
		if int64(in.index) >= int64(p.c.locals) {
			return fmt.Errorf("local %d of %d", in.index, p.c.locals)
		}
	case (in.op == opBlock || in.op == opLoop || in.op == opIf) && in.index != noType, in.op == opCallIndirect:
		if int64(in.index) >= int64(len(p.w.m.types)) {
			return fmt.Errorf("type %d of %d", in.index, len(p.w.m.types))
		}
	}
	return nil
}
