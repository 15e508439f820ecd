/* What a session sends: nghttp2 makes frames, DATA out of the responses' own pieces; they are
** gathered in a slab and leave in one write. It stops while the connection has more to send
** than it takes.
*/
#include <string.h>

#include "h2.h"

static inline ml_h2stream *find(nghttp2_session *session, int32_t id) {
  return nghttp2_session_get_stream_user_data(session, id);
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *f, void *ud) {
  ml_http2 *h = ud;
  ml_h2stream *x;
  if (f->hd.type == NGHTTP2_GOAWAY && f->goaway.error_code != NGHTTP2_NO_ERROR) {
    h->flags |= H2_ACCUSED;
    ml__h2_fault(h, nghttp2_http2_strerror(f->goaway.error_code));
  }
  if (f->hd.type == NGHTTP2_HEADERS && h->role->client && f->hd.stream_id > h->newest)
    h->newest = f->hd.stream_id;
  if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  if (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA) return 0;
  x = find(session, f->hd.stream_id);
  if (x == NULL) return 0;
  x->flags |= H2S_ENDED;
  ml__h2_earn(x->h, 4);
  return (x->flags & H2S_EOF) ? 0 : x->h->role->ended(x);
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room,
                       uint32_t *flags, nghttp2_data_source *source, void *ud) {
  ml_h2stream *x = source->ptr;
  size_t n = x->queued < room ? x->queued : room;
  (void)session;
  (void)id;
  (void)buf;
  (void)ud;
  if (n == 0 && !(x->flags & H2S_FINISHED)) {
    x->flags |= H2S_DEFERRED;
    return NGHTTP2_ERR_DEFERRED;
  }
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (n == x->queued && (x->flags & H2S_FINISHED)) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (x->trailers != NULL) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      if (ml__h2_trailers_send(x) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
  }
  return (ssize_t)n;
}

nghttp2_data_provider ml__h2_provider(ml_h2stream *x) {
  nghttp2_data_provider p = {.source = {.ptr = x}, .read_callback = on_read};
  return p;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *f, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *ud) {
  ml_http2 *h = ud;
  ml_h2stream *x = source->ptr;
  (void)session;
  (void)f;
  if (h->nout + 9 + n > ML_SLAB) {
    h->flags |= H2_BLOCKED;
    return NGHTTP2_ERR_WOULDBLOCK;
  }
  memcpy(h->out + h->nout, head, 9);
  ml__h2_pieces_take(x, h->out + h->nout + 9, n);
  h->nout += 9 + n;
  if (n >= 256) ml__h2_earn(h, 1 + (int)(n / 8192)); /* a peer may open two windows for it */
  return 0;
}

static void write_out(lua_State *L, ml_http2 *h) {
  uv_buf_t b = uv_buf_init(h->out, (unsigned)h->nout);
  h->nout = 0;
  if (b.len > 0 && !(h->s->flags & ML_S_DROPPED)) ml__stream_write(L, h->s, &b, 1);
}

/* False: nghttp2 has failed. */
static bool gather(lua_State *L, ml_http2 *h) {
  for (;;) {
    const uint8_t *p;
    ssize_t n = ml__h2_full(h) ? 0 : nghttp2_session_mem_send(h->session, &p);
    if (n < 0) return false;
    if (n == 0) {
      write_out(L, h);
      if (!(h->flags & H2_BLOCKED)) return true;
      h->flags &= ~(uint32_t)H2_BLOCKED;
      continue;
    }
    if (h->nout + (size_t)n > ML_SLAB) write_out(L, h);
    if ((size_t)n > ML_SLAB) return false;
    memcpy(h->out + h->nout, p, (size_t)n);
    h->nout += (size_t)n;
  }
}

void ml__h2_flush(lua_State *L, ml_http2 *h) {
  ml_net *net = h->http->net;
  ml_bytes b = {ml__slab(net), 0, 0, ML_SLAB};
  bool ok = false;
  if (b.base == NULL) {
    ml__stream_fail(h->s, UV_ENOMEM);
    return;
  }
  net->slab = NULL; /* ours meanwhile */
  h->out = b.base;
  h->flags |= H2_INSIDE;
  ok = gather(L, h);
  h->flags &= ~(uint32_t)H2_INSIDE;
  h->out = NULL;
  h->nout = 0;
  ml__bytes_free(net, &b);
  if (!ok)
    ml__stream_fail(h->s, UV_ENOMEM);
  else if (!ml__h2_full(h) && !nghttp2_session_want_read(h->session) &&
           !nghttp2_session_want_write(h->session))
    ml__h2_depart(h);
}

void ml__h2_send_callbacks(nghttp2_session_callbacks *cb) {
  nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
  nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
}
