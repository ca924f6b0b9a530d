//go:build ignore

// A program of the standard Go toolchain: GOOS=wasip1 GOARCH=wasm go build program.go.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	var q struct{ Name string }
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Printf("{\"greeting\":\"Hello, %s\"}", q.Name)
}
