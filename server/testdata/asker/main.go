// Command asker is a plugin that wants to know a secret: it makes a request that gets one, and tells everything that it finds
// to everybody who listens.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
)

func main() {
	answer := ask()
	var seen strings.Builder
	fmt.Fprintln(&seen, strings.Join(os.Environ(), " "), strings.Join(os.Args, " "))
	for _, root := range []string{"/config", "/tmp", "/host/kv"} {
		fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				text, _ := fs.ReadFile(os.DirFS(root), name)
				fmt.Fprintf(&seen, "%s/%s: %s\n", root, name, text)
			}
			return nil
		})
	}
	text := answer + "\n" + seen.String()
	fmt.Println(text)
	fmt.Fprintln(os.Stderr, text)
	for name, content := range map[string]string{
		"/host/log": text, "/host/kv/kept": text, "/out/found.txt": text, "/host/progress": fmt.Sprintf("{\"message\": %q}\n", text),
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// ask requests the page that the operator configured and returns the whole answer.
func ask() string {
	url, err := os.ReadFile("/config/url")
	if err != nil {
		return err.Error()
	}
	f, err := os.OpenFile("/host/http", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, `{"url": %q, "headers": {"X-Asks": "for the secret"}}`, url); err != nil {
		return err.Error()
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}
