// What C programs do with files, time and streams. One test a run, chosen by the first argument; "ok" at the end.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x)                                                                        \
	do {                                                                                \
		if (!(x)) {                                                                     \
			printf("%s:%d: %s: errno %d (%s)\n", test, __LINE__, #x, errno, strerror(errno)); \
			exit(1);                                                                    \
		}                                                                               \
	} while (0)

static const char *test;

static void files(void) {
	int fd = open("/data/a", O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK(fd >= 0);
	CHECK(write(fd, "hello world", 11) == 11);
	CHECK(lseek(fd, -5, SEEK_END) == 6);
	char b[32] = {0};
	CHECK(read(fd, b, sizeof b) == 5 && !memcmp(b, "world", 5));
	CHECK(read(fd, b, sizeof b) == 0);
	CHECK(pwrite(fd, "W", 1, 6) == 1);
	CHECK(pread(fd, b, 5, 6) == 5 && !memcmp(b, "World", 5));
	CHECK(lseek(fd, 0, SEEK_CUR) == 11);
	CHECK(lseek(fd, -1, SEEK_SET) < 0 && errno == EINVAL);
	CHECK(ftruncate(fd, 4) == 0);
	CHECK(ftruncate(fd, 8) == 0);
	CHECK(pread(fd, b, 32, 0) == 8 && !memcmp(b, "hell\0\0\0\0", 8));
	struct stat st, st2;
	CHECK(fstat(fd, &st) == 0 && st.st_size == 8 && S_ISREG(st.st_mode));
	CHECK(stat("/data/a", &st2) == 0 && st2.st_ino == st.st_ino && st2.st_dev == st.st_dev);
	CHECK(close(fd) == 0);
	CHECK(read(fd, b, 1) < 0 && errno == EBADF);
	CHECK(open("/data/a", O_RDWR | O_CREAT | O_EXCL, 0644) < 0 && errno == EEXIST);
	CHECK((fd = open("/data/a", O_WRONLY | O_APPEND)) >= 0);
	CHECK(write(fd, "++", 2) == 2 && write(fd, "--", 2) == 2);
	CHECK(read(fd, b, 1) < 0 && errno == EBADF);
	CHECK(close(fd) == 0);
	CHECK((fd = open("/data/a", O_RDONLY)) >= 0);
	CHECK(read(fd, b, 32) == 12 && !memcmp(b + 8, "++--", 4));
	CHECK(write(fd, "x", 1) < 0 && errno == EBADF);
	CHECK(close(fd) == 0);
	FILE *f = fopen("/data/text", "w+");
	CHECK(f);
	for (int i = 0; i < 1000; i++) fprintf(f, "line %d\n", i);
	rewind(f);
	int n = 0, v;
	while (fscanf(f, "line %d\n", &v) == 1 && v == n) n++;
	CHECK(n == 1000);
	CHECK(fclose(f) == 0);
}

static void directories(void) {
	CHECK(mkdir("/data/d", 0755) == 0);
	CHECK(mkdir("/data/d", 0755) < 0 && errno == EEXIST);
	CHECK(mkdir("/data/x/y", 0755) < 0 && errno == ENOENT);
	for (int i = 0; i < 300; i++) {
		char name[64];
		sprintf(name, "/data/d/a-rather-long-file-name-%03d", i);
		int fd = open(name, O_WRONLY | O_CREAT, 0644);
		CHECK(fd >= 0 && close(fd) == 0);
	}
	DIR *d = opendir("/data/d");
	CHECK(d);
	int n = 0, dots = 0;
	for (struct dirent *e; (e = readdir(d));) e->d_name[0] == '.' ? dots++ : n++;
	CHECK(n == 300);
	CHECK(closedir(d) == 0);
	CHECK(rmdir("/data/d") < 0 && errno == ENOTEMPTY);
	CHECK(unlink("/data/d") < 0);
	CHECK(rename("/data/d", "/data/e") == 0);
	CHECK(rename("/data/e", "/data/e/f") < 0 && errno == EINVAL);
	CHECK(access("/data/e/a-rather-long-file-name-007", F_OK) == 0);
	CHECK(access("/data/d", F_OK) < 0 && errno == ENOENT);
	for (int i = 0; i < 300; i++) {
		char name[64];
		sprintf(name, "/data/e/a-rather-long-file-name-%03d", i);
		CHECK(unlink(name) == 0);
	}
	CHECK(rmdir("/data/e") == 0);
	CHECK(open("/data", O_WRONLY) < 0 && errno == EISDIR);
	CHECK(open("/data/a/", O_RDONLY) < 0);
	int fd = open("/data/u", O_RDWR | O_CREAT, 0644);
	CHECK(fd >= 0 && unlink("/data/u") == 0 && write(fd, "still", 5) == 5);
	char b[8];
	CHECK(pread(fd, b, 8, 0) == 5);
	CHECK(close(fd) == 0);
}

static void readonly(void) {
	char b[8] = {0};
	int fd = open("/ro/file", O_RDONLY);
	CHECK(fd >= 0 && read(fd, b, 8) == 4 && !strcmp(b, "text") && close(fd) == 0);
	CHECK(open("/ro/file", O_WRONLY) < 0 && errno == EROFS);
	CHECK(open("/ro/new", O_WRONLY | O_CREAT, 0644) < 0 && errno == EROFS);
	CHECK(open("/ro/file", O_RDONLY | O_TRUNC) < 0 && errno == EROFS);
	CHECK(mkdir("/ro/d", 0755) < 0 && errno == EROFS);
	CHECK(unlink("/ro/file") < 0 && errno == EROFS);
	CHECK(rmdir("/ro/sub") < 0 && errno == EROFS);
	CHECK(rename("/ro/file", "/ro/f2") < 0 && errno == EROFS);
	CHECK(rename("/ro/file", "/data/f2") < 0);
	CHECK(rename("/data/a", "/ro/f2") < 0);
	struct timespec ts[2] = {{1, 0}, {2, 0}};
	CHECK(utimensat(AT_FDCWD, "/ro/file", ts, 0) < 0 && errno == EROFS);
}

static void escape(void) {
	static const char *paths[] = {"/etc/passwd", "/ro/../../etc/passwd", "/ro/../secret", "/ro/link", "/ro/abslink",
		"/ro/dirlink/secret", "/ro/sub/../../secret", "/proc/self/environ", "../secret", "/ro/pipe", "/ro/loop"};
	for (int i = 0; i < sizeof paths / sizeof *paths; i++) {
		if (open(paths[i], O_RDONLY) >= 0) {
			printf("%s could be opened\n", paths[i]);
			exit(1);
		}
	}
	char b[8] = {0};
	int fd = open("/ro/inside", O_RDONLY); // a link that stays inside
	CHECK(fd >= 0 && read(fd, b, 8) == 4 && !strcmp(b, "text"));
	CHECK(symlink("/etc/passwd", "/data/p") < 0);
	CHECK(link("/data/a", "/data/hard") < 0);
	char target[64];
	CHECK(readlink("/ro/inside", target, 64) == 4 && !memcmp(target, "file", 4));
}

static void times(void) {
	struct timespec a, b, real;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &a) == 0);
	CHECK(usleep(2000) == 0);
	CHECK(clock_gettime(CLOCK_MONOTONIC, &b) == 0);
	CHECK((b.tv_sec - a.tv_sec) * 1000000000ll + b.tv_nsec - a.tv_nsec >= 2000000);
	CHECK(clock_gettime(CLOCK_REALTIME, &real) == 0 && real.tv_sec > 1600000000);
	real.tv_nsec += 2000000;
	real.tv_sec += real.tv_nsec / 1000000000, real.tv_nsec %= 1000000000;
	CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &real, 0) == 0);
	CHECK(clock_gettime(CLOCK_REALTIME, &a) == 0);
	CHECK(a.tv_sec > real.tv_sec || a.tv_sec == real.tv_sec && a.tv_nsec >= real.tv_nsec);
	int fd = open("/data/t", O_RDWR | O_CREAT, 0644);
	struct timespec ts[2] = {{1000, 5}, {2000, 7}};
	CHECK(futimens(fd, ts) == 0);
	struct stat st;
	CHECK(fstat(fd, &st) == 0 && st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 7);
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	CHECK(poll(&p, 1, 1000) == 1 && p.revents == (POLLIN | POLLOUT));
}

static void quota(void) {
	static char block[4096];
	int fd = open("/data/big", O_WRONLY | O_CREAT, 0644), n = 0;
	CHECK(fd >= 0);
	while (write(fd, block, sizeof block) == sizeof block) n++;
	CHECK(errno == ENOSPC && n > 10 && n < 1000);
	CHECK(ftruncate(fd, 1ll << 40) < 0);
	CHECK(lseek(fd, 1ll << 50, SEEK_SET) == 1ll << 50);
	CHECK(write(fd, block, 1) < 0);
	CHECK(close(fd) == 0 && unlink("/data/big") == 0);
	CHECK((fd = open("/data/again", O_WRONLY | O_CREAT, 0644)) >= 0 && write(fd, block, 4096) == 4096);
	CHECK(close(fd) == 0);
	n = 0;
	for (;; n++) {
		char name[32];
		sprintf(name, "/data/f%d", n);
		if ((fd = open(name, O_WRONLY | O_CREAT, 0644)) < 0) break;
		close(fd);
	}
	CHECK(errno == ENOSPC && n > 5 && n < 1000);
	n = 0;
	while (open("/data/again", O_RDONLY) >= 0) n++;
	CHECK(errno == EMFILE && n > 5 && n < 1000);
}

static void stdio(void) {
	char line[64];
	CHECK(fgets(line, sizeof line, stdin) && !strcmp(line, "first\n"));
	CHECK(fgets(line, sizeof line, stdin) && !strcmp(line, "second"));
	CHECK(!fgets(line, sizeof line, stdin) && feof(stdin));
	CHECK(!isatty(0) && !isatty(1));
	CHECK(lseek(1, 0, SEEK_CUR) < 0 && errno == ESPIPE);
	CHECK(!getenv("HOME") && !getenv("PATH") && !strcmp(getenv("GIVEN"), "a=b"));
	fprintf(stderr, "to stderr\n");
	unsigned char r[256] = {0};
	CHECK(getentropy(r, sizeof r) == 0);
	int zeros = 0;
	for (int i = 0; i < 256; i++) zeros += !r[i];
	CHECK(zeros < 32);
}

int main(int argc, char **argv) {
	test = argc > 1 ? argv[1] : "";
	static const struct { const char *name; void (*run)(void); } tests[] = {{"files", files}, {"directories", directories},
		{"readonly", readonly}, {"escape", escape}, {"times", times}, {"quota", quota}, {"stdio", stdio}};
	for (int i = 0; i < sizeof tests / sizeof *tests; i++) {
		if (!strcmp(test, tests[i].name)) {
			tests[i].run();
			printf("ok\n");
			return 0;
		}
	}
	return 64;
}
