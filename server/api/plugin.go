package api

import "encoding/json"

// A Plugin is one plugin of the server as operators see it: what it is, what it asks for, and what it has of that.
type Plugin struct {
	ID          string             `json:"id"`     // its name, or that of its file while the name is not known
	Object      string             `json:"object"` // always "plugin"
	Version     string             `json:"version"`
	Description string             `json:"description"`
	File        string             `json:"file"`
	State       string             `json:"state"` // compiling, ready, failed and the like
	Error       string             `json:"error,omitempty"`
	ABI         string             `json:"abi,omitempty"`
	Hash        string             `json:"hash,omitempty"` // of the content, which grants are bound to
	LoadedAt    *int64             `json:"loaded_at"`      // seconds; nil = not loaded
	CompileMS   int64              `json:"compile_ms"`
	Approved    bool               `json:"approved"`       // there is a grant for this content
	Note        string             `json:"note,omitempty"` // why not, with the line that would change it
	Permissions []PluginPermission `json:"permissions"`
	Limits      json.RawMessage    `json:"limits"` // in force
	Tools       []PluginFunction   `json:"tools"`
	Calls       PluginCalls        `json:"calls"`
}

// A PluginPermission is one thing that a plugin asks for, and what came of it.
type PluginPermission struct {
	Kind    string `json:"kind"` // net, secret, kv, fs, env or config
	Asked   string `json:"asked"`
	Reason  string `json:"reason"`            // the author's
	Granted string `json:"granted"`           // "" = nothing
	Missing string `json:"missing,omitempty"` // the line of the grants that would give all of it
}

// A PluginFunction is a tool of a plugin.
type PluginFunction struct {
	Name         string          `json:"name"`
	Title        string          `json:"title,omitempty"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"input_schema,omitempty"`
	OutputSchema json.RawMessage `json:"output_schema,omitempty"`
}

// PluginCalls count the calls of a plugin since it was loaded.
type PluginCalls struct {
	Running      int    `json:"running"` // now
	Waiting      int    `json:"waiting"` // now
	Ended        uint64 `json:"ended"`
	Refused      uint64 `json:"refused"`       // no place in the queue
	BadArguments uint64 `json:"bad_arguments"` // the model's mistake
	Failed       uint64 `json:"failed"`        // the plugin said so
	Stopped      uint64 `json:"stopped"`       // by a limit, or it crashed
}
