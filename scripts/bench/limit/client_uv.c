/*
** client_uv get URL REQUESTS AT_ONCE: the same GETs as the client program's by libuv and llhttp with nothing around them: what a client on
** streams of its own begins with. Prints `us` CPU of a request, and `rate`.
*/

#include "bench.h"

#include <llhttp.h>
#include <string.h>
#include <uv.h>

#define ANSWER 13

typedef struct connection {
  uv_tcp_t tcp;
  uv_connect_t connecting;
  llhttp_t parser;
} connection;

static struct {
  long total, started, done;
  size_t bytes;
  char request[512], slab[65536];
  unsigned size;
} run;

static void failed(const char *what) {
  fprintf(stderr, "client_uv: %s\n", what);
  exit(1);
}

static void ask(connection *c) {
  uv_buf_t b = uv_buf_init(run.request, run.size);
  if (run.started == run.total) {
    uv_close((uv_handle_t *)&c->tcp, NULL);
    return;
  }
  run.started++;
  if (uv_try_write((uv_stream_t *)&c->tcp, &b, 1) != (int)run.size) failed("not written at once");
}

static int on_body(llhttp_t *p, const char *at, size_t n) {
  (void)p, (void)at;
  run.bytes += n;
  return 0;
}

static int on_complete(llhttp_t *p) {
  if (p->status_code != 200) failed("not 200");
  run.done++;
  ask(p->data);
  return 0;
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b) {
  (void)h, (void)hint;
  *b = uv_buf_init(run.slab, sizeof run.slab);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
  connection *c = (connection *)s;
  if (n < 0) failed("closed by the server");
  if (n > 0 && llhttp_execute(&c->parser, b->base, (size_t)n) != HPE_OK) failed("a bad answer");
}

static void on_connect(uv_connect_t *connecting, int status) {
  connection *c = connecting->handle->data;
  if (status < 0) failed("not connected");
  uv_tcp_nodelay(&c->tcp, 1);
  uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
  ask(c);
}

int main(int argc, char **argv) {
  long at_once = bench_arg(argc, argv, 4, 100);
  char host[64], path[256] = "/";
  int port = 80;
  struct sockaddr_in address;
  llhttp_settings_t settings;
  if (argc < 4 || sscanf(argv[2], "http://%63[0-9.]:%d%255s", host, &port, path) < 2) {
    fprintf(stderr, "usage: client_uv get http://ADDRESS:PORT/ REQUESTS AT_ONCE\n");
    return 2;
  }
  run.total = atol(argv[3]);
  run.size = (unsigned)snprintf(run.request, sizeof run.request,
                                "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: */*\r\n"
                                "User-Agent: client_uv\r\n\r\n",
                                path, host, port);
  llhttp_settings_init(&settings);
  settings.on_body = on_body;
  settings.on_message_complete = on_complete;
  uv_ip4_addr(host, port, &address);
  double cpu = bench_cpu(), started = bench_now();
  connection *connections = calloc((size_t)at_once, sizeof *connections);
  for (connection *c = connections; c < connections + at_once; c++) {
    uv_tcp_init(uv_default_loop(), &c->tcp);
    llhttp_init(&c->parser, HTTP_RESPONSE, &settings);
    c->tcp.data = c->parser.data = c;
    if (uv_tcp_connect(&c->connecting, &c->tcp, (struct sockaddr *)&address, on_connect) < 0)
      failed("not connected");
  }
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  double elapsed = bench_now() - started;
  bench_figure("us", (bench_cpu() - cpu) * 1e6 / (double)run.total);
  bench_figure("each", elapsed * 1e6 / (double)run.total);
  bench_figure("rate", (double)run.total / elapsed);
  if (run.bytes != (size_t)run.total * ANSWER) failed("other answers");
  free(connections);
  return 0;
}
