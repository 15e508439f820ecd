/*
** httpload PATH CONNECTIONS SECONDS COMMAND...: starts an HTTP server and has wrk ask it for the path. Prints
** the server's CPU microseconds for each request, `us`, and the requests a second, `rate`.
*/

#include "bench.h"

#include <string.h>

#include "server.h"

/* Runs wrk (on CPU 1, as this program); gives the number of requests, and the rate. */
static double ask(const server *s, const char *path, long connections, const char *seconds,
                  double *rate) {
  char command[512], line[512];
  double requests = 0;
  snprintf(command, sizeof command, "wrk -t1 -c%ld -d%s http://127.0.0.1:%d%s", connections,
           seconds, s->port, path);
  FILE *wrk = popen(command, "r");
  if (wrk == NULL) bench_die("wrk");
  while (fgets(line, sizeof line, wrk) != NULL) {
    if (strstr(line, "requests in") != NULL) requests = atof(line);
    if (strstr(line, "Non-2xx") != NULL || strstr(line, "Socket errors") != NULL) bench_die(line);
    if (strncmp(line, "Requests/sec:", 13) == 0) *rate = atof(line + 13);
  }
  if (pclose(wrk) != 0 || requests == 0) bench_die("wrk failed");
  return requests;
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: httpload PATH CONNECTIONS SECONDS COMMAND...\n");
    return 2;
  }
  long connections = atol(argv[2]);
  double rate = 0, before, requests;
  server s = {.type = SOCK_STREAM};
  server_start(&s, argc - 4, argv + 4);
  ask(&s, argv[1], connections, "1", &rate);
  before = server_cpu(&s);
  requests = ask(&s, argv[1], connections, argv[3], &rate);
  bench_figure("us", (server_cpu(&s) - before) / 1000 / requests);
  bench_figure("rate", rate);
  server_stop(&s);
  return 0;
}
