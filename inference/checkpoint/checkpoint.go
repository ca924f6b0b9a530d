// Package checkpoint opens model files: safetensors (Hugging Face's folders, sharded or not, and OpenAI's original/
// folder) and GGUF (llama.cpp's and Ollama's).
//
// It owns the formats: mapping files into memory, checking every header before anything is believed, the element types
// and the reference decoding of MXFP4. It does not know what the tensors are for: names, expected shapes and the meaning
// of config.json belong to the packages of the models. A Checkpoint is safe for concurrent use except for Close.
//
// Files are memory-mapped read-only and tensors are views of the mapping, so opening costs the headers alone and the
// page cache is the only copy of the weights. What a header says is trusted only after it was checked against the
// length of the file: no offset leaves it, no two tensors overlap, no count makes us allocate more than a small multiple
// of the header's own bytes.
package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// A Tensor is a named array in a checkpoint.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // outermost dimension first, whatever the order in the file; row-major
	// Data holds DType.Bytes(product of Shape) bytes. It aliases the mapped file: read-only, invalid after Close, and
	// not necessarily aligned to the element.
	Data []byte
	File string // base name of the file that holds it
}

// A Layout is a convention of tensor names and configuration.
type Layout uint8

// The layouts. The zero value is none of them.
const (
	HuggingFace Layout = iota + 1 // safetensors, names as in transformers, config.json
	Original                      // safetensors, names of OpenAI's own original/ folder, config.json
	GGUF                          // llama.cpp's
	OllamaGGUF                    // Ollama's own converter, architecture "gptoss"
)

// String returns the layout's name.
func (l Layout) String() string {
	switch l {
	case HuggingFace:
		return "Hugging Face safetensors"
	case Original:
		return "original/ safetensors"
	case GGUF:
		return "GGUF"
	case OllamaGGUF:
		return "Ollama GGUF"
	default:
		return fmt.Sprintf("Layout(%d)", uint8(l))
	}
}

// A Checkpoint is an opened set of model files.
type Checkpoint struct {
	name    string
	dir     string // where config.json and tokenizer.json lie; "" for an embedded model
	layout  Layout
	config  []byte
	tensors map[string]*Tensor
	meta    map[string]value

	closing sync.Once
	unmap   []func() error // one for each mapped file
	err     error          // of closing
}

const (
	indexName    = "model.safetensors.index.json"
	maxSideBytes = 256 << 20 // config.json, tokenizer.json, the index
)

// Open maps a model: a folder (an index of shards if there is one, else every *.safetensors in it, else its only *.gguf,
// else its original/ folder) or a single .safetensors or GGUF file, told apart by content and not by name. Everything
// about the headers has been checked when it returns. Errors name the file and the tensor.
//
// The files must not be truncated while the Checkpoint is open: reading behind the end of a mapped file ends the process.
func Open(path string) (*Checkpoint, error) {
	c := &Checkpoint{name: path, tensors: map[string]*Tensor{}}
	if err := c.open(path); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), c.Close())
	}
	return c, nil
}

// FromBytes returns the Checkpoint of a file that is already in memory, such as an embedded model. name stands for the
// file in errors, config is what config.json would hold. data must not change while the Checkpoint is in use.
func FromBytes(name string, data, config []byte) (*Checkpoint, error) {
	c := &Checkpoint{name: name, config: config, tensors: map[string]*Tensor{}}
	if err := c.add(name, data, nil); err != nil {
		return nil, err
	}
	c.layout = c.guessLayout()
	return c, nil
}

func (c *Checkpoint) open(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return unwrapPath(err)
	}
	var files []string
	var index map[string]string // tensor -> file
	c.dir = path
	if info.IsDir() {
		if files, index, err = c.list(); err != nil {
			return err
		}
	} else {
		c.dir, files = filepath.Dir(path), []string{filepath.Base(path)}
	}
	for _, f := range files {
		data, unmap, err := mapFile(filepath.Join(c.dir, f))
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		c.unmap = append(c.unmap, unmap)
		if err := c.add(f, data, index); err != nil {
			return err
		}
	}
	for name, file := range index {
		if c.tensors[name] == nil {
			return fmt.Errorf("%s: tensor %s is not in it, though %s says so", file, name, indexName)
		}
	}
	if c.layout = c.guessLayout(); c.meta == nil {
		c.config, _, err = c.side("config.json")
	}
	return err
}

// list finds the files of a model folder, descending into original/ if that is all there is.
func (c *Checkpoint) list() (files []string, index map[string]string, err error) {
	data, found, err := c.side(indexName)
	if err != nil {
		return nil, nil, err
	}
	if found {
		if index, err = parseIndex(data); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", indexName, err)
		}
		for _, f := range index {
			files = append(files, f)
		}
		slices.Sort(files)
		files = slices.Compact(files)
		for _, f := range files {
			if _, err := os.Stat(filepath.Join(c.dir, f)); err != nil {
				return nil, nil, fmt.Errorf("%s: shard %s: %w; all the shards it names must lie beside it", indexName, f, unwrapPath(err))
			}
		}
		return files, index, nil
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, nil, unwrapPath(err)
	}
	var gguf []string
	original := false
	for _, e := range entries {
		switch ext := strings.ToLower(filepath.Ext(e.Name())); {
		case ext == ".safetensors":
			files = append(files, e.Name())
		case ext == ".gguf":
			gguf = append(gguf, e.Name())
		case e.Name() == "original":
			original = true
		}
	}
	switch {
	case len(files) > 0:
		return files, nil, nil
	case len(gguf) == 1:
		return gguf, nil, nil
	case len(gguf) > 1:
		return nil, nil, fmt.Errorf("the folder has %d GGUF files (%s), name one of them", len(gguf), strings.Join(gguf, ", "))
	case original && filepath.Base(c.dir) != "original":
		c.dir = filepath.Join(c.dir, "original")
		return c.list()
	default:
		return nil, nil, errors.New("no model in this folder: want config.json with *.safetensors, an original/ folder with them, or a *.gguf file")
	}
}

// add parses one file and takes its tensors in; with an index only those that the index finds in this file.
func (c *Checkpoint) add(file string, data []byte, index map[string]string) error {
	var tensors []*Tensor
	var err error
	switch {
	case isGGUF(data) && c.meta != nil:
		err = errors.New("a model is one GGUF file, this is the second")
	case isGGUF(data):
		tensors, c.meta, err = parseGGUF(data)
	case bytes.HasPrefix(data, []byte("version https://git-lfs")):
		err = errors.New("a Git LFS pointer instead of the file, fetch it with git lfs pull")
	default:
		tensors, err = parseSafetensors(data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, t := range tensors {
		if index != nil && index[t.Name] != file {
			continue
		}
		if other := c.tensors[t.Name]; other != nil {
			return fmt.Errorf("%s: tensor %s is also in %s, want each tensor once", file, t.Name, other.File)
		}
		t.File = file
		c.tensors[t.Name] = t
	}
	return nil
}

func (c *Checkpoint) guessLayout() Layout {
	arch, _ := c.Meta("general.architecture")
	switch {
	case arch == "gptoss":
		return OllamaGGUF
	case c.meta != nil:
		return GGUF
	case c.tensors["unembedding.weight"] != nil || c.tensors["embedding.weight"] != nil:
		return Original
	default:
		return HuggingFace
	}
}

// Name returns the path or name that the Checkpoint was opened by.
func (c *Checkpoint) Name() string { return c.name }

// Layout returns the convention that the files follow.
func (c *Checkpoint) Layout() Layout { return c.layout }

// Config returns the bytes of config.json, nil if there is none and for GGUF.
func (c *Checkpoint) Config() []byte { return c.config }

// Meta returns a metadata value of a GGUF file: bool, int64 (uint64 where that is too small), float64, string, or []any
// of those. Arrays are decoded at each call.
func (c *Checkpoint) Meta(key string) (any, bool) {
	v, ok := c.meta[key]
	if !ok {
		return nil, false
	}
	return v.decode(), true
}

// TokenizerJSON returns the tokenizer.json beside the weights, and false if there is none.
func (c *Checkpoint) TokenizerJSON() ([]byte, bool, error) {
	if c.dir == "" {
		return nil, false, nil
	}
	return c.side("tokenizer.json")
}

// Tensor returns the tensor of that name.
func (c *Checkpoint) Tensor(name string) (*Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Names returns the names of all tensors, sorted.
func (c *Checkpoint) Names() []string {
	names := make([]string, 0, len(c.tensors))
	for name := range c.tensors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Bytes returns the size of all tensors together.
func (c *Checkpoint) Bytes() int64 {
	var n int64
	for _, t := range c.tensors {
		n += int64(len(t.Data))
	}
	return n
}

// Close unmaps the files. Every Tensor's Data is invalid from then on: nothing may read it any more. Close is idempotent.
func (c *Checkpoint) Close() error {
	c.closing.Do(func() {
		for _, unmap := range c.unmap {
			c.err = errors.Join(c.err, unmap())
		}
	})
	return c.err
}

// side reads a small file beside the weights; found is false if there is none.
func (c *Checkpoint) side(name string) (data []byte, found bool, err error) {
	path := filepath.Join(c.dir, name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("%s: %w", name, unwrapPath(err))
	case !info.Mode().IsRegular():
		return nil, false, fmt.Errorf("%s: not a regular file", name)
	case info.Size() > maxSideBytes:
		return nil, false, fmt.Errorf("%s: %d bytes, want at most %d", name, info.Size(), maxSideBytes)
	}
	if data, err = os.ReadFile(path); err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, unwrapPath(err))
	}
	return data, true, nil
}

// mapFile maps a whole file read-only.
func mapFile(path string) (data []byte, unmap func() error, err error) {
	info, err := os.Stat(path) // before opening: opening a pipe would wait for a writer
	if err != nil {
		return nil, nil, unwrapPath(err)
	}
	switch size := info.Size(); {
	case !info.Mode().IsRegular():
		return nil, nil, errors.New("not a regular file")
	case size == 0:
		return nil, nil, errors.New("the file is empty, want a safetensors or GGUF file")
	case size > math.MaxInt:
		return nil, nil, fmt.Errorf("%d bytes are more than this machine can address", size)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, unwrapPath(err)
	}
	defer f.Close() // the mapping outlives the descriptor
	return mapOpened(f, int(info.Size()))
}

// unwrapPath drops the path that package os puts before its errors, since ours name the file already.
func unwrapPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// maxNameBytes bounds tensor names; the longest of gpt-oss has 51 bytes.
const maxNameBytes = 1024

// checkName refuses names that would make errors unreadable.
func checkName(name string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("tensor name %.80q, want 1 to %d printable characters", name, maxNameBytes)
	}
	return nil
}

// maxElements bounds a tensor so that its bytes fit an int in every element type.
const maxElements = math.MaxInt / 8

// size returns shape as ints and the bytes that its elements of type d take. It refuses shapes whose product is not
// representable and, for block formats, rows that are not whole blocks.
func size(shape []uint64, d DType) (dims []int, bytes int, err error) {
	n := uint64(1)
	dims = make([]int, len(shape))
	for i, s := range shape {
		high, low := bits.Mul64(n, s)
		if s > maxElements || high != 0 || low > maxElements {
			return nil, 0, fmt.Errorf("shape %v is absurdly large", shape)
		}
		dims[i], n = int(s), low
	}
	if last := len(dims) - 1; d.Block() > 1 && (last < 0 || dims[last]%d.Block() != 0) {
		return nil, 0, fmt.Errorf("shape %v in %v, want rows of a multiple of %d elements", shape, d, d.Block())
	}
	return dims, d.Bytes(int(n)), nil
}
