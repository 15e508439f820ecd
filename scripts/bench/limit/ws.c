/*
** ws PORT: a WebSocket echo server on libuv and wslay. Reads go into one shared buffer,
** which wslay reads from; what it has to send is gathered there and tried at once, and
** only what the kernel did not take is copied and queued.
*/

#include "bench.h"

#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <uv.h>
#include <wslay/wslay.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

typedef struct peer {
  uv_tcp_t tcp;
  wslay_event_context_ptr ws; /* NULL until the handshake is done */
  char request[4096];
  size_t length;
} peer;

typedef struct pending {
  uv_write_t request;
  char bytes[];
} pending;

static char input[65536], output[1 << 18];
static size_t available, taken, gathered;

static void on_close(uv_handle_t *handle) {
  peer *p = handle->data;
  if (p->ws != NULL) wslay_event_context_free(p->ws);
  free(p);
}

static void on_write(uv_write_t *request, int status) {
  (void)status;
  free(request);
}

static void send_bytes(peer *p, const char *bytes, size_t n) {
  uv_buf_t out = uv_buf_init((char *)bytes, (unsigned)n);
  int written = uv_try_write((uv_stream_t *)&p->tcp, &out, 1);
  if (written < 0) written = 0;
  if ((size_t)written == n) return;
  n -= (size_t)written;
  pending *w = malloc(sizeof *w + n);
  memcpy(w->bytes, bytes + written, n);
  out = uv_buf_init(w->bytes, (unsigned)n);
  if (uv_write(&w->request, (uv_stream_t *)&p->tcp, &out, 1, on_write) != 0) free(w);
}

static ssize_t on_receive(wslay_event_context_ptr ws, uint8_t *buf, size_t n, int flags,
                          void *user) {
  (void)flags;
  (void)user;
  if (n > available - taken) n = available - taken;
  if (n == 0) {
    wslay_event_set_error(ws, WSLAY_ERR_WOULDBLOCK);
    return -1;
  }
  memcpy(buf, input + taken, n);
  taken += n;
  return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ws, const uint8_t *data, size_t n, int flags,
                       void *user) {
  (void)ws;
  (void)flags;
  if (gathered + n > sizeof output) {
    send_bytes(user, output, gathered);
    gathered = 0;
    if (n > sizeof output) {
      send_bytes(user, (const char *)data, n);
      return (ssize_t)n;
    }
  }
  memcpy(output + gathered, data, n);
  gathered += n;
  return (ssize_t)n;
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *arg,
                       void *user) {
  (void)user;
  if (wslay_is_ctrl_frame(arg->opcode)) return;
  struct wslay_event_msg m = {arg->opcode, arg->msg, arg->msg_length};
  wslay_event_queue_msg(ws, &m);
}

static const struct wslay_event_callbacks callbacks = {
    .recv_callback = on_receive, .send_callback = on_send, .on_msg_recv_callback = on_message};

/* Answers the request, when it is complete. */
static void handshake(peer *p, const char *bytes, size_t n) {
  static const char name[] = "Sec-WebSocket-Key: ";
  unsigned char digest[SHA_DIGEST_LENGTH], accept[32];
  char text[256], *key;
  if (p->length + n >= sizeof p->request) return;
  memcpy(p->request + p->length, bytes, n);
  p->length += n;
  p->request[p->length] = 0;
  if (strstr(p->request, "\r\n\r\n") == NULL) return;
  key = strstr(p->request, name);
  if (key == NULL) return;
  key += sizeof name - 1;
  int size = snprintf(text, sizeof text, "%.24s" GUID, key);
  SHA1((unsigned char *)text, (size_t)size, digest);
  EVP_EncodeBlock(accept, digest, sizeof digest);
  size = snprintf(text, sizeof text,
                  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                  "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                  (char *)accept);
  send_bytes(p, text, (size_t)size);
  wslay_event_context_server_init(&p->ws, &callbacks, p);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)handle;
  (void)suggested;
  *buf = uv_buf_init(input, sizeof input);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  peer *p = stream->data;
  if (n < 0) {
    uv_close((uv_handle_t *)stream, on_close);
  } else if (n > 0 && p->ws == NULL) {
    handshake(p, buf->base, (size_t)n);
  } else if (n > 0) {
    available = (size_t)n;
    taken = gathered = 0;
    if (wslay_event_recv(p->ws) != 0) {
      uv_close((uv_handle_t *)stream, on_close);
      return;
    }
    wslay_event_send(p->ws);
    if (gathered > 0) send_bytes(p, output, gathered);
  }
}

static void on_connection(uv_stream_t *server, int status) {
  if (status < 0) return;
  peer *p = calloc(1, sizeof *p);
  uv_tcp_init(server->loop, &p->tcp);
  p->tcp.data = p;
  if (uv_accept(server, (uv_stream_t *)&p->tcp) < 0) {
    uv_close((uv_handle_t *)&p->tcp, on_close);
    return;
  }
  uv_tcp_nodelay(&p->tcp, 1);
  uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
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
