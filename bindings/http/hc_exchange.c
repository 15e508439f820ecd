/* Exchanges: a request and what has come of it. What a response's head says lies in a userdata
** of its own, which the exchange has: it can be asked as long as somebody has that.
*/
#include <math.h>

#include "hc.h"

ml_hcexchange *ml__checkhcexchange(lua_State *L, int idx) {
  ml_object *o = lua_touserdata(L, idx);
  if (o != NULL && lua_rawlen(L, idx) == sizeof(ml_hcexchange) && o->magic == &ml__magic &&
      o->type == ML_T_HCEXCHANGE)
    return (ml_hcexchange *)(void *)o;
  return ml__checkobject(L, idx, ML_T_HCEXCHANGE);
}

ml_hcconn *ml__checkhccurrent(lua_State *L, const char *fname) {
  ml_hcexchange *x = ml__checkhcexchange(L, 1);
  if (!ml__hcexchange_current(x)) ml__misuse(L, "RuntimeError", "%s(): the request is over", fname);
  return x->c;
}

void ml__hcexchange_take_head(lua_State *L, ml_hcexchange *x, int idx) {
  ml_hcconn *c = x->c;
  size_t size = ml__hhead_size(c->head);
  ml_hhead *h = lua_newuserdatauv(L, size, 0);
  memcpy(h, c->head, size);
  lua_setiuservalue(L, idx, ML_CX_UV_HEAD);
  x->head = h;
  ml__hhead_free(c->http, c->head);
  c->head = NULL;
}

/* ---- failures ---- */

static void note_began(lua_State *L, const ml_hcconn *c) {
  lua_pushboolean(L, (c->flags & ML_CC_BEGAN) != 0);
  lua_setfield(L, -2, "began");
}

static void push_gone(lua_State *L, const ml_hcconn *c) {
  if (c->flags & ML_CC_HEAD) {
    if (c->expected != UINT64_MAX)
      ml__hc_error(L, "PayloadError",
                   "the response is incomplete: %I of %I bytes have come when the connection ended",
                   (LUAI_UACINT)c->got, (LUAI_UACINT)c->expected);
    else
      ml__hc_error(L, "PayloadError",
                   "the response is incomplete: the connection ended after %I bytes",
                   (LUAI_UACINT)c->got);
    if (c->s->error != 0) {
      ml__stream_error(L, c->s);
      lua_setfield(L, -2, "cause");
    }
  } else if (c->s->error != 0 || (c->s->flags & ML_S_RAGGED)) {
    ml__stream_error(L, c->s);
  } else
    ml__hc_error(L, "Disconnected",
                 (c->flags & ML_CC_BEGAN)
                     ? "the server closed the connection in the middle of its answer"
                     : "the server closed the connection without an answer");
  note_began(L, c);
}

void ml__hcexchange_failure(lua_State *L, const ml_hcconn *c) {
  switch (c->fail) {
  case ML_CF_HEAD:
    ml__hc_error(L, "BadResponse", "%s", c->why);
    lua_pushstring(L, c->why);
    lua_setfield(L, -2, "why");
    break;
  case ML_CF_PAYLOAD:
    ml__hc_error(L, "PayloadError", "%s", c->why);
    lua_pushstring(L, c->why);
    lua_setfield(L, -2, "why");
    break;
  case ML_CF_TOTAL:
    ml__hc_error(L, "TimeoutError", "the request took too long");
    lua_pushliteral(L, "total");
    lua_setfield(L, -2, "kind");
    break;
  case ML_CF_READ:
    ml__hc_error(L, "TimeoutError", "the server was silent for too long");
    lua_pushliteral(L, "read");
    lua_setfield(L, -2, "kind");
    break;
  case ML_CF_GONE: push_gone(L, c); break;
  default: ml__error_new(L, "RuntimeError", "the connection was closed");
  }
}

void ml__hcexchange_send_failure(lua_State *L, const ml_hcconn *c, const char *fname) {
  if (c->fail != ML_CF_NONE && c->fail != ML_CF_GONE)
    ml__hcexchange_failure(L, c);
  else if (c->s->error != 0)
    ml__stream_error(L, c->s);
  else
    ml__http_gone(L, lua_pushfstring(L, "%s: the server has gone", fname));
}

ml_hcconn *ml__checkhcsending(lua_State *L, const char *fname) {
  ml_hcconn *c = ml__checkhccurrent(L, fname);
  if (c->flags & ML_CC_SENT)
    ml__misuse(L, "RuntimeError", "%s(): the request has been sent to its end", fname);
  if (c->fail == ML_CF_NONE && !(c->flags & ML_CC_OVER) && !(c->s->flags & ML_S_CLOSING)) return c;
  ml__hcexchange_send_failure(L, c, fname);
  lua_error(L);
  return NULL;
}

/* ---- what the response says ---- */

static const ml_hhead *check_head(lua_State *L, const char *fname) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  if (x->head == NULL)
    ml__misuse(L, "RuntimeError", "%s(): the response is not there yet: await response() first",
               fname);
  return x->head;
}

static int x_status(lua_State *L) {
  lua_pushinteger(L, check_head(L, "status")->status);
  return 1;
}

static int x_reason(lua_State *L) {
  const ml_hhead *h = check_head(L, "reason");
  lua_pushlstring(L, ml__hhead_text(h) + h->reason.at, h->reason.n);
  return 1;
}

static int x_version(lua_State *L) {
  lua_pushstring(L, check_head(L, "version")->minor == 0 ? "1.0" : "1.1");
  return 1;
}

/* x:header(name): the first one's value, or nil */
static int x_header(lua_State *L) { return ml__hhead_header(L, check_head(L, "header")); }

static int x_headers(lua_State *L) {
  const ml_hhead *h = check_head(L, "headers");
  lua_getiuservalue(L, 1, ML_CX_UV_HEAD);
  ml__headers_in(L, h, lua_gettop(L));
  return 1;
}

/* x:content_length(): nil if it is not known */
static int x_content_length(lua_State *L) {
  const ml_hhead *h = check_head(L, "content_length");
  if (h->flags & ML_HH_LENGTH)
    lua_pushinteger(L, (lua_Integer)h->length);
  else
    lua_pushnil(L);
  return 1;
}

static int x_has_body(lua_State *L) {
  lua_pushboolean(L, (check_head(L, "has_body")->flags & ML_HH_CHUNKED) != 0);
  return 1;
}

/* ---- trailers ---- */

void ml__hcexchange_take_trailers(lua_State *L, ml_hcconn *c, int idx) {
  if (!(c->flags & ML_CC_IN_CHUNKS) || !(c->flags & ML_CC_COMPLETE) || c->rest.len == 0) return;
  ml__bytes_take(L, c->s->net, &c->rest, c->rest.len);
  lua_setiuservalue(L, idx, ML_CX_UV_TRAILERS);
}

/* Appends name and value of the line to the array on top. The line is as http_chunks.c lets pass. */
static void add_line(lua_State *L, const char *p, const char *end) {
  const char *colon = memchr(p, ':', (size_t)(end - p)), *value;
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  if (colon == NULL) return;
  for (value = colon + 1; value < end && (*value == ' ' || *value == '\t');) value++;
  while (end > value && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) end--;
  lua_pushlstring(L, p, (size_t)(colon - p));
  lua_rawseti(L, -2, n + 1);
  lua_pushlstring(L, value, (size_t)(end - value));
  lua_rawseti(L, -2, n + 2);
}

/* x:trailers(): Headers of what came behind a body in chunks, or nil */
static int x_trailers(lua_State *L) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  const char *p, *end, *line;
  size_t n;
  lua_settop(L, 1);
  if (ml__hcexchange_current(x)) ml__hcexchange_take_trailers(L, x->c, 1);
  if (lua_getiuservalue(L, 1, ML_CX_UV_TRAILERS) != LUA_TSTRING) return 1;
  p = lua_tolstring(L, 2, &n);
  lua_newtable(L);
  for (end = p + n; p < end && (line = memchr(p, '\n', (size_t)(end - p))) != NULL; p = line + 1)
    add_line(L, p, line);
  ml__headers_wrap(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, ML_CX_UV_TRAILERS);
  return 1;
}

/* ---- what has become of it ---- */

/* x:over(): response and request are finished, the connection is free for another. Whoever asks
** when all has been taken need not wait for the job. */
static int x_over(lua_State *L) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  ml_hcconn *c = x->c;
  if (ml__hcexchange_current(x) && c->head == NULL && c->body.len == 0 && c->waiting == NULL &&
      c->reading == NULL) {
    lua_getiuservalue(L, 1, ML_CX_UV_CONN);
    ml__hcconn_settle(L, c, lua_gettop(L));
  }
  lua_pushboolean(L, !ml__hcexchange_current(x));
  return 1;
}

/* x:request_finished() */
static int x_request_finished(lua_State *L) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  lua_pushboolean(L, !ml__hcexchange_current(x) || (x->c->flags & ML_CC_SENT));
  return 1;
}

/* x:abort(): the connection is closed, unless it is somebody else's already */
static int x_abort(lua_State *L) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  if (!ml__hcexchange_current(x) || (x->c->s->flags & ML_S_DROPPED)) return 0;
  ml__hcconn_fail(x->c, ML_CF_CLOSED, NULL);
  ml__hcconn_quiet(x->c);
  return 0;
}

/* x:deadline(total, read): when every wait of it fails, loop time; after how many seconds
** without a byte. nil: never. */
static int x_deadline(lua_State *L) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  ml_hcconn *c = x->c;
  lua_Number total = luaL_optnumber(L, 2, INFINITY), silence = luaL_optnumber(L, 3, -1);
  if (!ml__hcexchange_current(x) || c->fail != ML_CF_NONE) return 0;
  c->total = total;
  c->silence = silence;
  if (silence >= 0) c->last = ml__http_now(c->http, c->s->loop);
  ml__hcconn_arm(c);
  return 0;
}

static int x_multiplexed(lua_State *L) {
  ml__checkhcexchange(L, 1);
  lua_pushboolean(L, 0);
  return 1;
}

static int x_connection(lua_State *L) {
  ml__checkhcexchange(L, 1);
  lua_getiuservalue(L, 1, ML_CX_UV_CONN);
  return 1;
}

static int x_tostring(lua_State *L) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  if (x->head != NULL)
    lua_pushfstring(L, "<http.client.Exchange %d>", x->head->status);
  else
    lua_pushliteral(L, "<http.client.Exchange>");
  return 1;
}

void ml__open_hcexchange(lua_State *L) {
  static const luaL_Reg methods[] = {{"status", x_status},
                                     {"reason", x_reason},
                                     {"version", x_version},
                                     {"header", x_header},
                                     {"headers", x_headers},
                                     {"content_length", x_content_length},
                                     {"has_body", x_has_body},
                                     {"trailers", x_trailers},
                                     {"over", x_over},
                                     {"request_finished", x_request_finished},
                                     {"abort", x_abort},
                                     {"deadline", x_deadline},
                                     {"multiplexed", x_multiplexed},
                                     {"connection", x_connection},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", x_tostring}, {NULL, NULL}};
  ml__newtype(L, ML_T_HCEXCHANGE, "http.client.Exchange", methods, meta);
  luaL_setfuncs(L, ml__hcbody_methods, 0);
  luaL_setfuncs(L, ml__hcresponse_methods, 0);
  luaL_setfuncs(L, ml__hcrequest_methods, 0);
  luaL_setfuncs(L, ml__hctransfer_methods, 0);
  lua_setfield(L, -2, "Exchange");
}
