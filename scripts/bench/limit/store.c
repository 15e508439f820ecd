/*
** store [CERTIFICATE KEY] PORT: what clients are measured against when bodies are large or answers late, as cheap as it
** can be: a thread for a connection, and blocking calls.
**
**   GET /bytes/N     N bytes, without a copy               PUT, POST       reads past the body, without a copy
**   GET /hold        answered after GET /go                GET /held/N     answered when N requests are held
**   GET /resumed     how many TLS sessions were resumed    GET /           13 bytes
**
** With a certificate it speaks TLS, and closes each connection after one answer.
*/

#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD 16384
#define PIECE (1 << 20) /* of the file that all bodies come from */
#define STACK (128 << 10)

typedef struct peer {
  int fd;
  SSL *ssl; /* or NULL */
} peer;

static SSL_CTX *context;
static int zeros;

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  long held, resumed, rounds; /* rounds: times that GET /go has come */
} state = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};

static ssize_t get(peer *p, char *to, size_t n) {
  return p->ssl != NULL ? SSL_read(p->ssl, to, (int)n) : recv(p->fd, to, n, 0);
}

/* Returns 0 when the peer is gone. */
static int put(peer *p, const char *text, size_t n) {
  if (p->ssl != NULL) return SSL_write(p->ssl, text, (int)n) > 0;
  return send(p->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static int answer(peer *p, const char *text) {
  char out[256];
  int n = snprintf(out, sizeof out,
                   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: %zu\r\n\r\n%s",
                   p->ssl != NULL ? "Connection: close\r\n" : "", strlen(text), text);
  return put(p, out, (size_t)n) && p->ssl == NULL;
}

static int answer_number(peer *p, long number) {
  char text[32];
  snprintf(text, sizeof text, "%ld", number);
  return answer(p, text);
}

/* A body of so many bytes, all from the same page cache. */
static int send_bytes(peer *p, long n) {
  char head[128];
  int size = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", n);
  if (!put(p, head, (size_t)size)) return 0;
  while (n > 0) {
    off_t offset = 0;
    ssize_t sent = sendfile(p->fd, zeros, &offset, n < PIECE ? (size_t)n : PIECE);
    if (sent <= 0) return 0;
    n -= sent;
  }
  return 1;
}

/* Reads past a body, of which `got` bytes have come with the head; the kernel drops the rest. */
static int take_body(peer *p, const char *head, long got) {
  const char *field = strcasestr(head, "\r\nContent-Length:");
  long n = field != NULL ? atol(field + 17) : 0, rest = n - got;
  if (strcasestr(head, "\r\nExpect: 100-continue") != NULL &&
      !put(p, "HTTP/1.1 100 Continue\r\n\r\n", 25))
    return 0;
  while (rest > 0) {
    ssize_t more = recv(p->fd, NULL, rest < 1 << 30 ? (size_t)rest : 1 << 30, MSG_TRUNC);
    if (more <= 0) return 0;
    rest -= more;
  }
  return answer_number(p, n);
}

static void hold(void) {
  pthread_mutex_lock(&state.lock);
  long round = state.rounds;
  state.held++;
  pthread_cond_broadcast(&state.changed);
  while (state.rounds == round) pthread_cond_wait(&state.changed, &state.lock);
  state.held--;
  pthread_mutex_unlock(&state.lock);
}

static void wait_for_held(long n) {
  pthread_mutex_lock(&state.lock);
  while (state.held < n) pthread_cond_wait(&state.changed, &state.lock);
  pthread_mutex_unlock(&state.lock);
}

static void release(void) {
  pthread_mutex_lock(&state.lock);
  state.rounds++;
  pthread_cond_broadcast(&state.changed);
  pthread_mutex_unlock(&state.lock);
}

static long resumed(void) {
  pthread_mutex_lock(&state.lock);
  long n = state.resumed;
  pthread_mutex_unlock(&state.lock);
  return n;
}

/* Returns whether the connection goes on. */
static int respond(peer *p, const char *head, long got) {
  const char *path = strchr(head, ' ');
  if (path == NULL) return 0;
  if (strncmp(head, "GET ", 4) != 0) return take_body(p, head, got);
  path++;
  if (strncmp(path, "/bytes/", 7) == 0) return send_bytes(p, atol(path + 7));
  if (strncmp(path, "/resumed ", 9) == 0) return answer_number(p, resumed());
  if (strncmp(path, "/held/", 6) == 0) wait_for_held(atol(path + 6));
  if (strncmp(path, "/hold ", 6) == 0) hold();
  if (strncmp(path, "/go ", 4) == 0) release();
  return answer(p, "Hello, World!");
}

/* One request at a time: clients that pipeline are none of ours. */
static void talk(peer *p) {
  char head[HEAD + 1];
  size_t n = 0;
  for (;;) {
    ssize_t more = get(p, head + n, HEAD - n);
    if (more <= 0) return;
    head[n += (size_t)more] = '\0';
    char *end = strstr(head, "\r\n\r\n");
    if (end == NULL) continue;
    end[2] = '\0';
    if (!respond(p, head, (long)(head + n - end - 4))) return;
    n = 0;
  }
}

static int shake_hands(peer *p) {
  if (context == NULL) return 1;
  p->ssl = SSL_new(context);
  SSL_set_fd(p->ssl, p->fd);
  if (SSL_accept(p->ssl) != 1) return 0;
  pthread_mutex_lock(&state.lock);
  state.resumed += SSL_session_reused(p->ssl);
  pthread_mutex_unlock(&state.lock);
  return 1;
}

static void *serve(void *fd) {
  peer p = {.fd = (int)(intptr_t)fd};
  if (shake_hands(&p)) talk(&p);
  if (p.ssl != NULL) {
    SSL_shutdown(p.ssl);
    SSL_free(p.ssl);
  }
  close(p.fd);
  return NULL;
}

static void load_certificate(const char *certificate, const char *key) {
  context = SSL_CTX_new(TLS_server_method());
  if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    fprintf(stderr, "%s, %s: not loaded\n", certificate, key);
    exit(1);
  }
}

int main(int argc, char **argv) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  pthread_attr_t small;
  signal(SIGPIPE, SIG_IGN);
  if (argc == 4) load_certificate(argv[1], argv[2]);
  zeros = memfd_create("zeros", 0);
  if (ftruncate(zeros, PIECE) < 0) bench_die("memfd");
  address.sin_port = htons((uint16_t)bench_arg(argc, argv, argc - 1, 0));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0)
    bench_die("listen");
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, STACK);
  pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
  for (;;) {
    pthread_t thread;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) bench_die("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (pthread_create(&thread, &small, serve, (void *)(intptr_t)fd) != 0) close(fd);
  }
}
