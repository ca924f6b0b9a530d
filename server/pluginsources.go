package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/urfave/cli/v3"

	"chorale/plugins"
	"chorale/plugins/kit"
	"chorale/plugins/oci"
	"chorale/toolhost/egress"
)

// pluginSourcesFlags name plugins in registries that a server is to have.
func pluginSourcesFlags(cfg *config) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "plugin-source", Usage: "have the plugin of the registry's reference `oci://…@sha256:…` in the folder of plugins; again for more", Sources: cfg.sources("plugin-source")},
		&cli.StringSliceFlag{Name: "plugin-allow", Usage: "let sources reach what is not public https too: a `RULE` as of 'plugin install --allow'; again for more", Sources: cfg.sources("plugin-allow")},
	}
}

// pluginSources are plugins in registries, each known by the digest of its image, so that nobody can replace it there.
type pluginSources struct {
	refs   []oci.Reference
	rules  []egress.Rule
	folder string // of the plugins
	record string // file that knows what was installed
}

// newPluginSources reads the flags.
func newPluginSources(c *cli.Command, folder string) (s pluginSources, err error) {
	s = pluginSources{folder: folder, record: filepath.Join(c.String("data-dir"), "plugin-sources.json")}
	for _, text := range c.StringSlice("plugin-source") {
		ref, err := oci.Parse(text)
		if err != nil {
			return s, fmt.Errorf("plugin-source: %w", err)
		}
		if ref.Digest() == "" {
			return s, fmt.Errorf("plugin-source: %s has no digest, and a tag may be moved: 'chorale plugin install' prints the reference with @sha256:…", ref)
		}
		s.refs = append(s.refs, ref)
	}
	for _, line := range c.StringSlice("plugin-allow") {
		rule, err := egress.ParseRule(line)
		if err != nil {
			return s, fmt.Errorf("plugin-allow: %q: %w", line, err)
		}
		s.rules = append(s.rules, rule)
	}
	return s, nil
}

// A sourceRecord is what came of a reference.
type sourceRecord struct {
	File   string `json:"file"` // in the folder
	SHA256 string `json:"sha256"`
}

// open begins to install what is not there yet, beside everything else: a registry that is away keeps no server from starting. The
// function that it returns ends it.
func (s pluginSources) open(ctx context.Context, log *slog.Logger) (closer func() error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var task sync.WaitGroup
	task.Go(func() {
		if err := s.install(ctx, log); err != nil && ctx.Err() == nil {
			log.Warn("plugin sources", "err", err)
		}
	})
	return func() error {
		stop()
		task.Wait()
		return nil
	}
}

// install fetches the plugins one after the other.
func (s pluginSources) install(ctx context.Context, log *slog.Logger) error {
	known := map[string]sourceRecord{}
	text, err := os.ReadFile(s.record)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &known); err != nil {
			log.Warn("plugin sources are fetched anew", "file", s.record, "err", err)
			known = map[string]sourceRecord{}
		}
	}
	client, err := kit.NewClient(s.rules...)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, ref := range s.refs {
		if s.has(known[ref.String()]) {
			continue
		}
		in, err := kit.Install(ctx, kit.InstallOptions{Folder: s.folder, From: ref.String(), Registry: oci.Options{Client: client, DockerConfig: dockerConfig()}})
		if err != nil {
			log.Warn("plugin cannot be installed", "source", ref.String(), "err", err)
			continue
		}
		log.Info("plugin installed", "source", ref.String(), "file", in.File)
		known[ref.String()] = sourceRecord{File: filepath.Base(in.File), SHA256: in.Hash}
		if err := s.save(known); err != nil {
			return err
		}
	}
	return nil
}

// has says whether the file is still what was installed.
func (s pluginSources) has(r sourceRecord) bool {
	if r.File == "" || strings.ContainsAny(r.File, `/\`) {
		return false
	}
	source, err := plugins.ReadSource(filepath.Join(s.folder, r.File))
	return err == nil && source.Hash() == r.SHA256
}

func (s pluginSources) save(known map[string]sourceRecord) error {
	text, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	part := s.record + ".part"
	if err := os.WriteFile(part, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(part, s.record)
}
