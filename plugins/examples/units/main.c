// units converts between units of measurement.
#include "json.h"

// A unit is worth value*factor + offset in the first unit of its dimension; a reciprocal one factor/value.
typedef struct {
	const char *dimension, *symbol, *names; // names: lower case, separated by bars
	double factor, offset;
	bool reciprocal;
} unit;

// Factors are exact by definition (SI brochure; international yard and pound agreement of 1959; US customary measures
// of NIST Handbook 44) except those of torr, psi and calories, which are exact quotients rounded to a double.
static const unit units[] = {
	{"length", "m", "meter|meters|metre|metres", 1},
	{"length", "km", "kilometer|kilometers|kilometre|kilometres", 1000},
	{"length", "cm", "centimeter|centimeters|centimetre|centimetres", 0.01},
	{"length", "mm", "millimeter|millimeters|millimetre|millimetres", 0.001},
	{"length", "um", "micrometer|micrometers|micrometre|micrometres|micron|microns", 1e-6},
	{"length", "nm", "nanometer|nanometers|nanometre|nanometres", 1e-9},
	{"length", "in", "inch|inches", 0.0254},
	{"length", "ft", "foot|feet", 0.3048},
	{"length", "yd", "yard|yards", 0.9144},
	{"length", "mi", "mile|miles", 1609.344},
	{"length", "nmi", "nautical mile|nautical miles", 1852},
	{"length", "au", "astronomical unit|astronomical units", 149597870700.0},
	{"length", "ly", "light year|light years|light-year|light-years", 9460730472580800.0},
	{"mass", "kg", "kilogram|kilograms", 1},
	{"mass", "g", "gram|grams", 0.001},
	{"mass", "mg", "milligram|milligrams", 1e-6},
	{"mass", "t", "tonne|tonnes|metric ton|metric tons", 1000},
	{"mass", "lb", "pound|pounds|lbs", 0.45359237},
	{"mass", "oz", "ounce|ounces", 0.028349523125},
	{"mass", "st", "stone|stones", 6.35029318},
	{"mass", "ton", "short ton|short tons|us ton|us tons", 907.18474},
	{"time", "s", "second|seconds|sec", 1},
	{"time", "ms", "millisecond|milliseconds", 0.001},
	{"time", "us", "microsecond|microseconds", 1e-6},
	{"time", "min", "minute|minutes", 60},
	{"time", "h", "hour|hours|hr", 3600},
	{"time", "d", "day|days", 86400},
	{"time", "week", "weeks", 604800},
	{"time", "year", "years|julian year|julian years", 31557600},
	{"temperature", "K", "kelvin|kelvins", 1},
	{"temperature", "C", "celsius|degree celsius|degrees celsius|°c", 1, 273.15},
	{"temperature", "F", "fahrenheit|degree fahrenheit|degrees fahrenheit|°f", 5.0 / 9, 459.67 * 5 / 9},
	{"area", "m2", "square meter|square meters|square metre|square metres|m^2|m²", 1},
	{"area", "km2", "square kilometer|square kilometers|square kilometre|square kilometres|km^2|km²", 1e6},
	{"area", "cm2", "square centimeter|square centimeters|square centimetre|square centimetres|cm^2|cm²", 1e-4},
	{"area", "ha", "hectare|hectares", 1e4},
	{"area", "acre", "acres", 4046.8564224},
	{"area", "ft2", "square foot|square feet|sq ft|ft^2|ft²", 0.09290304},
	{"area", "in2", "square inch|square inches|sq in|in^2|in²", 0.00064516},
	{"area", "mi2", "square mile|square miles|sq mi|mi^2|mi²", 2589988.110336},
	{"volume", "m3", "cubic meter|cubic meters|cubic metre|cubic metres|m^3|m³", 1},
	{"volume", "l", "liter|liters|litre|litres", 0.001},
	{"volume", "ml", "milliliter|milliliters|millilitre|millilitres|cm3|cubic centimeter|cubic centimeters", 1e-6},
	{"volume", "gal", "gallon|gallons|us gallon|us gallons", 0.003785411784},
	{"volume", "qt", "quart|quarts", 0.000946352946},
	{"volume", "pt", "pint|pints", 0.000473176473},
	{"volume", "cup", "cups|us cup|us cups", 0.0002365882365},
	{"volume", "floz", "fluid ounce|fluid ounces|fl oz", 2.95735295625e-5},
	{"volume", "tbsp", "tablespoon|tablespoons", 1.478676478125e-5},
	{"volume", "tsp", "teaspoon|teaspoons", 4.92892159375e-6},
	{"volume", "impgal", "imperial gallon|imperial gallons|uk gallon|uk gallons", 0.00454609},
	{"volume", "imppt", "imperial pint|imperial pints|uk pint|uk pints", 0.00056826125},
	{"volume", "ft3", "cubic foot|cubic feet|ft^3|ft³", 0.028316846592},
	{"speed", "m/s", "meters per second|metres per second|mps", 1},
	{"speed", "km/h", "kilometers per hour|kilometres per hour|kmh|kph", 1 / 3.6},
	{"speed", "mph", "miles per hour|mi/h", 0.44704},
	{"speed", "kn", "knot|knots", 1852.0 / 3600},
	{"speed", "ft/s", "feet per second|fps", 0.3048},
	{"pressure", "Pa", "pascal|pascals", 1},
	{"pressure", "kPa", "kilopascal|kilopascals", 1000},
	{"pressure", "hPa", "hectopascal|hectopascals|mbar|millibar|millibars", 100},
	{"pressure", "bar", "bars", 1e5},
	{"pressure", "atm", "atmosphere|atmospheres", 101325},
	{"pressure", "psi", "pounds per square inch", 6894.757293168361},
	{"pressure", "torr", "mmhg", 101325.0 / 760},
	{"energy", "J", "joule|joules", 1},
	{"energy", "kJ", "kilojoule|kilojoules", 1000},
	{"energy", "cal", "calorie|calories", 4.184},
	{"energy", "kcal", "kilocalorie|kilocalories", 4184},
	{"energy", "Wh", "watt hour|watt hours|watt-hour|watt-hours", 3600},
	{"energy", "kWh", "kilowatt hour|kilowatt hours|kilowatt-hour|kilowatt-hours", 3.6e6},
	{"energy", "BTU", "btus|british thermal unit|british thermal units", 1055.05585262},
	{"energy", "eV", "electronvolt|electronvolts", 1.602176634e-19},
	{"power", "W", "watt|watts", 1},
	{"power", "kW", "kilowatt|kilowatts", 1000},
	{"power", "hp", "horsepower", 745.69987158227022},
	{"power", "PS", "metric horsepower", 735.49875},
	{"force", "N", "newton|newtons", 1},
	{"force", "lbf", "pound-force|pounds-force|pound force", 4.4482216152605},
	{"angle", "rad", "radian|radians", 1},
	{"angle", "deg", "degree|degrees|°", 3.14159265358979323846 / 180},
	{"angle", "turn", "turns|revolution|revolutions", 2 * 3.14159265358979323846},
	{"data", "B", "byte|bytes", 1},
	{"data", "bit", "bits", 0.125},
	{"data", "kB", "kilobyte|kilobytes", 1e3},
	{"data", "MB", "megabyte|megabytes", 1e6},
	{"data", "GB", "gigabyte|gigabytes", 1e9},
	{"data", "TB", "terabyte|terabytes", 1e12},
	{"data", "KiB", "kibibyte|kibibytes", 1024},
	{"data", "MiB", "mebibyte|mebibytes", 1048576},
	{"data", "GiB", "gibibyte|gibibytes", 1073741824},
	{"data", "TiB", "tebibyte|tebibytes", 1099511627776.0},
	{"fuel", "l/100km", "liters per 100 km|litres per 100 km|liters per 100 kilometers", 1},
	{"fuel", "mpg", "miles per gallon|us mpg", 235.214583333333333, 0, true},
	{"fuel", "impmpg", "imperial mpg|uk mpg", 282.480936331822190, 0, true},
	{"fuel", "km/l", "kilometers per liter|kilometres per litre", 100, 0, true},
};
enum { n_units = sizeof units / sizeof *units };

// lower is ASCII only: the other letters in the table have one case.
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c; }

static bool same_folded(const char *a, const char *b, size_t len) {
	for (size_t i = 0; i < len; i++)
		if (lower(a[i]) != lower(b[i])) return false;
	return true;
}

static bool has_name(const unit *u, const char *name) {
	size_t len = strlen(name);
	for (const char *at = u->names; *at;) {
		size_t n = strcspn(at, "|");
		if (n == len && same_folded(at, name, n)) return true;
		at += n + (at[n] == '|');
	}
	return false;
}

// find knows a unit by its symbol as written (mW is no MW), then by name, then by a symbol that is unique in any case.
static const unit *find(const char *name, const char *argument) {
	const unit *folded = NULL;
	int n_folded = 0;
	for (int i = 0; i < n_units; i++)
		if (!strcmp(units[i].symbol, name)) return &units[i];
	for (int i = 0; i < n_units; i++) {
		if (has_name(&units[i], name)) return &units[i];
		if (strlen(units[i].symbol) == strlen(name) && same_folded(units[i].symbol, name, strlen(name))) {
			folded = &units[i];
			n_folded++;
		}
	}
	if (n_folded == 1) return folded;
	tool_fail(TOOL_BAD_ARGUMENTS, "%s is \"%s\", which is no unit that this tool knows; list_units names them all", argument, name);
}

static void convert(const json *args) {
	double value = tool_number(args, "value");
	const unit *from = find(tool_string(args, "from", NULL), "from"), *to = find(tool_string(args, "to", NULL), "to");
	if (strcmp(from->dimension, to->dimension))
		tool_fail(TOOL_BAD_ARGUMENTS, "%s is a unit of %s and %s one of %s: they do not convert into each other", from->symbol,
		          from->dimension, to->symbol, to->dimension);
	if (value == 0 && (from->reciprocal || to->reciprocal))
		tool_fail(TOOL_BAD_ARGUMENTS, "value is 0, which has no meaning in %s", to->symbol);
	double base = from->reciprocal ? from->factor / value : value * from->factor + from->offset;
	double result = to->reciprocal ? to->factor / base : (base - to->offset) / to->factor;
	// The difference of two large offsets leaves dust near zero.
	if (fabs(result) < 1e-12 * fabs(base)) result = 0;
	// Twelve digits are as many as a measured value has, and hide the noise of the last binary digits.
	printf("{\"value\":%.12g,\"unit\":", result);
	json_put_string(stdout, to->symbol);
	printf(",\"dimension\":\"%s\"}", to->dimension);
}

static void list_units(const json *args) {
	const char *dimension = tool_string(args, "dimension", "");
	const char *last = "";
	bool any = false;
	for (int i = 0; i < n_units; i++) {
		const unit *u = &units[i];
		if (*dimension && strcmp(u->dimension, dimension)) continue;
		any = true;
		if (strcmp(last, u->dimension)) printf("%s%s:", *last ? "\n" : "", u->dimension);
		last = u->dimension;
		printf(" %s (%.*s)", u->symbol, (int)strcspn(u->names, "|"), u->names);
	}
	if (!any) tool_fail(TOOL_BAD_ARGUMENTS, "dimension is \"%s\"; leave it out to see all of them", dimension);
	putchar('\n');
}

int main(int argc, char **argv) {
	const char *tool = argc > 1 ? argv[1] : "";
	if (!strcmp(tool, "convert")) convert(tool_arguments());
	else if (!strcmp(tool, "list_units")) list_units(tool_arguments());
	else tool_fail(TOOL_FAILED, "no tool is called \"%s\"", tool);
	return TOOL_OK;
}
