package page

import (
	"regexp"
	"strings"
)

var (
	cutStart = regexp.MustCompile(`^[^【】]*】`)                           // read only
	cutEnd   = regexp.MustCompile(`【[0-9]*(?:†([^†】]*)(?:†[^†】]*)?)?$`) // read only
	marker   = regexp.MustCompile(`【[0-9]+†([^†】]+)(?:†[^†】]+)?】`)      // read only
)

// StripLinks returns a text with its link markers replaced by what they say. A marker that was cut off at the beginning of the
// text is dropped, one that was cut off at its end leaves what is there of its text.
func StripLinks(text string) string {
	if !strings.ContainsAny(text, "【】") {
		return text
	}
	text = cutStart.ReplaceAllString(text, "")
	if i := strings.LastIndex(text, "【"); i >= 0 { // so that the search for the end is not one of the whole text
		text = text[:i] + cutEnd.ReplaceAllString(text[i:], "$1")
	}
	return marker.ReplaceAllString(text, "$1")
}
