package kit

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"chorale/plugins"
)

// templates holds a folder for each language, and common, which every new plugin gets. Files that end in .tmpl are renamed
// and filled in; the others are used by the example plugins too.
//
//go:embed templates
var templates embed.FS

// Languages are the names by which New knows the languages, sorted.
func Languages() []string { return []string{"as", "c", "go", "js", "py", "rust"} }

// scriptComment is how lines of comments begin in a language whose plugins are one file, which needs no building; "" for others.
func scriptComment(language string) string {
	return map[string]string{"js": "//", "py": "#"}[language]
}

// New writes a plugin that greets people into the folder, which must not exist or be empty, and returns the names of its
// files. It can be built with build.sh, tested, and then turned into something better. A script is one file, with its manifest
// inside, and needs no building; the folder may hold other files.
func New(folder, name, language string) ([]string, error) {
	if !slices.Contains(Languages(), language) {
		return nil, fmt.Errorf("language is %q; it must be one of %s", language, strings.Join(Languages(), ", "))
	}
	more := ""
	if language == "go" { // it takes milliseconds to start
		more = "\n  \"instance\": \"reset\","
	}
	fill := strings.NewReplacer("{{name}}", name, "{{more}}", more)
	manifest, err := templates.ReadFile("templates/common/tool.json.tmpl")
	if err != nil {
		return nil, err
	}
	if _, err := plugins.DecodeManifest([]byte(fill.Replace(string(manifest)))); err != nil {
		return nil, err
	}
	if comment := scriptComment(language); comment != "" {
		return newScript(folder, name, language, comment, fill.Replace(string(manifest)))
	}
	if entries, err := os.ReadDir(folder); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", folder)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	var written []string
	for _, from := range []string{"common", language} {
		list, err := templates.ReadDir("templates/" + from)
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			as, err := write(folder, "templates/"+from+"/"+f.Name(), name, fill)
			if err != nil {
				return nil, err
			}
			written = append(written, as)
		}
	}
	slices.Sort(written)
	return written, nil
}

// newScript writes the one file of a script.
func newScript(folder, name, language, comment, manifest string) ([]string, error) {
	text, err := templates.ReadFile("templates/" + language + "/tool." + language + ".tmpl")
	if err != nil {
		return nil, err
	}
	var block strings.Builder
	fmt.Fprintf(&block, "%s /// chorale\n", comment)
	for line := range strings.Lines(manifest) {
		block.WriteString(comment + " " + line)
	}
	fmt.Fprintf(&block, "%s ///\n", comment)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	file := name + "." + language
	f, err := os.OpenFile(filepath.Join(folder, file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(strings.NewReplacer("{{manifest}}", block.String(), "{{name}}", name).Replace(string(text)))
	return []string{file}, errors.Join(err, f.Close())
}

// write writes one file of a template and returns its name.
func write(folder, template, name string, fill *strings.Replacer) (string, error) {
	content, err := templates.ReadFile(template)
	if err != nil {
		return "", err
	}
	as, filled := strings.CutSuffix(filepath.Base(template), ".tmpl")
	if filled {
		content = []byte(fill.Replace(string(content)))
	}
	if as == "tool.json" {
		as = name + ".json"
	}
	mode := fs.FileMode(0o644)
	if strings.HasSuffix(as, ".sh") {
		mode = 0o755
	}
	return as, os.WriteFile(filepath.Join(folder, as), content, mode)
}
