package corpus

import (
	"strings"
)

// ways is how people mention a parameter's value without naming the parameter. "^" puts it in front of the object.
var ways = map[string][]string{
	"city": {"in {v}", "for {v}", "at {v}"}, "location": {"in {v}", "for {v}", "at {v}", "near {v}"}, "place": {"in {v}", "at {v}"},
	"destination": {"to {v}", "going to {v}"}, "arrival": {"to {v}", "arriving in {v}"}, "to_place": {"to {v}"}, "target_city": {"to {v}"},
	"origin": {"from {v}", "starting in {v}"}, "departure": {"from {v}", "leaving {v}"}, "from_place": {"from {v}"}, "source_city": {"from {v}"},
	"name": {"called {v}", "named {v}", "of {v}"}, "person": {"for {v}", "of {v}", "with {v}"}, "recipient": {"to {v}", "for {v}"}, "owner": {"of {v}", "owned by {v}"},
	"user_id": {"of user {v}", "for user {v}", "{v}"}, "id": {"{v}", "number {v}", "with id {v}"}, "code": {"{v}", "with code {v}"}, "number": {"{v}", "number {v}"},
	"account": {"of account {v}", "for account {v}"}, "source_account": {"from {v}", "from account {v}"}, "target_account": {"to {v}", "into {v}"},
	"key": {"{v}", "under {v}"}, "label": {"labelled {v}", "with the label {v}"}, "category": {"of the category {v}", "from {v}"}, "topic": {"about {v}", "on {v}"},
	"email": {"at {v}", "to {v}"}, "to": {"to {v}"}, "sender": {"from {v}"}, "date": {"on {v}", "for {v}"}, "day": {"on {v}", "for {v}"}, "start_date": {"from {v}", "starting {v}", "from {v} on"},
	"end_date": {"until {v}", "to {v}"}, "arrival_date": {"from {v}", "on {v}"}, "time": {"at {v}"}, "url": {"at {v}", "from {v}", "{v}"}, "link": {"at {v}", "from {v}"},
	"query": {"for {v}", "about {v}"}, "text": {"saying {v}", "with the text {v}", "that says {v}"}, "message": {"saying {v}", "that says {v}"},
	"title": {"titled {v}", "called {v}", "with title {v}"}, "subject": {"with subject {v}", "about {v}"}, "note": {"with the note {v}"}, "content": {"saying {v}", "with content {v}"},
	"amount": {"of {v}", "over {v}"}, "price": {"for {v}", "at {v}"}, "percentage": {"at {v} percent", "of {v} percent", "^{v} percent"}, "rate": {"^{v} percent", "at {v}%", "^{v}%"},
	"bill": {"on {v}", "for a bill of {v}"}, "quantity": {"times {v}", "with quantity {v}"}, "limit": {"with at most {v} results", "limited to {v}"}, "page": {"on page {v}"},
	"stay": {"for {v} nights"}, "day_count": {"for {v} days", "for the next {v} days"}, "guests": {"for {v} people", "for {v} guests"}, "hours": {"for {v} hours"},
	"minutes": {"for {v} minutes", "in {v} minutes"}, "duration_minutes": {"for {v} minutes", "lasting {v} minutes"}, "level": {"at level {v}", "with level {v}"}, "speed": {"at speed {v}"},
	"width": {"{v} pixels wide"}, "height": {"{v} pixels high"}, "currency": {"in {v}"}, "language": {"in {v}", "to {v}", "into {v}"}, "to_language": {"into {v}", "to {v}"}, "lang": {"in {v}"},
	"color": {"^{v}", "in {v}"}, "path": {"at {v}", "in {v}"}, "file": {"{v}", "in the file {v}"}, "tags": {"tagged {v}", "with tags {v}", "with the tags {v}"}, "labels": {"labelled {v}", "with labels {v}"},
	"items": {"with {v}", "of {v}"}, "names": {"for {v}", "with {v}"}, "unit": {"in {v} units", "in {v}"}, "units": {"in {v}"}, "format": {"as {v}", "in {v} format"},
	"priority": {"^{v} priority", "with {v} priority", "with priority {v}"}, "severity": {"^{v} severity", "with {v} severity"}, "status": {"^{v}", "with status {v}"}, "size": {"^{v}", "in size {v}"},
	"mode": {"in {v} mode"}, "room": {"in the {v}", "of the {v}", "for the {v}"}, "device": {"of the {v}", "on the {v}"}, "zone": {"in {v}", "for {v}"}, "tz": {"in {v}"},
	"ticker": {"of {v}", "for {v}"}, "symbol": {"of {v}", "for {v}"}, "team": {"for the {v} team", "of team {v}"}, "year": {"in {v}", "for {v}"},
}

// moreParameters come with natural ways to say them.
var moreParameters = []parameter{
	{name: "arrival", kind: kindCity, description: "Where the journey ends"}, {name: "departure", kind: kindCity, description: "Where the journey starts"},
	{name: "to_place", kind: kindCity}, {name: "from_place", kind: kindCity}, {name: "number", kind: kindID, description: "The number"},
	{name: "source_account", kind: kindWord, description: "Account to take from"}, {name: "target_account", kind: kindWord, description: "Account to give to"},
	{name: "sender", kind: kindPerson, description: "Who sends it"}, {name: "day", kind: kindDate, description: "The day as YYYY-MM-DD"},
	{name: "arrival_date", kind: kindDate, description: "First night"}, {name: "content", kind: kindPhrase, description: "The content"},
	{name: "percentage", kind: kindNumber}, {name: "rate", kind: kindInteger, description: "In percent"}, {name: "bill", kind: kindNumber, description: "Amount of the bill"},
	{name: "stay", kind: kindInteger, description: "Number of nights"}, {name: "day_count", kind: kindInteger, description: "Number of days"},
	{name: "guests", kind: kindInteger, description: "Number of guests"}, {name: "hours", kind: kindInteger}, {name: "minutes", kind: kindInteger},
	{name: "duration_minutes", kind: kindInteger, description: "Duration in minutes"}, {name: "speed", kind: kindInteger}, {name: "to_language", kind: kindLanguage, description: "Language to translate to"},
	{name: "lang", kind: kindLanguage}, {name: "file", kind: kindPath, description: "The file"}, {name: "labels", kind: kindWords, description: "Labels to attach"},
	{name: "severity", kind: kindEnum, enum: []string{"minor", "major", "critical"}}, {name: "room", kind: kindRoom, description: "Name of the room"},
	{name: "device", kind: kindRoom, description: "The device"}, {name: "zone", kind: kindZone, description: "IANA time zone name"}, {name: "tz", kind: kindZone, description: "Time zone like Area/City"},
	{name: "team", kind: kindWord}, {name: "year", kind: kindInteger}, {name: "symbol", kind: kindID, description: "Symbol of a stock"},
}

// synonyms are other words for what a function does.
var synonyms = map[string][]string{
	"get": {"show me", "give me", "tell me", "fetch", "look up", "I need"}, "fetch": {"get", "show me", "load"}, "find": {"look up", "search for", "look for", "find me"},
	"search": {"find", "search for", "look for"}, "list": {"show me", "list", "what are", "give me"}, "create": {"make", "add", "open", "set up"}, "add": {"create", "put in", "insert"},
	"remove": {"delete", "take away", "drop"}, "delete": {"remove", "get rid of"}, "update": {"change", "edit"}, "set": {"change", "put"}, "start": {"begin", "turn on", "switch on"},
	"stop": {"end", "turn off", "switch off", "halt"}, "cancel": {"call off", "stop"}, "book": {"reserve"}, "reserve": {"book"}, "compute": {"calculate", "work out"},
	"calculate": {"compute", "work out"}, "check": {"look at", "have a look at"}, "send": {"mail", "send out"}, "verify": {"check"}, "track": {"follow", "where is"}, "show": {"display"},
}

var naturalFrames = []string{"{do}", "{do}", "{do}.", "{do} please", "Please {do}.", "Can you {do}?", "please {do}", "Could you {do}?", "I want to {do}.", "{do}!", "I need you to {do}.",
	"I'd like to {do}.", "can you {do} for me?", "Would you {do}, please?", "You should {do}.", "could you please {do}", "Help me to {do}.", "Let us {do}.", "hey, {do}", "Kindly {do}."}

// natural asks for a call in plain words: "Book the red hotel in Vienna for 3 nights".
func (g *Source) natural(t tool, args []argument) string {
	verb := t.verb
	if others := synonyms[verb]; len(others) > 0 && g.chance(25) {
		verb = g.pick(others)
	}
	object, front := t.object, ""
	var rest []string
	for _, a := range args {
		way := g.way(a)
		if before, ok := strings.CutPrefix(way, "^"); ok && front == "" && strings.HasPrefix(object, "the ") {
			front = before + " "
			continue
		}
		rest = append(rest, strings.TrimPrefix(way, "^"))
	}
	if bare, ok := strings.CutPrefix(object, "the "); ok {
		article := g.pick([]string{"the ", "the ", "a ", "my "})
		if front == "" && article == "a " && strings.ContainsRune("aeiou", rune(bare[0])) {
			article = "an "
		}
		object = article + front + bare
	}
	if g.chance(50) {
		g.r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	}
	do := verb + " " + object
	for i, r := range rest {
		if i > 0 {
			do += g.pick([]string{" ", " ", " ", ", ", " and "}) + r
		} else {
			do += " " + r
		}
	}
	frame := g.phrasing(naturalFrames)
	if strings.HasPrefix(frame, "{do}") && g.chance(60) {
		do = capital(do)
	}
	return strings.Replace(frame, "{do}", do, 1)
}

// way is one mention of an argument.
func (g *Source) way(a argument) string {
	h := human(a.name)
	if a.kind == kindBoolean {
		return g.pick([]string{"with " + h + " " + a.said, h + " " + a.said, map[string]string{"true": "with " + h, "false": "without " + h}[a.json], h + "=" + a.said})
	}
	list := ways[a.name]
	if len(list) == 0 || g.chance(12) {
		list = []string{"with " + h + " {v}", h + " {v}", "with the " + h + " {v}", "where the " + h + " is {v}"}
	}
	return strings.Replace(g.pick(list), "{v}", a.said, 1)
}

// follow is a short question for the same call with another value.
func (g *Source) follow(a argument) string {
	h := human(a.name)
	return strings.NewReplacer("{v}", a.said, "{h}", h).Replace(g.phrasing([]string{"And {v}?", "What about {v}?", "And in {v}?", "and {v}", "How about {v}?", "Now {v}.", "And for {v}?", "The same for {v}, please.", "Same with {v}", "And with {v}?",
		"Now with {h} {v}.", "Again, but with {h} {v}.", "OK, and {v}?", "what about {v}", "Do it again for {v}."}))
}
