package fetch

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"chorale/toolhost/egress"
)

// checkURL reads a URL that a model, a redirect or a page has named.
func checkURL(raw string) (*url.URL, error) {
	raw = strings.TrimSpace(raw)
	scheme, _, ok := strings.Cut(raw, ":")
	lower := strings.ToLower(scheme)
	switch {
	case raw == "":
		return nil, &Error{Kind: BadURL, Message: "the URL is empty"}
	case lower == "view-source":
		return nil, &Error{Kind: BadURL, Message: "view-source: is not part of a URL; ask for the source of the page instead"}
	case !ok || strings.ContainsAny(scheme, "/?#.") && !strings.Contains(raw, "://"):
		return nil, &Error{Kind: BadURL, Message: fmt.Sprintf("%.200q is no URL: it must begin with https:// or http://", raw)}
	case lower != "http" && lower != "https":
		return nil, &Error{Kind: BadURL, Message: fmt.Sprintf("only http and https URLs can be opened, not %.20q", scheme)}
	}
	u, err := egress.ParseURL(raw)
	if err != nil {
		return nil, &Error{Kind: BadURL, Message: err.Error(), Err: err}
	}
	if err := checkPort(u.Port()); err != nil {
		return nil, err
	}
	return u, nil
}

// checkPort refuses the ports of other protocols, which could be made to read a request as their own commands.
func checkPort(port string) error {
	if n, err := strconv.Atoi(port); err == nil && badPorts()[n] {
		return &Error{Kind: Denied, Message: fmt.Sprintf("port %s belongs to a protocol that is not the web's", port)}
	}
	return nil
}

// badPorts are the "bad ports" of the Fetch standard, which browsers refuse as well.
func badPorts() map[int]bool {
	set := map[int]bool{}
	for _, p := range [...]int{
		1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
		111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
		540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
		6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
	} {
		set[p] = true
	}
	return set
}
