/* Values that cross between C and Lua.
**
** Numbers and the like are C's own; so are objects of the host's classes, which are found by
** their address. Tables and functions are handles: pins, which ml_value_free gives back, as
** it does a string that the host keeps. Of other values there is what tostring says: a pin
** of {value, text}.
*/
#include <string.h>

#include "core.h"

void ml__value_push(lua_State *L, const ml_value *v) {
  switch (v->type) {
  case ML_BOOL: lua_pushboolean(L, v->u.b); break;
  case ML_INT: lua_pushinteger(L, v->u.i); break;
  case ML_FLOAT: lua_pushnumber(L, v->u.n); break;
  case ML_STRING: lua_pushlstring(L, v->u.str.s, v->u.str.len); break;
  case ML_TABLE:
  case ML_FUNCTION: ml__pushpinned(L, v->u.str.ref); break;
  case ML_USERDATA: ml__object_push(L, v->u.obj.cls, v->u.obj.ptr); break;
  case ML_OTHER:
    ml__pushpinned(L, v->u.str.ref);
    if (!lua_istable(L, -1)) break;
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
    break;
  default: lua_pushnil(L);
  }
}

/* [value] -> what tostring says of it */
static int tostring(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

bool ml__value_plain(lua_State *L, int idx, ml_value *v) {
  switch (lua_type(L, idx)) {
  case LUA_TNONE:
  case LUA_TNIL: v->type = ML_NIL; return true;
  case LUA_TBOOLEAN:
    v->type = ML_BOOL;
    v->u.b = lua_toboolean(L, idx);
    return true;
  case LUA_TNUMBER:
    v->type = lua_isinteger(L, idx) ? ML_INT : ML_FLOAT;
    if (v->type == ML_INT)
      v->u.i = lua_tointeger(L, idx);
    else
      v->u.n = lua_tonumber(L, idx);
    return true;
  case LUA_TSTRING:
    v->type = ML_STRING;
    v->u.str.s = lua_tolstring(L, idx, &v->u.str.len);
    v->u.str.ref = 0;
    return true;
  case LUA_TUSERDATA: return ml__object_value(L, idx, v);
  default: return false;
  }
}

const char *ml__value_text(lua_State *L, int idx, size_t *len) {
  idx = lua_absindex(L, idx);
  if (lua_type(L, idx) == LUA_TSTRING) {
    lua_pushvalue(L, idx);
    return lua_tolstring(L, -1, len);
  }
  lua_pushcfunction(L, tostring);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING) { /* __tostring failed */
    lua_pop(L, 1);
    lua_pushstring(L, luaL_typename(L, idx));
  }
  return lua_tolstring(L, -1, len);
}

void ml__value_take(lua_State *L, int idx, ml_value *v) {
  idx = lua_absindex(L, idx);
  if (ml__value_plain(L, idx, v)) {
    if (v->type == ML_STRING) v->u.str.ref = ml__pin(L, idx);
    if (v->type == ML_USERDATA) v->u.obj.ref = ml__pin(L, idx);
    return;
  }
  if (lua_istable(L, idx) || lua_isfunction(L, idx)) {
    int ref = ml__pin(L, idx);
    v->type = lua_istable(L, idx) ? ML_TABLE : ML_FUNCTION;
    v->u.str.s = lua_typename(L, lua_type(L, idx));
    v->u.str.len = strlen(v->u.str.s);
    v->u.str.ref = ref;
    return;
  }
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -2, 1);
  v->u.str.s = ml__value_text(L, idx, &v->u.str.len);
  lua_rawseti(L, -2, 2);
  v->u.str.ref = ml__pin(L, -1);
  v->type = ML_OTHER;
  lua_pop(L, 1);
}

static int pin_of(const ml_value *v) {
  switch (v->type) {
  case ML_STRING:
  case ML_OTHER:
  case ML_TABLE:
  case ML_FUNCTION: return v->u.str.ref;
  case ML_USERDATA: return v->u.obj.ref;
  default: return 0;
  }
}

void ml__value_unpin(lua_State *L, const ml_value *v) {
  int pin = pin_of(v);
  bool pinned;
  if (pin <= 0 || pin > ml__engine(L)->npins) return;
  ml__pushpinned(L, pin);
  pinned = !lua_isboolean(L, -1);
  lua_pop(L, 1);
  if (pinned) ml__unpin(L, pin);
}

void ml_value_free(ml_engine *e, ml_value *v) {
  if (e == NULL || v == NULL) return;
  if (e->L != NULL) ml__value_unpin(ml__state(e), v);
  memset(v, 0, sizeof *v);
}
