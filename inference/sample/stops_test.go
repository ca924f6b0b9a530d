package sample_test

import (
	"strings"
	"testing"

	"chorale/inference/sample"
)

// cut is the plain model of Stops: the shortest prefix of text that ends with a stop string, without the longest such
// stop string.
func cut(text string, stop []string) (emit string, stopped bool) {
	end, longest := len(text)+1, 0
	for _, s := range stop {
		at := strings.Index(text, s)
		if s == "" || at < 0 {
			continue
		}
		if e := at + len(s); e < end || e == end && len(s) > longest {
			end, longest = e, len(s)
		}
	}
	if end > len(text) {
		return text, false
	}
	return text[:end-longest], true
}

func TestStops(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		stop   []string
		pushes []string
		emits  []string // of each push, then of Flush
	}{
		{"no stop strings", nil, []string{"a", "b"}, []string{"a", "b", ""}},
		{"empty stop strings are ignored", []string{""}, []string{"a"}, []string{"a", ""}},
		{"nothing in common", []string{"xyz"}, []string{"abc"}, []string{"abc", ""}},
		{"within a piece", []string{"lo"}, []string{"hello world"}, []string{"hel", ""}},
		{"across pieces", []string{"STOP"}, []string{"aS", "T", "OP b"}, []string{"a", "", "", ""}},
		{"held back, then released", []string{"STOP"}, []string{"aST", "Ax"}, []string{"a", "STAx", ""}},
		{"held back, then flushed", []string{"STOP"}, []string{"aSTO"}, []string{"a", "STO"}},
		{"holds only what can still match", []string{"aab"}, []string{"aaaa"}, []string{"aa", "aa"}},
		{"overlap with itself", []string{"aab"}, []string{"aaa", "ab!"}, []string{"a", "a", ""}},
		{"first complete wins, not first begun", []string{"abcd", "bc"}, []string{"abcd"}, []string{"a", ""}},
		{"longest of those complete together", []string{"c", "abc", "bc"}, []string{"xabc"}, []string{"x", ""}},
		{"pieces after the stop string are dropped", []string{"\n"}, []string{"a\nb", "c"}, []string{"a", "", ""}},
		{"stop string of several bytes a rune", []string{"§ü"}, []string{"a§", "ö§ü"}, []string{"a", "§ö", ""}},
		{"each of several is held back for", []string{"STOP", "XY"}, []string{"aST", "OP"}, []string{"a", "", ""}},
		{"the one that is further along is held back for", []string{"ab1", "xab2", "b3"}, []string{"xab", "4", "xa", "b", "2"}, []string{"", "xab4", "", "", "", ""}},
		{"whole text", []string{"ab"}, []string{"ab"}, []string{"", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := sample.NewStops(tt.stop)
			_, want := cut(strings.Join(tt.pushes, ""), tt.stop)
			stopped := false
			for i, text := range tt.pushes {
				var emit string
				if emit, stopped = s.Push(text); emit != tt.emits[i] {
					t.Errorf("push %d (%q) emits %q, want %q", i, text, emit, tt.emits[i])
				}
			}
			if emit := s.Flush(); emit != tt.emits[len(tt.pushes)] {
				t.Errorf("flush emits %q, want %q", emit, tt.emits[len(tt.pushes)])
			}
			if stopped != want {
				t.Errorf("stopped is %v, want %v", stopped, want)
			}
		})
	}
}

// FuzzStops checks that the emitted pieces are what the plain model leaves of the whole text, however it is cut, and
// that what is held back could still become a stop string.
func FuzzStops(f *testing.F) {
	f.Add("hello world", "lo", "o w", uint64(0x5))
	f.Add("aaaaab", "aab", "aaab", uint64(0xffff))
	f.Add("abcabd", "abd", "ca", uint64(0x2a))
	f.Add("", "", "x", uint64(0))
	f.Fuzz(func(t *testing.T, text, stop1, stop2 string, cuts uint64) {
		stop := []string{stop1, stop2}
		s := sample.NewStops(stop)
		var got strings.Builder
		stopped := false
		pushed := 0
		for first := 0; first < len(text); {
			last := first + 1
			for last < len(text) && cuts>>(last%64)&1 == 0 {
				last++
			}
			var emit string
			emit, stopped = s.Push(text[first:last])
			got.WriteString(emit)
			pushed, first = last, last
			if stopped {
				break
			}
			held := text[got.Len():pushed]
			if held != "" && !strings.HasPrefix(stop1, held) && !strings.HasPrefix(stop2, held) {
				t.Fatalf("stops %q hold back %q of %q", stop, held, text[:pushed])
			}
		}
		got.WriteString(s.Flush())
		want, wantStopped := cut(text, stop)
		if got.String() != want || stopped != wantStopped {
			t.Fatalf("stops %q in %q (cuts %x): got %q, %v, want %q, %v", stop, text, cuts, got.String(), stopped, want, wantStopped)
		}
	})
}

func BenchmarkStops(b *testing.B) {
	stop := []string{"\n\n", "User:", "Observation:", "</answer>"}
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 100)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s := sample.NewStops(stop)
		for first := 0; first < len(text); first += 4 {
			s.Push(text[first:min(first+4, len(text))])
		}
		s.Flush()
	}
}
