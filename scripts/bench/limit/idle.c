/*
** idle CONNECTIONS COMMAND...: starts an echo server, opens that many
** connections with one round trip on each and lets them be. Prints by how many
** resident bytes the server has grown for each, `bytes`.
*/

#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

#define BATCH 100 /* connections opened at once: fewer than a backlog holds */

static void send_ping(int fd) {
  if (send(fd, "ping", 4, MSG_NOSIGNAL) != 4) bench_die("send");
}

static void await_pong(int fd) {
  char answer[4];
  if (recv(fd, answer, 4, MSG_WAITALL) != 4 || memcmp(answer, "ping", 4) != 0)
    bench_die("no answer");
}

static void open_connections(const server *s, int *fds, long n) {
  struct timeval patience = {.tv_sec = 10};
  for (long i = 0; i < n; i++) {
    fds[i] = server_connect(s);
    setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  for (long i = 0; i < n; i++) send_ping(fds[i]);
  for (long i = 0; i < n; i++) await_pong(fds[i]);
}

static void settle(void) {
  struct timespec pause = {.tv_nsec = 300000000};
  nanosleep(&pause, NULL);
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: idle CONNECTIONS COMMAND...\n");
    return 2;
  }
  long n = atol(argv[1]);
  int first, *fds = calloc((size_t)n, sizeof *fds);
  server s = {.type = SOCK_STREAM};
  server_start(&s, argc - 2, argv + 2);
  open_connections(&s, &first, 1); /* what the server makes once is not counted */

  settle();
  double before = server_rss(&s);
  for (long done = 0; done < n; done += BATCH) {
    open_connections(&s, fds + done, n - done < BATCH ? n - done : BATCH);
  }
  settle();
  double after = server_rss(&s);

  server_stop(&s);
  bench_figure("bytes", (after - before) / (double)n);
  free(fds);
  return 0;
}
