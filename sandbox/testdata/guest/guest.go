// Guest is a program that tests run in the sandbox, built for wasip1. The first argument chooses what it does.
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(64)
	}
	run, ok := map[string]func() error{
		"cpu": cpu, "files": files, "stdio": stdio, "goroutines": goroutines, "sleep": sleep, "network": network,
		"env": env, "exit": func() error { os.Exit(7); return nil }, "panic": func() error { panic("on purpose") },
		"spin": func() error {
			for {
			}
		},
		"alloc": alloc, "echo": func() error { _, err := io.Copy(os.Stdout, os.Stdin); return err },
	}[os.Args[1]]
	if !ok {
		os.Exit(64)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

// cpu prints the results of some work, for comparison.
func cpu() error {
	numbers := make([]int, 20_000)
	x := uint32(1)
	for i := range numbers {
		x = x*1664525 + 1013904223
		numbers[i] = int(x >> 8)
	}
	sort.Ints(numbers)
	b, err := json.Marshal(map[string]any{"fib": fib(20), "first": numbers[:5], "real": 1.0 / 3})
	fmt.Printf("%s %x\n", b, sha256.Sum256([]byte(fmt.Sprint(numbers))))
	return err
}

func files() error {
	for _, dir := range []string{"/data", os.Getenv("HOSTDIR")} {
		if dir == "" {
			continue
		}
		if err := filesIn(dir); err != nil {
			return fmt.Errorf("in %s: %w", dir, err)
		}
	}
	fmt.Println("ok")
	return nil
}

func filesIn(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, "a/b/c/text")
	if err := os.WriteFile(name, []byte("one\ntwo\n"), 0o644); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	fmt.Fprintln(f, "three")
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "one\ntwo\nthree\n" {
		return fmt.Errorf("read %q, %w", b, err)
	}
	if err := os.Rename(name, filepath.Join(dir, "a/moved")); err != nil {
		return err
	}
	stamp := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(filepath.Join(dir, "a/moved"), stamp, stamp); err != nil {
		return err
	}
	fi, err := os.Stat(filepath.Join(dir, "a/moved"))
	if err != nil || fi.Size() != 14 || !fi.ModTime().Equal(stamp) {
		return fmt.Errorf("stat %v %w", fi, err)
	}
	var seen []string
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		seen = append(seen, strings.TrimPrefix(p, dir))
		return err
	})
	if want := []string{"", "/a", "/a/b", "/a/b/c", "/a/moved"}; err != nil || !slices.Equal(seen, want) {
		return fmt.Errorf("walk saw %q, %w", seen, err)
	}
	if _, err := os.Open(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("absent file: %v", err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err == nil {
		return errors.New("could make a symbolic link")
	}
	return os.RemoveAll(filepath.Join(dir, "a"))
}

func stdio() error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Printf("<%s>", in.Text())
		fmt.Fprintf(os.Stderr, "(%d)", len(in.Text()))
	}
	return in.Err()
}

func goroutines() error {
	var wg sync.WaitGroup
	sums := make(chan int, 10)
	for i := range 10 {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Millisecond)
			runtime.GC()
			sums <- i
		})
	}
	wg.Wait()
	close(sums)
	total := 0
	for n := range sums {
		total += n
	}
	fmt.Println(total)
	return nil
}

func sleep() error {
	start := time.Now()
	time.Sleep(3 * time.Millisecond)
	if d := time.Since(start); d < 3*time.Millisecond {
		return fmt.Errorf("slept %v", d)
	}
	select {
	case <-time.After(time.Millisecond):
	case <-time.After(time.Hour):
	}
	fmt.Println("ok")
	return nil
}

func network() error {
	if _, err := net.Dial("tcp", "127.0.0.1:80"); err == nil {
		return errors.New("connected")
	}
	if _, err := net.LookupHost("localhost.example"); err == nil {
		return errors.New("resolved")
	}
	fmt.Println("ok")
	return nil
}

func env() error {
	fmt.Printf("%q %q\n", os.Args[2:], os.Environ())
	var b [8]byte
	_, err := rand.Read(b[:])
	fmt.Printf("%x %d\n", b, time.Now().Unix())
	return err
}

// alloc takes memory until there is none.
func alloc() error {
	var keep [][]byte
	for {
		keep = append(keep, make([]byte, 1<<20))
	}
}
