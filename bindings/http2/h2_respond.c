/* Responses of servers: how they begin, and the answers that come before them or without any
** script.
*/
#include <stdio.h>
#include <string.h>

#include "h2.h"

static void begin(ml_h2fields *d, int status) {
  ml__h2_fields_init(d);
  d->status[0] = (char)('0' + status / 100);
  d->status[1] = (char)('0' + status / 10 % 10);
  d->status[2] = (char)('0' + status % 10);
  H2_PUT(d, ":status", d->status, 3);
}

/* What the server adds: 2 fields. */
static void put_rest(const ml_http2 *h, ml_h2fields *d) {
  const ml_hsettings *set = h->settings;
  if (!d->date) H2_PUT(d, "date", ml__http_date(h->http) + 6, 29);
  if (!d->server && set->nserver > 0) H2_PUT(d, "server", set->server + 8, set->nserver - 10);
}

/* ---- starting ---- */

static ml_h2stream *check_unstarted(lua_State *L, const char *fname) {
  ml_h2stream *x = ml__h2_check_served(L);
  if (x->flags & H2S_STARTED)
    ml__misuse(L, "RuntimeError", "%s(): the response has been started", fname);
  return x;
}

/* The head goes out, and with it the end if there is no body. */
static void submit(lua_State *L, ml_h2stream *x, const ml_h2fields *d, bool body) {
  nghttp2_data_provider prd = ml__h2_provider(x);
  ml_http2 *h = x->h;
  x->flags |= H2S_STARTED;
  x->flags &= ~(uint32_t)H2S_CONTINUE;
  if (!ml__h2_is_open(x)) return;
  if (nghttp2_submit_response(h->session, x->id, d->nv, d->n, body ? &prd : NULL) != 0) {
    ml__stream_fail(h->s, UV_ENOMEM);
    if (L != NULL) luaL_error(L, "not enough memory");
  }
  ml__h2_schedule(h);
}

/* x:respond(status, reason, headers, body): HTTP/2 has no reason */
static int x_respond(lua_State *L) {
  ml_h2stream *x = check_unstarted(L, "respond");
  int status = ml__http_status(L, 2, "respond", 200);
  bool body = false;
  size_t n = 0;
  ml_h2fields d;
  lua_settop(L, 5);
  if (!lua_isnil(L, 5)) {
    if (lua_type(L, 5) != LUA_TSTRING)
      ml__misuse(L, "TypeError", "respond: the body must be a string, got %s", luaL_typename(L, 5));
    n = lua_rawlen(L, 5);
  }
  begin(&d, status);
  ml__h2_put_headers(L, x->h->http, &d, 4, "respond", 4);
  if (!ml__http_bodiless(status)) {
    if (d.has_length && d.length != n && !(x->flags & H2S_HEADONLY))
      ml__misuse(L, "ValueError", "respond: Content-Length tells of %I bytes, the body has %I",
                 (LUAI_UACINT)d.length, (LUAI_UACINT)n);
    ml__h2_put_length(&d, d.has_length ? d.length : n);
    body = n > 0 && !(x->flags & H2S_HEADONLY);
  }
  put_rest(x->h, &d);
  if (body) ml__h2_queue(L, x, 5);
  submit(L, x, &d, body);
  ml__h2_finished(x);
  return ml__h2_push_drain(L, x);
}

/* ---- in parts ---- */

/* x:start(status, reason, headers [, length]) */
static int x_start(lua_State *L) {
  ml_h2stream *x = check_unstarted(L, "start");
  int status = ml__http_status(L, 2, "start", 200);
  lua_Integer length = luaL_optinteger(L, 5, -1);
  ml_h2fields d;
  lua_settop(L, 5);
  begin(&d, status);
  ml__h2_put_headers(L, x->h->http, &d, 4, "start", 4);
  if (d.has_length && length >= 0 && d.length != (uint64_t)length)
    ml__misuse(L, "ValueError", "start: Content-Length tells of %I bytes, the length is %I",
               (LUAI_UACINT)d.length, (LUAI_UACINT)length);
  if (d.has_length) length = (lua_Integer)d.length;
  if (ml__http_bodiless(status)) {
    x->flags |= H2S_NOBODY;
  } else if (length >= 0) {
    x->flags |= H2S_LENGTH;
    x->left = (uint64_t)length;
    ml__h2_put_length(&d, x->left);
  }
  if (x->flags & H2S_HEADONLY) x->flags |= H2S_NOBODY;
  put_rest(x->h, &d);
  submit(L, x, &d, !(x->flags & H2S_NOBODY));
  lua_pushnil(L);
  return 1;
}

/* ---- answers before the answer ---- */

static void inform(ml_h2stream *x, const ml_h2fields *d) {
  if (!ml__h2_is_open(x)) return;
  nghttp2_submit_headers(x->h->session, NGHTTP2_FLAG_NONE, x->id, NULL, d->nv, d->n, NULL);
  ml__h2_schedule(x->h);
}

void ml__h2_continue(ml_h2stream *x) {
  ml_h2fields d;
  begin(&d, 100);
  if (x->got == 0) inform(x, &d);
}

/* x:inform(status, headers) */
static int x_inform(lua_State *L) {
  ml_h2stream *x = check_unstarted(L, "inform");
  int status = ml__http_inform_status(L, 2);
  ml_h2fields d;
  lua_settop(L, 3);
  begin(&d, status);
  ml__h2_put_headers(L, x->h->http, &d, 3, "inform", 1);
  if (status == 100) x->flags &= ~(uint32_t)H2S_CONTINUE;
  inform(x, &d);
  return 0;
}

/* ---- what cannot be served ---- */

void ml__h2_answer(ml_h2stream *x, int status, const char *why) {
  char body[200];
  int n = snprintf(body, sizeof body, "%d %s: %s\n", status, ml__http_reason(status), why);
  bool sent;
  ml_h2fields d;
  x->bad = (uint16_t)status;
  x->why = why;
  x->flags |= H2S_BAD | H2S_DISCARD;
  begin(&d, status);
  H2_PUT(&d, "content-type", "text/plain; charset=utf-8", 25);
  put_rest(x->h, &d);
  sent = !(x->flags & H2S_HEADONLY) && ml__h2_piece_add(x, body, (size_t)n, 0) == 0;
  ml__h2_put_length(&d, sent ? (uint64_t)n : 0);
  submit(NULL, x, &d, sent);
  ml__h2_finished(x);
  ml__h2_tell(x);
}

const luaL_Reg ml__h2_respond_methods[] = {
    {"respond", x_respond}, {"start", x_start}, {"inform", x_inform}, {NULL, NULL}};
