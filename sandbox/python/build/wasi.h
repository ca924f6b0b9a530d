// Included before every file of xz and SQLite: what they expect of a POSIX system and WASI does not have. A process is
// alone in its sandbox, so there are no users to tell apart, no modes to set and nobody to lock out.
#pragma once
#define _WASI_EMULATED_SIGNAL 1
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

typedef unsigned long chorale_sigset;
#define sigset_t chorale_sigset
#define SIG_BLOCK 0
#define SIG_SETMASK 2
static inline int sigprocmask(int how, const sigset_t *set, sigset_t *old) {
  if (old) *old = 0;
  return 0;
}
static inline int sigfillset(sigset_t *set) { return *set = ~0ul, 0; }
static inline int sigemptyset(sigset_t *set) { return *set = 0, 0; }
static inline int sigaddset(sigset_t *set, int signal) { return 0; }

static inline uid_t geteuid(void) { return 0; }
static inline int fchown(int fd, uid_t user, gid_t group) { return 0; }
static inline int fchmod(int fd, mode_t mode) { return 0; }
