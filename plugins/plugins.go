// Package plugins runs WebAssembly modules as tools: drop a file into a folder, and the model can call it.
//
// It owns the manifest (what a plugin is and asks for), the grants (what the operator gives it), the ways to call a
// module or a script, and the registry of a folder with its hot reload. It does not know HTTP, the model or responses: sandbox runs the
// guests, and an adapter makes tools of plugins.
//
// A Plugin and a Registry are safe for concurrent use. Every call has an instance of its own; that of a "reuse" reactor is
// used again, for one call at a time.
//
// # Manifest
//
// A plugin is NAME.wasm (or a script, see below) and its manifest, a JSON object, in the file NAME.json beside it or in the module's custom
// section "chorale:manifest" (see Attach). The file wins. A few lines are enough:
//
//	{
//	  "name": "units",
//	  "version": "1.0.0",
//	  "description": "Converts between units of measurement.",
//	  "tools": [{
//	    "name": "convert",
//	    "description": "Converts a quantity to another unit.",
//	    "input_schema": {"type": "object", "properties": {"value": {"type": "number"}, "to": {"type": "string"}}, "required": ["value", "to"]},
//	    "examples": [{"input": {"value": 1, "to": "km"}, "text": "0.001 km"}]
//	  }]
//	}
//
// The types Manifest, ManifestTool, Permissions and Limits say what else it may hold. Keys that they do not know, and keys
// that are there twice, are errors. A manifest only asks: what a plugin gets is in the operator's Grants as well, bound to
// the hash of the content, and Plugin.Effective shows what came of it. A plugin that asks for nothing needs no grant.
//
// # What a module finds
//
// The arguments were checked against input_schema before. /tmp is empty at the start of a call and vanishes at its end;
// files that came with the request are in /in, read-only; files written to /out become files of the response; each granted config value is a file /config/KEY (a string as it is,
// anything else as JSON); services of the host are files below /host, see the package plugins/host; granted directories are
// where the manifest says. There are no other files, no network, and no environment but what is granted. Clocks are
// real, sleeping works, random numbers are the system's.
//
// # A module is a program (the default)
//
// A WASI command (GOOS=wasip1, wasm32-wasip1) is started anew for every call. The arguments, a JSON object, are on stdin; the
// tool's name is argv[1]; what is written to stdout is the result; stderr is the log, whose end the model sees when the
// call fails. Exit code 0 is success, 2 says that the arguments are wrong (the model may try again), any other is a
// failure.
//
// # A module is a reactor
//
// A module that exports tool_alloc and tool_call is started once with _initialize and then called:
//
//	tool_alloc(size i32) -> i32                 room for the request, not 0
//	tool_call(ptr i32, len i32) -> i64          (ptr << 32 | len) of the response
//
// The request is {"tool": NAME, "arguments": {…}}, the response is {"result": TEXT} or, for output "json" and
// "mcp", {"result": VALUE}; or {"error": TEXT, "bad_arguments": BOOL}. Stdout and stderr are the log. "instance" of the
// manifest says what the next call finds: "fresh" a new instance, "reset" (the fast one) the state right after _initialize,
// "reuse" whatever the last call left. What a language draws at its start from the system's random numbers, such as the seeds
// of hash tables and generators, is the same in every call with "reset".
//
// # A script
//
// NAME.py and NAME.js are plugins as they lie there, if the host has an Interpreter for them. Their manifest is NAME.json
// or a block of comments in the script, as PEP 723 has it (with // in JavaScript):
//
//	# /// chorale
//	# {"name": "units", "version": "1.0.0", "tools": […]}
//	# ///
//
// A script is a program like the above: arguments on stdin, argv[1] (in Python sys.argv[1]), stdout, stderr, exit codes.
// JavaScript has that behind it: a module's exports are the tools, see the package sandbox/quickjs. Every call starts the
// script anew, and they share nothing. A script that does not compile is a plugin that cannot be loaded, with the place in
// the error. For signing and shipping it is put into a module (NewScript), which needs the same interpreter.
//
// # A module is an Extism plugin
//
// Modules that import extism:host/env run on our own implementation of those functions. With describe and call, or
// list_tools and call_tool (hyper-mcp), the tools are the module's own answer, and no manifest is needed; else each
// tool of the manifest names an export, whose input is the arguments. Every call begins with the state after the start, so
// that variables end with the call. A request that is denied ends the call, as on Extism's own hosts.
//
// # A module is a component
//
// Components are refused, with the ways to rebuild them.
package plugins
