//go:build unix

package chrome

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// A stream is one of messages of one length.
type stream struct {
	length, sent, most int
}

func (s *stream) Read(p []byte) (int, error) {
	if s.most == 0 {
		return 0, io.EOF
	}
	n := min(len(p), s.most)
	s.most -= n
	for i := range p[:n] {
		p[i] = 'x'
		if s.sent++; s.sent%s.length == 0 {
			p[i] = 0
		}
	}
	return n, nil
}

func (*stream) Close() error { return nil }

// A page cannot be made to send messages of a certain length, so the limit is tested by itself.
func TestMessageLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		length int
		want   error
	}{
		{"short ones, more in all than one may have", 1000, nil},
		{"the longest", maxMessage + 1, nil}, // with the zero behind it
		{"too long", maxMessage + 2, errMessage},
		{"no end", 1 << 60, errMessage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := io.Copy(io.Discard, struct{ io.Reader }{&messageLimit{r: &stream{length: tt.length, most: 2*maxMessage + 2}}})
			if !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
		})
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	var out tail
	for range 1000 {
		out.Write([]byte("[1:ERROR:dbus/bus.cc:405] Failed to connect to the bus\n"))
		out.Write(bytes.Repeat([]byte("y"), 100))
		out.Write([]byte("\n"))
	}
	out.Write([]byte("the reason\n"))
	if s := out.String(); len(s) > tailBytes || !bytes.HasSuffix([]byte(s), []byte("y\nthe reason")) || bytes.Contains([]byte(s), []byte("dbus/bus")) {
		t.Errorf("kept %d bytes: %.200s", len(s), s)
	}
}
