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
//
// A loop has its checks on the way back to its header, where the engine keeps nothing in registers that the check could
// cost it, and where a loop that ends in its first round never comes; one with many ways back has a check at its header.
type weaver struct {
	m      *module
	l      layout
	mode   weaveMode
	pivot  uint32    // index of the tick import: functions from here on move up by one when it is added
	facts  []summary // per defined function
	bodies []code
	check  []byte // code of a check
}

// A summary is what callers must know about a function.
type summary struct {
	state summaryState
	entry bool // has a check at its entry
	work  int  // most work on any path without a check, of other functions
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
	return &weaver{m: m, l: l, mode: mode, pivot: pivot, facts: make([]summary, n), bodies: m.code[:n], check: l.check()}
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
	if s.entry && w.mode == modeWeave {
		p.out = append(p.out, w.check...)
	}
	err = p.run()
	return code{groups: p.c.groups, locals: p.c.locals, body: p.out}, err
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
	s.entry = s.entry || p.checked || p.worst > maxUncovered
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
	headers []bool // weaving: for each loop, in order, whether its check is at the header
	loops   int    // seen
	checked bool   // verifying: there is a check at the entry
	fresh   bool   // verifying: there is a check right before this instruction
	paid    bool   // the instruction before called the helper charge

	labels []label
	live   bool
	work   int
	worst  int // largest work
}

// A label is an open block. Its work is that of the paths that jump to its end.
type label struct {
	op       byte
	header   bool // a loop with a check at its header
	work     int  // over jumps to the end so far
	reached  bool // by a jump
	workAtIf int
	liveAtIf bool
}

func (w *weaver) newPass(i int) *pass {
	c := w.bodies[i]
	p := &pass{w: w, c: c, r: &reader{b: c.body}, live: true, labels: []label{{op: opBlock}}}
	if w.mode == modeVerify {
		p.checked = p.existing()
	} else {
		p.headers = w.headers(c.body)
	}
	return p
}

// headers finds out where the checks of a body's loops go.
func (w *weaver) headers(body []byte) []bool {
	var at []bool
	var back []int // ways back of each loop
	var open []int // blocks: the number of the loop, or -1
	r := &reader{b: body}
	jump := func(depth uint32, weight int) {
		if i := len(open) - 1 - int(depth); i >= 0 && open[i] >= 0 {
			back[open[i]] += weight
		}
	}
	for r.more() {
		switch in := r.next(); in.op {
		case opBlock, opIf:
			open = append(open, -1)
		case opLoop:
			open = append(open, len(back))
			n := 0
			if in.index != noType && (int64(in.index) >= int64(len(w.m.types)) || len(w.m.types[in.index].params) > 0) {
				n = maxWaysBack + 1 // jumps carry values, which a check would have to step over
			}
			back = append(back, n)
		case opEnd:
			open = open[:max(len(open)-1, 0)]
		case opBr, opBrIf:
			jump(in.index, 1)
		case opBrTable:
			for _, t := range in.targets {
				jump(t, maxWaysBack+1) // a table cannot hold a check
			}
		}
	}
	for _, n := range back {
		at = append(at, n > maxWaysBack)
	}
	return at
}

func (p *pass) run() error {
	for len(p.labels) > 0 {
		if p.r.err != nil {
			return p.r.err
		}
		if p.w.mode == modeVerify && p.existing() {
			p.work, p.fresh = 0, true
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
	if err := p.goBack(in); err != nil {
		return err
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

// goBack puts a check before a jump to the header of a loop that has none, or makes sure that there is one.
func (p *pass) goBack(in instruction) error {
	fresh := p.fresh
	p.fresh = false
	targets := in.targets
	if in.op == opBr || in.op == opBrIf {
		targets = append(targets, in.index)
	}
	for _, t := range targets {
		l := p.label(t)
		if !p.live || !l.back() {
			continue
		}
		switch {
		case p.w.mode == modeVerify && (in.op != opBr || !fresh):
			return fmt.Errorf("offset %d: a check of a loop is missing", in.from)
		case in.op == opBr:
			p.check()
		}
	}
	return nil
}

// label is the block that a jump leaves, or nil.
func (p *pass) label(depth uint32) *label {
	if int64(depth) >= int64(len(p.labels)) {
		return nil
	}
	return &p.labels[len(p.labels)-1-int(depth)]
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
	case in.op == opBrIf && p.live && p.label(in.index).back():
		p.out = append(append(p.out, opIf, blockEmpty), p.w.check...)
		p.out = append(binary.AppendUvarint(append(p.out, opBr), uint64(in.index)+1), opEnd)
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
			p.header(&p.labels[len(p.labels)-1])
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

// header begins a loop.
func (p *pass) header(l *label) {
	if p.w.mode == modeVerify {
		l.header = p.existing()
	} else {
		l.header = p.headers[p.loops]
	}
	p.loops++
	switch {
	case !l.header:
		p.work = max(p.work, 1) // that of a jump back
	case p.w.mode == modeVerify:
		p.work = 0
	default:
		p.check()
	}
}

// back reports whether jumps to the label go back to a header without a check.
func (l *label) back() bool { return l != nil && l.op == opLoop && !l.header }

// jump takes the current paths to the end of an open block. The header of a loop has its own check.
func (p *pass) jump(depth uint32) {
	l := p.label(depth)
	if l == nil {
		p.r.fail("label %d of %d", depth, len(p.labels))
		return
	}
	if p.live && l.op != opLoop {
		l.work, l.reached = max(l.work, p.work), true
	}
}

// check puts a check here.
func (p *pass) check() {
	if p.emit {
		p.out = append(p.out, p.w.check...)
	}
	p.work = 0
}

// existing skips a check that is in the code already.
func (p *pass) existing() bool {
	if !bytes.HasPrefix(p.r.b[p.r.pos:], p.w.check) {
		return false
	}
	p.r.pos += len(p.w.check)
	return true
}

// check is the code of a check: fuel--, and when it is below zero, ask for more.
func (l layout) check() []byte {
	fuel := binary.AppendUvarint(nil, uint64(l.fuel))
	return join([]byte{opGlobalGet}, fuel, []byte{opI32Const, 1, opI32Sub, opGlobalSet}, fuel, []byte{opGlobalGet}, fuel,
		[]byte{opI32Const, 0, opI32LtS, opIf, blockEmpty, opCall}, binary.AppendUvarint(nil, uint64(l.refuel)), []byte{opEnd})
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
