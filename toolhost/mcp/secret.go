package mcp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// minSecret is the shortest value that is masked: shorter ones are found everywhere.
const minSecret = 8

// A masker knows the values that must not come back from a server, and puts asterisks in their place.
type masker struct {
	mu     sync.RWMutex // guards values
	values []string     // longest first
}

// add remembers a value, also in the form that JSON writes.
func (m *masker) add(value string) {
	if len(value) < minSecret {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	quoted, _ := json.Marshal(value)
	for _, v := range []string{value, string(quoted[1 : len(quoted)-1])} {
		if !slices.Contains(m.values, v) {
			m.values = append(m.values, v)
		}
	}
	slices.SortFunc(m.values, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
}

func (m *masker) bytes(raw []byte) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, v := range m.values {
		if bytes.Contains(raw, []byte(v)) {
			raw = bytes.ReplaceAll(raw, []byte(v), []byte(strings.Repeat("*", len(v))))
		}
	}
	return raw
}

func (m *masker) text(s string) string { return string(m.bytes([]byte(s))) }
