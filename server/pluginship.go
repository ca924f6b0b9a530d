package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"chorale/plugins"
	"chorale/plugins/kit"
)

func newPluginAttach(std stdio) *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "put the manifest into the module, so that the plugin is one file", ArgsUsage: "FILE.wasm", ArgValidator: words(1, 1, "FILE.wasm"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "manifest", Usage: "the manifest in `FILE`", DefaultText: "FILE.json beside the module", TakesFile: true},
			&cli.StringFlag{Name: "out", Usage: "write to `FILE`", DefaultText: "the module's own file", TakesFile: true},
		},
		Action: func(_ context.Context, c *cli.Command) error {
			file := c.Args().First()
			from, to := c.String("manifest"), c.String("out")
			if from == "" {
				from = strings.TrimSuffix(file, ".wasm") + ".json"
			}
			if to == "" {
				to = file
			}
			wasm, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			manifest, err := os.ReadFile(from)
			if err != nil {
				return err
			}
			if _, err := plugins.DecodeManifest(manifest); err != nil {
				return fmt.Errorf("%s: %w", from, err)
			}
			whole, err := plugins.Attach(wasm, manifest)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if err := os.WriteFile(to, whole, 0o644); err != nil {
				return err
			}
			s, err := plugins.NewSource("plugin", whole, nil)
			if err != nil {
				return err
			}
			fmt.Fprintf(std.out, "%s: sha256 %s\n", to, s.Hash())
			return nil
		},
	}
}

func newPluginSign(std stdio) *cli.Command {
	return &cli.Command{
		Name: "sign", Usage: "sign a plugin", ArgsUsage: "FILE.wasm", ArgValidator: words(0, 1, "FILE.wasm"),
		Description: `Writes FILE.wasm.minisig, which 'chorale plugin verify' and minisign verify. The manifest must be in the module (attach).

   chorale plugin sign --key my.key --new-key     make my.key, keep it secret, and my.key.pub, give it to everybody
   chorale plugin sign --key my.key hello.wasm`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "key", Usage: "secret key in `FILE`", Required: true, TakesFile: true},
			&cli.BoolFlag{Name: "new-key", Usage: "make the key first"},
		},
		Action: func(_ context.Context, c *cli.Command) error {
			name := c.String("key")
			if c.Bool("new-key") {
				if err := writeKey(name); err != nil {
					return err
				}
				fmt.Fprintf(std.out, "%s: the secret key\n%s.pub: the public key\n", name, name)
			}
			file := c.Args().First()
			if file == "" {
				if c.Bool("new-key") {
					return nil
				}
				return fmt.Errorf("%s takes FILE.wasm", c.FullName())
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			key, err := kit.ParseSecretKey(text)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			signature, err := kit.SignFile(file, key)
			if err != nil {
				return err
			}
			fmt.Fprintln(std.out, signature)
			return nil
		},
	}
}

// writeKey makes a new key. It never writes over one: nobody could sign for it again.
func writeKey(name string) error {
	key, err := kit.GenerateKey()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(key.File())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.WriteFile(name+".pub", key.Public().File(), 0o644)
}

// publicKey reads a public key: a file, or the line itself.
func publicKey(s string) (kit.PublicKey, error) {
	if key, err := kit.ParsePublicKey([]byte(s)); err == nil {
		return key, nil
	}
	text, err := os.ReadFile(s)
	if err != nil {
		return kit.PublicKey{}, fmt.Errorf("--key: %w; it must be a file or the line of a public key", err)
	}
	key, err := kit.ParsePublicKey(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", s, err)
	}
	return key, err
}

func newPluginVerify(std stdio) *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "verify the signature of a plugin", ArgsUsage: "FILE.wasm", ArgValidator: words(1, 1, "FILE.wasm"),
		Flags: []cli.Flag{&cli.StringFlag{Name: "key", Usage: "public `KEY` of the author: a file, or its last line", Required: true, TakesFile: true}},
		Action: func(_ context.Context, c *cli.Command) error {
			key, err := publicKey(c.String("key"))
			if err != nil {
				return err
			}
			about, err := kit.VerifyFile(c.Args().First(), key)
			if err != nil {
				return err
			}
			fmt.Fprintf(std.out, "the signature is right: %s\n", about)
			return nil
		},
	}
}

func pluginDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", Value: defaultPluginDir, Usage: "`FOLDER` of the plugins", TakesFile: true}
}

func newPluginInstall(std stdio) *cli.Command {
	return &cli.Command{
		Name: "install", Usage: "put a plugin into the folder of a server", ArgsUsage: "FILE.wasm|URL", ArgValidator: words(1, 1, "FILE.wasm or an https URL"),
		Description: `Content and signature are checked before anything is written, and the very bytes that were checked are written. A running
server finds the plugin at once. It is granted nothing by that.

   chorale plugin install ./units.wasm
   chorale plugin install https://example.com/units.wasm --sha256 4f0c… --key RWQ…`,
		Flags: []cli.Flag{
			pluginDirFlag(),
			&cli.StringFlag{Name: "sha256", Usage: "`HASH` that the file must have; needed for a URL"},
			&cli.StringFlag{Name: "key", Usage: "the file must be signed with this public `KEY`: a file, or its last line", TakesFile: true},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			o := kit.InstallOptions{Folder: c.String("dir"), From: c.Args().First(), SHA256: c.String("sha256")}
			if k := c.String("key"); k != "" {
				key, err := publicKey(k)
				if err != nil {
					return err
				}
				o.Key = &key
			}
			in, err := kit.Install(ctx, o)
			if err != nil {
				return err
			}
			fmt.Fprintf(std.out, "%s: %s %s, sha256 %s\n", in.File, in.Manifest.Name, in.Manifest.Version, in.Hash)
			if in.Signed != "" {
				fmt.Fprintf(std.out, "signed: %s\n", in.Signed)
			}
			if in.Replaced != "" && in.Replaced != in.Hash {
				fmt.Fprintf(std.out, "it replaces sha256 %s, whose grants do not hold for it\n", in.Replaced)
			}
			return nil
		},
	}
}

func newPluginList(std stdio) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the plugins in the folder of a server", ArgValidator: words(0, 0, "no words"),
		Flags: []cli.Flag{pluginDirFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			all, err := kit.List(c.String("dir"))
			if err != nil {
				return err
			}
			for _, e := range all {
				switch {
				case e.Err != nil:
					fmt.Fprintf(std.out, "%s: cannot be loaded: %v\n", e.File, e.Err)
				case e.Manifest == nil:
					fmt.Fprintf(std.out, "%s: %s, lists its tools itself, sha256 %s\n", e.File, e.ABI, e.Hash)
				default:
					var tools []string
					for _, t := range e.Manifest.Tools {
						tools = append(tools, t.Name)
					}
					fmt.Fprintf(std.out, "%s: %s %s, %s, tools %s, sha256 %s\n", e.File, e.Manifest.Name, e.Manifest.Version, e.ABI, strings.Join(tools, ", "), e.Hash)
				}
			}
			return nil
		},
	}
}
