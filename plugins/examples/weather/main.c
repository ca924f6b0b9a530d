// weather asks open-meteo.com for the weather at a position, through the host's /host/http.
#include "host.h"

#define API "https://api.open-meteo.com/v1/forecast"

// describe returns the words for a code of the WMO (table 4677, as far as forecasts use it).
static const char *describe(int code) {
	static const struct { int code; const char *words; } table[] = {
		{0, "clear sky"}, {1, "mainly clear"}, {2, "partly cloudy"}, {3, "overcast"}, {45, "fog"}, {48, "rime fog"},
		{51, "light drizzle"}, {53, "drizzle"}, {55, "dense drizzle"}, {56, "light freezing drizzle"},
		{57, "freezing drizzle"}, {61, "light rain"}, {63, "rain"}, {65, "heavy rain"}, {66, "light freezing rain"},
		{67, "freezing rain"}, {71, "light snow"}, {73, "snow"}, {75, "heavy snow"}, {77, "snow grains"},
		{80, "light showers"}, {81, "showers"}, {82, "violent showers"}, {85, "light snow showers"},
		{86, "snow showers"}, {95, "thunderstorm"}, {96, "thunderstorm with hail"}, {99, "thunderstorm with heavy hail"},
	};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (table[i].code == code) return table[i].words;
	return "unknown weather";
}

// ask returns the member of the API's answer that holds the data.
static json *ask(const json *args, const char *member, const char *wanted) {
	double latitude = tool_number(args, "latitude"), longitude = tool_number(args, "longitude");
	if (!(fabs(latitude) <= 90) || !(fabs(longitude) <= 180))
		tool_fail(TOOL_BAD_ARGUMENTS, "latitude must be -90 to 90 and longitude -180 to 180");
	char url[512];
	snprintf(url, sizeof url, API "?latitude=%.2f&longitude=%.2f&timezone=auto&%s", latitude, longitude, wanted);
	json *answer = host_get(url), *status = json_get(answer, "status"), *body = json_get(answer, "body");
	json *data = body && body->kind == JSON_STRING ? json_parse(body->text, body->len) : NULL;
	if (status->number != 200) {
		json *reason = json_get(data, "reason");
		tool_fail(TOOL_FAILED, "open-meteo.com answers %.0f: %s", status->number,
		          reason && reason->kind == JSON_STRING ? reason->text : "it gives no reason");
	}
	json *found = json_get(data, member);
	if (!found) tool_fail(TOOL_FAILED, "the answer of open-meteo.com has no member \"%s\"", member);
	return found;
}

static const char *text_of(const json *v) { return v && v->kind == JSON_STRING ? v->text : "?"; }

// number_of is not a number where the API knows nothing, which it writes as null.
static double number_of(const json *v) { return v && v->kind == JSON_NUMBER ? v->number : NAN; }

static void now(const json *args) {
	json *c = ask(args, "current", "current=temperature_2m,apparent_temperature,relative_humidity_2m,precipitation,weather_code,wind_speed_10m");
	printf("%s: %s, %.1f °C (feels like %.1f °C), humidity %.0f %%, wind %.0f km/h, precipitation %.1f mm\n",
	       text_of(json_get(c, "time")), describe((int)number_of(json_get(c, "weather_code"))), number_of(json_get(c, "temperature_2m")),
	       number_of(json_get(c, "apparent_temperature")), number_of(json_get(c, "relative_humidity_2m")),
	       number_of(json_get(c, "wind_speed_10m")), number_of(json_get(c, "precipitation")));
}

static void forecast(const json *args) {
	json *days = json_get(args, "days");
	int n = days ? (int)tool_number(args, "days") : 3;
	if (n < 1 || n > 16) tool_fail(TOOL_BAD_ARGUMENTS, "days must be 1 to 16");
	char wanted[200];
	snprintf(wanted, sizeof wanted, "daily=weather_code,temperature_2m_max,temperature_2m_min,precipitation_sum&forecast_days=%d", n);
	json *daily = ask(args, "daily", wanted);
	// The API answers with one list for each kind of data.
	const char *names[] = {"time", "weather_code", "temperature_2m_min", "temperature_2m_max", "precipitation_sum"};
	json *at[5];
	for (int i = 0; i < 5; i++) {
		json *list = json_get(daily, names[i]);
		if (!list || list->kind != JSON_ARRAY) tool_fail(TOOL_FAILED, "the answer of open-meteo.com has no list \"%s\"", names[i]);
		at[i] = list->child;
	}
	while (at[0] && at[1] && at[2] && at[3] && at[4]) {
		printf("%s: %s, %.0f to %.0f °C, precipitation %.1f mm\n", text_of(at[0]), describe((int)number_of(at[1])),
		       number_of(at[2]), number_of(at[3]), number_of(at[4]));
		for (int i = 0; i < 5; i++) at[i] = at[i]->next;
	}
}

int main(int argc, char **argv) {
	const char *tool = argc > 1 ? argv[1] : "";
	if (!strcmp(tool, "now")) now(tool_arguments());
	else if (!strcmp(tool, "forecast")) forecast(tool_arguments());
	else tool_fail(TOOL_FAILED, "no tool is called \"%s\"", tool);
	return TOOL_OK;
}
