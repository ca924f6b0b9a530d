package sandbox

import (
	"context"
	"encoding/binary"
	"io"
	"time"
)

const wasiModule = "wasi_snapshot_preview1"

// A guestCall is one call of a WASI function: its parameters, and the guest's memory to exchange data with.
type guestCall struct {
	in   *Instance
	args []uint64
}

func (c guestCall) u32(i int) uint32 { return uint32(c.args[i]) }
func (c guestCall) fd(i int) int32   { return int32(uint32(c.args[i])) }

// bytes is a piece of guest memory.
func (c guestCall) bytes(at, n uint32) ([]byte, error) {
	mem := c.in.memory()
	if uint64(at)+uint64(n) > uint64(len(mem)) {
		return nil, EFAULT
	}
	return mem[at : uint64(at)+uint64(n)], nil
}

// text is the string whose address and length are parameters i and i+1.
func (c guestCall) text(i int) (string, error) {
	b, err := c.bytes(c.u32(i), c.u32(i+1))
	return string(b), err
}

// put32 and put64 store a result where parameter i points.
func (c guestCall) put32(i int, v uint32) error {
	b, err := c.bytes(c.u32(i), 4)
	if err == nil {
		binary.LittleEndian.PutUint32(b, v)
	}
	return err
}

func (c guestCall) put64(i int, v uint64) error {
	b, err := c.bytes(c.u32(i), 8)
	if err == nil {
		binary.LittleEndian.PutUint64(b, v)
	}
	return err
}

// wasiFuncs are the functions of WASI preview 1. Parameters are written as letters, i for 32 and I for 64 bits; all but
// proc_exit return an error number. Sockets answer that they are not supported; everything a guest is not given does not
// exist for it.
func wasiFuncs() []Func {
	table := []struct {
		name, params string
		call         func(guestCall) error
	}{
		{"args_get", "ii", func(c guestCall) error { return c.putStrings(c.in.cfg.Args) }},
		{"args_sizes_get", "ii", func(c guestCall) error { return c.putSizes(c.in.cfg.Args) }},
		{"environ_get", "ii", func(c guestCall) error { return c.putStrings(c.in.cfg.Env) }},
		{"environ_sizes_get", "ii", func(c guestCall) error { return c.putSizes(c.in.cfg.Env) }},
		{"clock_res_get", "ii", clockResolution},
		{"clock_time_get", "iIi", clockTime},
		{"fd_advise", "iIIi", func(c guestCall) error { _, err := c.regular(0); return err }},
		{"fd_allocate", "iII", fdAllocate},
		{"fd_close", "i", fdClose},
		{"fd_datasync", "i", fdSync},
		{"fd_fdstat_get", "ii", fdStat},
		{"fd_fdstat_set_flags", "ii", fdSetFlags},
		{"fd_fdstat_set_rights", "iII", func(c guestCall) error { _, err := c.descriptor(0); return err }},
		{"fd_filestat_get", "ii", fdFilestat},
		{"fd_filestat_set_size", "iI", func(c guestCall) error { return c.truncate(int64(c.args[1])) }},
		{"fd_filestat_set_times", "iIIi", fdSetTimes},
		{"fd_pread", "iiiIi", fdRead},
		{"fd_prestat_get", "ii", fdPrestat},
		{"fd_prestat_dir_name", "iii", fdPrestatName},
		{"fd_pwrite", "iiiIi", fdWrite},
		{"fd_read", "iiii", fdRead},
		{"fd_readdir", "iiiIi", fdReaddir},
		{"fd_renumber", "ii", fdRenumber},
		{"fd_seek", "iIii", fdSeek},
		{"fd_sync", "i", fdSync},
		{"fd_tell", "ii", fdTell},
		{"fd_write", "iiii", fdWrite},
		{"path_create_directory", "iii", pathCreateDirectory},
		{"path_filestat_get", "iiiii", pathFilestat},
		{"path_filestat_set_times", "iiiiIIi", pathSetTimes},
		{"path_link", "iiiiiii", func(guestCall) error { return ENOTSUP }},
		{"path_open", "iiiiiIIii", pathOpen},
		{"path_readlink", "iiiiii", pathReadlink},
		{"path_remove_directory", "iii", pathRemoveDirectory},
		{"path_rename", "iiiiii", pathRename},
		{"path_symlink", "iiiii", func(guestCall) error { return ENOTSUP }},
		{"path_unlink_file", "iii", pathUnlink},
		{"poll_oneoff", "iiii", pollOneoff},
		{"proc_exit", "i", func(c guestCall) error { return &ExitError{c.u32(0)} }},
		{"proc_raise", "i", func(guestCall) error { return ENOTSUP }},
		{"random_get", "ii", randomGet},
		{"sched_yield", "", func(guestCall) error { return nil }},
		{"sock_accept", "iii", func(guestCall) error { return ENOTSUP }},
		{"sock_recv", "iiiiii", func(guestCall) error { return ENOTSUP }},
		{"sock_send", "iiiii", func(guestCall) error { return ENOTSUP }},
		{"sock_shutdown", "ii", func(guestCall) error { return ENOTSUP }},
	}
	funcs := make([]Func, len(table))
	for i, f := range table {
		types := make([]ValueType, len(f.params))
		for j, p := range f.params {
			if types[j] = I32; p == 'I' {
				types[j] = I64
			}
		}
		funcs[i] = Func{Module: wasiModule, Name: f.name, Params: types, Results: []ValueType{I32}}
		if f.name == "proc_exit" {
			funcs[i].Results = nil
		}
		funcs[i].Call = func(_ context.Context, in *Instance, stack []uint64) error {
			err := f.call(guestCall{in, stack})
			switch err.(type) {
			case *ExitError, *StopError:
				return err
			}
			stack[0] = uint64(errno(err))
			return nil
		}
	}
	return funcs
}

// putStrings writes pointers to strings, and the strings with a zero after each, as argv has them.
func (c guestCall) putStrings(list []string) error {
	at, text := c.u32(0), c.u32(1)
	for _, s := range list {
		p, err := c.bytes(at, 4)
		if err != nil {
			return err
		}
		b, err := c.bytes(text, uint32(len(s))+1)
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(p, text)
		b[copy(b, s)] = 0
		at, text = at+4, text+uint32(len(s))+1
	}
	return nil
}

func (c guestCall) putSizes(list []string) error {
	n := 0
	for _, s := range list {
		n += len(s) + 1
	}
	if err := c.put32(0, uint32(len(list))); err != nil {
		return err
	}
	return c.put32(1, uint32(n))
}

// Clock ids.
const (
	clockRealtime = iota
	clockMonotonic
	clockProcess
	clockThread
)

func clockResolution(c guestCall) error {
	if c.u32(0) > clockThread {
		return EINVAL
	}
	return c.put64(1, 1)
}

func clockTime(c guestCall) error {
	t, err := c.in.clock(c.u32(0))
	if err != nil {
		return err
	}
	return c.put64(2, uint64(t))
}

// clock reads a clock in nanoseconds. The monotonic clock starts at the time of day and not at zero, so that it does not go
// back in a fork of an older image. CPU time is that of the call.
func (in *Instance) clock(id uint32) (int64, error) {
	now := in.cfg.Now()
	switch id {
	case clockRealtime:
		return now.UnixNano(), nil
	case clockMonotonic:
		return in.born.UnixNano() + int64(now.Sub(in.born)), nil
	case clockProcess, clockThread:
		return max(0, int64(now.Sub(in.started))), nil
	}
	return 0, EINVAL
}

func randomGet(c guestCall) error {
	b, err := c.bytes(c.u32(0), c.u32(1))
	if err != nil {
		return err
	}
	const piece = 64 << 10
	for len(b) > 0 {
		n := min(len(b), piece)
		if _, err := io.ReadFull(c.in.cfg.Random, b[:n]); err != nil {
			return EIO
		}
		b = b[n:]
		c.in.charge(n)
		if err := c.in.stopReason(time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// Subscription and event kinds of poll_oneoff.
const (
	pollClock = iota
	pollRead
	pollWrite

	subscriptionBytes, eventBytes = 48, 32
	maxSubscriptions              = 1024
)

// pollOneoff waits for the first of several clocks. Files and streams are always ready: a read of the input waits by
// itself.
func pollOneoff(c guestCall) error {
	n := c.u32(2)
	if n == 0 || n > maxSubscriptions {
		return EINVAL
	}
	subs, err := c.bytes(c.u32(0), n*subscriptionBytes)
	if err != nil {
		return err
	}
	events, err := c.bytes(c.u32(1), n*eventBytes)
	if err != nil {
		return err
	}
	waits := make([]time.Duration, n)
	shortest := time.Duration(1<<63 - 1)
	results := make([]Errno, n)
	for i := range waits {
		var e error
		waits[i], e = c.in.pollWait(subs[i*subscriptionBytes:])
		results[i] = errno(e)
		shortest = min(shortest, waits[i])
	}
	start := time.Now()
	if shortest > 0 {
		if err := c.in.sleep(shortest); err != nil {
			return err
		}
	}
	waited := max(shortest, time.Since(start))
	ready := uint32(0)
	// Subscriptions and events may overlap in a guest's memory, so the former are read before.
	heads := append([]byte(nil), subs...)
	for i, w := range waits {
		if w > waited {
			continue
		}
		sub, e := heads[i*subscriptionBytes:], events[ready*eventBytes:][:eventBytes]
		clear(e)
		copy(e[:8], sub[:8]) // user data
		binary.LittleEndian.PutUint16(e[8:], uint16(results[i]))
		e[10] = sub[8]
		if sub[8] != pollClock {
			binary.LittleEndian.PutUint64(e[16:], 1) // bytes ready
		}
		ready++
	}
	return c.put32(3, ready)
}

// pollWait is how long until a subscription is ready.
func (in *Instance) pollWait(sub []byte) (time.Duration, error) {
	switch sub[8] {
	case pollClock:
		id, timeout := binary.LittleEndian.Uint32(sub[16:]), binary.LittleEndian.Uint64(sub[24:])
		now, err := in.clock(id)
		if err != nil {
			return 0, err
		}
		d := int64(min(timeout, 1<<63-1))
		if binary.LittleEndian.Uint16(sub[40:])&1 != 0 { // absolute
			d = max(0, d-now)
		}
		return time.Duration(d), nil
	case pollRead, pollWrite:
		_, err := guestCall{in: in, args: []uint64{uint64(binary.LittleEndian.Uint32(sub[16:]))}}.descriptor(0)
		return 0, err
	}
	return 0, EINVAL
}

// sleep waits on the guest's behalf. It ends early with a reason to stop, or with EINTR after an interrupt.
func (in *Instance) sleep(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	return wait(in, timer.C, func(time.Time) {})
}

// wait receives from ready, like a sleep that ends there.
func wait[T any](in *Instance, ready <-chan T, got func(T)) error {
	for {
		now := time.Now()
		if err := in.stopReason(now); err != nil {
			return err
		}
		if in.mayInterrupt(now) {
			in.soft = now.Add(interruptEvery)
			in.cfg.Interrupt(in)
			return EINTR
		}
		next := in.deadline
		if !in.soft.IsZero() && in.soft.Before(next) {
			next = in.soft
		}
		limit := time.NewTimer(next.Sub(now))
		select {
		case v := <-ready:
			limit.Stop()
			got(v)
			return nil
		case <-limit.C:
		case <-in.wake:
		case <-in.ctx.Done():
		}
		limit.Stop()
	}
}
