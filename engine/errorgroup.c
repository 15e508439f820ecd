/* ExceptionGroup's split, subgroup and derive, as in CPython: the part of a group, with
** the groups inside it, whose errors match a class, several classes, or a function.
**
** What is left of a group is made by its `derive`, which a class may have of its own.
*/
#include "core.h"

enum { SELF = 1, CONDITION = 2 };

static bool is_group(lua_State *L, int idx) {
  return ml__isinstance(L, idx, "BaseExceptionGroup") || ml__isinstance(L, idx, "ExceptionGroup");
}

static int check_group(lua_State *L, const char *fname) {
  if (!is_group(L, SELF))
    return ml__misuse(L, "TypeError", "%s: an exception group was expected, got %s", fname,
                      luaL_typename(L, SELF));
  return 0;
}

/* A class, an array of classes, or what can be called. */
static void check_condition(lua_State *L, const char *fname) {
  bool ok = lua_isfunction(L, CONDITION);
  if (!ok && lua_istable(L, CONDITION)) {
    lua_pushliteral(L, "__index");
    ok = lua_rawget(L, CONDITION) != LUA_TNIL || lua_rawlen(L, CONDITION) > 0;
    lua_pop(L, 1);
  }
  if (!ok && luaL_getmetafield(L, CONDITION, "__call") != LUA_TNIL) {
    ok = true;
    lua_pop(L, 1);
  }
  if (!ok)
    ml__misuse(L, "TypeError",
               "%s: expected a function, an error class or an array of error classes, got %s",
               fname, luaL_typename(L, CONDITION));
}

/* Does the error on top match? */
static bool matches(lua_State *L) {
  int err = lua_gettop(L);
  bool is;
  bool classes = false;
  if (lua_istable(L, CONDITION)) {
    lua_pushliteral(L, "__index");
    classes = lua_rawget(L, CONDITION) != LUA_TNIL || lua_rawlen(L, CONDITION) > 0;
    lua_pop(L, 1);
  }
  if (classes) {
    ml__ref_get(L, ML_R_CORE);
    lua_getfield(L, -1, "isinstance");
    lua_pushvalue(L, err);
    lua_pushvalue(L, CONDITION);
    lua_call(L, 2, 1);
  } else {
    lua_pushvalue(L, CONDITION);
    lua_pushvalue(L, err);
    lua_call(L, 1, 1);
  }
  is = lua_toboolean(L, -1);
  lua_settop(L, err);
  return is;
}

/* Replaces the array on top by a group of it that is derived from the one at
** `group`; an empty array by nil. */
static void derive(lua_State *L, int group) {
  int list = lua_gettop(L);
  if (lua_rawlen(L, list) == 0) {
    lua_pop(L, 1);
    lua_pushnil(L);
    return;
  }
  lua_getfield(L, group, "derive");
  lua_pushvalue(L, group);
  lua_pushvalue(L, list);
  lua_call(L, 2, 1);
  if (!is_group(L, -1))
    ml__misuse(L, "TypeError", "derive must return an exception group, it returned %s",
               luaL_typename(L, -1));
  ml__traceback_of(L, group);
  if (lua_type(L, -1) == LUA_TSTRING) ml__traceback_keep(L, list + 1, list + 2);
  lua_settop(L, list + 1);
  lua_replace(L, list);
}

static void append(lua_State *L, int list, int value) {
  if (lua_isnil(L, value)) return;
  lua_pushvalue(L, value);
  lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

/* Pushes what matches of the group at `group` and, if `both`, what does not; nil for
** nothing. */
static void split(lua_State *L, int group, bool both) {
  int top = lua_gettop(L), yes = top + 1, no = top + 2, list = top + 3;
  luaL_checkstack(L, 12, "exception group");
  lua_pushvalue(L, group);
  if (matches(L)) {
    lua_pushnil(L);
    return;
  }
  lua_settop(L, top);
  lua_newtable(L);
  lua_newtable(L);
  lua_getfield(L, group, "exceptions");
  for (lua_Integer i = 1, n = lua_istable(L, list) ? (lua_Integer)lua_rawlen(L, list) : 0; i <= n;
       i++) {
    lua_rawgeti(L, list, i);
    if (is_group(L, list + 1)) {
      split(L, list + 1, both);
      append(L, yes, list + 2);
      append(L, no, list + 3);
    } else
      append(L, matches(L) ? yes : no, list + 1);
    lua_settop(L, list);
  }
  lua_pushvalue(L, yes);
  derive(L, group);
  lua_replace(L, yes);
  if (both) {
    lua_pushvalue(L, no);
    derive(L, group);
    lua_replace(L, no);
  }
  lua_settop(L, no);
}

/* group:split(condition) -> the group of what matches or nil, that of the rest or nil */
static int group_split(lua_State *L) {
  lua_settop(L, 2);
  check_group(L, "split");
  check_condition(L, "split");
  split(L, SELF, true);
  return 2;
}

/* group:subgroup(condition) -> the group of what matches, or nil */
static int group_subgroup(lua_State *L) {
  lua_settop(L, 2);
  check_group(L, "subgroup");
  check_condition(L, "subgroup");
  split(L, SELF, false);
  lua_pop(L, 1);
  return 1;
}

/* group:derive(errors) -> a group with the same message: a BaseExceptionGroup if one of
** the errors is no Exception */
static int group_derive(lua_State *L) {
  bool base = false;
  lua_settop(L, 2);
  check_group(L, "derive");
  luaL_checktype(L, 2, LUA_TTABLE);
  for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
    base = base || (ml__isinstance(L, -1, "BaseException") && !ml__isinstance(L, -1, "Exception"));
    lua_settop(L, 2);
  }
  ml__error_class_named(L, base ? "BaseExceptionGroup" : "ExceptionGroup");
  lua_getfield(L, SELF, "message");
  lua_pushvalue(L, 2);
  lua_call(L, 2, 1);
  return 1;
}

const luaL_Reg ml__errorgroup_methods[] = {
    {"split", group_split}, {"subgroup", group_subgroup}, {"derive", group_derive}, {NULL, NULL}};
