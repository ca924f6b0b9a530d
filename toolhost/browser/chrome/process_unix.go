//go:build unix

package chrome

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chromedp/chromedp"
)

// unprivileged is the user of Chromium when we are root, whom Chromium's sandbox refuses. It is "nobody" where that
// has a name; the number needs none.
const unprivileged = 65534

// A child is a Chromium, its folder, and the connection to it.
type child struct {
	cmd  *exec.Cmd
	dir  string
	conn chromedp.Transport
	out  *tail
	gone chan struct{} // closed when it has ended and its folder is removed
}

// launch starts Chromium with a pipe to its protocol, in a process group and a folder of its own.
func launch(path string, args []string) (c *child, err error) {
	dir, err := os.MkdirTemp("", "chorale-chrome-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: unprivileged, Gid: unprivileged, Groups: []uint32{}}
		if err := os.Chown(dir, unprivileged, unprivileged); err != nil {
			return nil, err
		}
	}
	endWithUs(attr)
	commands, toChild, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer commands.Close()
	fromChild, events, err := os.Pipe()
	if err != nil {
		toChild.Close()
		return nil, err
	}
	defer events.Close()
	c = &child{dir: dir, out: &tail{}, gone: make(chan struct{})}
	c.conn = chromedp.NewPipeConn(&messageLimit{r: fromChild}, toChild)
	c.cmd = &exec.Cmd{
		Path: path, Args: append(append([]string{path}, args...), "--user-data-dir="+filepath.Join(dir, "profile")), Dir: dir,
		// Nothing of our environment, which may hold keys.
		Env: []string{
			"HOME=" + dir, "TMPDIR=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_CACHE_HOME=" + dir, "XDG_RUNTIME_DIR=" + dir,
			"PATH=/usr/bin:/bin", "LANG=C.UTF-8",
		},
		ExtraFiles: []*os.File{commands, events}, Stdout: c.out, Stderr: c.out, SysProcAttr: attr,
		WaitDelay: time.Second, // for output that processes of a Chromium which has ended keep open
	}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the signal of endWithUs when the thread ends that has started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.cmd.Wait()
		for range 100 {
			// Its children are not ours to be waited for, and where nobody does they stay as zombies.
			if c.kill(); syscall.Kill(-c.pgid(), 0) != nil || groupMemory(c.pgid()) == 0 {
				break
			}
			<-time.After(10 * time.Millisecond)
		}
		c.conn.Close()
		removeAll(dir)
		close(c.gone)
	}()
	if err := <-started; err != nil {
		c.conn.Close()
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w (it is run as %s)", err, identity())
		}
		return nil, err
	}
	return c, nil
}

// kill ends Chromium and everything it has started. It may be called again.
func (c *child) kill() { syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) }

// pgid is the process group, which is the process.
func (c *child) pgid() int { return c.cmd.Process.Pid }

// removeAll removes a folder in which processes that are being killed may still write.
func removeAll(dir string) {
	for range 100 {
		if os.RemoveAll(dir) == nil {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

// identity says as whom Chromium runs.
func identity() string {
	if os.Getuid() == 0 {
		return fmt.Sprintf("user %d", unprivileged)
	}
	return fmt.Sprintf("user %d", os.Getuid())
}

// A tail keeps the end of what Chromium prints.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

const tailBytes = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if n := len(t.text) - tailBytes; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(t.text)) {
		// A desktop's bus is missed in every container, and does not matter.
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "dbus/") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// maxMessage is the most that Chromium may say at a time: a page of Limits.HTML and a large screenshot fit. Messages
// quote what pages make, so without it a page could fill our memory.
const maxMessage = 48 << 20

// A messageLimit ends a stream of messages, each with a zero byte behind it, when one is too long.
type messageLimit struct {
	r io.ReadCloser
	n int
}

var errMessage = errors.New("a message of Chromium is too long")

func (m *messageLimit) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte{0})
		if m.n += len(part); m.n > maxMessage {
			return 0, errMessage
		}
		if rest = after; ended {
			m.n = 0
		}
	}
	return n, err
}

func (m *messageLimit) Close() error { return m.r.Close() }

// attached is an allocator of chromedp for a browser that runs already.
type attached struct{ conn chromedp.Transport }

func (a attached) Allocate(ctx context.Context, opts ...chromedp.BrowserOption) (*chromedp.Browser, error) {
	return chromedp.NewBrowserTransport(ctx, a.conn, opts...)
}
func (attached) Wait()          {}
func (attached) Attaches() bool { return true }
