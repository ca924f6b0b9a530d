package corpus

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"chorale/inference/harmony"
)

// documentStart marks a document's first token in kinds.u8.
const documentStart = 0x80

// chunkDocuments are invented, packed and written together; a chunk depends on seed, split and its index alone.
const chunkDocuments = 1024

// Options say which corpus to write.
type Options struct {
	Codec     *harmony.Codec
	Seed      uint64
	Split     Split
	Documents int
	RowTokens int // tokens of a row; longer documents are left out
}

// Meta describes a corpus folder (meta.json).
type Meta struct {
	Seed      uint64           `json:"seed"`
	Split     string           `json:"split"`
	Documents int              `json:"documents"`
	Dropped   int              `json:"dropped"` // longer than a row
	Tokens    int              `json:"tokens"`  // without padding
	Rows      int              `json:"rows"`
	RowTokens int              `json:"row_tokens"`
	Vocab     int              `json:"vocab"`
	Specials  map[string]int32 `json:"specials"`
	Skills    []string         `json:"skills"`
	Sources   string           `json:"sources"` // SourcesDigest
}

// A packed is a chunk as rows.
type packed struct {
	tokens                   []uint16
	kinds, skills            []uint8
	documents, dropped, used int
}

// Write invents documents, packs them into rows and writes them into a folder: tokens.u16 (little endian), kinds.u8 and
// skills.u8, each [rows, RowTokens], and meta.json. Rows are filled by whole documents; what is left over is padding
// (kind 0). The bytes do not depend on the number of processors.
func Write(dir string, o Options) (*Meta, error) {
	w, err := NewWriter(o.Codec)
	if err != nil {
		return nil, err
	}
	m := &Meta{Seed: o.Seed, Split: [...]string{"train", "heldout"}[o.Split], RowTokens: o.RowTokens, Vocab: o.Codec.Tokenizer().Vocab(),
		Specials: map[string]int32{}, Skills: Skills()}
	if m.Sources, err = SourcesDigest(); err != nil {
		return nil, err
	}
	for id, name := range o.Codec.Tokenizer().Specials() {
		m.Specials[name] = id
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	var files [3]*bufio.Writer
	for i, name := range []string{"tokens.u16", "kinds.u8", "skills.u8"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		files[i] = bufio.NewWriterSize(f, 1<<20)
	}
	chunks := (o.Documents + chunkDocuments - 1) / chunkDocuments
	for p := range inOrder(chunks, func(i int) (*packed, error) { return w.chunk(o, m, i) }) {
		if p.err != nil {
			return nil, p.err
		}
		if err := binary.Write(files[0], binary.LittleEndian, p.tokens); err != nil {
			return nil, err
		}
		files[1].Write(p.kinds) // a bufio.Writer keeps its error until Flush
		files[2].Write(p.skills)
		m.Documents, m.Dropped, m.Tokens = m.Documents+p.documents, m.Dropped+p.dropped, m.Tokens+p.used
		m.Rows += len(p.kinds) / o.RowTokens
	}
	for _, f := range files {
		if err := f.Flush(); err != nil {
			return nil, err
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return m, os.WriteFile(filepath.Join(dir, "meta.json"), append(text, '\n'), 0o666)
}

// A outcome is a chunk or why there is none.
type outcome struct {
	*packed
	err error
}

// inOrder runs work(0) … work(n-1) on all processors and yields the outcomes in order.
func inOrder(n int, work func(int) (*packed, error)) func(func(outcome) bool) {
	return func(yield func(outcome) bool) {
		workers := runtime.GOMAXPROCS(0)
		slots := make([]chan outcome, n)
		for i := range slots {
			slots[i] = make(chan outcome, 1) // the worker never waits for the reader
		}
		ahead := make(chan struct{}, 4*workers) // bounds the chunks in memory
		next := make(chan int)
		stop := make(chan struct{})
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for i := range next {
					p, err := work(i)
					slots[i] <- outcome{p, err}
				}
			})
		}
		group.Go(func() {
			defer close(next)
			for i := range n {
				select {
				case ahead <- struct{}{}:
				case <-stop:
					return
				}
				next <- i
			}
		})
		defer group.Wait()
		defer close(stop)
		for _, slot := range slots {
			o := <-slot
			<-ahead
			if !yield(o) {
				return
			}
		}
	}
}

func (w *Writer) chunk(o Options, m *Meta, index int) (*packed, error) {
	source := NewSource(o.Seed, o.Split, uint64(index))
	count := min(chunkDocuments, o.Documents-index*chunkDocuments)
	p := &packed{}
	var documents []*Document
	for range count {
		d, err := w.Document(source.Episode())
		if err != nil {
			return nil, err
		}
		if len(d.Tokens) > o.RowTokens {
			p.dropped++
			continue
		}
		documents = append(documents, d)
		p.used += len(d.Tokens)
	}
	p.documents = len(documents)
	pad, ok := m.Specials["<|endoftext|>"]
	if !ok {
		return nil, fmt.Errorf("pack documents: the tokenizer has no token <|endoftext|>")
	}
	p.pack(documents, o.RowTokens, uint16(pad))
	return p, nil
}

// pack fills rows: each starts with the oldest document left and takes the longest ones that still fit.
func (p *packed) pack(documents []*Document, rowTokens int, pad uint16) {
	byLength := make([][]*Document, rowTokens+1)
	placed := map[*Document]bool{}
	for i := len(documents) - 1; i >= 0; i-- {
		n := len(documents[i].Tokens)
		byLength[n] = append(byLength[n], documents[i])
	}
	for _, first := range documents {
		if placed[first] {
			continue
		}
		free := rowTokens
		place := func(d *Document) {
			placed[d] = true
			free -= len(d.Tokens)
			for i, t := range d.Tokens {
				k := uint8(d.Kinds[i])
				if i == 0 {
					k |= documentStart
				}
				p.tokens, p.kinds, p.skills = append(p.tokens, uint16(t)), append(p.kinds, k), append(p.skills, uint8(d.Skill))
			}
		}
		place(first)
		for n := free; n > 0; {
			list := byLength[n]
			if len(list) == 0 {
				n--
				continue
			}
			d := list[len(list)-1]
			byLength[n] = list[:len(list)-1]
			if !placed[d] {
				place(d)
				n = min(n, free)
			}
		}
		for i := range free {
			k := uint8(Padding)
			if i == 0 {
				k |= documentStart
			}
			p.tokens, p.kinds, p.skills = append(p.tokens, pad), append(p.kinds, k), append(p.skills, 0)
		}
	}
}
