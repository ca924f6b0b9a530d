package browser

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"chorale/toolhost/browser/page"
	"chorale/toolhost/browser/search"
)

// arguments are those of a call, as the model wrote them: numbers may be strings or have a fraction of zero, and there may be
// some that nobody knows.
type arguments map[string]json.RawMessage

// parseArguments reads the input of a call. Text alone stands for the argument main.
func parseArguments(input, main string) (arguments, error) {
	input = strings.TrimSpace(input)
	if input == "" || input == "null" {
		return arguments{}, nil
	}
	var a arguments
	if err := json.Unmarshal([]byte(input), &a); err == nil {
		return a, nil
	}
	var text string
	if json.Unmarshal([]byte(input), &text) == nil {
		return arguments{main: json.RawMessage(input)}, nil
	}
	return nil, usageError("The arguments are not a JSON object.")
}

// A usageError is a call that cannot be made as it is. The model reads it.
type usageError string

func (e usageError) Error() string { return string(e) }

// text returns a string argument, "" if there is none. A number is taken as it is written.
func (a arguments) text(name string) string {
	var s string
	raw, ok := a[name]
	if !ok || string(raw) == "null" {
		return ""
	}
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// integer returns a whole number, or def if there is none.
func (a arguments) integer(name string, def int) (int, error) {
	s := strings.TrimSpace(a.text(name))
	if s == "" {
		return def, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1e9 {
		return 0, usageError(fmt.Sprintf("`%s` must be a whole number, not `%s`.", name, shorten(s, 100)))
	}
	return int(f), nil
}

// truth returns a boolean argument, false if there is none.
func (a arguments) truth(name string) bool {
	switch strings.ToLower(strings.TrimSpace(a.text(name))) {
	case "true", "1", "1.0", "yes":
		return true
	}
	return false
}

var linkMarker = regexp.MustCompile(`^【?\s*([0-9]{1,9})(?:\.0+)?\s*(?:†.*)?】?$`) // read only

// link returns the id of open: the number of a link, or an address. -1 and "" is neither.
func (a arguments) link() (id int, address string, err error) {
	s := strings.TrimSpace(a.text("id"))
	if s == "" {
		s = strings.TrimSpace(a.text("url"))
	}
	if s == "" {
		return -1, "", nil
	}
	if m := linkMarker.FindStringSubmatch(s); m != nil {
		id, err = strconv.Atoi(m[1])
		return id, "", err
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if f < 0 {
			return -1, "", nil
		}
		return 0, "", usageError(fmt.Sprintf("`id` must be the whole number of a link or a URL, not `%s`.", shorten(s, 100)))
	}
	return -1, s, nil
}

// settings are what a request says of its searches: the Settings of calls.
type settings struct {
	AllowedDomains []string `json:"allowed_domains"` // with those below them; none: all
	BlockedDomains []string `json:"blocked_domains"`
	City           string   `json:"city"`
	Region         string   `json:"region"`
	Country        string   `json:"country"`
	Timezone       string   `json:"timezone"`
	ContextSize    string   `json:"context_size"` // low, medium, high: how many results there are unless the model says
	Offline        bool     `json:"offline"`      // only what is on this machine
}

func readSettings(raw json.RawMessage) (s settings, err error) {
	if len(raw) > 0 {
		if err = json.Unmarshal(raw, &s); err != nil {
			err = fmt.Errorf("browser settings: %w", err)
		}
	}
	return s, err
}

// query is a search with the settings.
func (s *settings) query(text string, top int) search.Query {
	if top <= 0 {
		top = map[string]int{"low": 5, "high": 20}[s.ContextSize]
	}
	if top == 0 {
		top = 10
	}
	return search.Query{Text: text, Top: top, Allowed: s.AllowedDomains, Blocked: s.BlockedDomains, Offline: s.Offline,
		Location: search.Location{Country: s.Country, Region: s.Region, City: s.City, Timezone: s.Timezone}}
}

// allows says why a page of the web must not be opened.
func (s *settings) allows(address string) error {
	if s.Offline {
		return usageError("The request does not allow to reach the web.")
	}
	q := s.query("", 0)
	if !q.Allows(address) {
		return usageError(fmt.Sprintf("The request does not allow pages of `%s`.", shorten(page.Domain(address), 200)))
	}
	return nil
}
