package sandbox

import (
	"encoding/binary"
	"io"
	"strings"
)

// Rights, of which only those that open files are looked at; the others are told to guests that ask.
const (
	rightRead  = 1 << 1
	rightWrite = 1 << 6

	rightsFile      = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<21 | 1<<22 | 1<<23 | 1<<27
	rightsWriting   = 1<<0 | 1<<6 | 1<<8 | 1<<22
	rightsDirectory = 1<<3 | 1<<4 | 0x7fe00 | 1<<18 | 1<<19 | 1<<20 | 1<<21 | 1<<23 | 1<<24 | 1<<25 | 1<<26 | 1<<27
	rightsStream    = rightRead | rightWrite | 1<<3 | 1<<21 | 1<<27
	fdflagAppend    = 1 << 0
	lookupFollow    = 1 << 0
	oflagCreate     = 1 << 0
	oflagDirectory  = 1 << 1
	oflagExclusive  = 1 << 2
	oflagTruncate   = 1 << 3
	timesAccessed   = 1 << 0
	timesAccessNow  = 1 << 1
	timesModified   = 1 << 2
	timesModifyNow  = 1 << 3
	maxVectors      = 1024      // IOV_MAX of common systems
	maxTransfer     = 1 << 20   // bytes that one read or write moves; a longer one is short
	maxFileOffset   = 1<<63 - 1 // of seeks
	entryHeadBytes  = 24        // of a directory entry
	filestatBytes   = 64
	fdstatBytes     = 24
)

func (c guestCall) descriptor(i int) (*descriptor, error) {
	d := c.in.files.open[c.fd(i)]
	if d == nil {
		return nil, EBADF
	}
	return d, nil
}

// regular is a descriptor that can be positioned.
func (c guestCall) regular(i int) (*descriptor, error) {
	d, err := c.descriptor(i)
	if err == nil && d.file == nil {
		return nil, ESPIPE
	}
	return d, err
}

// at resolves the path in parameters i+1 and i+2, or where the text is, against the directory in parameter i.
func (c guestCall) at(dir, text int) (d *descriptor, name string, how Flag, err error) {
	if d, err = c.descriptor(dir); err != nil {
		return nil, "", 0, err
	}
	p, err := c.text(text)
	if err != nil {
		return nil, "", 0, err
	}
	name, how, err = d.resolve(p)
	return d, name, how, err
}

// change is at for something that is about to be changed.
func (c guestCall) change(dir, text int) (d *descriptor, name string, err error) {
	d, name, _, err = c.at(dir, text)
	if err == nil && d.mount.ReadOnly {
		err = EROFS
	}
	return d, name, err
}

func fdClose(c guestCall) error {
	d, err := c.descriptor(0)
	if err != nil {
		return err
	}
	if d.root {
		c.in.files.nMounts--
	}
	delete(c.in.files.open, c.fd(0))
	return d.close()
}

func fdRenumber(c guestCall) error {
	from, err := c.descriptor(0)
	if err != nil {
		return err
	}
	to, err := c.descriptor(1)
	if err != nil {
		return err
	}
	if from.root || to.root {
		return ENOTSUP
	}
	if from == to {
		return nil
	}
	c.in.files.open[c.fd(1)] = from
	delete(c.in.files.open, c.fd(0))
	return to.close()
}

func fdSync(c guestCall) error {
	d, err := c.descriptor(0)
	if err != nil || d.file == nil {
		return err
	}
	return d.file.Sync()
}

func fdStat(c guestCall) error {
	d, err := c.descriptor(0)
	if err != nil {
		return err
	}
	info, err := d.info()
	if err != nil {
		return err
	}
	b, err := c.bytes(c.u32(1), fdstatBytes)
	if err != nil {
		return err
	}
	clear(b)
	b[0] = byte(info.Type)
	if d.append {
		b[2] = fdflagAppend
	}
	rights, inheriting := uint64(rightsFile), uint64(0)
	switch {
	case info.Type == TypeDirectory:
		rights, inheriting = rightsDirectory, rightsDirectory|rightsFile
	case d.file == nil:
		rights = rightsStream
	}
	if d.file != nil && d.how&Write == 0 {
		rights &^= rightsWriting
	}
	binary.LittleEndian.PutUint64(b[8:], rights)
	binary.LittleEndian.PutUint64(b[16:], inheriting)
	return nil
}

func fdSetFlags(c guestCall) error {
	d, err := c.descriptor(0)
	if err != nil {
		return err
	}
	d.append = c.u32(1)&fdflagAppend != 0
	return nil
}

// putInfo writes a filestat where parameter i points.
func (c guestCall) putInfo(i int, d *descriptor, info Info) error {
	b, err := c.bytes(c.u32(i), filestatBytes)
	if err != nil {
		return err
	}
	clear(b)
	binary.LittleEndian.PutUint64(b, d.device)
	binary.LittleEndian.PutUint64(b[8:], info.Inode)
	b[16] = byte(info.Type)
	for j, v := range []int64{1, info.Size, info.Accessed, info.Modified, info.Changed} { // one link
		binary.LittleEndian.PutUint64(b[24+8*j:], uint64(v))
	}
	return nil
}

func fdFilestat(c guestCall) error {
	d, err := c.descriptor(0)
	if err != nil {
		return err
	}
	info, err := d.info()
	if err != nil {
		return err
	}
	return c.putInfo(1, d, info)
}

func (c guestCall) truncate(size int64) error {
	d, err := c.regular(0)
	if err != nil {
		return err
	}
	if d.how&Write == 0 || size < 0 {
		return EINVAL
	}
	return d.file.Truncate(size)
}

// fdAllocate makes sure that the file has at least so many bytes.
func fdAllocate(c guestCall) error {
	d, err := c.regular(0)
	if err != nil {
		return err
	}
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	end := c.args[1] + c.args[2]
	if end < c.args[1] || end > maxFileOffset {
		return EFBIG
	}
	if int64(end) <= info.Size {
		return nil
	}
	return c.truncate(int64(end))
}

// times reads which times to set: parameters i and i+1, flags in i+2.
func (c guestCall) times(i int) (accessed, modified int64, err error) {
	flags := c.u32(i + 2)
	if flags&(timesAccessed|timesAccessNow) == timesAccessed|timesAccessNow || flags&(timesModified|timesModifyNow) == timesModified|timesModifyNow {
		return 0, 0, EINVAL
	}
	now := c.in.cfg.Now().UnixNano()
	pick := func(given, flag, flagNow uint32) int64 {
		switch {
		case flags&flagNow != 0:
			return now
		case flags&flag != 0:
			return max(0, int64(c.args[i+int(given)]))
		}
		return -1
	}
	return pick(0, timesAccessed, timesAccessNow), pick(1, timesModified, timesModifyNow), nil
}

func fdSetTimes(c guestCall) error {
	d, err := c.regular(0)
	if err != nil {
		return err
	}
	if d.mount.ReadOnly {
		return EROFS
	}
	at, mt, err := c.times(1)
	if err != nil {
		return err
	}
	return d.mount.FS.SetTimes(d.name, at, mt)
}

func pathSetTimes(c guestCall) error {
	d, name, err := c.change(0, 2)
	if err != nil {
		return err
	}
	at, mt, err := c.times(4)
	if err != nil {
		return err
	}
	return d.mount.FS.SetTimes(name, at, mt)
}

// vectors are the pieces of guest memory that a read or write names in parameters 1 and 2, cut at maxTransfer.
func (c guestCall) vectors() ([][]byte, error) {
	n := c.u32(2)
	if n > maxVectors {
		return nil, EINVAL
	}
	list, err := c.bytes(c.u32(1), 8*n)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	left := uint32(maxTransfer)
	for ; len(list) > 0; list = list[8:] {
		at, size := binary.LittleEndian.Uint32(list), binary.LittleEndian.Uint32(list[4:])
		b, err := c.bytes(at, size)
		if err != nil {
			return nil, err
		}
		if size = min(size, left); size > 0 {
			out = append(out, b[:size])
		}
		left -= size
	}
	return out, nil
}

// transfer runs fd_read, fd_write and, with an offset in parameter 3, fd_pread and fd_pwrite.
func (c guestCall) transfer(need Flag, move func(d *descriptor, p []byte) (int, error)) error {
	d, err := c.descriptor(0)
	if err != nil {
		return err
	}
	result := 3
	if len(c.args) >= 5 {
		result = 4
		if d.file == nil {
			return ESPIPE
		}
		if int64(c.args[3]) < 0 {
			return EINVAL
		}
		defer func(offset int64, appending bool) { d.offset, d.append = offset, appending }(d.offset, d.append)
		d.offset, d.append = int64(c.args[3]), false
	}
	if d.how&need == 0 {
		if d.file != nil && d.how&(Read|Write) == 0 {
			if info, err := d.file.Stat(); err == nil && info.Type == TypeDirectory {
				return EISDIR
			}
		}
		return EBADF
	}
	pieces, err := c.vectors()
	if err != nil {
		return err
	}
	total := 0
	for _, p := range pieces {
		n, err := move(d, p)
		total += n
		if err != nil && total == 0 {
			return err
		}
		if err != nil || n < len(p) {
			break
		}
	}
	c.in.charge(total)
	return c.put32(result, uint32(total))
}

func fdRead(c guestCall) error {
	return c.transfer(Read, func(d *descriptor, p []byte) (int, error) {
		if w, ok := d.file.(Waiter); ok {
			if ready := w.Ready(); ready != nil {
				if err := wait(c.in, ready, func(struct{}) {}); err != nil {
					return 0, err
				}
			}
		}
		if d.in == nil {
			return d.read(p)
		}
		return d.in.read(p, func(pending <-chan inputResult) (r inputResult, err error) {
			err = wait(c.in, pending, func(v inputResult) { r = v })
			return r, err
		})
	})
}

func fdWrite(c guestCall) error {
	return c.transfer(Write, func(d *descriptor, p []byte) (int, error) {
		if d.out == nil {
			return d.write(p)
		}
		return d.out.write(p), nil
	})
}

func fdSeek(c guestCall) error {
	d, err := c.regular(0)
	if err != nil {
		return err
	}
	offset := int64(c.args[1])
	switch c.u32(2) {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += d.offset
	case io.SeekEnd:
		info, err := d.file.Stat()
		if err != nil {
			return err
		}
		offset += info.Size
	default:
		return EINVAL
	}
	if offset < 0 {
		return EINVAL
	}
	d.offset = offset
	return c.put64(3, uint64(offset))
}

func fdTell(c guestCall) error {
	d, err := c.regular(0)
	if err != nil {
		return err
	}
	return c.put64(1, uint64(d.offset))
}

func fdPrestat(c guestCall) error {
	d, err := c.descriptor(0)
	if err != nil {
		return err
	}
	if !d.root {
		return EBADF
	}
	b, err := c.bytes(c.u32(1), 8)
	if err != nil {
		return err
	}
	clear(b) // kind 0: a directory
	binary.LittleEndian.PutUint32(b[4:], uint32(len(d.mount.Path)))
	return nil
}

func fdPrestatName(c guestCall) error {
	d, err := c.descriptor(0)
	if err != nil {
		return err
	}
	if !d.root {
		return EBADF
	}
	if int64(c.u32(2)) < int64(len(d.mount.Path)) {
		return ENAMETOOLONG
	}
	b, err := c.bytes(c.u32(1), uint32(len(d.mount.Path)))
	copy(b, d.mount.Path)
	return err
}

// fdReaddir writes entries from the cookie on, which is an index; the last may be cut. The listing is that of the last
// read from the start, so that it does not change under a guest that reads on.
func fdReaddir(c guestCall) error {
	d, err := c.descriptor(0)
	if err != nil {
		return err
	}
	if d.file == nil {
		return ENOTDIR
	}
	cookie := c.args[3]
	if cookie == 0 || d.list == nil {
		entries, err := d.file.ReadDir()
		if err != nil {
			return err
		}
		d.list = append([]Entry{{".", TypeDirectory, nameHash(d.name)}, {"..", TypeDirectory, 0}}, entries...)
	}
	buf, err := c.bytes(c.u32(1), c.u32(2))
	if err != nil {
		return err
	}
	used := 0
	for i := min(cookie, uint64(len(d.list))); i < uint64(len(d.list)) && used < len(buf); i++ {
		e := d.list[i]
		var head [entryHeadBytes]byte
		binary.LittleEndian.PutUint64(head[:], i+1)
		binary.LittleEndian.PutUint64(head[8:], e.Inode)
		binary.LittleEndian.PutUint32(head[16:], uint32(len(e.Name)))
		head[20] = byte(e.Type)
		used += copy(buf[used:], head[:])
		used += copy(buf[used:], e.Name)
	}
	return c.put32(4, uint32(used))
}

func pathOpen(c guestCall) error {
	d, name, how, err := c.at(0, 2)
	if err != nil {
		return err
	}
	flags, rights := c.u32(4), c.args[5]
	for _, f := range []struct {
		set  bool
		flag Flag
	}{
		{c.u32(1)&lookupFollow == 0, NoFollow}, {flags&oflagCreate != 0, Create}, {flags&oflagDirectory != 0, Directory},
		{flags&oflagExclusive != 0, Exclusive}, {flags&oflagTruncate != 0, Truncate},
		{rights&rightRead != 0, Read}, {rights&rightWrite != 0, Write},
	} {
		if f.set {
			how |= f.flag
		}
	}
	if how&Directory != 0 {
		how &^= Read | Write // libc asks for all rights
	}
	if d.mount.ReadOnly && how&(Write|Create|Truncate) != 0 {
		return EROFS
	}
	f, err := d.mount.FS.Open(name, how)
	if err != nil {
		return err
	}
	opened := &descriptor{file: f, mount: d.mount, device: d.device, name: name, how: how &^ (Create | Exclusive | Truncate),
		append: c.u32(7)&fdflagAppend != 0}
	if info, err := f.Stat(); err == nil && info.Type == TypeDirectory {
		opened.how &^= Read | Write
	}
	fd, err := c.in.files.add(opened)
	if err != nil {
		f.Close()
		return err
	}
	return c.put32(8, uint32(fd))
}

func pathFilestat(c guestCall) error {
	d, name, how, err := c.at(0, 2)
	if err != nil {
		return err
	}
	stat := d.mount.FS.Lstat
	if c.u32(1)&lookupFollow != 0 || how&Directory != 0 {
		stat = d.mount.FS.Stat
	}
	info, err := stat(name)
	if err != nil {
		return err
	}
	if how&Directory != 0 && info.Type != TypeDirectory {
		return ENOTDIR
	}
	return c.putInfo(4, d, info)
}

func pathReadlink(c guestCall) error {
	d, name, _, err := c.at(0, 1)
	if err != nil {
		return err
	}
	target, err := d.mount.FS.Readlink(name)
	if err != nil {
		return err
	}
	b, err := c.bytes(c.u32(3), min(c.u32(4), uint32(len(target))))
	if err != nil {
		return err
	}
	return c.put32(5, uint32(copy(b, target)))
}

func pathCreateDirectory(c guestCall) error {
	d, name, err := c.change(0, 1)
	if err != nil {
		return err
	}
	return d.mount.FS.Mkdir(name)
}

func pathRemoveDirectory(c guestCall) error {
	d, name, err := c.change(0, 1)
	if err != nil {
		return err
	}
	return d.mount.FS.Rmdir(name)
}

func pathUnlink(c guestCall) error {
	d, name, err := c.change(0, 1)
	if err != nil {
		return err
	}
	if p, _ := c.text(1); strings.HasSuffix(p, "/") {
		return ENOTDIR
	}
	return d.mount.FS.Unlink(name)
}

func pathRename(c guestCall) error {
	from, oldName, err := c.change(0, 1)
	if err != nil {
		return err
	}
	to, newName, err := c.change(3, 4)
	if err != nil {
		return err
	}
	if from.device != to.device {
		return EXDEV
	}
	return from.mount.FS.Rename(oldName, newName)
}
