package egress_test

import (
	"errors"
	"net/url"
	pathpkg "path"
	"slices"
	"strings"
	"testing"

	"chorale/toolhost/egress"
)

func policy(t testing.TB, lines ...string) *egress.Policy {
	t.Helper()
	p, err := egress.ParsePolicy("the test", strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// verdict is "" for what is allowed, "denied" for what no rule allows, and "bad" for what is no request at all.
func verdict(t testing.TB, err error) string {
	t.Helper()
	var denied *egress.DeniedError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &denied):
		return "denied"
	}
	return "bad"
}

func TestRulesMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, rule, method, url, want string }{
		{"host", "https://example.com", "GET", "https://example.com/any?q=1", ""},
		{"host, every method", "https://example.com", "PURGE", "https://example.com", ""},
		{"other scheme", "https://example.com", "GET", "http://example.com", "denied"},
		{"other scheme on the rule's port", "https://example.com", "GET", "http://example.com:443", "denied"},
		{"upper case in both", "HTTPS://EXAMPLE.com", "GET", "hTTps://eXample.COM", ""},
		{"subdomain of an exact host", "https://example.com", "GET", "https://a.example.com", "denied"},
		{"suffix of an exact host", "https://example.com", "GET", "https://notexample.com", "denied"},
		{"prefix of another host", "https://example.com", "GET", "https://example.com.evil.test", "denied"},
		{"below", "https://*.example.com", "GET", "https://a.b.example.com", ""},
		{"below, the name itself", "https://*.example.com", "GET", "https://example.com", "denied"},
		{"below, without the dot", "https://*.example.com", "GET", "https://evilexample.com", "denied"},
		{"every host", "https://*", "GET", "https://example.com", ""},
		{"every host, public address", "https://*", "GET", "https://8.8.8.8", ""},
		{"every host, private address", "https://*", "GET", "https://10.0.0.1", "denied"},
		{"default port written out", "https://example.com", "GET", "https://example.com:443/", ""},
		{"empty port", "https://example.com", "GET", "https://example.com:/", ""},
		{"port with zeros before", "https://example.com", "GET", "https://example.com:00443/", ""},
		{"another port", "https://example.com", "GET", "https://example.com:8443/", "denied"},
		{"a port", "https://example.com:8443", "GET", "https://example.com:8443/", ""},
		{"a port, not the default", "https://example.com:8443", "GET", "https://example.com/", "denied"},
		{"every port", "https://example.com:*", "GET", "https://example.com:1/", ""},
		{"method", "GET,HEAD https://example.com", "HEAD", "https://example.com", ""},
		{"another method", "GET,HEAD https://example.com", "POST", "https://example.com", "denied"},
		{"method in lower case", "https://example.com", "get", "https://example.com", "bad"},
		{"method with a line break", "https://example.com", "GET / HTTP/1.1\r\nX:", "https://example.com", "bad"},
		{"CONNECT", "https://example.com", "CONNECT", "https://example.com", "bad"},
		{"TRACE", "https://example.com", "TRACE", "https://example.com", "bad"},
		{"no method", "https://example.com", "", "https://example.com", "bad"},
		{"dot at the end", "https://example.com", "GET", "https://example.com./", ""},
		{"dot at the end of the rule", "https://example.com.", "GET", "https://example.com/", ""},
		{"name in Punycode", "https://bücher.example", "GET", "https://xn--bcher-kva.example/", ""},
		{"name in Unicode", "https://xn--bcher-kva.example", "GET", "https://BÜCHER.example/", ""},
		{"wide letters and dots", "https://example.com", "GET", "https://ｅxample。com/", ""},
		{"circled letter", "https://example.com", "GET", "https://ⓔxample.com/", ""},
		{"Cyrillic look-alike", "https://example.com", "GET", "https://exаmple.com/", "denied"},
		{"soft hyphen", "https://example.com", "GET", "https://ex\u00adample.com/", ""},

		{"exact path", "https://h.example/a", "GET", "https://h.example/a", ""},
		{"exact path and query", "https://h.example/a", "GET", "https://h.example/a?/../b", ""},
		{"exact path with a slash more", "https://h.example/a", "GET", "https://h.example/a/", "denied"},
		{"path in other case", "https://h.example/a", "GET", "https://h.example/A", "denied"},
		{"no path and pattern of the root", "https://h.example/", "GET", "https://h.example", ""},
		{"encoded letter", "https://h.example/a", "GET", "https://h.example/%61", ""},
		{"star in a segment", "https://h.example/v*/x", "GET", "https://h.example/v12/x", ""},
		{"star takes no slash", "https://h.example/*/x", "GET", "https://h.example/a/b/x", "denied"},
		{"star, nothing to take", "https://h.example/*/x", "GET", "https://h.example//x", "denied"},
		{"two stars in a segment", "https://h.example/*a*b", "GET", "https://h.example/xxaxxb", ""},
		{"two stars, wrong end", "https://h.example/*a*b", "GET", "https://h.example/xxaxxbc", "denied"},
		{"below a folder", "https://h.example/v1/**", "GET", "https://h.example/v1/a/b/", ""},
		{"the folder itself", "https://h.example/v1/**", "GET", "https://h.example/v1", ""},
		{"beside the folder", "https://h.example/v1/**", "GET", "https://h.example/v10", "denied"},
		{"dot segments", "https://h.example/v1/**", "GET", "https://h.example/v1/../admin", "denied"},
		{"dot segments, encoded", "https://h.example/v1/**", "GET", "https://h.example/v1/%2e%2E/admin", "denied"},
		{"dot segments, twice encoded", "https://h.example/v1/**", "GET", "https://h.example/v1/%252e%252e/admin", "denied"},
		{"one dot", "https://h.example/v1/**", "GET", "https://h.example/v1/./admin", "denied"},
		{"encoded slash", "https://h.example/v1/**", "GET", "https://h.example/v1/..%2fadmin", "denied"},
		{"encoded backslash", "https://h.example/v1/**", "GET", "https://h.example/v1/..%5cadmin", "denied"},
		{"dots and parameters", "https://h.example/v1/**", "GET", "https://h.example/v1/..;/admin", "denied"},
		{"empty segments", "https://h.example/v1/**", "GET", "https://h.example/v1//admin", "denied"},
		{"encoded zero", "https://h.example/v1/**", "GET", "https://h.example/v1/a%00", "denied"},
		{"encoded line break", "https://h.example/v1/**", "GET", "https://h.example/v1/a%0d%0a", "denied"},
		{"overlong encoding of a dot", "https://h.example/v1/**", "GET", "https://h.example/v1/%c0%ae%c0%ae/", "denied"},
		{"doubtful path without a pattern", "https://h.example", "GET", "https://h.example/v1/%252e%252e/admin", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if err := policy(t, c.rule).Check(c.method, c.url); verdict(t, err) != c.want {
				t.Errorf("%s %s under %q: %v, want %q", c.method, c.url, c.rule, err, c.want)
			}
		})
	}
}

// tricks are spellings that programs read in different ways.
var tricks = []struct{ name, url, want string }{
	{"loopback", "http://127.0.0.1/", "denied"},
	{"short address", "http://127.1/", "bad"},
	{"short hexadecimal", "http://0x7f.1/", "bad"},
	{"hexadecimal", "http://0x7f000001/", "bad"},
	{"hexadecimal parts", "http://0x7f.0x0.0x0.0x1/", "bad"},
	{"hexadecimal in upper case", "http://0X7F.0.0.0X1/", "bad"},
	{"empty hexadecimal", "http://0x/", "bad"},
	{"decimal", "http://2130706433/", "bad"},
	{"octal", "http://017700000001/", "bad"},
	{"octal part", "http://0177.0.0.1/", "bad"},
	{"zeros before", "http://127.000.000.001/", "bad"},
	{"zero", "http://0/", "bad"},
	{"five parts", "http://127.0.0.0.1/", "bad"},
	{"part out of range", "http://127.0.0.257/", "bad"},
	{"address with a dot at the end", "http://127.0.0.1./", "denied"},
	{"two dots at the end", "http://example.com../", "bad"},
	{"wide digits", "http://１２７.0.0.1/", "denied"},
	{"circled digits", "http://①②⑦.0.0.1/", "denied"},
	{"ideographic dots", "http://127。0。0。1/", "denied"},
	{"only a dot", "http://./", "bad"},
	{"dots before", "http://.example.com/", "bad"},
	{"empty label", "http://a..example.com/", "bad"},
	{"hyphen before", "http://-example.com/", "bad"},
	{"blank in a name", "http://exa mple.com/", "bad"},
	{"long label", "http://" + strings.Repeat("a", 64) + ".com/", "bad"},
	{"long name", "http://" + strings.Repeat("a.", 127) + "com/", "bad"},
	{"long name in Unicode", "http://" + strings.Repeat("ü", 600) + ".com/", "bad"},
	{"bad Punycode", "http://xn--a/", "bad"},
	{"joiner in a name", "http://a\u200db.com/", "bad"},
	{"name with a symbol", "http://℀.com/", "bad"},
	{"unspecified", "http://0.0.0.0/", "denied"},
	{"this network", "http://0.1.2.3/", "denied"},
	{"private 10", "http://10.1.2.3/", "denied"},
	{"private 172.16", "http://172.31.255.255/", "denied"},
	{"beside private 172.16", "http://172.32.0.0/", ""},
	{"private 192.168", "http://192.168.0.1/", "denied"},
	{"shared", "http://100.64.0.1/", "denied"},
	{"beside shared", "http://100.128.0.1/", ""},
	{"link-local", "http://169.254.1.1/", "denied"},
	{"metadata", "http://169.254.169.254/latest/meta-data/", "denied"},
	{"metadata of Alibaba", "http://100.100.100.200/", "denied"},
	{"metadata of Azure's host", "http://168.63.129.16/", "denied"},
	{"metadata of Oracle", "http://192.0.0.192/", "denied"},
	{"metadata over IPv6", "http://[fd00:ec2::254]/", "denied"},
	{"documentation", "http://192.0.2.1/", "denied"},
	{"documentation 2", "http://198.51.100.1/", "denied"},
	{"documentation 3", "http://203.0.113.1/", "denied"},
	{"benchmarks", "http://198.19.0.1/", "denied"},
	{"relay of 6to4", "http://192.88.99.1/", "denied"},
	{"multicast", "http://224.0.0.1/", "denied"},
	{"reserved", "http://240.0.0.1/", "denied"},
	{"broadcast", "http://255.255.255.255/", "denied"},
	{"loopback 6", "http://[::1]/", "denied"},
	{"loopback 6 in full", "http://[0:0:0:0:0:0:0:1]/", "denied"},
	{"unspecified 6", "http://[::]/", "denied"},
	{"mapped", "http://[::ffff:127.0.0.1]/", "bad"},
	{"mapped in hexadecimal", "http://[::ffff:7f00:1]/", "bad"},
	{"mapped public", "http://[::ffff:8.8.8.8]/", "bad"},
	{"compatible", "http://[::127.0.0.1]/", "denied"},
	{"compatible public", "http://[::8.8.8.8]/", "denied"},
	{"translated (SIIT)", "http://[::ffff:0:127.0.0.1]/", "denied"},
	{"NAT64", "http://[64:ff9b::127.0.0.1]/", "denied"},
	{"NAT64 public", "http://[64:ff9b::8.8.8.8]/", "denied"},
	{"NAT64 of a site", "http://[64:ff9b:1::7f00:1]/", "denied"},
	{"6to4", "http://[2002:7f00:1::]/", "denied"},
	{"Teredo", "http://[2001:0:53aa:64c::80ff:fffe]/", "denied"},
	{"ISATAP", "http://[2606:4700::5efe:127.0.0.1]/", "denied"},
	{"ISATAP, global bit", "http://[2606:4700::200:5efe:127.0.0.1]/", "denied"},
	{"unique local", "http://[fd12:3456::1]/", "denied"},
	{"link-local 6", "http://[fe80::1]/", "denied"},
	{"site-local", "http://[fec0::1]/", "denied"},
	{"multicast 6", "http://[ff02::1]/", "denied"},
	{"documentation 6", "http://[2001:db8::1]/", "denied"},
	{"documentation 6, new", "http://[3fff::1]/", "denied"},
	{"discard", "http://[100::1]/", "denied"},
	{"segment routing", "http://[5f00::1]/", "denied"},
	{"unassigned", "http://[4000::1]/", "denied"},
	{"zone", "http://[fe80::1%25eth0]/", "bad"},
	{"zone on a public address", "http://[2606:4700::1%25eth0]/", "bad"},
	{"IPv4 in brackets", "http://[127.0.0.1]/", "bad"},
	{"IPv6 without brackets", "http://::1/", "bad"},
	{"public 6", "http://[2606:4700:4700::1111]/", ""},
	{"user", "http://example.com@127.0.0.1/", "bad"},
	{"user and password", "https://a:b@example.com/", "bad"},
	{"empty user", "https://@example.com/", "bad"},
	{"two users", "https://a@b@example.com/", "bad"},
	{"backslash before the user", "http://example.com\\@127.0.0.1/", "bad"},
	{"backslashes for slashes", "http:\\\\127.0.0.1\\", "bad"},
	{"backslash in the path", "http://example.com/a\\b", "bad"},
	{"hash before the user", "http://example.com#@127.0.0.1/", ""},
	{"question mark before the user", "http://example.com?@127.0.0.1/", ""},
	{"port 0", "http://example.com:0/", "bad"},
	{"port 65536", "http://example.com:65536/", "bad"},
	{"port overflow", "http://example.com:4294967376/", "bad"},
	{"negative port", "http://example.com:-80/", "bad"},
	{"port with a plus", "http://example.com:+80/", "bad"},
	{"port with a letter", "http://example.com:80a/", "bad"},
	{"two ports", "http://example.com:80:80/", "bad"},
	{"port of another protocol", "http://127.0.0.1:6379/", "denied"},
	{"line break", "http://example.com/\r\nX: y", "bad"},
	{"line break in the host", "http://example.com\n/", "bad"},
	{"tab in the host", "http://exam\tple.com/", "bad"},
	{"zero byte", "http://example.com/\x00", "bad"},
	{"blank before", " http://example.com/", "bad"},
	{"bytes that are no UTF-8", "http://example.com/\xff", "bad"},
	{"percent in the host", "http://%31%32%37.0.0.1/", "bad"},
	{"encoded byte in the host", "http://A%80/", "bad"},
	{"encoded letter in the host", "http://b%C3%BCcher.example/", ""},
	{"encoded dot in the host", "http://127%2e0.0.1/", "bad"},
	{"no scheme", "//example.com/", "bad"},
	{"no host", "http:///path", "bad"},
	{"one slash", "http:/example.com/", "bad"},
	{"no slash", "http:example.com", "bad"},
	{"file", "file:///etc/passwd", "bad"},
	{"gopher", "gopher://127.0.0.1:6379/_", "bad"},
	{"data", "data:text/plain,x", "bad"},
	{"javascript", "javascript:alert(1)", "bad"},
	{"view-source", "view-source:http://example.com/", "bad"},
	{"long", "http://example.com/" + strings.Repeat("a", 17<<10), "bad"},
	{"empty", "", "bad"},
}

func TestTricks(t *testing.T) {
	t.Parallel()
	everything := policy(t, "http://*:*", "https://*:*")
	for _, c := range tricks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := everything.Check("GET", c.url)
			if verdict(t, err) != c.want {
				t.Errorf("%q: %v, want %q", c.url, err, c.want)
			}
		})
	}
}

func TestNetworksOfRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, rule, url, want string }{
		{"address as host", "http://127.0.0.1:8080", "http://127.0.0.1:8080/", ""},
		{"another address", "http://127.0.0.1:8080", "http://127.0.0.2:8080/", "denied"},
		{"address 6 in another form", "http://[::1]:8080", "http://[0:0::0:1]:8080/", ""},
		{"every host of a network", "http://*:* at 10.1.0.0/16", "http://10.1.2.3:99/", ""},
		{"a public address outside of it", "http://* at 10.1.0.0/16", "http://8.8.8.8/", "denied"},
		{"address of the next network", "http://* at 10.1.0.0/16", "http://10.2.0.1/", "denied"},
		{"metadata in a block", "http://* at 169.254.0.0/16", "http://169.254.169.254/", "denied"},
		{"others of that block", "http://* at 169.254.0.0/16", "http://169.254.1.1/", ""},
		{"metadata alone", "http://169.254.169.254", "http://169.254.169.254/", ""},
		{"multicast in a block", "http://* at 224.0.0.0/4", "http://224.0.0.1/", "denied"},
		{"unspecified in a block", "http://* at 0.0.0.0/0", "http://0.0.0.0/", "denied"},
		{"everything", "http://* at 0.0.0.0/0", "http://127.0.0.1/", ""},
		{"NAT64 block, public", "http://* at 64:ff9b::/96", "http://[64:ff9b::8.8.8.8]/", ""},
		{"NAT64 block, private", "http://* at 64:ff9b::/96", "http://[64:ff9b::10.0.0.1]/", "denied"},
		{"6to4 block, loopback", "http://* at 2002::/16", "http://[2002:7f00:1::]/", "denied"},
		{"Teredo, listed", "http://* at 2001::/32", "http://[2001:0:53aa:64c::80ff:fffe]/", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if err := policy(t, c.rule).Check("GET", c.url); verdict(t, err) != c.want {
				t.Errorf("%s under %q: %v, want %q", c.url, c.rule, err, c.want)
			}
		})
	}
	both := policy(t, "http://*", "http://* at 10.0.0.0/8")
	for _, url := range []string{"http://8.8.8.8/", "http://10.0.0.1/"} {
		if err := both.Check("GET", url); err != nil {
			t.Errorf("two rules of different networks: %v", err)
		}
	}
}

func TestRuleErrorsNameThePart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rule, want string }{
		{"", "url: missing"},
		{"GET", "url: missing"},
		{"example.com", "scheme: "},
		{"ftp://example.com", "scheme: "},
		{"GET example.com", "scheme: "},
		{"get https://example.com", "method: "},
		{"GET,,POST https://example.com", "method: "},
		{"CONNECT https://example.com", "method: CONNECT"},
		{"https://", "host: missing"},
		{"https://user@example.com", "host: "},
		{"https://example.com?x", "host: "},
		{"https://exa*mple.com", "host: "},
		{"https://*.*.com", "host: "},
		{"https://*.10.0.0.1", "host: "},
		{"https://127.1", "host: "},
		{"https://[::ffff:1.2.3.4]", "host: "},
		{"https://[fe80::1%eth0]", "host: "},
		{"https://example.com:", "port: "},
		{"https://example.com:0", "port: "},
		{"https://example.com:70000", "port: "},
		{"https://example.com:80-90", "port: "},
		{"https://example.com/a?b", "path: "},
		{"https://example.com/%61", "path: "},
		{"https://example.com/../a", "path: "},
		{"https://example.com//a", "path: "},
		{"https://example.com/**/a", "path: "},
		{"https://example.com/a**", "path: "},
		{"https://example.com in 10.0.0.0/8", "after the url: "},
		{"https://example.com at", "at: "},
		{"https://example.com at 10.0.0.0/8, 10.0.0.1", "at: "},
		{"https://example.com at 10.0.0.1/8", "at: "},
		{"https://example.com at 10.0.0.0/33", "at: "},
		{"https://example.com at ::ffff:10.0.0.0/104", "at: "},
		{"https://example.com at fe80::1%eth0", "at: "},
		{"https://10.0.0.1 at 192.168.0.0/16", "at: "},
	} {
		if _, err := egress.ParseRule(c.rule); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s…", c.rule, err, c.want)
		}
	}
	_, err := egress.ParsePolicy("plugins.d/a", "# first\n\nhttps://a.example\nhttps://b.example:x\n")
	if err == nil || !strings.HasPrefix(err.Error(), "plugins.d/a: line 4: port: ") {
		t.Errorf("policy of lines: %v", err)
	}
	_, err = egress.ParsePolicyJSON("net", []byte(`["https://a.example","https://b.example/a//b"]`))
	if err == nil || !strings.HasPrefix(err.Error(), "net[1]: path: ") {
		t.Errorf("policy in JSON: %v", err)
	}
	if _, err := egress.ParsePolicyJSON("net", []byte(`[{"host":"a"}]`)); err == nil || !strings.HasPrefix(err.Error(), "net: must be an array of strings") {
		t.Errorf("policy of objects: %v", err)
	}
}

func TestRulesAsText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://example.com":                       "https://example.com",
		"  POST,GET,GET   HTTPS://EXAMPLE.com:443 ": "GET,POST https://example.com",
		"http://*.bücher.example:*/a/**":            "http://*.xn--bcher-kva.example:*/a/**",
		"http://*:81":                               "http://*:81",
		"http://[0:0::1]:8080/x":                    "http://[::1]:8080/x",
		"http://localhost at 127.0.0.1/32,::1":      "http://localhost at 127.0.0.1,::1",
		"http://10.0.0.1 at 10.0.0.0/8":             "http://10.0.0.1 at 10.0.0.0/8",
	} {
		r, err := egress.ParseRule(in)
		if err != nil || r.String() != want {
			t.Errorf("%q is %q (%v), want %q", in, r, err, want)
		}
		var again egress.Rule
		if err := again.UnmarshalText([]byte(want)); err != nil || again.String() != want {
			t.Errorf("%q read again is %q (%v)", want, again, err)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule, asked string
		want        bool
	}{
		{"https://a.example", "https://a.example", true},
		{"https://a.example", "GET https://a.example/x", true},
		{"GET https://a.example", "https://a.example", false},
		{"GET,POST https://a.example", "POST https://a.example", true},
		{"GET https://a.example", "GET,POST https://a.example", false},
		{"https://*.example", "https://a.example", true},
		{"https://*.example", "https://*.b.example", true},
		{"https://*.b.example", "https://*.example", false},
		{"https://*", "https://*.b.example", true},
		{"https://a.example", "https://*", false},
		{"http://*.1.example", "http://10.0.0.1", false},
		{"https://a.example", "http://a.example", false},
		{"https://a.example:*", "https://a.example:99", true},
		{"https://a.example", "https://a.example:*", false},
		{"https://a.example/v1/**", "https://a.example/v1/x/y", true},
		{"https://a.example/v1/**", "https://a.example/v1/x/**", true},
		{"https://a.example/v1/**", "https://a.example/v*/x", false},
		{"https://a.example/*/**", "https://a.example/**", false},
		{"https://a.example/**", "https://a.example", true},
		{"https://a.example/v1/**", "https://a.example", false},
		{"https://a.example/v*/x", "https://a.example/v1/x", true},
		{"https://a.example/v1/x", "https://a.example/v*/x", false},
		{"https://a.example/*", "https://a.example/**", false},
		{"https://a.example at 10.0.0.0/8", "https://a.example", true},
	} {
		if got := policy(t, c.rule).Covers(policy(t, c.asked).Rules()[0]); got != c.want {
			t.Errorf("%q covers %q: %v", c.rule, c.asked, got)
		}
	}
}

func TestNarrowPolicies(t *testing.T) {
	t.Parallel()
	grant, _ := egress.ParsePolicy("the grants", "https://*.example\nhttp://localhost:8080 at 127.0.0.1")
	asked, _ := egress.ParsePolicy("the manifest", "GET https://a.example/v1/**\nhttp://localhost:8080\nhttps://b.test")
	p := grant.Narrow(asked)
	for _, c := range []struct{ method, url, rule, where string }{
		{"GET", "https://a.example/v1/x", "", ""},
		{"GET", "http://localhost:8080/", "", ""},
		{"POST", "https://a.example/v1/x", "POST https://a.example/v1/x", "the manifest"},
		{"GET", "https://c.example/", "GET https://c.example", "the manifest"},
		{"GET", "https://b.test/", "GET https://b.test", "the grants"},
		{"GET", "https://a.example/v1/%2e%2e", "GET https://a.example", "the manifest"},
	} {
		err := p.Check(c.method, c.url)
		var denied *egress.DeniedError
		if errors.As(err, &denied); err != nil && denied == nil || denied == nil && c.rule != "" || denied != nil && (denied.Rule != c.rule || denied.Policy != c.where) {
			t.Errorf("%s %s: %v, want rule %q of %q", c.method, c.url, err, c.rule, c.where)
		}
	}
	if grant.Narrow(nil).Check("GET", "https://a.example/") == nil || (*egress.Policy)(nil).Narrow(asked).Check("GET", "https://b.test/") == nil {
		t.Error("nobody asked, or nobody granted, and yet it is allowed")
	}
	twice := p.Narrow(policy(t, "GET https://a.example/v1/x"))
	if twice.Check("GET", "https://a.example/v1/x") != nil || twice.Check("GET", "https://a.example/v1/y") == nil || twice.Check("GET", "http://localhost:8080/") == nil {
		t.Error("a policy that was narrowed twice forgets one of them")
	}
	if (*egress.Policy)(nil).Check("GET", "https://a.example/") == nil || (&egress.Policy{}).Check("GET", "https://a.example/") == nil {
		t.Error("no policy allows something")
	}
}

// What a denial suggests must allow the request that was denied.
func TestDenialsNameTheRule(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"https://a.example/x/y?q", "http://10.0.0.1:8080/", "http://[::1]/", "https://a.example/%2e%2e/x"} {
		for _, rules := range [][]string{nil, {"DELETE https://a.example", "http://h.example/z"}} {
			var denied *egress.DeniedError
			if err := policy(t, rules...).Check("GET", url); !errors.As(err, &denied) {
				t.Errorf("%s: %v", url, err)
				continue
			}
			if err := policy(t, slices.Concat(rules, []string{denied.Rule})...).Check("GET", url); err != nil {
				t.Errorf("with the rule %q: %v", denied.Rule, err)
			}
			if strings.Contains(denied.Error(), "?") {
				t.Errorf("the query is in %q", denied.Error())
			}
		}
	}
}

func TestParseURLIsCanonical(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"HTTP://EXAMPLE.com.:80":            "http://example.com/",
		"https://bücher.example:0443/a":     "https://xn--bcher-kva.example/a",
		"http://[0:0::1]:81/%7e?a=%20#frag": "http://[::1]:81/%7e?a=%20",
	} {
		u, err := egress.ParseURL(in)
		if err != nil || u.String() != want {
			t.Errorf("%q is %v (%v), want %q", in, u, err, want)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, c := range tricks {
		f.Add(c.url)
	}
	p := policy(f, "http://*:*", "https://*:*")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := egress.ParseURL(raw)
		if err != nil {
			return
		}
		again, err := egress.ParseURL(u.String())
		if err != nil || again.String() != u.String() {
			t.Fatalf("%q is %q, and that %v (%v)", raw, u, again, err)
		}
		if got, want := verdict(t, p.Check("GET", raw)), verdict(t, p.Check("GET", u.String())); got != want {
			t.Fatalf("%q: %q, in canonical form %q", raw, got, want)
		}
		for _, c := range u.Host {
			if c > '~' || c <= ' ' || strings.ContainsRune("@\\%#?/", c) {
				t.Fatalf("%q: host %q", raw, u.Host)
			}
		}
	})
}

func FuzzRule(f *testing.F) {
	for _, s := range []string{"GET,HEAD https://*.example.com:*/v1/*/x/** at 10.0.0.0/8,::1", "http://[::1]:8080", "https://*", "http://a at 1.2.3.4"} {
		f.Add(s, "/v1/a")
	}
	for _, p := range []string{"/v1/../a", "/v1/%2e%2e/a", "/v1/%252e%252e/a", "/v1/..%2fa", "/v1/..%5ca", "/v1/..;/a", "/v1//../a"} {
		f.Add("http://a", p)
	}
	folder := policy(f, "http://a/v1/**")
	f.Fuzz(func(t *testing.T, line, path string) {
		r, err := egress.ParseRule(line)
		if err != nil {
			return
		}
		again, err := egress.ParseRule(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q is %q, and that %q (%v)", line, r, again, err)
		}
		if !r.Covers(again) {
			t.Fatalf("%q does not cover itself", r)
		}
		_ = egress.NewPolicy("", r).Check("GET", "http://a"+path)
		// However often a server decodes and cleans a path, what was below a folder stays there.
		if folder.Check("GET", "http://a"+path) != nil {
			return
		}
		u, err := egress.ParseURL("http://a" + path)
		if err != nil {
			t.Fatal(err)
		}
		for seen, n := u.EscapedPath(), 3; n > 0; n-- {
			if seen = strings.ReplaceAll(seen, "\\", "/"); !strings.HasPrefix(pathpkg.Clean(seen)+"/", "/v1/") {
				t.Fatalf("%q is %q", path, seen)
			}
			if seen, err = url.PathUnescape(seen); err != nil {
				break
			}
		}
	})
}
