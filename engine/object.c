/* Objects: the userdata types of the engine and its bindings, and pins. */
#include <string.h>

#include "core.h"

const char ml__magic = 'm';

void ml__push_weak(lua_State *L, const char *mode) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

void ml__newtype(lua_State *L, ml_objtype type, const char *name, const luaL_Reg *methods,
                 const luaL_Reg *meta) {
  ml_engine *e = ml__engine(L);
  e->typenames[type] = name;
  lua_createtable(L, 0, 8);
  if (meta != NULL) luaL_setfuncs(L, meta, 0);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  if (lua_getfield(L, -1, "__gc") != LUA_TNIL) {
    lua_insert(L, -2);
    ml__guard_metatable(L);
    lua_insert(L, -2);
  }
  lua_pop(L, 1);
  lua_newtable(L);
  if (methods != NULL) luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__index");
  lua_pushvalue(L, -2);
  ml__ref_set(L, ML_R_TYPES + (int)type);
  lua_remove(L, -2);
}

static int class_call(lua_State *L) {
  lua_CFunction ctor = lua_tocfunction(L, lua_upvalueindex(1));
  lua_remove(L, 1); /* the class itself */
  return ctor(L);
}

void ml__newclass(lua_State *L, const char *name, lua_CFunction ctor) {
  lua_createtable(L, 0, 1);
  lua_insert(L, -2);
  lua_setfield(L, -2, "methods");
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, ctor);
  lua_pushcclosure(L, class_call, 1);
  lua_setfield(L, -2, "__call");
  lua_pushfstring(L, "class %s", name);
  lua_setfield(L, -2, "__name");
  lua_setmetatable(L, -2);
  lua_setfield(L, -2, name);
}

void *ml__newobject(lua_State *L, ml_objtype type, size_t size, int nuv) {
  ml_object *o = lua_newuserdatauv(L, size, nuv);
  memset(o, 0, size);
  o->magic = &ml__magic;
  o->type = (uint8_t)type;
  if (ml__ref_get(L, ML_R_TYPES + (int)type) == LUA_TTABLE)
    lua_setmetatable(L, -2);
  else
    lua_pop(L, 1);
  if (ml__attached(L) && luaL_getmetafield(L, -1, "__gc") != LUA_TNIL) {
    lua_pop(L, 1);
    ml__attach_watch(L);
  }
  return o;
}

void *ml__checkothers(lua_State *L, int idx, ml_object *o, ml_objtype type) {
  if (o == NULL || !((type == ML_T_FUTURE && ml__isfuture(o)) ||
                     (type == ML_T_HANDLE && o->type == ML_T_TIMERHANDLE))) {
    lua_pushfstring(L, "%s expected, got %s", ml__engine(L)->typenames[type],
                    o != NULL ? ml__engine(L)->typenames[o->type] : luaL_typename(L, idx));
    luaL_argerror(L, idx, lua_tostring(L, -1));
  }
  return o;
}

void ml__push_extras(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 5, "object");
  ml__ref_get(L, ML_R_EXTRAS);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, -2) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, idx);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
  }
  lua_remove(L, -2);
}

/* One more place for pins; room to note all places as free, so that ml__unpin cannot fail. */
static int new_pin(lua_State *L, ml_engine *e) {
  if (e->npins == e->maxpins) {
    int n = e->maxpins * 2 + 16;
    int *free_pins = ml__alloc(e->alloc, e->free_pins, (size_t)e->maxpins * sizeof(int),
                               (size_t)n * sizeof(int));
    if (free_pins == NULL) luaL_error(L, "not enough memory");
    e->free_pins = free_pins;
    e->maxpins = n;
  }
  return e->npins + 1;
}

int ml__pin(lua_State *L, int idx) {
  ml_engine *e = ml__engine(L);
  int pin = e->nfree_pins > 0 ? e->free_pins[e->nfree_pins - 1] : new_pin(L, e);
  idx = lua_absindex(L, idx);
  ml__ref_get(L, ML_R_PINS);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -2, pin);
  if (e->nfree_pins > 0)
    e->nfree_pins--;
  else
    e->npins = pin;
  lua_pop(L, 1);
  return pin;
}

void ml__unpin(lua_State *L, int pin) {
  ml_engine *e = ml__engine(L);
  if (pin <= 0) return;
  ml__ref_get(L, ML_R_PINS);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, pin);
  lua_pop(L, 1);
  e->free_pins[e->nfree_pins++] = pin;
}

void ml__pushpinned(lua_State *L, int pin) {
  ml__ref_get(L, ML_R_PINS);
  lua_rawgeti(L, -1, pin);
  lua_replace(L, -2);
}
