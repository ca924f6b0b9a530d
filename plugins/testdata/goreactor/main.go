// A reactor of the standard Go toolchain: GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared.
package main

import (
	"encoding/json"
	"unsafe"
)

var (
	request  []byte
	response []byte
	counter  int
)

//go:wasmexport tool_alloc
func toolAlloc(n uint32) uint32 {
	request = make([]byte, max(n, 1))
	return uint32(uintptr(unsafe.Pointer(&request[0])))
}

//go:wasmexport tool_call
func toolCall(_, n uint32) uint64 {
	var q struct {
		Tool      string         `json:"tool"`
		Arguments map[string]any `json:"arguments"`
	}
	if err := json.Unmarshal(request[:n], &q); err != nil {
		return reply(map[string]any{"error": err.Error()})
	}
	counter++
	done := make(chan bool)
	go func() { done <- true }()
	<-done
	return reply(map[string]any{"result": map[string]any{"count": counter, "echo": q.Arguments["text"]}})
}

func reply(v any) uint64 {
	response, _ = json.Marshal(v)
	return uint64(uintptr(unsafe.Pointer(&response[0])))<<32 | uint64(len(response))
}

func main() {}
