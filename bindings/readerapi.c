/* The StreamReader object: made, asked, fed by hand, collected. What is read from it, and by whom
** it is fed else, is in reader.c.
*/
#include "stream.h"

static ml_reader *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_READER); }

/* ---- life ---- */

ml_reader *ml__reader_push_uv(lua_State *L, ml_net *net, size_t limit, int more) {
  ml_reader *r = ml__newobject(L, ML_T_READER, sizeof *r, ML_RD_UV_OWN - 1 + more);
  r->net = net;
  r->limit = limit;
  return r;
}

ml_reader *ml__reader_push(lua_State *L, ml_net *net, ml_stream *s, size_t limit) {
  ml_reader *r = ml__reader_push_uv(L, net, limit, 0);
  r->s = s;
  if (s != NULL) ml__stream_ref(s);
  return r;
}

/* new_reader(limit) */
static int f_new_reader(lua_State *L) {
  ml__reader_push(L, ml__net(L), NULL, (size_t)luaL_checkinteger(L, 1));
  return 1;
}

static int r_gc(lua_State *L) {
  ml_reader *r = lua_touserdata(L, 1);
  ml_stream *s = r->s;
  if (r->net != NULL) ml__bytes_free(r->net, &r->in);
  r->waiter = NULL;
  r->s = NULL;
  if (r->source != NULL && r->source->gone != NULL) r->source->gone(r->source);
  r->source = NULL;
  if (s == NULL) return 0;
  if (s->target == r) s->target = NULL;
  ml__stream_unref(s);
  return 0;
}

/* ---- what can be asked and done ---- */

static int r_at_eof(lua_State *L) {
  ml_reader *r = check(L);
  lua_pushboolean(L, (r->obj.flags & ML_RD_EOF) && r->in.len == 0);
  return 1;
}

static int r_feed_data(lua_State *L) {
  ml_reader *r = check(L);
  size_t n;
  const char *p;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "feed_data: a string was expected, got %s",
                      luaL_typename(L, 2));
  if (r->obj.flags & ML_RD_EOF) return ml__misuse(L, "RuntimeError", "feed_data after feed_eof");
  p = lua_tolstring(L, 2, &n);
  if (n > 0 && ml__reader_feed(r, p, n) < 0) return luaL_error(L, "not enough memory");
  return 0;
}

static int r_feed_eof(lua_State *L) {
  ml__reader_end(check(L));
  return 0;
}

static int r_exception(lua_State *L) {
  check(L);
  lua_settop(L, 1);
  if (!ml__reader_failed(L, 1)) lua_pushnil(L);
  return 1;
}

static int r_set_exception(lua_State *L) {
  ml_reader *r = check(L);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  r->obj.flags &= (uint16_t) ~(ML_RD_FAILED | ML_RD_ERROR);
  if (lua_isnil(L, 2))
    lua_setiuservalue(L, 1, 1);
  else
    ml__reader_set_error(L, 1);
  ml__reader_wake(r);
  return 0;
}

static int r_tostring(lua_State *L) {
  ml_reader *r = check(L);
  luaL_Buffer b;
  char who[96];
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "<StreamReader");
  if (r->in.len > 0) {
    lua_pushfstring(L, " %I bytes", (LUAI_UACINT)r->in.len);
    luaL_addvalue(&b);
  }
  if (r->obj.flags & ML_RD_EOF) luaL_addstring(&b, " eof");
  if (r->limit != ML_LIMIT) {
    lua_pushfstring(L, " limit=%I", (LUAI_UACINT)r->limit);
    luaL_addvalue(&b);
  }
  if (r->waiter != NULL) luaL_addstring(&b, " waiting");
  if (r->obj.flags & (ML_RD_FAILED | ML_RD_ERROR)) luaL_addstring(&b, " exception");
  if (r->s != NULL) {
    ml__stream_text(r->s, who, sizeof who);
    lua_pushfstring(L, " peer=%s", who);
    luaL_addvalue(&b);
  }
  if (r->obj.flags & ML_RD_PAUSED) luaL_addstring(&b, " paused");
  luaL_addstring(&b, ">");
  luaL_pushresult(&b);
  return 1;
}

static int r_limit(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->limit);
  return 1;
}

void ml__open_reader(lua_State *L) {
  static const luaL_Reg methods[] = {{"at_eof", r_at_eof},
                                     {"feed_data", r_feed_data},
                                     {"feed_eof", r_feed_eof},
                                     {"exception", r_exception},
                                     {"set_exception", r_set_exception},
                                     {"_limit", r_limit},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", r_tostring}, {"__gc", r_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_READER, "StreamReader", methods, meta);
  luaL_setfuncs(L, ml__reader_operations, 0);
  lua_setfield(L, -2, "StreamReader");
  lua_pushcfunction(L, f_new_reader);
  lua_setfield(L, -2, "new_reader");
}
