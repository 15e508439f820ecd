/* Responses: heads for nghttp2 out of what a script gives, and bodies piece by piece.
**
** What frames a message is the session's affair, as with HTTP/1: headers that only make
** sense for a connection of HTTP/1.1 are left out, so that one handler serves both.
*/
#include <stdio.h>
#include <string.h>

#include "h2.h"

#define FIELDS 48 /* on the C stack */

/* ---- heads ---- */

typedef struct head {
  nghttp2_nv few[FIELDS], *nv;
  size_t n;
  bool has_length, date, server;
  uint64_t length;
  char status[4], number[24];
} head;

static void put(head *d, const char *name, size_t nname, const char *value, size_t nvalue) {
  nghttp2_nv *nv = &d->nv[d->n++];
  nv->name = (uint8_t *)name;
  nv->value = (uint8_t *)value;
  nv->namelen = nname;
  nv->valuelen = nvalue;
  nv->flags = NGHTTP2_NV_FLAG_NONE;
}
#define PUT(d, name, value, n) put(d, name, sizeof(name) - 1, value, n)

static void put_length(head *d, uint64_t n) {
  int k = snprintf(d->number, sizeof d->number, "%llu", (unsigned long long)n);
  PUT(d, "content-length", d->number, (size_t)k);
}

static bool is(const char *s, size_t n, const char *word, size_t nword) {
  return n == nword && ml__name_equals(s, n, word, n);
}
#define IS(s, n, word) is(s, n, word, sizeof(word) - 1)

/* Headers that are the session's affair as well. False: it is left out. */
static bool note(lua_State *L, const char *fname, const ml_hline *line, head *d) {
  const char *name = line->name;
  size_t n = line->nname;
  if (IS(name, n, "date")) d->date = true;
  if (IS(name, n, "server")) d->server = true;
  if (IS(name, n, "content-length")) {
    d->length = ml__http_length(L, fname, line, d->has_length);
    d->has_length = true;
    return false;
  }
  return !IS(name, n, "connection") && !IS(name, n, "keep-alive") && !IS(name, n, "upgrade") &&
         !IS(name, n, "proxy-connection");
}

/* The array of names and values at idx, or nothing. What d holds lies in Lua's strings, which
** the array keeps. Room for `more` fields of the caller's is made. */
static void put_headers(lua_State *L, ml_http *h, head *d, int idx, const char *fname,
                        size_t more) {
  lua_Integer n = ml__http_lines(L, idx, fname);
  if ((size_t)n / 2 + more > FIELDS) {
    nghttp2_nv *nv = lua_newuserdatauv(L, ((size_t)n / 2 + more) * sizeof *nv, 0);
    memcpy(nv, d->few, d->n * sizeof *nv);
    d->nv = nv;
  }
  for (lua_Integer i = 1; i < n; i += 2) {
    ml_hline line;
    ml__http_line(L, h, idx, i, fname, &line);
    if (note(L, fname, &line, d)) put(d, line.name, line.nname, line.value, line.nvalue);
    lua_pop(L, 2);
  }
}

static void begin(head *d, int status) {
  d->nv = d->few;
  d->n = 0;
  d->has_length = d->date = d->server = false;
  d->status[0] = (char)('0' + status / 100);
  d->status[1] = (char)('0' + status / 10 % 10);
  d->status[2] = (char)('0' + status % 10);
  PUT(d, ":status", d->status, 3);
}

/* What the server adds: 2 fields. */
static void put_rest(const ml_http2 *h, head *d) {
  const ml_hsettings *set = h->settings;
  if (!d->date) PUT(d, "date", ml__http_date(h->http) + 6, 29);
  if (!d->server && set->nserver > 0) PUT(d, "server", set->server + 8, set->nserver - 10);
}

/* ---- starting ---- */

static ml_h2stream *check_unstarted(lua_State *L, const char *fname) {
  ml_h2stream *x = ml__h2_check(L);
  if (x->flags & H2S_STARTED)
    ml__misuse(L, "RuntimeError", "%s(): the response has been started", fname);
  return x;
}

static bool is_open(const ml_h2stream *x) { return ml__h2_alive(x->h) && (x->flags & H2S_OPEN); }

/* The head goes out, and with it the end if there is no body. */
static void submit(lua_State *L, ml_h2stream *x, const head *d, bool body) {
  nghttp2_data_provider prd = ml__h2_provider(x);
  ml_http2 *h = x->h;
  x->flags |= H2S_STARTED;
  x->flags &= ~(uint32_t)H2S_CONTINUE;
  if (!is_open(x)) return;
  if (nghttp2_submit_response(h->session, x->id, d->nv, d->n, body ? &prd : NULL) != 0) {
    ml__stream_fail(h->s, UV_ENOMEM);
    if (L != NULL) luaL_error(L, "not enough memory");
  }
  ml__h2_schedule(h);
}

/* Queues the string at idx, if the peer is still there. */
static void queue(lua_State *L, ml_h2stream *x, int idx) {
  size_t n;
  const char *p = lua_tolstring(L, idx, &n);
  int pin = n >= H2_COPY && is_open(x) ? ml__pin(L, idx) : 0;
  x->written += n;
  if (!is_open(x) || ml__h2_piece_add(x, p, n, pin) == 0) return;
  if (pin != 0) ml__unpin(L, pin);
  luaL_error(L, "not enough memory");
}

static int drain_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_h2stream *x = w->on;
  (void)L;
  if (!is_open(x) || x->queued <= H2_LOW) return 0;
  ml__list_append(&x->drains, &w->link);
  return ML_PARK;
}

static const ml_opclass drain_class = {"Exchange.drain", drain_begin, ml__waitop_wake,
                                       ml__waitop_cancel};

/* Pushes nil, or what waits until the peer has taken most of what was written. */
static int push_drain(lua_State *L, ml_h2stream *x) {
  ml_waitop *w;
  if (x->queued > 0) ml__h2_watch_stream(x);
  if (x->queued <= H2_HIGH) {
    lua_pushnil(L);
    return 1;
  }
  w = ml__op_new(L, &drain_class, sizeof *w, 1);
  w->on = x;
  ml__list_init(&w->link);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* x:respond(status, reason, headers, body): HTTP/2 has no reason */
static int x_respond(lua_State *L) {
  ml_h2stream *x = check_unstarted(L, "respond");
  int status = ml__http_status(L, 2, "respond", 200);
  bool body = false;
  size_t n = 0;
  head d;
  lua_settop(L, 5);
  if (!lua_isnil(L, 5)) {
    if (lua_type(L, 5) != LUA_TSTRING)
      ml__misuse(L, "TypeError", "respond: the body must be a string, got %s", luaL_typename(L, 5));
    n = lua_rawlen(L, 5);
  }
  begin(&d, status);
  put_headers(L, x->h->http, &d, 4, "respond", 4);
  if (!ml__http_bodiless(status)) {
    if (d.has_length && d.length != n && !(x->flags & H2S_HEADONLY))
      ml__misuse(L, "ValueError", "respond: Content-Length tells of %I bytes, the body has %I",
                 (LUAI_UACINT)d.length, (LUAI_UACINT)n);
    put_length(&d, d.has_length ? d.length : n);
    body = n > 0 && !(x->flags & H2S_HEADONLY);
  }
  put_rest(x->h, &d);
  if (body) queue(L, x, 5);
  submit(L, x, &d, body);
  ml__h2_finished(x);
  return push_drain(L, x);
}

/* ---- in parts ---- */

/* x:start(status, reason, headers [, length]) */
static int x_start(lua_State *L) {
  ml_h2stream *x = check_unstarted(L, "start");
  int status = ml__http_status(L, 2, "start", 200);
  lua_Integer length = luaL_optinteger(L, 5, -1);
  head d;
  lua_settop(L, 5);
  begin(&d, status);
  put_headers(L, x->h->http, &d, 4, "start", 4);
  if (d.has_length && length >= 0 && d.length != (uint64_t)length)
    ml__misuse(L, "ValueError", "start: Content-Length tells of %I bytes, the length is %I",
               (LUAI_UACINT)d.length, (LUAI_UACINT)length);
  if (d.has_length) length = (lua_Integer)d.length;
  if (ml__http_bodiless(status)) {
    x->flags |= H2S_NOBODY;
  } else if (length >= 0) {
    x->flags |= H2S_LENGTH;
    x->left = (uint64_t)length;
    put_length(&d, x->left);
  }
  if (x->flags & H2S_HEADONLY) x->flags |= H2S_NOBODY;
  put_rest(x->h, &d);
  submit(L, x, &d, !(x->flags & H2S_NOBODY));
  lua_pushnil(L);
  return 1;
}

static ml_h2stream *check_open(lua_State *L, const char *fname) {
  ml_h2stream *x = ml__h2_check(L);
  if (!(x->flags & H2S_STARTED))
    ml__misuse(L, "RuntimeError", "%s(): the response has not been started", fname);
  if (x->flags & H2S_FINISHED) ml__misuse(L, "RuntimeError", "%s(): the response has ended", fname);
  if (is_open(x) || (x->flags & H2S_NOBODY)) return x;
  ml__http_raise_gone(L, fname);
  return NULL;
}

static void resume(ml_h2stream *x) {
  if (!is_open(x)) return;
  if (x->flags & H2S_DEFERRED) {
    x->flags &= ~(uint32_t)H2S_DEFERRED;
    nghttp2_session_resume_data(x->h->session, x->id);
  }
  ml__h2_schedule(x->h);
}

/* x:write(data) */
static int x_write(lua_State *L) {
  ml_h2stream *x = check_open(L, "write");
  size_t n;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "write: data must be a string, got %s", luaL_typename(L, 2));
  lua_settop(L, 2);
  n = lua_rawlen(L, 2);
  if (x->flags & H2S_LENGTH) {
    if (n > x->left)
      return ml__misuse(L, "ValueError", "write: %I bytes more than the response's length",
                        (LUAI_UACINT)(n - x->left));
    x->left -= n;
  }
  if (n > 0 && !(x->flags & H2S_NOBODY)) {
    queue(L, x, 2);
    resume(x);
  }
  return push_drain(L, x);
}

/* ---- trailers ---- */

/* One block: the fields, then their text. */
struct ml_h2trailers {
  size_t n, size;
  nghttp2_nv nv[];
};

void ml__h2_trailers_free(ml_http2 *h, struct ml_h2trailers *t) {
  ml__alloc(ml__h2_alloc(h), t, t->size, 0);
}

int ml__h2_trailers_send(ml_h2stream *x) {
  struct ml_h2trailers *t = x->trailers;
  return nghttp2_submit_trailer(x->h->session, x->id, t->nv, t->n);
}

static struct ml_h2trailers *keep(const ml_http2 *h, const head *d) {
  size_t size = sizeof(struct ml_h2trailers) + d->n * sizeof *d->nv;
  struct ml_h2trailers *t;
  char *p;
  for (size_t i = 0; i < d->n; i++) size += d->nv[i].namelen + d->nv[i].valuelen;
  t = ml__alloc(ml__h2_alloc(h), NULL, 0, size);
  if (t == NULL) return NULL;
  t->n = d->n;
  t->size = size;
  memcpy(t->nv, d->nv, d->n * sizeof *d->nv);
  p = (char *)(t->nv + t->n);
  for (size_t i = 0; i < t->n; i++) {
    nghttp2_nv *v = &t->nv[i];
    v->name = memcpy(p, v->name, v->namelen);
    p += v->namelen;
    if (v->valuelen > 0) memcpy(p, v->value, v->valuelen);
    v->value = (uint8_t *)p;
    p += v->valuelen;
  }
  return t;
}

/* x:finish([trailers]) */
static int x_finish(lua_State *L) {
  ml_h2stream *x = check_open(L, "finish");
  head d;
  lua_settop(L, 2);
  if ((x->flags & (H2S_LENGTH | H2S_NOBODY)) == H2S_LENGTH && x->left > 0) {
    uint64_t left = x->left;
    ml__h2_finished(x);
    ml__h2_reset(x, NGHTTP2_INTERNAL_ERROR);
    return ml__misuse(L, "RuntimeError",
                      "finish(): the response lacks %I of its bytes: the stream was reset",
                      (LUAI_UACINT)left);
  }
  if (!lua_isnil(L, 2) && !(x->flags & H2S_NOBODY)) {
    begin(&d, 200);
    d.n = 0; /* no status */
    put_headers(L, x->h->http, &d, 2, "finish", 0);
    if (d.n > 0) x->trailers = keep(x->h, &d);
    if (d.n > 0 && x->trailers == NULL) return luaL_error(L, "not enough memory");
  }
  ml__h2_finished(x);
  resume(x);
  return push_drain(L, x);
}

/* ---- answers before the answer ---- */

static void inform(ml_h2stream *x, const head *d) {
  if (!is_open(x)) return;
  nghttp2_submit_headers(x->h->session, NGHTTP2_FLAG_NONE, x->id, NULL, d->nv, d->n, NULL);
  ml__h2_schedule(x->h);
}

void ml__h2_continue(ml_h2stream *x) {
  head d;
  begin(&d, 100);
  if (x->got == 0) inform(x, &d);
}

/* x:inform(status, headers) */
static int x_inform(lua_State *L) {
  ml_h2stream *x = check_unstarted(L, "inform");
  int status = ml__http_inform_status(L, 2);
  head d;
  lua_settop(L, 3);
  begin(&d, status);
  put_headers(L, x->h->http, &d, 3, "inform", 1);
  if (status == 100) x->flags &= ~(uint32_t)H2S_CONTINUE;
  inform(x, &d);
  return 0;
}

/* ---- what cannot be served ---- */

void ml__h2_answer(ml_h2stream *x, int status, const char *why) {
  char body[200];
  int n = snprintf(body, sizeof body, "%d %s: %s\n", status, ml__http_reason(status), why);
  bool sent;
  head d;
  x->bad = (uint16_t)status;
  x->why = why;
  x->flags |= H2S_BAD | H2S_DISCARD;
  begin(&d, status);
  PUT(&d, "content-type", "text/plain; charset=utf-8", 25);
  put_rest(x->h, &d);
  sent = !(x->flags & H2S_HEADONLY) && ml__h2_piece_add(x, body, (size_t)n, 0) == 0;
  put_length(&d, sent ? (uint64_t)n : 0);
  submit(NULL, x, &d, sent);
  ml__h2_finished(x);
  ml__h2_tell(x);
}

const luaL_Reg ml__h2_respond_methods[] = {{"respond", x_respond}, {"start", x_start},
                                           {"write", x_write},     {"finish", x_finish},
                                           {"inform", x_inform},   {NULL, NULL}};
