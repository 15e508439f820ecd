/*
** echo PORT: a TCP server on libuv that sends back what it reads. Reads go into
** one shared buffer; a write is tried at once, and only what the kernel did not
** take is copied and queued.
*/

#include "bench.h"

#include <string.h>

#include <uv.h>

typedef struct pending {
  uv_write_t request;
  char bytes[];
} pending;

static char buffer[65536];

static void on_close(uv_handle_t *handle) { free(handle); }

static void on_write(uv_write_t *request, int status) {
  (void)status;
  free(request);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)handle;
  (void)suggested;
  *buf = uv_buf_init(buffer, sizeof buffer);
}

static void queue_write(uv_stream_t *stream, const char *bytes, size_t n) {
  pending *p = malloc(sizeof *p + n);
  uv_buf_t buf = uv_buf_init(p->bytes, (unsigned)n);
  memcpy(p->bytes, bytes, n);
  if (uv_write(&p->request, stream, &buf, 1, on_write) != 0) free(p);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  if (n < 0) {
    uv_close((uv_handle_t *)stream, on_close);
  } else if (n > 0) {
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    int written = uv_try_write(stream, &out, 1);
    if (written < 0) written = 0;
    if (written < n) queue_write(stream, buf->base + written, (size_t)(n - written));
  }
}

static void on_connection(uv_stream_t *server, int status) {
  if (status < 0) return;
  uv_tcp_t *client = malloc(sizeof *client);
  uv_tcp_init(server->loop, client);
  if (uv_accept(server, (uv_stream_t *)client) < 0) {
    uv_close((uv_handle_t *)client, on_close);
    return;
  }
  uv_tcp_nodelay(client, 1);
  uv_read_start((uv_stream_t *)client, on_alloc, on_read);
}

int main(int argc, char **argv) {
  uv_tcp_t server;
  struct sockaddr_in address;
  uv_ip4_addr("127.0.0.1", (int)bench_arg(argc, argv, 1, 9000), &address);
  uv_tcp_init(uv_default_loop(), &server);
  uv_tcp_bind(&server, (const struct sockaddr *)&address, 0);
  int err = uv_listen((uv_stream_t *)&server, 1024, on_connection);
  if (err) {
    fprintf(stderr, "listen: %s\n", uv_strerror(err));
    return 1;
  }
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
