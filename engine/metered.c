/* What of Lua's libraries a meter could not interrupt, for engines that have one: loops in
** C that a script can make as long as it likes, and finalizers, in which Lua allows
** no hooks. (Patterns: see pattern.c.)
**
** Objects with `__gc` are not given to Lua's collector as such. A sentinel is: a userdata that
** lives as long as the object does (it is the object's value in an ephemeron table) and holds
** on to it; the sentinel's finalizer calls the object's in a thread of its own, where the
** hook works.
*/
#include <limits.h>
#include <string.h>

#include "core.h"

/* Rounds between two looks at the meter. */
#define CHECK 1024
/* Elements from which on table.sort compares by a function of Lua's. */
#define SORT_LARGE 10000
/* And bytes of strings. */
#define SORT_BYTES 1000000
/* Finalizers that were too long until an engine runs no more of them. */
#define BAD_FINALIZERS 3

static inline void tick(lua_State *L, lua_Integer i) {
  if (i % CHECK == 0) ml__meter_check(L);
}

/* ---- string, table ---- */

static int str_rep(lua_State *L) {
  size_t len, seplen;
  const char *s = luaL_checklstring(L, 1, &len);
  lua_Integer n = luaL_checkinteger(L, 2);
  const char *sep = luaL_optlstring(L, 3, "", &seplen);
  luaL_Buffer b;
  if (n <= 0 || len + seplen == 0) { /* however often */
    lua_pushliteral(L, "");
    return 1;
  }
  if (len + seplen < len || len + seplen > INT_MAX / (size_t)n)
    return luaL_error(L, "resulting string too large");
  luaL_buffinitsize(L, &b, (size_t)n * len + (size_t)(n - 1) * seplen);
  for (lua_Integer i = 1; i <= n; i++) {
    tick(L, i);
    luaL_addlstring(&b, s, len);
    if (i < n) luaL_addlstring(&b, sep, seplen);
  }
  luaL_pushresult(&b);
  return 1;
}

/* As Lua's own: a table, or what has metamethods to act as one. */
static void check_table(lua_State *L, int idx) {
  int top = lua_gettop(L);
  if (!lua_istable(L, idx) && luaL_getmetafield(L, idx, "__index") == LUA_TNIL &&
      luaL_getmetafield(L, idx, "__newindex") == LUA_TNIL)
    luaL_checktype(L, idx, LUA_TTABLE);
  lua_settop(L, top);
}

static int tab_insert(lua_State *L) {
  lua_Integer n, at;
  int top = lua_gettop(L);
  check_table(L, 1);
  n = (lua_Integer)((lua_Unsigned)luaL_len(L, 1) + 1u); /* __len may say anything */
  if (top != 2 && top != 3) return luaL_error(L, "wrong number of arguments to 'insert'");
  at = top == 2 ? n : luaL_checkinteger(L, 2);
  luaL_argcheck(L, top == 2 || (lua_Unsigned)at - 1u < (lua_Unsigned)n, 2,
                "position out of bounds");
  for (lua_Integer i = n; i > at; i--) {
    tick(L, i);
    lua_geti(L, 1, i - 1);
    lua_seti(L, 1, i);
  }
  lua_seti(L, 1, at); /* the value, on top */
  return 0;
}

static int tab_remove(lua_State *L) {
  lua_Integer n, at;
  int top = lua_gettop(L);
  check_table(L, 1);
  n = luaL_len(L, 1);
  at = luaL_optinteger(L, 2, n);
  if (top > 1 && at != n)
    luaL_argcheck(L, (lua_Unsigned)at - 1u <= (lua_Unsigned)n, 1, "position out of bounds");
  lua_geti(L, 1, at);
  for (; at < n; at++) {
    tick(L, at);
    lua_geti(L, 1, at + 1);
    lua_seti(L, 1, at);
  }
  lua_pushnil(L);
  lua_seti(L, 1, at);
  return 1;
}

static int tab_move(lua_State *L) {
  lua_Integer from, to, dest;
  int into = lua_isnoneornil(L, 5) ? 1 : 5;
  bool same;
  from = luaL_checkinteger(L, 2);
  to = luaL_checkinteger(L, 3);
  dest = luaL_checkinteger(L, 4);
  check_table(L, 1);
  check_table(L, into);
  if (to < from || from > 0 || to < LUA_MAXINTEGER + from) {
    lua_Integer n = to >= from ? to - from + 1 : 0;
    luaL_argcheck(L, n == 0 || dest <= LUA_MAXINTEGER - n + 1, 4, "destination wrap around");
    same = into == 1 || lua_rawequal(L, 1, into);
    for (lua_Integer k = 0; k < n; k++) {
      bool forward = dest > to || dest <= from || !same;
      lua_Integer i = forward ? k : n - 1 - k;
      tick(L, k);
      lua_geti(L, 1, from + i);
      lua_seti(L, into, dest + i);
    }
    lua_pushvalue(L, into);
    return 1;
  }
  return luaL_argerror(L, 3, "too many elements to move");
}

/* Adds the element at i of the table at 1. */
static void add_field(lua_State *L, luaL_Buffer *b, lua_Integer i) {
  lua_geti(L, 1, i);
  if (!lua_isstring(L, -1))
    luaL_error(L, "invalid value (%s) at index %I in table for 'concat'", luaL_typename(L, -1),
               (LUAI_UACINT)i);
  luaL_addvalue(b);
}

static int tab_concat(lua_State *L) {
  luaL_Buffer b;
  lua_Integer i, last;
  size_t seplen;
  const char *sep;
  check_table(L, 1);
  lua_settop(L, 4);
  last = luaL_len(L, 1);
  sep = luaL_optlstring(L, 2, "", &seplen);
  i = luaL_optinteger(L, 3, 1);
  last = luaL_optinteger(L, 4, last);
  luaL_buffinit(L, &b);
  for (; i < last; i++) {
    tick(L, i);
    add_field(L, &b, i);
    luaL_addlstring(&b, sep, seplen);
  }
  if (i == last) add_field(L, &b, i);
  luaL_pushresult(&b);
  return 1;
}

/* Is the table at 1 one that takes its time: large, of long strings, or with metamethods? */
static bool takes_long(lua_State *L) {
  lua_Unsigned n = lua_rawlen(L, 1), bytes = 0;
  if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL ||
      luaL_getmetafield(L, 1, "__index") != LUA_TNIL)
    return true;
  for (lua_Unsigned i = 1; n <= SORT_LARGE && bytes <= SORT_BYTES && i <= n; i++) {
    if (lua_rawgeti(L, 1, (lua_Integer)i) == LUA_TSTRING) bytes += lua_rawlen(L, -1);
    lua_pop(L, 1);
  }
  return n > SORT_LARGE || bytes > SORT_BYTES;
}

/* A comparison in C has no instructions between which a hook could come. Upvalues: Lua's own sort;
** a comparison in Lua; what makes one that calls another. */
static int tab_sort(lua_State *L) {
  bool by_c;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  by_c = lua_isnil(L, 2) || lua_iscfunction(L, 2);
  if (by_c && takes_long(L)) {
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(lua_isnil(L, 2) ? 2 : 3));
    if (!lua_isnil(L, 2)) {
      lua_pushvalue(L, 2);
      lua_call(L, 1, 1);
    }
    lua_replace(L, 2);
  }
  lua_settop(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 2, 0);
  return 0;
}

/* The table of functions is on top. */
static void open_sort(lua_State *L) {
  static const char less[] = "local a, b = ... return a < b",
                    by[] = "local f = ... return function(a, b) return (f(a, b)) end";
  lua_getfield(L, -1, "sort");
  if (lua_tocfunction(L, -1) != tab_sort) { /* else it was attached to before */
    if (luaL_loadbufferx(L, less, sizeof less - 1, "=sort", "t") != LUA_OK ||
        luaL_loadbufferx(L, by, sizeof by - 1, "=sort", "t") != LUA_OK)
      lua_error(L);
    lua_pushcclosure(L, tab_sort, 3);
    lua_setfield(L, -2, "sort");
  } else
    lua_pop(L, 1);
}

/* ---- finalizers ---- */

/* Calls the finalizer (at 3) of the object (at 2) in a thread of its own. True: it is over; false:
** what it raised is on top. */
static bool run_finalizer(lua_State *L) {
  ml_engine *e = ml__engine(L);
  ml_meter *m = &e->meter;
  lua_State *co = lua_newthread(L), *active = e->active;
  int phase = m->phase, nres, st;
  uint64_t start = uv_hrtime();
  ml_metered was;
  lua_pushvalue(L, 3);
  lua_pushvalue(L, 2);
  lua_xmove(L, co, 2);
  was = ml__meter_open(e, co);
  st = lua_resume(co, L, 1, &nres);
  if (st == LUA_YIELD) {
    lua_resetthread(co);
    lua_pushliteral(co, "attempt to yield in a finalizer");
    st = LUA_ERRRUN;
  } else if (st != LUA_OK)
    lua_resetthread(co);
  if (phase < ML_M_GRACE && m->phase >= ML_M_GRACE) {
    if (was.prev == NULL || uv_hrtime() - start >= m->slice_ns / 2) { /* its own fault */
      m->bad_finalizers++;
      ml__meter_settle(e, L);
      ml__meter_next(e);
    } else
      m->phase = ML_M_DUE; /* that of the one whom it has interrupted */
    e->active = active;
  }
  ml__meter_close(e, L, was);
  if (st == LUA_OK) return true;
  lua_xmove(co, L, 1);
  return false;
}

/* The sentinel of an object is finalized. */
static int sentinel_gc(lua_State *L) {
  const ml_engine *e = ml__engine(L);
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  *(bool *)lua_touserdata(L, 1) = true;
  if (e->meter.bad_finalizers >= BAD_FINALIZERS || !lua_getmetatable(L, 2)) return 0;
  lua_pushliteral(L, "__gc");
  if (lua_rawget(L, 3) == LUA_TNIL) return 0;
  lua_replace(L, 3);
  if (run_finalizer(L)) return 0;
  if (ml__isinstance(L, -1, "Terminated")) luaL_tolstring(L, -1, NULL); /* Lua warns of strings */
  return lua_error(L);
}

/* Gives the object at 1 a sentinel, unless it has one that is still to come. */
static void add_sentinel(lua_State *L) {
  int top = lua_gettop(L);
  bool *over;
  ml__ref_get(L, ML_R_FINALIZERS);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, -2) == LUA_TUSERDATA && !*(bool *)lua_touserdata(L, -1)) {
    lua_settop(L, top);
    return;
  }
  lua_settop(L, top + 1);
  over = lua_newuserdatauv(L, sizeof *over, 1);
  *over = false;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, top + 2);
  lua_rawset(L, top + 1);
  if (lua_getmetatable(L, top + 1)) { /* the weak table's own has the sentinels', too */
    lua_getfield(L, -1, "sentinel");
    lua_setmetatable(L, top + 2);
  }
  lua_settop(L, top);
}

void ml__metered_setmetatable(lua_State *L) {
  bool finalizer = false;
  int t = lua_type(L, 1);
  if (lua_istable(L, 2) && (t == LUA_TTABLE || t == LUA_TUSERDATA)) {
    lua_pushliteral(L, "__gc");
    lua_rawget(L, 2);
    finalizer = !lua_isnil(L, -1);
    if (!finalizer) lua_pop(L, 1);
  }
  if (!finalizer) {
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return;
  }
  add_sentinel(L);
  lua_pushliteral(L, "__gc"); /* hidden from lua_setmetatable */
  lua_pushnil(L);
  lua_rawset(L, 2);
  lua_pushvalue(L, 2);
  lua_setmetatable(L, 1);
  lua_pushliteral(L, "__gc");
  lua_pushvalue(L, 3);
  lua_rawset(L, 2);
  lua_settop(L, 1);
}

static int base_setmetatable(lua_State *L) {
  int t = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, t == LUA_TNIL || t == LUA_TTABLE, 2, "nil or table");
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
    return luaL_error(L, "cannot change a protected metatable");
  lua_settop(L, 2);
  ml__metered_setmetatable(L);
  return 1;
}

/* ---- */

void ml__open_metered(lua_State *L) {
  static const luaL_Reg table[] = {{"insert", tab_insert},
                                   {"remove", tab_remove},
                                   {"move", tab_move},
                                   {"concat", tab_concat},
                                   {NULL, NULL}};
  int top = lua_gettop(L);
  if (ml__engine(L)->config.meter == ML_METER_OFF) return;
  lua_newtable(L); /* object -> sentinel */
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, sentinel_gc);
  lua_setfield(L, -2, "__gc");
  lua_setfield(L, -2, "sentinel");
  lua_setmetatable(L, -2);
  ml__ref_set(L, ML_R_FINALIZERS);
  lua_pushcfunction(L, base_setmetatable);
  lua_setglobal(L, "setmetatable");
  if (lua_getglobal(L, "string") == LUA_TTABLE) {
    lua_pushcfunction(L, str_rep);
    lua_setfield(L, -2, "rep");
  }
  if (lua_getglobal(L, "table") == LUA_TTABLE) {
    luaL_setfuncs(L, table, 0);
    open_sort(L);
  }
  lua_settop(L, top);
  ml__open_patterns(L);
}
