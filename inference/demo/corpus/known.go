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
		clash := false
		for _, o := range others {
			clash = clash || o.name == t.name || o.description == t.description || o.known != "" && o.known == t.known && (t.known == "weather" || t.known == "number")
		}
		if !clash {
			return t
		}
	}
}
