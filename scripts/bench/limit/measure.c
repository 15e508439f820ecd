/*
** measure RUNS COMMAND...: runs the command that many times and adds figures to
** what it prints: `wall` (milliseconds, median), `cpu` (seconds of user and
** system time, median) and `rss` (peak resident bytes, largest). The parent is
** this small because a child's peak starts at what its parent had.
*/

#include "bench.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, long n) {
  qsort(values, (size_t)n, sizeof *values, ascending);
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

/* Runs the command once; ends the program with its status when that is not 0. */
static void run(char **command, struct rusage *usage) {
  int status;
  pid_t child = vfork();
  if (child == 0) {
    execvp(command[0], command);
    _exit(127);
  }
  if (child < 0 || wait4(child, &status, 0, usage) < 0) bench_die("measure");
  if (status != 0) exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(int argc, char **argv) {
  long runs = bench_arg(argc, argv, 1, 1), rss = 0;
  if (argc < 3 || runs < 1) {
    fprintf(stderr, "usage: measure RUNS COMMAND...\n");
    return 2;
  }
  double *wall = malloc((size_t)runs * sizeof *wall), *cpu = malloc((size_t)runs * sizeof *cpu);
  for (long i = 0; i < runs; i++) {
    struct rusage usage;
    double started = bench_now();
    run(argv + 2, &usage);
    wall[i] = (bench_now() - started) * 1e3;
    cpu[i] = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    if (usage.ru_maxrss > rss) rss = usage.ru_maxrss;
  }
  bench_figure("wall", median(wall, runs));
  bench_figure("cpu", median(cpu, runs));
  bench_figure("rss", (double)rss * 1024);
  free(wall);
  free(cpu);
  return 0;
}
