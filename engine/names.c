/* What states know each other's values by: modules, functions of the libraries,
** and identities given to classes.
**
** A C function has no code that could be sent; one that a loaded module has as a
** field is found there by the other state. An identity is a random string that a
** table is given once: a class that comes back from a worker is the same table.
*/
#include <string.h>

#include "pack.h"

/* Registry keys. */
static const char functions_key = 0, modules_key = 0, ids_key = 0, tables_key = 0;

static bool push_table(lua_State *L, const char *key, const char *mode) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE) return false;
  lua_pop(L, 1);
  ml__push_weak(L, mode);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
  return true;
}

/* Is the function at idx one that every state of the engine has? */
static bool of_library(lua_State *L, int idx) {
  lua_Debug ar;
  if (ml__asyncclosure(L, idx)) {
    lua_getupvalue(L, idx, 1);
    if (!lua_isfunction(L, -1) || lua_iscfunction(L, -1)) {
      lua_pop(L, 1);
      return false;
    }
  } else if (lua_iscfunction(L, idx))
    return true;
  else
    lua_pushvalue(L, idx);
  lua_getinfo(L, ">S", &ar);
  return strncmp(ar.source, "@moonloop/", 10) == 0;
}

/* The module's table is at m, its name at m - 1: enters what it has. The maps are at
** map (functions) and map + 1 (modules). */
static void scan_module(lua_State *L, int m, int map) {
  lua_pushvalue(L, m);
  lua_pushvalue(L, m - 1);
  lua_rawset(L, map + 1);
  for (lua_pushnil(L); lua_next(L, m); lua_settop(L, m + 1)) {
    if (lua_type(L, m + 1) != LUA_TSTRING || !lua_isfunction(L, m + 2)) continue;
    lua_pushvalue(L, m + 2);
    if (lua_rawget(L, map) != LUA_TNIL || !of_library(L, m + 2)) continue;
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, m - 1);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, m + 1);
    lua_rawseti(L, -2, 2);
    lua_pushvalue(L, m + 2);
    lua_insert(L, -2);
    lua_rawset(L, map);
  }
}

/* Pushes the maps: functions to {module, field}, modules to their names. They are
** brought up to date when modules have been loaded since, or if `anew`. */
static void push_maps(lua_State *L, bool anew) {
  ml_engine *e = ml__engine(L);
  int map;
  luaL_checkstack(L, 12, "pack");
  anew = push_table(L, &functions_key, "k") || anew;
  map = lua_gettop(L);
  push_table(L, &modules_key, "k");
  if (!anew && e->names_serial == e->require_serial) return;
  e->names_serial = e->require_serial;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushliteral(L, LUA_GNAME); /* its names first: they are there in each state */
  if (lua_getfield(L, map + 2, LUA_GNAME) == LUA_TTABLE) scan_module(L, map + 4, map);
  lua_settop(L, map + 2);
  for (lua_pushnil(L); lua_next(L, map + 2); lua_settop(L, map + 3))
    if (lua_type(L, map + 3) == LUA_TSTRING && lua_istable(L, map + 4) &&
        strcmp(lua_tostring(L, map + 3), LUA_GNAME) != 0)
      scan_module(L, map + 4, map);
  lua_settop(L, map + 1);
}

bool ml__name_of_function(lua_State *L, int idx) {
  int top = lua_gettop(L);
  idx = lua_absindex(L, idx);
  if (!of_library(L, idx)) return false;
  for (int round = 0; round < 2; round++) {
    push_maps(L, round > 0);
    lua_pushvalue(L, idx);
    if (lua_rawget(L, top + 1) == LUA_TTABLE) {
      lua_rawgeti(L, -1, 1);
      lua_rawgeti(L, -2, 2);
      lua_replace(L, top + 2);
      lua_replace(L, top + 1);
      lua_settop(L, top + 2);
      return true;
    }
    lua_settop(L, top);
    if (!lua_iscfunction(L, idx)) break; /* code can be sent */
  }
  return false;
}

bool ml__name_of_module(lua_State *L, int idx) {
  int top = lua_gettop(L);
  idx = lua_absindex(L, idx);
  push_maps(L, false);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, top + 2) != LUA_TSTRING) {
    lua_settop(L, top);
    return false;
  }
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  return true;
}

void ml__named_function(lua_State *L, const char *module, const char *field) {
  int top = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, module) != LUA_TTABLE) {
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    lua_call(L, 1, 1);
  }
  if (!lua_istable(L, -1) || lua_getfield(L, -1, field) != LUA_TFUNCTION)
    luaL_error(L, "there is no function '%s' in the module '%s' here", field, module);
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
}

void ml__identity(lua_State *L, int idx) {
  char id[PACK_ID];
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 8, "pack");
  push_table(L, &ids_key, "k");
  lua_pushvalue(L, idx);
  if (lua_rawget(L, -2) == LUA_TSTRING) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 2);
  if (uv_random(NULL, NULL, id, sizeof id, 0, NULL) != 0) luaL_error(L, "no random bytes");
  lua_pushlstring(L, id, sizeof id);
  lua_pushvalue(L, idx);
  ml__identify(L, -2);
  lua_pop(L, 1);
}

void ml__identify(lua_State *L, int id) {
  id = lua_absindex(L, id);
  luaL_checkstack(L, 8, "pack");
  push_table(L, &ids_key, "k");
  lua_pushvalue(L, -2);
  lua_pushvalue(L, id);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  push_table(L, &tables_key, "v");
  lua_pushvalue(L, id);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void ml__identified(lua_State *L) {
  push_table(L, &tables_key, "v");
  lua_insert(L, -2);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}
