/*
** udp PORT: a UDP server on libuv that sends each datagram back to its sender. It reads
** with recvmmsg into one shared buffer, as libuv offers it; a datagram is sent at once, and
** only what the kernel did not take is copied and queued.
*/

#include "bench.h"

#include <string.h>

#include <uv.h>

typedef struct pending {
  uv_udp_send_t request;
  char bytes[];
} pending;

static char buffer[20 * 65536];

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)handle;
  (void)suggested;
  *buf = uv_buf_init(buffer, sizeof buffer);
}

static void on_sent(uv_udp_send_t *request, int status) {
  (void)status;
  free(request);
}

static void queue_send(uv_udp_t *socket, const uv_buf_t *buf, const struct sockaddr *to) {
  pending *p = malloc(sizeof *p + buf->len);
  uv_buf_t copy = uv_buf_init(p->bytes, (unsigned)buf->len);
  memcpy(p->bytes, buf->base, buf->len);
  if (uv_udp_send(&p->request, socket, &copy, 1, to, on_sent) != 0) free(p);
}

static void on_datagram(uv_udp_t *socket, ssize_t n, const uv_buf_t *buf,
                        const struct sockaddr *from, unsigned flags) {
  (void)flags;
  if (n < 0 || from == NULL) return;
  uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
  if (uv_udp_try_send(socket, &out, 1, from) == UV_EAGAIN) queue_send(socket, &out, from);
}

int main(int argc, char **argv) {
  uv_udp_t socket;
  struct sockaddr_in address;
  uv_ip4_addr("127.0.0.1", (int)bench_arg(argc, argv, 1, 9000), &address);
  uv_udp_init_ex(uv_default_loop(), &socket, AF_INET | UV_UDP_RECVMMSG);
  int err = uv_udp_bind(&socket, (const struct sockaddr *)&address, 0);
  if (!err) err = uv_udp_recv_start(&socket, on_alloc, on_datagram);
  if (err) {
    fprintf(stderr, "bind: %s\n", uv_strerror(err));
    return 1;
  }
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
