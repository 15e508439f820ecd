/* Responses: a head is put together in a buffer of the engine's, a small body behind it, and
** both leave in one write, which is tried at once.
**
** What frames a message (Content-Length, Transfer-Encoding, Connection) is the connection's
** affair: a script's headers may tell the length and ask for the end, and are checked, so
** that no name and no value can begin a line of its own.
*/
#include <stdio.h>
#include <string.h>

#include "http.h"

#define PUT ML_HOUT_PUT

/* Sends the buffer and what is behind it, if there still is somebody. */
static void send_out(lua_State *L, ml_hconn *c, const char *p, size_t n, const char *end,
                     size_t nend) {
  if ((c->flags & ML_HC_OVER) || (c->s->flags & ML_S_CLOSING))
    c->http->nout = 0;
  else
    ml__hout_send(L, c->http, c->s, p, n, end, nend);
}

/* ---- heads ---- */

static void put_status(lua_State *L, ml_http *h, int status, int reason, const char *fname) {
  size_t n;
  const char *text;
  h->nout = 0;
  if (status == 200 && lua_isnoneornil(L, reason)) {
    ml__hout_room(L, h, 256);
    PUT(h, "HTTP/1.1 200 OK\r\n");
    return;
  }
  if (lua_isnoneornil(L, reason)) {
    text = ml__http_reason(status);
    n = strlen(text);
  } else {
    text = luaL_checklstring(L, reason, &n);
    if (!ml__field_ok(text, n))
      ml__misuse(L, "ValueError", "%s: the reason has a line break or NUL in it", fname);
  }
  ml__hout_room(L, h, n + 256);
  PUT(h, "HTTP/1.1 ");
  ml__hout_number(h, (uint64_t)status);
  PUT(h, " ");
  ml__hout_put(h, text, n);
  PUT(h, "\r\n");
}

/* Will there be another request on this connection, by what is known now? */
static void decide_keep(ml_hconn *c, const ml_htold *t) {
  bool unread = (c->flags & ML_HC_BODY) &&
                ((c->flags & ML_HC_CONTINUE) ||
                 (c->expected != UINT64_MAX && c->expected - c->got > c->settings->max_discard));
  if (t->close || unread || (c->flags & ML_HC_SHUTDOWN) || c->bad != 0)
    c->flags &= ~(uint32_t)ML_HC_KEEP;
}

/* What the connection adds, and the empty line. */
static void put_rest(lua_State *L, ml_hconn *c, const ml_htold *t) {
  ml_http *h = c->http;
  ml__hout_room(L, h, 256 + c->settings->nserver);
  if (!t->date) ml__hout_put(h, ml__http_date(h), 37);
  if (!t->server) ml__hout_put(h, c->settings->server, c->settings->nserver);
  if (!(c->flags & ML_HC_KEEP)) { /* in 1.0 that needs no word */
    if (!t->close && !(c->flags & ML_HC_OLD)) PUT(h, "Connection: close\r\n");
  } else if ((c->flags & ML_HC_OLD) && !t->connection)
    PUT(h, "Connection: keep-alive\r\n");
  PUT(h, "\r\n");
}

static ml_hconn *check_unstarted(lua_State *L, const char *fname) {
  ml_hconn *c = ml__checkcurrent(L, fname);
  if (c->flags & (ML_HC_STARTED | ML_HC_UPGRADED))
    ml__misuse(L, "RuntimeError", "%s(): the response has been started", fname);
  return c;
}

void ml__hconn_answered(ml_hconn *c) {
  c->flags |= ML_HC_STARTED | ML_HC_ANSWERED;
  ml__hconn_wake(c);
}

/* x:respond(status, reason, headers, body) */
static int x_respond(lua_State *L) {
  ml_hconn *c = check_unstarted(L, "respond");
  ml_http *h = c->http;
  int status = ml__http_status(L, 2, "respond", 200);
  size_t n = 0;
  const char *body = NULL;
  ml_htold t;
  lua_settop(L, 5);
  if (!lua_isnil(L, 5)) {
    if (lua_type(L, 5) != LUA_TSTRING)
      ml__misuse(L, "TypeError", "respond: the body must be a string, got %s", luaL_typename(L, 5));
    body = lua_tolstring(L, 5, &n);
  }
  put_status(L, h, status, 3, "respond");
  ml__hout_headers(L, h, 4, "respond", &t);
  decide_keep(c, &t);
  if (ml__http_bodiless(status)) {
    n = 0;
  } else if (!t.length) {
    ml__hout_room(L, h, 64);
    PUT(h, "Content-Length: ");
    ml__hout_number(h, n);
    PUT(h, "\r\n");
  } else if (t.n != n && !(c->flags & ML_HC_NOBODY))
    ml__misuse(L, "ValueError", "respond: Content-Length tells of %I bytes, the body has %I",
               (LUAI_UACINT)t.n, (LUAI_UACINT)n);
  put_rest(L, c, &t);
  if (c->flags & ML_HC_NOBODY) n = 0;
  c->flags &= ~(uint32_t)ML_HC_CONTINUE;
  c->sent = n;
  send_out(L, c, body, n, NULL, 0);
  ml__hconn_answered(c);
  return ml__hconn_drain(L, c, 1);
}

/* ---- in parts ---- */

/* x:start(status, reason, headers [, length]) */
static int x_start(lua_State *L) {
  ml_hconn *c = check_unstarted(L, "start");
  ml_http *h = c->http;
  int status = ml__http_status(L, 2, "start", 200);
  lua_Integer length = luaL_optinteger(L, 5, -1);
  ml_htold t;
  lua_settop(L, 5);
  put_status(L, h, status, 3, "start");
  ml__hout_headers(L, h, 4, "start", &t);
  if (t.length && length >= 0 && t.n != (uint64_t)length)
    ml__misuse(L, "ValueError", "start: Content-Length tells of %I bytes, the length is %I",
               (LUAI_UACINT)t.n, (LUAI_UACINT)length);
  if (t.length) length = (lua_Integer)t.n;
  c->flags &= ~(uint32_t)(ML_HC_CHUNKED | ML_HC_LENGTH);
  if (ml__http_bodiless(status)) {
    c->flags |= ML_HC_NOBODY;
  } else if (length >= 0) {
    c->flags |= ML_HC_LENGTH;
    c->left = (uint64_t)length;
    ml__hout_room(L, h, 64);
    if (!t.length) {
      PUT(h, "Content-Length: ");
      ml__hout_number(h, (uint64_t)length);
      PUT(h, "\r\n");
    }
  } else if (c->flags & ML_HC_OLD) {
    if (!(c->flags & ML_HC_NOBODY))
      c->flags &= ~(uint32_t)ML_HC_KEEP; /* its end is the connection's */
  } else {
    c->flags |= ML_HC_CHUNKED;
    ml__hout_room(L, h, 64);
    PUT(h, "Transfer-Encoding: chunked\r\n");
  }
  decide_keep(c, &t);
  put_rest(L, c, &t);
  c->flags &= ~(uint32_t)ML_HC_CONTINUE;
  c->flags |= ML_HC_STARTED;
  c->sent = 0;
  send_out(L, c, NULL, 0, NULL, 0);
  return ml__hconn_drain(L, c, 1);
}

ml_hconn *ml__hconn_check_open(lua_State *L, const char *fname) {
  ml_hconn *c = ml__checkcurrent(L, fname);
  if (!(c->flags & ML_HC_STARTED))
    ml__misuse(L, "RuntimeError", "%s(): the response has not been started", fname);
  if (c->flags & ML_HC_ANSWERED)
    ml__misuse(L, "RuntimeError", "%s(): the response has ended", fname);
  if (!(c->flags & ML_HC_OVER) && !(c->s->flags & ML_S_CLOSING)) return c;
  ml__http_raise_gone(L, fname);
  return NULL;
}

/* x:write(data) */
static int x_write(lua_State *L) {
  ml_hconn *c = ml__hconn_check_open(L, "write");
  size_t n;
  const char *p;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "write: data must be a string, got %s", luaL_typename(L, 2));
  if (c->s->flags & ML_S_LENT)
    return ml__misuse(L, "RuntimeError", "write(): sendfile is in progress");
  p = lua_tolstring(L, 2, &n);
  lua_settop(L, 2);
  if (c->flags & ML_HC_LENGTH) {
    if (n > c->left)
      return ml__misuse(L, "ValueError", "write: %I bytes more than the response's length",
                        (LUAI_UACINT)(n - c->left));
    c->left -= n;
  }
  if ((c->flags & ML_HC_NOBODY) || n == 0) {
    lua_pushnil(L);
    return 1;
  }
  c->sent += n;
  c->http->nout = 0;
  ml__hout_room(L, c->http, 32);
  if (c->flags & ML_HC_CHUNKED) {
    ml__hout_hex(c->http, n);
    PUT(c->http, "\r\n");
    send_out(L, c, p, n, "\r\n", 2);
  } else
    send_out(L, c, p, n, NULL, 0);
  return ml__hconn_drain(L, c, 1);
}

/* x:finish([trailers]) */
static int x_finish(lua_State *L) {
  ml_hconn *c = ml__hconn_check_open(L, "finish");
  ml_http *h = c->http;
  ml_htold t;
  lua_settop(L, 2);
  if (c->s->flags & ML_S_LENT)
    return ml__misuse(L, "RuntimeError", "finish(): sendfile is in progress");
  if ((c->flags & ML_HC_LENGTH) && !(c->flags & ML_HC_NOBODY) && c->left > 0) {
    uint64_t left = c->left;
    ml__stream_fail(c->s, 0);
    return ml__misuse(L, "RuntimeError",
                      "finish(): the response lacks %I of its bytes: the connection was dropped",
                      (LUAI_UACINT)left);
  }
  if ((c->flags & (ML_HC_CHUNKED | ML_HC_NOBODY)) == ML_HC_CHUNKED) {
    h->nout = 0;
    ml__hout_room(L, h, 16);
    PUT(h, "0\r\n");
    ml__hout_headers(L, h, 2, "finish", &t);
    ml__hout_room(L, h, 16);
    PUT(h, "\r\n");
    send_out(L, c, NULL, 0, NULL, 0);
  }
  ml__hconn_answered(c);
  return ml__hconn_drain(L, c, 1);
}

/* x:inform(status, headers): an answer before the answer; 1.0 knows none */
static int x_inform(lua_State *L) {
  ml_hconn *c = check_unstarted(L, "inform");
  int status = ml__http_inform_status(L, 2);
  ml_htold t;
  lua_settop(L, 3);
  lua_pushnil(L);
  lua_insert(L, 3);
  put_status(L, c->http, status, 3, "inform");
  ml__hout_headers(L, c->http, 4, "inform", &t);
  ml__hout_room(L, c->http, 16);
  PUT(c->http, "\r\n");
  if (status == 100) c->flags &= ~(uint32_t)ML_HC_CONTINUE;
  if (!(c->flags & ML_HC_OLD)) send_out(L, c, NULL, 0, NULL, 0);
  return 0;
}

/* x:upgrade([headers]): 101, and what the request asked for */
ml_hconn *ml__respond_upgrade(lua_State *L) {
  ml_hconn *c = check_unstarted(L, "upgrade");
  const ml_exchange *x = lua_touserdata(L, 1);
  ml_htold t;
  lua_settop(L, 2);
  if (!(x->head.flags & ML_HH_UPGRADE))
    ml__misuse(L, "RuntimeError", "upgrade(): the request does not ask for another protocol");
  if (c->flags & ML_HC_BODY)
    ml__misuse(L, "RuntimeError", "upgrade(): the request's body was not read");
  if ((c->flags & ML_HC_OVER) || (c->s->flags & ML_S_CLOSING))
    ml__misuse(L, "OSError", "upgrade(): the peer has gone");
  lua_pushnil(L);
  put_status(L, c->http, 101, 3, "upgrade");
  ml__hout_headers(L, c->http, 2, "upgrade", &t);
  ml__hout_room(L, c->http, 256);
  if (!t.connection) PUT(c->http, "Connection: Upgrade\r\n");
  if (!t.date) ml__hout_put(c->http, ml__http_date(c->http), 37);
  PUT(c->http, "\r\n");
  send_out(L, c, NULL, 0, NULL, 0);
  c->flags |= ML_HC_STARTED | ML_HC_ANSWERED;
  return c;
}

/* ---- what cannot be served ---- */

void ml__respond_bad(lua_State *L, ml_hconn *c) {
  ml_http *h = c->http;
  const ml_htold none = {0};
  char body[200];
  int n = snprintf(body, sizeof body, "%d %s: %s\n", c->bad, ml__http_reason(c->bad), c->why);
  lua_pushnil(L);
  put_status(L, h, c->bad, lua_gettop(L), "respond");
  lua_pop(L, 1);
  PUT(h, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
  ml__hout_number(h, (uint64_t)n);
  PUT(h, "\r\n");
  c->flags &= ~(uint32_t)ML_HC_KEEP;
  put_rest(L, c, &none);
  send_out(L, c, body, (size_t)n, NULL, 0);
}

/* ---- waiting for the peer ---- */

static int drain_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_hconn *c = w->on;
  (void)L;
  if (!(c->s->flags & ML_S_FULL) || (c->flags & ML_HC_OVER)) return 0;
  c->queued = ml__stream_pending(c->s);
  ml__hconn_deadline(c, c->settings->send_timeout);
  ml__list_append(&c->drains, &w->link);
  return ML_PARK;
}

static const ml_opclass drain_class = {"Exchange.drain", drain_begin, ml__waitop_wake,
                                       ml__waitop_cancel};

int ml__hconn_drain(lua_State *L, ml_hconn *c, int idx) {
  if (!(c->s->flags & ML_S_FULL) || (c->flags & ML_HC_OVER)) {
    lua_pushnil(L);
    return 1;
  }
  lua_getiuservalue(L, idx, 1);
  ml__waitop_push(L, &drain_class, c);
  return 1;
}

const luaL_Reg ml__respond_methods[] = {{"respond", x_respond}, {"start", x_start},
                                        {"write", x_write},     {"finish", x_finish},
                                        {"inform", x_inform},   {NULL, NULL}};
