package kit

import (
	"fmt"
	"path/filepath"

	"chorale/plugins"
)

// Trust returns a grant of all requests and room for values that the plugin asks for, and of the directories, by where the
// plugin sees them. It is for authors, who know what they ask for, and for tests.
func Trust(p *plugins.Plugin, directories map[string]string) (*plugins.Grant, error) {
	g := &plugins.Grant{SHA256: p.Hash(), FS: map[string]string{}}
	asked := p.Manifest().Permissions
	for _, a := range p.Effective().Permissions {
		if a.Kind == "net" {
			g.Net = append(g.Net, a.Asked) // the form of a rule
		}
	}
	if asked.KV != nil {
		g.KVBytes = asked.KV.Bytes
	}
	known := map[string]bool{}
	for _, f := range asked.FS {
		known[f.Path] = true
	}
	for at, directory := range directories {
		if !known[at] {
			return nil, fmt.Errorf("the manifest asks for no directory %s (permissions.fs)", at)
		}
		absolute, err := filepath.Abs(directory)
		if err != nil {
			return nil, err
		}
		g.FS[at] = absolute
	}
	return g, nil
}
