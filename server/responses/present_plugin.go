package responses

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"chorale/inference/harmony"
	"chorale/server/api"
	"chorale/toolhost"
)

// pluginKind are the plugins of requests, each a namespace of functions with JSON arguments.
var pluginKind = hostedKind{tool: "plugin", item: "mcp_call", read: readPlugin, history: pluginHistory, recall: recallPlugin}

// pluginPrefix is in front of namespaces of plugins whose names mean something else to the model.
const pluginPrefix = "plugin_"

// pluginNamespace is the model's name of a plugin, another one for every name. It differs where models are trained to read
// something else: the client's functions, the built-in tools, and what is no recipient at all.
func pluginNamespace(name string) string {
	switch name {
	case "functions", "python", "browser", "container", "assistant", "user", "system", "developer", "tool", "all", "nothing":
		return pluginPrefix + name
	}
	if strings.HasPrefix(name, pluginPrefix) { // so that nothing else becomes what the names above become
		return pluginPrefix + name
	}
	return name
}

func readPlugin(s *Service, p *plan, t api.Tool, param string) (*hosted, *api.Error) {
	asked := t.(*api.PluginTool)
	spec, ok := p.tools.Spec(asked.Name)
	if !ok || !isPlugin(&spec) {
		return nil, api.BadRequest("invalid_value", param+".name", "Invalid '%s.name': there is no plugin '%s'. %s", param, asked.Name,
			theyAre("plugins", pluginsOf(p.tools)))
	}
	if slices.ContainsFunc(p.hosted, func(h *hosted) bool { return h.tool == asked.Name }) {
		return nil, api.BadRequest("invalid_value", param+".name", "Invalid '%s.name': the plugin '%s' is there twice.", param, asked.Name)
	}
	pl := &plugin{s: s, name: asked.Name, space: pluginNamespace(asked.Name)}
	var all []string
	for _, f := range spec.Functions {
		all = append(all, f.Name)
	}
	for i, name := range asked.AllowedTools {
		if !slices.Contains(all, name) {
			at := fmt.Sprintf("%s.allowed_tools[%d]", param, i)
			return nil, api.BadRequest("invalid_value", at, "Invalid '%s': the plugin '%s' has no tool '%s'. %s", at, asked.Name, name, theyAre("tools", all))
		}
	}
	namespace := harmony.Namespace{Name: pl.space, Description: spec.Description}
	h := &hosted{tool: asked.Name, label: asked.Name, declared: inDeveloper, accepts: pl.accepts, empty: "{}", item: pl.item, input: mcpArguments,
		ended: pluginEnded, finished: finishedCall(p.includes(filesIncluded))}
	for _, f := range spec.Functions {
		if asked.AllowedTools != nil && !slices.Contains(asked.AllowedTools, f.Name) {
			continue
		}
		function := harmony.Function{Name: f.Name, Description: f.Description}
		if f.Parameters != nil {
			var err error
			if function.Parameters, err = harmony.NormalizeSchema(f.Parameters); err != nil {
				return nil, api.BadRequest("invalid_function_parameters", param,
					"The tool '%s' of the plugin '%s' has a schema that models cannot be shown: %v. Its author or 'allowed_tools' can help.", f.Name, asked.Name, err)
			}
		}
		pl.functions = append(pl.functions, f.Name)
		namespace.Tools = append(namespace.Tools, function)
		h.calls = append(h.calls, harmony.Call{
			Recipient:    pl.space + "." + f.Name,
			Channels:     []string{harmony.ChannelCommentary},
			ContentTypes: []string{jsonArguments, "json", "code", ""},
		})
	}
	h.namespace = namespace
	return h, nil
}

// isPlugin reports whether a tool is a plugin, and not one that the models were trained with.
func isPlugin(spec *toolhost.Spec) bool {
	return len(spec.Functions) > 0 && spec.Name != pythonTool && spec.Name != browserTool
}

// pluginsOf are the names of the plugins in the set.
func pluginsOf(set *toolhost.Set) (names []string) {
	for _, spec := range set.Specs() {
		if isPlugin(&spec) {
			names = append(names, spec.Name)
		}
	}
	return names
}

// functionName is the model's name of a tool, of what functions may be called.
func functionName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), 64)]
}

// theyAre tells a client what there is.
func theyAre(things string, names []string) string {
	if len(names) == 0 {
		return "This server has no " + things + "."
	}
	return "The " + things + " are: '" + strings.Join(names, "', '") + "'."
}

// A plugin is one of a response.
type plugin struct {
	s         *Service
	name      string
	space     string   // the namespace
	functions []string // that the model sees
}

// accepts reads the recipients of the plugin's tools, also with the prefix of the client's functions.
func (pl *plugin) accepts(recipient string) (function string, ok bool) {
	function, ok = strings.CutPrefix(strings.TrimPrefix(recipient, functionsPrefix), pl.space+".")
	return function, ok && slices.Contains(pl.functions, function)
}

func (pl *plugin) item(_ context.Context, function string) api.Item {
	return &api.MCPCall{ID: pl.s.newID("mcp"), Status: api.InProgress, ServerLabel: pl.name, Name: function}
}

// mcpArguments is how the arguments reach the client.
var mcpArguments = stream{
	added: func(p place) api.Event {
		return &api.ToolEvent{Head: p.head(api.EventMCPInProgress), Place: p.Place}
	},
	delta: func(p place, text string, _ []api.Logprob) api.Event {
		return &api.MCPArgumentsDelta{Head: p.head(api.EventMCPArgsDelta), Place: p.Place, Delta: text}
	},
	done: func(p place, text string, _ []api.Logprob) []api.Event {
		return []api.Event{&api.MCPArgumentsDone{Head: p.head(api.EventMCPArgsDone), Place: p.Place, Arguments: text}}
	},
}

func pluginEnded(o *toolhost.Outcome) (event string) {
	if o.Failed || o.Err != nil {
		return api.EventMCPFailed
	}
	return api.EventMCPCompleted
}

// filesIncluded asks for the contents of files that calls have made.
const filesIncluded = "mcp_call.files"

// finishedCall makes the call with what the model has read, which is there when it failed too, and beside it what the tool
// gave to programs.
func finishedCall(withFiles bool) func(added api.Item, input string, o *toolhost.Outcome) api.Item {
	return func(added api.Item, input string, o *toolhost.Outcome) api.Item {
		done := endedCall(added, input, o)
		if o == nil {
			return done
		}
		done.Structured = o.Structured
		for _, f := range o.Files {
			file := api.MCPFile{Path: f.Path, MIME: f.MIME, Bytes: int64(len(f.Data))}
			if withFiles {
				file.URL = dataURL(f)
			}
			done.Files = append(done.Files, file)
		}
		return done
	}
}

// dataURL is the file as a URL that needs no server.
func dataURL(f toolhost.File) string {
	return "data:" + f.MIME + ";base64," + base64.StdEncoding.EncodeToString(f.Data)
}

func endedCall(added api.Item, input string, o *toolhost.Outcome) *api.MCPCall {
	done := *added.(*api.MCPCall)
	done.Arguments = input
	if o == nil {
		done.Status = api.Incomplete
		return &done
	}
	done.Status, done.Output = api.Completed, &o.Text
	if o.Failed || o.Err != nil {
		done.Status, done.Error = api.Failed, callError(o)
	}
	return &done
}

func pluginHistory(item api.Item) (call harmony.Message, result string, ok bool) {
	i := item.(*api.MCPCall)
	switch i.Status {
	case api.Incomplete, api.InProgress, "calling": // it has no result
		return harmony.Message{}, "", false
	}
	call = assistant(harmony.ChannelCommentary, i.Arguments)
	call.Recipient, call.ContentType = pluginNamespace(i.ServerLabel)+"."+functionName(i.Name), jsonArguments
	switch {
	case i.Output != nil:
		return call, *i.Output, true
	case i.Error != nil:
		return call, string(i.Error), true
	default:
		return call, "[The output of this call is not here any more.]", true
	}
}

func recallPlugin(sent, stored api.Item, result string) {
	i, same := sent.(*api.MCPCall)
	was, ok := stored.(*api.MCPCall)
	if same && ok && i.Output == nil && i.Error == nil && i.ServerLabel == was.ServerLabel && i.Name == was.Name && i.Arguments == was.Arguments {
		i.Output = &result
	}
}
