/*
** against SERVER... -- COMMAND...: starts a server, with its port as the last argument, and runs a client's
** program with PORT replaced in its arguments: the server on CPU 0, the program on CPU 1. Adds figures to what
** the program prints: `wall` (milliseconds), `cpu` (seconds), both of the whole process, and `server` (CPU seconds of the server meanwhile).
*/

#include "bench.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server.h"

/* A copy of the word in which PORT is the number. */
static char *with_port(const char *word, int port) {
  const char *at = strstr(word, "PORT");
  size_t size = strlen(word) + 16;
  char *copy = malloc(size);
  if (copy == NULL) bench_die("memory");
  if (at == NULL) return memcpy(copy, word, strlen(word) + 1);
  snprintf(copy, size, "%.*s%d%s", (int)(at - word), word, port, at + 4);
  return copy;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

int main(int argc, char **argv) {
  struct rusage usage;
  server s = {.type = SOCK_STREAM};
  int n = 1, status;
  while (n < argc && strcmp(argv[n], "--") != 0) n++;
  if (n == 1 || n + 1 >= argc) {
    fprintf(stderr, "usage: against SERVER... -- COMMAND...\n");
    return 2;
  }
  server_start(&s, n - 1, argv + 1);
  char **command = argv + n + 1;
  for (char **word = command; *word != NULL; word++) *word = with_port(*word, s.port);

  double before = server_cpu(&s), started = bench_now();
  pid_t child = fork();
  if (child == 0) {
    execvp(command[0], command);
    perror(command[0]);
    _exit(127);
  }
  if (child < 0 || wait4(child, &status, 0, &usage) < 0) bench_die("against");
  bench_figure("wall", (bench_now() - started) * 1e3);
  bench_figure("cpu", seconds(usage.ru_utime) + seconds(usage.ru_stime));
  bench_figure("server", (server_cpu(&s) - before) / 1e9);
  server_stop(&s);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
