package python

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"chorale/sandbox"
)

// A SnapshotReason is why a snapshot cannot be restored.
type SnapshotReason int

// The reasons, in the order in which they are looked for.
const (
	SnapshotUnknown    SnapshotReason = iota // it is not a snapshot of this version
	SnapshotTruncated                        // its length is not what it says
	SnapshotForged                           // it was changed, or made with another key
	SnapshotOtherImage                       // it belongs to another build of the interpreter or to other packages
	SnapshotTooLarge                         // its memory does not fit in the limits
	SnapshotDamaged                          // it was made by us and cannot be read all the same
)

func (r SnapshotReason) String() string {
	names := [...]string{"it is not a snapshot of this version", "it is cut short or too long",
		"it was changed, or made with another key", "it belongs to another interpreter image",
		"its memory does not fit in the limits", "it is damaged"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("reason %d", int(r))
	}
	return names[r]
}

// A SnapshotError says that a snapshot cannot be restored; a session can begin without it.
type SnapshotError struct {
	Reason SnapshotReason
	Err    error // more about it; may be nil
}

func (e *SnapshotError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("python snapshot: %v: %v", e.Reason, e.Err)
	}
	return fmt.Sprintf("python snapshot: %v", e.Reason)
}

// Unwrap returns more about it.
func (e *SnapshotError) Unwrap() error { return e.Err }

// A snapshot is, in this order: the magic, the hash of the image, the length of the whole, the length of the payload before
// compression, the code over all the rest, and the compressed payload. The payload is the length of a header, the header as
// JSON, and a sandbox.Delta.
const (
	snapshotMagic = "CHORPY\x00\x02" // the last byte is the version

	snapshotImageAt   = len(snapshotMagic)
	snapshotLengthAt  = snapshotImageAt + sha256.Size
	snapshotPayloadAt = snapshotLengthAt + 8
	snapshotCodeAt    = snapshotPayloadAt + 8
	snapshotHeadBytes = snapshotCodeAt + sha256.Size

	// maxSnapshotBytes bounds the payload: all of a 32-bit memory and some.
	maxSnapshotBytes = 1<<32 + 1<<20
)

// snapshotHeader is what a session holds beside memory and the content of files.
type snapshotHeader struct {
	Cells int      `json:"cells"`
	Dirs  []string `json:"dirs,omitempty"` // all directories, parents first
}

// Snapshot returns what Pool.Restore makes the session again of: the interpreter's state, which only a pool with the same
// key and the same image accepts, and the files. The session goes on. Open files are part of it, as paths and positions.
func (s *Session) Snapshot() (snapshot []byte, files []File, err error) {
	if !s.mu.TryLock() {
		return nil, nil, ErrInCell
	}
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, nil, ErrClosed
	}
	sl, err := s.interpreter(context.Background())
	if err != nil {
		return nil, nil, fmt.Errorf("snapshot: %w", err)
	}
	header := snapshotHeader{Cells: s.cells}
	err = walk(s.files, ".", func(name string, info sandbox.Info) error {
		if info.Type == sandbox.TypeDirectory {
			header.Dirs = append(header.Dirs, name)
			return nil
		}
		f, err := readFile(s.files, name)
		files = append(files, f)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("snapshot: files: %w", err)
	}
	d, err := sl.in.Delta(s.p.img.state)
	if err == nil {
		snapshot, err = s.p.seal(header, d)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("snapshot: %w", err)
	}
	return snapshot, files, nil
}

// seal puts a snapshot together.
func (p *Pool) seal(h snapshotHeader, d *sandbox.Delta) ([]byte, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	payload := binary.LittleEndian.AppendUint32(nil, uint32(len(head)))
	payload = append(payload, head...)
	if payload, err = d.AppendBinary(payload); err != nil {
		return nil, err
	}
	image := d.Image()
	b := make([]byte, 0, snapshotHeadBytes+len(payload)/4)
	b = append(b, snapshotMagic...)
	b = append(b, image[:]...)
	b = binary.LittleEndian.AppendUint64(b, 0) // the length, which is not known yet
	b = binary.LittleEndian.AppendUint64(b, uint64(len(payload)))
	b = append(b, make([]byte, sha256.Size)...)
	b = p.encoder.EncodeAll(payload, b)
	binary.LittleEndian.PutUint64(b[snapshotLengthAt:], uint64(len(b)))
	copy(b[snapshotCodeAt:], p.code(b))
	return b, nil
}

// code authenticates a snapshot, without the place of the code itself.
func (p *Pool) code(b []byte) []byte {
	h := hmac.New(sha256.New, p.o.Key)
	h.Write(b[:snapshotCodeAt])
	h.Write(b[snapshotHeadBytes:])
	return h.Sum(nil)
}

// unseal checks a snapshot and takes it apart. Nothing of it is believed before its code was right.
func (p *Pool) unseal(b []byte) (h snapshotHeader, d *sandbox.Delta, err error) {
	fail := func(r SnapshotReason, err error) (snapshotHeader, *sandbox.Delta, error) {
		return h, nil, &SnapshotError{r, err}
	}
	if len(b) < len(snapshotMagic) || string(b[:len(snapshotMagic)]) != snapshotMagic {
		return fail(SnapshotUnknown, nil)
	}
	if len(b) < snapshotHeadBytes || binary.LittleEndian.Uint64(b[snapshotLengthAt:]) != uint64(len(b)) {
		return fail(SnapshotTruncated, nil)
	}
	if !hmac.Equal(b[snapshotCodeAt:snapshotHeadBytes], p.code(b)) {
		return fail(SnapshotForged, nil)
	}
	if image := p.img.Hash(); string(b[snapshotImageAt:snapshotLengthAt]) != string(image[:]) {
		return fail(SnapshotOtherImage, nil)
	}
	n := binary.LittleEndian.Uint64(b[snapshotPayloadAt:])
	if n > uint64(p.o.MaxSession)*2 {
		return fail(SnapshotTooLarge, nil)
	}
	payload, err := p.decoder.DecodeAll(b[snapshotHeadBytes:], make([]byte, 0, n))
	if err != nil || uint64(len(payload)) != n || n < 4 {
		return fail(SnapshotDamaged, err)
	}
	head := uint64(binary.LittleEndian.Uint32(payload))
	if head > n-4 {
		return fail(SnapshotDamaged, errors.New("length of the header"))
	}
	if err := json.Unmarshal(payload[4:4+head], &h); err != nil {
		return fail(SnapshotDamaged, err)
	}
	if d, err = sandbox.ParseDelta(payload[4+head:]); err != nil {
		return fail(SnapshotDamaged, err)
	}
	return h, d, nil
}

// Restore returns a session that goes on where Snapshot left off, as often as wanted: every branch has a life and a
// randomness of its own. It waits and fails like Acquire, and with a *SnapshotError for a snapshot that cannot be used. Files
// may be others than those that Snapshot returned; what was open and is not there is closed for the guest.
func (p *Pool) Restore(ctx context.Context, snapshot []byte, files []File, o SessionOptions) (*Session, error) {
	h, d, err := p.unseal(snapshot)
	if err != nil {
		return nil, err
	}
	s, err := p.open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("restore python session: %w", err)
	}
	if err := s.restore(ctx, h, d, files); err != nil {
		return nil, fmt.Errorf("restore python session: %w", errors.Join(err, s.Close()))
	}
	p.restored.Add(1)
	return s, nil
}

func (s *Session) restore(ctx context.Context, h snapshotHeader, d *sandbox.Delta, files []File) error {
	for _, dir := range h.Dirs {
		if err := s.files.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("directory /%s: %w", dir, err)
		}
	}
	for _, f := range files {
		if err := writeFile(s.files, f); err != nil {
			return err
		}
	}
	s.cells = h.Cells
	var err error
	if s.slot, err = s.p.take(ctx); err != nil {
		return err
	}
	if d.Size() > uint64(s.limits.Memory) {
		return &SnapshotError{SnapshotTooLarge, fmt.Errorf("it needs %d bytes, the limit is %d", d.Size(), s.limits.Memory)}
	}
	err = s.slot.in.Configure(sandbox.Config{Mounts: s.p.img.mounts(s.files), Grow: s.grow})
	if err == nil {
		err = s.slot.in.Apply(s.p.img.state, d)
	}
	if err != nil {
		return err // of all sessions' memory, there is not enough
	}
	s.charge(max(sessionBytes+s.grown.Load(), d.Bytes()))
	return nil
}

// Check returns the *SnapshotError of a snapshot that Restore would refuse, as far as that can be said beforehand.
func (p *Pool) Check(snapshot []byte) error {
	_, _, err := p.unseal(snapshot)
	return err
}
