/*
** http [PORT]: the limit of the http rows, libuv and llhttp: GET / is answered with a line of text, GET
** /user/ID with a line of JSON, in one write that is tried at once.
*/

#include "bench.h"

#include <llhttp.h>
#include <string.h>
#include <uv.h>

typedef struct client {
  uv_tcp_t tcp;
  llhttp_t parser;
  size_t n;
  char target[256];
} client;

typedef struct pending { /* what the kernel has not taken */
  uv_write_t write;
  char bytes[];
} pending;

static char slab[65536];
static llhttp_settings_t settings;

static int on_begin(llhttp_t *p) {
  ((client *)p->data)->n = 0;
  return 0;
}

static int on_url(llhttp_t *p, const char *at, size_t n) {
  client *c = p->data;
  if (c->n + n >= sizeof c->target) return -1;
  memcpy(c->target + c->n, at, n);
  c->n += n;
  return 0;
}

static void on_written(uv_write_t *w, int status) {
  (void)status;
  free(w);
}

static void answer(client *c, const char *status, const char *type, const char *body, int n) {
  char out[1024];
  int size = snprintf(out, sizeof out,
                      "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%.*s", status,
                      type, n, n, body);
  uv_buf_t b = uv_buf_init(out, (unsigned)size);
  int sent = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
  if (sent < 0) sent = 0;
  if (sent == size) return;
  pending *p = malloc(sizeof *p + (size_t)(size - sent));
  memcpy(p->bytes, out + sent, (size_t)(size - sent));
  b = uv_buf_init(p->bytes, (unsigned)(size - sent));
  uv_write(&p->write, (uv_stream_t *)&c->tcp, &b, 1, on_written);
}

static int on_complete(llhttp_t *p) {
  client *c = p->data;
  c->target[c->n] = '\0';
  if (strcmp(c->target, "/") == 0) {
    answer(c, "200 OK", "text/plain; charset=utf-8", "Hello, World!", 13);
  } else if (strncmp(c->target, "/user/", 6) == 0) {
    char body[600];
    int n = snprintf(body, sizeof body, "{\"id\":%ld,\"name\":\"user%s\"}", atol(c->target + 6),
                     c->target + 6);
    answer(c, "200 OK", "application/json; charset=utf-8", body, n);
  } else
    answer(c, "404 Not Found", "text/plain; charset=utf-8", "404: Not Found", 14);
  return 0;
}

static void on_closed(uv_handle_t *h) { free(h); }

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b) {
  (void)h, (void)hint;
  *b = uv_buf_init(slab, sizeof slab);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
  client *c = (client *)s;
  if (n < 0 || (n > 0 && llhttp_execute(&c->parser, b->base, (size_t)n) != HPE_OK))
    uv_close((uv_handle_t *)s, on_closed);
}

static void on_connection(uv_stream_t *server, int status) {
  client *c = status < 0 ? NULL : malloc(sizeof *c);
  if (c == NULL) return;
  uv_tcp_init(server->loop, &c->tcp);
  uv_accept(server, (uv_stream_t *)&c->tcp);
  uv_tcp_nodelay(&c->tcp, 1);
  llhttp_init(&c->parser, HTTP_REQUEST, &settings);
  c->parser.data = c;
  uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

int main(int argc, char **argv) {
  uv_tcp_t server;
  struct sockaddr_in address;
  llhttp_settings_init(&settings);
  settings.on_message_begin = on_begin;
  settings.on_url = on_url;
  settings.on_message_complete = on_complete;
  uv_ip4_addr("127.0.0.1", argc > 1 ? atoi(argv[argc - 1]) : 0, &address);
  uv_tcp_init(uv_default_loop(), &server);
  if (uv_tcp_bind(&server, (const struct sockaddr *)&address, 0) < 0 ||
      uv_listen((uv_stream_t *)&server, 4096, on_connection) < 0)
    bench_die("listen");
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
