/* The sweep itself: see hosts_sweep.h. */
#define _GNU_SOURCE /* memfd_create, posix_openpt */
#define SWEEP_ITSELF
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hosts_sweep.h"

/* Shared with the runs. One lock: hosts may have engines in several threads. */
typedef struct plan {
  pthread_mutex_t lock;
  long fail_at; /* -1: none fails */
  int refusals; /* how many there are then; -1: no end. Lua collects garbage after one, and asks again */
  long asked;
} plan;

static plan *sweep;

static void *allocate(void *ud, void *p, size_t osize, size_t nsize) {
  int refused = 0;
  (void)ud;
  if (nsize == 0) {
    free(p);
    return NULL;
  }
  if (p == NULL || nsize > osize) { /* shrinking does not fail */
    pthread_mutex_lock(&sweep->lock);
    refused = sweep->fail_at >= 0 && sweep->asked >= sweep->fail_at && sweep->refusals != 0;
    if (refused && sweep->refusals > 0) sweep->refusals--;
    sweep->asked++;
    pthread_mutex_unlock(&sweep->lock);
  }
  return refused ? NULL : realloc(p, nsize);
}

int sweep_new(const ml_config *c, ml_engine **out) {
  ml_config mine;
  if (c == NULL)
    ml_config_init(&mine);
  else
    mine = *c;
  mine.alloc = allocate;
  return ml_new(&mine, out);
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* How long a run may take before it is asked to end, and again before it has failed. */
static double patience = 1;

static int terminal = -1; /* the master's side, or -1 */

static int wait_for(pid_t pid, int *asked) {
  double end = seconds() + patience;
  int status;
  *asked = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    char drawn[4096];
    while (terminal >= 0 && read(terminal, drawn, sizeof drawn) > 0) continue;
    usleep(500);
    if (seconds() < end) continue;
    kill(pid, *asked == 0 ? SIGTERM : SIGKILL);
    (*asked)++;
    end = seconds() + 10;
  }
  return status;
}

static char output[8192];

/* One run. Returns its wait status; its standard error is in `output`. */
static int run(long fail_at, int refusals, int input, int argc, char **argv, int *asked) {
  int errors = memfd_create("errors", 0), nothing = open("/dev/null", O_WRONLY), status;
  ssize_t n;
  pid_t pid;
  sweep->fail_at = fail_at;
  sweep->refusals = refusals;
  sweep->asked = 0;
  lseek(input, 0, SEEK_SET);
  fflush(NULL);
  pid = fork();
  if (pid == 0) {
    dup2(input, 0);
    dup2(terminal >= 0 ? input : nothing, 1);
    dup2(errors, 2);
    exit(host_main(argc, argv));
  }
  status = wait_for(pid, asked);
  n = pread(errors, output, sizeof output - 1, 0);
  output[n > 0 ? n : 0] = '\0';
  close(errors);
  close(nothing);
  return status;
}

static int judge(const char *how, long n, int status, int asked) {
  const char *what = NULL;
  if (asked > 1)
    what = "does not end";
  else if (!WIFEXITED(status))
    what = "died of a signal";
  else if (WEXITSTATUS(status) > 1)
    what = "ended with a status that is not the host's";
  else if (strstr(output, "Sanitizer") != NULL || strstr(output, "its process died") != NULL)
    what = "has lost a process";
  else if (WEXITSTATUS(status) != 0 && output[0] == '\0')
    what = "failed without a word";
  if (what == NULL) return 0;
  printf("allocation %ld fails %s: the host %s (%x)\n%s\n", n, how, what, (unsigned)status, output);
  fflush(stdout);
  return 1;
}

/* The program's side of a new terminal. */
static int open_terminal(void) {
  struct winsize size = {.ws_row = 24, .ws_col = 80};
  int fd;
  terminal = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0) return -1;
  fd = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  if (fd >= 0) ioctl(fd, TIOCSWINSZ, &size);
  return fd;
}

/* Standard input as a file, to be read from its beginning by each run. */
static int keep_input(void) {
  int fd = memfd_create("input", 0);
  char buf[4096];
  ssize_t n;
  while ((n = read(0, buf, sizeof buf)) > 0)
    if (write(fd, buf, (size_t)n) != n) return -1;
  return fd;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int refusals;
  } modes[] = {{"twice", 2}, {"from there on", -1}, {"once", 1}};
  pthread_mutexattr_t shared;
  int input, asked, status, bad = 0, first = 2;
  double limit = argc > 1 ? atof(argv[1]) : 0;
  long whole;
  if (argc > 2 && strcmp(argv[2], "pty") == 0) first++;
  if (limit <= 0 || argc <= first) return 2;
  argv[first] = "host"; /* for the -- */
  input = first == 3 ? open_terminal() : keep_input();
  if (input < 0) {
    perror("sweep: input");
    return 1;
  }
  sweep = mmap(NULL, sizeof *sweep, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_init(&shared);
  pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&sweep->lock, &shared);
  status = run(-1, 0, input, argc - first, argv + first, &asked);
  whole = sweep->asked;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || asked > 1) {
    printf("the host does not even run with memory (%x)\n%s\n", (unsigned)status, output);
    return 1;
  }
  for (int m = 0; m < 3; m++) {
    double start = seconds();
    long tried = 0, failed = 0;
    /* from a few to each of them, as time allows: a step that shares no factor with what repeats */
    long step = 1 + whole / 40;
    for (long n = 0; n < whole; n += step, tried++) {
      double used = seconds() - start;
      status = run(n, modes[m].refusals, input, argc - first, argv + first, &asked);
      failed += WIFEXITED(status) && WEXITSTATUS(status) != 0;
      bad += judge(modes[m].name, n, status, asked);
      if (n > 0)
        step = 1 + (long)((double)(whole - n) * (used / (double)tried) / (limit / 3 - used));
      if (used > limit / 3) break;
    }
    printf("%-14s %6ld allocations, %5ld runs, %5ld of them failed\n", modes[m].name, whole, tried,
           failed);
    fflush(stdout);
  }
  return bad > 0;
}
