/* A connection: its life, and its reading side.
**
** open -> closing (close was called; what is queued is still written) ->
** dropped (connection_lost is scheduled) -> lost (it was called, libuv closes
** the handle) -> closed. It is freed when closed and no userdata refers to it.
** The order of events follows CPython's _SelectorSocketTransport.
*/
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream.h"

static size_t stream_size(uint32_t flags) {
  return sizeof(ml_stream) + ((flags & ML_S_BARE)   ? 0
                              : (flags & ML_S_PIPE) ? sizeof(uv_pipe_t)
                                                    : sizeof(uv_tcp_t));
}

/* ---- life ---- */

static void chunks_free(ml_stream *s) {
  while (s->first != NULL) {
    ml_chunk *c = s->first;
    s->first = c->next;
    ml__alloc(s->net->engine->alloc, c, c->size, 0);
  }
  s->last = NULL;
  s->queued = 0;
}

void ml__stream_unref(ml_stream *s) {
  if (--s->refs > 0) return;
  ml__list_remove(&s->all);
  ml__list_remove(&s->peers);
  ml__list_remove(&s->lost.link);
  ml__list_remove(&s->handled.link);
  chunks_free(s);
  if (s->sink != NULL && s->target != NULL) s->sink->forget(s);
  if (s->ops->free != NULL) s->ops->free(s);
  if (s->flags & ML_S_V6) ml__alloc(s->net->engine->alloc, s->addrs.v6, 2 * sizeof(ml_addr), 0);
  if (s->flags & ML_S_BARE) {
    if (s->uv != NULL)
      ml__alloc(s->net->engine->alloc, s->uv, sizeof s->uv->tcp, 0);
    else if (s->fd >= 0) /* the engine is being closed */
      close(s->fd);
  }
  ml__alloc(s->net->engine->alloc, s, stream_size(s->flags), 0);
}

void ml__stream_closed(ml_stream *s) {
  s->flags |= ML_S_CLOSED;
  ml__stream_unref(s);
}

void ml__stream_shut(ml_stream *s) {
  chunks_free(s);
  s->flags |= ML_S_CLOSING | ML_S_DROPPED | ML_S_LOST;
  s->flags &= ~(uint32_t)ML_S_READING;
  ml__list_remove(&s->lost.link);
  ml__server_detach(s);
  if (s->sink != NULL && s->target != NULL) {
    s->sink->forget(s);
    s->target = NULL;
  }
  s->ops->close(s);
}

void ml__stream_discard(ml_stream *s) {
  s->flags |= ML_S_CLOSING | ML_S_DROPPED | ML_S_LOST;
  s->ops->close(s);
}

static void close_with_loop(uv_handle_t *h) { ml__stream_shut(h->data); }

static void run_lost(ml_evloop *loop, ml_job *job) {
  ml_stream *s = ml__containerof(job, ml_stream, lost);
  s->flags |= ML_S_LOST;
  if (s->sink != NULL) s->sink->lost(loop->L, s);
  ml__wake_all(&s->waiters, NULL);
  ml__server_detach(s);
  s->ops->close(s);
}

static void on_ready(ml_watch *w, bool more);

static ml_stream *new_stream(ml_net *net, ml_evloop *loop, uint32_t kind) {
  ml_stream *s = ml__alloc(net->engine->alloc, NULL, 0, stream_size(kind));
  if (s == NULL) return NULL;
  memset(s, 0, stream_size(kind));
  s->head.close = close_with_loop;
  s->fd = s->watch.fd = -1;
  s->watch.ready = on_ready;
  s->ops = &ml__plain_ops;
  s->net = net;
  s->loop = loop;
  s->flags = kind;
  s->refs = 1;
  s->high = 64 * 1024;
  s->low = 16 * 1024;
  s->lost.run = run_lost;
  ml__list_init(&s->lost.link);
  ml__list_init(&s->handled.link);
  ml__list_init(&s->waiters);
  ml__list_init(&s->peers);
  ml__list_append(&net->streams, &s->all);
  return s;
}

ml_stream *ml__stream_make(ml_net *net, ml_evloop *loop, uint32_t kind, int family, int *err) {
  uv_loop_t *uv = ml__loop_uv(loop);
  ml_stream *s = uv != NULL ? new_stream(net, loop, kind) : NULL;
  *err = UV_ENOMEM;
  if (s == NULL) return NULL;
  s->uv = (ml_uvstream *)(void *)(s + 1);
  *err = (kind & ML_S_PIPE) ? uv_pipe_init(uv, &s->uv->pipe, 0)
                            : uv_tcp_init_ex(uv, &s->uv->tcp, (unsigned)family);
  s->uv->handle.data = s;
  if (*err == 0) return s;
  ml__stream_unref(s);
  return NULL;
}

/* What hears of the end of a loop. */
typedef struct follower {
  ml_closer closer;
  ml_link link; /* in net->followers */
  ml_net *net;
  ml_evloop *loop;
} follower;

static void loop_ends(lua_State *L, ml_closer *c) {
  follower *f = ml__containerof(c, follower, closer);
  ml_net *net = f->net;
  for (ml_link *n = net->streams.next, *next; n != &net->streams; n = next) {
    ml_stream *s = ml__containerof(n, ml_stream, all);
    ml__stream_ref(s);
    if (s->loop == f->loop && s->task != 0) { /* it ended in the last round, or did not */
      ml__list_remove(&s->handled.link);
      ml__task_let_go(L, s->task);
      s->task = 0;
      ml__stream_unref(s);
    }
    if (s->loop == f->loop && s->uv == NULL && s->fd >= 0) ml__stream_shut(s);
    next = n->next;
    ml__stream_unref(s);
  }
  ml__list_remove(&f->link);
  ml__alloc(net->engine->alloc, f, sizeof *f, 0);
}

bool ml__streams_follow(ml_net *net, ml_evloop *l) {
  follower *f;
  for (ml_link *n = net->followers.next; n != &net->followers; n = n->next)
    if (ml__containerof(n, follower, link)->loop == l) return true;
  f = ml__alloc(net->engine->alloc, NULL, 0, sizeof *f);
  if (f == NULL) return false;
  f->closer.close = loop_ends;
  f->net = net;
  f->loop = l;
  ml__list_append(&net->followers, &f->link);
  ml__list_append(&l->closers, &f->closer.link);
  return true;
}

ml_stream *ml__stream_adopt(ml_net *net, ml_evloop *loop, int fd) {
  ml_stream *s = ml__streams_follow(net, loop) ? new_stream(net, loop, ML_S_BARE) : NULL;
  if (s != NULL) s->fd = fd;
  return s;
}

int ml__stream_handle(ml_stream *s) {
  uv_loop_t *uv = ml__loop_uv(s->loop);
  ml_uvstream *h;
  int rc;
  if (s->uv != NULL) return 0;
  if (s->fd < 0) return UV_EBADF;
  h = uv == NULL ? NULL : ml__alloc(s->net->engine->alloc, NULL, 0, sizeof h->tcp);
  if (h == NULL) return UV_ENOMEM;
  rc = uv_tcp_init(uv, &h->tcp);
  if (rc < 0) {
    ml__alloc(s->net->engine->alloc, h, sizeof h->tcp, 0);
    return rc;
  }
  h->handle.data = s;
  s->uv = h;
  return uv_tcp_open(&h->tcp, s->fd);
}

ml_stream *ml__stream_new(lua_State *L, ml_evloop *loop, uint32_t kind, int family, int *err) {
  return ml__stream_make(ml__net(L), loop, kind, family, err);
}

void ml__stream_names(ml_stream *s) {
  struct sockaddr_storage ss;
  ml_addr a[2] = {{0}, {0}};
  uv_os_fd_t fd;
  if ((s->flags & ML_S_PIPE) || ml__stream_fd(s, &fd) < 0) return;
  for (int i = 0; i < 2; i++) {
    socklen_t n = sizeof ss;
    if ((i == 0 ? getpeername : getsockname)(fd, (struct sockaddr *)&ss, &n) == 0)
      ml__addr_set(&a[i], (struct sockaddr *)&ss);
  }
  if (a[0].family != AF_INET6 && a[1].family != AF_INET6) {
    for (int i = 0; i < 2; i++) {
      s->addrs.v4[i].family = a[i].family;
      s->addrs.v4[i].port = a[i].port;
      memcpy(s->addrs.v4[i].ip, a[i].ip, sizeof s->addrs.v4[i].ip);
    }
  } else if (!(s->flags & ML_S_V6)) {
    ml_addr *both = ml__alloc(s->net->engine->alloc, NULL, 0, sizeof a);
    if (both == NULL) return; /* unknown */
    memcpy(both, a, sizeof a);
    s->addrs.v6 = both;
    s->flags |= ML_S_V6;
  }
}

ml_addr ml__stream_addr(const ml_stream *s, bool peer) {
  const ml_addr4 *v4 = &s->addrs.v4[peer ? 0 : 1];
  ml_addr a = {0};
  if (s->flags & ML_S_V6) return s->addrs.v6[peer ? 0 : 1];
  a.family = v4->family;
  a.port = v4->port;
  memcpy(a.ip, v4->ip, sizeof v4->ip);
  return a;
}

void ml__stream_addr_push(lua_State *L, const ml_stream *s, bool peer) {
  ml_addr a = ml__stream_addr(s, peer);
  ml__addr_push(L, &a);
}

/* ---- reading ---- */

/* Pipes, and where there are no watches: libuv reads. A task that waits for whatever comes
** reads for itself when it runs: no buffer for libuv, which then tells UV_ENOBUFS. */
static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf) {
  ml_stream *s = h->data;
  char *p = NULL;
  (void)hint;
  if (s->sink->reads != NULL && s->sink->reads(s))
    s->flags |= ML_S_READABLE;
  else
    p = ml__slab(s->net);
  *buf = uv_buf_init(p, p == NULL ? 0 : ML_SLAB);
}

static void take_end(ml_stream *s, int status) {
  if (status == UV_EOF) {
    s->flags |= ML_S_EOF;
    ml__stream_reading(s);
    s->sink->eof(s);
  } else
    ml__stream_fail(s, status == UV_ENOBUFS ? UV_ENOMEM : status);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf) {
  ml_stream *s = h->data;
  if (s->flags & ML_S_READABLE)
    s->flags &= ~(uint32_t)ML_S_READABLE;
  else if (n > 0) {
    s->loop->stirred = true;
    s->sink->data(s, buf->base, (size_t)n);
  } else if (n < 0)
    take_end(s, (int)n);
}

/* Sockets are watched. */
#define READS 16 /* of one socket, before the others have their turn */

static void on_ready(ml_watch *w, bool more) {
  ml_stream *s = ml__containerof(w, ml_stream, watch);
  s->flags = more ? s->flags | ML_S_MORE : s->flags & ~(uint32_t)ML_S_MORE;
  if (s->sink->reads != NULL && s->sink->reads(s)) {
    s->flags |= ML_S_READABLE;
    return;
  }
  s->flags &= ~(uint32_t)ML_S_READABLE;
  for (int i = 0; i < READS; i++) {
    char *p = ml__slab(s->net);
    ssize_t n = p == NULL ? UV_ENOMEM : ml__plain_recv(s, p, ML_SLAB);
    if (n == UV_EAGAIN) return;
    if (n <= 0) {
      take_end(s, n == 0 ? UV_EOF : (int)n);
      return;
    }
    s->loop->stirred = true;
    s->sink->data(s, p, (size_t)n);
    if (!(s->flags & ML_S_READING) || (n < ML_SLAB && !more)) return;
  }
  ml__watch_again(s->loop, w);
}

static int plain_read_start(ml_stream *s) {
  uv_os_fd_t fd;
  int rc = UV_ENOSYS;
  if (!(s->flags & ML_S_PIPE)) {
    rc = ml__stream_fd(s, &fd);
    if (rc == 0) rc = ml__watch_start(s->loop, &s->watch, s->fd = fd);
  }
  if (rc != UV_ENOSYS) return rc;
  rc = ml__stream_handle(s);
  return rc < 0 ? rc : uv_read_start(&s->uv->stream, on_alloc, on_read);
}

static void plain_read_stop(ml_stream *s) {
  ml__watch_stop(s->loop, &s->watch);
  if (s->uv != NULL) uv_read_stop(&s->uv->stream);
}

ssize_t ml__plain_recv(ml_stream *s, char *buf, size_t n) {
  uv_os_fd_t fd;
  ssize_t got = ml__stream_fd(s, &fd);
  bool socket = !(s->flags & ML_S_PIPE) || (s->flags & ML_S_UNIX);
  if (got < 0) return got;
  do /* recv goes past the kernel's file layer */
    got = socket ? recv(fd, buf, n, 0) : read(fd, buf, n);
  while (got < 0 && errno == EINTR);
  if (got >= 0) return got;
  return errno == EWOULDBLOCK ? UV_EAGAIN : uv_translate_sys_error(errno);
}

static ssize_t plain_take(ml_stream *s, char *buf, size_t n) {
  ssize_t got = ml__plain_recv(s, buf, n);
  s->flags &= ~(uint32_t)ML_S_READABLE;
  if (s->watch.fd >= 0 && (got == (ssize_t)n || (got > 0 && (s->flags & ML_S_MORE))))
    s->flags |= ML_S_READABLE;
  if (got < 0 && got != UV_EAGAIN) ml__stream_fail(s, (int)got);
  if (got != 0) return got;
  s->flags |= ML_S_EOF;
  ml__stream_reading(s);
  return 0;
}

static ssize_t plain_read(ml_stream *s, char *buf, size_t n) {
  ssize_t got = plain_take(s, buf, n);
  ml__stream_unread(s);
  return got;
}

ssize_t ml__stream_read(ml_stream *s, char *buf, size_t n) { return s->ops->read(s, buf, n); }

ssize_t ml__stream_take(ml_stream *s, char *buf, size_t n) {
  return s->ops == &ml__plain_ops ? plain_take(s, buf, n) : s->ops->read(s, buf, n);
}

static int plain_shutdown(ml_stream *s) {
  uv_os_fd_t fd;
  int rc = ml__stream_fd(s, &fd);
  if (rc < 0) return rc;
  if (shutdown(fd, SHUT_WR) == 0 || errno == ENOTCONN) return 0;
  if (errno != ENOTSOCK) return uv_translate_sys_error(errno);
  if (s->flags & ML_S_EOF) ml__stream_close(s); /* a pipe to write to: that is its end */
  return 0;
}

static void on_close(uv_handle_t *h) { ml__stream_closed(h->data); }
void ml__plain_close(ml_stream *s) {
  uv_os_fd_t fd;
  int mine;
  ml__stream_flush(s);
  ml__watch_stop(s->loop, &s->watch);
  ml__plain_write_stop(s);
  if (ml__stream_gone(s)) return;
  if ((s->flags & ML_S_LENT) && ml__stream_fd(s, &fd) == 0) shutdown(fd, SHUT_RDWR);
  mine = s->uv == NULL || uv_fileno(&s->uv->handle, &fd) < 0 ? s->fd : -1; /* libuv has none */
  s->fd = -1;
  if (mine >= 0) close(mine);
  if (s->uv != NULL)
    uv_close(&s->uv->handle, on_close);
  else
    ml__stream_closed(s);
}

void ml__stream_reading(ml_stream *s) {
  const uint32_t no = ML_S_PAUSED | ML_S_HALTED | ML_S_CLOSING | ML_S_EOF;
  bool want = (s->flags & ML_S_STARTED) && !(s->flags & no);
  if (s->flags & (ML_S_HANDSHAKE | ML_S_LINGER)) want = !(s->flags & ML_S_EOF);
  if (want == !!(s->flags & ML_S_READING)) return;
  if (want) {
    int rc = s->ops->read_start(s);
    if (rc < 0)
      ml__stream_fail(s, rc);
    else
      s->flags |= ML_S_READING;
  } else {
    s->flags &= ~(uint32_t)ML_S_READING;
    s->ops->read_stop(s);
  }
}

void ml__stream_weaken(ml_stream *s, bool weak) {
  if (weak == !!(s->flags & ML_S_WEAK)) return;
  s->flags ^= ML_S_WEAK;
  s->loop->idle += weak ? 1 : -1;
  ml__watch_weaken(s->loop, &s->watch, weak);
  if ((s->flags & ML_S_CLOSED) || s->uv == NULL) return;
  if (weak)
    uv_unref(&s->uv->handle);
  else
    uv_ref(&s->uv->handle);
}

void ml__stream_start(ml_stream *s, const ml_sink *sink, void *target) {
  s->sink = sink;
  s->target = target;
  s->flags |= ML_S_STARTED;
  ml__stream_reading(s);
}

/* ---- the end ---- */

static void drop(ml_stream *s) {
  s->flags |= ML_S_DROPPED;
  ml__ready(s->loop, &s->lost);
}

void ml__stream_close(ml_stream *s) {
  ml__stream_flush(s);
  if (s->flags & ML_S_CLOSING) return;
  if (s->flags & ML_S_HANDSHAKE) {
    ml__stream_fail(s, 0);
    return;
  }
  s->flags |= ML_S_CLOSING;
  if (s->ops->finish != NULL) s->ops->finish(s);
  ml__stream_reading(s);
  ml__stream_settle(s);
}

void ml__stream_settle(ml_stream *s) {
  ml__stream_flush(s);
  if ((s->flags & (ML_S_CLOSING | ML_S_DROPPED | ML_S_LINGER)) == ML_S_CLOSING && s->first == NULL)
    drop(s);
}

void ml__stream_fail(ml_stream *s, int error) {
  ml__stream_flush(s);
  if (s->flags & ML_S_DROPPED) return;
  chunks_free(s);
  s->flags |= ML_S_CLOSING;
  s->flags &= ~(uint32_t)(ML_S_HANDSHAKE | ML_S_LINGER);
  s->error = error;
  ml__stream_reading(s);
  drop(s);
}

void ml__stream_end(ml_stream *s) {
  ml__stream_flush(s);
  if (s->flags & (ML_S_CLOSING | ML_S_ENDED)) return;
  s->flags |= ML_S_ENDED;
  if (s->first == NULL) {
    int rc = s->ops->shutdown(s);
    s->flags |= ML_S_SHUT;
    if (rc < 0) ml__stream_fail(s, rc);
  }
}

/* After a write: what the flags have been waiting for an empty queue for. */
static void emptied(ml_stream *s) {
  if (s->flags & ML_S_CLOSING) {
    ml__stream_settle(s);
  } else if ((s->flags & (ML_S_ENDED | ML_S_SHUT)) == ML_S_ENDED) {
    int rc = s->ops->shutdown(s);
    s->flags |= ML_S_SHUT;
    if (rc < 0) ml__stream_fail(s, rc);
  }
}

void ml__stream_wrote(ml_stream *s, int status) {
  if (s->flags & ML_S_DROPPED) return;
  if (status < 0) {
    s->flags |= ML_S_WRITEFAIL;
    ml__stream_fail(s, status);
    return;
  }
  if ((s->flags & ML_S_FULL) && ml__stream_pending(s) <= s->low) {
    s->flags &= ~(uint32_t)ML_S_FULL;
    ml__wake_all(&s->waiters, &ml__drain_class);
    if (s->sink != NULL) s->sink->resume(s);
  }
  if (s->first == NULL) {
    ml__wake_all(&s->waiters, &ml__flushed_class);
    emptied(s);
  }
}

/* ---- messages ---- */

void ml__stream_text(const ml_stream *s, char *buf, size_t n) {
  ml_addr peer = ml__stream_addr(s, true);
  if (peer.family != 0)
    ml__addr_text(&peer, buf, n);
  else
    snprintf(buf, n, "%s",
             (s->flags & ML_S_UNIX)   ? "unix socket"
             : (s->flags & ML_S_PIPE) ? "pipe"
                                      : "peer");
}

void ml__stream_error(lua_State *L, ml_stream *s) {
  char who[96];
  ml__stream_text(s, who, sizeof who);
  if (s->ops->error != NULL && s->ops->error(L, s))
    ;
  else if (s->flags & ML_S_WRITEFAIL)
    ml__error_uv(L, s->error, "write to %s failed", who);
  else
    ml__error_uv(L, s->error, "read from %s failed", who);
  if (ml__stream_addr(s, true).family != 0) {
    ml__stream_addr_push(L, s, true);
    lua_rawgeti(L, -1, 1);
    lua_setfield(L, -3, "host");
    lua_rawgeti(L, -1, 2);
    lua_setfield(L, -3, "port");
    lua_pop(L, 1);
  }
}

/* ---- waiting ---- */

ml_waitop *ml__waitop_push(lua_State *L, const ml_opclass *cls, void *on) {
  ml_waitop *w = ml__op_new(L, cls, sizeof *w, 1);
  w->on = on;
  ml__list_init(&w->link);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, 1);
  return w;
}

void ml__waitop_cancel(ml_op *op) { ml__list_remove(&((ml_waitop *)op)->link); }

int ml__waitop_wake(lua_State *L, ml_op *op) {
  (void)L;
  ml__waitop_cancel(op);
  return 0;
}

void ml__wake_all(ml_link *list, const ml_opclass *cls) {
  for (ml_link *n = list->next, *next; n != list; n = next) {
    ml_waitop *w = ml__containerof(n, ml_waitop, link);
    next = n->next;
    if (cls != NULL && w->op.cls != cls) continue;
    ml__list_remove(&w->link);
    ml__op_wake(&w->op);
  }
}

const ml_streamops ml__plain_ops = {
    .send = ml__plain_send,
    .read = plain_read,
    .read_start = plain_read_start,
    .read_stop = plain_read_stop,
    .shutdown = plain_shutdown,
    .close = ml__plain_close,
};
