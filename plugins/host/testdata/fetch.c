// Fetch is a guest that uses the services of its host as a C program would. The first argument chooses how:
//   calls URL    open, write and read of the system, one request
//   stdio URL    a FILE, two requests over it
//   count KEY    adds one to a number that outlives the call
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(int ok, const char *what) {
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void calls(const char *url) {
	char buf[4096];
	int fd = open("/host/http", O_RDWR);
	check(fd >= 0, "open");
	int len = snprintf(buf, sizeof buf, "{\"url\": \"%s\"}", url);
	check(write(fd, buf, len) == len, "write");
	ssize_t n;
	while ((n = read(fd, buf, 7)) > 0)
		fwrite(buf, 1, n, stdout);
	check(n == 0, "read");
	check(close(fd) == 0, "close");
}

static void stdio(const char *url) {
	FILE *f = fopen("/host/http", "r+");
	check(f != NULL, "fopen");
	for (int i = 1; i <= 2; i++) {
		char line[4096];
		check(fseek(f, 0, SEEK_SET) == 0, "fseek");
		fprintf(f, "{\"method\": \"POST\", \"url\": \"%s\", \"body\": \"%d\"}", url, i);
		check(fseek(f, 0, SEEK_SET) == 0, "fseek");
		check(fgets(line, sizeof line, f) != NULL, "fgets");
		fputs(line, stdout);
		check(fgets(line, sizeof line, f) == NULL && feof(f), "end");
	}
	check(fclose(f) == 0, "fclose");
}

static void count(const char *key) {
	char path[200];
	long n = 0;
	snprintf(path, sizeof path, "/host/kv/%s", key);
	FILE *f = fopen(path, "r");
	if (f) {
		check(fscanf(f, "%ld", &n) == 1, "fscanf");
		fclose(f);
	}
	f = fopen(path, "w");
	check(f != NULL, path);
	fprintf(f, "%ld", n + 1);
	check(fclose(f) == 0, "fclose");
	f = fopen("/host/log", "a");
	check(f != NULL, "log");
	fprintf(f, "counted to %ld\n", n + 1);
	check(fclose(f) == 0, "fclose");
	f = fopen("/host/progress", "w");
	check(f != NULL, "progress");
	fprintf(f, "{\"message\": \"counted\", \"fraction\": 1}\n");
	check(fclose(f) == 0, "fclose");
	printf("%ld\n", n + 1);
}

int main(int argc, char **argv) {
	if (argc != 3)
		return 2;
	if (strcmp(argv[1], "calls") == 0)
		calls(argv[2]);
	else if (strcmp(argv[1], "stdio") == 0)
		stdio(argv[2]);
	else if (strcmp(argv[1], "count") == 0)
		count(argv[2]);
	else
		return 2;
	return 0;
}
