//go:build unix

package mcp_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"testing"
	"time"

	"chorale/toolhost/mcp"
)

// BenchmarkCall measures a call beside the same bytes sent and read by hand, alternately, and reports the medians.
func BenchmarkCall(b *testing.B) {
	const arguments = `{"text":"hello"}`
	body := func(id int) []byte {
		return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":%s}}`, id, arguments)
	}
	measure := func(b *testing.B, c *mcp.Client, raw func(id int) error) {
		b.Helper()
		if _, err := c.List(within(b)); err != nil {
			b.Fatal(err)
		}
		ctx := b.Context()
		var by, hand []time.Duration
		for n := 0; b.Loop(); n++ {
			t0 := time.Now()
			if err := raw(n); err != nil {
				b.Fatal(err)
			}
			t1 := time.Now()
			if _, err := c.Call(ctx, "echo", json.RawMessage(arguments), nil); err != nil {
				b.Fatal(err)
			}
			hand, by = append(hand, t1.Sub(t0)), append(by, time.Since(t1))
		}
		slices.Sort(by)
		slices.Sort(hand)
		r, c50 := hand[len(hand)/2], by[len(by)/2]
		b.ReportMetric(float64(r.Nanoseconds())/1e3, "raw-p50-µs")
		b.ReportMetric(float64(c50.Nanoseconds())/1e3, "call-p50-µs")
		b.ReportMetric(float64((c50-r).Nanoseconds())/1e3, "overhead-p50-µs")
	}
	b.Run("http", func(b *testing.B) {
		f := serve(b)
		client := &http.Client{}
		measure(b, open(b, f.config(b), mcp.Options{}), func(id int) error {
			resp, err := client.Post(f.URL+"/mcp", "application/json", bytes.NewReader(body(id)))
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.ReadAll(resp.Body)
			return err
		})
	})
	b.Run("stdio", func(b *testing.B) {
		args := command(b, "good")
		cmd := exec.Command(args[0], args[1:]...)
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { in.Close(); cmd.Wait() })
		lines := bufio.NewReader(out)
		measure(b, open(b, mcp.Config{Command: args}, mcp.Options{}), func(id int) error {
			if _, err := in.Write(append(body(id), '\n')); err != nil {
				return err
			}
			_, err := lines.ReadString('\n')
			return err
		})
	})
}
