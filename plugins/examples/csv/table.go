package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// dataDir is where the host mounts the operator's folder.
const dataDir = "/data"

// An input is what both tools take: CSV as text or the name of a file.
type input struct {
	CSV       string `json:"csv"`
	File      string `json:"file"`
	Delimiter string `json:"delimiter"`
	SQL       string `json:"sql"`
	MaxRows   int    `json:"max_rows"`
}

// call runs a tool. Its errors are for the model, which can do better.
func call(tool string, args []byte) (any, error) {
	var in input
	if err := json.Unmarshal(args, &in); err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	t, err := in.table()
	if err != nil {
		return nil, err
	}
	switch tool {
	case "query":
		return t.query(in.SQL, in.MaxRows)
	case "describe":
		return t.describe(), nil
	default:
		return nil, fmt.Errorf("no tool is called %q", tool)
	}
}

// A value is nil (NULL), float64, string or bool.
type value any

// A table has as many values in each row as it has columns.
type table struct {
	columns []string
	rows    [][]value
}

func (in *input) table() (*table, error) {
	comma := ','
	if in.Delimiter != "" {
		r := []rune(in.Delimiter)
		if len(r) != 1 || strings.ContainsAny(in.Delimiter, "\"\r\n") {
			return nil, fmt.Errorf("delimiter is %q; it must be one character, for example ;", in.Delimiter)
		}
		comma = r[0]
	}
	switch {
	case in.File == "" && in.CSV != "":
		return readTable(strings.NewReader(in.CSV), comma)
	case in.File == "" || in.CSV != "":
		return nil, errors.New("either csv or file must be given")
	}
	name := path.Join(dataDir, path.Join("/", in.File))
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("file: %w (files are looked for in the folder that is granted as %s)", err, dataDir)
	}
	defer f.Close()
	return readTable(f, comma)
}

func readTable(r io.Reader, comma rune) (*table, error) {
	cr := csv.NewReader(r)
	cr.Comma, cr.FieldsPerRecord, cr.ReuseRecord, cr.LazyQuotes = comma, 0, true, true
	header, err := cr.Read()
	if err == io.EOF {
		return nil, errors.New("the CSV data are empty; the first line must name the columns")
	}
	if err != nil {
		return nil, fmt.Errorf("CSV: %w", err)
	}
	t := &table{}
	for i, name := range header {
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff") // spreadsheets write one
		}
		t.columns = append(t.columns, strings.TrimSpace(name))
	}
	for {
		record, err := cr.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("CSV: %w", err)
		}
		row := make([]value, len(record))
		for i, cell := range record {
			if cell != "" {
				row[i] = strings.Clone(cell) // a cell would keep its whole line
			}
		}
		t.rows = append(t.rows, row)
	}
	t.convert()
	return t, nil
}

// convert makes numbers of the columns that hold nothing else.
func (t *table) convert() {
	for c := range t.columns {
		numbers := make([]value, len(t.rows))
		ok := true
		for r, row := range t.rows {
			if s, there := row[c].(string); there && ok {
				numbers[r], ok = number(s)
			}
		}
		for r := range t.rows {
			if ok {
				t.rows[r][c] = numbers[r]
			}
		}
	}
}

// number reads a number as people write it. 007 is none but a code, as are the words that Go takes for numbers.
func number(s string) (value, bool) {
	s = strings.TrimSpace(s)
	digits := strings.TrimPrefix(s, "-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] != '.' || strings.ContainsAny(digits, "xX_pPnN") {
		return nil, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsInf(f, 0)
}

type column struct {
	Name     string `json:"name"`
	Type     string `json:"type"` // "number" or "text"
	Empty    int    `json:"empty"`
	Distinct int    `json:"distinct"`
	Min      value  `json:"min"`
	Max      value  `json:"max"`
}

func (t *table) describe() any {
	columns := []column{}
	for c, name := range t.columns {
		d := column{Name: name, Type: "number"}
		seen := map[value]bool{}
		for _, row := range t.rows {
			v := row[c]
			if v == nil {
				d.Empty++
				continue
			}
			if _, text := v.(string); text {
				d.Type = "text"
			}
			seen[v] = true
			if d.Min == nil || compare(v, d.Min) < 0 {
				d.Min = v
			}
			if d.Max == nil || compare(v, d.Max) > 0 {
				d.Max = v
			}
		}
		if d.Distinct = len(seen); d.Distinct == 0 {
			d.Type = "text"
		}
		columns = append(columns, d)
	}
	return map[string]any{"rows": len(t.rows), "columns": columns}
}
