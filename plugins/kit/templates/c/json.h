// json.h reads and writes JSON for small tools: one header, nothing but libc. Values live until the program ends, as
// a tool's process does with its call.
#ifndef JSON_H
#define JSON_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

typedef struct json {
	enum json_kind kind;
	double number;       // JSON_NUMBER; 1 for true
	char *text;          // JSON_STRING: UTF-8 with a NUL behind it
	size_t len;          // bytes of text
	char *key;           // name of this member of an object
	struct json *child;  // first element or member
	struct json *next;   // next one of the same parent
} json;

// A tool ends with one of these. The model reads what stands on standard error.
enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_BAD_ARGUMENTS = 2 };

static inline _Noreturn void tool_fail(int code, const char *format, ...) {
	va_list args;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(code);
}

typedef struct { const char *at, *end; int depth; } json_reader;

enum { JSON_MAX_DEPTH = 64 };

static json *json_value(json_reader *r);

static inline void json_space(json_reader *r) {
	while (r->at < r->end && memchr(" \t\r\n", *r->at, 4)) r->at++;
}

static inline bool json_take(json_reader *r, const char *word) {
	size_t n = strlen(word);
	if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n)) return false;
	r->at += n;
	return true;
}

static inline json *json_new(enum json_kind kind) {
	json *v = calloc(1, sizeof *v);
	if (!v) tool_fail(TOOL_FAILED, "out of memory");
	v->kind = kind;
	return v;
}

static inline int json_hex4(json_reader *r) {
	int code = 0;
	if (r->end - r->at < 4) return -1;
	for (int i = 0; i < 4; i++) {
		char c = *r->at++;
		int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
		if (digit < 0) return -1;
		code = code << 4 | digit;
	}
	return code;
}

static inline char *json_utf8(char *to, int c) {
	if (c < 0x80) {
		*to++ = (char)c;
		return to;
	}
	int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	*to++ = (char)((more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0) | c >> 6 * more);
	while (more--) *to++ = (char)(0x80 | (c >> 6 * more & 0x3F));
	return to;
}

// json_string reads a string whose opening quote is next; NULL if it is none.
static inline char *json_string(json_reader *r, size_t *len) {
	if (!json_take(r, "\"")) return NULL;
	char *text = malloc((size_t)(r->end - r->at) + 1), *to = text;
	if (!text) tool_fail(TOOL_FAILED, "out of memory");
	while (r->at < r->end && *r->at != '"') {
		unsigned char c = (unsigned char)*r->at++;
		if (c < 0x20) return NULL;
		if (c != '\\') {
			*to++ = (char)c;
			continue;
		}
		if (r->at == r->end) return NULL;
		char e = *r->at++;
		const char *names = "\"\\/bfnrt", *known = memchr(names, e, 8);
		if (known) {
			*to++ = "\"\\/\b\f\n\r\t"[known - names];
			continue;
		}
		int code = e == 'u' ? json_hex4(r) : -1;
		if (code < 0) return NULL;
		if (code >= 0xD800 && code < 0xDC00 && json_take(r, "\\u")) {
			int low = json_hex4(r);
			if (low < 0xDC00 || low > 0xDFFF) return NULL;
			code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
		} else if (code >= 0xD800 && code <= 0xDFFF) {
			code = 0xFFFD;
		}
		to = json_utf8(to, code);
	}
	*to = 0;
	*len = (size_t)(to - text);
	return json_take(r, "\"") ? text : NULL;
}

static inline json *json_number(json_reader *r) {
	char digits[64];
	size_t n = 0;
	while (r->at < r->end && n < sizeof digits - 1 && *r->at && strchr("+-.0123456789eE", *r->at)) digits[n++] = *r->at++;
	digits[n] = 0;
	char *end;
	json *v = json_new(JSON_NUMBER);
	v->number = strtod(digits, &end);
	return n && *end == 0 && isfinite(v->number) ? v : NULL;
}

// json_members reads what stands between the brackets of an array or an object.
static inline json *json_members(json_reader *r, enum json_kind kind, const char *close) {
	json *v = json_new(kind), **last = &v->child;
	json_space(r);
	if (json_take(r, close)) return v;
	for (;;) {
		char *key = NULL;
		size_t len;
		if (kind == JSON_OBJECT) {
			json_space(r);
			if (!(key = json_string(r, &len))) return NULL;
			json_space(r);
			if (!json_take(r, ":")) return NULL;
		}
		if (!(*last = json_value(r))) return NULL;
		(*last)->key = key;
		last = &(*last)->next;
		json_space(r);
		if (json_take(r, close)) return v;
		if (!json_take(r, ",")) return NULL;
	}
}

static json *json_value(json_reader *r) {
	json *v = NULL;
	json_space(r);
	if (++r->depth > JSON_MAX_DEPTH) return NULL;
	if (json_take(r, "null")) v = json_new(JSON_NULL);
	else if (json_take(r, "false")) v = json_new(JSON_BOOL);
	else if (json_take(r, "true")) (v = json_new(JSON_BOOL))->number = 1;
	else if (json_take(r, "{")) v = json_members(r, JSON_OBJECT, "}");
	else if (json_take(r, "[")) v = json_members(r, JSON_ARRAY, "]");
	else if (r->at < r->end && *r->at == '"') {
		v = json_new(JSON_STRING);
		if (!(v->text = json_string(r, &v->len))) v = NULL;
	} else v = json_number(r);
	r->depth--;
	return v;
}

// json_parse returns the one value that the bytes hold, or NULL if they hold anything else.
static inline json *json_parse(const char *data, size_t len) {
	json_reader r = {data, data + len, 0};
	json *v = json_value(&r);
	json_space(&r);
	return r.at == r.end ? v : NULL;
}

// json_get returns a member of an object, or NULL. It may be asked of NULL, so that paths can be walked.
static inline json *json_get(const json *v, const char *key) {
	if (!v || v->kind != JSON_OBJECT) return NULL;
	for (json *m = v->child; m; m = m->next)
		if (!strcmp(m->key, key)) return m;
	return NULL;
}

// json_read_all reads a stream to its end.
static inline char *json_read_all(FILE *f, size_t *len) {
	size_t room = 1 << 14;
	char *data = malloc(room);
	*len = 0;
	for (size_t n; data && (n = fread(data + *len, 1, room - *len, f)) > 0;) {
		*len += n;
		if (*len == room) data = realloc(data, room *= 2);
	}
	if (!data) tool_fail(TOOL_FAILED, "out of memory");
	return data;
}

// tool_arguments reads the arguments of the call from standard input.
static inline json *tool_arguments(void) {
	size_t len;
	char *data = json_read_all(stdin, &len);
	json *v = json_parse(data, len);
	if (!v || v->kind != JSON_OBJECT) tool_fail(TOOL_BAD_ARGUMENTS, "the arguments must be one JSON object");
	return v;
}

// tool_string returns a string argument; without one, fallback, or if that is NULL the call ends.
static inline const char *tool_string(const json *args, const char *name, const char *fallback) {
	json *v = json_get(args, name);
	if (v && v->kind == JSON_STRING) return v->text;
	if (v || !fallback) tool_fail(TOOL_BAD_ARGUMENTS, "%s must be a string", name);
	return fallback;
}

// tool_number returns a number argument; the call ends if there is none.
static inline double tool_number(const json *args, const char *name) {
	json *v = json_get(args, name);
	if (!v || v->kind != JSON_NUMBER) tool_fail(TOOL_BAD_ARGUMENTS, "%s must be a number", name);
	return v->number;
}

// json_put_string writes a string with its quotes.
static inline void json_put_string(FILE *f, const char *text) {
	fputc('"', f);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\') fprintf(f, "\\%c", *c);
		else if (*c < 0x20) fprintf(f, "\\u%04x", *c);
		else fputc(*c, f);
	}
	fputc('"', f);
}

#endif
