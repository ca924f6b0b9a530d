package page

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/ascii85"
	"errors"
	"io"
	"math"
	"strconv"
)

// The objects of a PDF, ISO 32000-1 section 7.3, as Go values: nil, bool, float64, pdfString, pdfName, []any, pdfDict, pdfRef,
// *pdfStream, and pdfWord for operators.
type (
	pdfString string
	pdfName   string
	pdfWord   string
	pdfDict   map[pdfName]any
	pdfRef    int // the number of an object
	pdfStream struct {
		dict pdfDict
		raw  []byte // as in the file
	}
)

// A pdfLexer reads objects from bytes. What cannot be read is skipped.
type pdfLexer struct {
	data []byte
	at   int
	file *pdfFile // pays for what is read; may be nil
}

// maxPDFDepth bounds how deep objects are nested.
const maxPDFDepth = 40

// end is what next returns behind the last object.
type pdfEnd struct{}

func isPDFSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == 0
}

func isPDFDelimiter(c byte) bool { return bytes.IndexByte([]byte("()<>[]{}/%"), c) >= 0 }

func (l *pdfLexer) skipSpace() {
	for l.at < len(l.data) {
		switch c := l.data[l.at]; {
		case isPDFSpace(c):
			l.at++
		case c == '%':
			for l.at < len(l.data) && l.data[l.at] != '\n' && l.data[l.at] != '\r' {
				l.at++
			}
		default:
			return
		}
	}
}

// next returns the next object. References stand as their numbers and the word R; object joins them.
func (l *pdfLexer) next(depth int) any {
	l.skipSpace()
	if l.at >= len(l.data) || depth > maxPDFDepth {
		l.at = len(l.data)
		return pdfEnd{}
	}
	c := l.data[l.at]
	switch {
	case c == '/':
		l.at++
		return l.name()
	case c == '(':
		l.at++
		return l.literal()
	case c == '<' && l.at+1 < len(l.data) && l.data[l.at+1] == '<':
		l.at += 2
		return l.dict(depth)
	case c == '<':
		l.at++
		return l.hex()
	case c == '[':
		l.at++
		return l.array("]", depth)
	case isPDFDelimiter(c):
		l.at++
		if c == '>' && l.at < len(l.data) && l.data[l.at] == '>' {
			l.at++
			return pdfWord(">>")
		}
		return pdfWord(c)
	}
	from := l.at
	for l.at < len(l.data) && !isPDFSpace(l.data[l.at]) && !isPDFDelimiter(l.data[l.at]) {
		l.at++
	}
	word := l.data[from:l.at]
	if word[0] <= '9' && len(word) < 32 {
		if f, err := strconv.ParseFloat(string(word), 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
	}
	switch string(word) {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	}
	return pdfWord(word)
}

func (l *pdfLexer) name() pdfName {
	from, escaped := l.at, false
	for l.at < len(l.data) && !isPDFSpace(l.data[l.at]) && !isPDFDelimiter(l.data[l.at]) {
		escaped = escaped || l.data[l.at] == '#'
		l.at++
	}
	s := l.data[from:l.at]
	if !escaped {
		return pdfName(s)
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '#' && i+2 < len(s) {
			if c, err := strconv.ParseUint(string(s[i+1:i+3]), 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return pdfName(b)
}

func (l *pdfLexer) literal() pdfString {
	var b []byte
	for open := 1; l.at < len(l.data); l.at++ {
		c := l.data[l.at]
		switch c {
		case '(':
			open++
		case ')':
			if open--; open == 0 {
				l.at++
				return pdfString(b)
			}
		case '\\':
			if l.at++; l.at >= len(l.data) {
				return pdfString(b)
			}
			if c = l.data[l.at]; c >= '0' && c <= '7' {
				v := 0
				for n := 0; n < 3 && l.at < len(l.data) && l.data[l.at] >= '0' && l.data[l.at] <= '7'; n++ {
					v = v*8 + int(l.data[l.at]-'0')
					l.at++
				}
				l.at--
				b = append(b, byte(v))
				continue
			}
			if i := bytes.IndexByte([]byte("nrtbf"), c); i >= 0 {
				c = "\n\r\t\b\f"[i]
			} else if c == '\n' || c == '\r' {
				continue
			}
		}
		b = append(b, c)
	}
	return pdfString(b)
}

func (l *pdfLexer) hex() pdfString {
	var b []byte
	half, n := byte(0), 0
	for ; l.at < len(l.data) && l.data[l.at] != '>'; l.at++ {
		c := l.data[l.at]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			continue
		}
		if n++; n%2 == 1 {
			half = c << 4
			continue
		}
		b = append(b, half|c)
	}
	l.at++
	if n%2 == 1 {
		b = append(b, half)
	}
	return pdfString(b)
}

// array reads objects up to a closing word, with references joined.
func (l *pdfLexer) array(closing pdfWord, depth int) []any {
	var all []any
	for {
		v := l.next(depth + 1)
		switch v {
		case closing, pdfEnd{}:
			return all
		case pdfWord("endobj"), pdfWord("stream"), pdfWord("endstream"):
			l.at -= len(v.(pdfWord))
			return all
		case pdfWord("R"):
			if n := len(all); n >= 2 {
				if number, ok := all[n-2].(float64); ok && number >= 0 && number < 1e9 {
					all = append(all[:n-2], pdfRef(number))
				}
			}
			continue
		}
		if _, word := v.(pdfWord); !word {
			all = append(all, v)
			if l.file != nil {
				l.file.spend(32)
			}
		}
	}
}

func (l *pdfLexer) dict(depth int) pdfDict {
	d := pdfDict{}
	all := l.array(">>", depth)
	for i := 0; i+1 < len(all); i += 2 {
		if name, ok := all[i].(pdfName); ok {
			d[name] = all[i+1]
		} else {
			i-- // out of step
		}
	}
	return d
}

// A pdfFile finds the objects of a file by looking for them, not by its table of them, which may be damaged or made to lead
// in circles. budget bounds all work, in bytes looked at or made.
type pdfFile struct {
	data    []byte
	at      map[pdfRef]int // where each object begins in the file
	inside  map[pdfRef]any // objects that are within streams
	parsed  map[pdfRef]any
	root    pdfDict
	info    pdfDict
	secret  bool // it is encrypted
	budget  int
	depth   int // of object
	trailer []pdfDict
}

var errPDFBudget = errors.New("the document takes too much work to read")

// spend panics with errPDFBudget, which readPDF recovers, when the work is too much.
func (f *pdfFile) spend(n int) {
	if f.budget -= n; f.budget < 0 {
		panic(errPDFBudget)
	}
}

// openPDF finds the objects. Later ones replace earlier ones, as in files that were changed.
func openPDF(data []byte, budget int) *pdfFile {
	f := &pdfFile{data: data, at: map[pdfRef]int{}, inside: map[pdfRef]any{}, parsed: map[pdfRef]any{}, budget: budget}
	var streams []pdfRef
	for from := 0; ; {
		i := bytes.Index(data[from:], []byte("obj"))
		if i < 0 {
			break
		}
		at := from + i
		from = at + 3
		if number, ok := numberBefore(data, at); ok {
			f.at[number] = from
			streams = append(streams, number)
		}
	}
	for from := 0; ; {
		i := bytes.Index(data[from:], []byte("trailer"))
		if i < 0 {
			break
		}
		from += i + len("trailer")
		f.spend(100)
		l := pdfLexer{data: data, at: from, file: f}
		if d, ok := l.next(0).(pdfDict); ok {
			f.spend(l.at - from)
			f.trailer = append(f.trailer, d)
		}
	}
	for _, number := range streams {
		s, ok := f.object(number).(*pdfStream)
		if !ok {
			continue
		}
		switch s.dict["Type"] {
		case pdfName("ObjStm"):
			f.openStream(s)
		case pdfName("XRef"):
			f.trailer = append(f.trailer, s.dict)
		}
	}
	for _, d := range f.trailer {
		if root := f.dict(d["Root"]); root != nil {
			f.root = root
		}
		if info := f.dict(d["Info"]); info != nil {
			f.info = info
		}
		f.secret = f.secret || d["Encrypt"] != nil
	}
	return f
}

// numberBefore reads "12 0 " backwards from the word obj.
func numberBefore(data []byte, at int) (pdfRef, bool) {
	digits := func(end int) (from int) {
		for from = end; from > 0 && end-from < 10 && data[from-1] >= '0' && data[from-1] <= '9'; from-- {
		}
		return from
	}
	blanks := func(end int) int {
		for n := 0; end > 0 && n < 8 && isPDFSpace(data[end-1]); n++ {
			end--
		}
		return end
	}
	end := blanks(at)
	generation := digits(end)
	last := blanks(generation)
	first := digits(last)
	if generation == end || last == generation || first == last {
		return 0, false
	}
	n, err := strconv.Atoi(string(data[first:last]))
	return pdfRef(n), err == nil
}

// object returns an object by its number, nil if there is none.
func (f *pdfFile) object(number pdfRef) any {
	if v, ok := f.parsed[number]; ok {
		return v
	}
	f.parsed[number] = nil                // what refers to itself is nothing
	if f.depth++; f.depth > maxPDFDepth { // lengths of streams can lead from object to object
		f.depth--
		return nil
	}
	defer func() { f.depth-- }()
	from, ok := f.at[number]
	if !ok {
		v := f.inside[number]
		f.parsed[number] = v
		return v
	}
	l := pdfLexer{data: f.data, at: from, file: f}
	v := l.next(0)
	f.spend(l.at - from + 32)
	if d, ok := v.(pdfDict); ok {
		l.skipSpace()
		if bytes.HasPrefix(f.data[l.at:], []byte("stream")) {
			v = &pdfStream{dict: d, raw: f.streamBytes(l.at+len("stream"), d)}
		}
	}
	f.parsed[number] = v
	return v
}

// streamBytes returns what is between stream and endstream.
func (f *pdfFile) streamBytes(from int, d pdfDict) []byte {
	if from < len(f.data) && f.data[from] == '\r' {
		from++
	}
	if from < len(f.data) && f.data[from] == '\n' {
		from++
	}
	if n, ok := f.resolve(d["Length"]).(float64); ok && n >= 0 && n <= float64(len(f.data)-from) {
		end := from + int(n)
		if bytes.Contains(f.data[end:min(end+20, len(f.data))], []byte("endstream")) {
			return f.data[from:end]
		}
	}
	n := bytes.Index(f.data[from:], []byte("endstream"))
	if n < 0 {
		n = len(f.data) - from
	}
	f.spend(n)
	return f.data[from : from+n]
}

// openStream adds the objects that a stream has in it.
func (f *pdfFile) openStream(s *pdfStream) {
	data := f.decode(s)
	n, _ := f.resolve(s.dict["N"]).(float64)
	first, _ := f.resolve(s.dict["First"]).(float64)
	if n < 0 || first < 0 || first > float64(len(data)) {
		return
	}
	head := pdfLexer{data: data[:int(first)]}
	for range int(min(n, float64(len(data)))) {
		number, ok := head.next(0).(float64)
		offset, ok2 := head.next(0).(float64)
		if !ok || !ok2 || offset < 0 || offset > float64(len(data))-first {
			return
		}
		l := pdfLexer{data: data, at: int(first + offset), file: f}
		from := l.at
		v := l.next(0)
		f.spend(l.at - from + 32)
		f.inside[pdfRef(number)] = v
		delete(f.parsed, pdfRef(number))
	}
}

// resolve follows references.
func (f *pdfFile) resolve(v any) any {
	for range 8 {
		r, ok := v.(pdfRef)
		if !ok {
			return v
		}
		v = f.object(r)
	}
	return nil
}

func (f *pdfFile) dict(v any) pdfDict {
	switch v := f.resolve(v).(type) {
	case pdfDict:
		return v
	case *pdfStream:
		return v.dict
	}
	return nil
}

func (f *pdfFile) array(v any) []any {
	a, _ := f.resolve(v).([]any)
	return a
}

func (f *pdfFile) number(v any, def float64) float64 {
	if n, ok := f.resolve(v).(float64); ok {
		return n
	}
	return def
}

// decode undoes the filters of a stream. What is damaged gives what could be read until there; of filters of pictures, and
// others that are not known, nothing.
func (f *pdfFile) decode(s *pdfStream) []byte {
	filters, parameters := f.array(s.dict["Filter"]), f.array(s.dict["DecodeParms"])
	if name, ok := f.resolve(s.dict["Filter"]).(pdfName); ok {
		filters, parameters = []any{name}, []any{s.dict["DecodeParms"]}
	}
	data := s.raw
	for i, filter := range filters {
		var p pdfDict
		if i < len(parameters) {
			p = f.dict(parameters[i])
		}
		switch f.resolve(filter) {
		case pdfName("FlateDecode"), pdfName("Fl"):
			data = f.unpredict(f.inflate(data), p)
		case pdfName("ASCIIHexDecode"), pdfName("AHx"):
			l := pdfLexer{data: data}
			data = []byte(l.hex())
		case pdfName("ASCII85Decode"), pdfName("A85"):
			if j := bytes.Index(data, []byte("~>")); j >= 0 {
				data = data[:j]
			}
			data, _ = io.ReadAll(ascii85.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("<~")))))
		default:
			return nil
		}
		f.spend(len(data))
	}
	return data
}

// maxPDFStream bounds what one stream is decompressed to.
const maxPDFStream = 32 << 20

func (f *pdfFile) inflate(data []byte) []byte {
	limit := int64(min(maxPDFStream, f.budget+1))
	if z, err := zlib.NewReader(bytes.NewReader(data)); err == nil {
		out, _ := io.ReadAll(io.LimitReader(z, limit))
		return out
	}
	out, _ := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), limit))
	return out
}

// unpredict undoes the predictors of PNG, which tables of objects are written with.
func (f *pdfFile) unpredict(data []byte, p pdfDict) []byte {
	if p == nil || f.number(p["Predictor"], 1) < 10 {
		return data
	}
	size := int(math.Ceil(f.number(p["Colors"], 1) * f.number(p["BitsPerComponent"], 8) / 8))
	width := int(math.Ceil(f.number(p["Columns"], 1) * f.number(p["Colors"], 1) * f.number(p["BitsPerComponent"], 8) / 8))
	if size < 1 || size > 64 || width < 1 || width > 1<<20 {
		return nil
	}
	out := make([]byte, 0, len(data))
	previous, row := make([]byte, width), make([]byte, width)
	for len(data) > width {
		kind := data[0]
		copy(row, data[1:width+1])
		data = data[width+1:]
		for i := range row {
			var left, corner byte
			if i >= size {
				left, corner = row[i-size], previous[i-size]
			}
			switch kind {
			case 1:
				row[i] += left
			case 2:
				row[i] += previous[i]
			case 3:
				row[i] += byte((int(left) + int(previous[i])) / 2)
			case 4:
				row[i] += paeth(left, previous[i], corner)
			}
		}
		out = append(out, row...)
		previous, row = row, previous
	}
	return out
}

func paeth(a, b, c byte) byte {
	p := int(a) + int(b) - int(c)
	pa, pb, pc := abs(p-int(a)), abs(p-int(b)), abs(p-int(c))
	switch {
	case pa <= pb && pa <= pc:
		return a
	case pb <= pc:
		return b
	}
	return c
}

func abs(n int) int { return max(n, -n) }
