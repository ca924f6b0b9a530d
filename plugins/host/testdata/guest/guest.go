// Guest is a program that tests run in the sandbox, built for wasip1: it makes requests at the same time.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	var files []*os.File
	for _, url := range os.Args[1:] {
		f, err := os.OpenFile("/host/http", os.O_RDWR, 0)
		if err == nil {
			err = json.NewEncoder(f).Encode(map[string]any{"url": url, "headers": map[string]any{"X-A": []string{"1", "2"}}})
		}
		if err == nil {
			err = f.Sync() // sends it
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		files = append(files, f)
	}
	for _, f := range files {
		var answer struct {
			Status int
			Body   string
		}
		b, err := io.ReadAll(f)
		if err == nil {
			err = json.Unmarshal(b, &answer)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(answer.Status, answer.Body)
	}
	names, err := os.ReadDir("/host")
	fmt.Println(names, err)
}
