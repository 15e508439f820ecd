/* Hot reload: a module's new code takes the place of the old one while tasks run.
**
** The new chunk is run; what it gives is then compared with the old module, place by
** place (fields of tables, named upvalues of functions), and the difference is put into
** the old tables, which stay what they are. Functions are new. Data is kept unless the
** code says something else than it did: for that, what a module was like when it had
** just been loaded is remembered (its "base", in ML_R_MODULES). New functions are joined
** to the old variables that are kept. All of that is undone if on_reload fails.
**
** Tables are read and written raw. Nothing of other modules is entered.
*/
#include <string.h>

#include "reload.h"

/* ---- writing ---- */

/* Exchanges what the n-th write's place holds and its value. [..., writes] on top */
static void exchange(lua_State *L, lua_Integer n) {
  int list = lua_gettop(L), t = list + 1;
  lua_rawgeti(L, list, 3 * n - 2);
  lua_rawgeti(L, list, 3 * n - 1);
  lua_rawgeti(L, list, 3 * n);
  if (lua_touserdata(L, t + 1) == &ml__walk_metatable) {
    if (!lua_getmetatable(L, t)) lua_pushnil(L);
    lua_pushvalue(L, t + 2);
    lua_setmetatable(L, t);
  } else {
    lua_pushvalue(L, t + 1);
    lua_rawget(L, t);
    lua_pushvalue(L, t + 1);
    lua_pushvalue(L, t + 2);
    lua_rawset(L, t);
  }
  lua_rawseti(L, list, 3 * n); /* the slot is there: no memory is needed */
  lua_settop(L, list);
}

/* [writes, count of those done]: undoes them. */
static int undo(lua_State *L) {
  lua_Integer n = lua_tointeger(L, 2);
  lua_settop(L, 1);
  for (; n > 0; n--) exchange(L, n);
  return 0;
}

/* [writes, pointer to the count, how many] */
static int commit(lua_State *L) {
  lua_Integer *done = lua_touserdata(L, 2), n = lua_tointeger(L, 3);
  lua_settop(L, 1);
  while (*done < n) {
    exchange(L, *done + 1);
    ++*done;
  }
  return 0;
}

/* All writes of the list at W_WRITES, or none. */
static void commit_all(lua_State *L, lua_Integer n) {
  lua_Integer done = 0;
  lua_pushcfunction(L, commit);
  lua_pushvalue(L, W_WRITES);
  lua_pushlightuserdata(L, &done);
  lua_pushinteger(L, n);
  if (lua_pcall(L, 3, 0, 0) == LUA_OK) return;
  lua_pushcfunction(L, undo);
  lua_pushvalue(L, W_WRITES);
  lua_pushinteger(L, done);
  lua_call(L, 2, 0);
  lua_error(L); /* no memory */
}

/* ---- reloading ---- */

/* The stack of a reload. */
enum { R_NAME = 1, R_MSGH, R_OLD, R_GLOBALS, R_DATA, R_NEW, R_COPY, R_WRITES, R_COUNT, R_MODULE };

static void push_globals_copy(lua_State *L) {
  int g = lua_gettop(L) + 1, copy = g + 1, k = g + 2;
  lua_pushglobaltable(L);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, g); lua_settop(L, k)) {
    lua_pushvalue(L, k);
    lua_pushvalue(L, k + 1);
    lua_rawset(L, copy);
  }
  lua_remove(L, g);
}

/* Global variables are again what the copy at R_GLOBALS says. */
static void restore_globals(lua_State *L) {
  int g = lua_gettop(L) + 1, k = g + 1;
  lua_pushglobaltable(L);
  for (lua_pushnil(L); lua_next(L, g); lua_settop(L, k)) {
    lua_pushvalue(L, k);
    lua_pushvalue(L, k);
    lua_rawget(L, R_GLOBALS);
    lua_rawset(L, g); /* fields that are there: none is added while we go over them */
  }
  for (lua_pushnil(L); lua_next(L, R_GLOBALS); lua_settop(L, k)) {
    lua_pushvalue(L, k);
    lua_pushvalue(L, k + 1);
    lua_rawset(L, g);
  }
  lua_settop(L, g - 1);
}

/* Global functions and tables that the chunk has made anew. */
static void match_globals(ml_walk *w) {
  lua_State *L = w->L;
  int g = lua_gettop(L) + 1, k = g + 1;
  lua_pushglobaltable(L);
  for (lua_pushnil(L); lua_next(L, g); lua_settop(L, k)) {
    int t = lua_type(L, k + 1);
    lua_pushvalue(L, k);
    lua_rawget(L, W_GLOBALS);
    if (lua_rawequal(L, k + 1, k + 2) || (t != LUA_TFUNCTION && t != LUA_TTABLE) ||
        (t == LUA_TTABLE && ml__walk_has(L, W_FOREIGN, k + 1)))
      continue;
    if (lua_type(L, k + 2) != t) {
      ml__walk_enqueue(w, k + 1, 0);
      continue;
    }
    ml__walk_enqueue(w, k + 1, k + 2);
    if (t == LUA_TTABLE) ml__walk_write(w, g, k, k + 2);
  }
  lua_settop(L, g - 1);
}

/* [name, new, old, globals] -> a copy of the old module, writes, how many, the module */
static int apply(lua_State *L) {
  ml_walk w;
  int kept = W_OLD, base, top;
  ml__walk_start(&w, L);
  top = lua_gettop(L);
  if (lua_istable(L, W_NEW) && lua_istable(L, W_OLD))
    ml__walk_enqueue(&w, W_NEW, W_OLD);
  else {
    kept = W_NEW;
    if (lua_isfunction(L, W_NEW) || lua_istable(L, W_NEW))
      ml__walk_enqueue(&w, W_NEW, lua_type(L, W_OLD) == lua_type(L, W_NEW) ? W_OLD : 0);
  }
  match_globals(&w);
  ml__walk_run(&w);
  ml__walk_base(L);
  base = top + 1;
  ml__ref_get(L, ML_R_MODULES);
  ml__walk_write(&w, base + 1, W_NAME, base);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  ml__walk_write(&w, base + 2, W_NAME, kept);
  lua_settop(L, base);
  if (lua_istable(L, W_OLD)) {
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, W_OLD); lua_settop(L, base + 2)) {
      lua_pushvalue(L, base + 2);
      lua_pushvalue(L, base + 3);
      lua_rawset(L, base + 1);
    }
  } else
    lua_pushvalue(L, W_OLD);
  ml__walk_forward(&w);
  ml__walk_join(&w);
  commit_all(L, w.writes);
  lua_pushvalue(L, W_WRITES);
  lua_pushinteger(L, w.writes);
  lua_pushvalue(L, kept);
  return 4;
}

/* Pushes the module's loader and what is passed to it, or raises an error. */
static void push_loader(lua_State *L, const char *name) {
  ml_engine *e = ml__engine(L);
  int top = lua_gettop(L);
  bool found;
  e->reload_error = ML_EINVAL;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "package");
  ml__push_searchers(L, top + 2);
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  e->reload_error = ML_ESYNTAX; /* if a searcher raises */
  found = ml__find_loader(L, name);
  e->reload_error = ML_EINVAL;
  if (!found) lua_error(L);
}

static int reloaded_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_pushcfunction(L, undo);
    lua_pushvalue(L, R_WRITES);
    lua_pushvalue(L, R_COUNT);
    lua_call(L, 2, 0);
    restore_globals(L);
    return lua_error(L);
  }
  ml__engine(L)->require_serial++;
  ml__ref_get(L, ML_R_MODULES);
  lua_pushvalue(L, R_NAME);
  if (lua_rawget(L, -2) == LUA_TTABLE) {
    lua_pushvalue(L, R_DATA);
    lua_rawseti(L, -2, 3);
  }
  lua_settop(L, R_MODULE);
  return 1;
}

/* The new chunk has been run; what it gave, or its error, is on top. */
static int loaded_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status != LUA_OK && status != LUA_YIELD) {
    restore_globals(L);
    return lua_error(L);
  }
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, R_NAME);
  lua_rawget(L, R_NEW + 1);
  if (!lua_rawequal(L, -1, R_OLD)) { /* it has put itself there */
    if (lua_isnil(L, R_NEW)) lua_copy(L, -1, R_NEW);
    lua_pushvalue(L, R_NAME);
    lua_pushvalue(L, R_OLD);
    lua_rawset(L, R_NEW + 1);
  }
  if (lua_isnil(L, R_NEW)) {
    lua_pushboolean(L, 1);
    lua_replace(L, R_NEW);
  }
  lua_settop(L, R_NEW);
  lua_pushcfunction(L, apply);
  lua_pushvalue(L, R_NAME);
  lua_pushvalue(L, R_NEW);
  lua_pushvalue(L, R_OLD);
  lua_pushvalue(L, R_GLOBALS);
  if (lua_pcall(L, 4, 4, 0) != LUA_OK) {
    restore_globals(L);
    return lua_error(L);
  }
  if (lua_istable(L, R_NEW)) {
    lua_pushliteral(L, "on_reload");
    if (lua_rawget(L, R_NEW) == LUA_TFUNCTION) {
      lua_pushvalue(L, R_COPY);
      return reloaded_k(L, lua_pcallk(L, 1, 0, R_MSGH, 0, reloaded_k), 0);
    }
  }
  return reloaded_k(L, LUA_OK, 0);
}

/* core.reload(name): gives the module */
static int core_reload(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  ml_engine *e = ml__engine(L);
  e->reload_error = ML_EINVAL;
  lua_settop(L, 1);
  luaL_checkstack(L, 20, "reload");
  lua_pushcfunction(L, ml__msgh);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) == LUA_TNIL)
    return ml__misuse(L, "ValueError", "reload: module '%s' is not loaded: require it first", name);
  ml__ref_get(L, ML_R_MODULES);
  if (lua_getfield(L, -1, name) != LUA_TTABLE)
    return ml__misuse(L, "ValueError",
                      "reload: module '%s' cannot be reloaded: it is not a Lua module that require "
                      "has loaded",
                      name);
  lua_pop(L, 2);
  lua_remove(L, R_OLD);
  push_globals_copy(L);
  push_loader(L, name); /* loader, data */
  lua_pushvalue(L, -1);
  lua_insert(L, R_DATA);
  lua_pushvalue(L, R_NAME);
  lua_insert(L, -2); /* loader, name, data */
  e->reload_error = ML_ESCRIPT;
  return loaded_k(L, lua_pcallk(L, 2, 1, R_MSGH, 0, loaded_k), 0);
}

/* [module's name, a pointer] */
static int reload_named(lua_State *L) {
  const char *module = lua_touserdata(L, 1);
  lua_pushcfunction(L, core_reload);
  lua_pushstring(L, module);
  lua_call(L, 1, 0);
  return 0;
}

int ml_reload(ml_engine *e, const char *module) {
  lua_State *L;
  ml_metered was;
  int st, top, rc = 0;
  if (e == NULL || module == NULL) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  L = ml__state(e);
  top = lua_gettop(L);
  if (!lua_checkstack(L, 8)) return ML_ENOMEM;
  was = ml__meter_open(e, L);
  lua_pushcfunction(L, reload_named);
  lua_pushlightuserdata(L, (void *)module);
  e->reloading++;
  e->reload_error = ML_EINVAL;
  st = lua_pcall(L, 1, 0, 0);
  e->reloading--;
  ml__meter_close(e, L, was);
  if (st != LUA_OK) rc = ml__set_last_error(e, L, st == LUA_ERRMEM ? ML_ENOMEM : e->reload_error);
  lua_settop(L, top);
  return rc;
}

/* core.modules(): what can be reloaded: name -> file, or false */
static int core_modules(lua_State *L) {
  lua_settop(L, 0);
  lua_newtable(L);
  ml__ref_get(L, ML_R_MODULES);
  for (lua_pushnil(L); lua_next(L, 2); lua_settop(L, 3)) {
    lua_pushvalue(L, 3);
    if (lua_rawgeti(L, 4, 3) != LUA_TSTRING || lua_tostring(L, -1)[0] == ':') {
      lua_pop(L, 1);
      lua_pushboolean(L, 0);
    }
    lua_rawset(L, 1);
  }
  lua_settop(L, 1);
  return 1;
}

void ml__open_reload(lua_State *L) {
  static const luaL_Reg fns[] = {{"reload", core_reload}, {"modules", core_modules}, {NULL, NULL}};
  luaL_setfuncs(L, fns, 0);
}
