package tokenizer_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"
)

// TestManifest rebuilds the published text file from the embedded table and compares its hash with the manifest's, so the
// table is the published one whoever packed it.
func TestManifest(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("o200k_base.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Source       string `json:"source"`
		SourceSHA256 string `json:"source_sha256"`
		Packed       string `json:"packed"`
		PackedSHA256 string `json:"packed_sha256"`
		Ranks        int    `json:"ranks"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(manifest.Packed)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(packed); hex.EncodeToString(sum[:]) != manifest.PackedSHA256 {
		t.Errorf("sha256 of %s is %x, want %s", manifest.Packed, sum, manifest.PackedSHA256)
	}
	tok := harmony(t)
	source := sha256.New()
	var line []byte
	for id := range int32(manifest.Ranks) {
		line = base64.StdEncoding.AppendEncode(line[:0], tok.AppendToken(nil, id))
		line = append(line, ' ')
		line = append(strconv.AppendInt(line, int64(id), 10), '\n')
		source.Write(line)
	}
	if got := hex.EncodeToString(source.Sum(nil)); got != manifest.SourceSHA256 {
		t.Errorf("sha256 of the table as %s is %s, want %s", manifest.Source, got, manifest.SourceSHA256)
	}
}
