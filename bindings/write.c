/* A connection's writing side: a write is tried at once with the caller's own
** memory; what the kernel does not take is copied into chunks, which are
** gathered into one write of libuv's at a time.
*/
#include <string.h>

#include "stream.h"

#define CHUNK_MAX (128 * 1024) /* so that progress shows in steps of this */
#define BATCH_BUFS 64
/* As CPython's LOG_THRESHOLD_FOR_CONNLOST_WRITES, which counts the loss too. */
#define DROPS_UNTIL_LOG 4

typedef struct ml_writereq {
  uv_write_t req;
  ml_stream *s;
  ml_chunk *first;
} ml_writereq;

int ml__plain_try_write(ml_stream *s, const uv_buf_t *bufs, unsigned n) {
  return uv_try_write(&s->u.stream, bufs, n);
}

static void req_free(ml_engine *e, ml_writereq *w) {
  while (w->first != NULL) {
    ml_chunk *c = w->first;
    w->first = c->next;
    ml__alloc(e->alloc, c, c->size, 0);
  }
  ml__alloc(e->alloc, w, sizeof *w, 0);
}

static void on_written(uv_write_t *req, int status) {
  ml_writereq *w = ml__containerof(req, ml_writereq, req);
  ml_stream *s = w->s;
  s->writing = NULL;
  req_free(s->net->engine, w);
  ml__stream_wrote(s, status);
}

int ml__plain_write(ml_stream *s) {
  ml_engine *e = s->net->engine;
  ml_writereq *w = ml__alloc(e->alloc, NULL, 0, sizeof *w);
  uv_buf_t bufs[BATCH_BUFS];
  size_t total = 0;
  unsigned n = 0;
  ml_chunk **end;
  int rc;
  if (w == NULL) return UV_ENOMEM;
  w->s = s;
  w->first = s->first;
  for (end = &w->first; *end != NULL && n < BATCH_BUFS && total < CHUNK_MAX; end = &(*end)->next) {
    bufs[n++] = uv_buf_init((*end)->data + (*end)->off, (unsigned)(*end)->len);
    total += (*end)->len;
  }
  s->first = *end;
  if (s->first == NULL) s->last = NULL;
  *end = NULL;
  s->queued -= total;
  s->writing = w;
  rc = uv_write(&w->req, &s->u.stream, bufs, n, on_written);
  if (rc < 0) {
    s->writing = NULL;
    req_free(e, w);
  }
  return rc;
}

size_t ml__stream_pending(const ml_stream *s) {
  return s->queued + (s->writing != NULL ? uv_stream_get_write_queue_size(&s->u.stream) : 0);
}

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

int ml__stream_write(lua_State *L, ml_stream *s, const uv_buf_t *bufs, unsigned n) {
  size_t total = 0, sent = 0;
  int rc = 0;
  if (s->flags & ML_S_DROPPED) {
    if (s->drops++ >= DROPS_UNTIL_LOG) ml__log(s->net->engine, "socket.send() raised exception.");
    return 0;
  }
  for (unsigned i = 0; i < n; i++) total += bufs[i].len;
  if (total == 0) return 0;
  if (s->first == NULL && s->writing == NULL) {
    rc = s->ops->try_write(s, bufs, n);
    if (rc >= 0) {
      sent = (size_t)rc;
      if (sent == total) return 0;
    } else if (rc != UV_EAGAIN) {
      s->flags |= ML_S_WRITEFAIL;
      ml__stream_fail(s, rc);
      return 0;
    }
  }
  rc = enqueue(s, bufs, n, sent);
  if (rc == 0 && s->writing == NULL) rc = s->ops->write(s);
  if (rc < 0) {
    s->flags |= ML_S_WRITEFAIL;
    ml__stream_fail(s, rc);
    return rc == UV_ENOMEM ? rc : 0;
  }
  ml__stream_marks(L, s);
  return 0;
}
