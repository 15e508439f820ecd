/* Starting a program. uv_spawn knows nothing of controlling terminals, process groups
** and file creation masks, and does not tell at which step it failed: so this
** is done here, in the manner of posix_spawn. The child shares our memory until it
** executes the program (clone with CLONE_VM and CLONE_VFORK), so that the size of
** our heap is of no account. It only makes system calls: everything it needs is
** laid out before. What fails there comes back through a pipe that closes
** itself when the program starts.
**
** Where memory cannot be shared (sanitizers, other systems), and for changes
** of user, which the C library spreads over all threads, it is a plain fork.
*/
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <uv.h>

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SHARE_MEMORY 1
#else
#define SHARE_MEMORY 0
#endif

#define STACK_SIZE (64 * 1024)
/* Descriptors that are looked at one by one where close_range is not there. */
#define MAX_CLOSE 65536

typedef struct failure {
  int stage, err;
} failure;

typedef struct child {
  const ml_spawning *r;
  int report; /* the writing end */
} child;

/* ---- in the child: system calls only ---- */

static void fail(const child *c, int stage) {
  failure f = {stage, errno};
  ssize_t n;
  do n = write(c->report, &f, sizeof f);
  while (n < 0 && errno == EINTR);
  _exit(127);
}

/* Descriptors from `from` to `to` are closed when the program starts. */
static void hide(unsigned from, unsigned to) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, from, to, 4u /* CLOSE_RANGE_CLOEXEC */) == 0) return;
#endif
  struct rlimit lim;
  unsigned max = MAX_CLOSE;
  if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < max) max = (unsigned)lim.rlim_cur;
  for (unsigned fd = from; fd <= to && fd < max; fd++) {
    int flags = fcntl((int)fd, F_GETFD);
    if (flags >= 0) fcntl((int)fd, F_SETFD, flags | FD_CLOEXEC);
  }
}

/* Puts every descriptor into its place. First those that lie where another is to
** come move out of the way. */
static void arrange(child *c) {
  const ml_spawning *r = c->r;
  ml_childfd *fds = r->fds;
  int end = r->fds[r->nfds - 1].target + 1, n;
  unsigned next = 3;
  if (c->report < end) {
    n = fcntl(c->report, F_DUPFD_CLOEXEC, end);
    if (n < 0) fail(c, ML_SPAWN_FDS);
    c->report = n;
  }
  for (size_t i = 0; i < r->nfds; i++) {
    if (fds[i].source < 0 || fds[i].source >= end || fds[i].source == fds[i].target) continue;
    fds[i].source = fcntl(fds[i].source, F_DUPFD_CLOEXEC, end);
    if (fds[i].source < 0) fail(c, ML_SPAWN_FDS);
  }
  for (size_t i = 0; i < r->nfds; i++) {
    int fd = fds[i].target, from = fds[i].source;
    if (from >= 0 && from != fd) {
      if (dup2(from, fd) < 0) fail(c, ML_SPAWN_FDS);
      continue;
    }
    n = fcntl(fd, F_GETFD);
    if (n < 0 && from >= 0) fail(c, ML_SPAWN_FDS);
    if (n > 0) fcntl(fd, F_SETFD, n & ~FD_CLOEXEC);
  }
  if (!r->close_fds) return;
  for (size_t i = 0; i < r->nfds; i++) {
    unsigned fd = (unsigned)r->fds[i].target;
    if (fd < 3) continue;
    if (fd > next) hide(next, fd - 1);
    next = fd + 1;
  }
  hide(next, ~0u);
}

/* What a program expects: nothing blocked, nothing caught, and what we ignore for
** our own sake not ignored. */
static void reset_signals(void) {
  struct sigaction sa, dfl = {.sa_handler = SIG_DFL};
  sigset_t none;
  for (int sig = 1; sig < NSIG; sig++) {
    if (sig == SIGKILL || sig == SIGSTOP || sigaction(sig, NULL, &sa) < 0) continue;
    if (sa.sa_handler == SIG_DFL) continue;
    if (sa.sa_handler == SIG_IGN && sig != SIGPIPE && sig != SIGXFSZ) continue;
    sigaction(sig, &dfl, NULL);
  }
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static void become(const child *c) {
  const ml_spawning *r = c->r;
  if (r->ngroups >= 0 && setgroups((size_t)r->ngroups, r->groups) < 0) fail(c, ML_SPAWN_USER);
  if (r->gid >= 0 && setgid((gid_t)r->gid) < 0) fail(c, ML_SPAWN_USER);
  if (r->uid >= 0 && setuid((uid_t)r->uid) < 0) fail(c, ML_SPAWN_USER);
}

/* As execvp, but that a file of unknown format is not given to the shell. */
static void execute(const child *c) {
  const ml_spawning *r = c->r;
  int err = ENOENT;
  for (char *const *p = r->paths; *p != NULL; p++) {
    execve(*p, r->argv, r->envp);
    if (errno == ENOENT || errno == ENOTDIR) {
      if (r->paths[1] == NULL) err = errno;
      continue;
    }
    err = errno;
    if (err != EACCES) break;
  }
  errno = err;
  fail(c, ML_SPAWN_EXEC);
}

static int run_child(void *arg) {
  child *c = arg;
  const ml_spawning *r = c->r;
  if (r->session && setsid() < 0) fail(c, ML_SPAWN_GROUP);
  if (r->group >= 0 && setpgid(0, (pid_t)r->group) < 0) fail(c, ML_SPAWN_GROUP);
  if (r->tty >= 0 && ioctl(r->tty, TIOCSCTTY, 0) < 0) fail(c, ML_SPAWN_TTY);
  arrange(c);
  if (r->cwd != NULL && chdir(r->cwd) < 0) fail(c, ML_SPAWN_CWD);
  if (r->umask >= 0) umask((mode_t)r->umask);
  become(c);
  reset_signals();
  execute(c);
  return 127;
}

/* ---- here ---- */

static pid_t fork_child(child *c) {
  pid_t pid = fork();
  if (pid == 0) _exit(run_child(c));
  return pid;
}

static pid_t start(child *c) {
  const ml_spawning *r = c->r;
#if SHARE_MEMORY
  if (r->uid < 0 && r->gid < 0 && r->ngroups < 0) {
    size_t size = STACK_SIZE;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
                       -1, 0);
    pid_t pid;
    int err;
    if (stack == MAP_FAILED) return -1;
    pid = clone(run_child, (char *)((uintptr_t)(stack + size) & ~(uintptr_t)63),
                CLONE_VM | CLONE_VFORK | SIGCHLD, c);
    err = errno;
    munmap(stack, size);
    errno = err;
    return pid;
  }
#else
  (void)r;
#endif
  return fork_child(c);
}

int ml__spawn(const ml_spawning *r, pid_t *pid, int *stage) {
  child c = {.r = r};
  failure f = {ML_SPAWN_FORK, 0};
  sigset_t all, old;
  int report[2], cancel;
  ssize_t n;
  *stage = ML_SPAWN_FORK;
  if (pipe2(report, O_CLOEXEC) < 0) return uv_translate_sys_error(errno);
  c.report = report[1];
  /* handlers of ours must not run in the child, which shares our memory */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
  *pid = start(&c);
  if (*pid < 0) f.err = errno;
  pthread_setcancelstate(cancel, NULL);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  close(report[1]);
  if (*pid >= 0) {
    do n = read(report[0], &f, sizeof f);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof f) f.err = 0; /* it runs */
  }
  close(report[0]);
  if (f.err == 0) return 0;
  if (*pid >= 0)
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR) {}
  *stage = f.stage;
  return uv_translate_sys_error(f.err);
}
