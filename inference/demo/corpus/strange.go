package corpus

import (
	"fmt"
	"strings"
)

// Values that no list holds: copying has to work for any characters, so every kind of token must turn up to be copied.

// commonWords are what people write about beside the nouns; with affixes they make words of many token patterns.
var commonWords = strings.Fields(`about above account action active address advance advice agency agree airport allow amount animal
	answer apple april arrive artist august author autumn balance banana basket beauty become begin behind believe better between
	beyond bicycle birthday blanket bottle bottom branch bread breakfast brother budget building business butter button calendar
	camping capital captain careful castle center century chance change chapter charity check cheese chicken choice choose
	christmas circle citizen classic climate clothes coast colleague college comfort common community company compare complete
	computer condition confirm connect consider contain content continue control cookie copper corner correct cottage cotton
	couple courage culture current damage danger daughter december decide defend degree delay demand depart design detail develop
	digital dinner direct discover discuss distance doctor double dragon dream during early earth economy education effect
	effort electric element energy english enough enter entire evening example excellent exchange exercise expect experience
	explain express extra family famous fashion february feeling female festival fiction figure final finger finish fiscal
	flavor flower follow football foreign forget former forward freedom friday friend front future gallery general gentle
	german giant global government grammar grand great green group growth guide guitar half handle happen harvest health
	heart heaven hello history holiday honest horse hospital however human hundred hunter husband imagine import include
	income increase indeed industry inside instead interest invest island january jewel journey juice july june jungle justice
	kernel kidney kingdom kitten knife knowledge language later laugh leader learn leather leave legal letter level library
	listen little local logic london lucky machine magic maintain major manager manner march market master matter maybe
	measure medical member memory mental message metal method middle million mineral minute mirror modern moment monday money
	monster morning mother motion motor movement movie music myself narrow nation nature nearly never night nobody normal notice
	november number object ocean october offer office often opinion orange orbit order organic original outside oxygen package
	palace panic parent party pattern pencil people pepper perfect perhaps person phone physics piano picture pilot pizza
	plastic please pocket poem point police policy popular position possible potato power practice prefer prepare present
	pretty printer prison private problem process produce product program progress project promise protect provide public
	purpose quality quarter queen question quick quiet rabbit random rather reach reader ready reason receive recent record
	region relax release remember renewal repeat replace report request rescue research respect result review reward rhythm
	ribbon rice river robust rocket rough round royal rubber sample saturday scene school science season second secret section
	security select senior series serious service seven shadow shake shape sharp shelter shoulder signal silence simple since
	singer sister skill smart smile smooth social soldier solution someone sound source spare special spider spirit spring
	square stable stage standard station stone storage storm story strange street strong student studio subject success
	sudden sugar suggest summer sunday support surface surprise sweater symbol system talent target teacher technical
	television temple tender thank theory thing thirty thought thousand thunder thursday ticket tiger together tomorrow
	tongue topic total touch toward town trade traffic train travel treasure treat tribe trouble trust tuesday twelve twenty
	uncle under unique united until update useful usual valley value various vehicle version victory village violet vision
	visit voice volume wait walnut water wealth weather wedding wednesday weekend welcome western whisper wholesale width wild
	window winter wisdom within without wonder wooden worker world worry writer yellow yesterday young zebra zero`)

var (
	prefixes = strings.Fields("un re pre over sub inter out mis non auto")
	suffixes = strings.Fields("s ed ing er ness ly ful less able ish ism ment ware land ity ist ive ix ia o")
	// accented stand in for the letters they look like.
	accented = map[rune]string{'a': "áàäâãåāą", 'c': "çćč", 'e': "éèêëęě", 'i': "íìîïı", 'l': "ł", 'n': "ñńň", 'o': "óòöôõøő", 's': "şśš",
		'u': "úùüûů", 'y': "ýÿ", 'z': "źżž", 'd': "đ", 'g': "ğ", 'r': "ř", 't': "ț"}
	// foreignCities are names with other letters; the held-out split invents its own.
	foreignCities = strings.Fields(`Kraków Malmö Düsseldorf Bogotá Córdoba Łódź Reykjavík Málaga İzmir Brasília Montréal Québec Nîmes
		Besançon Århus Tromsø Göteborg Nürnberg Würzburg Zaragoza León Cádiz Cancún Mérida Gdańsk Wrocław Poznań Plzeň Târgoviște
		Kōchi 大阪 北京 上海 京都 横浜 서울 부산 Москва Киев София Αθήνα Πάτρα`)
	// alphabets are ranges of code points of scripts whose letters are several tokens each.
	alphabets = [][2]rune{{0x430, 0x44f}, {0x3b1, 0x3c9}, {0x4e00, 0x9fa0}, {0x3041, 0x3093}, {0x30a1, 0x30f6}, {0xac00, 0xd7a0}, {0x5d0, 0x5ea}, {0x627, 0x64a}, {0x905, 0x939}}
)

// realWord is an English word, perhaps with affixes that need not exist.
func (g *Source) realWord() string {
	w := g.pick([]string{g.pick(commonWords), g.pick(english), g.pick(nouns), g.pick(verbs), g.pick(adjectives)})
	if g.chance(15) {
		w = g.pick(prefixes) + w
	}
	if g.chance(30) {
		w += g.pick(suffixes)
	}
	return w
}

// letters is a run of random letters.
func (g *Source) letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + g.r.IntN(26))
	}
	return string(b)
}

// accent puts marks on some letters.
func (g *Source) accent(s string) string {
	var b strings.Builder
	for _, c := range s {
		if marks := []rune(accented[c]); len(marks) > 0 && g.chance(40) {
			c = marks[g.r.IntN(len(marks))]
		}
		b.WriteRune(c)
	}
	return b.String()
}

// foreign is a word in another script.
func (g *Source) foreign() string {
	a := alphabets[g.r.IntN(len(alphabets))]
	w := make([]rune, g.between(2, 5))
	for i := range w {
		w[i] = a[0] + g.r.Int32N(a[1]-a[0])
	}
	return string(w)
}

// strange is a value of unusual characters.
func (g *Source) strange() string {
	return g.invent(func() string {
		switch g.r.IntN(9) {
		case 0:
			return g.foreign()
		case 1:
			return capital(g.accent(g.syllables(g.between(2, 3))))
		case 2:
			return g.accent(g.realWord())
		case 3:
			return g.mixedCase(g.letters(g.between(3, 9)))
		case 4:
			return g.realWord() + g.pick([]string{"-", "_", ".", "/", ":", "#", "+", "@", "&"}) + g.pick([]string{g.realWord(), fmt.Sprint(g.r.IntN(1000)), g.letters(3)})
		case 5:
			return g.mixedCase(g.alnum(g.between(4, 10)))
		case 6:
			return capital(g.realWord()) + capital(g.realWord())
		case 7:
			return strings.ToUpper(g.letters(g.between(2, 5))) + g.pick([]string{"", "-", "_", "/"}) + fmt.Sprint(g.r.IntN(10000))
		default:
			return g.realWord() + " " + g.pick([]string{g.foreign(), g.accent(g.realWord()), g.letters(4)})
		}
	})
}

func (g *Source) mixedCase(s string) string {
	if g.chance(30) {
		return strings.ToUpper(s)
	}
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' && g.chance(35) {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
