package python_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chorale/sandbox/python"
)

// decodeArray reads a JSON array into one place per element.
func decodeArray(text string, into ...any) error {
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return err
	}
	if len(list) != len(into) {
		return fmt.Errorf("%d elements, want %d", len(list), len(into))
	}
	for i, raw := range list {
		if err := json.Unmarshal(raw, into[i]); err != nil {
			return err
		}
	}
	return nil
}

func TestStatelessCells(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{})
	exec(t, s, "x = 1; open('a', 'w').write('here')")
	for range 2 {
		r, err := s.Exec(t.Context(), python.Cell{Code: "print('x' in globals(), open('a').read()); x = 2; import json; json.y = 1", Stateless: true})
		if err != nil || r.Output != "False here\n" || r.Lost {
			t.Errorf("%v %+v", err, r)
		}
	}
	if r := exec(t, s, "import json; (x, hasattr(json, 'y'))"); r.Value != "(1, False)" {
		t.Errorf("state: %+v", r)
	}
	r, err := s.Exec(t.Context(), python.Cell{Code: "import os; os._exit(1)", Stateless: true})
	if err != nil || !r.Lost || r.Status != python.Exit || r.ExitCode != 1 {
		t.Errorf("%v %+v", err, r)
	}
	if r := exec(t, s, "x"); r.Value != "1" {
		t.Errorf("state after a stateless cell broke: %+v", r)
	}
}

func TestOutputIsCut(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{Output: 1000})
	for _, c := range []struct {
		name, code, head, tail string
		cut                    int64
	}{
		{"within", "print('x' * 999)", "xxx", "xxx\n", 0},
		{"one byte more", "print('x' * 1000)", "xxx", "xxx\n", 1},
		{"much", "for i in range(100_000): print(i)", "0\n1\n2\n", "99998\n99999\n", 588_890 - 1000},
		{"one write", "print('a' * 500_000 + 'b' * 500_000)", "aaa", "bbb\n", 1_000_001 - 1000},
		{"wide characters", "print('€' * 500)", "€€€", "€€\n", 504},
		{"not text", "import os; os.write(1, bytes(range(256)) * 2); None", "\x00\x01\x02", "\ufffd", 0},
	} {
		r := exec(t, s, c.code)
		if r.Cut != c.cut || !strings.HasPrefix(r.Output, c.head) || !strings.HasSuffix(r.Output, c.tail) || !utf8.ValidString(r.Output) {
			t.Errorf("%s: %d bytes cut, want %d: %.40q…%q", c.name, r.Cut, c.cut, r.Output, r.Output[max(0, len(r.Output)-40):])
		}
		if note := fmt.Sprintf("[… %d bytes of output cut …]\n", c.cut); (c.cut > 0) != strings.Contains(r.Output, note) {
			t.Errorf("%s: the output does not say %q: %q", c.name, note, r.Output)
		}
	}
	var stream bytes.Buffer
	r, err := s.Exec(t.Context(), python.Cell{Code: "print('x' * 10_000)", Stream: func(p []byte) { stream.Write(p) }})
	if err != nil || stream.Len() != 10_001 || r.Cut != 9001 {
		t.Errorf("%v: %d bytes streamed, %d cut", err, stream.Len(), r.Cut)
	}
}

func TestStdin(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{})
	for i := range 2 {
		r, err := s.Exec(t.Context(), python.Cell{Code: "import sys; sys.stdin.readline()", Stdin: strings.NewReader(fmt.Sprintln(i))})
		if want := fmt.Sprintf("'%d\\n'", i); err != nil || r.Value != want {
			t.Errorf("%v %+v, want %s", err, r, want)
		}
	}
	if r := exec(t, s, "sys.stdin.read()"); r.Value != "''" {
		t.Errorf("without input: %+v", r)
	}
}

func TestInterruptAndContext(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{})
	s.Interrupt() // nothing runs
	r, err := s.Exec(t.Context(), python.Cell{Code: "x = 1; print(x)\nwhile True: pass", Stream: func([]byte) { s.Interrupt() }})
	if err != nil || r.Status != python.Interrupted || r.Lost {
		t.Errorf("%v %+v", err, r)
	}
	if r := exec(t, s, "x"); r.Value != "1" {
		t.Errorf("after an interrupt: %+v", r)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the client went away")
	r, err = s.Exec(ctx, python.Cell{Code: "print(1)\nwhile True: pass", Stream: func([]byte) { cancel(reason) }})
	if !errors.Is(err, reason) || !r.Lost || r.Output != "1\n" {
		t.Errorf("%v %+v, want %v", err, r, reason)
	}
	if r := exec(t, s, "'x' in globals()"); r.Value != "False" {
		t.Errorf("after a cell was given up: %+v", r)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{})
	if err := s.WriteFile("/mnt/data/in/a.csv", []byte("1,2\n3,4\n")); err != nil {
		t.Fatal(err)
	}
	r := exec(t, s, "import csv, os\nrows = list(csv.reader(open('in/a.csv')))\nopen('out.txt', 'w').write(str(rows))\nopen('/tmp/t', 'w').close()\nprint(rows, os.getcwd(), sorted(os.listdir('/')))")
	if r.Output != "[['1', '2'], ['3', '4']] /mnt/data ['lib', 'mnt', 'tmp']\n" {
		t.Errorf("%+v", r)
	}
	f, err := s.ReadFile("/mnt/data/out.txt")
	if err != nil || string(f.Data) != "[['1', '2'], ['3', '4']]" || f.Size != int64(len(f.Data)) || f.Modified.IsZero() {
		t.Errorf("%v %+v", err, f)
	}
	list, err := s.List()
	var names []string
	for _, f := range list {
		names = append(names, f.Path)
	}
	if want := []string{"/mnt/data/in/a.csv", "/mnt/data/out.txt", "/tmp/t"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v %v, want %v", err, names, want)
	}
	if err := s.RemoveFile("/mnt/data/in/a.csv"); err != nil {
		t.Error(err)
	}
	if r := exec(t, s, "os.path.exists('in/a.csv')"); r.Value != "False" {
		t.Errorf("a file that was removed: %+v", r)
	}
	for _, bad := range []string{"", "a", "/", "/mnt/../a", "/mnt//a", "mnt/data/a", "/a/"} {
		if err := s.WriteFile(bad, nil); err == nil || !strings.Contains(err.Error(), "must be absolute and clean") {
			t.Errorf("write %q: %v", bad, err)
		}
		if _, err := s.ReadFile(bad); err == nil {
			t.Errorf("read %q", bad)
		}
		if err := s.RemoveFile(bad); err == nil {
			t.Errorf("remove %q", bad)
		}
	}
	if _, err := s.ReadFile("/mnt/data/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := s.RemoveFile("/mnt/data/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove a file that is not there: %v", err)
	}
	if _, err := s.ReadFile("/mnt/data"); err == nil {
		t.Error("a directory was read")
	}
	// Files are there after a hard stop as well.
	exec(t, s, "import os; os._exit(0)")
	if r := exec(t, s, "open('out.txt').read(5)"); r.Value != `"[['1'"` {
		t.Errorf("after a hard stop: %+v", r)
	}
}

func TestStandardLibraryWorks(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{})
	for code, want := range map[string]string{
		"import zlib, gzip, bz2, lzma; d = b'abc' * 10_000; [m.decompress(m.compress(d)) == d for m in (zlib, gzip, bz2, lzma)]":                                                                                   "[True, True, True, True]",
		"import sqlite3; c = sqlite3.connect('x.db'); c.execute('create table t(a)'); c.execute('insert into t values(42)'); c.commit(); c.close(); sqlite3.connect('x.db').execute('select a from t').fetchall()": "[(42,)]",
		"import asyncio\nasync def f(i):\n    await asyncio.sleep(0.001); return i\nasync def g(): return await asyncio.gather(*[f(i) for i in range(5)])\nasyncio.run(g())":                                       "[0, 1, 2, 3, 4]",
		"import tempfile, pathlib\nwith tempfile.NamedTemporaryFile() as f: f.write(b'1'); n = f.name\npathlib.Path(n).exists()":                                                                                   "False",
		"import decimal; decimal.Decimal(2).sqrt()":                                                   "Decimal('1.414213562373095048801688724')",
		"import hashlib; hashlib.sha256(b'').hexdigest()[:8], hashlib.md5(b'').hexdigest()[:8]":       "('e3b0c442', 'd41d8cd9')",
		"import math; math.factorial(30) % 1_000_007":                                                 "790627",
		"import time; t = time.perf_counter(); time.sleep(0.01); 0.01 <= time.perf_counter() - t < 5": "True",
		"import datetime; abs(datetime.datetime.now().timestamp() - __import__('time').time()) < 1":   "True",
		"import re; re.sub(r'(\\w+)', lambda m: m[1].title(), 'ab cd')":                               "'Ab Cd'",
		"import xml.etree.ElementTree as e; e.fromstring('<a><b x=\"1\"/></a>')[0].attrib":            "{'x': '1'}",
		"import statistics, fractions; statistics.mean([fractions.Fraction(1, 3), 1])":                "Fraction(2, 3)",
		"import random; random.seed(1); random.random()":                                              "0.13436424411240122",
		"import sys; sys.version_info[:2], sys.platform":                                              "((3, 13), 'wasi')",
	} {
		if r := exec(t, s, code); r.Value != want {
			t.Errorf("%s\n%v %s%s, want %s", code, r.Status, r.Output, r.Value, want)
		}
	}
}
