package python

// DefaultPreload are the modules that an image has imported: what models usually import.
func DefaultPreload() []string {
	return []string{
		"abc", "argparse", "array", "ast", "asyncio", "base64", "bisect", "calendar", "cmath", "collections",
		"collections.abc", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions",
		"functools", "glob", "hashlib", "heapq", "html", "io", "inspect", "itertools", "json", "keyword", "locale", "logging",
		"math", "numbers", "operator", "os", "pathlib", "pickle", "platform", "pprint", "queue", "random", "re", "secrets",
		"shutil", "sqlite3", "statistics", "string", "struct", "sys", "tempfile", "textwrap", "time", "timeit", "traceback",
		"types", "typing", "unicodedata", "unittest", "urllib.parse", "uuid", "warnings", "weakref", "xml.etree.ElementTree",
		"zlib", "zoneinfo",
	}
}
