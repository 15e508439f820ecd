/* Messages that are sent, whichever side does: heads for nghttp2 out of what a script gives, and
** bodies piece by piece, with trailers.
**
** What frames a message is the session's affair, as with HTTP/1: headers that only make sense
** for a connection of HTTP/1.1 are left out, so that one script serves both.
*/
#include <stdio.h>
#include <string.h>

#include "h2.h"

/* ---- heads ---- */

void ml__h2_fields_init(ml_h2fields *d) {
  d->nv = d->few;
  d->n = 0;
  d->has_length = d->date = d->server = d->asks = false;
  d->host = NULL;
  d->nhost = 0;
}

void ml__h2_put(ml_h2fields *d, const char *name, size_t nname, const char *value, size_t nvalue) {
  nghttp2_nv *nv = &d->nv[d->n++];
  nv->name = (uint8_t *)name;
  nv->value = (uint8_t *)value;
  nv->namelen = nname;
  nv->valuelen = nvalue;
  nv->flags = NGHTTP2_NV_FLAG_NONE;
}

void ml__h2_put_length(ml_h2fields *d, uint64_t n) {
  int k = snprintf(d->number, sizeof d->number, "%llu", (unsigned long long)n);
  H2_PUT(d, "content-length", d->number, (size_t)k);
}

static bool is(const char *s, size_t n, const char *word, size_t nword) {
  return n == nword && ml__name_equals(s, n, word, n);
}
#define IS(s, n, word) is(s, n, word, sizeof(word) - 1)

/* Headers that are the session's affair as well. False: it is left out. */
static bool note(lua_State *L, const char *fname, const ml_hline *line, ml_h2fields *d) {
  const char *name = line->name;
  size_t n = line->nname;
  if (d->asks && IS(name, n, "host")) {
    d->host = line->value;
    d->nhost = line->nvalue;
    return false;
  }
  if (d->asks && IS(name, n, "te")) return IS(line->value, line->nvalue, "trailers");
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

void ml__h2_put_headers(lua_State *L, ml_http *h, ml_h2fields *d, int idx, const char *fname,
                        size_t more) {
  lua_Integer n = ml__http_lines(L, idx, fname);
  if ((size_t)n / 2 + more > H2_FIELDS) {
    nghttp2_nv *nv = lua_newuserdatauv(L, ((size_t)n / 2 + more) * sizeof *nv, 0);
    memcpy(nv, d->few, d->n * sizeof *nv);
    d->nv = nv;
  }
  for (lua_Integer i = 1; i < n; i += 2) {
    ml_hline line;
    ml__http_line(L, h, idx, i, fname, &line);
    if (note(L, fname, &line, d)) ml__h2_put(d, line.name, line.nname, line.value, line.nvalue);
    lua_pop(L, 2);
  }
}

/* ---- bodies ---- */

void ml__h2_queue(lua_State *L, ml_h2stream *x, int idx) {
  size_t n;
  const char *p = lua_tolstring(L, idx, &n);
  int pin = n >= H2_COPY && ml__h2_is_open(x) ? ml__pin(L, idx) : 0;
  x->written += n;
  if (!ml__h2_is_open(x) || ml__h2_piece_add(x, p, n, pin) == 0) return;
  if (pin != 0) ml__unpin(L, pin);
  luaL_error(L, "not enough memory");
}

static int drain_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_h2stream *x = w->on;
  (void)L;
  if (!ml__h2_is_open(x) || x->queued <= H2_LOW) return 0;
  ml__list_append(&x->drains, &w->link);
  return ML_PARK;
}

static const ml_opclass drain_class = {"Exchange.drain", drain_begin, ml__waitop_wake,
                                       ml__waitop_cancel};

int ml__h2_push_drain(lua_State *L, ml_h2stream *x) {
  if (x->queued > 0) ml__h2_watch_stream(x);
  if (x->queued <= H2_HIGH) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushvalue(L, 1);
  ml__waitop_push(L, &drain_class, x);
  return 1;
}

static ml_h2stream *check_open(lua_State *L, const char *fname) {
  ml_h2stream *x = ml__h2_check(L);
  const ml_h2role *role = x->h->role;
  if (!(x->flags & H2S_STARTED))
    ml__misuse(L, "RuntimeError", "%s(): the %s has not been started", fname, role->ours);
  if (x->flags & H2S_FINISHED)
    ml__misuse(L, "RuntimeError", "%s(): the %s has ended", fname, role->ours);
  if (!ml__h2_is_open(x) && !(x->flags & H2S_NOBODY)) role->drop(L, x, fname);
  return x;
}

static void resume(ml_h2stream *x) {
  if (!ml__h2_is_open(x)) return;
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
      return ml__misuse(L, "ValueError", "write: %I bytes more than the %s's length",
                        (LUAI_UACINT)(n - x->left), x->h->role->ours);
    x->left -= n;
  }
  if (n > 0 && !(x->flags & H2S_NOBODY)) {
    ml__h2_queue(L, x, 2);
    resume(x);
  }
  return ml__h2_push_drain(L, x);
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

static struct ml_h2trailers *keep(const ml_http2 *h, const ml_h2fields *d) {
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
  ml_h2fields d;
  lua_settop(L, 2);
  if ((x->flags & (H2S_LENGTH | H2S_NOBODY)) == H2S_LENGTH && x->left > 0) {
    uint64_t left = x->left;
    ml__h2_finished(x);
    ml__h2_reset(x, NGHTTP2_INTERNAL_ERROR);
    return ml__misuse(L, "RuntimeError",
                      "finish(): the %s lacks %I of its bytes: the stream was reset",
                      x->h->role->ours, (LUAI_UACINT)left);
  }
  if (!lua_isnil(L, 2) && !(x->flags & H2S_NOBODY)) {
    ml__h2_fields_init(&d);
    ml__h2_put_headers(L, x->h->http, &d, 2, "finish", 0);
    if (d.n > 0) x->trailers = keep(x->h, &d);
    if (d.n > 0 && x->trailers == NULL) return luaL_error(L, "not enough memory");
  }
  ml__h2_finished(x);
  resume(x);
  return ml__h2_push_drain(L, x);
}

const luaL_Reg ml__h2_body_methods[] = {{"write", x_write}, {"finish", x_finish}, {NULL, NULL}};
