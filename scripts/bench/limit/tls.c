/*
** tls CERTIFICATE KEY PORT: a TLS server on libuv and OpenSSL's memory BIOs that
** sends back what it reads, as its authors show it: bytes go into one BIO, records
** come out of the other. A write is tried at once; only what the kernel did not
** take is copied and queued.
*/

#include "bench.h"

#include <string.h>

#include <openssl/ssl.h>
#include <uv.h>

typedef struct connection {
  uv_tcp_t tcp;
  SSL *ssl;
  BIO *in, *out; /* owned by ssl */
} connection;

typedef struct pending {
  uv_write_t request;
  char bytes[];
} pending;

static char encrypted[65536], plain[65536];
static SSL_CTX *context;

static void on_close(uv_handle_t *handle) {
  connection *c = (connection *)handle;
  SSL_free(c->ssl);
  free(c);
}

static void on_write(uv_write_t *request, int status) {
  (void)status;
  free(request);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)handle;
  (void)suggested;
  *buf = uv_buf_init(encrypted, sizeof encrypted);
}

static void queue_write(uv_stream_t *stream, const char *bytes, size_t n) {
  pending *p = malloc(sizeof *p + n);
  uv_buf_t buf = uv_buf_init(p->bytes, (unsigned)n);
  memcpy(p->bytes, bytes, n);
  if (uv_write(&p->request, stream, &buf, 1, on_write) != 0) free(p);
}

/* Sends the records that OpenSSL has made. */
static void flush(connection *c) {
  char *bytes;
  long n = BIO_get_mem_data(c->out, &bytes);
  if (n <= 0) return;
  uv_buf_t buf = uv_buf_init(bytes, (unsigned)n);
  int written = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
  if (written < 0) written = 0;
  if (written < n) queue_write((uv_stream_t *)&c->tcp, bytes + written, (size_t)(n - written));
  (void)BIO_reset(c->out);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  connection *c = (connection *)stream;
  int got;
  if (n < 0) {
    uv_close((uv_handle_t *)stream, on_close);
    return;
  }
  if (n == 0) return;
  BIO_write(c->in, buf->base, (int)n);
  if (!SSL_is_init_finished(c->ssl)) SSL_do_handshake(c->ssl);
  while ((got = SSL_read(c->ssl, plain, sizeof plain)) > 0) SSL_write(c->ssl, plain, got);
  flush(c);
}

static void on_connection(uv_stream_t *server, int status) {
  if (status < 0) return;
  connection *c = malloc(sizeof *c);
  uv_tcp_init(server->loop, &c->tcp);
  c->ssl = SSL_new(context);
  c->in = BIO_new(BIO_s_mem());
  c->out = BIO_new(BIO_s_mem());
  SSL_set_bio(c->ssl, c->in, c->out);
  SSL_set_accept_state(c->ssl);
  if (uv_accept(server, (uv_stream_t *)&c->tcp) < 0) {
    uv_close((uv_handle_t *)&c->tcp, on_close);
    return;
  }
  uv_tcp_nodelay(&c->tcp, 1);
  uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

int main(int argc, char **argv) {
  uv_tcp_t server;
  struct sockaddr_in address;
  if (argc < 3) return 2;
  context = SSL_CTX_new(TLS_server_method());
  if (!SSL_CTX_use_certificate_chain_file(context, argv[1]) ||
      !SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM)) {
    fprintf(stderr, "%s, %s: not loaded\n", argv[1], argv[2]);
    return 1;
  }
  uv_ip4_addr("127.0.0.1", (int)bench_arg(argc, argv, 3, 9000), &address);
  uv_tcp_init(uv_default_loop(), &server);
  uv_tcp_bind(&server, (const struct sockaddr *)&address, 0);
  int err = uv_listen((uv_stream_t *)&server, 1024, on_connection);
  if (err) {
    fprintf(stderr, "listen: %s\n", uv_strerror(err));
    return 1;
  }
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
