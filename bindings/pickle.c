/* Module pickle: plain values as bytes and back, for files and other programs. Names
** are those of Python's pickle; unlike there, what is loaded may come from anywhere.
*/
#include <string.h>

#include "pack.h"
#include "stream.h"

static const ml_packing plain = {0};

/* A buffer that goes with its userdata. */
static int buf_gc(lua_State *L) {
  ml_buf_free(lua_touserdata(L, 1));
  return 0;
}

/* dumps(value) -> bytes */
static int f_dumps(lua_State *L) {
  ml_buf *b;
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  b = lua_newuserdatauv(L, sizeof *b, 0);
  memset(b, 0, sizeof *b);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setmetatable(L, 2);
  if (ml__pack(L, 1, 1, &plain, b) < 0)
    return ml__misuse(L, "TypeError", "dumps: cannot copy %s", lua_tostring(L, -1));
  lua_pushlstring(L, b->data, b->len);
  ml_buf_free(b);
  return 1;
}

/* loads(bytes) -> value */
static int f_loads(lua_State *L) {
  size_t n;
  const char *s;
  if (lua_type(L, 1) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "loads: a string was expected, got %s", luaL_typename(L, 1));
  s = lua_tolstring(L, 1, &n);
  if (ml__unpack(L, s, n, &plain) != 1) return ml__error(L, "ValueError", "not one packed value");
  return 1;
}

int ml__open_pickle(lua_State *L) {
  static const luaL_Reg functions[] = {{"dumps", f_dumps}, {NULL, NULL}};
  lua_newtable(L);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, buf_gc);
  lua_setfield(L, -2, "__gc");
  ml__guard_metatable(L);
  luaL_setfuncs(L, functions, 1);
  lua_pushcfunction(L, f_loads);
  lua_setfield(L, -2, "loads");
  return 1;
}
