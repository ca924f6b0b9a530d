package sigstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// times checks all entries of logs and all timestamps and returns the times that they vouch for, at least one.
func (r *Root) times(b *bundle) ([]time.Time, error) {
	var times []time.Time
	for i, e := range b.entries {
		t, err := r.entry(e)
		if err == nil {
			err = b.logs(e.Body)
		}
		if err != nil {
			return nil, fmt.Errorf("tlogEntries[%d]: %w", i, err)
		}
		if !t.IsZero() {
			times = append(times, t)
		}
	}
	for i, stamp := range b.timestamps {
		t, err := r.timestamp(stamp, b.signature)
		if err != nil {
			return nil, fmt.Errorf("rfc3161Timestamps[%d]: %w", i, err)
		}
		times = append(times, t)
	}
	if len(times) == 0 {
		return nil, errors.New("nobody vouches for the time: there is neither a log's promise nor a timestamp")
	}
	return times, nil
}

// entry checks that a log has the entry, by its promise or a proof, and by both if there are both. The time is the log's if
// it signed one, else zero.
func (r *Root) entry(e entry) (time.Time, error) {
	if e.Promise == nil && e.Proof == nil {
		return time.Time{}, errors.New("there is neither a promise nor a proof that the log has it")
	}
	var t time.Time
	if e.Promise != nil {
		t = time.Unix(e.Time, 0)
		// The log signs the members in this order, without spaces (RFC 8785).
		text := fmt.Appendf(nil, `{"body":"%s","integratedTime":%d,"logID":"%x","logIndex":%d}`,
			base64.StdEncoding.EncodeToString(e.Body), e.Time, e.Log.ID, e.Index)
		if err := anyKey(r.logs, e.Log.ID, t, text, e.Promise.Signature); err != nil {
			return t, fmt.Errorf("promise: %w", err)
		}
	}
	if e.Proof != nil {
		if err := r.proof(e); err != nil {
			return t, fmt.Errorf("proof: %w", err)
		}
	}
	return t, nil
}

// anyKey verifies a signature with the keys of the log that count at the time; a zero time is not compared.
func anyKey(keys []logKey, id []byte, t time.Time, text, signature []byte) error {
	err := fmt.Errorf("the log %x is not in the trusted root", id)
	for _, k := range keys {
		if k.id != string(id) {
			continue
		}
		if !t.IsZero() && !k.valid.has(t) {
			err = fmt.Errorf("the key of the log %x does not count at %s", id, t.UTC().Format(time.RFC3339))
			continue
		}
		if err = verifySignature(k.key, text, signature); err == nil {
			return nil
		}
	}
	return err
}

// proof checks that the entry is in the tree whose root the log signed (RFC 9162, 2.1.3.2).
func (r *Root) proof(e entry) error {
	p := e.Proof
	root, size, err := r.checkpoint(p.Checkpoint.Envelope, e.Log.ID)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if size != p.Size || !bytes.Equal(root, p.Root) {
		return errors.New("checkpoint: it is of another tree")
	}
	if p.Index < 0 || p.Index >= p.Size {
		return fmt.Errorf("the entry %d is not in a tree of %d", p.Index, p.Size)
	}
	// The first hashes are siblings below the node where the paths of the entry and of the last one part; the others are
	// to its left.
	index, last := uint64(p.Index), uint64(p.Size-1)
	inner := bits.Len64(index ^ last)
	if want := inner + bits.OnesCount64(index>>inner); len(p.Hashes) != want {
		return fmt.Errorf("there are %d hashes; want %d", len(p.Hashes), want)
	}
	node := sha256.Sum256(append([]byte{0}, e.Body...))
	for i, h := range p.Hashes {
		if len(h) != sha256.Size {
			return fmt.Errorf("hashes[%d]: it has %d bytes", i, len(h))
		}
		if i < inner && index>>i&1 == 0 {
			node = join(node[:], h)
			continue
		}
		node = join(h, node[:])
	}
	if !bytes.Equal(node[:], root) {
		return errors.New("it leads to another root")
	}
	return nil
}

func join(left, right []byte) [sha256.Size]byte {
	return sha256.Sum256(append(append([]byte{1}, left...), right...))
}

// checkpoint reads a note (C2SP signed-note) that the log signed: its name, the size of the tree, and the root.
func (r *Root) checkpoint(envelope string, id []byte) (root []byte, size int64, err error) {
	text, signatures, ok := strings.Cut(envelope, "\n\n")
	lines := strings.Split(text, "\n")
	if !ok || len(lines) < 3 {
		return nil, 0, errors.New("it is no signed note of a log")
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || size < 1 {
		return nil, 0, fmt.Errorf("the size of the tree is %q", lines[1])
	}
	if root, err = base64.StdEncoding.DecodeString(lines[2]); err != nil || len(root) != sha256.Size {
		return nil, 0, errors.New("the root is no SHA-256 in base64")
	}
	err = errors.New("there is no signature")
	for i, line := range strings.Split(strings.TrimSpace(signatures), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "—" || i >= mostEntries {
			continue
		}
		// A hint of four bytes says which key it is; the right one is known.
		signature, bad := base64.StdEncoding.DecodeString(fields[2])
		if bad != nil || len(signature) <= 4 {
			continue
		}
		if err = anyKey(r.logs, id, time.Time{}, []byte(text+"\n"), signature[4:]); err == nil {
			return root, size, nil
		}
	}
	return nil, 0, err
}
