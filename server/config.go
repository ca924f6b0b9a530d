package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v3"
	"go.yaml.in/yaml/v4"
)

// A config is where a setting's value comes from when it is not on the command line: the environment, then the YAML
// file that --config names. Its keys are the names of the flags, and mcp-servers, which has keys of its own. Everything is read once, before a command starts.
type config struct {
	path     string
	known    map[string]bool // flags that may stand in the file
	sections map[string]bool // those that name a file, whose content may stand there instead

	load   sync.Once
	values map[string]any
	err    error
}

func newConfig() *config { return &config{known: map[string]bool{}, sections: map[string]bool{}} }

// flag is --config itself.
func (c *config) flag() cli.Flag {
	return &cli.StringFlag{
		Name: "config", Usage: "YAML `FILE` with settings; its keys are the names of the flags", TakesFile: true,
		Sources: cli.EnvVars("CHORALE_CONFIG"), Destination: &c.path,
	}
}

// sources declares a setting: flag, then environment, then file, then the flag's default.
func (c *config) sources(flag string) cli.ValueSourceChain {
	c.known[flag] = true
	env := "CHORALE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	return cli.NewValueSourceChain(cli.EnvVar(env), fileValue{c, flag})
}

// section declares a setting that is the name of a file. In the configuration, the key may have that file's content as keys of its
// own: then the setting is the name of the configuration itself, and its reader knows where to look.
func (c *config) section(flag string) cli.ValueSourceChain {
	c.sections[flag] = true
	return c.sources(flag)
}

// check reports what is wrong with the file. It runs before every command, because a lookup cannot fail.
func (c *config) check(ctx context.Context, _ *cli.Command) (context.Context, error) {
	c.read()
	return ctx, c.err
}

func (c *config) read() {
	c.load.Do(func() {
		if c.path != "" {
			c.values, c.err = readConfig(c.path, c.known, c.sections)
		}
	})
}

func readConfig(path string, known, sections map[string]bool) (map[string]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key == mcpServersKey {
			continue
		}
		if !known[key] {
			return nil, fmt.Errorf("%s: unknown key %q; the keys are %s", path, key,
				strings.Join(append(slices.Sorted(maps.Keys(known)), mcpServersKey), ", "))
		}
		if _, nested := values[key].(map[string]any); nested && !sections[key] {
			return nil, fmt.Errorf("%s: key %q has keys of its own; it takes one value or a list", path, key)
		}
	}
	return values, nil
}

// A fileValue is one key of the configuration file.
type fileValue struct {
	config *config
	key    string
}

// Lookup returns the value as it would stand on the command line.
func (v fileValue) Lookup() (string, bool) {
	v.config.read()
	switch value := v.config.values[v.key].(type) {
	case nil:
		return "", false
	case map[string]any:
		return v.config.path, true
	case []any:
		parts := make([]string, len(value))
		for i, part := range value {
			parts[i] = fmt.Sprint(part)
		}
		return strings.Join(parts, ","), true
	default:
		return fmt.Sprint(value), true
	}
}

// String names the key in error messages.
func (v fileValue) String() string { return fmt.Sprintf("key %q of %s", v.key, v.config.path) }

// GoString is what the library prints in its own traces.
func (v fileValue) GoString() string { return v.String() }
