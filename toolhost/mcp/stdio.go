package mcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// A child is the carrier of a process that speaks on its standard input and output.
type child struct {
	cmd    *exec.Cmd
	home   string // "" when it is not ours
	stdin  io.WriteCloser
	stdout *os.File
	limits Limits
	mask   *masker
	got    func(*message)
	said   *tail
	exited chan struct{} // closed when the process has ended and was waited for
	read   chan struct{} // closed when the reader has ended

	writing chan struct{} // capacity 1: a place for who writes a line
	working sync.WaitGroup

	mu      sync.Mutex // guards what follows
	waiting map[string]chan *message
	broken  error
	once    sync.Once
}

// maxGarbage is how many lines that are no JSON a child may print: some servers greet on standard output.
const maxGarbage = 100

// childPath is where programs are found when this one has no PATH.
const childPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// start starts the child of a Config.
func start(c Config, m *masker, got func(*message)) (*child, error) {
	home, err := os.MkdirTemp("", "mcp-")
	if err != nil {
		return nil, fmt.Errorf("home of the child: %w", err)
	}
	p := &child{
		home: home, limits: c.Limits, mask: m, got: got, said: &tail{most: c.Limits.Stderr}, exited: make(chan struct{}),
		read: make(chan struct{}), writing: make(chan struct{}, 1), waiting: map[string]chan *message{},
	}
	if err := p.run(c); err != nil {
		os.RemoveAll(home)
		return nil, &ProcessError{Reason: fmt.Sprintf("start %s: %s", c.Command[0], m.text(err.Error()))}
	}
	return p, nil
}

func (p *child) run(c Config) error {
	p.cmd = exec.Command(c.Command[0], c.Command[1:]...)
	p.cmd.Env = environment(c.Env, p.home)
	p.cmd.Dir = c.Dir
	if c.Dir == "" {
		p.cmd.Dir = p.home
	}
	p.cmd.Stderr = p.said
	p.cmd.WaitDelay = p.limits.Close // for a grandchild that holds stderr
	group(p.cmd)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	// A pipe of our own: that of exec is closed when the process ends, with what it said last still in it.
	r, w, err := os.Pipe()
	if err != nil {
		in.Close()
		return err
	}
	p.cmd.Stdout = w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		in.Close()
		r.Close()
		return err
	}
	p.stdin, p.stdout = in, r
	go p.reader()
	go func() {
		p.cmd.Wait()
		kill(p.cmd) // grandchildren that outlived it; nobody else has the number so soon
		close(p.exited)
	}()
	return nil
}

// environment is all that a child sees.
func environment(grants map[string]string, home string) []string {
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": home, "LANG": "C.UTF-8"}
	if env["PATH"] == "" {
		env["PATH"] = childPath
	}
	for name, value := range grants {
		env[name] = value
	}
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// reader reads lines until there are no more, and says why then to all who wait.
func (p *child) reader() {
	defer close(p.read)
	err := p.lines(bufio.NewReader(p.stdout))
	p.stdout.Close()
	// What it says about its end often comes just before it.
	select {
	case <-p.exited:
	case <-time.After(p.limits.Close):
	}
	p.fail(err)
	p.kill()
}

func (p *child) lines(r *bufio.Reader) error {
	garbage := 0
	for {
		line, err := readLine(r, p.limits.Message)
		var over *LimitError
		switch {
		case errors.As(err, &over):
			return err
		case err != nil:
			return errors.New("the process ended")
		case len(strings.TrimSpace(string(line))) == 0:
			continue
		case line[0] != '{':
			if garbage++; garbage > maxGarbage {
				return &LimitError{"lines that are no JSON", fmt.Sprint(maxGarbage)}
			}
			p.said.Write(append([]byte("on standard output: "), append(line[:min(len(line), 200)], '\n')...))
			continue
		}
		m, err := read(line, p.limits)
		if err != nil {
			return err
		}
		if m.method != "" || m.id == nil {
			p.got(m)
			continue
		}
		p.mu.Lock()
		wait := p.waiting[strings.TrimSpace(string(m.id))]
		delete(p.waiting, strings.TrimSpace(string(m.id)))
		p.mu.Unlock()
		if wait != nil {
			wait <- m
		}
	}
}

// fail ends the child for everybody.
func (p *child) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		var over *LimitError
		var invalid *InvalidError
		if !errors.As(err, &over) && !errors.As(err, &invalid) {
			err = &ProcessError{Reason: err.Error(), Stderr: p.words(), started: true}
		}
		p.broken = err
	}
	for id, wait := range p.waiting {
		close(wait)
		delete(p.waiting, id)
	}
}

// words are the last that the child said.
func (p *child) words() string { return printable(p.mask.text(p.said.String())) }

func (p *child) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken
}

func (p *child) call(ctx context.Context, out outgoing) (*message, error) {
	wait := make(chan *message, 1)
	p.mu.Lock()
	if p.broken != nil {
		defer p.mu.Unlock()
		return nil, p.broken
	}
	p.waiting[out.id] = wait
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, out.id)
		p.mu.Unlock()
	}()
	if err := p.send(ctx, out); err != nil {
		return nil, err
	}
	select {
	case m, ok := <-wait:
		if !ok {
			return nil, p.alive()
		}
		return m, nil
	case <-ctx.Done():
		return nil, ended(ctx, ctx.Err())
	}
}

// send writes a line. A child that does not read it costs the call its time, and is then ended.
func (p *child) send(ctx context.Context, out outgoing) error {
	if int64(len(out.body)) > p.limits.Message {
		return overBytes("bytes of a message", p.limits.Message)
	}
	select {
	case p.writing <- struct{}{}:
	case <-ctx.Done():
		return ended(ctx, ctx.Err())
	case <-p.read:
		return p.ended()
	}
	done := make(chan error, 1)
	p.working.Go(func() {
		_, err := p.stdin.Write(append(out.body, '\n'))
		<-p.writing
		done <- err
	})
	select {
	case err := <-done:
		if err != nil {
			return p.ended()
		}
		return nil
	case <-ctx.Done():
		p.working.Go(func() { p.finish(done) })
		return ended(ctx, ctx.Err())
	}
}

// finish gives a line that nobody waits for any more the time to be read: half a line makes the next one worthless.
func (p *child) finish(done <-chan error) {
	select {
	case <-done:
	case <-p.read:
	case <-time.After(p.limits.Close):
		p.fail(errors.New("the process does not read its standard input"))
		p.kill()
	}
}

// ended is why, once the reader knows.
func (p *child) ended() error {
	select {
	case <-p.read:
	case <-time.After(2 * p.limits.Close):
	}
	if err := p.alive(); err != nil {
		return err
	}
	return &ProcessError{Reason: "the process closed its standard input", Stderr: p.words(), started: true}
}

// close ends the process: its input ends, then it is told to, then it is killed, each time with everything it started.
func (p *child) close() {
	p.once.Do(func() {
		p.fail(ErrClosed)
		p.stdin.Close()
		if !p.gone() {
			terminate(p.cmd)
			if !p.gone() {
				p.kill()
			}
		}
		<-p.exited
		p.stdout.Close() // a grandchild in a group of its own may hold the other end
		<-p.read
		p.working.Wait()
		os.RemoveAll(p.home)
	})
}

// kill ends the group, unless its leader was waited for: then its number may be somebody else's.
func (p *child) kill() {
	select {
	case <-p.exited:
	default:
		kill(p.cmd)
	}
}

func (p *child) gone() bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(p.limits.Close):
		return false
	}
}

// A tail is a writer that keeps the last bytes.
type tail struct {
	most int

	mu   sync.Mutex // guards kept
	kept []byte
	cut  bool
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if n > t.most {
		p, t.cut = p[n-t.most:], true
	}
	if over := len(t.kept) + len(p) - t.most; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
		t.cut = true
	}
	t.kept = append(t.kept, p...)
	return n, nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := strings.TrimSpace(string(t.kept))
	if t.cut {
		s = "… " + s
	}
	return s
}
