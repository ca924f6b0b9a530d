// Package toolhost runs the tools that the model calls on this side of the wire.
//
// It owns what a tool is to the server (Tool, Instance), the immutable set of those that exist (Set), and their use by
// one response (Session): which calls wait for each other, deadlines, limits on text, files and open instances, what
// happens to a tool that hangs or panics, counters, and the audit record of every call. It does not know what a tool
// does, how the model spells a call, where state is stored, or HTTP; adapters live in the packages below it. A Set is
// safe for concurrent use; a Session belongs to one goroutine, and the instances of a Session to it.
//
// Every entry into a tool (Open, Call, Save, Close) runs on a goroutine of its own that the session waits for, but not
// for ever: behind its deadline and a grace period it is left alone, keeps its place among the open instances, and is
// closed when it comes back. So a tool that ignores its context costs one place and delays nobody. DESIGN.md tells the
// rest.
package toolhost

import (
	"context"
	"encoding/json"
	"time"
)

// A Spec describes a tool.
type Spec struct {
	Name        string     // what the model calls: "python", "browser" or an own name, of [a-zA-Z0-9_-]{1,64}
	Description string     // for the model
	Functions   []Function // empty: calls go to the name itself, and their input is raw text
	Independent bool       // calls do not share state: each gets an Instance of its own, so they run in parallel
	MaxOpen     int        // instances open at the same time, of all sessions; 0 = 256. Further calls wait for a place
}

// Annotations say what calls of a function may do; nil = not said. They are hints of whoever made the tool.
type Annotations struct {
	ReadOnly, Destructive, Idempotent *bool
	OpenWorld                         *bool // it deals with more than this server, such as the web
}

// A Function is one entry of a tool.
type Function struct {
	Name        string // of [a-zA-Z0-9_-]{1,64}
	Description string
	Parameters  json.RawMessage // JSON Schema of the input, which is an object; nil = none
	Output      json.RawMessage // JSON Schema of Result.Structured; nil = not said
	Title       string          // for people; "" = the name
	Annotations Annotations     // for programs that call it from outside
}

// A Tool is what the model may call: immutable, shared by all responses, safe for concurrent use.
type Tool interface {
	// Spec returns the same value every time.
	Spec() Spec
	// Open returns a new Instance. The error is the host's failure, which the model is not told the details of.
	Open(ctx context.Context) (Instance, error)
}

// An Instance is a Tool in use by one response. It gets one call at a time.
type Instance interface {
	// Call runs one call and returns when ctx ends. What the call itself did wrong is a Result that says so; an error is
	// the host's failure, and ends the Instance, as a panic does.
	Call(ctx context.Context, c Call) (Result, error)
	// Close frees what the Instance holds. It is called once, never during a Call.
	Close() error
}

// A Call is what the model wrote to a tool.
type Call struct {
	Tool     string // Spec.Name; for the Session
	ID       string // for the audit record
	Function string // "" for a tool without functions
	Input    string // JSON arguments, or raw text for a tool without functions, as the model wrote them
	// Files are those of the request or of its container that the tool may read; nil = none. Path is as clients and code see
	// it, for example /mnt/data/table.csv. A tool without a file system ignores them.
	Files []File
	// Settings are what the request says of how the tool is to work, JSON that the tool defines; nil = nothing.
	Settings json.RawMessage
	// Progress may be called while the call runs, from any goroutine; fraction is 0..1, or negative when it is not known.
	// It may be nil in a Session's calls and is not in an Instance's.
	Progress func(message string, fraction float64)
}

// A Result is what a call gave.
type Result struct {
	Text       string          // what the model reads
	Failed     bool            // the call did not do what it was for, and Text says why
	Files      []File          // images and files for the client
	Structured json.RawMessage // the result as JSON, for tools that have it
	Failure    error           // why it failed, for who tells kinds of failures apart; may be nil. The model reads Text
}

// A File is a file of a tool.
type File struct {
	Path, MIME string // Path is absolute where the tool has a file system; MIME may be ""
	Data       []byte
	Modified   time.Time
}

// A State is what an Instance leaves behind, for later Instances to begin with. A nil Memory with Files is a fresh
// Instance that has the files.
type State struct {
	Memory []byte // opaque
	Files  []File
	// MaxMemory is how many bytes of memory the Instance may use, of a tool that can bound it; 0 = the tool's own limit,
	// which holds in any case. Save leaves it out.
	MaxMemory int64
}

// A Resumer is a Tool whose Instances can begin with the State of an earlier one.
type Resumer interface {
	// Resume is Open with a State, which it does not change or keep. A *StateError says that the State cannot be used, or
	// not all of it: then the Instance beside it, if there is one, has what could be used.
	Resume(ctx context.Context, s State) (Instance, error)
}

// A Saver is an Instance whose State can be kept.
type Saver interface {
	// Save returns the State. The Instance stays usable.
	Save(ctx context.Context) (State, error)
}

// A StateError says why a State cannot be used: it is damaged, or of another version of the tool.
type StateError struct{ Reason string }

// Error returns the reason.
func (e *StateError) Error() string { return "state cannot be used: " + e.Reason }
