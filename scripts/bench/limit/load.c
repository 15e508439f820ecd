/*
** load [udp | ws] CONNECTIONS BYTES SECONDS COMMAND...: starts an echo server and loads it:
** each connection sends a message, waits until all of it has come back and sends
** the next. With ws these are WebSocket messages. Prints the server's CPU microseconds for each message, `us`, and the
** messages of a second, `rate`.
**
** There is a short round to warm up. Each round ends when the last message is
** back, so that the server sleeps while its CPU time is read.
*/

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"

#define WARM_UP 0.3   /* seconds */
#define PATIENCE 5000 /* milliseconds without an answer */
#define EVENTS 512

typedef struct connection {
  int fd;
  size_t sent, received; /* bytes of the current message */
  int blocked;           /* waits until the socket takes more */
} connection;

typedef struct load {
  int epoll;
  connection *connections;
  long n, waiting; /* connections; those whose message is not back */
  long messages;   /* back so far in this round */
  char *message;
  size_t size, answer; /* bytes there and back */
  int websocket;
} load;

static char input[1 << 18];

static void watch(load *l, connection *c, int operation) {
  struct epoll_event event = {.events = EPOLLIN | (c->blocked ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(l->epoll, operation, c->fd, &event) < 0) bench_die("epoll_ctl");
}

/* Sends what the socket takes of the rest of the message. */
static void send_rest(load *l, connection *c) {
  int was_blocked = c->blocked;
  ssize_t n = send(c->fd, l->message + c->sent, l->size - c->sent, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) bench_die("send");
  if (n > 0) c->sent += (size_t)n;
  c->blocked = c->sent < l->size;
  if (c->blocked != was_blocked) watch(l, c, EPOLL_CTL_MOD);
}

static void send_message(load *l, connection *c) {
  c->sent = c->received = 0;
  l->waiting++;
  send_rest(l, c);
}

/* Takes what is there. Returns 1 when it completes the message. */
static int receive(load *l, connection *c) {
  ssize_t n = recv(c->fd, input, sizeof input, 0);
  if (n == 0) errno = ECONNRESET;
  if (n == 0 || (n < 0 && errno != EAGAIN)) bench_die("receive");
  if (n > 0) c->received += (size_t)n;
  if (c->received < l->answer) return 0;
  if (c->received > l->answer || input[n - 1] != 'x') {
    errno = EPROTO;
    bench_die("wrong echo");
  }
  l->waiting--;
  l->messages++;
  return 1;
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
      if (events[i].events & ~(uint32_t)EPOLLOUT && receive(l, c) && going) send_message(l, c);
      if (c->blocked) send_rest(l, c);
    }
  }
}

static void settle(void) {
  struct timespec pause = {.tv_nsec = 20000000};
  nanosleep(&pause, NULL);
}

/* The head of a WebSocket frame with that payload; returns its size. */
static size_t frame_head(char *head, size_t payload, int masked) {
  size_t n = 2, extra = payload < 126 ? 0 : payload <= 0xFFFF ? 2 : 8;
  head[0] = (char)0x82;
  head[1] = (char)((extra == 0 ? payload : extra == 2 ? 126 : 127) | (masked ? 0x80 : 0));
  for (size_t i = extra; i > 0; i--) head[n++] = (char)(payload >> (8 * (i - 1)));
  return n;
}

/* The message as a client's frame: its mask is "mask". */
static void make_frame(load *l) {
  size_t payload = l->size, n;
  char *frame = malloc(payload + 14), head[14];
  n = frame_head(frame, payload, 1);
  memcpy(frame + n, "mask", 4);
  n += 4;
  for (size_t i = 0; i < payload; i++) frame[n + i] = l->message[i] ^ "mask"[i % 4];
  free(l->message);
  l->message = frame;
  l->size = n + payload;
  l->answer = payload + frame_head(head, payload, 0);
}

/* Asks for a WebSocket; the connection still blocks. */
static void open_websocket(int fd) {
  static const char request[] =
      "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
  char answer[4096];
  size_t have = 0;
  if (send(fd, request, sizeof request - 1, 0) != (ssize_t)sizeof request - 1) bench_die("send");
  do {
    ssize_t n = recv(fd, answer + have, sizeof answer - 1 - have, 0);
    if (n <= 0) bench_die("handshake");
    have += (size_t)n;
    answer[have] = 0;
  } while (strstr(answer, "\r\n\r\n") == NULL);
  errno = EPROTO;
  if (strncmp(answer, "HTTP/1.1 101 ", 13) != 0) bench_die("handshake");
}

static void open_connections(load *l, const server *s) {
  l->epoll = epoll_create1(EPOLL_CLOEXEC);
  l->connections = calloc((size_t)l->n, sizeof *l->connections);
  for (long i = 0; i < l->n; i++) {
    connection *c = &l->connections[i];
    c->fd = server_connect(s);
    if (l->websocket) open_websocket(c->fd);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(l, c, EPOLL_CTL_ADD);
  }
}

int main(int argc, char **argv) {
  int udp = argc > 1 && strcmp(argv[1], "udp") == 0;
  int ws = argc > 1 && strcmp(argv[1], "ws") == 0;
  argc -= udp + ws;
  argv += udp + ws;
  if (argc < 5) {
    fprintf(stderr, "usage: load [udp | ws] CONNECTIONS BYTES SECONDS COMMAND...\n");
    return 2;
  }
  load l = {.n = atol(argv[1]), .size = (size_t)atol(argv[2]), .websocket = ws};
  l.message = malloc(l.size);
  memset(l.message, 'x', l.size);
  l.answer = l.size;
  if (ws) make_frame(&l);
  server s = {.type = udp ? SOCK_DGRAM : SOCK_STREAM};
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
  free(l.connections);
  free(l.message);
  return 0;
}
