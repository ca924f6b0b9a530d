// Package python runs CPython in the sandbox: interpreters that are there within a fraction of a millisecond.
//
// It owns the boot of the interpreter and the image that comes out of it, the pool of interpreters, sessions with their
// cells, limits and files, and snapshots of sessions. It does not know models, tools or requests, nor how the interpreter
// is built (see build).
//
// An Image and a Pool are safe for concurrent use. A Session runs one cell at a time; only Interrupt, Close and the methods
// on its files may be called from other goroutines meanwhile.
//
// # Design
//
// The interpreter boots once: it imports what models usually import, runs a few cells to warm up, freezes its garbage
// collector, and its memory becomes a sandbox.Image, which is stored. Booting is deterministic (clock, randomness and file
// times are fixed), so that another machine that boots from the same artefact gets the same image, and may restore
// snapshots that were made here.
//
// A pristine interpreter is a copy-on-write fork of the image. The pool keeps some ready, warmed up, since the page faults
// of the first cell cost more than the cell. When a session ends, the pages that it wrote are copied back from the image,
// which leaves memory identical to the image and its hot pages in place; an interpreter whose memory has grown, or that was
// stopped, is replaced by a new fork. Both happen off the caller's path.
//
// A snapshot is what a session's memory differs in from the image, compressed, with a code (HMAC-SHA256) over it, for only
// we may decide what is in an interpreter's memory. The session's files are apart from it: they belong to the client.
//
// A cell is asked to stop at its soft limit by a KeyboardInterrupt, which leaves the session intact, and is stopped at
// its hard limit, which costs the interpreter: the next cell finds a pristine one, and the files.
//
// All forks share what the image decided: the seed of hashes, addresses, and counters of the interpreter. The random
// module is seeded anew in every session; os.urandom, secrets and uuid ask the host each time.
package python

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chorale/sandbox"
)

// imageVersion changes whenever this package boots differently. It is part of the name of stored images.
const imageVersion = 1

// BootOptions are the settings of Boot.
type BootOptions struct {
	// CacheDir is a private directory (made with mode 0700, refused with a wider one) for native code and the booted image.
	// Empty: nothing is kept, and every start takes seconds.
	CacheDir string
	// Packages are directories and zip files of pure-Python packages, which are put on sys.path, below
	// /lib/extra. They are read once.
	Packages []string
	// Preload are the modules that are imported into the image; nil stands for DefaultPreload. Boot fails for one
	// that cannot be imported.
	Preload []string
	// Logger says how the image was made. Nil: nobody hears it.
	Logger *slog.Logger
}

// An Image is a booted interpreter.
type Image struct {
	module *sandbox.Module
	state  *sandbox.Image
	libs   []sandbox.Mount // beside the session's files

	// Addresses in the guest's memory, for interrupts.
	breaker, tripped, sigint uint32
}

// Hash identifies the image. Snapshots can be restored where it is the same.
func (img *Image) Hash() [sha256.Size]byte { return img.state.Hash() }

// Close frees the image. All pools must be closed.
func (img *Image) Close() error {
	var err error
	if img.state != nil {
		err = img.state.Close()
	}
	if img.module != nil {
		err = errors.Join(err, img.module.Close())
	}
	return err
}

// Boot makes an image from the embedded interpreter: from a stored one when there is one in the cache directory, and
// otherwise, which takes seconds, by starting an interpreter. A stored image that is damaged is replaced.
func Boot(ctx context.Context, o BootOptions) (*Image, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Preload == nil {
		o.Preload = DefaultPreload()
	}
	img, err := boot(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("boot python: %w", err)
	}
	return img, nil
}

func boot(ctx context.Context, o BootOptions) (*Image, error) {
	start := time.Now()
	img := &Image{}
	compiled := make(chan error, 1) // while the image is read
	go func() { compiled <- img.compile(ctx, o) }()
	b, err := img.mount(o)
	if err == nil && o.CacheDir != "" {
		b.file = filepath.Join(o.CacheDir, imagePrefix+hex.EncodeToString(b.key[:8])+imageSuffix)
		b.load(img, o)
	}
	if err = errors.Join(err, <-compiled); err == nil {
		err = b.finish(ctx, img, o)
	}
	if err != nil {
		return nil, errors.Join(err, img.Close())
	}
	o.Logger.Info("python image ready", "source", b.source, "image_bytes", img.state.Bytes(), "seconds", time.Since(start).Seconds())
	return img, nil
}

// A bootstrap is what is known of an image before it is there.
type bootstrap struct {
	paths  []string          // sys.path
	key    [sha256.Size]byte // of all that the image depends on
	file   string            // of the stored image; empty without a cache
	source string            // "stored" or "booted"
}

// Names of stored images, and which are kept: so many, those that were used last, for so long after their last use. Every
// version of the interpreter, of its packages and of what is preloaded has its own. A process that needs one that another
// has removed only starts slowly, and who runs on one does not need the file.
const (
	imagePrefix = "python-"
	imageSuffix = ".image"
	imageTemp   = ".image-" // begins what sandbox.Image.Save has not finished
	keptImages  = 6
	keptFor     = 14 * 24 * time.Hour
)

// load takes the stored image if it is good.
func (b *bootstrap) load(img *Image, o BootOptions) {
	state, err := sandbox.LoadImage(b.file)
	switch {
	case err == nil:
		img.state, b.source = state, "stored"
		now := time.Now()
		os.Chtimes(b.file, now, now) // only the order of eviction hangs on it
	case !errors.Is(err, fs.ErrNotExist):
		o.Logger.Warn("stored python image is not usable, booting again", "error", err)
	}
}

// finish boots an interpreter if there was no stored image.
func (b *bootstrap) finish(ctx context.Context, img *Image, o BootOptions) error {
	if img.state != nil && img.state.Module() != img.module.Hash() {
		o.Logger.Warn("stored python image belongs to another module, booting again", "file", b.file)
		img.state.Close()
		img.state = nil
	}
	if img.state == nil {
		b.source = "booted"
		if err := img.start(ctx, o, b.paths); err != nil {
			return err
		}
		if b.file != "" {
			if err := img.state.Save(b.file); err != nil {
				o.Logger.Warn("python image could not be stored, the next start will be slow", "error", err)
			}
		}
	}
	if b.file != "" {
		if err := evictImages(o.CacheDir, time.Now()); err != nil {
			o.Logger.Warn("old python images could not be removed", "error", err)
		}
	}
	return img.locate(ctx)
}

// evictImages removes the stored images that were not used for longest, and those that nobody has used for a while, with
// what processes left behind that ended while they stored one.
func evictImages(dir string, now time.Time) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var images []fs.FileInfo
	var old []string
	for _, e := range list {
		fi, err := e.Info()
		stored := strings.HasPrefix(e.Name(), imagePrefix) && strings.HasSuffix(e.Name(), imageSuffix)
		switch {
		case err != nil, !stored && !strings.HasPrefix(e.Name(), imageTemp): // another process was faster; not ours
		case now.Sub(fi.ModTime()) > keptFor:
			old = append(old, e.Name())
		case stored:
			images = append(images, fi)
		}
	}
	slices.SortFunc(images, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, fi := range images[min(keptImages, len(images)):] {
		old = append(old, fi.Name())
	}
	for _, name := range old {
		if e := os.Remove(filepath.Join(dir, name)); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// compile makes code of the interpreter.
func (img *Image) compile(ctx context.Context, o BootOptions) error {
	options := sandbox.Options{}
	wasm, err := artefactModule()
	if err != nil {
		return err
	}
	if o.CacheDir != "" {
		options.CacheDir = filepath.Join(o.CacheDir, "code")
	}
	img.module, err = sandbox.Compile(ctx, wasm, options)
	return err
}

// mount lists the libraries, the paths to import from, and what the image depends on.
func (img *Image) mount(o BootOptions) (*bootstrap, error) {
	h := sha256.New()
	artefact := artefactHash()
	h.Write(artefact[:])
	binary.Write(h, binary.LittleEndian, [2]int64{imageVersion, sandbox.RewriterVersion})
	list, err := json.Marshal(o.Preload)
	if err != nil {
		return nil, err
	}
	h.Write(list)
	b := &bootstrap{paths: artefactPath()}
	// Unpacked when first needed: all of it is 60 MB, and what is imported often is in the image.
	lib := newLibrary(func(t tree) error { return artefactFiles(t.addFile) })
	img.libs = []sandbox.Mount{{Path: libMount, FS: lib, ReadOnly: true}}
	for i, name := range o.Packages {
		l, err := openLibrary(name)
		if err != nil {
			return nil, fmt.Errorf("packages: %w", err)
		}
		if err := l.addTo(h); err != nil {
			return nil, fmt.Errorf("packages: read %s: %w", name, err)
		}
		at := fmt.Sprint("/extra/", i)
		img.libs = append(img.libs, sandbox.Mount{Path: at, FS: l, ReadOnly: true})
		b.paths = append(b.paths, at)
	}
	h.Sum(b.key[:0])
	return b, nil
}

// The guest's clock during the boot: it starts at a fixed time and goes on by a step whenever it is read.
const bootClockStep = 100 * time.Microsecond

var bootTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	bootMemory = 1 << 30
	bootWall   = 2 * time.Minute
	// headroomBytes are added to the memory for small sessions to use: after memory.grow an interpreter cannot be reset.
	headroomBytes = 8 << 20
	// maxBootOutput is how much of what a failing boot prints gets into its error.
	maxBootOutput = 4 << 10
)

// start boots an interpreter and captures it.
func (img *Image) start(ctx context.Context, o BootOptions, paths []string) error {
	files, err := newFiles(0, 0)
	if err != nil {
		return err
	}
	for _, name := range append([]string{"."}, sessionDirs...) { // the import system remembers when they were changed
		if err := files.SetTimes(name, bootTime.UnixNano(), bootTime.UnixNano()); err != nil {
			return err
		}
	}
	var out console
	out.reset(maxBootOutput, nil)
	now := bootTime
	in, err := img.module.Instantiate(ctx, sandbox.Config{
		Limits: sandbox.Limits{Memory: bootMemory, Wall: bootWall, Fuel: maxFuel},
		Mounts: img.mounts(files),
		Stdout: &out, Stderr: &out,
		Now: func() time.Time {
			now = now.Add(bootClockStep)
			return now
		},
		Random: rand.NewChaCha8([32]byte([]byte("one image for all who boot alike"))),
	})
	if err != nil {
		return err
	}
	defer in.Close()
	request, err := json.Marshal(bootRequest{Path: paths, Preload: o.Preload})
	if err != nil {
		return err
	}
	if _, err := in.Call(ctx, "_initialize"); err != nil {
		return err
	}
	code, err := callWithText(ctx, in, "py_boot", request)
	text, _ := out.text()
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	if code != 0 {
		return fmt.Errorf("the interpreter did not start (code %d): %s", int32(code), text)
	}
	if text = strings.TrimSpace(text); text != "" {
		o.Logger.Warn("python printed while it booted", "output", text)
	}
	// The allocator keeps what is freed at the end of the memory.
	at, err := in.Call(ctx, "py_alloc", headroomBytes)
	if err == nil && at[0] != 0 {
		_, err = in.Call(ctx, "py_free", at[0])
	}
	if err != nil {
		return err
	}
	img.state, err = in.Capture()
	return err
}

// bootRequest is what py_boot takes.
type bootRequest struct {
	Path    []string `json:"path"`
	Preload []string `json:"preload"`
}

// callWithText calls a function that takes a text in guest memory and returns a number.
func callWithText(ctx context.Context, in *sandbox.Instance, name string, text []byte) (uint64, error) {
	r, err := in.Call(ctx, "py_alloc", uint64(len(text)))
	if err != nil {
		return 0, err
	}
	at := r[0]
	if at == 0 {
		return 0, errNoRoom
	}
	if err := in.WriteMemory(uint32(at), text); err != nil {
		return 0, err
	}
	if r, err = in.Call(ctx, name, at, uint64(len(text))); err != nil {
		return 0, err
	}
	result := r[0]
	if _, err := in.Call(ctx, "py_free", at); err != nil {
		return 0, err
	}
	return result, nil
}

var errNoRoom = errors.New("the interpreter has no memory left for the code of a cell")

// locate asks a fork for the addresses that interrupts need.
func (img *Image) locate(ctx context.Context) error {
	files, err := newFiles(0, 0)
	if err != nil {
		return err
	}
	in, err := img.module.Fork(ctx, img.state, sandbox.Config{Mounts: img.mounts(files), Limits: sandbox.Limits{Memory: bootMemory}})
	if err != nil {
		return err
	}
	defer in.Close()
	for name, at := range map[string]*uint32{
		"py_eval_breaker": &img.breaker, "py_signals_tripped": &img.tripped, "py_sigint_tripped": &img.sigint,
	} {
		r, err := in.Call(ctx, name)
		if err != nil {
			return err
		}
		*at = uint32(r[0])
	}
	return nil
}

// interrupt makes the interpreter raise KeyboardInterrupt, as the C handler of SIGINT would: it marks the signal as tripped,
// that some signal is, and that the evaluation loop has something to do (_PY_SIGNALS_PENDING_BIT).
func (img *Image) interrupt(in *sandbox.Instance) error {
	one := []byte{1, 0, 0, 0}
	var breaker [4]byte
	if err := in.ReadMemory(breaker[:], img.breaker); err != nil {
		return err
	}
	breaker[0] |= 1 << 1
	return errors.Join(in.WriteMemory(img.sigint, one), in.WriteMemory(img.tripped, one), in.WriteMemory(img.breaker, breaker[:]))
}

// mounts are what a guest sees: a session's files at the root, and the libraries.
func (img *Image) mounts(files *sandbox.Mem) []sandbox.Mount {
	return append([]sandbox.Mount{{Path: "/", FS: files}}, img.libs...)
}
