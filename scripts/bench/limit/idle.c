/*
** idle [http] CONNECTIONS COMMAND...: starts an echo server, or one of HTTP, opens that
** many connections with one round trip on each and lets them be. Prints by how many
** resident bytes the server has grown for each, `bytes`, and how long it took to open
** them, `ms`.
*/

#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

#define BATCH 100 /* connections opened at once: fewer than a backlog holds */

typedef struct talk { /* what is sent, and how the answer ends */
  const char *ask, *end;
} talk;
static const talk echo = {"ping", "ping"};
static const talk http = {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "Hello, World!"};

static void send_ask(int fd, const talk *t) {
  size_t n = strlen(t->ask);
  if (send(fd, t->ask, n, MSG_NOSIGNAL) != (ssize_t)n) bench_die("send");
}

static void await_answer(int fd, const talk *t) {
  char answer[1024];
  size_t got = 0, n = strlen(t->end);
  while (got < n || memcmp(answer + got - n, t->end, n) != 0) {
    ssize_t r = got == sizeof answer ? 0 : recv(fd, answer + got, sizeof answer - got, 0);
    if (r <= 0) bench_die("no answer");
    got += (size_t)r;
  }
}

static void open_connections(const server *s, const talk *t, int *fds, long n) {
  struct timeval patience = {.tv_sec = 10};
  for (long i = 0; i < n; i++) {
    fds[i] = server_connect(s);
    setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  for (long i = 0; i < n; i++) send_ask(fds[i], t);
  for (long i = 0; i < n; i++) await_answer(fds[i], t);
}

static void settle(void) {
  struct timespec pause = {.tv_nsec = 300000000};
  nanosleep(&pause, NULL);
}

int main(int argc, char **argv) {
  const talk *t = argc > 1 && strcmp(argv[1], "http") == 0 ? &http : &echo;
  argc -= t == &http;
  argv += t == &http;
  if (argc < 3) {
    fprintf(stderr, "usage: idle [http] CONNECTIONS COMMAND...\n");
    return 2;
  }
  long n = atol(argv[1]);
  int first, *fds = calloc((size_t)n, sizeof *fds);
  server s = {.type = SOCK_STREAM};
  server_start(&s, argc - 2, argv + 2);
  open_connections(&s, t, &first, 1); /* what the server makes once is not counted */

  settle();
  double before = server_rss(&s), start = bench_now();
  for (long done = 0; done < n; done += BATCH) {
    open_connections(&s, t, fds + done, n - done < BATCH ? n - done : BATCH);
  }
  start = bench_now() - start;
  settle();
  double after = server_rss(&s);

  server_stop(&s);
  bench_figure("bytes", (after - before) / (double)n);
  bench_figure("ms", start * 1e3);
  free(fds);
  return 0;
}
