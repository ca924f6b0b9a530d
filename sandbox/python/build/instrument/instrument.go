// Command instrument makes a WebAssembly module stoppable: instrument IN OUT.
package main

import (
	"fmt"
	"os"

	"chorale/sandbox"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "instrument:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want two file names, got %d", len(args))
	}
	wasm, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if wasm, err = sandbox.Instrument(wasm); err != nil {
		return err
	}
	return os.WriteFile(args[1], wasm, 0o644)
}
