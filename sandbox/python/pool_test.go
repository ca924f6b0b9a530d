package python_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/sandbox/python"
)

// TestSessionsAreIsolated runs two hundred sessions at a time, each of which leaves behind everything that could reach
// another, after having looked whether another's is there.
func TestSessionsAreIsolated(t *testing.T) {
	t.Parallel()
	const n = 200
	p := newPool(t, python.PoolOptions{Slots: 4, MaxLive: n})
	code := `import sys, os, random, uuid, time, json, secrets, builtins
me = %d
seen = ['mine' in globals(), os.path.exists('/mnt/data/mine'), os.path.exists('/tmp/mine'), 'mine' in sys.modules, 'MINE' in os.environ,
    hasattr(json, 'mine'), hasattr(builtins, 'mine'), os.listdir('/mnt/data') != [], os.getcwd() != '/mnt/data']
mine = builtins.mine = json.mine = sys.modules['mine'] = me
os.environ['MINE'] = str(me)
for d in '/mnt/data', '/tmp':
    with open(d + '/mine', 'w') as f: f.write(str(me))
os.chdir('/tmp')
print(json.dumps([seen, random.random(), uuid.uuid4().hex, secrets.token_hex(8), time.time(), hash('text')]))`
	const check = `print([mine, builtins.mine, json.mine, sys.modules['mine'], int(os.environ['MINE']), int(open('/mnt/data/mine').read()),
    int(open('/tmp/mine').read()), me].count(me), os.getcwd())`
	var mu sync.Mutex
	var outputs []string
	var sessions []*python.Session
	start := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s, err := p.Acquire(t.Context(), python.SessionOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			r, err := s.Exec(t.Context(), python.Cell{Code: fmt.Sprintf(code, i)})
			if err != nil || r.Status != python.OK {
				t.Errorf("%v %+v", err, r)
			}
			mu.Lock()
			defer mu.Unlock()
			outputs, sessions = append(outputs, r.Output), append(sessions, s)
		})
	}
	wg.Wait()
	if live := p.Stats().Live; live != n {
		t.Errorf("%d sessions live, want %d", live, n)
	}
	distinct := map[string]bool{}
	hashes := map[string]bool{}
	for _, out := range outputs {
		var seen []bool
		var random, when float64
		var uuid, token string
		var hash int64
		if err := decodeArray(out, &seen, &random, &uuid, &token, &when, &hash); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for i, there := range seen {
			if there {
				t.Errorf("thing %d of another session is there", i)
			}
		}
		for _, v := range []string{fmt.Sprint(random), uuid, token} {
			if distinct[v] {
				t.Errorf("%s is there twice", v)
			}
			distinct[v] = true
		}
		hashes[fmt.Sprint(hash)] = true
		if at := time.Unix(0, int64(when*1e9)); at.Before(start.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("the clock says %v", at)
		}
	}
	if len(hashes) != 1 { // what they share, and it is documented
		t.Errorf("%d hashes of one text", len(hashes))
	}
	for _, s := range sessions {
		wg.Go(func() {
			if r, err := s.Exec(t.Context(), python.Cell{Code: check}); err != nil || r.Output != "8 /tmp\n" {
				t.Errorf("%v %+v", err, r)
			}
			s.Close()
		})
	}
	wg.Wait()
}

func TestThousandSessionsAlive(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a gigabyte of memory")
	}
	const n = 1000
	p := newPool(t, python.PoolOptions{Slots: 2, MaxLive: n})
	var sessions []*python.Session
	for i := range n {
		s := acquire(t, p, python.Limits{})
		if r := exec(t, s, fmt.Sprintf("x = %d", i)); r.Status != python.OK {
			t.Fatalf("%+v", r)
		}
		sessions = append(sessions, s)
	}
	for i, s := range sessions {
		if r := exec(t, s, "x"); r.Value != fmt.Sprint(i) {
			t.Fatalf("session %d says %+v", i, r)
		}
	}
}

func TestSessionsInTurnArePristine(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1, MaxLive: 1})
	for i := range 50 {
		s := acquire(t, p, python.Limits{})
		if r := exec(t, s, "'x' in globals(), [1][0]"); r.Value != "(False, 1)" {
			t.Fatalf("session %d: %+v", i, r)
		}
		exec(t, s, "import json; x = json.x = 1; json.dumps = None; print(x)")
		if i%10 == 9 { // its memory grows
			exec(t, s, "b = bytearray(50_000_000)")
		}
		s.Close()
	}
	if st := p.Stats(); st.Resets < 40 || st.Forks < 5 || st.Acquired != 50 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1, MaxLive: 2, MaxWaiting: 1})
	a, _ := acquire(t, p, python.Limits{}), acquire(t, p, python.Limits{})
	ctx, cancel := context.WithCancelCause(t.Context())
	waited := make(chan error)
	go func() {
		_, err := p.Acquire(ctx, python.SessionOptions{})
		waited <- err
	}()
	for p.Stats().Waiting == 0 {
		runtime.Gosched()
	}
	if _, err := p.Acquire(t.Context(), python.SessionOptions{}); !errors.Is(err, python.ErrBusy) {
		t.Errorf("one caller too many: %v, want %v", err, python.ErrBusy)
	}
	reason := errors.New("the client went away")
	cancel(reason)
	if err := <-waited; !errors.Is(err, reason) {
		t.Errorf("a caller that gave up: %v", err)
	}
	go func() {
		s, err := p.Acquire(t.Context(), python.SessionOptions{})
		if err == nil {
			s.Close()
		}
		waited <- err
	}()
	a.Close()
	if err := <-waited; err != nil {
		t.Errorf("a caller that waited: %v", err)
	}
}

func TestMemoryOfAllSessionsIsBounded(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1, MaxMemory: 200 << 20})
	a, b := acquire(t, p, python.Limits{}), acquire(t, p, python.Limits{})
	if r := exec(t, a, "x = bytearray(120_000_000)"); r.Status != python.OK {
		t.Fatalf("%+v", r)
	}
	if r := exec(t, b, "x = bytearray(120_000_000)"); r.Status != python.OutOfMemory || r.Lost {
		t.Errorf("more than all may have: %+v", r)
	}
	a.Close()
	if r := exec(t, b, "x = bytearray(120_000_000)"); r.Status != python.OK {
		t.Errorf("after another session's end: %+v", r)
	}
	if r := exec(t, b, "y = bytearray(60_000_000)"); r.Status != python.OK {
		t.Errorf("a bit more: %+v", r)
	}
	for range 30 {
		s, err := p.Acquire(t.Context(), python.SessionOptions{})
		if err != nil {
			if !errors.Is(err, python.ErrBusy) || !strings.Contains(err.Error(), "bytes of memory") {
				t.Errorf("%v, want %v", err, python.ErrBusy)
			}
			return
		}
		defer s.Close()
	}
	t.Errorf("sessions without end: %+v", p.Stats())
}

func TestCloseEndsCells(t *testing.T) {
	t.Parallel()
	p, err := python.NewPool(image(t), python.PoolOptions{Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := acquire(t, p, python.Limits{})
	began := make(chan struct{})
	ended := make(chan error)
	go func() {
		var once sync.Once
		_, err := s.Exec(t.Context(), python.Cell{Code: "print(1)\nwhile True: pass", Stream: func([]byte) { once.Do(func() { close(began) }) }})
		ended <- err
	}()
	<-began
	if _, err := s.Exec(t.Context(), python.Cell{}); !errors.Is(err, python.ErrInCell) {
		t.Errorf("a second cell: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, python.ErrClosed) {
		t.Errorf("the cell: %v, want %v", err, python.ErrClosed)
	}
	if _, err := p.Acquire(t.Context(), python.SessionOptions{}); !errors.Is(err, python.ErrClosed) {
		t.Errorf("acquire of a closed pool: %v", err)
	}
	if _, err := s.Exec(t.Context(), python.Cell{}); !errors.Is(err, python.ErrClosed) {
		t.Errorf("a cell of a closed session: %v", err)
	}
	if _, _, err := s.Snapshot(); !errors.Is(err, python.ErrClosed) {
		t.Errorf("snapshot of a closed session: %v", err)
	}
	if err := errors.Join(s.Close(), p.Close()); err != nil {
		t.Errorf("again: %v", err)
	}
	if st := p.Stats(); st.Live != 0 || st.Ready != 0 || st.Memory != 0 {
		t.Errorf("%+v", st)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	img := image(t)
	for want, o := range map[string]python.PoolOptions{
		"MaxLive is -2": {MaxLive: -2}, "MaxWaiting is -3": {MaxWaiting: -3},
		"MaxMemory (-4)": {MaxMemory: -4}, "MaxSession is 1000": {MaxSession: 1000},
	} {
		if p, err := python.NewPool(img, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
			if err == nil {
				p.Close()
			}
		}
	}
	p := newPool(t, python.PoolOptions{Slots: 1})
	for want, l := range map[string]python.Limits{
		"must not be negative": {Wall: -1}, "limit of memory is 1000": {Memory: 1000}, "limit of memory is 1099511627776": {Memory: 1 << 40},
		"too small": {Disk: 100},
	} {
		if _, err := p.Acquire(t.Context(), python.SessionOptions{Limits: l}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	s := acquire(t, p, python.Limits{})
	if _, err := s.Exec(t.Context(), python.Cell{Code: strings.Repeat(" ", 5<<20)}); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a long cell: %v", err)
	}
	waitLive(t, p, 1)
}
