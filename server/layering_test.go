package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// module is the prefix of our own import paths.
const module = "chorale/"

// An edge allows importing a package, and says why.
type edge struct{ to, reason string }

// layering is the whole import graph of the product, lowest layer first. An edge that is not listed here fails the
// test, and so does a listed edge that does not exist. Imports of tests do not count.
var layering = map[string][]edge{
	// 0: knows nothing of ours
	"server/api":           nil,
	"inference/tokenizer":  nil,
	"inference/sample":     nil,
	"inference/checkpoint": nil,
	"kernels/cpu":          nil,
	"sandbox":              nil,
	"toolhost":             nil, // adapters bring the tools, and whoever calls it the words of the model
	"plugins/sigstore":     nil, // certificates and logs; nothing of plugins
	"toolhost/egress":      nil, // plugins, MCP and the browser share it
	"server/terminal":      nil, // a client: it knows the wire and nothing of ours

	"toolhost/browser/page":   nil, // documents in, lines out
	"toolhost/browser/chrome": nil, // who calls it has the proxy and the rules

	// 1
	"plugins": {
		{"sandbox", "runs the modules"},
		{"plugins/host", "services that modules see as files"},
		{"toolhost/egress", "the requests that plugins may make"},
	},
	"plugins/host": {
		{"sandbox", "the files are of its kind"},
		{"toolhost/egress", "makes the requests"},
	},
	"plugins/oci": {{"toolhost/egress", "registries are asked through it"}},
	"plugins/kit": {
		{"plugins/oci", "installs from registries and pushes to them"},
		{"plugins/sigstore", "who signed what is installed"},
		{"toolhost/egress", "installs from URLs"},
		{"plugins", "tests, measures and installs them"},
		{"plugins/host", "tapes stand in for the host's services"},
	},
	"inference/engine": {{"inference/sample", "a step returns sampled tokens"}},
	"inference/gptoss": {{"inference/checkpoint", "weights are views into the files"}},

	// 2
	"inference/harmony": {{"inference/tokenizer", "messages become token ids"}},
	"inference/gptoss/cpu": {
		{"inference/gptoss", "the model it runs"},
		{"inference/checkpoint", "dtypes of the weights"},
		{"inference/engine", "implements Runner"},
		{"inference/sample", "samples where the logits are"},
		{"kernels/cpu", "the arithmetic"},
	},
	"inference/demo": {
		{"inference/checkpoint", "the embedded model is an ordinary checkpoint"},
		{"inference/tokenizer", "its table is the head of o200k_harmony"},
	},
	"server/store":   {{"server/api", "what it stores"}},
	"sandbox/python": {{"sandbox", "the interpreter is a guest"}},
	"toolhost/browser/search": {
		{"toolhost", "plugins and MCP servers can search"},
		{"toolhost/egress", "engines are asked through it"},
		{"toolhost/browser/page", "text of a folder's documents"},
	},
	"toolhost/browser": {
		{"toolhost", "the tool is one of its"},
		{"toolhost/browser/page", "what it shows"},
		{"toolhost/browser/search", "what is found"},
	},
	"toolhost/browser/fetch": {
		{"toolhost/egress", "the only way out, also for Chromium"},
		{"toolhost/browser/chrome", "pages that need scripts"},
	},
	"sandbox/quickjs": {{"sandbox", "the engine is a guest"}},
	"toolhost/mcp": {
		{"toolhost", "a server is one of its tools"},
		{"toolhost/egress", "the requests to servers"},
	},
	"toolhost/wasm": {
		{"toolhost", "a plugin is one of its tools"},
		{"plugins", "the registry that has it"},
	},
	"toolhost/python": {
		{"toolhost", "the tool is one of its"},
		{"sandbox/python", "the interpreters"},
	},

	// 3
	"server/containers": {
		{"server/api", "containers and files as clients see them"},
		{"server/store", "keeps them"},
	},
	"server/responses": {
		{"server/api", "requests in, events out"},
		{"server/store", "previous responses"},
		{"server/containers", "what code of earlier responses has left"},
		{"toolhost", "runs the tools that the server has"},
		{"toolhost/mcp", "servers that requests bring with them; an interface of our own would repeat its listings and errors"},
		{"inference/engine", "generates"},
		{"inference/sample", "sampling parameters and stop strings"},
		{"inference/harmony", "messages to tokens and back"},
	},

	"server/mcp": {{"toolhost", "what it offers"}},

	// 4
	"server/httpd": {
		{"server/api", "decodes and encodes it"},
		{"server/responses", "runs it"},
		{"server/containers", "keeps files"},
	},
	"server/metrics": {
		{"inference/engine", "snapshot of counters"},
		{"server/responses", "snapshot of counters"},
		{"server/containers", "snapshot of counters"},
		{"toolhost", "snapshot of counters"},
		{"server/httpd", "snapshot of counters"},
		{"server/mcp", "snapshot of counters"},
	},
}

// thirdParty names, for every module that must stay behind one package, where it may be imported.
var thirdParty = map[string][]string{
	"github.com/labstack/echo/v4":              {"server/httpd"},
	"modernc.org/sqlite":                       {"server/store", "toolhost/browser/search"},
	"github.com/prometheus/client_golang":      {"server/metrics"},
	"github.com/urfave/cli/v3":                 {"server"},
	"go.yaml.in/yaml/v4":                       {"server"},
	"github.com/tetratelabs/wazero":            {"sandbox"},
	"github.com/klauspost/compress":            {"sandbox/python", "sandbox/quickjs"},
	"github.com/santhosh-tekuri/jsonschema/v6": {"plugins", "toolhost/mcp"},
	"golang.org/x/net":                         {"toolhost/egress", "toolhost/browser/fetch", "toolhost/browser/page"},
	"oras.land/oras-go/v2":                     {"plugins/oci"},
	"github.com/opencontainers/image-spec":     {"plugins/oci"},
	"github.com/opencontainers/go-digest":      {"plugins/oci"},
	"github.com/google/go-containerregistry":   nil, // a registry for tests
	"github.com/chromedp/chromedp":             {"toolhost/browser/chrome"},
	"github.com/chromedp/cdproto":              {"toolhost/browser/chrome"},
	"github.com/mark3labs/mcp-go":              {"toolhost/mcp", "server/mcp"},
}

// tools are commands and test support, which may import anything below the server; main may import everything.
// An entry that ends in a slash stands for the packages below it.
var tools = []string{
	"server", "inference/tokenizer/", "inference/demo/", "inference/gptoss/gptosstest", "inference/gptoss/gptosstest/",
	"inference/engine/enginetest", "inference/checkpoint/checkpointtest", "sandbox/python/build/instrument",
	"plugins/examples", "plugins/examples/", "toolhost/mcp/conformance", "plugins/sigstore/sigstoretest",
}

func isTool(path string) bool {
	return slices.ContainsFunc(tools, func(t string) bool {
		return path == t || strings.HasSuffix(t, "/") && strings.HasPrefix(path, t)
	})
}

func TestLayering(t *testing.T) {
	used := map[[2]string]bool{}
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		if strings.Contains(path, "internal") || strings.HasPrefix(path, "pkg/") {
			t.Errorf("package %s: there is no internal/ and no pkg/ here", path)
		}
		allowed, listed := layering[path]
		if !listed && !isTool(path) {
			t.Errorf("package %s is not in the layering table", path)
		}
		for _, imp := range p.Imports {
			checkThirdParty(t, path, imp)
			to, ours := strings.CutPrefix(imp, module)
			if !ours || path == "server" || isTool(path) && !strings.HasPrefix(to, "server") {
				continue
			}
			if !slices.ContainsFunc(allowed, func(e edge) bool { return e.to == to }) {
				t.Errorf("%s imports %s: not in the layering table", path, to)
			}
			used[[2]string{path, to}] = true
		}
	}
	for from, edges := range layering {
		for _, e := range edges {
			if !used[[2]string{from, e.to}] {
				t.Errorf("%s → %s (%s) is listed and does not exist", from, e.to, e.reason)
			}
		}
	}
}

func checkThirdParty(t *testing.T, path, imp string) {
	t.Helper()
	for mod, where := range thirdParty {
		if (imp == mod || strings.HasPrefix(imp, mod+"/")) && !slices.Contains(where, path) {
			t.Errorf("%s imports %s, which only %s may", path, imp, strings.Join(where, ", "))
		}
	}
}

type listedPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listedPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}
