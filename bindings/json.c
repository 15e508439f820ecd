/* Module json: texts of RFC 8259 to Lua values and back. Integers and floats stay what they are,
** null is json.null, and an empty table says by its metatable whether it is an array or an
** object. json_decode.c and json_encode.c do the work.
*/
#include "json.h"

/* array(t), object(t) -> t, marked */
static int mark(lua_State *L, int upvalue) {
  const char *name = upvalue == ML_JSON_ARRAY ? "json.array" : "json.object";
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  if (!lua_istable(L, 1))
    return ml__misuse(L, "TypeError", "%s: a table was expected, got %s", name,
                      luaL_typename(L, 1));
  lua_settop(L, 1);
  if (lua_getmetatable(L, 1)) {
    if (!lua_rawequal(L, 2, lua_upvalueindex(ML_JSON_ARRAY)) &&
        !lua_rawequal(L, 2, lua_upvalueindex(ML_JSON_OBJECT)))
      return ml__misuse(L, "TypeError", "%s: the table has a metatable of its own", name);
    lua_settop(L, 1);
  }
  lua_pushvalue(L, lua_upvalueindex(upvalue));
  lua_setmetatable(L, 1);
  return 1;
}

static int f_array(lua_State *L) { return mark(L, ML_JSON_ARRAY); }
static int f_object(lua_State *L) { return mark(L, ML_JSON_OBJECT); }

static int null_tostring(lua_State *L) {
  lua_pushliteral(L, "null");
  return 1;
}

int ml__json_depth(lua_State *L, const char *fname) {
  lua_Integer depth = ML_JSON_DEPTH;
  int isint = 1;
  if (lua_getfield(L, 2, "max_depth") != LUA_TNIL) depth = lua_tointegerx(L, -1, &isint);
  lua_pop(L, 1);
  if (!isint || depth < 1 || depth > ML_JSON_MAX_DEPTH)
    return ml__misuse(L, "ValueError", "%s: max_depth must be an integer from 1 to %d", fname,
                      ML_JSON_MAX_DEPTH);
  return (int)depth;
}

/* Pushes a metatable with that name, which scripts neither see nor change. */
static void push_mark(lua_State *L, const char *name) {
  lua_createtable(L, 0, 2);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__metatable");
}

int ml__open_json(lua_State *L) {
  static const luaL_Reg functions[] = {{"array", f_array},
                                       {"object", f_object},
                                       {"decode", ml__json_decode},
                                       {"encode", ml__json_encode},
                                       {NULL, NULL}};
  int module;
  lua_createtable(L, 0, 6);
  module = lua_gettop(L);
  lua_pushliteral(L, "JSONDecodeError");
  ml__error_class_named(L, "ValueError");
  ml__error_class_new(L, module + 1, module + 2);
  lua_replace(L, module + 1);
  lua_settop(L, module + 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, module, "JSONDecodeError");
  lua_newuserdatauv(L, 0, 0);
  push_mark(L, "json.null");
  lua_pushcfunction(L, null_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_setfield(L, module, "null");
  push_mark(L, "json.array");
  push_mark(L, "json.object");
  lua_createtable(L, 0, 1); /* of the buffer that encode writes to */
  lua_pushcfunction(L, ml__json_buffer_gc);
  lua_setfield(L, -2, "__gc");
  ml__guard_metatable(L);
  luaL_setfuncs(L, functions, ML_JSON_UPVALUES);
  return 1;
}
