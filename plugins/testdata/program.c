// A program with a tool for each thing that plugins do, and for each that they should not.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static char input[2 << 20];
static size_t input_len;
static int counter;

static volatile int sink;

__attribute__((noinline)) static int recurse(int n) {
	volatile char room[256];
	room[n & 255] = (char)n;
	return recurse(n + 1) + room[(n + 1) & 255];
}

static void put_file(const char *path, const char *text) {
	FILE *f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
}

// show writes a file to stdout.
static int show(const char *path) {
	char buf[4096];
	FILE *f = fopen(path, "r");
	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;)
		fwrite(buf, 1, n, stdout);
	return fclose(f) != 0;
}

// path is the value of the member "path" of the input, which must hold no escapes.
static char *path(void) {
	char *p = strstr(input, "\"path\":\"");
	if (!p) {
		fputs("path is missing\n", stderr);
		exit(2);
	}
	p += 8;
	*strchr(p, '"') = 0;
	return p;
}

int main(int argc, char **argv) {
	const char *tool = argc > 1 ? argv[1] : "";
	for (ssize_t n; (n = read(0, input + input_len, sizeof input - input_len)) > 0;)
		input_len += n;
	counter++;
#define TOOL(name) else if (strcmp(tool, name) == 0)
	if (strcmp(tool, "echo") == 0) {
		for (size_t at = 0; at < input_len;)
			at += write(1, input + at, input_len - at);
	}
	TOOL("hello") {
		char *name = strstr(input, "\"name\":\"") + 8;
		printf("{\"greeting\":\"Hello, %.*s\"}", (int)(strchr(name, '"') - name), name);
	}
	TOOL("self") {
		printf("%d %s %s", argc, argv[0], argv[1]);
		for (char **e = environ; *e; e++)
			printf(" %s", *e);
	}
	TOOL("bad") {
		fputs("no such city\n", stderr);
		return 2;
	}
	TOOL("fail") {
		puts("half a result");
		fputs("the disk is on fire\n", stderr);
		return 3;
	}
	TOOL("crash") { __builtin_trap(); }
	TOOL("spin") {
		for (;;)
			sink++;
	}
	TOOL("sleep") { sleep(20); }
	TOOL("flood") {
		for (;;)
			if (write(1, input, 4096) < 0)
				return 1;
	}
	TOOL("chatter") {
		for (int i = 0; i < 5000; i++)
			fprintf(stderr, "line %d of the log\n", i);
		return 1;
	}
	TOOL("flood_log") {
		for (;;)
			write(2, input, 4096);
	}
	TOOL("grow") {
		size_t total = 0;
		for (char *p; (p = malloc(1 << 20)); total += 1 << 20)
			memset(p, 1, 1 << 20);
		printf("%zu MiB", total >> 20);
	}
	TOOL("exhaust") {
		for (;;)
			*(volatile char *)malloc(1 << 20) = 1, ((volatile char *)0x7fffffff)[sink++ > 1000 ? 0 : -0x7fffff00] = 1;
	}
	TOOL("recurse") { printf("%d", recurse(0)); }
	TOOL("count") {
		struct stat s;
		printf("%d%s", counter, stat("/tmp/trace", &s) ? "" : " and a file of an earlier call");
		put_file("/tmp/trace", "x");
	}
	TOOL("files") {
		mkdir("/out/sub", 0777);
		put_file("/out/a.txt", "first");
		put_file("/out/sub/b.bin", "second");
		puts("wrote");
	}
	TOOL("many_files") {
		for (int i = 0; i < 100000; i++) {
			char name[64];
			snprintf(name, sizeof name, "/out/%d", i);
			put_file(name, "x");
		}
	}
	TOOL("fill") {
		FILE *f = fopen("/tmp/big", "w");
		while (fwrite(input, 1, sizeof input, f) == sizeof input) {
		}
		printf("%s", strerror(errno));
	}
	TOOL("show") { return show(path()); }
	TOOL("write") {
		put_file(path(), "written");
		puts("wrote");
	}
	TOOL("list") {
		DIR *d = opendir(path());
		if (!d)
			return 1;
		for (struct dirent *e; (e = readdir(d));)
			printf("%s ", e->d_name);
	}
	TOOL("http") { // the input is the request
		int f = open("/host/http", O_RDWR);
		char buf[4096];
		if (f < 0 || write(f, input, input_len) < 0) {
			perror("/host/http");
			return 1;
		}
		for (ssize_t n; (n = read(f, buf, sizeof buf)) > 0;)
			write(1, buf, n);
	}
	TOOL("visit") { // counts its calls, beyond them
		int n = 0;
		FILE *f = fopen("/host/kv/visits", "r");
		if (f) {
			fscanf(f, "%d", &n);
			fclose(f);
		}
		char text[16];
		sprintf(text, "%d", n + 1);
		put_file("/host/kv/visits", text);
		printf("%s", text);
	}
	TOOL("tell") {
		put_file("/host/log", "a line\n");
		put_file("/host/progress", "{\"message\": \"half way\", \"fraction\": 0.5}\n");
	}
	TOOL("lie") { printf("{\"celsius\": \"warm\"}"); }
	TOOL("no_json") { printf("21.5 degrees"); }
	TOOL("bytes") { fwrite("a\xff" "b", 1, 3, stdout); }
	TOOL("chart") {
		printf("{\"content\":[{\"type\":\"text\",\"text\":\"a chart\"},"
		       "{\"type\":\"image\",\"mimeType\":\"image/png\",\"data\":\"iVBORw0KGgo=\"},"
		       "{\"type\":\"resource_link\",\"name\":\"more\",\"uri\":\"https://example.com/\"}],"
		       "\"structuredContent\":{\"points\":3}}");
	}
	TOOL("mcp_error") { printf("{\"content\":[{\"type\":\"text\",\"text\":\"it rains\"}],\"isError\":true}"); }
	else {
		fprintf(stderr, "no tool %s\n", tool);
		return 2;
	}
	return 0;
}
