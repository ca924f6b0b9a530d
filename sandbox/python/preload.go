package python

// DefaultPreload are the modules that an image has imported: what models usually import, and the packages that take long. A
// session that imports one of them waits for a millisecond at most; every other module is read and run in the session.
func DefaultPreload() []string {
	return []string{
		"abc", "argparse", "array", "ast", "asyncio", "base64", "bisect", "calendar", "cmath", "collections",
		"collections.abc", "concurrent.futures", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib",
		"email.message", "enum", "fractions", "functools", "glob", "gzip", "hashlib", "heapq", "hmac", "html", "html.parser",
		"inspect", "io", "itertools", "json", "keyword", "locale", "logging", "math", "numbers", "operator", "os", "pathlib",
		"pickle", "platform", "pprint", "queue", "random", "re", "secrets", "shutil", "sqlite3", "statistics", "string",
		"struct", "subprocess", "sys", "tempfile", "textwrap", "threading", "time", "timeit", "traceback", "types", "typing",
		"unicodedata", "unittest", "urllib.parse", "urllib.request", "uuid", "warnings", "weakref", "xml.etree.ElementTree",
		"zipfile", "zlib", "zoneinfo",

		"attr", "bs4", "dateutil.parser", "dateutil.relativedelta", "dateutil.rrule", "jinja2", "matplotlib.pyplot",
		"more_itertools", "mpmath", "networkx", "plot", "pyparsing", "sortedcontainers", "sympy", "tabulate", "toolz", "yaml",
	}
}
