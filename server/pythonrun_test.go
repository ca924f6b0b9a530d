package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPythonRunsProgramsAndCells(t *testing.T) {
	t.Parallel()
	script := writeFile(t, "script.py", "import sys\nprint(sys.argv[1:])\nopen('made.txt', 'w').write(open('table.csv').read().upper())\nsys.exit(len(sys.argv))\n")
	table := writeFile(t, "table.csv", "a,b\n")
	got := t.TempDir()
	tests := []struct {
		name      string
		in        string
		args      []string
		code      int
		out, errs string // part of it
	}{
		{"a line", "", []string{"-c", "print(6 * 7)"}, 0, "42\n", ""},
		{"the last value of a program is not shown", "", []string{"-c", "print('a')\n'not shown'"}, 0, "a\n", ""},
		{"a program on standard input", "import os\nprint(os.getcwd())", nil, 0, "/mnt/data\n", ""},
		{"cells", "x = 2\nif x:\n  y = x * 21\n\ny\n1/0\n\ny + 1", []string{"-i"}, 0, "42\n>>> Traceback", ""},
		{"the last cell without a line break", "y = 1\ny + 42", []string{"-i"}, 0, "43\n", ""},
		{"a cell that asks", "a = input('name? ')\nBob\na + '!'\n", []string{"-i"}, 0, "'Bob!'\n", ""},
		{"a program that asks", "Bob\n", []string{"-c", "print('hi', input())"}, 0, "hi Bob\n", ""},
		{"nobody answers", "", []string{"-c", "input()"}, 1, "nobody to ask", ""},
		{"a cell that ends it all", "import sys\nsys.exit(4)\n", []string{"-i"}, 4, ">>> ", ""},
		{"an exception", "", []string{"-c", "1/0"}, 1, "ZeroDivisionError: division by zero", ""},
		{"a program's flags and exit code", "", []string{"--put", table, "--get", got, script, "--get", "x"}, 3, "['--get', 'x']\n", ""},
		{"a program that does not end", "", []string{"--timeout", "300ms", "-c", "while True:\n try:\n  while True: pass\n except BaseException: pass"}, 1, "", "stopped after"},
		{"no such script", "", []string{"nowhere.py"}, 1, "", "nowhere.py"},
		{"no such file", "", []string{"--put", "nowhere.csv", "-c", "1"}, 1, "", "--put: open nowhere.csv"},
		{"no time", "", []string{"--timeout", "0s", "-c", "1"}, 2, "", "more than 0"},
		{"no memory", "", []string{"--memory-mib", "0", "-c", "1"}, 2, "", "1 or more"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := execute(test.in, append([]string{"python"}, test.args...)...)
			if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
				t.Errorf("exit code %d, want %d; wrote %q and %q, want %q and %q", code, test.code, out, errs, test.out, test.errs)
			}
			if strings.Contains(out, "not shown") {
				t.Errorf("%q shows a value", out)
			}
		})
	}
	t.Cleanup(func() { // when the parallel tests have ended
		if text, err := os.ReadFile(filepath.Join(got, "made.txt")); err != nil || string(text) != "A,B\n" {
			t.Errorf("the file that the program made: %q, %v", text, err)
		}
		if _, err := os.Stat(filepath.Join(got, "table.csv")); err == nil {
			t.Error("a file that was only read came back")
		}
	})
}
