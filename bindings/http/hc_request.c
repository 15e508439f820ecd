/* Requests: conn:request() sends the head, and the body if it is a string, in one write. A body that
** comes in parts goes out by x:write and x:finish, in chunks or counted.
*/
#include "hc.h"

#define PUT ML_HOUT_PUT

ml_hcop *ml__hcop_push(lua_State *L, ml_hcconn *c, const ml_opclass *cls) {
  ml_hcop *op = NULL;
  lua_getiuservalue(L, 1, ML_CX_UV_CONN);
  if (lua_getiuservalue(L, -1, ML_CC_UV_OP) == LUA_TUSERDATA) op = lua_touserdata(L, -1);
  if (op != NULL && op->op.obj.n == 0 && op->op.obj.state == ML_CO_AWAITED) {
    op->op.obj.state = ML_CO_NEW;
    op->op.obj.flags = 0;
    op->op.cls = cls;
  } else {
    op = ml__op_new(L, cls, sizeof *op, 1);
    op->c = c;
    lua_pushvalue(L, -3);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -4, ML_CC_UV_OP);
  }
  op->op.obj.n = 1;
  op->serial = c->serial;
  op->limit = 0;
  return op;
}

/* ---- the head ---- */

/* A method is a token, a target has no spaces and no controls. */
static void put_line(lua_State *L, ml_http *h, uint32_t *flags) {
  size_t nmethod, ntarget;
  const char *method, *target;
  if (lua_type(L, 2) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "request: the method must be a string, got %s", luaL_typename(L, 2));
  if (lua_type(L, 3) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "request: the target must be a string, got %s", luaL_typename(L, 3));
  method = lua_tolstring(L, 2, &nmethod);
  target = lua_tolstring(L, 3, &ntarget);
  if (!ml__token_ok(method, nmethod))
    ml__misuse(L, "ValueError", "request: '%s' is no method", method);
  for (size_t i = 0; i < ntarget; i++)
    if ((unsigned char)target[i] <= ' ' || target[i] == 0x7f) ntarget = 0;
  if (ntarget == 0)
    ml__misuse(L, "ValueError",
               "request: a target without spaces and control characters was expected, got '%s'",
               target);
  *flags = 0;
  if (nmethod == 4 && memcmp(method, "HEAD", 4) == 0) *flags |= ML_CC_IS_HEAD;
  if (nmethod == 7 && memcmp(method, "CONNECT", 7) == 0) *flags |= ML_CC_IS_CONNECT;
  h->nout = 0;
  ml__hout_room(L, h, nmethod + ntarget + 256);
  ml__hout_put(h, method, nmethod);
  PUT(h, " ");
  ml__hout_put(h, target, ntarget);
  PUT(h, " HTTP/1.1\r\n");
}

bool ml__hc_expects_body(const char *method) {
  static const char *const without[] = {"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"};
  for (size_t i = 0; i < sizeof without / sizeof without[0]; i++)
    if (strcmp(method, without[i]) == 0) return false;
  return true;
}

static void put_length(lua_State *L, ml_http *h, const ml_htold *t, uint64_t n) {
  if (t->length && t->n != n)
    ml__misuse(L, "ValueError", "request: Content-Length tells of %I bytes, the body has %I",
               (LUAI_UACINT)t->n, (LUAI_UACINT)n);
  if (t->length) return;
  PUT(h, "Content-Length: ");
  ml__hout_number(h, n);
  PUT(h, "\r\n");
}

/* What the body at 5 is framed by. Gives it if it is a string. */
static const char *put_framing(lua_State *L, ml_http *h, const ml_htold *t, uint32_t *flags,
                               size_t *n, uint64_t *left) {
  const char *body = NULL;
  *n = 0;
  *left = 0;
  switch (lua_type(L, 5)) {
  case LUA_TNIL:
    if (t->length || ml__hc_expects_body(lua_tostring(L, 2))) put_length(L, h, t, 0);
    *flags |= ML_CC_SENT;
    return NULL;
  case LUA_TSTRING:
    body = lua_tolstring(L, 5, n);
    put_length(L, h, t, *n);
    *flags |= ML_CC_SENT;
    return body;
  case LUA_TNUMBER: {
    int ok;
    lua_Integer k = lua_tointegerx(L, 5, &ok);
    if (!ok || k < 0) break;
    put_length(L, h, t, (uint64_t)k);
    *left = (uint64_t)k;
    return NULL;
  }
  case LUA_TBOOLEAN:
    if (!lua_toboolean(L, 5)) break;
    if (t->length) ml__misuse(L, "ValueError", "request: a body in chunks has no Content-Length");
    PUT(h, "Transfer-Encoding: chunked\r\n");
    *flags |= ML_CC_CHUNKED;
    return NULL;
  default: break;
  }
  ml__misuse(
      L, "TypeError",
      "request: the body must be nil, a string, a number of bytes, or true (in chunks), got %s",
      luaL_tolstring(L, 5, NULL));
  return NULL;
}

static void check_free(lua_State *L, const ml_hcconn *c) {
  const ml_evloop *running = ml__engine(L)->running;
  if (!ml__hcconn_free(c))
    ml__misuse(L, "RuntimeError", "request(): %s",
               (c->flags & ML_CC_BUSY) ? "another request is under way on the connection"
                                       : "the connection is closed");
  if (running != NULL && running != c->s->loop)
    ml__misuse(L, "RuntimeError", "request(): the connection belongs to a different loop");
}

/* Pushes the new current exchange of the connection at 1. */
static ml_hcexchange *push_exchange(lua_State *L, ml_hcconn *c) {
  ml_hcexchange *x = lua_newuserdatauv(L, sizeof *x, ML_CX_UV_TRAILERS);
  memset(x, 0, sizeof *x);
  x->obj.magic = &ml__magic;
  x->obj.type = ML_T_HCEXCHANGE;
  x->c = c;
  ml__ref_get(L, ML_R_TYPES + ML_T_HCEXCHANGE);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, ML_CX_UV_CONN);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, ML_CC_UV_EXCHANGE);
  return x;
}

/* conn:request(method, target, headers, body, keep_alive) */
int ml__hcconn_request(lua_State *L) {
  ml_hcconn *c = ml__checkhcconn(L, 1);
  ml_http *h = c->http;
  ml_hcexchange *x;
  ml_htold t;
  uint32_t flags;
  size_t n;
  uint64_t left;
  const char *body;
  bool keep;
  lua_settop(L, 6);
  check_free(L, c);
  put_line(L, h, &flags);
  ml__hout_headers(L, h, 4, "request", &t);
  ml__hout_room(L, h, 128);
  body = put_framing(L, h, &t, &flags, &n, &left);
  keep = !t.close && (lua_isnil(L, 6) || lua_toboolean(L, 6));
  if (!keep && !t.connection) PUT(h, "Connection: close\r\n");
  PUT(h, "\r\n");
  x = push_exchange(L, c);
  x->serial = ++c->serial;
  c->x = x;
  c->left = left;
  c->informs = 0;
  ml__hcconn_begin(c);
  c->flags = flags | ML_CC_BUSY | (keep ? ML_CC_KEEP : 0);
  ml__hout_send(L, h, c->s, body, n, NULL, 0);
  return 1;
}

/* ---- the body in parts ---- */

static ml_hcconn *check_sending(lua_State *L, const char *fname) {
  ml_hcconn *c = ml__checkhcsending(L, fname);
  if (c->s->flags & ML_S_LENT)
    ml__misuse(L, "RuntimeError", "%s(): sendfile is in progress", fname);
  return c;
}

static int drain_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_hcconn *c = w->on;
  (void)L;
  if (!(c->s->flags & ML_S_FULL) || (c->flags & ML_CC_OVER) || c->fail != ML_CF_NONE) return 0;
  ml__list_append(&c->drains, &w->link);
  return ML_PARK;
}

static int drain_wake(lua_State *L, ml_op *op) {
  const ml_waitop *w = (ml_waitop *)op;
  const ml_hcconn *c = w->on;
  ml__waitop_cancel(op);
  if (op->obj.state == ML_OP_CANCELLED || c->fail == ML_CF_NONE) return 0;
  ml__hcexchange_send_failure(L, c, "drain");
  return ML_RAISE;
}

static const ml_opclass drain_class = {"Exchange.drain", drain_begin, drain_wake,
                                       ml__waitop_cancel};

/* Pushes nil, or what waits until the server has read most of what was written. */
static int push_drain(lua_State *L, ml_hcconn *c) {
  if (!(c->s->flags & ML_S_FULL) || (c->flags & ML_CC_OVER)) {
    lua_pushnil(L);
    return 1;
  }
  lua_getiuservalue(L, 1, ML_CX_UV_CONN);
  ml__waitop_push(L, &drain_class, c);
  return 1;
}

/* x:write(data) */
static int x_write(lua_State *L) {
  ml_hcconn *c = check_sending(L, "write");
  ml_http *h = c->http;
  size_t n;
  const char *p;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "write: data must be a string, got %s", luaL_typename(L, 2));
  p = lua_tolstring(L, 2, &n);
  lua_settop(L, 2);
  h->nout = 0;
  if (n == 0) {
    lua_pushnil(L);
    return 1;
  }
  if (c->flags & ML_CC_CHUNKED) {
    ml__hout_room(L, h, 32);
    ml__hout_hex(h, n);
    PUT(h, "\r\n");
    ml__hout_send(L, h, c->s, p, n, "\r\n", 2);
  } else {
    if (n > c->left)
      return ml__misuse(L, "ValueError", "write: %I bytes more than the request's length",
                        (LUAI_UACINT)(n - c->left));
    c->left -= n;
    ml__hout_send(L, h, c->s, p, n, NULL, 0);
  }
  return push_drain(L, c);
}

/* x:finish([trailers]) */
static int x_finish(lua_State *L) {
  ml_hcconn *c = check_sending(L, "finish");
  ml_http *h = c->http;
  ml_htold t;
  lua_settop(L, 2);
  if (c->flags & ML_CC_CHUNKED) {
    h->nout = 0;
    ml__hout_room(L, h, 16);
    PUT(h, "0\r\n");
    ml__hout_headers(L, h, 2, "finish", &t);
    ml__hout_room(L, h, 16);
    PUT(h, "\r\n");
    ml__hout_send(L, h, c->s, NULL, 0, NULL, 0);
  } else if (c->left > 0) {
    uint64_t left = c->left;
    ml__hcconn_fail(c, ML_CF_CLOSED, NULL);
    ml__hcconn_quiet(c);
    return ml__misuse(L, "RuntimeError",
                      "finish(): the request lacks %I of its bytes: the connection was dropped",
                      (LUAI_UACINT)left);
  }
  c->flags |= ML_CC_SENT;
  if (c->silence >= 0) {
    c->last = ml__http_now(c->http, c->s->loop);
    ml__hcconn_arm(c);
  }
  if (c->flags & ML_CC_COMPLETE) ml__hcconn_done(c);
  return push_drain(L, c);
}

const luaL_Reg ml__hcrequest_methods[] = {{"write", x_write}, {"finish", x_finish}, {NULL, NULL}};
