/* Sessions of servers: requests are handed out one by one, by next(), while others are still
** being answered; and how such a session ends: gracefully, or of a peer that does not keep time.
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "h2.h"

#define NOTICE 1.0 /* seconds for an answer to the notice of a GOAWAY */

/* ---- what comes ---- */

static void wake_next(ml_http2 *h) {
  ml_op *op = h->next;
  h->next = NULL;
  if (op != NULL) ml__op_wake(op);
}

/* A request's head is complete. */
static int on_request(ml_http2 *h, const nghttp2_frame *f) {
  ml_hhead *head;
  const char *why = NULL;
  int status = ml__h2_head_end(h, &head, &why);
  ml_h2stream *x;
  if (h->flags & H2_CALM) return 0;
  if (status == 0 && head == NULL) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (status == 0 && h->nlive >= H2_STREAMS) { /* handlers of streams that were reset still run */
    ml__alloc(ml__h2_alloc(h), head, ml__hhead_size(head), 0);
    return nghttp2_submit_rst_stream(h->session, 0, f->hd.stream_id, NGHTTP2_REFUSED_STREAM);
  }
  x = ml__h2_stream_new(h, f->hd.stream_id, head);
  if (x == NULL) {
    if (head != NULL) ml__alloc(ml__h2_alloc(h), head, ml__hhead_size(head), 0);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  nghttp2_session_set_stream_user_data(h->session, x->id, x);
  x->flags |= (f->hd.flags & NGHTTP2_FLAG_END_STREAM) ? H2S_EOF : H2S_BODY;
  if (h->parse.method.n == 4 && memcmp(h->parse.text + h->parse.method.at, "HEAD", 4) == 0)
    x->flags |= H2S_HEADONLY;
  if (status != 0) {
    ml__h2_answer(x, status, why);
    return 0;
  }
  if ((head->flags & ML_HH_CONTINUE) && !(x->flags & H2S_EOF)) x->flags |= H2S_CONTINUE;
  x->body_since = x->send_since = ml__loop_time(h->loop);
  ml__list_append(&h->waiting, &x->link);
  wake_next(h);
  return 0;
}

static void on_frame(ml_http2 *h, const nghttp2_frame *f) {
  if (f->hd.type == NGHTTP2_PING && (f->hd.flags & NGHTTP2_FLAG_ACK) &&
      (h->flags & (H2_SHUTDOWN | H2_LEAVING)) == H2_SHUTDOWN)
    ml__h2_leave(h, NGHTTP2_NO_ERROR);
}

static bool closing(ml_http2 *h, ml_h2stream *x, uint32_t error) {
  if (error != NGHTTP2_NO_ERROR) ml__h2_charge(h, H2_RESET_COST);
  return error != NGHTTP2_NO_ERROR || (x != NULL && !(x->flags & H2S_ENDED));
}

/* RFC 9113, 8.1: the rest of the request is not needed. Told so at once, some peers would not
** look at the answer: nothing more of it is let through, and they have a while. */
static int rest(ml_h2stream *x) {
  if (x->h->lingering_time <= 0)
    return nghttp2_submit_rst_stream(x->h->session, 0, x->id, NGHTTP2_NO_ERROR);
  x->flags |= H2S_DISCARD | H2S_RESTING;
  x->send_since = ml__loop_time(x->h->loop);
  ml__h2_watch_stream(x);
  return 0;
}

static void push_error(lua_State *L, ml_readsource *src) {
  const ml_h2stream *x = ml__containerof(src, const ml_h2stream, source);
  if (x->flags & H2S_LATE)
    ml__http_error(L, "RequestTimeout", 408, "the request's body does not come");
  else
    ml__http_gone(L, ML_HTTP_CUT);
}

static void too_large(lua_State *L, size_t limit) {
  char text[96];
  snprintf(text, sizeof text, "the request's body has more than %zu bytes", limit);
  ml__http_error(L, "PayloadTooLarge", 413, text);
}

static void drop(lua_State *L, const ml_h2stream *x, const char *fname) {
  (void)x;
  ml__http_raise_gone(L, fname);
}

/* ---- what is to be told to Lua ---- */

/* (stream): the task that the exchange has named is cancelled. */
static int cancel_task(lua_State *L) {
  ml_h2stream *x = lua_touserdata(L, 1);
  int pin = x->task;
  x->task = 0;
  ml__pushpinned(L, pin);
  ml__unpin(L, pin);
  lua_pushliteral(L, "the peer has gone");
  ml__task_cancel(L, 2);
  return 0;
}

static int tell_bad(lua_State *L) {
  const ml_h2stream *x = lua_touserdata(L, 1);
  ml_addr peer = ml__stream_addr(x->h->s, true);
  ml__pushpinned(L, x->h->pin);
  ml__hsettings_tell(L, 2, x->bad, x->why, &peer);
  return 0;
}

/* (session): what the peer has done wrong. */
static int tell_fault(lua_State *L) {
  ml_http2 *h = lua_touserdata(L, 1);
  const char *fault = h->fault;
  ml_addr peer = ml__stream_addr(h->s, true);
  h->fault = NULL;
  ml__pushpinned(L, h->pin);
  ml__hsettings_tell(L, 2, (h->flags & H2_CALM) ? 429 : 400, fault, &peer);
  return 0;
}

static void tell(lua_State *L, ml_http2 *h) {
  if (h->fault != NULL && h->s != NULL && lua_checkstack(L, 8)) {
    lua_pushcfunction(L, tell_fault);
    lua_pushlightuserdata(L, h);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  while (!ml__list_empty(&h->gone)) {
    ml_h2stream *x = ml__containerof(h->gone.next, ml_h2stream, link);
    ml__list_remove(&x->link);
    if (lua_checkstack(L, 8) && (x->task != 0 || (x->flags & H2S_BAD))) {
      lua_pushcfunction(L, x->task != 0 ? cancel_task : tell_bad);
      lua_pushlightuserdata(L, x);
      if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    }
    ml__h2_stream_unref(x);
  }
}

/* ---- deadlines ---- */

static double stream_deadline(const ml_h2stream *x) {
  const ml_hsettings *set = x->h->settings;
  double when = INFINITY;
  if ((x->flags & (H2S_WANTED | H2S_EOF)) == H2S_WANTED)
    when = ml__h2_earlier(when, x->body_since, set->body_timeout);
  if ((x->flags & (H2S_RESTING | H2S_EOF)) == H2S_RESTING)
    when = ml__h2_earlier(when, x->send_since, x->h->lingering_time);
  if (x->queued > 0) when = ml__h2_earlier(when, x->send_since, set->send_timeout);
  return when;
}

/* What belongs to the session itself. */
static double deadline(const ml_http2 *h) {
  const ml_hsettings *set = h->settings;
  double when = INFINITY;
  if ((h->flags & H2_HEAD) || !(h->flags & H2_GREETED))
    when = ml__h2_earlier(when, h->head_since, set->header_timeout);
  if (h->nstreams == 0) when = ml__h2_earlier(when, h->idle_since, set->keepalive_timeout);
  if ((h->flags & (H2_SHUTDOWN | H2_LEAVING)) == H2_SHUTDOWN)
    when = ml__h2_earlier(when, h->quiet_since, NOTICE);
  if (h->flags & H2_LEAVING) when = ml__h2_earlier(when, h->quiet_since, set->send_timeout);
  return when;
}

static void stream_expired(ml_h2stream *x, double now) {
  (void)now;
  if (x->queued > 0 || (x->flags & H2S_STARTED)) {
    ml__h2_reset(x, (x->flags & H2S_RESTING) ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    return;
  }
  ml__h2_body_late(x);
}

/* The session's own deadline has passed. */
static void expired(ml_http2 *h, double now) {
  if (h->flags & H2_LEAVING) {
    ml__stream_fail(h->s, 0);
    return;
  }
  h->quiet_since = now;
  ml__h2_leave(h, NGHTTP2_NO_ERROR);
  if (!(h->flags & H2_SHUTDOWN) && h->nstreams > 0) ml__stream_fail(h->s, 0); /* a slow head */
}

/* ---- the end ---- */

void ml__http2_shutdown(ml_http2 *h) {
  if (!ml__h2_alive(h) || (h->flags & (H2_SHUTDOWN | H2_LEAVING))) return;
  h->flags |= H2_SHUTDOWN;
  h->quiet_since = ml__loop_time(h->loop);
  if (h->nstreams == 0) {
    ml__h2_leave(h, NGHTTP2_NO_ERROR);
    return;
  }
  /* requests that are on their way are still served: RFC 9113, 6.8 */
  nghttp2_submit_shutdown_notice(h->session);
  nghttp2_submit_ping(h->session, 0, NULL);
  ml__h2_watch(h);
  ml__h2_schedule(h);
}

bool ml__http2_busy(const ml_http2 *h) { return h->nstreams > 0 || h->nlive > 0; }
/* ---- requests ---- */

int ml__http2_next(lua_State *L, ml_http2 *h, ml_op *op) {
  if (!ml__list_empty(&h->waiting)) {
    ml_h2stream *x = ml__containerof(h->waiting.next, ml_h2stream, link);
    ml__h2_exchange_push(L, x);
    ml__h2_push_method(L, x);
    ml__h2_push_path(L, x);
    return 3;
  }
  if ((h->flags & (H2_OVER | H2_LINGER)) == H2_OVER) {
    lua_pushnil(L);
    return 1;
  }
  h->next = op;
  return ML_PARK;
}

void ml__http2_unwait(ml_http2 *h, const ml_op *op) {
  if (h->next == op) h->next = NULL;
}

/* ---- making ---- */

static void init(lua_State *L, ml_http2 *h, int idx) {
  const ml_hsettings *set = h->settings = ml__checkhsettings(L, idx);
  h->max_line = set->max_line;
  h->max_head = set->max_head;
  h->max_headers = set->max_headers;
  h->lingering_time = set->lingering_time;
}

static int greet(ml_http2 *h) {
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, h->max_head},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  int rc = nghttp2_submit_settings(h->session, 0, settings, sizeof settings / sizeof settings[0]);
  if (rc != 0) return rc;
  return nghttp2_session_set_local_window_size(h->session, 0, 0, H2_CONN_WINDOW);
}

static const ml_h2role role = {
    .stream = sizeof(ml_h2stream),
    .ours = "response",
    .theirs = "request",
    .init = init,
    .greet = greet,
    .head = on_request,
    .frame = on_frame,
    .drop = drop,
    .ended = rest,
    .closing = closing,
    .over = wake_next,
    .tell = tell,
    .body_error = push_error,
    .too_large = too_large,
    .deadline = deadline,
    .stream_deadline = stream_deadline,
    .expired = expired,
    .stream_expired = stream_expired,
};

ml_http2 *ml__http2_new(lua_State *L, ml_stream *s, int idx, const char *p, size_t n) {
  ml_http2 *h;
  ml__checkhsettings(L, idx);
  h = ml__h2_new(L, &role, sizeof *h, idx, s);
  ml__h2_begin(h, s, p, n);
  return h;
}
