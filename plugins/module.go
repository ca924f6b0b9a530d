package plugins

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// manifestSection is the name of the custom section that holds a manifest.
const manifestSection = "chorale:manifest"

// A layout is what the sections of a module say without looking at code.
type layout struct {
	imports   map[string][]string // functions, by module
	exports   map[string]bool     // functions
	manifest  []byte              // content of the custom section, nil without one
	script    *scriptFile         // of the custom section, nil without one
	component bool                // it is a component; nothing else was read
}

// The sections and kinds that are looked at (WebAssembly 2.0, binary format).
const (
	sectionCustom = 0
	sectionImport = 2
	sectionExport = 7

	kindFunc   = 0
	kindTable  = 1
	kindMemory = 2
	kindGlobal = 3
)

var (
	moduleHeader  = []byte("\x00asm\x01\x00\x00\x00")
	componentMark = []byte("\x01\x00") // of the upper half of the version: the layer
)

var errNoModule = errors.New("the file is no WebAssembly module")

// readLayout reads sections, imports and exports. It checks no more than it must; compiling does.
func readLayout(wasm []byte) (*layout, error) {
	if len(wasm) < len(moduleHeader) || !bytes.Equal(wasm[:4], moduleHeader[:4]) {
		return nil, errNoModule
	}
	l := &layout{imports: map[string][]string{}, exports: map[string]bool{}}
	if bytes.Equal(wasm[6:8], componentMark) {
		l.component = true
		return l, nil
	}
	err := sections(wasm, func(id byte, content []byte, _ []byte) error {
		r := &reader{content}
		switch id {
		case sectionCustom:
			return r.custom(l)
		case sectionImport:
			return r.imports(l)
		case sectionExport:
			return r.exports(l)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	return l, nil
}

func (l *layout) exported() []string { return slices.Sorted(maps.Keys(l.exports)) }

// sections calls visit for each section with its content and its whole encoding.
func sections(wasm []byte, visit func(id byte, content, whole []byte) error) error {
	if !bytes.HasPrefix(wasm, moduleHeader) {
		return errNoModule
	}
	for r := (&reader{wasm[len(moduleHeader):]}); len(r.b) > 0; {
		start := r.b
		id := r.b[0]
		r.b = r.b[1:]
		content, err := r.bytes()
		if err != nil {
			return err
		}
		if err := visit(id, content, start[:len(start)-len(r.b)]); err != nil {
			return err
		}
	}
	return nil
}

// Attach returns the module with the manifest in its custom section, in place of one that was there. What it returns for
// a module and its manifest file is what a plugin's hash is taken of. The manifest is checked.
func Attach(wasm, manifest []byte) ([]byte, error) {
	if _, err := DecodeManifest(manifest); err != nil {
		return nil, err
	}
	return attach(wasm, manifest)
}

func attach(wasm, manifest []byte) ([]byte, error) {
	out := slices.Grow(slices.Clone(moduleHeader), len(wasm)+len(manifest)+64)
	err := sections(wasm, func(id byte, content, whole []byte) error {
		if id == sectionCustom {
			if name, err := (&reader{content}).name(); err != nil || name == manifestSection {
				return err
			}
		}
		out = append(out, whole...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("attach manifest: %w", err)
	}
	content := binary.AppendUvarint(nil, uint64(len(manifestSection)))
	content = append(append(content, manifestSection...), manifest...)
	out = binary.AppendUvarint(append(out, sectionCustom), uint64(len(content)))
	return append(out, content...), nil
}

// Attached returns the manifest in the module's custom section as it lies there, nil without one.
func Attached(wasm []byte) ([]byte, error) {
	l, err := readLayout(wasm)
	if err != nil {
		return nil, err
	}
	return l.manifest, nil
}

// A reader takes values off the front of a section.
type reader struct {
	b []byte
}

func (r *reader) uint32() (uint32, error) {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 5 || v > 1<<32-1 {
		return 0, io.ErrUnexpectedEOF
	}
	r.b = r.b[n:]
	return uint32(v), nil
}

func (r *reader) byte() (byte, error) {
	if len(r.b) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	b := r.b[0]
	r.b = r.b[1:]
	return b, nil
}

func (r *reader) bytes() ([]byte, error) {
	n, err := r.uint32()
	if err != nil {
		return nil, err
	}
	if uint64(n) > uint64(len(r.b)) {
		return nil, io.ErrUnexpectedEOF
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b, nil
}

func (r *reader) name() (string, error) {
	b, err := r.bytes()
	return string(b), err
}

func (r *reader) custom(l *layout) error {
	name, err := r.name()
	switch {
	case err != nil:
		return err
	case name == manifestSection && l.manifest != nil, name == scriptSection && l.script != nil:
		return fmt.Errorf("there are two sections %s", name)
	case name == manifestSection:
		l.manifest = append([]byte{}, r.b...)
	case name == scriptSection:
		l.script = &scriptFile{}
		l.script.name, err = r.name()
		l.script.source = r.b
	}
	return err
}

func (r *reader) imports(l *layout) error {
	n, err := r.uint32()
	for i := uint32(0); i < n && err == nil; i++ {
		var module, name string
		var kind byte
		if module, err = r.name(); err != nil {
			break
		}
		if name, err = r.name(); err != nil {
			break
		}
		if kind, err = r.byte(); err != nil {
			break
		}
		if kind == kindFunc {
			l.imports[module] = append(l.imports[module], name)
		}
		err = r.skipType(kind)
	}
	return err
}

// skipType passes over the type of an import.
func (r *reader) skipType(kind byte) (err error) {
	switch kind {
	case kindFunc:
		_, err = r.uint32()
		return err
	case kindTable: // a reference type, then limits
		if _, err = r.byte(); err != nil {
			return err
		}
		return r.skipLimits()
	case kindMemory:
		return r.skipLimits()
	case kindGlobal: // a value type and its mutability
		if _, err = r.byte(); err == nil {
			_, err = r.byte()
		}
		return err
	}
	return fmt.Errorf("an import is of unknown kind %d", kind)
}

func (r *reader) skipLimits() error {
	flags, err := r.byte()
	if err != nil {
		return err
	}
	if _, err = r.uint32(); err == nil && flags&1 != 0 {
		_, err = r.uint32()
	}
	return err
}

func (r *reader) exports(l *layout) error {
	n, err := r.uint32()
	for i := uint32(0); i < n && err == nil; i++ {
		var name string
		var kind byte
		if name, err = r.name(); err != nil {
			break
		}
		if kind, err = r.byte(); err != nil {
			break
		}
		if kind == kindFunc {
			l.exports[name] = true
		}
		_, err = r.uint32()
	}
	return err
}
