package plugins

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"slices"

	"chorale/sandbox"
)

// The endings of files that are scripts.
const (
	EndingPython     = ".py"
	EndingJavaScript = ".js"
)

// An Interpreter compiles scripts of one language; file is the name for places in errors. An error for a script that is wrong
// says where. It is safe for concurrent use.
type Interpreter func(ctx context.Context, file string, source []byte) (Script, error)

// A Script is a compiled script. It is safe for concurrent use.
type Script interface {
	// Run runs the script from its beginning, apart from all other runs, with the streams, arguments, mounts and limits of c,
	// and returns its exit code. Limits.Memory and the memory of the usage are beside what the interpreter itself has. Errors
	// are those of sandbox.Instance.Call.
	Run(ctx context.Context, c sandbox.Config) (code uint32, u sandbox.Usage, err error)
	// Close is called when no run is under way.
	Close() error
}

// scriptSection is the name of the custom section that holds a script, behind the name of its file.
const scriptSection = "chorale:script"

// maxScriptBytes bounds a script. One that is larger carries data that belongs into a file.
const maxScriptBytes = 4 << 20

// A scriptFile is a script as its author wrote it.
type scriptFile struct {
	name   string // of the file
	source []byte
}

// NewScript returns a source of a script and the manifest beside it, which may be nil: then the script's own is taken. file is
// its name with the ending. The script is in a custom section of a module, so that it can be signed and shipped like one.
func NewScript(file string, script, manifest []byte) (Source, error) {
	comment, ok := map[string]string{EndingPython: "#", EndingJavaScript: "//"}[path.Ext(file)]
	if !ok {
		return Source{}, fmt.Errorf("script %s: the name must end in %s or %s", file, EndingPython, EndingJavaScript)
	}
	if len(script) > maxScriptBytes {
		return Source{}, fmt.Errorf("script %s has %d bytes, at most %d are allowed", file, len(script), maxScriptBytes)
	}
	if manifest == nil {
		var err error
		if manifest, err = manifestBlock(script, comment); err != nil {
			return Source{}, fmt.Errorf("script %s: %w", file, err)
		}
	}
	content := binary.AppendUvarint(nil, uint64(len(scriptSection)))
	content = append(content, scriptSection...)
	content = append(binary.AppendUvarint(content, uint64(len(file))), file...)
	content = append(content, script...)
	wasm := binary.AppendUvarint(append(slices.Clone(moduleHeader), sectionCustom), uint64(len(content)))
	stem, _ := Stem(file)
	return NewSource(stem, append(wasm, content...), manifest)
}

// manifestBlock returns what stands between the lines "# /// chorale" and "# ///", nil without them. The form is that of PEP
// 723, with the comment of the language.
func manifestBlock(script []byte, comment string) ([]byte, error) {
	var block []byte
	inside, found := 0, false // inside: the line of the beginning
	n := 0
	for line := range bytes.Lines(script) {
		n++
		text := string(bytes.TrimRight(line, "\r\n"))
		switch {
		case inside == 0 && text == comment+" /// chorale":
			if found {
				return nil, fmt.Errorf("line %d: there are two manifests", n)
			}
			inside, found = n, true
		case inside == 0:
		case text == comment+" ///":
			inside = 0
		case text != comment && !bytes.HasPrefix(line, []byte(comment+" ")):
			return nil, fmt.Errorf("line %d: the manifest that begins in line %d is not closed by a line %q", n, inside, comment+" ///")
		default:
			block = append(append(block, text[len(comment):]...), '\n')
		}
	}
	if inside != 0 {
		return nil, fmt.Errorf("the manifest that begins in line %d is not closed by a line %q", inside, comment+" ///")
	}
	if !found {
		return nil, nil
	}
	return append([]byte{}, bytes.TrimSpace(block)...), nil // an empty one is there too, and wrong
}

// compile compiles the script with the interpreter of its language.
func (f *scriptFile) compile(ctx context.Context, all map[string]Interpreter) (Script, error) {
	compile := all[path.Ext(f.name)]
	if compile == nil {
		return nil, fmt.Errorf("%s: this host has no interpreter for scripts that end in %s", f.name, path.Ext(f.name))
	}
	s, err := compile(ctx, f.name, f.source)
	if err != nil {
		return nil, err // and not the nil pointer that an interpreter may have beside it
	}
	return s, nil
}

// A script starts a script for every call.
type script struct {
	Script
}

func (s script) run(ctx context.Context, w *work) (answer, error) {
	config := w.config(w.tool.Name)
	config.Stdin = bytes.NewReader(w.input)
	code, usage, err := s.Run(ctx, config)
	w.usage = usage
	return w.exited(code, err)
}

// close leaves the script to the plugin.
func (s script) close() error { return nil }
