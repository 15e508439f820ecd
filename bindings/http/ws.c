/* WebSocket connections for scripts: module http.ws, under http.websocket and http.web.
** Here is what makes them and what they tell; what tasks do with them is in ws_ops.c.
*/
#include <string.h>

#include "ws.h"

static ml_ws *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_WEBSOCKET); }

static int ws_abort(lua_State *L) {
  ml__ws_abort(check(L));
  return 0;
}

/* on_end(connection, fn, ...): the loop calls fn when the connection is over, or collected. What it refers to
** stays alive until then: not the connection, please. */
static int ws_on_end(lua_State *L) {
  ml_ws *ws = check(L);
  ml_job *job;
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (ws->loop->closed) return ml__error(L, "RuntimeError", "Event loop is closed");
  if (ws->on_end != NULL) return ml__error(L, "RuntimeError", "on_end was called before");
  job = ml__handle_new(L, 2, lua_gettop(L) - 2, ws->loop);
  ml__handle_pin(L, -1);
  if (ws->obj.flags & ML_WS_GONE)
    ml__ready(ws->loop, job);
  else
    ws->on_end = job;
  return 0;
}

/* ---- looking ---- */

static int ws_closed(lua_State *L) {
  lua_pushboolean(L, (check(L)->obj.flags & (ML_WS_SENT | ML_WS_GONE)) != 0);
  return 1;
}

static int ws_close_code(lua_State *L) {
  ml_ws *ws = check(L);
  if (ws->close_code == 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, ws->close_code);
  return 1;
}

static int ws_exception(lua_State *L) {
  check(L);
  lua_getiuservalue(L, 1, ML_WSUV_ERROR);
  return 1;
}

static int ws_writer(lua_State *L) {
  check(L);
  lua_getiuservalue(L, 1, ML_WSUV_WRITER);
  return 1;
}

/* ---- without a connection ---- */

static ml_ws *check_unconnected(lua_State *L) {
  ml_ws *ws = check(L);
  if (ws->s != NULL) ml__error(L, "RuntimeError", "this WebSocket has a connection");
  return ws;
}

/* feed(connection, bytes) */
static int ws_feed(lua_State *L) {
  ml_ws *ws = check_unconnected(L);
  size_t n;
  const char *p = luaL_checklstring(L, 2, &n);
  ml__ws_feed(ws, p, n);
  return 0;
}

static int ws_feed_eof(lua_State *L) {
  ml__ws_ended(check_unconnected(L));
  return 0;
}

/* output(connection): what was sent since the last call */
static int ws_output(lua_State *L) {
  ml_ws *ws = check_unconnected(L);
  lua_pushlstring(L, ws->out.len > 0 ? ws->out.base + ws->out.start : "", ws->out.len);
  ml__bytes_free(ws->net, &ws->out);
  return 1;
}

/* ---- making one ---- */

static lua_Number option(lua_State *L, const char *name, lua_Number otherwise) {
  lua_Number n = otherwise;
  if (lua_getfield(L, 2, name) != LUA_TNIL) n = luaL_checknumber(L, -1);
  if (!(n >= 0 && n <= 1e15)) luaL_error(L, "option '%s' is out of range", name);
  lua_pop(L, 1);
  return n;
}

static bool flag(lua_State *L, const char *name, bool otherwise) {
  bool is = lua_getfield(L, 2, name) == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is;
}

static int bits(lua_State *L, const char *name, int least) {
  lua_Integer n = 15;
  if (lua_getfield(L, -1, name) != LUA_TNIL) n = luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  if (n < least || n > 15) luaL_error(L, "'%s' must be %d to 15", name, least);
  return (int)n;
}

static void read_deflate(lua_State *L, ml_ws *ws) {
  ml_wszipconfig c;
  if (lua_getfield(L, 2, "deflate") == LUA_TTABLE) {
    c.in_bits = bits(L, "in_bits", 8);
    c.out_bits = bits(L, "out_bits", 9);
    lua_getfield(L, -1, "in_reset");
    c.in_reset = lua_toboolean(L, -1);
    lua_getfield(L, -2, "out_reset");
    c.out_reset = lua_toboolean(L, -1);
    lua_pop(L, 2);
    ws->zip = ml__wszip_new(ws->net->engine->alloc, &c);
    if (ws->zip == NULL) luaL_error(L, "permessage-deflate: no zlib, or not enough memory");
  }
  lua_pop(L, 1);
}

/* The stream of the writer at idx, if it is there to be taken. */
static ml_stream *check_stream(lua_State *L, int idx) {
  ml_stream *s = ml__checkstream(L, idx);
  const ml_reader *r = s->target;
  if (s->sink != &ml__reader_sink || (s->flags & (ML_S_HANDSHAKE | ML_S_LENT)))
    ml__error(L, "RuntimeError", "the connection is in use");
  if (r != NULL && r->waiter != NULL)
    ml__error(L, "RuntimeError", "a task reads from the connection");
  return s;
}

/* From now on what comes is the connection's, beginning with what the reader has. */
static void take_stream(ml_ws *ws, ml_stream *s) {
  ml_bytes before;
  ml_reader *r = s->target;
  ml__stream_ref(s);
  s->sink->yield(s, &before);
  if (r != NULL) r->obj.flags |= ML_RD_EOF;
  s->flags &= ~(uint32_t)(ML_S_PAUSED | ML_S_HALTED);
  s->sink = &ml__ws_sink;
  s->target = ws;
  ws->s = s;
  ml__ws_feed(ws, before.base + before.start, before.len);
  ml__bytes_free(ws->net, &before);
  if (s->flags & (ML_S_EOF | ML_S_CLOSING))
    ml__ws_ended(ws);
  else
    ml__stream_reading(s);
  ml__stream_unread(s);
}

/* new(writer or nil, options). Options: server, autoping, autoclose, max_msg_size, timeout,
** receive_timeout, heartbeat, deflate, message (their metatable), failure (makes errors of code and reason). */
static int f_new(lua_State *L) {
  ml_stream *s;
  ml_ws *ws;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  s = lua_isnil(L, 1) ? NULL : check_stream(L, 1);
  ws = ml__newobject(L, ML_T_WEBSOCKET, sizeof *ws, ML_WSUV_ERROR);
  ml__ws_init(ws, ml__net(L), s != NULL ? s->loop : ml__loop_get(L));
  if (flag(L, "server", false)) ws->obj.flags |= ML_WS_SERVER;
  if (flag(L, "autoping", true)) ws->obj.flags |= ML_WS_AUTOPING;
  if (flag(L, "autoclose", true)) ws->obj.flags |= ML_WS_AUTOCLOSE;
  ws->max = (size_t)option(L, "max_msg_size", 4 * 1024 * 1024);
  ws->timeout = option(L, "timeout", 10);
  ws->heartbeat = option(L, "heartbeat", 0);
  ws->receive_timeout = option(L, "receive_timeout", 1e15);
  if (ws->receive_timeout >= 1e15) ws->receive_timeout = -1;
  read_deflate(L, ws);
  lua_getfield(L, 2, "message");
  lua_setiuservalue(L, 3, ML_WSUV_MESSAGE);
  lua_getfield(L, 2, "failure");
  lua_setiuservalue(L, 3, ML_WSUV_FAILURE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, ML_WSUV_WRITER);
  if (s != NULL) take_stream(ws, s);
  if (!(ws->obj.flags & ML_WS_GONE)) ml__ws_start_beat(ws);
  return 1;
}

static int ws_tostring(lua_State *L) {
  ml_ws *ws = check(L);
  char who[96] = "nobody";
  if (ws->s != NULL) ml__stream_text(ws->s, who, sizeof who);
  lua_pushfstring(L, "<WebSocket %s peer=%s>",
                  (ws->obj.flags & (ML_WS_SENT | ML_WS_GONE)) ? "closed" : "open", who);
  return 1;
}

static int ws_gc(lua_State *L) {
  ml_ws *ws = lua_touserdata(L, 1);
  ml__ws_free(ws);
  ws->obj.magic = NULL; /* finalizers of scripts may still have it */
  return 0;
}

static int f_accept(lua_State *L) {
  char accept[ML_WS_ACCEPT];
  size_t n;
  const char *key = luaL_checklstring(L, 1, &n);
  ml__ws_accept(key, n, accept);
  lua_pushlstring(L, accept, ML_WS_ACCEPT);
  return 1;
}

static int f_key(lua_State *L) {
  char key[ML_WS_KEY];
  if (ml__ws_key(key) < 0) return luaL_error(L, "no random numbers");
  lua_pushlstring(L, key, ML_WS_KEY);
  return 1;
}

int ml__open_ws(lua_State *L) {
  static const luaL_Reg methods[] = {{"abort", ws_abort},           {"closed", ws_closed},
                                     {"close_code", ws_close_code}, {"exception", ws_exception},
                                     {"writer", ws_writer},         {"feed", ws_feed},
                                     {"feed_eof", ws_feed_eof},     {"output", ws_output},
                                     {"on_end", ws_on_end},         {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", ws_tostring}, {"__gc", ws_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"new", f_new}, {"accept", f_accept}, {"key", f_key}, {NULL, NULL}};
  luaL_newlib(L, functions);
#ifdef ML_WITH_ZLIB
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "deflate");
#endif
  ml__newtype(L, ML_T_WEBSOCKET, "WebSocket", methods, meta);
  luaL_setfuncs(L, ml__ws_operations, 0);
  lua_setfield(L, -2, "WebSocket");
  return 1;
}
