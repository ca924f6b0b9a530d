package toolhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound what the calls of a session take. Zero fields are the defaults.
type Limits struct {
	Deadline      time.Duration // of one call, with waiting for a place and opening; 0 = 120 s, which python's prompt promises
	Grace         time.Duration // how much longer a tool that ignores its deadline is waited for; 0 = 2 s
	TextBytes     int           // of a result's Text; 0 = 32 KiB
	AttachedBytes int           // of a result's Files and Structured together; 0 = 16 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Deadline == 0 {
		l.Deadline = 120 * time.Second
	}
	if l.Grace == 0 {
		l.Grace = 2 * time.Second
	}
	if l.TextBytes == 0 {
		l.TextBytes = 32 << 10
	}
	if l.AttachedBytes == 0 {
		l.AttachedBytes = 16 << 20
	}
	return l
}

// SessionOptions say for whom a session is. The zero value is a session with the default limits that nobody hears of.
type SessionOptions struct {
	ID     string // of the response, for the audit records
	Limits Limits
	// Load returns what a tool's instance begins with, nil for nothing, when the tool is first called. It may be nil, and is
	// for Resumers whose calls share state only.
	Load   func(ctx context.Context, tool string) (*State, error)
	Logger *slog.Logger // gets the audit record of every call and the errors of hosts; nil = nobody
	Audit  func(Record) // gets them too; may be nil. Calls may come at the same time
}

// A Record says that a call was made, and nothing of what was in it.
type Record struct {
	Session  string // SessionOptions.ID
	Tool     string
	Function string
	CallID   string
	Duration time.Duration
	BytesIn  int // of the input
	BytesOut int // of the text as it came from the tool
	Cut      int // bytes of that which were dropped
	Failed   bool
	Err      error // the host's failure, nil if there was none
}

// An Outcome is how a call ended. Its Result is always there for the model to read, within the limits.
type Outcome struct {
	Result
	Err      error // why the tool did not answer: it broke, hung or could not be opened, or ctx ended; nil if it did
	Cut      int   // bytes of text that were dropped
	Duration time.Duration
}

// Why calls end without an answer of their tool, and states are not saved.
var (
	// ErrDeadline says that a call was given up at its deadline.
	ErrDeadline = errors.New("the call did not end in time")
	// ErrPanic is wrapped by the error of a call whose tool panicked.
	ErrPanic = errors.New("the tool panicked")
	// ErrUnknown says that there is no such tool or function.
	ErrUnknown = errors.New("there is no such tool or function")
	// ErrLost says that the instance broke, and what was in it is gone.
	ErrLost = errors.New("the state of the tool is lost")
)

// A Session is the tools of one response. It opens instances when they are first called. Its methods are for one
// goroutine.
type Session struct {
	set  *Set
	o    SessionOptions
	uses map[string]*use // of tools whose calls share an instance
}

// NewSession returns a session without open instances. Close it.
func (s *Set) NewSession(o SessionOptions) *Session {
	o.Limits = o.Limits.withDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Session{set: s, o: o, uses: map[string]*use{}}
}

// Do makes the calls and returns their outcomes in the same order, when all have ended or were given up. Calls of a tool
// whose calls share state run one after the other, in order; all others run at the same time. When ctx ends, so do the
// calls.
func (s *Session) Do(ctx context.Context, calls []Call) []Outcome {
	outcomes := make([]Outcome, len(calls))
	queues := map[*entry][]int{} // indices of calls that share an instance
	var wg sync.WaitGroup
	for i, c := range calls {
		e := s.set.entries[c.Tool]
		switch {
		case e == nil || !e.hasFunction(c.Function):
			outcomes[i] = s.unknown(c)
		case e.spec.Independent:
			wg.Go(func() {
				var u *use
				outcomes[i], u = s.call(ctx, &use{entry: e, loaded: true}, c)
				s.close(u)
			})
		default:
			queues[e] = append(queues[e], i)
		}
	}
	used := make(chan *use, len(queues)) // one of each queue
	for e, queue := range queues {
		u := s.uses[e.spec.Name]
		if u == nil {
			u = &use{entry: e}
		}
		wg.Go(func() {
			for _, i := range queue {
				outcomes[i], u = s.call(ctx, u, calls[i])
			}
			used <- u
		})
	}
	wg.Wait()
	for range queues {
		u := <-used
		s.uses[u.entry.spec.Name] = u
	}
	return outcomes
}

// Save returns the state of the tool's instance, which the session keeps too: should the instance break later, the next one
// begins with its files. It is false when there is nothing new to keep: the tool was not called, its instance could not be
// opened, or has no state. The error is ErrLost, or the host's failure.
func (s *Session) Save(ctx context.Context, tool string) (state State, ok bool, err error) {
	u := s.uses[tool]
	if u == nil {
		return State{}, false, nil
	}
	if u.instance == nil && u.lost {
		return State{}, false, ErrLost
	}
	saver, ok := u.instance.(Saver)
	if !ok {
		return State{}, false, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.o.Limits.Deadline, ErrDeadline)
	defer cancel()
	var saved State // not the results: the goroutine of a Save that hangs writes to it later
	var failure error
	if !s.within(ctx, u, func() { saved, failure = guarded(func() (State, error) { return saver.Save(ctx) }) }) {
		s.uses[tool] = u.successor()
		return State{}, false, fmt.Errorf("save state of %s: %w", tool, context.Cause(ctx))
	}
	if failure != nil {
		return State{}, false, fmt.Errorf("save state of %s: %w", tool, failure)
	}
	u.state = &saved
	return saved, true, nil
}

// Close closes the instances. It waits no longer for them than the grace period, and is idempotent.
func (s *Session) Close() {
	var wg sync.WaitGroup
	for _, u := range s.uses {
		wg.Go(func() { s.close(u) })
	}
	wg.Wait()
	clear(s.uses)
}

// An answer is what an entry into a tool for a call came back with.
type answer struct {
	result Result
	note   string
	opened bool // the failure, if any, is not one of opening
	err    error
}

// call makes one call, tells everybody about it, and returns the use for the next one.
func (s *Session) call(ctx context.Context, u *use, c Call) (Outcome, *use) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, s.o.Limits.Deadline, ErrDeadline)
	defer cancel()
	if err := s.load(ctx, u); err != nil {
		return s.outcome(u, c, Outcome{Err: fmt.Errorf("load state: %w", err), Duration: time.Since(began)}), u
	}
	stop := c.muteProgress()
	came := new(answer)
	in := s.within(ctx, u, func() {
		came.result, came.err = guarded(func() (r Result, err error) {
			if came.note, err = u.open(ctx); err != nil {
				return Result{}, err
			}
			came.opened = true
			return u.instance.Call(ctx, c)
		})
	})
	stop()
	a := answer{opened: true} // what is known while the goroutine still writes the other one
	if in {
		a = *came
	}
	if !in || a.err != nil && ctx.Err() != nil && !errors.Is(a.err, errNoPlace) {
		a.err = context.Cause(ctx)
	}
	if a.note != "" {
		u.note = a.note
	}
	o := s.outcome(u, c, Outcome{Result: a.result, Err: a.err, Duration: time.Since(began)})
	switch {
	case a.err == nil:
		u.answered = true
		return o, u
	case !a.opened:
		s.close(u) // its place, if it got one
		return o, &use{entry: u.entry, loaded: true, state: u.state, lost: u.lost, note: u.note}
	}
	next := u.successor()
	if in {
		s.close(u)
	}
	return o, next
}

// muteProgress makes Progress callable, and returns what makes it do nothing any more.
func (c *Call) muteProgress() (stop func()) {
	var stopped atomic.Bool
	report := c.Progress
	c.Progress = func(message string, fraction float64) {
		if report != nil && !stopped.Load() {
			report(message, fraction)
		}
	}
	return func() { stopped.Store(true) }
}

// outcome applies the limits to a result and counts and records it.
func (s *Session) outcome(u *use, c Call, o Outcome) Outcome {
	if o.Err != nil {
		o.Result = Result{Text: excuse(o.Err, o.Duration), Failed: true}
	}
	bytesOut := len(o.Text)
	o.Text, o.Cut = Cut(o.Text, s.o.Limits.TextBytes)
	if notes := o.limitAttached(s.o.Limits.AttachedBytes); notes != "" {
		o.Text = strings.TrimSuffix(o.Text, "\n") + "\n" + notes
	}
	if u.note != "" && o.Err == nil {
		o.Text, u.note = "[Note: "+u.note+"]\n"+o.Text, ""
	}
	r := Record{Session: s.o.ID, Tool: c.Tool, Function: c.Function, CallID: c.ID, Duration: o.Duration,
		BytesIn: len(c.Input), BytesOut: bytesOut, Cut: o.Cut, Failed: o.Failed, Err: o.Err}
	u.entry.count(r)
	s.record(r)
	return o
}

func (s *Session) record(r Record) {
	if s.o.Audit != nil {
		s.o.Audit(r)
	}
	attrs := []slog.Attr{slog.String("response_id", r.Session), slog.String("tool", r.Tool), slog.String("function", r.Function),
		slog.String("call_id", r.CallID), slog.Duration("duration", r.Duration), slog.Int("bytes_in", r.BytesIn),
		slog.Int("bytes_out", r.BytesOut), slog.Int("cut", r.Cut), slog.Bool("failed", r.Failed)}
	level := slog.LevelInfo
	if r.Err != nil {
		level, attrs = slog.LevelWarn, append(attrs, slog.Any("err", r.Err))
	}
	var p *panicError
	if errors.As(r.Err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	s.o.Logger.LogAttrs(context.Background(), level, "tool call", attrs...)
}

// excuse tells the model that a call was not done. What exactly broke is not its business.
func excuse(err error, after time.Duration) string {
	switch {
	case errors.Is(err, errNoPlace):
		return "The tool is too busy at the moment: the call was not made."
	case errors.Is(err, ErrDeadline):
		return fmt.Sprintf("The call was stopped: it did not end within %v.", after.Round(100*time.Millisecond))
	case errors.Is(err, ErrPanic):
		return "The call failed: the tool crashed."
	default:
		return "The call failed: the tool cannot be used at the moment."
	}
}

// unknown is the outcome of a call that nothing is there for. The name that the model made up goes into no record.
func (s *Session) unknown(c Call) Outcome {
	text := "There is no such tool."
	if e := s.set.entries[c.Tool]; e != nil {
		text = "There is no such function."
		if functions := e.spec.Functions; len(functions) > 0 {
			known := make([]string, len(functions))
			for i, f := range functions {
				known[i] = f.Name
			}
			text += " The functions are: " + strings.Join(known, ", ") + "."
		}
	}
	s.record(Record{Session: s.o.ID, Tool: "unknown", CallID: c.ID, BytesIn: len(c.Input), Failed: true, Err: ErrUnknown})
	return Outcome{Result: Result{Text: text, Failed: true}, Err: ErrUnknown}
}

// limitAttached drops what is more than limit bytes and says what that was.
func (r *Result) limitAttached(limit int) (notes string) {
	var dropped []string
	if left := limit - len(r.Structured); left < 0 {
		r.Structured = nil
		dropped = append(dropped, fmt.Sprintf("[The structured result is left out: it is larger than %d bytes.]", limit))
	} else {
		limit = left
	}
	var kept []File
	for _, f := range r.Files {
		if limit -= len(f.Data); limit < 0 {
			limit += len(f.Data)
			dropped = append(dropped, fmt.Sprintf("[The file %s is not shown: with its %d bytes there are too many.]", f.Path, len(f.Data)))
			continue
		}
		kept = append(kept, f)
	}
	r.Files = kept
	return strings.Join(dropped, "\n")
}
