/*
** loadtls CONNECTIONS BYTES SECONDS COMMAND...: as load, over TLS: starts an echo
** server and loads it: each connection sends a message, waits until all of it has
** come back and sends the next. Prints the server's CPU microseconds for each
** message, `us`, and the messages of a second, `rate`. The certificate is not verified.
*/

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "server.h"

#define WARM_UP 0.3   /* seconds */
#define PATIENCE 5000 /* milliseconds without an answer */
#define EVENTS 512

typedef struct connection {
  int fd;
  SSL *ssl;
  size_t received; /* bytes of the current message */
  int blocked;     /* the message is not sent yet: the socket must take more */
} connection;

typedef struct load {
  int epoll;
  connection *connections;
  long n, waiting; /* connections; those whose message is not back */
  long messages;   /* back so far in this round */
  char *message;
  size_t size;
} load;

static char input[1 << 17];

static void watch(load *l, connection *c, int operation) {
  struct epoll_event event = {.events = EPOLLIN | (c->blocked ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(l->epoll, operation, c->fd, &event) < 0) bench_die("epoll_ctl");
}

/* Sends the message, or goes on with it: OpenSSL keeps its place. */
static void send_rest(load *l, connection *c) {
  int was_blocked = c->blocked, n = SSL_write(c->ssl, l->message, (int)l->size);
  if (n <= 0 && SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_WRITE) bench_die("send");
  c->blocked = n <= 0;
  if (c->blocked != was_blocked) watch(l, c, EPOLL_CTL_MOD);
}

static void send_message(load *l, connection *c) {
  c->received = 0;
  l->waiting++;
  send_rest(l, c);
}

/* Takes what is there. Returns 1 when it completes the message. */
static int receive(load *l, connection *c) {
  int n;
  while ((n = SSL_read(c->ssl, input, sizeof input)) > 0) {
    c->received += (size_t)n;
    if (c->received > l->size || input[n - 1] != 'x') {
      errno = EPROTO;
      bench_die("wrong echo");
    }
    if (c->received == l->size) {
      l->waiting--;
      l->messages++;
      return 1;
    }
  }
  if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ) bench_die("receive");
  return 0;
}

/* One round: messages for that long, then until all are back. */
static void run(load *l, double seconds) {
  struct epoll_event events[EVENTS];
  double end = bench_now() + seconds;
  int going = 1;
  l->messages = 0;
  for (long i = 0; i < l->n; i++) send_message(l, &l->connections[i]);
  while (l->waiting > 0) {
    int n = epoll_wait(l->epoll, events, EVENTS, PATIENCE);
    if (n == 0) errno = ETIMEDOUT;
    if (n <= 0) bench_die("wait");
    going = going && bench_now() < end;
    for (int i = 0; i < n; i++) {
      connection *c = events[i].data.ptr;
      if (c->blocked) send_rest(l, c);
      if (events[i].events & ~(uint32_t)EPOLLOUT && receive(l, c) && going) send_message(l, c);
    }
  }
}

static void settle(void) {
  struct timespec pause = {.tv_nsec = 20000000};
  nanosleep(&pause, NULL);
}

static void open_connections(load *l, const server *s) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  l->epoll = epoll_create1(EPOLL_CLOEXEC);
  l->connections = calloc((size_t)l->n, sizeof *l->connections);
  for (long i = 0; i < l->n; i++) {
    connection *c = &l->connections[i];
    c->fd = server_connect(s);
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_connect(c->ssl) != 1) bench_die("handshake");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(l, c, EPOLL_CTL_ADD);
  }
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: loadtls CONNECTIONS BYTES SECONDS COMMAND...\n");
    return 2;
  }
  load l = {.n = atol(argv[1]), .size = (size_t)atol(argv[2])};
  l.message = malloc(l.size);
  memset(l.message, 'x', l.size);
  server s = {.type = SOCK_STREAM};
  server_start(&s, argc - 4, argv + 4);
  open_connections(&l, &s);
  run(&l, WARM_UP);

  settle();
  double cpu = server_cpu(&s), started = bench_now();
  run(&l, atof(argv[3]));
  double elapsed = bench_now() - started;
  settle();
  cpu = server_cpu(&s) - cpu;

  server_stop(&s);
  bench_figure("us", cpu / 1e3 / (double)l.messages);
  bench_figure("rate", (double)l.messages / elapsed);
  for (long i = 0; i < l.n; i++) SSL_free(l.connections[i].ssl);
  free(l.connections);
  free(l.message);
  return 0;
}
