package browser

import (
	"fmt"
	"net/url"
	"strings"

	"chorale/toolhost/browser/page"
)

// Of a page of matches.
const (
	maxMatches = 50
	matchLines = 4 // that are shown of each
)

func (in *instance) find(a arguments, s *structured) (string, error) {
	pattern := a.text("pattern")
	s.Action.Pattern = pattern
	cursor, err := a.integer("cursor", -1)
	if err != nil {
		return "", err
	}
	p, err := in.at(cursor)
	if err != nil {
		return "", err
	}
	s.Action.URL = p.cite
	if strings.TrimSpace(pattern) == "" {
		return "", usageError("`pattern` is missing: say what to look for.")
	}
	if p.kind != pageKind {
		return "", usageError("Cannot run `find` on a search results page or find results page. Open a page first, or give its `cursor`.")
	}
	return in.show(matches(p, strings.ToLower(pattern)), 0, -1, s)
}

// matches makes a page of the places where a page has a pattern, which is in lower case.
func matches(p *shown, pattern string) *shown {
	lines := strings.Split(page.StripLinks(strings.Join(p.wrapped(), "\n")), "\n")
	found := &shown{
		kind:  findKind,
		url:   p.url + "/find?pattern=" + strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(pattern)),
		cite:  p.cite,
		title: fmt.Sprintf("Find results for text: `%s` in `%s`", pattern, p.title),
	}
	var chunks []string
	for i := 0; i < len(lines) && len(chunks) < maxMatches; {
		if !strings.Contains(strings.ToLower(lines[i]), pattern) {
			i++
			continue
		}
		snippet := strings.Join(lines[i:min(i+matchLines, len(lines))], "\n")
		chunks = append(chunks, fmt.Sprintf("# 【%d†match at L%d】\n%s", len(chunks), i, snippet))
		found.links = append(found.links, p.url)
		found.targets = append(found.targets, target{line: i, page: p})
		i += matchLines
	}
	if found.text = strings.Join(chunks, "\n\n"); len(chunks) == 0 {
		found.text = fmt.Sprintf("No `find` results for pattern: `%s`", pattern)
	}
	return found
}
