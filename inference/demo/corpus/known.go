package corpus

// alias is a tool written once with the names it goes by.
type alias struct {
	names []string
	tool
}

func required(p ...parameter) []parameter {
	for i := range p {
		p[i].required = true
	}
	return p
}

// everyday are functions that people declare in examples; their names and phrasings occur in training.
var everyday = []alias{
	{[]string{"get_weather", "get_current_weather", "getWeather", "weather", "lookup_weather", "current_weather"}, tool{
		description: "Gets the current weather for a city", known: "weather",
		parameters: append(required(parameter{name: "city", description: "City name", kind: kindCity}),
			parameter{name: "unit", kind: kindEnum, enum: []string{"celsius", "fahrenheit"}}),
		asks: []string{"What is the weather in {city}?", "What's the weather like in {city}?", "How is the weather in {city} today?",
			"weather in {city}", "Is it warm in {city}?", "Will it rain in {city}?", "Tell me the weather for {city}.", "Weather for {city} please",
			"what's the weather in {city}", "How cold is it in {city} right now?", "What is the weather in {city} in {unit}?", "Weather in {city}, in {unit} please",
			"Do I need a coat in {city}?", "what is the weather like in {city} today", "use the weather tool for {city}", "Check the weather in {city}."}}},
	{[]string{"get_weather", "get_current_weather", "fetch_weather", "weather_lookup"}, tool{
		description: "Get current temperature for a given location.", known: "weather",
		parameters: append(required(parameter{name: "location", description: "City and country e.g. Bogota, Colombia", kind: kindCity}),
			parameter{name: "units", description: "Units the temperature will be returned in.", kind: kindEnum, enum: []string{"celsius", "fahrenheit"}}),
		asks: []string{"What is the weather in {location}?", "What's the weather like in {location} today?", "How warm is it in {location}?",
			"weather {location}", "How's the weather in {location}?", "What is the temperature in {location}?", "What's the weather in {location} in {units}?",
			"Is it raining in {location}?", "Tell me about the weather in {location}.", "Please check the weather in {location}."}}},
	{[]string{"get_horoscope"}, tool{description: "Get today's horoscope for an astrological sign.", known: "text",
		parameters: required(parameter{name: "sign", description: "An astrological sign like Taurus or Aquarius", kind: kindEnum,
			enum: []string{"Aries", "Taurus", "Gemini", "Leo", "Virgo", "Libra", "Pisces", "Aquarius", "Capricorn"}}),
		asks: []string{"What is my horoscope? I am an {sign}.", "What is my horoscope? I am a {sign}.", "Horoscope for {sign} please", "I'm a {sign}. What does my horoscope say?",
			"Read me today's horoscope for {sign}."}}},
	{[]string{"send_email", "sendEmail", "send_mail"}, tool{description: "Send an email to a given recipient with a subject and message.", known: "sent",
		parameters: required(parameter{name: "to", description: "The recipient email address.", kind: kindEmail},
			parameter{name: "subject", description: "Email subject line.", kind: kindPhrase}, parameter{name: "body", description: "Body of the email message.", kind: kindPhrase}),
		asks: []string{"Send an email to {to} with subject {subject} and body {body}.", "Email {to}: subject {subject}, text {body}", "Write a mail to {to}, subject {subject}, saying {body}",
			"Can you send {to} an email titled {subject} that says {body}?", "Please mail {to} about {subject}: {body}"}}},
	{[]string{"get_stock_price", "stock_price", "getStockPrice"}, tool{description: "Returns the price of a stock", known: "price",
		parameters: required(parameter{name: "symbol", description: "Ticker symbol", kind: kindID}),
		asks: []string{"What is the stock price of {symbol}?", "Price of {symbol}?", "How much is {symbol} worth?", "Give me the price of {symbol}.", "Where does {symbol} trade right now?",
			"stock price for {symbol} please"}}},
	{[]string{"convert_currency", "exchange", "convertCurrency"}, tool{description: "Converts an amount between currencies", known: "number",
		parameters: required(parameter{name: "amount", kind: kindNumber}, parameter{name: "from", kind: kindCurrency}, parameter{name: "to", kind: kindCurrency}),
		asks:       []string{"Convert {amount} {from} to {to}.", "How much is {amount} {from} in {to}?", "What are {amount} {from} in {to}?", "{amount} {from} to {to}", "Change {amount} {from} into {to}, please."}}},
	{[]string{"get_time", "get_current_time", "time_in"}, tool{description: "Gets the local time of a place", known: "time",
		parameters: required(parameter{name: "place", description: "City or time zone", kind: kindCity}),
		asks:       []string{"What time is it in {place}?", "What's the time in {place}?", "time in {place}?", "Tell me the local time in {place}.", "How late is it in {place}?"}}},
	{[]string{"lookup_user", "get_user", "find_user", "getUser"}, tool{description: "Looks up a user by id", known: "user",
		parameters: required(parameter{name: "id", description: "User id", kind: kindID}),
		asks:       []string{"Please look up user {id}.", "Who is user {id}?", "Find the user with id {id}.", "Look up the user {id}.", "Show me user {id}."}}},
	{[]string{"search_flights", "find_flights", "searchFlights"}, tool{description: "Searches flights between two cities", known: "flight",
		parameters: required(parameter{name: "origin", kind: kindCity}, parameter{name: "destination", kind: kindCity}, parameter{name: "date", kind: kindDate}),
		asks: []string{"Find a flight from {origin} to {destination} on {date}.", "I want to fly from {origin} to {destination} on {date}.", "Flights {origin} to {destination}, {date}",
			"Search flights from {origin} to {destination} for {date}.", "Is there a plane from {origin} to {destination} on {date}?"}}},
	{[]string{"create_event", "add_event", "schedule_meeting"}, tool{description: "Creates a calendar event", known: "created",
		parameters: required(parameter{name: "title", kind: kindPhrase}, parameter{name: "date", kind: kindDate}, parameter{name: "time", kind: kindTime}),
		asks: []string{"Create an event {title} on {date} at {time}.", "Put {title} in my calendar for {date} at {time}.", "Schedule {title} on {date}, {time}.", "Add an event called {title} on {date} at {time}.",
			"Book {title} for {date} at {time}."}}},
	{[]string{"set_reminder", "remind_me", "add_reminder"}, tool{description: "Sets a reminder", known: "created",
		parameters: required(parameter{name: "text", kind: kindPhrase}, parameter{name: "time", kind: kindTime}),
		asks:       []string{"Remind me at {time}: {text}", "Set a reminder {text} for {time}.", "At {time}, remind me of {text}.", "Please remind me {text} at {time}.", "Reminder at {time}: {text}"}}},
	{[]string{"translate", "translate_text"}, tool{description: "Translates text into a language", known: "text",
		parameters: required(parameter{name: "text", kind: kindPhrase}, parameter{name: "language", kind: kindLanguage}),
		asks:       []string{"Translate {text} into {language}.", "How do you say {text} in {language}?", "Please translate {text} to {language}.", "{text} in {language}, please", "What is {text} in {language}?"}}},
	{[]string{"add", "add_numbers", "sum"}, tool{description: "Adds two numbers", known: "number",
		parameters: required(parameter{name: "a", kind: kindNumber}, parameter{name: "b", kind: kindNumber}),
		asks:       []string{"What is {a} plus {b}?", "Add {a} and {b}.", "What is {a} + {b}?", "{a} + {b}", "Sum {a} and {b}, please."}}},
	{[]string{"multiply", "mul", "multiply_numbers"}, tool{description: "Multiplies two numbers", known: "number",
		parameters: required(parameter{name: "a", kind: kindNumber}, parameter{name: "b", kind: kindNumber}),
		asks:       []string{"What is {a} times {b}?", "Multiply {a} by {b}.", "What is {a} * {b}?", "{a} * {b}", "Take {a} times {b}."}}},
	{[]string{"calculate", "calculator", "eval_expression"}, tool{description: "Evaluates an arithmetic expression", known: "number",
		parameters: required(parameter{name: "expression", kind: kindExpr}),
		asks:       []string{"What is {expression}?", "Calculate {expression}.", "Compute {expression}", "{expression} = ?", "How much is {expression}?"}}},
	{[]string{"search_web", "web_search", "search"}, tool{description: "Searches the web", known: "text",
		parameters: required(parameter{name: "query", description: "Search query", kind: kindPhrase}),
		asks:       []string{"Search the web for {query}.", "Look up {query} online.", "Google {query}", "Find something about {query}.", "Search for {query}, please."}}},
	{[]string{"play_song", "play_music", "playSong"}, tool{description: "Plays a song", known: "sent",
		parameters: required(parameter{name: "title", kind: kindPhrase}, parameter{name: "artist", kind: kindPerson}),
		asks:       []string{"Play {title} by {artist}.", "I want to hear {title} by {artist}.", "Put on {title} from {artist}.", "Please play {title} by {artist}.", "Start the song {title} by {artist}."}}},
	{[]string{"set_temperature", "setTemperature", "set_thermostat"}, tool{description: "Sets the temperature of a room", known: "sent",
		parameters: required(parameter{name: "room", kind: kindWord}, parameter{name: "degrees", kind: kindInteger, integer: true}),
		asks:       []string{"Set the {room} to {degrees} degrees.", "Make it {degrees} degrees in the {room}.", "{room}: {degrees} degrees please", "Heat the {room} to {degrees} degrees.", "Turn the {room} to {degrees} degrees."}}},
	{[]string{"find_restaurants", "search_restaurants"}, tool{description: "Finds restaurants in a city", known: "list",
		parameters: required(parameter{name: "city", kind: kindCity}, parameter{name: "cuisine", kind: kindWord}),
		asks:       []string{"Find {cuisine} restaurants in {city}.", "Where can I eat {cuisine} in {city}?", "{cuisine} food in {city}", "Show me {cuisine} places in {city}.", "Restaurants in {city} with {cuisine} please."}}},
	{[]string{"get_order_status", "order_status", "track_order", "getOrderStatus"}, tool{description: "Gets the status of an order", known: "status",
		parameters: required(parameter{name: "order_id", kind: kindID}),
		asks:       []string{"Where is my order {order_id}?", "What is the status of order {order_id}?", "Track order {order_id}.", "Has order {order_id} been shipped?", "Order {order_id}, please check it."}}},
	{[]string{"get_distance", "distance"}, tool{description: "Gets the distance between two places", known: "number",
		parameters: required(parameter{name: "from", kind: kindCity}, parameter{name: "to", kind: kindCity}),
		asks:       []string{"How far is it from {from} to {to}?", "Distance between {from} and {to}?", "How many miles from {from} to {to}?", "distance {from} to {to}", "What lies between {from} and {to}, in km?"}}},
	{[]string{"read_file", "readFile", "open_file", "cat"}, tool{description: "Reads a file", known: "text",
		parameters: required(parameter{name: "path", kind: kindPath}),
		asks:       []string{"Read {path}.", "Show me the file {path}.", "What is in {path}?", "Open {path} please", "Print the contents of {path}."}}},
	{[]string{"list_files", "ls", "list_directory"}, tool{description: "Lists the files of a folder", known: "list",
		parameters: required(parameter{name: "path", kind: kindPath}),
		asks:       []string{"List the files in {path}.", "What files are in {path}?", "Show the folder {path}.", "ls {path}", "Which files does {path} hold?"}}},
	{[]string{"switch_lamp", "toggle_device", "set_switch", "switchDevice"}, tool{description: "Switches a device on or off", known: "sent",
		parameters: required(parameter{name: "device", kind: kindRoom}, parameter{name: "state", kind: kindSwitch}),
		asks: []string{"Turn {state} the {device}.", "Turn the {device} {state}", "turn {state} the light in the {device}", "Switch {state} the {device} please", "switch the {device} {state}", "Can you turn {state} the lamp in the {device}?", "{device} {state}", "Please turn {state} the lights in the {device}.",
			"I want the {device} {state}.", "Turn {state} the heating in the {device}."}}},
	{[]string{"power", "lamp", "control_light", "setPower"}, tool{description: "Turns the lights of a room on or off", known: "sent",
		parameters: append(required(parameter{name: "area", kind: kindRoom, description: "Which room"}, parameter{name: "active", kind: kindSwitch}), parameter{name: "level", kind: kindInteger, integer: true, description: "0 to 100"}),
		asks: []string{"Turn {active} the light in the {area}.", "turn {active} the lights in the {area}", "Lights {active} in the {area}!", "Switch {active} the {area} light", "Turn {active} the {area} lights at {level}", "Make the {area} light {active}.", "Please turn the lights in the {area} {active}.",
			"Turn {active} the lamp in the {area} with {level} percent", "Set the {area} lights to {level} and {active}."}}},
	{[]string{"reserve_room", "reserveRoom", "rent_flat", "stay"}, tool{description: "Reserves a place to sleep", known: "created",
		parameters: required(parameter{name: "place", kind: kindCity}, parameter{name: "first_night", kind: kindDate}, parameter{name: "count", kind: kindInteger, integer: true, description: "Number of nights"}),
		asks:       []string{"Book a room in {place} for {count} nights from {first_night}.", "Reserve a hotel room in {place} from {first_night} for {count} nights", "I need a hotel in {place} from {first_night}, {count} nights", "Book me a hotel in {place}, {count} nights starting {first_night}.", "{count} nights in {place} from {first_night} please", "Find a place to stay in {place} on {first_night} for {count} nights.", "a flat in {place} for {count} nights, arriving {first_night}"}}},
	{[]string{"open_issue", "report_bug", "openIssue", "file_case"}, tool{description: "Opens an issue in the tracker", known: "created",
		parameters: append(required(parameter{name: "summary", kind: kindPhrase}, parameter{name: "severity", kind: kindEnum, enum: []string{"low", "medium", "high"}}), parameter{name: "labels", kind: kindWords}),
		asks: []string{"Open a {severity} severity issue called {summary}.", "File an issue {summary}, severity {severity}, labels {labels}", "Open an issue titled {summary} with {severity} severity", "Report a {severity} bug: {summary}", "Create a {severity} severity case titled {summary}", "Open a {severity} issue titled {summary} and labels {labels}.",
			"Report {summary} as a {severity} problem, tagged {labels}", "New issue: {summary}, {severity}", "File a bug {summary} with severity {severity} and labels {labels}."}}},
	{[]string{"compute_tip", "tip", "service_charge"}, tool{description: "Computes a tip", known: "number",
		parameters: required(parameter{name: "bill", kind: kindNumber}, parameter{name: "rate", kind: kindInteger, integer: true, description: "Percent"}),
		asks:       []string{"How much is a {rate} percent tip on {bill}?", "{rate}% tip on {bill}", "What is a {rate}% tip for a bill of {bill}?", "Compute a {rate} percent tip on {bill}.", "Tip for {bill} at {rate} percent?", "Give {rate} percent on {bill}.", "calculate {rate} percent tip on {bill}"}}},
	{[]string{"send_money", "pay", "move_funds", "sendMoney"}, tool{description: "Moves money from one account to another", known: "sent",
		parameters: required(parameter{name: "source", kind: kindAccount}, parameter{name: "target", kind: kindAccount}, parameter{name: "sum", kind: kindNumber}),
		asks:       []string{"Move {sum} from {source} to {target}.", "Send {sum} from {source} to {target}", "Pay {sum} from {source} to {target}", "Take {sum} out of {source} and put it into {target}.", "move {sum} dollars from {source} to {target}", "From {source} to {target}: {sum}", "Please transfer {sum} from my {source} account to {target}."}}},
	{[]string{"interpret", "to_language", "say_in"}, tool{description: "Translates a sentence", known: "text",
		parameters: required(parameter{name: "sentence", kind: kindPhrase}, parameter{name: "to", kind: kindLanguage, description: "The language to translate into"}),
		asks:       []string{"Translate {sentence} to {to}", "Translate {sentence} into {to}.", "What is {sentence} in {to}?", "How do I say {sentence} in {to}?", "say {sentence} in {to}", "{sentence} in {to} please", "Put {sentence} into {to}."}}},
	{[]string{"list_members", "all_members", "show_team", "listMembers"}, tool{description: "Lists the members of the team", known: "list",
		asks: []string{"List all members", "Who is in the team?", "Show all members.", "list the members", "Show me everyone in the team", "Which members are there?", "Give me all members."}}},
	{[]string{"get_profile", "profile", "fetch_person"}, tool{description: "Gets the profile of a person by number", known: "user",
		parameters: required(parameter{name: "person_id", kind: kindInteger, integer: true}),
		asks:       []string{"Get the profile of person {person_id}.", "Who is person {person_id}?", "profile {person_id}", "Show me the profile for {person_id}", "Get the info for person {person_id}", "Look up person {person_id}"}}},
	{[]string{"check_order", "find_parcel", "orderInfo"}, tool{description: "Finds out where an order is", known: "status",
		parameters: required(parameter{name: "reference", description: "Order number", kind: kindID}),
		asks:       []string{"Where is order {reference}?", "where is my order {reference}", "Look up order {reference}", "can you look up order {reference} for me", "Look up my order {reference}, please.", "What about order {reference}?", "When will {reference} arrive?", "Did order {reference} ship?"}}},
	{[]string{"forecast", "weather_forecast", "ForecastQuery", "getForecast"}, tool{known: "weather",
		parameters: append(required(parameter{name: "town", kind: kindCity}), parameter{name: "day_count", kind: kindInteger, integer: true, fallback: "1"}),
		asks:       []string{"forecast for {town}", "weather in {town} for {day_count} days", "Give me the forecast for {town} for the next {day_count} days.", "What will the weather be in {town}?", "{town} forecast, {day_count} days", "Weather in {town} over {day_count} days", "How will the weather be in {town} in the next {day_count} days?"}}},
	{[]string{"world_clock", "clock", "now_in", "getTime"}, tool{description: "Returns the time in a zone", known: "time",
		parameters: required(parameter{name: "zone", kind: kindZone, description: "IANA name"}),
		asks:       []string{"What time is it in {zone}?", "what is the current time in {zone}", "Current time in {zone}?", "Time in {zone} please", "Tell me the time in {zone}.", "time {zone}"}}},
	{[]string{"share_price", "quote", "latest_price", "marketPrice"}, tool{description: "Get the latest price of a share by its symbol, in USD. Use it for any question about the price of a company.", known: "price",
		parameters: required(parameter{name: "symbol", description: "e.g. MSFT", kind: kindID}),
		asks:       []string{"What's the price of {symbol}?", "Price of {symbol} please", "How is {symbol} doing?", "{symbol} price", "What does {symbol} cost?", "How much is {symbol}?", "Get me a quote for {symbol}."}}},
	{[]string{"post_message", "message", "notify", "sendMessage"}, tool{description: "Sends a message to a person", known: "sent",
		parameters: required(parameter{name: "receiver", kind: kindPerson}, parameter{name: "text", kind: kindPhrase}),
		asks:       []string{"Tell {receiver} {text}", "Send {receiver} the message {text}", "Send a message to {receiver} saying {text}", "Message {receiver}: {text}", "Write {receiver} that {text}", "Let {receiver} know: {text}", "Please tell {receiver} that {text}."}}},
	{[]string{"compose_mail", "write_mail", "mail", "composeMail"}, tool{description: "Writes and sends an email", known: "sent",
		parameters: required(parameter{name: "address", kind: kindEmail}, parameter{name: "headline", kind: kindPhrase, description: "Subject"}, parameter{name: "content", kind: kindPhrase, description: "The text"}),
		asks:       []string{"Send an email to {address} with subject {headline} and body {content}", "Email {address}, subject {headline}, body {content}", "Mail to {address}: subject {headline}, content {content}.", "Write to {address} about {headline}: {content}", "send an email to {address} with subject {headline} and text {content}", "Email {address} with the subject {headline} saying {content}."}}},
	{[]string{"roll_dice", "rollDice"}, tool{description: "Rolls dice", known: "number",
		parameters: required(parameter{name: "sides", kind: kindInteger, integer: true}),
		asks:       []string{"Roll a die with {sides} sides.", "Roll a {sides} sided die.", "Throw a {sides}-sided die.", "roll d{sides}", "Please roll one die, {sides} sides."}}},
}

// everydayTool draws one of them under one of its names.
func (g *Source) everydayTool(others []tool) tool {
	for {
		a := everyday[g.r.IntN(len(everyday))]
		t := a.tool
		t.name = g.pick(a.names)
		t.namespace = g.home()
		clash := false
		for _, o := range others {
			clash = clash || o.name == t.name || o.description == t.description || o.known != "" && o.known == t.known && (t.known == "weather" || t.known == "number")
		}
		if !clash {
			return t
		}
	}
}
