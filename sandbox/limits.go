package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"
)

// Limits bound an instance and each of its calls. Zeros stand for the defaults.
type Limits struct {
	Memory int64         // bytes of linear memory; growing further fails in the guest
	Wall   time.Duration // of a call; then it ends with ErrTime and the instance is gone
	Soft   time.Duration // of a call; then Config.Interrupt is called. 0: never
	Fuel   int64         // units of a call, each the work between two checks (1 to about 4000 instructions); then ErrFuel
	Output int64         // bytes that reach each of Stdout and Stderr in a call; the rest is counted and dropped
	Files  int           // open files and directories beside the mounts and the standard streams; then EMFILE
}

// The defaults of Limits.
const (
	DefaultMemory = 256 << 20
	DefaultWall   = 30 * time.Second
	DefaultFuel   = 1 << 36 // more than a minute of tight loops
	DefaultOutput = 1 << 20
	DefaultFiles  = 64
)

// maxMemoryBytes is the largest memory: the last page of the 32-bit space stays out, so that no address wraps around.
const maxMemoryBytes = 1<<32 - pageBytes

// Config is what an instance gets from its host. The zero value gives it nothing but defaults: no arguments, no
// environment, no files, empty input, no output.
type Config struct {
	Limits Limits
	Args   []string // the first is the program's name
	Env    []string // "key=value"
	Mounts []Mount
	// Stdin may block: a read is given up when the call ends, and its bytes go to the next read. A reader that never
	// returns holds one goroutine.
	Stdin          io.Reader
	Stdout, Stderr io.Writer // must not block

	// Interrupt is called on the guest's goroutine after the soft limit or Instance.Interrupt, while the guest stands
	// still, and again every 50 ms until the call ends. It may read and write the guest's memory and not call the guest.
	// A sleeping guest wakes with EINTR.
	Interrupt func(*Instance)

	// Grow is asked before the guest's memory grows by so many bytes, within its limit; false makes that fail in the
	// guest. It is called during calls, on the guest's goroutine, and by Apply.
	Grow func(bytes int64) bool

	Now    func() time.Time // the guest's clocks; time.Now if nil. Limits and sleeps use real time
	Random io.Reader        // crypto/rand if nil
}

// complete fills the defaults in and copies what callers might change.
func (c Config) complete() (Config, error) {
	l := &c.Limits
	for _, v := range []struct {
		name string
		n    *int64
		def  int64
	}{
		{"memory", &l.Memory, DefaultMemory}, {"fuel", &l.Fuel, DefaultFuel}, {"output", &l.Output, DefaultOutput},
	} {
		if *v.n < 0 {
			return c, fmt.Errorf("limit of %s is %d, must not be negative", v.name, *v.n)
		}
		if *v.n == 0 {
			*v.n = v.def
		}
	}
	if l.Wall < 0 || l.Soft < 0 || l.Files < 0 {
		return c, fmt.Errorf("limits of time (%v, %v) and files (%d) must not be negative", l.Wall, l.Soft, l.Files)
	}
	if l.Wall == 0 {
		l.Wall = DefaultWall
	}
	if l.Files == 0 {
		l.Files = DefaultFiles
	}
	l.Memory = min(l.Memory, maxMemoryBytes) / pageBytes * pageBytes
	c.Args = append([]string(nil), c.Args...)
	c.Env = append([]string(nil), c.Env...)
	c.Mounts = append([]Mount(nil), c.Mounts...)
	if c.Stdout == nil {
		c.Stdout = io.Discard
	}
	if c.Stderr == nil {
		c.Stderr = io.Discard
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c, nil
}

// Why a call was stopped. A call that was stopped has lost its instance.
var (
	ErrTime   = errors.New("time limit reached")
	ErrFuel   = errors.New("fuel limit reached")
	ErrKilled = errors.New("killed")
)

// A StopError says that the host ended a call. Unwrap gives ErrTime, ErrFuel, ErrKilled or the context's error.
type StopError struct {
	Reason error
}

func (e *StopError) Error() string { return "guest stopped: " + e.Reason.Error() }

// Unwrap returns the reason.
func (e *StopError) Unwrap() error { return e.Reason }

// An ExitError says that the guest ended itself with proc_exit; code 0 is success.
type ExitError struct {
	Code uint32
}

func (e *ExitError) Error() string { return fmt.Sprintf("guest exited with code %d", e.Code) }

// A TrapError says that the guest did something that WebAssembly forbids, such as an access outside of its memory.
type TrapError struct {
	Reason string // one line
	Trace  string // innermost function first, a line each
}

func (e *TrapError) Error() string { return "guest trapped: " + e.Reason }

// A HostError says that a function of the host failed or panicked during a call.
type HostError struct {
	Err error
}

func (e *HostError) Error() string { return "host function: " + e.Err.Error() }

// Unwrap returns what the function returned.
func (e *HostError) Unwrap() error { return e.Err }

// ErrClosed is returned for a closed or lost instance, and ErrBusy while a call is under way.
var (
	ErrClosed = errors.New("instance is closed")
	ErrBusy   = errors.New("instance is in a call")
)

// Usage is what the current or last call of an instance took.
type Usage struct {
	Fuel                 int64         // units
	Wall                 time.Duration // of a finished call
	Memory               int64         // bytes of linear memory at most, since the last reset
	StdoutCut, StderrCut int64         // bytes that were dropped
}
