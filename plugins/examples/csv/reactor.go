//go:build wasip1

// Command csv answers SQL queries about CSV data. A Go program takes milliseconds to start, so this one is started once
// and then called, and the host puts its memory back after each call ("instance": "reset").
package main

import (
	"encoding/json"
	"unsafe"
)

func main() {} // not called in a reactor

// request and response keep the memory that the host writes to and reads from alive.
var request, response []byte

//go:wasmexport tool_alloc
func toolAlloc(size int32) int32 {
	request = make([]byte, max(size, 1))
	return int32(uintptr(unsafe.Pointer(&request[0])))
}

//go:wasmexport tool_call
func toolCall(_, size int32) int64 {
	var r struct {
		Tool      string          `json:"tool"`
		Arguments json.RawMessage `json:"arguments"`
	}
	err := json.Unmarshal(request[:size], &r)
	var result any
	if err == nil {
		result, err = call(r.Tool, r.Arguments)
	}
	if err == nil {
		response, err = json.Marshal(map[string]any{"result": result})
	}
	if err != nil {
		response, _ = json.Marshal(map[string]any{"error": err.Error(), "bad_arguments": true})
	}
	return int64(uintptr(unsafe.Pointer(&response[0])))<<32 | int64(len(response))
}
