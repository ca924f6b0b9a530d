// Package kit helps those who write plugins and those who install them: it begins new plugins, runs the examples of their
// manifests as tests, measures them, signs files, and puts them into a folder of plugins.
//
// It owns the templates of new plugins, what an example's expectation means, golden results, the faults that a plugin is tried
// with, where plugins come from, and the form of signatures by keys. It does not know how plugins are run (package plugins), how
// registries talk (plugins/oci), what a bundle of sigstore proves (plugins/sigstore), nor the command line.
//
// Functions are safe for concurrent use on different files and plugins. Faults changes a plugin's grant meanwhile.
//
// # Signatures
//
// Signatures and keys have the form of minisign (jedisct1.github.io/minisign): one Ed25519 signature of the BLAKE2b hash of
// the file, and one of that together with a comment. So an author may sign with either program, and anybody can verify
// with either. A signature covers one file; therefore only a plugin that carries its manifest inside is signed.
//
// Signatures of sigstore cover a file too, or the image in a registry, whose digests lead to every byte of it.
package kit
