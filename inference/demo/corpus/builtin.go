package corpus

import (
	"fmt"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"chorale/inference/harmony"
)

func pythonCall(code, result string) *Call {
	return &Call{Recipient: "python", Channel: harmony.ChannelAnalysis, ContentType: "code", Arguments: code, Result: result}
}

func browserCall(function, arguments, result string) *Call {
	return &Call{Recipient: "browser." + function, Channel: harmony.ChannelAnalysis, ContentType: "code", Arguments: arguments, Result: result}
}

// A computation is a question, the code that answers it, what python prints, and the answer's text ({r} = result).
type computation struct{ ask, code, out, final string }

// operand has one to six digits.
func (g *Source) operand() int64 {
	limit := [...]int{20, 100, 1000, 1000, 10000, 1000000}[g.r.IntN(6)]
	return int64(2 + g.r.IntN(limit))
}

func (g *Source) computation() computation {
	switch g.r.IntN(16) {
	case 12, 13:
		return g.fractions()
	case 14, 15:
		return g.stringWork()
	case 0, 1, 2, 3:
		return g.arithmetic()
	case 4:
		n := g.between(3, 6)
		var s []string
		sum := int64(0)
		for range n {
			v := g.operand()
			sum += v
			s = append(s, fmt.Sprint(v))
		}
		return computation{fmt.Sprintf(g.phrasing([]string{"What is the sum of %s?", "Add up %s.", "Sum %s", "Total of %s?", "Please add %s."}), strings.Join(s, ", ")),
			fmt.Sprintf("print(sum([%s]))", strings.Join(s, ", ")), fmt.Sprint(sum), "The sum is {r}."}
	case 5:
		w := g.pick([]string{g.nonsense(), g.realWord(), capital(g.nonsense()), g.letters(g.between(3, 8)), g.phrase(2, 3), g.accent(g.realWord())})
		r := []rune(w)
		for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
			r[i], r[j] = r[j], r[i]
		}
		return computation{fmt.Sprintf(g.phrasing([]string{"Reverse the word %s.", "What is %s backwards?", "Spell %s backwards.", "reverse %s", "Write %s in reverse.", "reverse the string %s", "Reverse the text %s", "reverse the word %s please", "Reverse: %s", "Turn %s around.", "Print %s backwards"}), g.quoted(w)),
			fmt.Sprintf("print(%q[::-1])", w), string(r), "Reversed: {r}"}
	case 6:
		w := g.pick([]string{g.nonsense(), g.realWord(), g.phrase(2, 4), "strawberry"})
		return computation{fmt.Sprintf(g.phrasing([]string{"How many letters does %s have?", "How long is %s?", "Count the characters of %s.", "What is the length of %s?", "length of %s"}), `"`+w+`"`),
			fmt.Sprintf("print(len(%q))", w), fmt.Sprint(utf8.RuneCountInString(w)), "It has {r} characters."}
	case 7:
		w := g.pick([]string{g.nonsense(), g.realWord(), g.realWord(), "strawberry", "banana", "mississippi"})
		c := string(w[g.r.IntN(len(w))])
		return computation{fmt.Sprintf(g.phrasing([]string{"How many %[2]s's are in %[1]s?", "How often does the letter %[2]s occur in %[1]s?", "Count the letter %[2]s in %[1]s.", "How many times is %[2]s in %[1]s?", "Number of %[2]s in %[1]s?", "How many %[2]s are there in %[1]s?", "how many %[2]s's in %[1]s", "How many letters %[2]s does %[1]s have?", "How many times does %[2]s appear in the word %[1]s?", "count %[2]s in %[1]s"}), w, c),
			fmt.Sprintf("print(%q.count(%q))", w, c), fmt.Sprint(strings.Count(w, c)), "The letter " + c + " occurs {r} times."}
	case 8:
		w := g.phrase(1, 4)
		if g.chance(50) {
			return computation{fmt.Sprintf(g.phrasing([]string{"Convert %s to upper case.", "Uppercase %s", "Put %s in capitals.", "Write %s in capital letters.", "Make %s upper case."}), `"`+w+`"`), fmt.Sprintf("print(%q.upper())", w), strings.ToUpper(w), "{r}"}
		}
		return computation{fmt.Sprintf(g.phrasing([]string{"Count the words in %s.", "How many words are in %s?", "Number of words in %s?", "How many words has %s?", "word count of %s"}), `"`+w+`"`), fmt.Sprintf("print(len(%q.split()))", w),
			fmt.Sprint(len(strings.Fields(w))), "It has {r} words."}
	case 9:
		n := g.between(3, 6)
		s := make([]string, n)
		for i := range s {
			s[i] = g.pick([]string{g.pick(nouns), g.nonsense(), g.realWord()})
		}
		list := strings.Join(s, ", ")
		quoted := `["` + strings.Join(s, `", "`) + `"]`
		sort.Strings(s)
		return computation{fmt.Sprintf(g.phrasing([]string{"Sort these words: %s", "Sort %s.", "Put in alphabetical order: %s", "Order these alphabetically: %s", "Please sort %s", "Sort the list %s", "sort %s alphabetically", "Sort these: %s", "Alphabetize %s"}), list), "print(sorted(" + quoted + "))",
			"['" + strings.Join(s, "', '") + "']", "Sorted: {r}"}
	case 10:
		n := g.between(3, 25)
		if g.chance(50) {
			v := new(big.Int).MulRange(1, int64(n))
			return computation{fmt.Sprintf(g.phrasing([]string{"What is %d factorial?", "Compute %d!", "The factorial of %d?", "factorial of %d", "Calculate %d factorial."}), n),
				fmt.Sprintf("import math\nprint(math.factorial(%d))", n), v.String(), fmt.Sprintf("%d! = {r}", n)}
		}
		n = g.between(2, 400)
		return computation{fmt.Sprintf(g.phrasing([]string{"What is the square root of %d?", "Square root of %d?", "Compute sqrt(%d).", "sqrt %d", "Take the root of %d."}), n*n), fmt.Sprintf("import math\nprint(math.sqrt(%d))", n*n),
			fmt.Sprintf("%d.0", n), "The square root is {r}."}
	default:
		code, out := g.snippet()
		return computation{g.phrasing([]string{"Run this python code: ", "Please run ", "Execute this: ", "What does this print? ", "run: ", "Run the code "}) + code, code, out, "The output is {r}"}
	}
}

// fractions are sums whose results are floating-point numbers.
func (g *Source) fractions() computation {
	a, b := float64(g.between(1, 2000)), float64(g.between(1, 200))
	switch g.r.IntN(4) {
	case 0:
		return computation{fmt.Sprintf(g.phrasing([]string{"What is %[1]v%% of %[2]v?", "%[1]v%% of %[2]v", "Compute %[1]v percent of %[2]v.", "How much is %[1]v%% of %[2]v?", "What's %[1]v percent of %[2]v", "Calculate %[1]v%% of %[2]v.", "Take %[1]v percent of %[2]v."}), b, a),
			fmt.Sprintf("print(%v * %v / 100)", a, b), pythonFloat(a * b / 100), fmt.Sprintf("%v%% of %v is {r}.", b, a)}
	case 1:
		return computation{fmt.Sprintf(g.phrasing([]string{"What is %v divided by %v?", "%v / %v", "Divide %v by %v.", "Compute %v / %v.", "How much is %v divided by %v?", "%v/%v = ?"}), a, b),
			fmt.Sprintf("print(%v / %v)", a, b), pythonFloat(a / b), fmt.Sprintf("%v / %v = {r}", a, b)}
	case 2:
		a, b = a/10, b/4
		op := g.pick([]string{"*", "+", "-"})
		code := pythonFloat(a) + " " + op + " " + pythonFloat(b)
		r := map[string]float64{"*": a * b, "+": a + b, "-": a - b}[op]
		return computation{fmt.Sprintf(g.phrasing([]string{"What is %s?", "Compute %s.", "%s", "Calculate %s", "How much is %s?", "what's %s"}), code), "print(" + code + ")", pythonFloat(r), code + " = {r}"}
	default:
		n := g.between(3, 6)
		s, sum := make([]string, n), 0
		for i := range s {
			v := g.between(1, 100)
			s[i], sum = fmt.Sprint(v), sum+v
		}
		list := strings.Join(s, ", ")
		return computation{fmt.Sprintf(g.phrasing([]string{"What is the average of %s?", "Average of %s", "Compute the mean of %s.", "Mean of %s?", "average %s", "Find the average of these numbers: %s"}), list),
			fmt.Sprintf("print(sum([%s]) / %d)", list, n), pythonFloat(float64(sum) / float64(n)), "The average is {r}."}
	}
}

// pythonFloat is how Python prints a float of modest size.
func pythonFloat(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// stringWork changes or measures a text.
func (g *Source) stringWork() computation {
	w := g.pick([]string{g.phrase(1, 4), g.phrase(2, 3), g.realWord(), g.nonsense(), capital(g.realWord()) + " " + capital(g.realWord())})
	q := g.quoted(w)
	switch g.r.IntN(5) {
	case 0:
		return computation{fmt.Sprintf(g.phrasing([]string{"Convert %s to upper case.", "Uppercase %s", "Convert %s to uppercase", "Put %s in capitals.", "Make %s upper case.", "make %s all caps", "Turn %s into upper case.", "upper case of %s"}), q), fmt.Sprintf("print(%q.upper())", w), strings.ToUpper(w), "{r}"}
	case 1:
		return computation{fmt.Sprintf(g.phrasing([]string{"Convert %s to lower case.", "Lowercase %s", "Convert %s to lowercase", "Make %s lower case.", "lower case of %s", "Turn %s into lower case."}), q), fmt.Sprintf("print(%q.lower())", w), strings.ToLower(w), "{r}"}
	case 2:
		return computation{fmt.Sprintf(g.phrasing([]string{"How many characters are in %s?", "How many letters are in %s?", "Count the characters in %s", "How many characters does the string %s have?", "What is the length of the string %s?", "length of the word %s"}), q),
			fmt.Sprintf("print(len(%q))", w), fmt.Sprint(utf8.RuneCountInString(w)), "It has {r} characters."}
	case 3:
		x := g.nonsense()
		old := strings.Fields(w)[0]
		return computation{fmt.Sprintf(g.phrasing([]string{"Replace %[2]s by %[3]s in %[1]s.", "In %[1]s, replace %[2]s with %[3]s.", "Replace %[2]s with %[3]s in %[1]s", "Change %[2]s to %[3]s in %[1]s.", "Swap %[2]s for %[3]s in %[1]s."}), `"`+w+`"`, old, x),
			fmt.Sprintf("print(%q.replace(%q, %q))", w, old, x), strings.ReplaceAll(w, old, x), "{r}"}
	default:
		n := g.between(2, 5)
		return computation{fmt.Sprintf(g.phrasing([]string{"Repeat %s %d times.", "Print %s %d times.", "Write %s %d times in a row.", "Say %s %d times", "%s times %d"}), q, n), fmt.Sprintf("print(%q * %d)", w, n), strings.Repeat(w, n), "{r}"}
	}
}

func (g *Source) quoted(s string) string {
	q := g.pick([]string{`"`, `'`, ""})
	return q + s + q
}

// arithmetic is an expression of two or three operands.
func (g *Source) arithmetic() computation {
	a, b := g.operand(), g.operand()
	x, y := big.NewInt(a), big.NewInt(b)
	v := new(big.Int)
	op := g.pick([]string{"*", "*", "*", "+", "-", "**", "//", "%"})
	said := map[string][]string{"*": {"*", "times", "x", "multiplied by"}, "+": {"+", "plus"}, "-": {"-", "minus"}, "**": {"to the power of", "**", "^"}, "//": {"//", "divided (integer) by"}, "%": {"%", "modulo", "mod"}}[op]
	switch op {
	case "*":
		v.Mul(x, y)
	case "+":
		v.Add(x, y)
	case "-":
		v.Sub(x, y)
	case "**":
		b = int64(g.between(2, 9))
		a = a%100 + 2
		v.Exp(big.NewInt(a), big.NewInt(b), nil)
	case "//":
		v.Div(x, y)
	default:
		v.Mod(x, y)
	}
	code := fmt.Sprintf("%d %s %d", a, op, b)
	phrase := fmt.Sprintf("%d %s %d", a, g.pick(said), b)
	if g.chance(20) {
		phrase = fmt.Sprintf("%d%s%d", a, said[0], b)
	}
	if g.chance(15) && (op == "*" || op == "+") {
		c := g.operand()
		code = fmt.Sprintf("%d %s %d + %d", a, op, b, c)
		phrase = fmt.Sprintf("%d %s %d + %d", a, said[0], b, c)
		v.Add(v, big.NewInt(c))
	}
	ask := fmt.Sprintf(g.phrasing([]string{"What is %s?", "Compute %s.", "Calculate %s", "%s", "How much is %s?", "what's %s", "%s = ?", "Please compute %s.", "Use python to compute %s.", "Work out %s.", "Tell me what %s is.", "I need %s.", "Can you calculate %s?", "What is %s", "Evaluate %s."}), phrase)
	return computation{ask, "print(" + code + ")", v.String(), code + " = {r}"}
}

// snippet is a line of python with its output.
func (g *Source) snippet() (code, out string) {
	switch g.r.IntN(5) {
	case 0:
		s := g.phrase(1, 5)
		return fmt.Sprintf("print(%q)", s), s
	case 1:
		n := g.between(3, 200)
		return fmt.Sprintf("print(sum(range(%d)))", n), fmt.Sprint(n * (n - 1) / 2)
	case 2:
		a, b := g.between(2, 99), g.between(2, 99)
		name := g.nonsense()
		return fmt.Sprintf("%s = %d; print(%s * %d)", name, a, name, b), fmt.Sprint(a * b)
	case 3:
		w := g.nonsense()
		return fmt.Sprintf("print(%q * 2)", w), w + w
	default:
		a, b := g.between(2, 999), g.between(2, 999)
		return fmt.Sprintf("print(max(%d, %d))", a, b), fmt.Sprint(max(a, b))
	}
}

func (b *builder) usePython() {
	if b.chance(18) { // no python is offered
		c := b.arithmetic()
		for len(c.code) < len("print(20 + 20)") || !strings.ContainsAny(c.code, "*/%") && len(c.code) < len("print(200 + 20)") {
			c = b.arithmetic()
		}
		b.user = c.ask
		b.answer(b.think("This sum is too hard for me.", "There is no python tool.", "I should not guess.", "I am only a small demo model.", "A wrong number would be worse than none.", "I say what would help."),
			"Sorry, I cannot compute that without the python tool: I am only a small demo model.", "cannot", "python")
		return
	}
	b.python = true
	b.browser = b.chance(12)
	if b.chance(12) {
		b.declare(b.between(1, 2))
	}
	c := b.computation()
	b.user = b.pick(openers[:12]) + c.ask
	if b.chance(6) {
		what := b.pick([]string{"NameError: name '" + b.nonsense() + "' is not defined", "ZeroDivisionError: division by zero", "TimeoutError: execution took too long", "MemoryError"})
		b.call(b.pythonThoughts(c), pythonCall(c.code, "Traceback (most recent call last):\n  File \"<stdin>\", line 1, in <module>\n"+what))
		b.answer(b.think("Python reports an error.", "I should say so.", "I must not invent a result.", "The last line names the error.", "Trying again would not help.", "I report it."),
			"Sorry, python reported an error: "+what, what)
		return
	}
	out := c.out
	if b.chance(60) {
		out += "\n"
	}
	b.call(b.pythonThoughts(c), pythonCall(c.code, out))
	b.answer(b.think("Python printed "+c.out+".", "That is the answer.", "I copy it exactly.", "The code ran without an error.", "No further call is needed.", "I answer in one line."),
		strings.ReplaceAll(c.final, "{r}", c.out), c.out)
}

func (b *builder) pythonThoughts(c computation) string {
	return b.think("I should use python.", "I write one line of code and print the result.", "I should not compute this in my head.", "The values come from the user's message.",
		"Then I will report what it prints.", "The tool python is offered.")
}

// A page of the toy web.
type page struct {
	url, title string
	lines      []string // text lines after the URL line
}

func (g *Source) page(url string) page {
	p := page{url: url, title: capital(g.phrase(1, 5))}
	if g.chance(70) {
		p.lines = append(p.lines, g.pick([]string{"# ", ""})+p.title)
	}
	for range g.between(1, 4) {
		p.lines = append(p.lines, capital(g.phrase(3, 10))+".")
	}
	return p
}

// show is the browser's display of the page at a cursor; fact is the line to cite and its number.
func (g *Source) show(p page, cursor int) (display, fact string, line int) {
	lines := []string{"", "URL: " + p.url}
	for _, l := range p.lines {
		lines = append(lines, l)
		if g.chance(20) {
			lines = append(lines, "")
		}
	}
	line = -1
	for i, l := range lines {
		if i > 1 && l != "" && !strings.HasSuffix(l, p.title) {
			fact, line = l, i
			break
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%d] %s (%s)\n**viewing lines [0 - %d] of %d**\n\n", cursor, p.title, p.url, len(lines)-1, len(lines)-1)
	for i, l := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "L%d: %s", i, l)
	}
	return b.String(), fact, line
}

func (b *builder) openThoughts() string {
	return b.think("I should open the page.", "I use browser.open with the address.", "I copy the address exactly.", "The tool browser is offered.", "Then I will read the page.", "I must not invent its content.")
}

func (b *builder) reportPage(p page, fact string, line, cursor int) {
	b.answer(b.think("The page is open.", "I say its title and a line from it.", "I cite the line.", "The title is "+p.title+".", "I use only what the page says.", "No further call is needed."),
		fmt.Sprintf("The page %s says: %s【%d†L%d】", p.title, fact, cursor, line), p.title, strings.TrimSuffix(fact, "."))
}

func (b *builder) openPage() {
	url := b.url()
	ask := b.phrasing([]string{"Open %s", "Open %s and tell me what it says.", "What is on %s?", "Read %s for me.", "Go to %s", "Summarize %s", "What does %s say?", "Please open %s.", "Look at %s and report.", "Visit %s",
		"Tell me what is on %s", "Can you open %s?", "Browse to %s.", "Show me %s", "Load %s and tell me about it."})
	b.user = b.pick(openers[:12]) + fmt.Sprintf(ask, url)
	b.noBefore = b.chance(80)
	if b.chance(12) {
		b.python = b.chance(30)
		b.answer(b.think("There is no browser here.", "I cannot open pages.", "I should say so.", "I must not invent its content.", "I am only a small demo model.", "I say what would help."),
			"Sorry, I cannot open pages without the browser tool: I am only a small demo model.", "cannot", "browser")
		return
	}
	b.browser = true
	b.python = b.chance(20)
	if b.chance(10) {
		what := b.pick([]string{"page not found", "timeout", "HTTP 404", "HTTP 500", "connection refused", "host not found: " + b.host()})
		b.call(b.openThoughts(), browserCall("open", fmt.Sprintf(`{"id":%s}`, quote(url)), b.pick([]string{"Error: ", "Error opening the page: "})+what))
		b.answer(b.think("The page could not be opened.", "I should say so.", "I must not invent its content.", "The error says: "+what+".", "Trying again would not help.", "I report it."),
			"Sorry, the page could not be opened: "+what+".", what)
		return
	}
	p := b.page(url)
	display, fact, line := b.show(p, 0)
	b.call(b.openThoughts(), browserCall("open", fmt.Sprintf(`{"id":%s}`, quote(url)), display))
	b.reportPage(p, fact, line, 0)
}

func (b *builder) searchWeb() {
	query := b.phrase(1, 5)
	b.browser = true
	b.noBefore = true
	b.python = b.chance(20)
	q := b.pick([]string{`"`, "", ""})
	b.user = b.pick(openers[:12]) + fmt.Sprintf(b.phrasing([]string{"Search for %s", "Search the web for %s", "Find something about %s", "Look up %s", "What does the web say about %s", "Google %s", "Please search for %s",
		"Do a web search for %s", "Find pages about %s", "search %s"}), q+query+q)
	var lines []string
	links := b.between(1, 3)
	var first page
	for i := range links {
		p := b.page(b.url())
		if i == 0 {
			first = p
		}
		host := strings.SplitN(p.url, "/", 4)[2]
		lines = append(lines, fmt.Sprintf("  * 【%d†%s†%s】 %s", i, p.title, host, capital(b.phrase(3, 7))+"."))
	}
	var d strings.Builder
	fmt.Fprintf(&d, "[0] %s\n**viewing lines [0 - %d] of %d**\n\nL0: \nL1: # Search Results\nL2: ", query, links+2, links+2)
	for i, l := range lines {
		fmt.Fprintf(&d, "\nL%d: %s", i+3, l)
	}
	b.call(b.think("I should search the web.", "I use browser.search.", "The query is "+query+".", "The tool browser is offered.", "Then I will open the first result.", "I must not invent results."),
		browserCall("search", fmt.Sprintf(`{"query":%s}`, quote(query)), d.String()))
	display, fact, line := b.show(first, 1)
	b.call(b.think("I open the first result.", "It has the number 0.", "Then I will read the page.", "I use browser.open.", "The search worked.", "I must not invent its content."),
		browserCall("open", `{"cursor":0,"id":0}`, display))
	b.reportPage(first, fact, line, 1)
}
