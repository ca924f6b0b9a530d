package harmony_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata with what the code does now")

// An archive is a golden file in the txtar layout: a comment that says why it exists, then sections that begin with a
// line "-- name --".
type archive struct {
	path     string
	comment  string
	sections []section
}

type section struct{ name, text string }

func readArchive(t testing.TB, name string) *archive {
	t.Helper()
	a := &archive{path: filepath.Join("testdata", name)}
	data, err := os.ReadFile(a.path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		head := strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(head, "-- ") && strings.HasSuffix(head, " --") {
			a.sections = append(a.sections, section{name: strings.TrimSpace(head[3 : len(head)-3])})
			continue
		}
		if n := len(a.sections); n > 0 {
			a.sections[n-1].text += line
		} else {
			a.comment += line
		}
	}
	if strings.TrimSpace(a.comment) == "" {
		t.Fatalf("%s does not begin with why it exists", a.path)
	}
	return a
}

// run calls produce for every case of the archive, a section "NAME.json", and compares the result with the section
// "NAME.want" that follows; with -update it writes the section instead.
func (a *archive) run(t *testing.T, produce func(line []byte) string) {
	t.Helper()
	var out bytes.Buffer
	out.WriteString(a.comment)
	for i, s := range a.sections {
		name, isCase := strings.CutSuffix(s.name, ".json")
		if !isCase {
			continue
		}
		var want string
		if i+1 < len(a.sections) && a.sections[i+1].name == name+".want" {
			want = a.sections[i+1].text
		}
		got := produce([]byte(s.text))
		fmt.Fprintf(&out, "-- %s --\n%s-- %s.want --\n%s", s.name, s.text, name, got)
		if got != want && !*update {
			t.Errorf("%s: %s\n got %s\nwant %s\nrefresh with: go test ./inference/harmony -run %s -update", a.path, name, got, want, t.Name())
		}
	}
	if *update {
		if err := os.WriteFile(a.path, out.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}
