package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxModuleBytes bounds a plugin's file. Interpreters in a plugin have 30 MB.
const maxModuleBytes = 256 << 20

// A Source is the content of a plugin: what was hashed is what is run, whatever happens to the files.
type Source struct {
	Name     string // of the file, without its ending
	Wasm     []byte // a script is in a module as well, see NewScript
	Manifest []byte // of the file beside it or, without one, of the custom section or the script; nil if there is none
	hash     string
}

// NewSource returns a source of a module and the manifest beside it, which may be nil: then the module's own is taken.
func NewSource(name string, wasm, manifest []byte) (Source, error) {
	l, err := readLayout(wasm)
	if err != nil {
		return Source{}, err
	}
	whole := wasm
	switch {
	case l.component: // there is nothing to attach to, and it will be refused
	case manifest == nil:
		manifest = l.manifest
	default:
		if whole, err = attach(wasm, manifest); err != nil {
			return Source{}, err
		}
	}
	sum := sha256.Sum256(whole)
	return Source{Name: name, Wasm: wasm, Manifest: manifest, hash: hex.EncodeToString(sum[:])}, nil
}

// Stem is the name of a plugin's file without its ending. It is false for files that are no plugins.
func Stem(file string) (stem string, ok bool) {
	for _, ending := range []string{".wasm", EndingPython, EndingJavaScript} {
		if stem, ok = strings.CutSuffix(file, ending); ok {
			return stem, true
		}
	}
	return file, false
}

// ReadSource reads NAME.wasm, NAME.py or NAME.js, and NAME.json beside it, if that exists.
func ReadSource(file string) (Source, error) {
	name, ok := Stem(file)
	if !ok {
		return Source{}, fmt.Errorf("plugin %s: the name of the file must end in .wasm, %s or %s", file, EndingPython, EndingJavaScript)
	}
	content, err := readBounded(file, maxModuleBytes)
	if err != nil {
		return Source{}, err
	}
	manifest, err := readBounded(name+".json", maxManifestBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Source{}, err
	}
	var s Source
	if strings.HasSuffix(file, ".wasm") {
		s, err = NewSource(filepath.Base(name), content, manifest)
	} else {
		s, err = NewScript(filepath.Base(file), content, manifest)
	}
	if err != nil {
		return Source{}, fmt.Errorf("plugin %s: %w", file, err)
	}
	return s, nil
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular(): // a pipe would never end
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	p, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(p)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return p, err
}

// Hash is the SHA-256, in hexadecimal, of the module with the manifest attached (see Attach). Grants are bound to it.
func (s Source) Hash() string { return s.hash }

// ABI is how a module is called.
type ABI string

// The ways to call a module.
const (
	ABICommand ABI = "command"
	ABIReactor ABI = "reactor"
	ABIExtism  ABI = "extism"
	ABIScript  ABI = "script"
)

// A ComponentError says that the file is a component, which cannot be run here.
type ComponentError struct{}

func (*ComponentError) Error() string {
	return "this is a component (WASI 0.2 or 0.3), and plugins are core modules of WASI preview 1. Build it again as such: " +
		"(1) Rust: cargo build --release --target wasm32-wasip1; " +
		"(2) Go: GOOS=wasip1 GOARCH=wasm go build, TinyGo: tinygo build -target=wasip1; " +
		"(3) C, C++ or Zig: clang --target=wasm32-wasip1, zig build-exe -target wasm32-wasi. " +
		"JavaScript: AssemblyScript with its WASI shim, or javy build -C dynamic=n"
}

// An Inspection is what a module says about itself without being run.
type Inspection struct {
	ABI     ABI
	Imports map[string][]string // functions, by module
	Exports []string            // functions, sorted
}

// Inspect looks at the module without compiling it. It fails with a *ComponentError for a component.
func (s Source) Inspect() (Inspection, error) {
	l, err := readLayout(s.Wasm)
	if err != nil {
		return Inspection{}, err
	}
	abi, err := l.abi()
	return Inspection{ABI: abi, Imports: l.imports, Exports: l.exported()}, err
}

// The exports by which ABIs are told apart.
const (
	exportStart      = "_start"
	exportInitialize = "_initialize"
	exportCall       = "tool_call"
	exportAlloc      = "tool_alloc"
)

func (l *layout) abi() (ABI, error) {
	switch {
	case l.component:
		return "", &ComponentError{}
	case l.script != nil:
		return ABIScript, nil
	case l.imports[extismModule] != nil:
		return ABIExtism, nil
	case l.exports[exportCall] && l.exports[exportAlloc]:
		return ABIReactor, nil
	case l.exports[exportStart]:
		return ABICommand, nil
	case l.exports[exportCall]:
		return "", fmt.Errorf("the module exports %s and no %s: a reactor needs both", exportCall, exportAlloc)
	}
	return "", fmt.Errorf("the module exports neither %s (a program), nor %s and %s (a reactor), nor does it import %s (an Extism plugin)",
		exportStart, exportAlloc, exportCall, extismModule)
}
