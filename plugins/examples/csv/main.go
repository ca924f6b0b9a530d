//go:build !wasip1

// Command csv answers SQL queries about CSV data. As a plugin it is a reactor; on other systems it is a program that reads
// the arguments of one call, so that it can be tried and debugged without a host:
//
//	echo '{"csv": "a,b\n1,2", "sql": "SELECT a+b"}' | go run . query
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	tool := ""
	if len(os.Args) > 1 {
		tool = os.Args[1]
	}
	args, err := io.ReadAll(os.Stdin)
	if err == nil {
		var result any
		if result, err = call(tool, args); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(result)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
