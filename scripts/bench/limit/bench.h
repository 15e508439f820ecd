/*
** What the C programs of the benchmark share: arguments, a clock, figures on
** standard output (lines of NAME VALUE, which the runner collects). Comes before
** all other headers.
*/

#ifndef BENCH_H
#define BENCH_H

#define _GNU_SOURCE /* for clocks, CPU affinity and wait4 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Argument i as a number. */
static inline long bench_arg(int argc, char **argv, int i, long fallback) {
  return argc > i ? atol(argv[i]) : fallback;
}

/* Monotonic seconds. */
static inline double bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seconds of CPU that the process has taken. */
static inline double bench_cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Bytes of memory that the process has now. */
static inline double bench_resident(void) {
  long size = 0, pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f == NULL || fscanf(f, "%ld %ld", &size, &pages) != 2) exit(1);
  fclose(f);
  return (double)pages * 4096;
}

static inline void bench_figure(const char *name, double value) {
  printf("%s %.9g\n", name, value);
}

static inline void bench_die(const char *what) {
  perror(what);
  exit(1);
}

#endif
