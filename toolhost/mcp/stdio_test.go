//go:build unix

package mcp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"chorale/toolhost/mcp"
)

// TestMain makes the test binary a child, too: its environment is what is tested, so its arguments say so.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2], os.Args[3:])
		return
	}
	os.Exit(m.Run())
}

// child is a server on standard input and output that is bad in some way.
func child(mode string, args []string) {
	switch mode {
	case "exit":
		fmt.Fprintln(os.Stderr, "no configuration, the key is", os.Getenv("KEY"))
		os.Exit(3)
	case "sleep":
		time.Sleep(time.Hour)
	case "hangs":
		defer os.WriteFile(args[0], nil, 0o600) // on a clean end
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "parent":
		grand := exec.Command(os.Args[0], "child", "stubborn-grandchild")
		if err := grand.Start(); err != nil {
			os.Exit(1)
		}
		os.WriteFile(args[0], fmt.Append(nil, os.Getpid(), " ", grand.Process.Pid), 0o600)
		signal.Ignore(syscall.SIGTERM)
	case "stubborn-grandchild":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "stderr":
		go func() {
			for {
				fmt.Fprintln(os.Stderr, repeat("all is well ", 100))
			}
		}()
	case "greeting":
		fmt.Println("Welcome to the server!")
		fmt.Println()
	case "garbage":
		for {
			if _, err := fmt.Println("garbage"); err != nil {
				return
			}
		}
	case "line":
		for {
			if _, err := fmt.Print("{", repeat("x", 4096)); err != nil {
				return
			}
		}
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var m rpc
		if json.Unmarshal(in.Bytes(), &m) != nil || m.ID == nil {
			continue
		}
		answer := `"result":{"content":[{"type":"text","text":"done"}]}`
		switch m.Method {
		case "server/discover":
			if mode == "dies" {
				os.Exit(1)
			}
			answer = `"error":{"code":-32601,"message":"not found"}`
		case "initialize":
			answer = `"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"child","version":"1"}}`
		case "tools/list":
			answer = `"result":{"tools":[` + echo + `]}`
			if mode == "deaf" {
				os.WriteFile(args[0], fmt.Append(nil, os.Getpid()), 0o600)
				fmt.Printf(`{"jsonrpc":"2.0","id":%s,%s}`+"\n", m.ID, answer)
				time.Sleep(time.Hour)
			}
		case "tools/call":
			switch mode {
			case "hangs":
				fmt.Printf(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` + "\n")
				for in.Scan() {
					if strings.Contains(in.Text(), "notifications/cancelled") && strings.Contains(in.Text(), `"requestId":`+string(m.ID)) {
						return
					}
				}
				os.Exit(1)
			case "crash":
				fmt.Fprintln(os.Stderr, "panic: oh no")
				os.Exit(2)
			case "double":
				fmt.Println(`{"jsonrpc":"2.0","method":"x","method":"y"}`)
			case "environment":
				text, _ := json.Marshal(strings.Join(os.Environ(), "\n"))
				answer = `"result":{"content":[{"type":"text","text":` + string(text) + `}]}`
			}
		}
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,%s}`+"\n", m.ID, answer)
	}
	if mode == "stubborn" || mode == "parent" {
		time.Sleep(time.Hour) // does not mind that its input ended
	}
}

func command(t testing.TB, mode string, args ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{self, "child", mode}, args...)
}

// quick are limits for children that are to be ended.
var quick = mcp.Limits{Connect: 20 * time.Second, Close: 500 * time.Millisecond, Message: 64 << 10, Stderr: 1 << 10}

func TestChildren(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ mode, want string }{
		{"good", ""}, {"greeting", ""}, {"stderr", ""}, {"stubborn", ""}, {"dies", ""},
		{"exit", "no configuration, the key is ********************"},
		{"garbage", "lines that are no JSON: more than 100"},
		{"line", "bytes of a line: more than"},
		{"double", `"method" twice`},
		{"crash", "panic: oh no"},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			c := open(t, mcp.Config{Command: command(t, tt.mode), Env: map[string]string{"KEY": key}, Limits: quick}, mcp.Options{})
			r, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
			if tt.want == "" {
				if err != nil || r.Text() != "done" {
					t.Fatalf("got %v, %v", r, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), key) {
				t.Errorf("the error has the secret: %v", err)
			}
		})
	}
}

func TestChildThatIsNone(t *testing.T) {
	t.Parallel()
	c := open(t, mcp.Config{Command: []string{"/nonexistent/server"}}, mcp.Options{})
	_, err := c.List(within(t))
	var process *mcp.ProcessError
	if !errors.As(err, &process) {
		t.Errorf("got error %v, want a *ProcessError", err)
	}
}

func TestChildThatIsSilent(t *testing.T) {
	t.Parallel()
	limits := quick
	limits.Connect = 200 * time.Millisecond
	c := open(t, mcp.Config{Command: command(t, "sleep"), Limits: limits}, mcp.Options{})
	_, err := c.List(within(t))
	var limit *mcp.LimitError
	if !errors.As(err, &limit) || !limit.Timeout() {
		t.Errorf("got error %v, want a *LimitError of time", err)
	}
}

// TestDeafChild does not read what is said to it: the call ends, and so does the child.
func TestDeafChild(t *testing.T) {
	t.Parallel()
	limits := quick
	limits.Message, limits.Call = 2<<20, 200*time.Millisecond
	file := filepath.Join(t.TempDir(), "pid")
	c := open(t, mcp.Config{Command: command(t, "deaf", file), Limits: limits}, mcp.Options{})
	_, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"`+repeat("x", 1<<20)+`"}`), nil)
	var limit *mcp.LimitError
	if !errors.As(err, &limit) {
		t.Errorf("got error %v, want a *LimitError", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := strconv.Atoi(string(text)); err != nil || !dead(t, pid) {
		t.Errorf("process %s lives (%v)", text, err)
	}
}

// TestGrandchildren end with their parent, although both ignore being asked to.
func TestGrandchildren(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pids")
	c := open(t, mcp.Config{Command: command(t, "parent", pids), Limits: quick}, mcp.Options{})
	if _, err := c.List(within(t)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for _, s := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		if !dead(t, pid) {
			t.Errorf("process %d of %q lives", pid, text)
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// dead waits until a process has ended or is a zombie that its new parent has not looked at yet.
func dead(t *testing.T, pid int) bool {
	t.Helper()
	ctx := within(t)
	for ctx.Err() == nil {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && syscall.Kill(pid, 0) != nil {
			return true
		}
		if _, after, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(after, "Z") {
			return true
		}
	}
	return false
}

// TestCancelOfChild: the child is told, and goes on.
func TestCancelOfChild(t *testing.T) {
	t.Parallel()
	told := filepath.Join(t.TempDir(), "told")
	ctx, cancel := context.WithCancel(within(t))
	// It says something when it has the call.
	c := open(t, mcp.Config{Command: command(t, "hangs", told), Limits: quick}, mcp.Options{Notify: func(mcp.Notification) { cancel() }})
	if _, err := c.Call(ctx, "echo", json.RawMessage(`{"text":"x"}`), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want the context's", err)
	}
	for wait := within(t); ; {
		if _, err := os.Stat(told); err == nil {
			return
		}
		if wait.Err() != nil {
			t.Fatal("the child was not told")
		}
	}
}

// TestBackoff: the first restart is free, the next ones wait.
func TestBackoff(t *testing.T) {
	t.Parallel()
	limits := quick
	limits.Backoff = time.Hour
	c := open(t, mcp.Config{Command: command(t, "crash"), Limits: limits}, mcp.Options{})
	for range 2 {
		var died *mcp.ProcessError
		if _, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); !errors.As(err, &died) || strings.Contains(err.Error(), "in a row") {
			t.Fatalf("got error %v, want a *ProcessError", err)
		}
	}
	_, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
	if err == nil || !strings.Contains(err.Error(), "failed 2 times in a row") || !strings.Contains(err.Error(), "oh no") {
		t.Errorf("got error %v, want one that says when it is started again, and why not now", err)
	}
}

// TestEnvironment is empty but for what is granted. It changes this process' own, so it is not parallel.
func TestEnvironment(t *testing.T) {
	t.Setenv("CHORALE_CANARY", key)
	check := func(t *testing.T, c *mcp.Client, tool, arguments string) {
		t.Helper()
		r, err := c.Call(within(t), tool, json.RawMessage(arguments), nil)
		if err != nil {
			t.Fatal(err)
		}
		text := r.Text()
		for _, want := range []string{"granted-value", "PATH", "HOME", "C.UTF-8"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in %s", want, text)
			}
		}
		if strings.Contains(text, key) {
			t.Error("the canary is there")
		}
		for _, pair := range os.Environ() {
			name, _, _ := strings.Cut(pair, "=")
			if name == "PATH" || name == "HOME" || name == "LANG" {
				continue
			}
			if strings.Contains("\n"+text, "\n"+name+"=") || strings.Contains(text, strconv.Quote(name)) {
				t.Errorf("%s is there", name)
			}
		}
	}
	conf := mcp.Config{Env: map[string]string{"GRANTED": "granted-value"}, Limits: quick}
	t.Run("own child", func(t *testing.T) {
		conf := conf
		conf.Command = command(t, "environment")
		check(t, open(t, conf, mcp.Options{}), "echo", `{"text":"x"}`)
	})
	t.Run("get-env of server-everything", func(t *testing.T) {
		conf := conf
		conf.Limits.Message = 0
		conf.Command = peer(t, "server-everything")
		check(t, open(t, conf, mcp.Options{}), "get-env", `{}`)
	})
}
