// A reactor whose tools remember what they should not.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int counter;
static char response[1 << 16];
static volatile int sink;

__attribute__((constructor)) static void start(void) { counter = 100; }

__attribute__((export_name("tool_alloc"))) void *tool_alloc(size_t n) { return malloc(n); }

static uint64_t reply(const char *p, size_t n) { return (uint64_t)(uintptr_t)p << 32 | n; }

__attribute__((export_name("tool_call"))) uint64_t tool_call(char *request, size_t n) {
	const char *tool = request + strlen("{\"tool\":\"");
	char *arguments = strstr(request, "\"arguments\":") + strlen("\"arguments\":");
	size_t len = n - (arguments - request) - 1;
#define TOOL(name) if (strncmp(tool, name "\"", sizeof name) == 0)
	TOOL("echo") {
		char *out = malloc(len + 32);
		int head = sprintf(out, "{\"result\":");
		memcpy(out + head, arguments, len);
		out[head + len] = '}';
		return reply(out, head + len + 1);
	}
	TOOL("count") {
		FILE *f = fopen("/tmp/trace", "r");
		int seen = f != NULL;
		if (!f)
			f = fopen("/tmp/trace", "w");
		counter++;
		return reply(response, sprintf(response, "{\"result\":\"%d%s\"}", counter, seen ? " and a file" : ""));
	}
	TOOL("grow") {
		memset(malloc(4 << 20), 1, 4 << 20);
		return reply(response, sprintf(response, "{\"result\":\"grown\"}"));
	}
	TOOL("spin") {
		for (;;)
			sink++;
	}
	TOOL("chatter") {
		puts("this is no result");
		fflush(stdout);
		return reply(response, sprintf(response, "{\"result\":\"said\"}"));
	}
	TOOL("bad") return reply(response, sprintf(response, "{\"error\":\"no such city\",\"bad_arguments\":true}"));
	TOOL("fail") return reply(response, sprintf(response, "{\"error\":\"on fire\"}"));
	TOOL("number") return reply(response, sprintf(response, "{\"result\":1}"));
	TOOL("nothing") return reply(response, sprintf(response, "{}"));
	TOOL("no_json") return reply(response, sprintf(response, "21.5"));
	TOOL("outside") return reply((char *)0xfffffff0u, 64);
	TOOL("huge") return reply(response, 0xffffffffu);
	TOOL("exit") exit(7);
	TOOL("crash") __builtin_trap();
	return reply(response, sprintf(response, "{\"error\":\"no such tool\"}"));
}
