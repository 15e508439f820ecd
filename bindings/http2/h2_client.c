/* Sessions of clients: responses as they come, what a server may do to a call or to all of them,
** and time.
**
** A connection that has been silent when somebody gives up waiting is suspect: it takes no more
** requests until something comes, a PING asks for that, and without any it is given up. So one
** that has died without a word does not take call after call with it.
*/
#include <math.h>
#include <string.h>

#include "h2_client.h"

#define CLIENT_WINDOW (1024 * 1024)        /* of a stream */
#define CLIENT_CONN_WINDOW ((1 << 30) - 1) /* those of streams are what limits */
#define MOST 1024                          /* streams at once */
#define MOST_AT_FIRST 100                  /* before the server has said its limit */
#define PATIENCE 10.0                      /* seconds for an answer to PING */
#define SILENCE 1.0                        /* seconds of which that is asked */
#define INFORM_COST 4

/* ---- room ---- */

bool ml__h2_client_closing(const ml_h2client *c) {
  const ml_http2 *h = &c->h;
  return !ml__h2_alive(h) || c->draining || (h->flags & (H2_OVER | H2_LEAVING | H2_CALM)) ||
         (h->s->flags & (ML_S_CLOSING | ML_S_DROPPED | ML_S_EOF));
}

bool ml__h2_client_takes(const ml_h2client *c) {
  return !ml__h2_client_closing(c) && nghttp2_session_check_request_allowed(c->h.session);
}

uint32_t ml__h2_client_room(const ml_h2client *c) {
  const ml_http2 *h = &c->h;
  uint32_t most;
  if (!ml__h2_client_takes(c) || h->suspect_since != INFINITY) return 0;
  most = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  if (!(h->flags & H2_GREETED) && most > MOST_AT_FIRST) most = MOST_AT_FIRST;
  if (most > MOST) most = MOST;
  return most > h->nstreams ? most - h->nstreams : 0;
}

void ml__h2_client_hold(lua_State *L, ml_h2client *c, int idx) {
  if (c->pin == 0) c->pin = ml__pin(L, idx);
}

static void let_go(ml_h2client *c) {
  int pin = c->pin;
  if (pin == 0 || c->h.nstreams > 0) return;
  if ((c->full || c->tell) && !(c->h.flags & H2_FORGOTTEN)) return;
  c->pin = 0;
  ml__unpin(c->h.http->net->engine->L, pin);
}

/* There may be room where there was none, or never will be: those who wait are to look. */
static void notice(ml_h2client *c) {
  if (c->full && (ml__h2_client_closing(c) || ml__h2_client_room(c) > 0)) {
    c->full = false;
    c->tell = true;
    ml__h2_schedule(&c->h);
  }
}

static int tell_free(lua_State *L) { /* (client) */
  ml_h2client *c = lua_touserdata(L, 1);
  uint32_t dropped = c->dropped;
  c->dropped = 0;
  ml__pushpinned(L, c->h.pin);
  ml__h2_conn_push(L, c);
  if (!lua_isnil(L, 3)) ml__hcsettings_tell(L, 2, 3, dropped);
  return 0;
}

static void tell(lua_State *L, ml_http2 *h) {
  ml_h2client *c = ml__h2_client(h);
  if (!(h->flags & H2_ACCUSED)) h->fault = NULL; /* of a stream, which knows it */
  if (h->suspect_since == INFINITY) notice(c);
  if ((c->tell || c->dropped > 0) && lua_checkstack(L, 8)) {
    lua_pushcfunction(L, tell_free);
    lua_pushlightuserdata(L, c);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  c->tell = false;
  let_go(c);
}

/* ---- what comes ---- */

static void wake(ml_op **op) {
  ml_op *o = *op;
  *op = NULL;
  if (o != NULL) ml__op_wake(o);
}

static int status_of(const ml_h2parse *p) {
  const char *s = p->text + p->status.at;
  return p->status.n == 3 ? (s[0] - '0') * 100 + (s[1] - '0') * 10 + s[2] - '0' : 0;
}

static int on_trailers(ml_http2 *h, ml_h2call *k) {
  if (k->trailers != NULL || h->parse.too_large || (k->x.flags & H2S_DISCARD)) return 0;
  k->trailers = ml__h2_head_build(h);
  return k->trailers == NULL ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_head(ml_http2 *h, const nghttp2_frame *f) {
  ml_h2stream *x = nghttp2_session_get_stream_user_data(h->session, f->hd.stream_id);
  ml_h2call *k;
  int status;
  if (x == NULL) return 0;
  k = ml__h2_call(x);
  x->body_since = ml__loop_time(h->loop);
  if (x->head != NULL) return on_trailers(h, k);
  if (h->parse.too_large) {
    ml__h2_call_fail(k, H2F_HEAD, "the response's head is too large");
    return 0;
  }
  status = status_of(&h->parse);
  if (status < 200) {
    ml__h2_charge(h, INFORM_COST);
    if (status != 100) return 0;
    k->continued = true;
    wake(&k->continuing);
    return 0;
  }
  x->head = ml__h2_head_build(h);
  if (x->head == NULL) return NGHTTP2_ERR_CALLBACK_FAILURE;
  x->head->status = (uint16_t)status;
  if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM)) x->flags |= H2S_BODY;
  wake(&k->answering);
  wake(&k->continuing);
  return 0;
}

static void on_frame(ml_http2 *h, const nghttp2_frame *f) {
  ml_h2client *c = ml__h2_client(h);
  ml_h2stream *x;
  switch (f->hd.type) {
  case NGHTTP2_GOAWAY:
    c->draining = true;
    c->goaway = f->goaway.error_code;
    c->last = f->goaway.last_stream_id;
    notice(c);
    break;
  case NGHTTP2_SETTINGS: notice(c); break;
  case NGHTTP2_RST_STREAM:
    x = nghttp2_session_get_stream_user_data(h->session, f->hd.stream_id);
    if (x != NULL) x->flags |= H2S_REFUSED;
    break;
  default: break;
  }
}

static bool closing(ml_http2 *h, ml_h2stream *x, uint32_t error) {
  (void)h;
  if (x == NULL) return error != NGHTTP2_NO_ERROR;
  ml__h2_call(x)->error = error;
  return !ml__h2_complete(x);
}

static void stream_closed(ml_h2stream *x) {
  ml_h2call *k = ml__h2_call(x);
  ml_h2client *c = ml__h2_client(x->h);
  wake(&k->answering);
  wake(&k->continuing);
  notice(c);
  if (c->h.nstreams == 0 && !(c->h.flags & H2_OVER)) ml__h2_client_rest(c, true);
  let_go(c);
}

static void stream_free(ml_h2stream *x) {
  ml_h2call *k = ml__h2_call(x);
  if (k->trailers != NULL) ml__hhead_free(x->h->http, k->trailers);
}

static void over(ml_http2 *h) {
  ml_h2client *c = ml__h2_client(h);
  if (h->s != NULL) ml__h2_client_rest(c, false);
  if (!c->closed) {
    c->closed = c->tell = true;
    ml__h2_schedule(h);
  }
  let_go(c);
}

static int ended(ml_h2stream *x) {
  (void)x;
  return 0;
}

/* ---- failures ---- */

/* Somebody gives up waiting: does the connection live? */
static void suspect(ml_http2 *h) {
  double now = ml__loop_time(h->loop);
  if (h->suspect_since != INFINITY || now - h->unheard_since < SILENCE || !ml__h2_alive(h)) return;
  nghttp2_submit_ping(h->session, 0, NULL);
  h->suspect_since = now;
  ml__h2_watch(h);
}

void ml__h2_call_fail(ml_h2call *k, ml_h2fail fail, const char *why) {
  ml_h2stream *x = &k->x;
  if (k->fail != H2F_NONE || !(x->flags & H2S_OPEN)) return;
  if (!ml__h2_complete(x)) {
    k->fail = (uint8_t)fail;
    k->why = why;
    ml__h2_body_late(x);
    suspect(x->h);
  }
  ml__h2_reset(x, NGHTTP2_CANCEL);
  ml__wake_all(&x->drains, NULL);
  wake(&k->answering);
  wake(&k->continuing);
}

void ml__h2_note(lua_State *L, bool began, uint32_t code, bool retry) {
  lua_pushboolean(L, began);
  lua_setfield(L, -2, "began");
  if (code != NGHTTP2_NO_ERROR) {
    lua_pushstring(L, nghttp2_http2_strerror(code));
    lua_setfield(L, -2, "code");
  }
  if (!retry) return;
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "retry");
}

static void push_malformed(lua_State *L, const ml_h2call *k, const char *what) {
  const char *why = lua_pushfstring(L, "the response is malformed: %s", what);
  ml__hc_error(L, k->x.head != NULL ? "PayloadError" : "BadResponse", "%s", why);
  lua_insert(L, -2);
  lua_setfield(L, -2, "why");
}

/* Has the server answered others, whom it took instead? */
static void note_served(lua_State *L, const ml_h2call *k) {
  const ml_h2client *c = ml__h2_client(k->x.h);
  lua_pushboolean(L, c->draining && c->last > 0);
  lua_setfield(L, -2, "served");
}

static void push_reset(lua_State *L, const ml_h2call *k) {
  bool refused = k->error == NGHTTP2_REFUSED_STREAM;
  const char *code = nghttp2_http2_strerror(k->error);
  if (k->x.head != NULL)
    ml__hc_error(L, "PayloadError",
                 "the response is incomplete: the server reset the stream after %I bytes: %s",
                 (LUAI_UACINT)k->x.got, code);
  else if (refused && !(k->x.flags & H2S_REFUSED))
    ml__hc_error(L, "Disconnected",
                 "the server ends the connection, and has not looked at the request: %s",
                 nghttp2_http2_strerror(ml__h2_client(k->x.h)->goaway));
  else if (refused)
    ml__hc_error(L, "Disconnected", "the server has not looked at the request: %s", code);
  else
    ml__hc_error(L, "Disconnected", "the server reset the stream without an answer: %s", code);
  ml__h2_note(L, !refused || k->x.head != NULL, k->error, refused && k->x.head == NULL);
  if (refused && !(k->x.flags & H2S_REFUSED)) note_served(L, k);
}

/* It has not left, or nobody has looked at it: whoever asked may ask again. */
static bool is_untouched(const ml_h2call *k) {
  const ml_h2client *c = ml__h2_client(k->x.h);
  if (k->x.head != NULL || k->continued) return false;
  return k->x.id > c->h.newest || (c->draining && k->x.id > c->last);
}

/* The connection has ended. */
static void push_gone(lua_State *L, const ml_h2call *k) {
  const ml_h2stream *x = &k->x;
  const ml_h2client *c = ml__h2_client(x->h);
  ml_stream *s = x->h->s;
  bool failed = s != NULL && (s->error != 0 || (s->flags & ML_S_RAGGED));
  if (x->head != NULL) {
    ml__hc_error(L, "PayloadError",
                 "the response is incomplete: the connection ended after %I bytes",
                 (LUAI_UACINT)x->got);
    if (failed) {
      ml__stream_error(L, s);
      lua_setfield(L, -2, "cause");
    }
  } else if (c->draining && c->goaway != NGHTTP2_NO_ERROR)
    ml__hc_error(L, "Disconnected", "the server ended the connection: %s",
                 nghttp2_http2_strerror(c->goaway));
  else if (c->dead)
    ml__hc_error(L, "Disconnected", "the server does not answer any more");
  else if (failed)
    ml__stream_error(L, s);
  else
    ml__hc_error(L, "Disconnected", "the server closed the connection without an answer");
  ml__h2_note(L, x->head != NULL, c->draining ? c->goaway : NGHTTP2_NO_ERROR, is_untouched(k));
  note_served(L, k);
}

static void push_timeout(lua_State *L, const char *kind, const char *text) {
  ml__hc_error(L, "TimeoutError", "%s", text);
  lua_pushstring(L, kind);
  lua_setfield(L, -2, "kind");
}

void ml__h2_call_failure(lua_State *L, ml_h2call *k) {
  const ml_http2 *h = k->x.h;
  switch (k->fail) {
  case H2F_HEAD:
    ml__hc_error(L, "BadResponse", "%s", k->why);
    lua_pushstring(L, k->why);
    lua_setfield(L, -2, "why");
    return;
  case H2F_TOTAL: push_timeout(L, "total", "the request took too long"); return;
  case H2F_READ: push_timeout(L, "read", "the server was silent for too long"); return;
  case H2F_CLOSED: ml__error_new(L, "RuntimeError", "the connection was closed"); return;
  default: break;
  }
  if (k->x.flags & H2S_REFUSED)
    push_reset(L, k);
  else if (k->x.flags & H2S_LARGE)
    push_malformed(L, k, "its head is too large");
  else if (k->error == NGHTTP2_REFUSED_STREAM)
    push_reset(L, k);
  else if (k->error != NGHTTP2_NO_ERROR)
    push_malformed(L, k, nghttp2_http2_strerror(k->error));
  else if ((h->flags & H2_ACCUSED) && h->fault != NULL)
    push_malformed(L, k, (h->flags & H2_GREETED) ? h->fault : "this is not HTTP/2");
  else
    push_gone(L, k);
}

static void body_error(lua_State *L, ml_readsource *src) {
  ml__h2_call_failure(L, ml__h2_call(ml__containerof(src, ml_h2stream, source)));
}

static void too_large(lua_State *L, size_t limit) {
  ml__hc_error(L, "PayloadError", "the response has more than %I bytes", (LUAI_UACINT)limit);
  lua_pushinteger(L, (lua_Integer)limit);
  lua_setfield(L, -2, "limit");
}

/* The server has answered and needs no more of the request: what is written goes nowhere. */
static void drop(lua_State *L, const ml_h2stream *x, const char *fname) {
  (void)fname;
  if (ml__h2_complete(x)) return;
  ml__h2_call_failure(L, (ml_h2call *)x);
  lua_error(L);
}

/* ---- time ---- */

static double stream_deadline(const ml_h2stream *x) {
  const ml_h2call *k = (const ml_h2call *)x;
  double when = k->total, since = x->body_since > x->send_since ? x->body_since : x->send_since;
  if (k->fail != H2F_NONE || ml__h2_complete(x)) return INFINITY;
  if (k->answering != NULL || (x->flags & H2S_WANTED) || x->queued > 0)
    when = ml__h2_earlier(when, since, k->silence);
  return when;
}

static void stream_expired(ml_h2stream *x, double now) {
  ml_h2call *k = ml__h2_call(x);
  ml__h2_call_fail(k, k->total <= now ? H2F_TOTAL : H2F_READ, NULL);
}

static double deadline(const ml_http2 *h) {
  const ml_h2client *c = (const ml_h2client *)h;
  double when = INFINITY;
  if (h->nstreams == 0 && !c->full)
    when = ml__h2_earlier(when, h->idle_since, c->settings->keepalive_timeout);
  when = ml__h2_earlier(when, h->suspect_since, PATIENCE);
  if (h->flags & H2_LEAVING) when = ml__h2_earlier(when, h->quiet_since, PATIENCE);
  return when;
}

static void expired(ml_http2 *h, double now) {
  ml_h2client *c = ml__h2_client(h);
  c->dead = h->suspect_since + PATIENCE <= now;
  if (c->dead || (h->flags & H2_LEAVING))
    ml__stream_fail(h->s, 0);
  else
    ml__h2_leave(h, NGHTTP2_NO_ERROR);
}

/* An idle connection is no reason for the loop to go on. */
void ml__h2_client_rest(ml_h2client *c, bool idle) {
  ml__stream_weaken(c->h.s, idle);
  ml__timer_weaken(c->h.loop, &c->h.timer, idle);
}

/* ---- making ---- */

static void init(lua_State *L, ml_http2 *h, int idx) {
  ml_hcsettings *set = ml__checkhcsettings(L, idx);
  ml__h2_client(h)->settings = set;
  h->max_line = set->max_line;
  h->max_head = set->max_head;
  h->max_headers = set->max_headers;
}

static int greet(ml_http2 *h) {
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CLIENT_WINDOW},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, h->max_head},
  };
  int rc = nghttp2_submit_settings(h->session, 0, settings, sizeof settings / sizeof settings[0]);
  if (rc != 0) return rc;
  return nghttp2_session_set_local_window_size(h->session, 0, 0, CLIENT_CONN_WINDOW);
}

const ml_h2role ml__h2_client_role = {
    .client = true,
    .stream = sizeof(ml_h2call),
    .ours = "request",
    .theirs = "response",
    .init = init,
    .greet = greet,
    .head = on_head,
    .frame = on_frame,
    .drop = drop,
    .ended = ended,
    .closing = closing,
    .stream_closed = stream_closed,
    .stream_free = stream_free,
    .over = over,
    .tell = tell,
    .body_error = body_error,
    .too_large = too_large,
    .deadline = deadline,
    .stream_deadline = stream_deadline,
    .expired = expired,
    .stream_expired = stream_expired,
};
