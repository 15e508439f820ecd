/* What of the debug library could break the engine is kept from scripts.
**
** The engine trusts what lies in its objects, in its part of the registry and in the
** frames of its own C functions. debug.* shows scripts all the rest as ever; of
** those it shows nothing, and writing to them is an error.
*/
#include <limits.h>
#include <string.h>

#include "core.h"
#include "pack.h"

/* ---- metatables with finalizers ---- */

/* (shown, key): what getmetatable gives of a guarded metatable (upvalue 1) */
static int shown_index(lua_State *L) {
  lua_settop(L, 2);
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "__gc") == 0) return 0;
  lua_rawget(L, lua_upvalueindex(1));
  return 1;
}

/* Only `__close` may be given to it: the standard library does. */
static int shown_newindex(lua_State *L) {
  lua_settop(L, 3);
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "__close") != 0)
    return luaL_error(L, "this metatable is the engine's: it cannot be altered");
  lua_rawset(L, lua_upvalueindex(1));
  return 0;
}

/* [metatable] -> [metatable, what is shown of it] */
static void push_shown(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 3);
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, shown_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, shown_newindex, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}

void ml__guard_metatable(lua_State *L) {
  push_shown(L);
  lua_setfield(L, -2, "__metatable");
}

static const char views_key = 'v'; /* in the registry: metatable -> what is shown of it */

/* Replaces the metatable on top, which is C code's. With a meter, or in a sandbox, a finalizer that
** a script put there would run where nobody can stop it. The metatable itself stays as it is: it may
** be one of a host's state. */
static void show_view(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &views_key);
  lua_pushvalue(L, -2);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_insert(L, -2);
    push_shown(L);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -5);
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
}

static bool views(const ml_engine *e) {
  return e->config.meter != ML_METER_OFF || e->sandbox != NULL;
}

/* getmetatable, with a meter or in a sandbox */
static int base_getmetatable(lua_State *L) {
  luaL_checkany(L, 1);
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) return 1;
  if (!lua_getmetatable(L, 1))
    lua_pushnil(L);
  else if (lua_type(L, 1) == LUA_TUSERDATA)
    show_view(L);
  return 1;
}

/* ---- objects ---- */

static int db_getmetatable(lua_State *L) {
  luaL_checkany(L, 1);
  if (ml__toobject(L, 1) != NULL && luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) return 1;
  if (!lua_getmetatable(L, 1)) lua_pushnil(L);
  if (lua_type(L, 1) == LUA_TUSERDATA && lua_istable(L, -1) && views(ml__engine(L))) {
    show_view(L);
    return 1;
  }
  if (lua_istable(L, -1)) { /* that of the view of the registry, of a shown metatable */
    lua_pushliteral(L, "__metatable");
    if (lua_rawget(L, -2) == LUA_TBOOLEAN)
      lua_pushnil(L);
    else
      lua_pop(L, 1);
  }
  return 1;
}

static int refuse(lua_State *L, const char *what) {
  return luaL_error(L, "%s of the engine's objects cannot be set", what);
}

static int db_setmetatable(lua_State *L) {
  int t = lua_type(L, 2);
  luaL_argexpected(L, t == LUA_TNIL || t == LUA_TTABLE, 2, "nil or table");
  if (ml__toobject(L, 1) != NULL) return refuse(L, "metatables");
  lua_settop(L, 2);
  if (ml__engine(L)->config.meter != ML_METER_OFF) {
    ml__metered_setmetatable(L);
    return 1;
  }
  lua_setmetatable(L, 1);
  return 1;
}

static int db_getuservalue(lua_State *L) {
  int n = (int)luaL_optinteger(L, 2, 1);
  if (lua_type(L, 1) != LUA_TUSERDATA || ml__toobject(L, 1) != NULL) {
    lua_pushnil(L);
    return 1;
  }
  if (lua_getiuservalue(L, 1, n) == LUA_TNONE) return 1;
  lua_pushboolean(L, 1);
  return 2;
}

static int db_setuservalue(lua_State *L) {
  int n = (int)luaL_optinteger(L, 3, 1);
  luaL_checktype(L, 1, LUA_TUSERDATA);
  luaL_checkany(L, 2);
  if (ml__toobject(L, 1) != NULL) return refuse(L, "user values");
  lua_settop(L, 2);
  if (!lua_setiuservalue(L, 1, n)) lua_pushnil(L);
  return 1;
}

/* ---- frames and upvalues of C functions ---- */

/* The thread that is asked about; *arg: 1 if it was given as the first argument. */
static lua_State *get_thread(lua_State *L, int *arg) {
  *arg = lua_isthread(L, 1);
  return *arg ? lua_tothread(L, 1) : L;
}

/* Is the function at `level` of L1 Lua's? False after pushing nothing. */
static bool lua_frame(lua_State *L, lua_State *L1, int level, int arg, lua_Debug *ar) {
  if (!lua_getstack(L1, level, ar)) luaL_argerror(L, arg, "level out of range");
  lua_getinfo(L1, "S", ar);
  return strcmp(ar->what, "C") != 0;
}

/* Of a frame of C: is its n-th value one that a module's function is being given, or gives back? Hooks
** are told of these. */
static bool is_passed(lua_State *L, lua_State *L1, lua_Debug *ar, int n) {
  int top = lua_gettop(L);
  bool named;
  lua_getinfo(L1, "r", ar);
  if (n < ar->ftransfer || n >= ar->ftransfer + ar->ntransfer) return false;
  lua_getinfo(L1, "f", ar);
  lua_xmove(L1, L, 1);
  named = ml__name_of_function(L, -1);
  lua_settop(L, top);
  return named;
}

static int db_getlocal(lua_State *L) {
  int arg, n, level;
  lua_State *L1 = get_thread(L, &arg);
  lua_Debug ar;
  const char *name;
  n = (int)luaL_checkinteger(L, arg + 2);
  if (lua_isfunction(L, arg + 1)) { /* its parameter */
    lua_pushvalue(L, arg + 1);
    lua_pushstring(L, lua_getlocal(L, NULL, n));
    return 1;
  }
  level = (int)luaL_checkinteger(L, arg + 1);
  if (L != L1 && !lua_checkstack(L1, 1)) return luaL_error(L, "stack overflow");
  if (!lua_frame(L, L1, level, arg + 1, &ar) && (level != 0 || L != L1) && /* 0: our arguments */
      !is_passed(L, L1, &ar, n)) {
    lua_pushnil(L);
    return 1;
  }
  name = lua_getlocal(L1, &ar, n);
  if (name == NULL) {
    lua_pushnil(L);
    return 1;
  }
  lua_xmove(L1, L, 1);
  lua_pushstring(L, name);
  lua_rotate(L, -2, 1);
  return 2;
}

/* The local on top, of that name: not Lua's own, the state of loops, or a table that is being made. */
static bool may_be_set(lua_State *L1, const char *name) {
  if (name[0] != '(' || strcmp(name, "(vararg)") == 0) return true;
  return strcmp(name, "(temporary)") == 0 && !lua_istable(L1, -1);
}

static int db_setlocal(lua_State *L) {
  int arg, n, level;
  bool settable;
  lua_State *L1 = get_thread(L, &arg);
  lua_Debug ar;
  const char *name;
  level = (int)luaL_checkinteger(L, arg + 1);
  n = (int)luaL_checkinteger(L, arg + 2);
  luaL_checkany(L, arg + 3);
  lua_settop(L, arg + 3);
  if (!lua_frame(L, L1, level, arg + 1, &ar)) {
    lua_pushnil(L);
    return 1;
  }
  if (L != L1 && !lua_checkstack(L1, 1)) return luaL_error(L, "stack overflow");
  name = lua_getlocal(L1, &ar, n);
  settable = name != NULL && may_be_set(L1, name);
  if (name != NULL) lua_pop(L1, 1);
  if (!settable) {
    lua_pushnil(L);
    return 1;
  }
  lua_xmove(L, L1, 1);
  name = lua_setlocal(L1, &ar, n);
  if (name == NULL) lua_pop(L1, 1);
  lua_pushstring(L, name);
  return 1;
}

static int db_getupvalue(lua_State *L) {
  const char *name;
  int n = (int)luaL_checkinteger(L, 2);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  name = lua_getupvalue(L, 1, n);
  if (name == NULL) return 0;
  if (lua_iscfunction(L, 1)) lua_pushnil(L); /* there is one; what it is remains C's */
  lua_pushstring(L, name);
  lua_insert(L, -2);
  return 2;
}

static int db_setupvalue(lua_State *L) {
  const char *name;
  int n = (int)luaL_checkinteger(L, 2);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checkany(L, 3);
  if (lua_iscfunction(L, 1)) return 0;
  lua_settop(L, 3);
  name = lua_setupvalue(L, 1, n);
  if (name == NULL) return 0;
  lua_pushstring(L, name);
  return 1;
}

/* The function before ours, upvalue 1. Lua's own, which has no upvalues, is run in our place: without
** a frame that hooks would see. A host may have put another there: that one is called, and the stack's
** level at index `level`, unless that is 0, is one more for it. */
static int call_own(lua_State *L, int level) {
  int top = lua_gettop(L), isnum = 0;
  lua_CFunction f = lua_tocfunction(L, lua_upvalueindex(1));
  lua_Integer n;
  if (f != NULL && lua_getupvalue(L, lua_upvalueindex(1), 1) == NULL) return f(L);
  lua_settop(L, top);
  n = level != 0 ? lua_tointegerx(L, level, &isnum) : 0;
  if (isnum && n > 0 && n < INT_MAX) {
    lua_pushinteger(L, n + 1);
    lua_replace(L, level);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, top, LUA_MULTRET);
  return lua_gettop(L);
}

/* Upvalue 1: Lua's own. Of the C functions on the stack only those of modules are given out: some
** of the others trust their arguments. */
static int db_getinfo(lua_State *L) {
  int arg, n, top;
  bool level;
  lua_State *L1 = get_thread(L, &arg);
  level = !lua_isfunction(L, arg + 1);
  n = call_own(L, level && L1 == L ? arg + 1 : 0);
  top = lua_gettop(L);
  if (!level || n == 0 || !lua_istable(L, top)) return n;
  if (lua_getfield(L, top, "func") == LUA_TFUNCTION && lua_iscfunction(L, -1) &&
      !ml__name_of_function(L, -1)) {
    lua_pushnil(L);
    lua_setfield(L, top, "func");
  }
  lua_settop(L, top);
  return 1;
}

/* ---- the registry ---- */

static bool is_ours(lua_State *L, int idx) {
  if (lua_type(L, idx) == LUA_TLIGHTUSERDATA) return true;
  if (!lua_isinteger(L, idx)) return false;
  lua_Integer k = lua_tointeger(L, idx) - ml__ref_key(L, 0);
  return k > LUA_RIDX_LAST && k <= ML_R_TYPES + ML_T_USER;
}

/* Of an entry, on top: metatables of C code's have a name; a table with a finalizer is Lua's list
** of C libraries, or the like. */
static void show_entry(lua_State *L) {
  if (!lua_istable(L, -1) || !views(ml__engine(L))) return;
  lua_pushliteral(L, "__name");
  if (lua_rawget(L, -2) != LUA_TNIL) {
    lua_pop(L, 1);
    show_view(L);
    return;
  }
  lua_pop(L, 1);
  if (luaL_getmetafield(L, -1, "__gc") == LUA_TNIL) return;
  lua_pop(L, 2);
  lua_pushboolean(L, 1);
}

static int registry_index(lua_State *L) {
  lua_settop(L, 2);
  if (is_ours(L, 2)) return 0;
  lua_rawget(L, LUA_REGISTRYINDEX);
  show_entry(L);
  return 1;
}

static int registry_newindex(lua_State *L) {
  lua_settop(L, 3);
  lua_pushvalue(L, 2);
  /* C code takes what its libraries keep by name to be tables */
  if (is_ours(L, 2) ||
      (lua_type(L, 2) == LUA_TSTRING && lua_rawget(L, LUA_REGISTRYINDEX) == LUA_TTABLE))
    return luaL_error(L, "this place in the registry cannot be set");
  lua_settop(L, 3);
  lua_rawset(L, LUA_REGISTRYINDEX);
  return 0;
}

static int registry_next(lua_State *L) {
  lua_settop(L, 2);
  while (lua_next(L, LUA_REGISTRYINDEX)) {
    if (!is_ours(L, -2)) {
      show_entry(L);
      return 2;
    }
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  return 1;
}

static int registry_pairs(lua_State *L) {
  lua_pushcfunction(L, registry_next);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

static int db_getregistry(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

/* Upvalue 1: Lua's own. A hook of the script's would take the meter's place. */
static int db_sethook(lua_State *L) {
  const ml_engine *e = ml__engine(L);
  if (e->config.meter != ML_METER_OFF || e->meter.armed)
    return luaL_error(L, "debug.sethook: the hook belongs to the engine's meter");
  return call_own(L, 0);
}

/* In the table on top: f stands in the place of the function of that name, which is its upvalue with
** nup 1. What a host has taken away stays away. */
static void replace(lua_State *L, const char *name, lua_CFunction f, int nup) {
  if (lua_getfield(L, -1, name) != LUA_TFUNCTION) {
    lua_pop(L, 1);
    return;
  }
  lua_pop(L, 1 - nup);
  lua_pushcclosure(L, f, nup);
  lua_setfield(L, -2, name);
}

/* Pushes what stands for the registry. */
static void push_registry(lua_State *L) {
  static const luaL_Reg view[] = {{"__index", registry_index},
                                  {"__newindex", registry_newindex},
                                  {"__pairs", registry_pairs},
                                  {NULL, NULL}};
  lua_newtable(L);
  luaL_newlib(L, view);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}

void ml__open_guard(lua_State *L) {
  static const luaL_Reg fns[] = {{"getmetatable", db_getmetatable},
                                 {"setmetatable", db_setmetatable},
                                 {"getuservalue", db_getuservalue},
                                 {"setuservalue", db_setuservalue},
                                 {"getlocal", db_getlocal},
                                 {"setlocal", db_setlocal},
                                 {"getupvalue", db_getupvalue},
                                 {"setupvalue", db_setupvalue},
                                 {NULL, NULL}};
  int top = lua_gettop(L);
  if (views(ml__engine(L))) {
    ml__push_weak(L, "k");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &views_key);
    lua_pushglobaltable(L);
    replace(L, "getmetatable", base_getmetatable, 0);
  }
  if (lua_getglobal(L, "debug") != LUA_TTABLE) {
    lua_settop(L, top);
    return;
  }
  for (const luaL_Reg *r = fns; r->name != NULL; r++) replace(L, r->name, r->func, 0);
  replace(L, "getinfo", db_getinfo, 1);
  replace(L, "sethook", db_sethook, 1);
  if (lua_getfield(L, -1, "getregistry") == LUA_TFUNCTION) {
    push_registry(L);
    lua_pushcclosure(L, db_getregistry, 1);
    lua_setfield(L, -3, "getregistry");
  }
  lua_settop(L, top);
}
