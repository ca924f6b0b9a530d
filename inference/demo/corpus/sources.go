package corpus

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"strings"
)

//go:embed *.go *.txt
var sources embed.FS

// SourcesDigest is the sha256 of this package's sources and word lists, without its tests, as name, line break and content in the order
// of names. Equal digests (and equal renderings by package harmony) mean equal corpora, so weights are tied to it.
func SourcesDigest() (string, error) {
	names, err := fs.Glob(sources, "*.*")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := sources.ReadFile(name)
		if err != nil {
			return "", err
		}
		h.Write([]byte(name + "\n"))
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
