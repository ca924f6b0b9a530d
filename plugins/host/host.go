// Package host gives plugins the services of their host as files, so that every language which can open, write and read
// a file can use them, without a library.
//
// It owns the files, what is written to and read from them, their limits, the values that plugins keep (Store), and the
// recording and replaying of all that (Tape). It does not know which requests are allowed: that is the egress client's
// policy. An FS is made for one call of a plugin and mounted at /host. All types are safe for concurrent use.
//
// # /host/http
//
// Open it for reading and writing, write a request, read the response:
//
//	{"method": "POST", "url": "https://api.example.com/v1/items?q=1",
//	 "headers": {"Content-Type": "application/json", "Accept": ["text/html", "text/plain"]},
//	 "body": "{\"name\": \"x\"}"}
//
//	{"status": 200, "url": "https://api.example.com/v1/items?q=1",
//	 "headers": {"content-type": "application/json"}, "body": "{}"}
//
// Only "url" is needed; the method is GET without one. A body that is no UTF-8 text is in "body_base64", in requests
// and in responses. Redirects are followed as far as they are allowed, and "url" of the response says where they led.
// Names of response headers are in lower case, several values of one are joined by ", ". Bodies are never compressed.
// When there is no response, the answer is
//
//	{"error": {"code": "denied", "message": "GET https://… is denied: …", "rule": "GET https://api.example.com"}}
//
// with one of the codes "bad_request" (the request is wrong, the message says where), "denied" (rule is the line that
// the operator would have to add), "limit" (size, number), "timeout", "unreachable" (name, connection, TLS, protocol)
// and "replay" (see Tape). Reads and writes themselves do not fail for such reasons.
//
// The file is a stream in both directions, and positions in it mean nothing: seeking succeeds and changes nothing. The
// first read after a write sends what was written and waits; the following ones give the rest of the response up to its
// end. A write after that begins the next request. So one file serves any number of requests, one after the other, and
// several files serve several; fsync sends what was written and does not wait, so that requests of several files run
// at the same time. Closing a file, and the end of the call, end its request.
//
// Secrets are added to requests by the host and are never in the answer.
//
// # /host/kv/KEY
//
// Values that outlive the call: ordinary files, without folders. They can be listed, renamed and removed. A key has 1
// to 80 bytes of UTF-8 without slashes and control characters and does not begin with a dot. What is read is the value
// at the time of opening. What is written becomes the value all at once, when the file is closed or synced, or the
// guest ends; of two calls that write the same key the last one wins. A value that would be too large, and one too
// many, is ENOSPC.
//
// # /host/log
//
// Each line that is written is a line in the operator's log. Writes never fail; what is above the limits is dropped.
//
// # /host/progress
//
// Each line is a JSON object {"message": "…", "fraction": 0.5} that the user may see while the call runs; both may be
// left out. A line that is something else makes the write fail with EINVAL.
package host

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"chorale/sandbox"
	"chorale/toolhost/egress"
)

// Options are the services of one call. What is left out does not exist for the guest, or goes nowhere.
type Options struct {
	Client   *egress.Client // of /host/http. The FS counts requests and bytes in a session of its own
	KV       Store          // of /host/kv
	Log      func(line string)
	Progress func(message string, fraction float64) // fraction is negative when it is not known
	Limits   Limits

	Record *Tape // gets what happens; may be nil
	Replay *Tape // stands in for Client and KV; may be nil
}

// Limits bound what the files of a call take. Zeros stand for the defaults. Requests and responses are also bound by
// the limits of the egress client, and stored values by those of the Store.
type Limits struct {
	Request   int // bytes of the JSON text of a request; then EFBIG
	LogBytes  int // beyond them lines are dropped
	LogLines  int
	Progress  int // messages; further ones are dropped
	OpenValue int // bytes of a value that is written; then ENOSPC
	Held      int // bytes of requests, unread answers and values of all open files; then ENOSPC, or an answer "limit"
}

// The defaults of Limits. A line of the log and a message have at most MaxLine and MaxMessage bytes; longer lines
// become several, longer messages are cut.
const (
	DefaultRequest   = 12 << 20
	DefaultLogBytes  = 64 << 10
	DefaultLogLines  = 1000
	DefaultProgress  = 1000
	DefaultOpenValue = 1 << 20
	DefaultHeld      = 48 << 20
	MaxLine          = 8 << 10
	MaxMessage       = 1 << 10
)

// FS is the tree below /host. It implements sandbox.FS.
type FS struct {
	http     func(request) *answer // does a request; nil: there is none
	kv       Store                 // nil: there is none
	log      func(string)
	progress func(string, float64)
	limits   Limits
	born     int64

	mu                           sync.Mutex // guards the counters
	logBytes, logLines, messages int
	logFull                      bool
	held                         int
}

// New returns the services of one call.
func New(o Options) *FS {
	f := &FS{kv: o.KV, log: o.Log, progress: o.Progress, limits: o.Limits, born: time.Now().UnixNano()}
	for _, v := range []struct {
		n   *int
		def int
	}{
		{&f.limits.Request, DefaultRequest}, {&f.limits.LogBytes, DefaultLogBytes}, {&f.limits.LogLines, DefaultLogLines},
		{&f.limits.Progress, DefaultProgress}, {&f.limits.OpenValue, DefaultOpenValue},
		{&f.limits.Held, DefaultHeld},
	} {
		if *v.n <= 0 {
			*v.n = v.def
		}
	}
	if f.log == nil {
		f.log = func(string) {}
	}
	if f.progress == nil {
		f.progress = func(string, float64) {}
	}
	if o.Client != nil {
		f.http = doer(o.Client.Session())
	}
	if o.Record != nil {
		if f.http != nil {
			f.http = o.Record.record(f.http)
		}
		if f.kv != nil {
			f.kv = &recordingStore{f.kv, o.Record}
		}
	}
	if o.Replay != nil {
		f.http, f.kv = o.Replay.play, &replayingStore{o.Replay}
	}
	return f
}

// hold counts bytes that an open file keeps on the host's side, unless there are too many. A negative number lets go.
func (f *FS) hold(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > 0 && f.held+n > f.limits.Held {
		return false
	}
	f.held += n
	return true
}

// The fixed names of the tree.
const (
	nameHTTP     = "http"
	nameKV       = "kv"
	nameLog      = "log"
	nameProgress = "progress"
)

// inodes number the fixed names; keys have none of their own.
const (
	inodeRoot = iota + 1
	inodeHTTP
	inodeKV
	inodeLog
	inodeProgress
	inodeKey
)

// entries are the fixed names that exist.
func (f *FS) entries() []sandbox.Entry {
	var list []sandbox.Entry
	if f.http != nil {
		list = append(list, sandbox.Entry{Name: nameHTTP, Type: sandbox.TypeRegular, Inode: inodeHTTP})
	}
	if f.kv != nil {
		list = append(list, sandbox.Entry{Name: nameKV, Type: sandbox.TypeDirectory, Inode: inodeKV})
	}
	return append(list, sandbox.Entry{Name: nameLog, Type: sandbox.TypeRegular, Inode: inodeLog},
		sandbox.Entry{Name: nameProgress, Type: sandbox.TypeRegular, Inode: inodeProgress})
}

// key is the key that a name stands for, if it is one below /host/kv.
func (f *FS) key(name string) (string, bool) {
	key, ok := strings.CutPrefix(name, nameKV+"/")
	return key, ok && f.kv != nil
}

// Stat implements sandbox.FS.
func (f *FS) Stat(name string) (sandbox.Info, error) {
	if name == "." {
		return f.info(sandbox.TypeDirectory, inodeRoot), nil
	}
	if key, ok := f.key(name); ok {
		value, err := f.kv.Get(key)
		info := f.info(sandbox.TypeRegular, inodeKey)
		info.Size = int64(len(value))
		return info, errno(err)
	}
	for _, e := range f.entries() {
		if e.Name == name {
			return f.info(e.Type, e.Inode), nil
		}
	}
	return sandbox.Info{}, sandbox.ENOENT
}

func (f *FS) info(t sandbox.FileType, inode uint64) sandbox.Info {
	return sandbox.Info{Type: t, Inode: inode, Accessed: f.born, Modified: f.born, Changed: f.born}
}

// Lstat implements sandbox.FS.
func (f *FS) Lstat(name string) (sandbox.Info, error) { return f.Stat(name) }

// Open implements sandbox.FS.
func (f *FS) Open(name string, how sandbox.Flag) (sandbox.File, error) {
	if key, ok := f.key(name); ok {
		return f.openValue(key, how)
	}
	info, err := f.Stat(name)
	switch {
	case err != nil && how&sandbox.Create != 0:
		return nil, sandbox.EPERM
	case err != nil:
		return nil, err
	case info.Type == sandbox.TypeDirectory && how&(sandbox.Write|sandbox.Create|sandbox.Truncate) != 0:
		return nil, sandbox.EISDIR
	case info.Type == sandbox.TypeDirectory:
		return &folder{fs: f, info: info}, nil
	case how&sandbox.Directory != 0:
		return nil, sandbox.ENOTDIR
	case how&(sandbox.Create|sandbox.Exclusive) == sandbox.Create|sandbox.Exclusive:
		return nil, sandbox.EEXIST
	}
	switch name {
	case nameHTTP:
		if both := sandbox.Read | sandbox.Write; how&both != 0 && how&both != both {
			return nil, sandbox.EACCES
		}
		return newHTTPFile(f, info), nil
	case nameLog:
		return &lineFile{info: info, line: f.logLine}, nil
	default:
		return &lineFile{info: info, line: f.progressLine}, nil
	}
}

// Readlink implements sandbox.FS. There are no links.
func (f *FS) Readlink(name string) (string, error) {
	if _, err := f.Stat(name); err != nil {
		return "", err
	}
	return "", sandbox.EINVAL
}

// Mkdir implements sandbox.FS.
func (f *FS) Mkdir(name string) error {
	if _, err := f.Stat(name); err == nil {
		return sandbox.EEXIST
	}
	return sandbox.EPERM
}

// Unlink implements sandbox.FS. Values can be removed.
func (f *FS) Unlink(name string) error {
	if key, ok := f.key(name); ok {
		return errno(f.kv.Delete(key))
	}
	if info, err := f.Stat(name); err != nil || info.Type != sandbox.TypeDirectory {
		return errors.Join(err, sandbox.EPERM)
	}
	return sandbox.EISDIR
}

// Rmdir implements sandbox.FS.
func (f *FS) Rmdir(name string) error {
	info, err := f.Stat(name)
	switch {
	case err != nil:
		return err
	case info.Type != sandbox.TypeDirectory:
		return sandbox.ENOTDIR
	}
	return sandbox.EPERM
}

// Rename implements sandbox.FS. Values can be renamed, also over others.
func (f *FS) Rename(from, to string) error {
	old, ok1 := f.key(from)
	key, ok2 := f.key(to)
	if !ok1 || !ok2 {
		return sandbox.EPERM
	}
	value, err := f.kv.Get(old)
	if err != nil || old == key {
		return errno(err)
	}
	// Removed first, since both may not fit.
	if err := f.kv.Delete(old); err != nil {
		return errno(err)
	}
	if err := f.kv.Set(key, value); err != nil {
		return errno(errors.Join(err, f.kv.Set(old, value)))
	}
	return nil
}

// SetTimes implements sandbox.FS. Times cannot be set, and nobody is told.
func (f *FS) SetTimes(name string, _, _ int64) error {
	_, err := f.Stat(name)
	return err
}

// errno is what a guest gets for an error of a Store.
func errno(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrFull):
		return sandbox.ENOSPC
	case errors.Is(err, ErrKey):
		return sandbox.EINVAL
	case errors.Is(err, fs.ErrNotExist):
		return sandbox.ENOENT
	}
	return sandbox.EIO
}

// A folder is an open directory.
type folder struct {
	fs   *FS
	info sandbox.Info
}

func (d *folder) Stat() (sandbox.Info, error)        { return d.info, nil }
func (d *folder) ReadAt([]byte, int64) (int, error)  { return 0, sandbox.EISDIR }
func (d *folder) WriteAt([]byte, int64) (int, error) { return 0, sandbox.EISDIR }
func (d *folder) Truncate(int64) error               { return sandbox.EISDIR }
func (d *folder) Sync() error                        { return nil }
func (d *folder) Close() error                       { return nil }
func (d *folder) ReadDir() ([]sandbox.Entry, error) {
	if d.info.Inode == inodeRoot {
		return d.fs.entries(), nil
	}
	keys, err := d.fs.kv.Keys()
	list := make([]sandbox.Entry, len(keys))
	for i, k := range keys {
		list[i] = sandbox.Entry{Name: k, Type: sandbox.TypeRegular, Inode: inodeKey}
	}
	return list, errno(err)
}
