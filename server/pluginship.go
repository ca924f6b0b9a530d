package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"chorale/plugins"
	"chorale/plugins/kit"
	"chorale/plugins/oci"
	"chorale/plugins/sigstore"
	"chorale/toolhost/egress"
)

func newPluginAttach(std stdio) *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "put the manifest into the module, so that the plugin is one file", ArgsUsage: "FILE", ArgValidator: words(1, 1, "FILE"),
		Description: "A script (FILE.py, FILE.js) is put into the module FILE.wasm with its manifest, for signing and shipping.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "manifest", Usage: "the manifest in `FILE`", DefaultText: "FILE.json beside the module or script, or the one inside", TakesFile: true},
			&cli.StringFlag{Name: "out", Usage: "write to `FILE`", DefaultText: "the module's own file", TakesFile: true},
		},
		Action: func(_ context.Context, c *cli.Command) error {
			file := c.Args().First()
			from, to := c.String("manifest"), c.String("out")
			stem, _ := plugins.Stem(file)
			if to == "" {
				to = stem + ".wasm"
			}
			s, err := plugins.ReadSource(file)
			if err != nil {
				return err
			}
			if from != "" || s.Manifest == nil {
				if s.Manifest, err = os.ReadFile(cmp.Or(from, stem+".json")); err != nil {
					return err
				}
			}
			whole, err := plugins.Attach(s.Wasm, s.Manifest)
			if err != nil {
				return fmt.Errorf("%s: %w", cmp.Or(from, file), err)
			}
			if err := os.WriteFile(to, whole, 0o644); err != nil {
				return err
			}
			s, err = plugins.NewSource("plugin", whole, nil)
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
		Description: `With --key, FILE.wasm.minisig must be right; with --sigstore-root, the bundle FILE.wasm.sigstore.json.`,
		Flags:       append(sigstoreFlags(), &cli.StringFlag{Name: "key", Usage: "public `KEY` of the author: a file, or its last line", TakesFile: true}),
		Action: func(_ context.Context, c *cli.Command) error {
			file, k := c.Args().First(), c.String("key")
			signer, err := signerOf(c)
			if err != nil {
				return err
			}
			if k == "" && signer == nil {
				return errors.New("name who must have signed: --key, or --sigstore-root with --sigstore-issuer and --sigstore-subject")
			}
			if k != "" {
				key, err := publicKey(k)
				if err != nil {
					return err
				}
				about, err := kit.VerifyFile(file, key)
				if err != nil {
					return err
				}
				fmt.Fprintf(std.out, "the signature is right: %s\n", about)
			}
			if signer != nil {
				about, err := kit.VerifyBundle(file, *signer)
				if err != nil {
					return err
				}
				fmt.Fprintf(std.out, "the signature is right: %s\n", about)
			}
			return nil
		},
	}
}

// sigstoreFlags say who must have signed, in the sense of sigstore.
func sigstoreFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "sigstore-root", Usage: "it must have a signature of sigstore that the trusted root in `FILE` vouches for", TakesFile: true},
		&cli.StringFlag{Name: "sigstore-issuer", Usage: "`URL` of who vouches for the subject"},
		&cli.StringFlag{Name: "sigstore-subject", Usage: "`WHO` signed: an address, or the URL of a workflow; * stands for anything but a slash"},
	}
}

// signerOf reads those flags; nil without any.
func signerOf(c *cli.Command) (*kit.Signer, error) {
	root, who := c.String("sigstore-root"), sigstore.Identity{Issuer: c.String("sigstore-issuer"), Subject: c.String("sigstore-subject")}
	if root == "" && who == (sigstore.Identity{}) {
		return nil, nil
	}
	if root == "" || who.Issuer == "" || who.Subject == "" {
		return nil, errors.New("--sigstore-root, --sigstore-issuer and --sigstore-subject are needed together: anybody can sign")
	}
	text, err := os.ReadFile(root)
	if err != nil {
		return nil, err
	}
	parsed, err := sigstore.ParseRoot(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", root, err)
	}
	return &kit.Signer{Root: parsed, Identity: who}, nil
}

// registryFlags are those of commands that reach registries and other servers.
func registryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "allow", Usage: "let it reach what is not public https too: a `RULE` such as 'https://registry.example at 10.0.0.0/8' or 'http://127.0.0.1:5000'; again for more"},
		&cli.StringFlag{Name: "registry-user", Usage: "`NAME` for the registry", DefaultText: "that of docker's configuration"},
		&cli.StringFlag{Name: "registry-password-file", Usage: "the password for the registry is in `FILE`", TakesFile: true},
	}
}

// dockerConfig is the file with the accounts of docker login, which need not exist; "" if nobody knows where.
func dockerConfig() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, "config.json")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker", "config.json")
}

// registryOf reads those flags. The client is to be closed.
func registryOf(c *cli.Command) (o oci.Options, err error) {
	o.User = c.String("registry-user")
	if name := c.String("registry-password-file"); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return o, err
		}
		o.Password = strings.TrimRight(string(text), "\r\n")
	}
	if (o.User == "") != (o.Password == "") {
		return o, errors.New("--registry-user and --registry-password-file are needed together")
	}
	o.DockerConfig = dockerConfig()
	var rules []egress.Rule
	for _, line := range c.StringSlice("allow") {
		rule, err := egress.ParseRule(line)
		if err != nil {
			return o, fmt.Errorf("--allow %q: %w", line, err)
		}
		rules = append(rules, rule)
	}
	o.Client, err = kit.NewClient(rules...)
	return o, err
}

func pluginDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", Value: defaultPluginDir, Usage: "`FOLDER` of the plugins", TakesFile: true}
}

func newPluginInstall(std stdio) *cli.Command {
	return &cli.Command{
		Name: "install", DisableSliceFlagSeparator: true, Usage: "put a plugin into the folder of a server", ArgsUsage: "FILE.wasm|FOLDER|URL|oci://…",
		ArgValidator: words(1, 1, "FILE.wasm, a folder with one, an https URL or an oci:// reference"),
		Description: `Content and signature are checked before anything is written, and the very bytes that were checked are written. A running
server finds the plugin at once. It is granted nothing by that.

   chorale plugin install ./units.wasm
   chorale plugin install https://example.com/units.wasm --sha256 4f0c… --key RWQ…
   chorale plugin install oci://ghcr.io/owner/units:1.0.0 --sigstore-root trusted_root.json \
       --sigstore-issuer https://token.actions.githubusercontent.com \
       --sigstore-subject 'https://github.com/owner/units/.github/workflows/release.yml@refs/tags/*'

A signature of sigstore is the bundle URL.sigstore.json or FILE.wasm.sigstore.json (cosign sign-blob), or refers to the image in the
registry (cosign sign).`,
		Flags: append(slices.Concat(registryFlags(), sigstoreFlags()),
			pluginDirFlag(),
			&cli.StringFlag{Name: "sha256", Usage: "`HASH` that the file must have; needed for a URL"},
			&cli.StringFlag{Name: "key", Usage: "the file must be signed with this public `KEY`: a file, or its last line", TakesFile: true},
		),
		Action: func(ctx context.Context, c *cli.Command) (err error) {
			o := kit.InstallOptions{Folder: c.String("dir"), From: c.Args().First(), SHA256: c.String("sha256")}
			if k := c.String("key"); k != "" {
				key, err := publicKey(k)
				if err != nil {
					return err
				}
				o.Key = &key
			}
			if o.Signer, err = signerOf(c); err != nil {
				return err
			}
			if o.Registry, err = registryOf(c); err != nil {
				return err
			}
			defer o.Registry.Client.Close()
			in, err := kit.Install(ctx, o)
			if err != nil {
				return err
			}
			about := "lists its tools itself"
			if in.Manifest != nil {
				about = in.Manifest.Name + " " + in.Manifest.Version
			}
			fmt.Fprintf(std.out, "%s: %s, sha256 %s\n", in.File, about, in.Hash)
			if strings.HasPrefix(in.Origin, oci.Scheme) {
				fmt.Fprintf(std.out, "from %s\n", in.Origin)
			}
			for _, s := range in.Signed {
				fmt.Fprintf(std.out, "signed: %s\n", s)
			}
			if in.Replaced != "" && in.Replaced != in.Hash {
				fmt.Fprintf(std.out, "it replaces sha256 %s, whose grants do not hold for it\n", in.Replaced)
			}
			return nil
		},
	}
}

func newPluginPush(std stdio) *cli.Command {
	return &cli.Command{
		Name: "push", DisableSliceFlagSeparator: true, Usage: "put a plugin into a registry", ArgsUsage: "FILE.wasm oci://…", ArgValidator: words(2, 2, "FILE.wasm and an oci:// reference"),
		Description: `The manifest is put into the module; FILE.wasm.minisig goes along, if it is there. The same plugin always has the same digest.

   chorale plugin push units.wasm oci://ghcr.io/owner/units:1.0.0
   cosign sign ghcr.io/owner/units@sha256:…                        sign what it prints, if you use sigstore`,
		Flags: registryFlags(),
		Action: func(ctx context.Context, c *cli.Command) error {
			o, err := registryOf(c)
			if err != nil {
				return err
			}
			defer o.Client.Close()
			ref, err := kit.Push(ctx, c.Args().First(), c.Args().Get(1), o)
			if err != nil {
				return err
			}
			fmt.Fprintln(std.out, ref)
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
