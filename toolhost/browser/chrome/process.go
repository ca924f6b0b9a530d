package chrome

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// A process is one run of Chromium.
type process struct {
	child   *child
	ctx     context.Context // of chromedp, without a tab: an object whose life is a process
	cancel  context.CancelFunc
	version string

	// Guarded by Browser.mu.
	users  int  // pages that are being opened
	pages  int  // that were opened
	spent  bool // to be replaced
	ending bool // by us
	mu     *sync.Mutex
}

func (p *process) isDead() bool {
	select {
	case <-p.child.gone:
		return true
	case <-p.ctx.Done():
		return true
	default:
		return false
	}
}

// end kills the process and waits for its end. There is nothing in it to be saved.
func (p *process) end() {
	p.mu.Lock()
	p.ending = true
	p.mu.Unlock()
	p.cancel()
	p.child.kill()
	<-p.child.gone
}

func (b *Browser) startProcess() (*process, error) {
	c, err := launch(b.path, b.flags())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", b.path, err)
	}
	root, stop := context.WithCancel(context.Background())
	alloc, _ := chromedp.NewAllocatorContext(root, attached{c.conn})
	quiet := func(format string, args ...any) {
		b.log.Debug("chromium protocol", "message", fmt.Sprintf(format, args...))
	}
	ctx, _ := chromedp.NewContext(alloc, chromedp.WithBrowserOption(
		chromedp.WithBrowserLogf(quiet), chromedp.WithBrowserErrorf(quiet)))
	p := &process{child: c, ctx: ctx, cancel: stop, mu: &b.mu}
	timer := time.AfterFunc(b.limits.Start, stop)
	v, err := chromedp.CallBrowser(ctx, browser.GetVersion, cdp.Empty{})
	if !timer.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		stop()
		c.kill()
		<-c.gone
		return nil, startError(b.path, c.out.String(), err)
	}
	p.version = v.Product
	return p, nil
}

// startError says what Chromium said.
func startError(path, output string, err error) error {
	if strings.Contains(output, "No usable sandbox") || strings.Contains(output, "sandbox helper") ||
		strings.Contains(output, "Operation not permitted") && strings.Contains(output, "amespace") {
		return fmt.Errorf("start %s: Chromium cannot make its sandbox here: the kernel must allow user namespaces (or Debian's "+
			"package chromium-sandbox be installed); it can be run without the sandbox by configuration", path)
	}
	// The protocol's error, which may be that of a context of ours, is nothing to branch on.
	lines := strings.Split(output, "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Errorf("start %s: Chromium does not answer, and says: %.300s", path, last)
	}
	return fmt.Errorf("start %s: Chromium does not answer: %v", path, err)
}

// ping kills a Chromium that does not answer.
func (b *Browser) ping(p *process) {
	b.answers(p, func(ctx context.Context) error {
		_, err := chromedp.CallBrowser(ctx, browser.GetVersion, cdp.Empty{})
		return err
	})
}

// answers asks Chromium something that no page can delay, and kills it if it takes too long.
func (b *Browser) answers(p *process, ask func(context.Context) error) {
	ctx, stop := context.WithTimeout(p.ctx, b.limits.Hang)
	defer stop()
	if err := ask(ctx); errors.Is(err, context.DeadlineExceeded) {
		b.log.Warn("chromium hangs and is killed")
		p.child.kill()
	}
}
