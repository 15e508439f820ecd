/* A session: between a stream of bytes and nghttp2.
**
** Bytes that come are given to nghttp2 at once, whose callbacks make requests of them and
** wake who waits for one. What is to be sent is gathered by the session's job: first all
** handlers that are ready have their turn, then the frames of all of them leave together.
**
** open -> leaving (the last GOAWAY goes out; streams that are open end) -> over (nghttp2's
** session is deleted, next() gives nil) -> freed when nobody refers to it.
*/
#include <math.h>
#include <string.h>

#include "h2.h"

/* ---- memory for nghttp2, from the engine ---- */

/* What a failed allocation leaves behind nghttp2 cannot be trusted to take down (1.52 frees an
** item twice). So its blocks are listed: such a session is not asked for anything any more, and
** ends by giving all of them back. */
typedef union block {
  struct {
    ml_link link; /* in h->blocks */
    size_t size;
  } b;
  char align[32];
} block;

static void *mem_realloc(void *p, size_t n, void *ud) {
  ml_http2 *h = ud;
  block *old = p == NULL ? NULL : (block *)p - 1, *k = NULL;
  if (old != NULL) ml__list_remove(&old->b.link);
  if (n <= SIZE_MAX - sizeof *k)
    k = ml__alloc(ml__h2_alloc(h), old, old == NULL ? 0 : old->b.size, n + sizeof *k);
  if (k == NULL) {
    if (old != NULL) ml__list_append(&h->blocks, &old->b.link);
    h->flags |= H2_NOMEM;
    if (h->s != NULL) ml__stream_fail(h->s, UV_ENOMEM);
    return NULL;
  }
  k->b.size = n + sizeof *k;
  ml__list_append(&h->blocks, &k->b.link);
  return k + 1;
}

static void *mem_alloc(size_t n, void *ud) { return mem_realloc(NULL, n, ud); }

static void mem_free(void *p, void *ud) {
  const ml_http2 *h = ud;
  block *k;
  if (p == NULL) return;
  k = (block *)p - 1;
  ml__list_remove(&k->b.link);
  ml__alloc(ml__h2_alloc(h), k, k->b.size, 0);
}

static void *mem_calloc(size_t k, size_t n, void *ud) {
  void *p = n > 0 && k > SIZE_MAX / n ? NULL : mem_alloc(k * n, ud);
  if (p != NULL) memset(p, 0, k * n);
  return p;
}

static void session_del(ml_http2 *h, nghttp2_session *session) {
  if (!(h->flags & H2_NOMEM)) nghttp2_session_del(session);
  while (!ml__list_empty(&h->blocks)) {
    block *k = ml__containerof(h->blocks.next, block, b.link);
    mem_free(k + 1, h);
  }
}

/* ---- what comes ---- */

static ml_h2stream *find(nghttp2_session *session, int32_t id) {
  return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ud) {
  (void)session;
  ml__h2_frame_cost(ud, hd);
  ml__h2_frame_check(ud, hd);
  return 0;
}

/* Is it a head that somebody wants? Trailers of requests are not. */
static bool heard(const ml_http2 *h, const nghttp2_frame *f) {
  return f->hd.type == NGHTTP2_HEADERS &&
         (h->role->client || f->headers.cat == NGHTTP2_HCAT_REQUEST);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *ud) {
  ml_http2 *h = ud;
  (void)session;
  if (!heard(h, f)) return 0;
  ml__h2_head_begin(h);
  h->head_since = ml__loop_time(h->loop);
  h->flags |= H2_HEAD;
  ml__h2_watch(h);
  return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                     size_t nname, const uint8_t *value, size_t nvalue, uint8_t flags, void *ud) {
  ml_h2stream *x;
  int rc;
  (void)flags;
  if (!heard(ud, f)) return 0;
  rc = ml__h2_head_add(ud, (const char *)name, nname, (const char *)value, nvalue);
  if (rc == NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE && (x = find(session, f->hd.stream_id)) != NULL)
    x->flags |= H2S_LARGE;
  return rc;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *ud) {
  ml_http2 *h = ud;
  ml_h2stream *x;
  int rc = 0;
  if (heard(h, f)) {
    h->flags &= ~(uint32_t)H2_HEAD;
    rc = h->role->head(h, f);
    if (rc != 0 || !h->role->client) return rc;
  }
  switch (f->hd.type) {
  case NGHTTP2_HEADERS:
  case NGHTTP2_DATA:
    x = f->hd.flags & NGHTTP2_FLAG_END_STREAM ? find(session, f->hd.stream_id) : NULL;
    if (x != NULL) ml__h2_stream_eof(x);
    break;
  case NGHTTP2_RST_STREAM:
    ml__h2_frame_ended(h, f->hd.stream_id);
    h->role->frame(h, f);
    break;
  case NGHTTP2_SETTINGS: h->flags |= H2_GREETED; /* fall through */
  default: h->role->frame(h, f); break;
  }
  return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *ud) {
  ml_h2stream *x = find(session, id);
  ml_http2 *h = ud;
  (void)flags;
  if (h->role->client && n >= 256) ml__h2_earn(h, 1);
  if (x == NULL)
    nghttp2_session_consume(session, id, n);
  else
    ml__h2_stream_data(x, (const char *)p, n);
  return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *ud) {
  ml_http2 *h = ud;
  ml_h2stream *x = find(session, id);
  bool lost = h->role->closing(h, x, error);
  if (x == NULL) return 0;
  if (x->flags & H2S_EOF) ml__h2_frame_ended(h, id);
  nghttp2_session_set_stream_user_data(session, id, NULL);
  ml__h2_stream_closed(x, lost);
  if (h->nstreams == 0 && !(h->flags & H2_OVER)) {
    h->idle_since = ml__loop_time(h->loop);
    ml__h2_watch(h);
  }
  return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *f, int code, void *ud) {
  ml_http2 *h = ud;
  (void)session;
  (void)f;
  ml__h2_fault(h, nghttp2_strerror(code));
  ml__h2_charge(h, H2_RESET_COST);
  return 0;
}

/* ---- the job ---- */

static void run(ml_evloop *loop, ml_job *job) {
  ml_http2 *h = ml__containerof(job, ml_http2, job);
  h->refs++;
  if (ml__h2_alive(h) && !ml__h2_full(h)) ml__h2_flush(loop->L, h);
  h->role->tell(loop->L, h);
  ml__h2_release(h);
}

void ml__h2_tell(ml_h2stream *x) {
  if (!ml__list_empty(&x->link)) return;
  ml__list_append(&x->h->gone, &x->link);
  x->refs++; /* while it is in that list */
  ml__h2_schedule(x->h);
}

void ml__h2_fault(ml_http2 *h, const char *why) {
  if (h->fault == NULL) h->fault = why;
  ml__h2_schedule(h);
}

void ml__h2_schedule(ml_http2 *h) {
  if (!(h->flags & H2_FORGOTTEN) && ml__list_empty(&h->job.link)) ml__ready(h->loop, &h->job);
}

static void over(ml_http2 *h);

/* ---- as a sink ---- */

static void received(ml_http2 *h, const char *p, size_t n) {
  ssize_t rc;
  if (!ml__h2_alive(h) || (h->flags & H2_CALM)) return;
  h->suspect_since = INFINITY;
  h->flags |= H2_INSIDE;
  rc = nghttp2_session_mem_recv(h->session, (const uint8_t *)p, n);
  h->flags &= ~(uint32_t)H2_INSIDE;
  if (h->role->client)
    h->unheard_since = h->nstreams > 0 ? ml__http_now(h->http, h->loop) : INFINITY;
  if (rc == NGHTTP2_ERR_BAD_CLIENT_MAGIC || rc == NGHTTP2_ERR_NOMEM ||
      rc == NGHTTP2_ERR_CALLBACK_FAILURE)
    ml__stream_fail(h->s, rc == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? 0 : UV_ENOMEM);
  else if (rc < 0)
    ml__h2_leave(h, rc == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
  ml__h2_schedule(h);
}

static void sink_data(ml_stream *s, const char *p, size_t n) { received(s->target, p, n); }

static void sink_eof(ml_stream *s) {
  over(s->target);
  ml__stream_close(s);
}

static void sink_pause(lua_State *L, ml_stream *s) {
  (void)L;
  (void)s;
}

static void sink_resume(ml_stream *s) {
  if (s->target != NULL) ml__h2_schedule(s->target);
}

static void sink_lost(lua_State *L, ml_stream *s) {
  ml_http2 *h = s->target;
  (void)L;
  if (h == NULL) return;
  over(h);
  h->flags &= ~(uint32_t)H2_LINGER;
  h->role->over(h);
  ml__timer_stop(h->loop, &h->timer);
  ml__list_remove(&h->timer.job.link);
}

/* The loop is closed: no job will run any more. */
static void sink_forget(ml_stream *s) {
  ml_http2 *h = s->target;
  h->refs++;
  h->flags |= H2_FORGOTTEN;
  over(h);
  ml__timer_stop(h->loop, &h->timer);
  ml__list_remove(&h->timer.job.link);
  ml__list_remove(&h->job.link);
  while (!ml__list_empty(&h->gone)) {
    ml_h2stream *x = ml__containerof(h->gone.next, ml_h2stream, link);
    ml__list_remove(&x->link);
    ml__h2_stream_unref(x);
  }
  if (s->refs == 0) h->s = NULL; /* it is being freed, with the engine */
  ml__h2_release(h);
}

static void sink_yield(ml_stream *s, ml_bytes *to) {
  (void)s;
  memset(to, 0, sizeof *to);
}

const ml_sink ml__h2_sink = {sink_data, sink_eof,    sink_pause, sink_resume,
                             sink_lost, sink_forget, sink_yield, NULL};

/* ---- the end ---- */

/* No more of anything: what was not answered is lost. Not inside of nghttp2. */
static void over(ml_http2 *h) {
  nghttp2_session *session = h->session;
  if (h->flags & H2_OVER) return;
  h->flags |= H2_OVER;
  h->session = NULL;
  h->refs++;
  ml__timer_stop(h->loop, &h->timer);
  ml__list_remove(&h->timer.job.link);
  while (!ml__list_empty(&h->streams)) {
    ml_h2stream *x = ml__containerof(h->streams.next, ml_h2stream, all);
    ml__h2_stream_closed(x, true);
  }
  session_del(h, session);
  ml__h2_head_free(h);
  h->role->over(h);
  ml__h2_release(h);
}

/* All was said. What the peer still sends is dropped for a while: closed at once, it might
** not read our last words. */
void ml__h2_depart(ml_http2 *h) {
  over(h);
  if (!(h->s->flags & ML_S_CLOSING)) ml__h2_linger(h);
}

void ml__h2_leave(ml_http2 *h, uint32_t error) {
  if (!ml__h2_alive(h) || (h->flags & H2_LEAVING)) return;
  h->flags |= H2_LEAVING;
  h->quiet_since = ml__loop_time(h->loop);
  ml__h2_watch(h);
  if (error == NGHTTP2_NO_ERROR)
    nghttp2_submit_goaway(h->session, 0, nghttp2_session_get_last_proc_stream_id(h->session), error,
                          NULL, 0);
  else
    nghttp2_session_terminate_session(h->session, error);
  ml__h2_schedule(h);
}

void ml__h2_release(ml_http2 *h) {
  ml_stream *s = h->s;
  if (--h->refs > 0) return;
  ml__timer_stop(h->loop, &h->timer);
  ml__list_remove(&h->timer.job.link);
  ml__list_remove(&h->job.link);
  if (h->pin != 0) ml__unpin(h->http->net->engine->L, h->pin);
  if (s != NULL) {
    if (s->target == h) s->target = NULL;
    ml__stream_unref(s);
  }
  ml__alloc(ml__h2_alloc(h), h, h->size, 0);
}

void ml__http2_close(ml_http2 *h) {
  ml_stream *s = h->s;
  h->refs++;
  over(h);
  h->flags &= ~(uint32_t)H2_LINGER;
  h->role->over(h);
  if (s != NULL) ml__stream_close(s);
  ml__h2_release(h);
}

bool ml__http2_over(const ml_http2 *h) { return (h->flags & H2_OVER) != 0; }

void ml__http2_unref(ml_http2 *h) {
  ml__http2_close(h);
  ml__h2_release(h);
}

void ml__h2_consume(ml_h2stream *x, uint32_t n) {
  ml_http2 *h = x->h;
  if (!ml__h2_alive(h)) return;
  if (x->flags & H2S_RESTING)
    nghttp2_session_consume_connection(h->session, n);
  else
    nghttp2_session_consume(h->session, x->id, n);
  if (nghttp2_session_want_write(h->session)) ml__h2_schedule(h);
}

void ml__h2_reset(ml_h2stream *x, uint32_t error) {
  ml_http2 *h = x->h;
  if (!ml__h2_alive(h) || !(x->flags & H2S_OPEN)) return;
  nghttp2_submit_rst_stream(h->session, 0, x->id, error);
  ml__h2_schedule(h);
}

/* ---- making ---- */

/* nghttp2 has it since 1.57, and distributions in older ones that they have mended. */
__attribute__((weak)) void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *opt,
                                                                      uint64_t burst,
                                                                      uint64_t rate);

/* Resets are paid for, see h2_guard.c: nghttp2's own limit of 33 a second would end connections
** that do much work, and give up as much of it as people do. */
static void trust_guard(nghttp2_option *opt) {
  if (nghttp2_option_set_stream_reset_rate_limit != NULL)
    nghttp2_option_set_stream_reset_rate_limit(opt, UINT32_MAX, UINT32_MAX);
}

static int make_session(ml_http2 *h) {
  nghttp2_mem mem = {h, mem_alloc, mem_free, mem_calloc, mem_realloc};
  nghttp2_session_callbacks *cb = NULL;
  nghttp2_option *opt = NULL;
  int rc = nghttp2_session_callbacks_new(&cb);
  if (rc == 0) rc = nghttp2_option_new(&opt);
  if (rc == 0) {
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    ml__h2_send_callbacks(cb);
    nghttp2_option_set_no_auto_window_update(opt, 1);
    nghttp2_option_set_no_closed_streams(opt, 1);
    trust_guard(opt);
    rc = h->role->client ? nghttp2_session_client_new3(&h->session, cb, h, opt, &mem)
                         : nghttp2_session_server_new3(&h->session, cb, h, opt, &mem);
  }
  nghttp2_option_del(opt);
  nghttp2_session_callbacks_del(cb);
  return rc == 0 ? h->role->greet(h) : rc;
}

/* A session of that role, in a block of that size, with the settings at idx; not begun. */
ml_http2 *ml__h2_new(lua_State *L, const ml_h2role *role, size_t size, int idx, ml_stream *s) {
  ml_http *http = ml__http(L);
  int pin = ml__pin(L, idx);
  ml_http2 *h = ml__alloc(http->net->engine->alloc, NULL, 0, size);
  if (h != NULL) {
    memset(h, 0, size);
    h->refs = 1;
    h->role = role;
    h->size = size;
    h->http = http;
    h->pin = pin;
    h->loop = s->loop;
    h->suspect_since = h->unheard_since = INFINITY;
    h->newest = -1;
    ml__list_init(&h->streams);
    ml__list_init(&h->waiting);
    ml__list_init(&h->gone);
    ml__list_init(&h->blocks);
    ml__list_init(&h->job.link);
    h->job.run = run;
    role->init(L, h, idx);
  }
  if (h == NULL || make_session(h) != 0) {
    if (h != NULL) session_del(h, h->session);
    if (h != NULL) ml__alloc(http->net->engine->alloc, h, size, 0);
    ml__unpin(L, pin);
    luaL_error(L, "not enough memory");
    return NULL;
  }
  return h;
}

/* It takes the stream over, of which n bytes have come already. */
void ml__h2_begin(ml_http2 *h, ml_stream *s, const char *p, size_t n) {
  h->s = s;
  ml__stream_ref(s);
  s->sink = &ml__h2_sink;
  s->target = h;
  ml__h2_guard_init(h);
  if (n > 0) received(h, p, n);
  ml__h2_schedule(h);
}
