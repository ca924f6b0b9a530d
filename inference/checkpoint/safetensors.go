package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxHeaderBytes is the limit of the safetensors library itself; gpt-oss-20b's largest header has some 30 kB.
const maxHeaderBytes = 100_000_000

// parseSafetensors checks a safetensors file and returns its tensors in the order of their data: eight bytes of header
// length, a JSON object of tensors, then their data without gaps (huggingface.co/docs/safetensors).
func parseSafetensors(data []byte) ([]*Tensor, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("truncated: %d bytes, want at least the 8 of a safetensors header length", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	switch {
	case n > maxHeaderBytes:
		return nil, fmt.Errorf("header length %d, want at most %d: not a safetensors file, or damaged", n, maxHeaderBytes)
	case n > uint64(len(data)-8):
		return nil, fmt.Errorf("truncated: the header has %d bytes, the file %d after the header length", n, len(data)-8)
	}
	header, body := data[8:8+n], data[8+n:]
	var tensors []*Tensor
	var ranges []extent
	err := eachMember(header, func(name string, d *json.Decoder) error {
		if name == "__metadata__" {
			var texts map[string]string
			if err := d.Decode(&texts); err != nil {
				return fmt.Errorf("__metadata__, want an object of strings: %w", err)
			}
			return nil
		}
		if err := checkName(name); err != nil {
			return err
		}
		t, r, err := parseEntry(d)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		t.Name = name
		tensors, ranges = append(tensors, t), append(ranges, r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("safetensors header: %w", err)
	}
	for i, r := range ranges {
		if r.end > uint64(len(body)) {
			return nil, fmt.Errorf("tensor %s: truncated: its data_offsets end at %d, the file has %d bytes of data", tensors[i].Name, r.end, len(body))
		}
		tensors[i].Data = body[r.begin:r.end:r.end]
	}
	return tensors, checkContiguous(tensors, ranges, uint64(len(body)))
}

// An extent is a range of bytes [begin, end).
type extent struct{ begin, end uint64 }

// parseEntry decodes one tensor's entry and checks that its offsets and its shape agree about the size.
func parseEntry(d *json.Decoder) (*Tensor, extent, error) {
	var entry struct {
		DType   *string  `json:"dtype"`
		Shape   []uint64 `json:"shape"`
		Offsets []uint64 `json:"data_offsets"`
	}
	if err := d.Decode(&entry); err != nil {
		return nil, extent{}, err
	}
	if entry.DType == nil || entry.Shape == nil || len(entry.Offsets) != 2 {
		return nil, extent{}, errors.New("want dtype, shape and two data_offsets")
	}
	dtype, err := safetensorsType(*entry.DType)
	if err != nil {
		return nil, extent{}, err
	}
	shape, n, err := size(entry.Shape, dtype)
	if err != nil {
		return nil, extent{}, err
	}
	r := extent{entry.Offsets[0], entry.Offsets[1]}
	if r.begin > r.end || r.end-r.begin != uint64(n) {
		return nil, extent{}, fmt.Errorf("data_offsets %v, want a range of the %d bytes that %s %v takes", entry.Offsets, n, dtype, shape)
	}
	return &Tensor{DType: dtype, Shape: shape}, r, nil
}

// safetensorsType returns the type of a tag. FP4 and UE8 are the tags of the original/ checkpoint for packed codes and
// scale bytes; like F8_E8M0 they are bytes to us.
func safetensorsType(tag string) (DType, error) {
	for d := F64; d <= Bool; d++ {
		if d.String() == tag {
			return d, nil
		}
	}
	switch tag {
	case "FP4", "UE8", "F8_E8M0":
		return U8, nil
	default:
		return 0, fmt.Errorf("dtype %.40q is not supported, want F64, F32, F16, BF16, BOOL, I8…I64, U8…U64, FP4 or UE8", tag)
	}
}

// checkContiguous sorts tensors by their place and refuses data that overlaps, leaves a gap or does not end with the file.
func checkContiguous(tensors []*Tensor, ranges []extent, n uint64) error {
	order := make([]int, len(tensors))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if ranges[a].begin != ranges[b].begin {
			return cmp.Compare(ranges[a].begin, ranges[b].begin)
		}
		return cmp.Compare(ranges[a].end, ranges[b].end)
	})
	at := uint64(0)
	for _, i := range order {
		if ranges[i].begin != at {
			return fmt.Errorf("tensor %s: data_offsets begin at %d, want %d where the tensor before it ends: no gaps, no overlaps",
				tensors[i].Name, ranges[i].begin, at)
		}
		at = ranges[i].end
	}
	if at != n {
		return fmt.Errorf("the file has %d bytes of data, the header describes %d", n, at)
	}
	return nil
}

// parseIndex reads the weight_map of a sharded checkpoint and returns tensor -> file.
func parseIndex(data []byte) (map[string]string, error) {
	files := map[string]string{}
	err := eachMember(data, func(key string, d *json.Decoder) error {
		if key != "weight_map" {
			var ignored json.RawMessage
			return d.Decode(&ignored)
		}
		var weights json.RawMessage
		if err := d.Decode(&weights); err != nil {
			return err
		}
		return eachMember(weights, func(tensor string, d *json.Decoder) error {
			var file string
			if err := d.Decode(&file); err != nil {
				return fmt.Errorf("weight_map: tensor %.80q: %w", tensor, err)
			}
			if file == "" || file == "." || !filepath.IsLocal(file) || strings.ContainsAny(file, `/\`) {
				return fmt.Errorf("weight_map: tensor %.80q is in %.200q, want the name of a file in the same folder", tensor, file)
			}
			files[tensor] = file
			return checkName(tensor)
		})
	})
	if err == nil && len(files) == 0 {
		err = errors.New("no weight_map, want an object of tensor names and their files")
	}
	return files, err
}

// eachMember calls f for every member of a JSON object, f decoding the value. Unlike encoding/json it refuses names that
// occur twice, which two readers could understand differently, and names that are not UTF-8.
func eachMember(object []byte, f func(name string, d *json.Decoder) error) error {
	if !utf8.Valid(object) {
		return errors.New("not UTF-8, want a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("want a JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name := t.(string) // Token returns nothing else in the place of a name
		if seen[name] {
			return fmt.Errorf("%.80q occurs twice", name)
		}
		seen[name] = true
		if err := f(name, d); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("the JSON object is not closed: %w", err)
	}
	if rest := bytes.TrimLeft(object[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("%d bytes after the JSON object", len(rest))
	}
	return nil
}
