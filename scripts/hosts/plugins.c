/* A host of plug-ins that nobody has read: each script of a folder gets an engine of its own, with
** a memory limit, a time slice, limits on tasks, handles and output, no files, no network and no
** processes, and a deadline; a table says what each did, also what it was refused and kept quiet
** about, and that a finalizer of its had to be stopped. What no meter can interrupt, a function of
** C that blocks, takes its process with it: each plug-in has one.
**
**   build/hosts/plugins [-m KB] [-s SLICE_MS] [-d DEADLINE_MS] [FOLDER or FILE...]
**
** The default is scripts/hosts/plugins: a few good ones and many that mean harm. What plug-ins
** print is kept from the terminal; -v shows it.
*/
#define _GNU_SOURCE /* getopt, memmem */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

typedef struct settings {
  size_t memory;            /* bytes */
  uint64_t slice, deadline; /* microseconds */
  int verbose;
} settings;

/* What one plug-in did. */
typedef struct report {
  char verdict[320];
  char tried[120]; /* the first thing that it was refused */
  int refusals;
  int stopped;     /* finalizers that were told of in the log */
  size_t memory;   /* the most that was seen between two steps */
  uint64_t output; /* bytes that it printed, wrote to standard output, logged */
  double cpu;      /* seconds of its process's */
  int good, verbose;
} report;

enum { TASKS = 100, HANDLES = 50, OUTPUT = 16 * 1024 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_print(void *ud, const char *text, size_t n) {
  if (((report *)ud)->verbose) fwrite(text, 1, n, stdout);
}

static void on_log(void *ud, const char *text, size_t n) {
  report *r = ud;
  if (memmem(text, n, "__gc", 4) != NULL && memmem(text, n, "TimeSliceError", 14) != NULL)
    r->stopped++;
  if (r->verbose) printf("[%.*s]\n", (int)n, text);
}

/* "read /etc/passwd", "connect 127.0.0.1:80", "loadlib libm.so.6" */
static void on_refused(void *ud, const ml_refusal *what) {
  report *r = ud;
  int file = strcmp(what->permission, "read") == 0 || strcmp(what->permission, "write") == 0;
  if (r->refusals++ > 0) return;
  snprintf(r->tried, sizeof r->tried, "%s %s", file ? what->permission : what->doing,
           what->subject);
}

/* plugin.text(): what plug-ins are to work on */
static int plugin_text(ml_call *c, void *ud) {
  ml_value v = host_text("the quick brown fox jumps over the lazy dog");
  (void)ud;
  return ml_return(c, &v, 1);
}

static const host_function functions[] = {{"plugin.text", plugin_text, NULL}, {NULL, NULL, NULL}};

/* ---- one plug-in ---- */

/* The first line of what went wrong, behind a word for its kind. */
static void blame(report *r, int code, const char *text) {
  const char *kind = "failed";
  int n = (int)strcspn(text, "\n");
  if (code == ML_ENOMEM || strstr(text, "not enough memory") != NULL)
    kind = "killed for memory";
  else if (strstr(text, "TimeSliceError") != NULL)
    kind = "killed for time";
  else if (strstr(text, "LimitError") != NULL)
    kind = "killed for a limit";
  else if (strstr(text, "EACCES") != NULL || strstr(text, "sandbox") != NULL)
    kind = "refused";
  snprintf(r->verdict, sizeof r->verdict, "%s: %.*s", kind, n, text);
}

static void judge(report *r, ml_task *t) {
  const ml_error *why = ml_task_error(t);
  const ml_value *v;
  size_t n;
  switch (ml_task_status(t)) {
  case ML_DONE:
    r->good = 1;
    strcpy(r->verdict, "ok");
    if (ml_task_result(t, &v, &n) == 0 && n > 0 && v[0].type == ML_STRING)
      snprintf(r->verdict, sizeof r->verdict, "ok: %s", v[0].u.str.s);
    break;
  case ML_PENDING: strcpy(r->verdict, "killed for its deadline"); break;
  default:
    blame(r, why != NULL ? why->code : ML_ENOMEM, why != NULL ? why->message : "out of memory");
  }
}

/* What its task does not say: it is known when the engine is closed, by then all finalizers have
** run. */
static void add_the_rest(report *r, uint64_t overruns) {
  size_t n;
  if (r->good && (overruns > 0 || r->stopped > 0)) {
    r->good = 0;
    strcpy(r->verdict, "killed for time: a part of it, or a finalizer, had to be stopped");
  }
  n = strlen(r->verdict);
  if (r->refusals > 0 && strncmp(r->verdict, "refused", 7) != 0)
    snprintf(r->verdict + n, sizeof r->verdict - n, "; tried to %s (refusals: %d)", r->tried,
             r->refusals);
}

/* Steps the engine until the script has ended, or its time is over. */
static int drive(ml_engine *e, ml_task *t, report *r, uint64_t deadline) {
  double end = now() + (double)deadline / 1e6;
  int late = 0;
  while (ml_task_status(t) == ML_PENDING && !late) {
    struct pollfd p = {.events = POLLIN};
    int timeout, err;
    late = now() >= end; /* one step more: who was stopped in the last one ends in this */
    err = ml_step(e, 1000);
    if (ml_memory(e) > r->memory) r->memory = ml_memory(e);
    if (err < 0 && err != ML_ESCRIPT) return err;
    err = ml_poll_info(e, &p.fd, &timeout);
    if (err < 0) return err;
    if (timeout < 0 || timeout > 10) timeout = 10; /* to look at the clock */
    if (ml_task_status(t) == ML_PENDING && !late) poll(&p, 1, timeout);
  }
  return 0;
}

static void configure(ml_config *c, const settings *s, report *r) {
  ml_config_init(c);
  c->log = on_log;
  c->print = on_print;
  c->on_refused = on_refused;
  c->ud = r;
  c->profile = ML_PROFILE_PURE;
  c->memory_limit = s->memory;
  c->meter = ML_METER_WATCHDOG;
  c->slice_us = s->slice;
  c->max_tasks = TASKS;
  c->max_handles = HANDLES;
  c->max_output = OUTPUT;
}

static void run(const char *path, const settings *s, report *r) {
  ml_config config;
  ml_engine *e;
  ml_task *t = NULL;
  ml_usage_info used = {0};
  int err;
  configure(&config, s, r);
  err = ml_new(&config, &e);
  if (err == 0) err = host_define(e, functions, NULL);
  if (err == 0) err = ml_load_file(e, path, &t); /* text alone: bytecode is refused */
  if (err == 0) err = drive(e, t, r, s->deadline);
  if (err < 0 && (t == NULL || ml_task_status(t) == ML_PENDING)) {
    const ml_error *why = e != NULL ? ml_last_error(e, NULL) : NULL;
    blame(r, err, why != NULL ? why->message : ml_strerror(err));
  } else
    judge(r, t);
  if (e != NULL && ml_usage(e, &used, sizeof used) == 0) r->output = used.output;
  ml_task_release(t);
  ml_close(e, 50);
  add_the_rest(r, used.overruns);
}

/* ---- in a process of its own ---- */

/* The report comes through a pipe, or never: then the process is killed. */
static int run_apart(const char *path, const settings *s, report *r) {
  struct pollfd answer = {.events = POLLIN};
  struct rusage used;
  int ends[2], status, late;
  pid_t pid;
  if (pipe(ends) < 0) return -errno;
  fflush(stdout);
  pid = fork();
  if (pid == 0) {
    close(ends[0]);
    run(path, s, r);
    if (write(ends[1], r, sizeof *r) != (ssize_t)sizeof *r) exit(1);
    exit(0);
  }
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return -errno;
  }
  answer.fd = ends[0];
  late = poll(&answer, 1, (int)(s->deadline / 500) + 200) == 0; /* twice its time, and some */
  if (late) {
    kill(pid, SIGKILL);
    strcpy(r->verdict, "killed with its process: nothing else would stop it");
  } else if (read(ends[0], r, sizeof *r) != (ssize_t)sizeof *r)
    strcpy(r->verdict, "failed: it ended its process");
  close(ends[0]);
  wait4(pid, &status, 0, &used);
  r->cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  if (late || status == 0) return 0;
  r->good = 0;
  fprintf(stderr, "plugins: %s: its process died (%s %d)\n", path,
          WIFSIGNALED(status) ? "signal" : "status",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  return 1;
}

/* ---- all of them ---- */

static int is_lua(const struct dirent *d) {
  size_t n = strlen(d->d_name);
  return n > 4 &&
         (strcmp(d->d_name + n - 4, ".lua") == 0 || strcmp(d->d_name + n - 4, ".out") == 0);
}

static int try_one(const char *path, const settings *s, int *bad) {
  const char *name = strrchr(path, '/');
  report r = {.verbose = s->verbose};
  int err = run_apart(path, s, &r);
  if (err < 0) return err;
  *bad += !r.good;
  printf("%-22s %6zu KB %6.0f ms %6llu B  %s\n", name != NULL ? name + 1 : path, r.memory / 1024,
         r.cpu * 1000, (unsigned long long)r.output, r.verdict);
  return err;
}

/* A folder's scripts by their names, or the one file. */
static int try_path(const char *path, const settings *s, int *bad) {
  struct dirent **list;
  struct stat st;
  int n, err = 0;
  if (stat(path, &st) < 0) return -errno;
  if (!S_ISDIR(st.st_mode)) return try_one(path, s, bad);
  n = scandir(path, &list, is_lua, alphasort);
  if (n < 0) return -errno;
  for (int i = 0; i < n; i++) {
    char file[4096];
    snprintf(file, sizeof file, "%s/%s", path, list[i]->d_name);
    if (err == 0) err = try_one(file, s, bad);
    free(list[i]);
  }
  free(list);
  return err;
}

static int usage(void) {
  fputs("usage: plugins [-v] [-m KB] [-s SLICE_MS] [-d DEADLINE_MS] [FOLDER or FILE...]\n", stderr);
  return 2;
}

int main(int argc, char **argv) {
  static char *standard[] = {"scripts/hosts/plugins"};
  settings s = {.memory = 4 << 20, .slice = 20000, .deadline = 1000000};
  int option, bad = 0, failed = 0;
  while ((option = getopt(argc, argv, "vm:s:d:")) != -1) {
    char *end = NULL;
    long n = 1;
    if (option != 'v' && option != '?') n = strtol(optarg, &end, 10);
    if (option == '?' || n <= 0 || n > 1000000 || (end != NULL && *end != '\0')) return usage();
    if (option == 'v') s.verbose = 1;
    if (option == 'm') s.memory = (size_t)n * 1024;
    if (option == 's') s.slice = (uint64_t)n * 1000;
    if (option == 'd') s.deadline = (uint64_t)n * 1000;
  }
  argv = optind < argc ? argv + optind : standard;
  for (argc = optind < argc ? argc - optind : 1; argc > 0; argc--, argv++) {
    int err = try_path(*argv, &s, &bad);
    if (err < 0) fprintf(stderr, "plugins: %s: %s\n", *argv, strerror(-err));
    failed |= err != 0;
  }
  printf("%d did not end well\n", bad);
  return failed;
}
