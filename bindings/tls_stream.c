/* TLS as the filter of a stream.
**
** OpenSSL reads from the socket itself, into the buffer that it decrypts in, and
** its records go to the stream's queue as they are made: no bytes wait in
** between. A write of several records is gathered and sent at once. libuv only
** tells when there is something to read: then either the task that waits for it
** reads, or what came is handed to the sink from here.
*/
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "tls.h"

#define RECORD SSL3_RT_MAX_PLAIN_LENGTH
#define SMALL 2048                 /* gathered on the stack */
#define DISCARD_LIMIT (256 * 1024) /* what a peer may send after we have closed */

/* How a pull has ended. */
enum { PULL_FULL, PULL_AGAIN = TLS_PULL_AGAIN, PULL_END, PULL_RAGGED, PULL_FAILED };

/* ---- the BIO ---- */

/* TLS inside TLS: what is there, decrypted by the one that this one is inside of. */
static ssize_t recv_under(ml_tlsconn *c, char *buf, size_t n) {
  ml_tlsconn *u = c->under;
  size_t got = 0;
  int err;
  u->drained = u->met_eof = false;
  ERR_clear_error();
  if (SSL_read_ex(u->ssl, buf, n, &got)) {
    c->drained = u->drained && !SSL_has_pending(u->ssl);
    return (ssize_t)got;
  }
  err = SSL_get_error(u->ssl, 0);
  if (err == SSL_ERROR_WANT_READ) return UV_EAGAIN;
  if (err == SSL_ERROR_ZERO_RETURN) return 0;
  if (u->sockerr != 0) return u->sockerr;
  ml__tls_error_take(&c->error);
  return UV_EPROTO;
}

static ssize_t recv_below(ml_tlsconn *c, char *buf, size_t n) {
  ssize_t rc;
  if (c->under != NULL) return recv_under(c, buf, n);
  rc = ml__plain_recv(c->s, buf, n);
  if (rc > 0) c->drained = (size_t)rc < n;
  return rc;
}

/* What the kernel does not take is queued: a write never has to be repeated. */
static void send_below(ml_tlsconn *c, const char *p, size_t n) {
  uv_buf_t buf = uv_buf_init((char *)p, (unsigned)n);
  size_t done;
  if (c->under == NULL) {
    ml__plain_send(c->s, &buf, 1);
    return;
  }
  ERR_set_mark(); /* the error of a handshake waits while its alert is sent */
  if (!SSL_write_ex(c->under->ssl, p, n, &done) && !(c->s->flags & ML_S_DROPPED)) {
    if (c->error.kind == TLS_OK)
      c->error = (ml_tlserror){.kind = TLS_FAILED, .code = ERR_peek_last_error()};
    c->s->flags |= ML_S_WRITEFAIL;
    ml__stream_fail(c->s, UV_EPROTO);
  }
  ERR_pop_to_mark();
}

/* Does OpenSSL hold back what it has read? */
static bool has_pending(const ml_tlsconn *c) {
  return SSL_has_pending(c->ssl) || (c->under != NULL && SSL_has_pending(c->under->ssl));
}

static int bio_read(BIO *b, char *buf, size_t n, size_t *got) {
  ml_tlsconn *c = BIO_get_data(b);
  ssize_t rc;
  BIO_clear_retry_flags(b);
  *got = 0;
  if (c->before.len > 0) {
    *got = n < c->before.len ? n : c->before.len;
    memcpy(buf, c->before.base + c->before.start, *got);
    ml__bytes_drop(c->s->net, &c->before, *got);
    return 1;
  }
  if (c->eof) c->met_eof = true;
  if (c->s == NULL || c->eof) return 0;
  rc = recv_below(c, buf, n);
  if (rc > 0) {
    *got = (size_t)rc;
    return 1;
  }
  if (rc == 0)
    c->eof = c->met_eof = true;
  else if (rc == UV_EAGAIN)
    BIO_set_retry_read(b);
  else
    c->sockerr = (int)rc;
  return 0;
}

static void flush_out(ml_tlsconn *c) {
  if (c->nout > 0) send_below(c, c->out, c->nout);
  c->nout = 0;
}

static int bio_write(BIO *b, const char *p, size_t n, size_t *written) {
  ml_tlsconn *c = BIO_get_data(b);
  BIO_clear_retry_flags(b);
  *written = n;
  if (c->s == NULL || (c->s->flags & ML_S_DROPPED)) return 0;
  if (!c->gathering) {
    send_below(c, p, n);
  } else {
    if (c->nout + n > ML_SLAB) flush_out(c);
    if (n > ML_SLAB) {
      send_below(c, p, n);
    } else {
      memcpy(c->out + c->nout, p, n);
      c->nout += n;
    }
  }
  return !(c->s->flags & ML_S_DROPPED);
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr) {
  ml_tlsconn *c = BIO_get_data(b);
  (void)num;
  (void)ptr;
  switch (cmd) {
  case BIO_CTRL_FLUSH: return 1;
  case BIO_CTRL_EOF: return c->eof;
  default: return 0;
  }
}

BIO_METHOD *ml__tls_bio_method(void) {
  BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "moonloop");
  if (m == NULL) return NULL;
  BIO_meth_set_read_ex(m, bio_read);
  BIO_meth_set_write_ex(m, bio_write);
  BIO_meth_set_ctrl(m, bio_ctrl);
  return m;
}

/* ---- reading ---- */

/* The end, true or false, or a fault of the peer or the socket, in c->error or
** c->sockerr. OpenSSL is told to take any end for one, so that writing can go on. */
static int read_failed(ml_tlsconn *c, int err) {
  if (err == SSL_ERROR_ZERO_RETURN) {
    if (!c->met_eof || c->lenient) return PULL_END;
    c->error.kind = TLS_RAGGED;
    return PULL_RAGGED;
  }
  if (c->sockerr == 0 && c->error.kind == TLS_OK) ml__tls_error_take(&c->error);
  return PULL_FAILED;
}

/* Decrypts into buf what is there, up to n bytes. */
static int pull(ml_tlsconn *c, char *buf, size_t n, size_t *total) {
  *total = 0;
  while (*total < n) {
    size_t got = 0;
    int err;
    c->drained = c->met_eof = false;
    ERR_clear_error();
    if (SSL_read_ex(c->ssl, buf + *total, n - *total, &got)) {
      *total += got;
      if (c->drained && !has_pending(c)) return PULL_AGAIN;
      continue;
    }
    if (c->s->flags & ML_S_DROPPED) return PULL_AGAIN; /* an answer could not be written */
    err = SSL_get_error(c->ssl, 0);
    return err == SSL_ERROR_WANT_READ ? PULL_AGAIN : read_failed(c, err);
  }
  return PULL_FULL;
}

/* The outcome of a pull, once its bytes are delivered. */
static void conclude(ml_tlsconn *c, int how) {
  ml_stream *s = c->s;
  c->after = PULL_AGAIN;
  switch (how) {
  case PULL_FULL:
    if (s->flags & ML_S_READING) ml__tls_schedule(c);
    break;
  case PULL_RAGGED:
    if (s->sink == &ml__protocol_sink) {
      ml__stream_fail(s, UV_EPROTO);
      break;
    }
    s->flags |= ML_S_RAGGED; /* fall through */
  case PULL_END:
    s->flags |= ML_S_EOF;
    ml__stream_reading(s);
    s->sink->eof(s);
    break;
  case PULL_FAILED: ml__stream_fail(s, c->sockerr != 0 ? c->sockerr : UV_EPROTO); break;
  default: break;
  }
}

/* We have closed: what still comes is dropped, up to the peer's end. */
static void linger(ml_tlsconn *c) {
  ml_stream *s = c->s;
  char *slab = ml__slab(s->net);
  size_t n = 0;
  int how = slab == NULL ? PULL_FAILED : c->after;
  if (how == PULL_AGAIN) how = pull(c, slab, ML_SLAB, &n);
  c->discarded += n;
  if (how == PULL_AGAIN && c->discarded <= DISCARD_LIMIT) return;
  if (how == PULL_FULL && c->discarded <= DISCARD_LIMIT) {
    ml__tls_schedule(c);
    return;
  }
  s->flags |= ML_S_EOF;
  s->flags &= ~(uint32_t)ML_S_LINGER;
  ml__stream_reading(s);
  ml__stream_settle(s);
}

void ml__tls_pump(ml_tlsconn *c) {
  ml_stream *s = c->s;
  char *slab;
  size_t n = 0;
  int how = c->after;
  if (s->flags & ML_S_LINGER) {
    linger(c);
    return;
  }
  if (!(s->flags & ML_S_READING) || s->sink == NULL) return;
  if (how == PULL_AGAIN) {
    slab = ml__slab(s->net);
    if (slab == NULL) {
      ml__stream_fail(s, UV_ENOMEM);
      return;
    }
    how = pull(c, slab, ML_SLAB, &n);
    if (n > 0) s->sink->data(s, slab, n);
  }
  if (!(s->flags & ML_S_DROPPED)) conclude(c, how);
}

/* The reader's task reads for itself. */
static ssize_t tls_read(ml_stream *s, char *buf, size_t n) {
  ml_tlsconn *c = s->filter;
  size_t got = 0;
  int how = c->after;
  if (how == PULL_AGAIN) how = pull(c, buf, n, &got);
  if (got > 0) {
    c->after = how == PULL_FULL ? PULL_AGAIN : how;
    if (how != PULL_AGAIN) ml__tls_schedule(c);
    return (ssize_t)got;
  }
  c->after = PULL_AGAIN;
  switch (how) {
  case PULL_RAGGED: s->flags |= ML_S_RAGGED; /* fall through */
  case PULL_END:
    s->flags |= ML_S_EOF;
    ml__stream_reading(s);
    return 0;
  case PULL_FAILED: {
    int rc = c->sockerr != 0 ? c->sockerr : UV_EPROTO;
    ml__stream_fail(s, rc);
    return rc;
  }
  default: return (s->flags & ML_S_DROPPED) && s->error != 0 ? s->error : UV_EAGAIN;
  }
}

/* No buffer for libuv: OpenSSL has its own. */
static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf) {
  (void)h;
  (void)hint;
  *buf = uv_buf_init(NULL, 0);
}

static void on_readable(uv_stream_t *h, ssize_t n, const uv_buf_t *buf) {
  ml_stream *s = h->data;
  ml_tlsconn *c = s->filter;
  (void)buf;
  if (n == UV_EOF && !c->handshook) (c->under != NULL ? c->under : c)->eof = true;
  if (s->flags & ML_S_HANDSHAKE) {
    ml__tls_schedule(c);
    return;
  }
  if (s->sink != NULL && s->sink->reads != NULL && !(s->flags & ML_S_LINGER) &&
      c->after == PULL_AGAIN && s->sink->reads(s))
    return;
  ml__tls_pump(c);
}

static int tls_read_start(ml_stream *s) {
  ml_tlsconn *c = s->filter;
  int rc = ml__stream_handle(s);
  if (rc < 0) return rc;
  if (!(s->flags & ML_S_HANDSHAKE) &&
      (c->after != PULL_AGAIN || c->before.len > 0 || has_pending(c)))
    ml__tls_schedule(c);
  return uv_read_start(&s->uv->stream, on_alloc, on_readable);
}

static void tls_read_stop(ml_stream *s) {
  if (s->uv != NULL) uv_read_stop(&s->uv->stream);
}

/* ---- writing ---- */

static int encrypt(ml_tlsconn *c, const char *p, size_t n) {
  size_t done = 0;
  ml_stream *s = c->s;
  while (n > 0) {
    ERR_clear_error();
    if (!SSL_write_ex(c->ssl, p, n, &done)) {
      if (s->flags & ML_S_DROPPED) return 0; /* the socket has failed: that is told */
      if (c->error.kind == TLS_OK) ml__tls_error_take(&c->error);
      s->flags |= ML_S_WRITEFAIL;
      ml__stream_fail(s, UV_EPROTO);
      return -1;
    }
    p += done;
    n -= done;
  }
  return 0;
}

/* Small pieces become records of a sensible size. */
static int encrypt_joined(ml_tlsconn *c, const uv_buf_t *bufs, unsigned n, size_t total) {
  char small[SMALL], *joined = small;
  ml_allocator *a = c->engine->alloc;
  size_t size = total < RECORD ? total : RECORD, have = 0;
  int rc = 0;
  if (size > SMALL) joined = ml__alloc(a, NULL, 0, size);
  if (joined == NULL) return UV_ENOMEM;
  for (unsigned i = 0; i < n && rc == 0; i++) {
    const char *p = bufs[i].base;
    size_t len = bufs[i].len;
    while (len > 0 && rc == 0) {
      size_t part = len < size - have ? len : size - have;
      if (have == 0 && len >= size) { /* whole records of this one */
        part = len - len % size;
        rc = encrypt(c, p, part);
      } else {
        memcpy(joined + have, p, part);
        have += part;
        if (have == size) {
          rc = encrypt(c, joined, have);
          have = 0;
        }
      }
      p += part;
      len -= part;
    }
  }
  if (rc == 0 && have > 0) rc = encrypt(c, joined, have);
  if (joined != small) ml__alloc(a, joined, size, 0);
  return rc;
}

static int tls_send(ml_stream *s, const uv_buf_t *bufs, unsigned n) {
  ml_tlsconn *c = s->filter;
  size_t total = 0;
  int rc;
  for (unsigned i = 0; i < n; i++) total += bufs[i].len;
  if (total == 0 || c->notified || !c->handshook) return 0;
  if (total > RECORD) {
    c->out = ml__slab(s->net);
    c->gathering = c->out != NULL;
  }
  s->net->slab = c->gathering ? NULL : s->net->slab; /* ours meanwhile */
  rc = n == 1 ? encrypt(c, bufs[0].base, total) : encrypt_joined(c, bufs, n, total);
  if (c->gathering) {
    if (!(s->flags & ML_S_DROPPED)) flush_out(c);
    c->gathering = false;
    c->nout = 0;
    s->net->slab = c->out;
    c->out = NULL;
  }
  if (rc == UV_ENOMEM) ml__stream_fail(s, rc);
  return rc == UV_ENOMEM ? rc : 0;
}

/* ---- the end ---- */

static void notify(ml_tlsconn *c) {
  if (c->notified || !c->handshook) return;
  c->notified = true;
  ERR_clear_error();
  SSL_shutdown(c->ssl);
  ERR_clear_error();
  if (c->under != NULL) notify(c->under);
}

static int tls_shutdown(ml_stream *s) {
  notify(s->filter);
  return 0;
}

static void shutdown_timeout(ml_evloop *loop, ml_job *job) {
  ml_tlsconn *c = ml__containerof(job, ml_tlsconn, timer.job);
  (void)loop;
  if (c->s == NULL || (c->s->flags & ML_S_DROPPED)) return;
  c->error.kind = TLS_SLOW_SHUTDOWN;
  ml__stream_fail(c->s, UV_ETIMEDOUT);
}

/* As asyncio: close_notify, then the peer's is waited for. */
static void tls_finish(ml_stream *s) {
  ml_tlsconn *c = s->filter;
  ml__timer_stop(s->loop, &c->timer);
  notify(c);
  if ((s->flags & (ML_S_DROPPED | ML_S_EOF)) || c->shutdown_timeout == 0) return;
  ml__timer_init(&c->timer, shutdown_timeout);
  if (ml__timer_start(s->loop, &c->timer, ml__loop_time(s->loop) + c->shutdown_timeout) < 0) return;
  s->flags |= ML_S_LINGER;
  if (c->after != PULL_AGAIN || has_pending(c)) ml__tls_schedule(c);
}

static void tls_close(ml_stream *s) {
  ml__tls_conn_closed(s->filter);
  ml__plain_close(s);
}

static void tls_free(ml_stream *s) {
  ml_tlsconn *c = s->filter;
  s->filter = NULL;
  ml__bytes_free(s->net, &c->before);
  ml__tls_conn_closed(c);
  c->s = NULL;
  if (c->under != NULL) {
    ml__bytes_free(s->net, &c->under->before);
    c->under->s = NULL;
  }
  ml__tls_conn_unref(c);
}

static bool tls_push_error(lua_State *L, ml_stream *s) {
  ml_tlsconn *c = s->filter;
  X509_VERIFY_PARAM *param = SSL_get0_param(c->ssl);
  char who[96], what[160], *ip;
  if (c->error.kind == TLS_OK) return false;
  ml__stream_text(s, who, sizeof who);
  snprintf(what, sizeof what,
           !c->handshook                 ? "TLS handshake with %s failed"
           : (s->flags & ML_S_WRITEFAIL) ? "write to %s failed"
                                         : "read from %s failed",
           who);
  ip = X509_VERIFY_PARAM_get1_ip_asc(param);
  lua_pushstring(L, ip != NULL ? ip : X509_VERIFY_PARAM_get0_host(param, 0));
  OPENSSL_free(ip);
  ml__tls_error_push(L, &c->error, what, lua_tostring(L, -1));
  lua_remove(L, -2);
  return true;
}

const ml_streamops ml__tls_ops = {
    .send = tls_send,
    .read = tls_read,
    .read_start = tls_read_start,
    .read_stop = tls_read_stop,
    .shutdown = tls_shutdown,
    .finish = tls_finish,
    .close = tls_close,
    .free = tls_free,
    .error = tls_push_error,
};
