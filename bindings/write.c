/* A connection's writing side: a write is tried at once with the caller's own
** memory; what the kernel does not take is copied into chunks, which are sent,
** gathered, when the socket takes more.
**
** Sockets are written with MSG_NOSIGNAL and not by libuv, which would let a peer
** that is gone kill a host with SIGPIPE. libuv tells when a socket can be
** written: of a duplicate of the descriptor, as it lets one handle watch one.
*/
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "stream.h"

#define CHUNK_MAX (128 * 1024) /* so that progress shows in steps of this */
#define BATCH_BUFS 64
/* As CPython's LOG_THRESHOLD_FOR_CONNLOST_WRITES, which counts the loss too. */
#define DROPS_UNTIL_LOG 4

/* Watches for the socket to take more; made when that is first needed. */
typedef struct ml_poller {
  ml_handlehead head; /* first */
  ml_engine *engine;
  ml_stream *s; /* NULL: closed */
  int fd;       /* a duplicate */
  uv_poll_t poll;
} ml_poller;

/* A pipe that nobody reads gives EPIPE, and a signal that would end a host which has
** not cared for it: that one is taken back. */
static ssize_t pipe_write(int fd, const struct iovec *v, unsigned n) {
  const struct timespec now = {0, 0};
  struct sigaction sa;
  sigset_t sigpipe, old;
  ssize_t sent;
  int err;
  if (sigaction(SIGPIPE, NULL, &sa) < 0 || sa.sa_handler != SIG_DFL) return writev(fd, v, (int)n);
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
  sent = writev(fd, v, (int)n);
  err = errno;
  if (sent < 0 && err == EPIPE && !sigismember(&old, SIGPIPE))
    while (sigtimedwait(&sigpipe, NULL, &now) < 0 && errno == EINTR) {}
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  errno = err;
  return sent;
}

/* Bytes written, or a negative code. */
static int send_bufs(const ml_stream *s, int fd, const struct iovec *v, unsigned n) {
  struct msghdr m = {.msg_iov = (struct iovec *)v, .msg_iovlen = n};
  ssize_t sent;
  do {
    if ((s->flags & (ML_S_PIPE | ML_S_UNIX)) == ML_S_PIPE)
      sent = pipe_write(fd, v, n);
    else if (n == 1)
      sent = send(fd, v->iov_base, v->iov_len, MSG_NOSIGNAL);
    else
      sent = sendmsg(fd, &m, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return (int)sent;
  return errno == EWOULDBLOCK || errno == ENOBUFS ? UV_EAGAIN : uv_translate_sys_error(errno);
}

_Static_assert(sizeof(uv_buf_t) == sizeof(struct iovec) &&
                   offsetof(uv_buf_t, base) == offsetof(struct iovec, iov_base) &&
                   offsetof(uv_buf_t, len) == offsetof(struct iovec, iov_len),
               "libuv promises that its buffers are laid out like the system's");

static int try_write(ml_stream *s, const uv_buf_t *bufs, unsigned n) {
  uv_os_fd_t fd;
  int rc = ml__stream_fd(s, &fd);
  if (rc < 0) return rc;
  return send_bufs(s, fd, (const struct iovec *)(const void *)bufs, n < IOV_MAX ? n : IOV_MAX);
}

/* Sends what is queued, as much as is taken. */
static int flush(ml_stream *s, int fd) {
  struct iovec v[BATCH_BUFS];
  unsigned n = 0;
  int rc, left;
  for (ml_chunk *c = s->first; c != NULL && n < BATCH_BUFS; c = c->next, n++) {
    v[n].iov_base = c->data + c->off;
    v[n].iov_len = c->len;
  }
  rc = send_bufs(s, fd, v, n);
  if (rc < 0) return rc;
  s->queued -= (size_t)rc;
  for (left = rc; left > 0 && s->first != NULL;) {
    ml_chunk *c = s->first;
    if ((size_t)left < c->len) {
      c->off += (size_t)left;
      c->len -= (size_t)left;
      break;
    }
    left -= (int)c->len;
    s->first = c->next;
    ml__alloc(s->net->engine->alloc, c, c->size, 0);
  }
  if (s->first == NULL) s->last = NULL;
  return rc;
}

static void on_writable(uv_poll_t *h, int status, int events) {
  ml_poller *p = h->data;
  ml_stream *s = p->s;
  int rc;
  (void)events;
  if (s == NULL) return;
  if (s->first == NULL) {
    uv_poll_stop(h);
    return;
  }
  rc = flush(s, p->fd); /* tells the error too, if there is one */
  s->loop->stirred = true;
  if (rc == UV_EAGAIN && status < 0) rc = UV_ECONNRESET;
  if (rc == UV_EAGAIN) return;
  if (s->first == NULL || rc < 0) uv_poll_stop(h);
  ml__stream_wrote(s, rc);
}

static void on_poller_closed(uv_handle_t *h) {
  ml_poller *p = h->data;
  ml__alloc(p->engine->alloc, p, sizeof *p, 0);
}

static void poller_close(uv_handle_t *h) {
  ml_poller *p = h->data;
  if (p->s != NULL) p->s->writer = NULL;
  p->s = NULL;
  if (uv_is_closing(h)) return;
  uv_poll_stop(&p->poll);
  uv_close(h, on_poller_closed);
  close(p->fd);
}

void ml__plain_write_stop(ml_stream *s) {
  if (s->writer != NULL) poller_close((uv_handle_t *)&s->writer->poll);
}

static int new_poller(ml_stream *s) {
  ml_poller *p = ml__alloc(s->net->engine->alloc, NULL, 0, sizeof *p);
  uv_os_fd_t fd;
  int rc;
  if (p == NULL) return UV_ENOMEM;
  memset(p, 0, sizeof *p);
  p->engine = s->net->engine;
  rc = ml__stream_fd(s, &fd);
  if (rc == 0) {
    p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    rc = p->fd < 0 ? uv_translate_sys_error(errno) : uv_poll_init(s->loop->uv, &p->poll, p->fd);
    if (rc < 0 && p->fd >= 0) close(p->fd);
  }
  if (rc < 0) {
    ml__alloc(p->engine->alloc, p, sizeof *p, 0);
    return rc;
  }
  p->head.close = poller_close;
  p->poll.data = p;
  p->s = s;
  s->writer = p;
  return 0;
}

/* Something is queued: sends it as it goes. */
static int watch(ml_stream *s) {
  if (s->writer == NULL) {
    int rc = new_poller(s);
    if (rc < 0) return rc;
  }
  return uv_poll_start(&s->writer->poll, UV_WRITABLE, on_writable);
}

size_t ml__stream_pending(const ml_stream *s) { return s->queued; }

/* Copies the bytes of the buffers from `skip` on to the end of the queue. */
static int enqueue(ml_stream *s, const uv_buf_t *bufs, unsigned n, size_t skip) {
  for (unsigned i = 0; i < n; i++) {
    const char *p = bufs[i].base;
    size_t len = bufs[i].len;
    if (skip >= len) {
      skip -= len;
      continue;
    }
    p += skip;
    len -= skip;
    skip = 0;
    while (len > 0) {
      size_t part = len < CHUNK_MAX ? len : CHUNK_MAX;
      size_t size = offsetof(ml_chunk, data) + part;
      ml_chunk *c = s->last;
      if (c != NULL && c->size - offsetof(ml_chunk, data) - c->off - c->len >= part) {
        memcpy(c->data + c->off + c->len, p, part);
        c->len += part;
      } else {
        if (part < 1024) size = offsetof(ml_chunk, data) + 1024; /* room for more small ones */
        c = ml__alloc(s->net->engine->alloc, NULL, 0, size);
        if (c == NULL) return UV_ENOMEM;
        c->next = NULL;
        c->size = size;
        c->off = 0;
        c->len = part;
        memcpy(c->data, p, part);
        if (s->last != NULL)
          s->last->next = c;
        else
          s->first = c;
        s->last = c;
      }
      s->queued += part;
      p += part;
      len -= part;
    }
  }
  return 0;
}

void ml__stream_marks(lua_State *L, ml_stream *s) {
  if (!(s->flags & ML_S_FULL) && ml__stream_pending(s) > s->high) {
    s->flags |= ML_S_FULL;
    if (s->sink != NULL) s->sink->pause(L, s);
  }
}

static size_t length(const uv_buf_t *bufs, unsigned n) {
  size_t total = 0;
  for (unsigned i = 0; i < n; i++) total += bufs[i].len;
  return total;
}

int ml__plain_send(ml_stream *s, const uv_buf_t *bufs, unsigned n) {
  size_t total = length(bufs, n);
  if (total == 0 || ml__outbox_post(s, bufs, n, total)) return 0;
  ml__stream_flush(s);
  if (s->flags & ML_S_DROPPED) return 0;
  return ml__plain_send_now(s, bufs, n);
}

int ml__plain_send_now(ml_stream *s, const uv_buf_t *bufs, unsigned n) {
  size_t total = length(bufs, n), sent = 0;
  int rc = 0;
  if (s->first == NULL) {
    rc = try_write(s, bufs, n);
    if (rc >= 0) {
      sent = (size_t)rc;
      if (sent == total) return 0;
    } else if (rc != UV_EAGAIN) {
      s->flags |= ML_S_WRITEFAIL;
      ml__stream_fail(s, rc);
      return 0;
    }
  }
  total = s->queued;
  rc = enqueue(s, bufs, n, sent);
  if (rc == 0 && total == 0) rc = watch(s);
  if (rc < 0) {
    s->flags |= ML_S_WRITEFAIL;
    ml__stream_fail(s, rc);
  }
  return rc == UV_ENOMEM ? rc : 0;
}

int ml__stream_write(lua_State *L, ml_stream *s, const uv_buf_t *bufs, unsigned n) {
  int rc;
  if (s->flags & ML_S_DROPPED) {
    if (s->drops++ >= DROPS_UNTIL_LOG) ml__log(s->net->engine, "socket.send() raised exception.");
    return 0;
  }
  rc = s->ops->send(s, bufs, n);
  if (rc == 0 && s->first != NULL) ml__stream_marks(L, s);
  return rc;
}
