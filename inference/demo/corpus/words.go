package corpus

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Word lists of the toy world. They are read only.
var (
	nouns = strings.Fields(`invoice order ticket user account device sensor playlist recipe parcel shipment reservation booking
		flight hotel room meeting event reminder note task project document file folder report payment refund subscription coupon
		customer employee contact message alert camera lamp heater garage door engine robot server database table queue cluster
		network router domain certificate backup snapshot log metric dashboard chart image photo video song podcast book chapter
		article page word phrase lesson course student exam grade patient appointment prescription vaccine pet plant garden field
		crop tractor train bus station bridge road route map address parking tower river lake island mountain valley forest beach
		museum gallery theater concert match team player coach league score game puzzle card dice token badge prize contest vote
		poll survey form contract license permit passport visa loan deposit budget expense salary tax fee discount voucher
		warehouse shelf box pallet truck van bike scooter drone battery charger cable printer scanner monitor keyboard speaker
		window curtain sofa chair desk kitchen oven fridge freezer kettle toaster washer dryer pump valve filter tank pipe
		reactor turbine panel rocket satellite telescope planet star comet signal antenna channel radio station beacon harbor
		ship ferry anchor crane cargo dock runway terminal gate lounge menu dish soup salad sandwich coffee tea juice cake`)
	verbs = strings.Fields(`get fetch find search list create add remove delete update set change start stop open close cancel
		book reserve send post share convert compute calculate count check verify validate measure track monitor schedule plan
		assign rename move copy print archive restore rate review approve reject translate summarize encode decode reset lock
		unlock play pause mute load save export import merge split sort filter rank score predict estimate inspect scan repair
		charge ship deliver return register enroll invite publish refresh sync resize rotate crop render`)
	adjectives = strings.Fields(`current daily weekly monthly old new active local remote public private shared main spare red green
		blue yellow black white silver golden small large tall short fast slow quiet loud warm cold dry wet fresh smart plain
		bright dark light heavy empty full open closed broken secret central northern southern eastern western upper lower`)
	plain = strings.Fields(`the river runs past old mills and quiet fields where people walk with dogs in early morning light we
		found a small red box under stairs near kitchen door my sister likes green tea but never drinks it cold trains leave every
		hour from north side please bring two blue chairs to garden before rain starts nobody knows why this clock stopped at
		noon some birds sing only after dark let us meet behind library on friday there is fresh bread and warm soup for everyone
		they painted fence white last summer our team won again today keep your keys somewhere safe first snow fell over hills
		thank you for kind words see you soon happy birthday dear friend good luck tomorrow take care of yourself`)
	firstNames = strings.Fields(`Alice Bob Carol David Emma Frank Grace Henry Ines Jack Kate Leo Maria Nina Oscar Paula Quinn Rosa
		Sam Tina Uma Victor Wendy Xavier Yara Zoe Ann Ben Clara Dan Eva Finn Gina Hugo Ida Jonas Karl Lena Max Nora Otto Petra Ralf
		Sara Tom Ursula Vera Will Amir Bea Chen Diego Elif Fatima Goran Hana Ivan Jin Kofi Lars Mei Noor Omar Priya Ravi Sofia Tariq`)
	cities = strings.Fields(`Oslo Paris Berlin London Madrid Rome Vienna Prague Warsaw Dublin Lisbon Athens Helsinki Stockholm
		Copenhagen Brussels Amsterdam Zurich Geneva Munich Hamburg Milan Naples Turin Porto Seville Valencia Lyon Nice Bordeaux
		Tokyo Osaka Kyoto Seoul Beijing Shanghai Delhi Mumbai Bangkok Hanoi Jakarta Manila Sydney Melbourne Perth Auckland Cairo
		Nairobi Lagos Accra Tunis Rabat Boston Chicago Denver Seattle Austin Dallas Houston Miami Atlanta Toronto Montreal
		Vancouver Lima Quito Bogota Santiago Havana Reykjavik Tallinn Riga Vilnius Zagreb Belgrade Sofia Bucharest Budapest`)
	colours   = strings.Fields(`red green blue yellow orange purple pink brown black white grey turquoise violet gold silver`)
	languages = strings.Fields(`English German French Spanish Italian Portuguese Dutch Polish Czech Greek Turkish Arabic Hindi
		Japanese Korean Chinese Swedish Norwegian Danish Finnish`)
	currencies = strings.Fields(`EUR USD GBP CHF JPY SEK NOK DKK PLN CZK AUD CAD INR CNY BRL`)
	topLevels  = strings.Fields(`com org net io dev info example test de fr uk`)
)

var (
	onsets = strings.Fields(`b c d f g h j k l m n p r s t v w z br cr dr fl gr kl pl pr sh sk sl sn st th tr ch bl`)
	vowels = strings.Fields(`a e i o u a e i o u ai ea ee io ou oa y`)
	codas  = strings.Fields(`n r l s t m k x nd rt st ng sh p d`)
)

// syllables is a pronounceable nonsense word.
func (g *Source) syllables(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 || g.chance(85) {
			b.WriteString(g.pick(onsets))
		}
		b.WriteString(g.pick(vowels))
		if g.chance(30) || i == n-1 && g.chance(40) {
			b.WriteString(g.pick(codas))
		}
	}
	return b.String()
}

// nonsense is a word of small letters of this split, many of them without a meaning.
func (g *Source) nonsense() string {
	return g.invent(func() string {
		if g.chance(8) {
			return g.letters(g.between(3, 8))
		}
		return g.anyWord()
	})
}

func capital(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(first)) + s[n:]
}

// city is a real city or, mostly, an invented one.
func (g *Source) city() string {
	if g.split == Train && g.chance(30) {
		return g.pick(cities)
	}
	if g.split == Train && g.chance(8) {
		return g.pick(foreignCities)
	}
	name := capital(g.nonsense())
	switch g.r.IntN(12) {
	case 2:
		return g.invent(func() string { return capital(g.accent(g.syllables(g.between(2, 3)))) })
	case 3:
		name += g.pick([]string{", CA", ", TX", ", NY", ", France", ", Japan", ", Colombia", ", " + capital(g.nonsense())})
	case 4:
		return g.invent(g.foreign)
	case 0:
		name = g.pick([]string{"New", "San", "Port", "Upper", "Saint", "East"}) + " " + name
	case 1:
		name += g.pick([]string{"ville", "burg", "ton", " City", "stad", " Bay"})
	}
	return name
}

func (g *Source) person() string {
	first := g.pick(firstNames)
	switch {
	case g.chance(35):
		first = capital(g.nonsense())
	case g.chance(12):
		first = g.invent(func() string { return capital(g.accent(g.syllables(2))) })
	}
	if g.chance(40) {
		return first + " " + capital(g.nonsense())
	}
	return first
}

// phrase is a run of words, mostly real ones.
func (g *Source) phrase(lo, hi int) string {
	n := g.between(lo, hi)
	return g.invent(func() string {
		w := make([]string, n)
		for i := range w {
			switch {
			case g.chance(20):
				w[i] = g.pick(nouns)
			case g.chance(15):
				w[i] = g.anyWord()
			case g.chance(6):
				w[i] = g.accent(g.realWord())
			case g.chance(8):
				w[i] = fmt.Sprint(g.r.IntN(1000))
			case g.chance(40):
				w[i] = g.pick(english)
			case g.chance(35):
				w[i] = g.realWord()
			default:
				w[i] = g.pick(plain)
			}
		}
		if g.chance(40) {
			w[0] = capital(w[0])
		}
		return strings.Join(w, " ")
	})
}

func (g *Source) identifier() string {
	return g.invent(func() string {
		switch g.r.IntN(8) {
		case 5:
			return g.mixedCase(g.alnum(g.between(5, 12)))
		case 6:
			return fmt.Sprintf("%s-%d-%s", strings.ToUpper(g.letters(2)), g.r.IntN(1000), g.letters(g.between(1, 2)))
		case 0:
			return fmt.Sprintf("%c-%d", 'A'+g.r.IntN(26), g.between(100, 99999))
		case 1:
			return fmt.Sprintf("%s_%s", g.pick([]string{"usr", "ord", "inv", "id", "acc", "tk", "doc"}), g.alnum(g.between(4, 8)))
		case 2:
			return strings.ToUpper(g.alnum(g.between(4, 7)))
		case 3:
			return g.alnum(g.between(6, 10))
		case 4:
			return fmt.Sprintf("%s-%03d", strings.ToUpper(g.syllables(1)), g.r.IntN(1000))
		default:
			return fmt.Sprint(g.between(100, 999999))
		}
	})
}

func (g *Source) alnum(n int) string {
	const digits = "0123456789abcdefghijkmnpqrstuvwxyz"
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[g.r.IntN(len(digits))]
	}
	return string(b)
}

func (g *Source) date() string {
	return fmt.Sprintf("%d-%02d-%02d", g.between(2019, 2031), g.between(1, 12), g.between(1, 28))
}

func (g *Source) clock() string {
	return fmt.Sprintf("%02d:%02d", g.r.IntN(24), 5*g.r.IntN(12))
}

func (g *Source) email() string {
	return strings.ToLower(g.pick(firstNames)) + g.pick([]string{"", ".", "_"}) + g.nonsense() + "@" + g.syllables(2) + "." + g.pick(topLevels)
}

func (g *Source) host() string {
	h := g.nonsense() + "." + g.pick(topLevels)
	if g.chance(30) {
		h = g.pick([]string{"www", "docs", "blog", "news", "api", g.pick(nouns)}) + "." + h
	}
	if g.chance(10) {
		h = g.pick([]string{"example.com", "example.org", "localhost:8080", "127.0.0.1:" + fmt.Sprint(g.between(1024, 65535))})
	}
	return h
}

func (g *Source) url() string {
	u := g.pick([]string{"https://", "https://", "http://"}) + g.host()
	for range g.r.IntN(3) {
		u += "/" + g.pick([]string{g.pick(nouns), g.pick(plain), g.alnum(g.between(2, 6)), g.pick(nouns) + "-" + g.pick(nouns),
			capital(g.realWord()), capital(g.realWord()) + "_" + capital(g.nonsense()), g.nonsense(), g.mixedCase(g.alnum(5))})
	}
	if g.chance(25) {
		u += g.pick([]string{"/", ".html", ".html?v=" + fmt.Sprint(g.r.IntN(10)), "?id=" + fmt.Sprint(g.r.IntN(1000)), "?q=" + g.pick(nouns), "?v=" + fmt.Sprint(g.r.IntN(100)), "#" + g.nonsense()})
	}
	return u
}

// number is a numeral as JSON and people write it.
func (g *Source) number() string {
	switch g.r.IntN(6) {
	case 0:
		return fmt.Sprintf("%d.%d", g.r.IntN(1000), g.between(1, 99))
	case 1:
		return fmt.Sprint(g.between(1000, 999999))
	case 2:
		if g.chance(40) {
			return fmt.Sprintf("-%d.%d", g.r.IntN(100), g.between(1, 99))
		}
		return fmt.Sprint(-g.between(1, 999))
	default:
		return g.integer()
	}
}

func (g *Source) integer() string {
	if g.chance(30) {
		return fmt.Sprint(g.between(100, 9999))
	}
	return fmt.Sprint(g.between(1, 100))
}
