package egress

import "net/netip"

// A block is a range of addresses that is not plainly the public internet.
type block struct {
	net  netip.Prefix
	what string
}

// blocks4 are what IANA's "IPv4 Special-Purpose Address Registry" does not call globally reachable, and the ranges that
// never name one host.
var blocks4 = blocks(
	"0.0.0.0/8", "an unspecified address",
	"10.0.0.0/8", "a private address",
	"100.64.0.0/10", "a shared address (CGNAT)",
	"127.0.0.0/8", "a loopback address",
	"169.254.0.0/16", "a link-local address",
	"172.16.0.0/12", "a private address",
	"192.0.0.0/24", "a reserved address",
	"192.0.2.0/24", "a documentation address",
	"192.88.99.0/24", "a 6to4 relay",
	"192.168.0.0/16", "a private address",
	"198.18.0.0/15", "a benchmarking address",
	"198.51.100.0/24", "a documentation address",
	"203.0.113.0/24", "a documentation address",
	"224.0.0.0/4", "a multicast address",
	"240.0.0.0/4", "a reserved address",
)

// blocks6 are the parts of 2000::/3, the only global unicast range, that IANA's "IPv6 Special-Purpose Address Registry"
// sets apart, and names for the best known ranges outside of it.
var blocks6 = blocks(
	"::/128", "an unspecified address",
	"::1/128", "a loopback address",
	"::ffff:0:0/96", "an IPv4-mapped address",
	"::/96", "an IPv4-compatible address",
	"64:ff9b::/96", "a NAT64 address",
	"64:ff9b:1::/48", "a NAT64 address",
	"100::/63", "a discard address",
	"2001::/32", "a Teredo address",
	"2001::/23", "a reserved address",
	"2001:db8::/32", "a documentation address",
	"2002::/16", "a 6to4 address",
	"3fff::/20", "a documentation address",
	"5f00::/16", "a segment routing address",
	"fc00::/7", "a private address",
	"fe80::/10", "a link-local address",
	"fec0::/10", "a site-local address",
	"ff00::/8", "a multicast address",
)

// metadata are the addresses where clouds hand out credentials: the common one, AWS over IPv6, Alibaba, Oracle, Azure's
// host agent (a public address), and Google over IPv6.
var metadata = addresses(
	"169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd20:ce::254",
)

var global6 = netip.MustParsePrefix("2000::/3")

func blocks(pairs ...string) []block {
	var list []block
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, block{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return list
}

func addresses(list ...string) map[netip.Addr]bool {
	set := map[netip.Addr]bool{}
	for _, a := range list {
		set[netip.MustParseAddr(a)] = true
	}
	return set
}

// special says why an address is not one that everybody on the internet may talk to, or "".
func special(a netip.Addr) string {
	if metadata[a] {
		return "a cloud metadata address"
	}
	list := blocks4
	if a.Is6() {
		list = blocks6
	}
	for _, b := range list {
		if b.net.Contains(a.WithZone("")) {
			return b.what
		}
	}
	switch {
	case a.Zone() != "":
		return "an address with a zone"
	case a.Is6() && !global6.Contains(a):
		return "a reserved address"
	case a.Is6() && isISATAP(a):
		return "an ISATAP address"
	}
	return ""
}

// isISATAP reports the interface identifier of RFC 5214, which carries an IPv4 address behind any prefix.
func isISATAP(a netip.Addr) bool {
	b := a.As16()
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// embedded is the IPv4 address that a NAT64 or 6to4 address leads to.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case netip.MustParsePrefix("2002::/16").Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

// A reach says which addresses may be dialled: without networks, the public internet; else only those networks.
type reach struct {
	networks string // as text, to compare
	list     []netip.Prefix
}

// refuse says why an address is out of reach, or "". Networks must list an address alone, not in a larger range, when
// it is one that nobody means by a range.
func (r reach) refuse(a netip.Addr) string {
	if len(r.list) == 0 {
		return special(a)
	}
	wide := false
	for _, p := range r.list {
		if p.Contains(a) {
			if p.IsSingleIP() {
				return ""
			}
			wide = true
		}
	}
	if !wide {
		return "not in " + r.networks
	}
	if metadata[a] || a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return special(a) + ", which a rule must list alone"
	}
	if inner, ok := embedded(a); ok {
		if why := special(inner); why != "" {
			return "a way to " + inner.String() + ", " + why + ", and a rule must list it alone"
		}
	}
	return ""
}
